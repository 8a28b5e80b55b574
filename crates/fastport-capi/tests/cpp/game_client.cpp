// Plays against examples/cpp/game_server.cpp over plain sockets, and checks what it sees.
//
//   game_client PORT

#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../../../../examples/cpp/game_protocol.hpp"
#include "check.hpp"
#include "loopback.hpp"

namespace {

struct Packet {
    uint16_t id;
    std::string payload;
};

class Client {
public:
    explicit Client(uint16_t port) : mSocket(loopback::Connect(port)) {}
    ~Client() { loopback::Close(mSocket); }
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    void Send(uint16_t id, const std::string& payload) {
        SendBytes(game::Writer().Put(static_cast<uint16_t>(payload.size() + 4)).Put(id).Put(payload).Bytes());
    }
    void SendBytes(const std::string& bytes) { loopback::Write(mSocket, bytes); }

    Packet Receive() {
        const std::string header = ReceiveBytes(4);
        game::Reader reader(header.data(), header.size());
        const uint16_t size = reader.Get<uint16_t>(), id = reader.Get<uint16_t>();
        CHECK(size >= 4);
        return Packet{id, ReceiveBytes(size - 4u)};
    }
    // Skips others until a packet with this id comes.
    std::string Await(uint16_t id) {
        for (;;) {
            Packet packet = Receive();
            if (packet.id == id) {
                return std::move(packet.payload);
            }
        }
    }
    // Whether the server has ended the connection.
    bool IsEnded() {
        char byte;
        return recv(mSocket, &byte, 1, 0) <= 0;
    }

    uint32_t player = 0;

    void Join(uint8_t room) {
        Send(game::kJoin, game::Writer().Put(room).Put(std::string_view("somebody")).Bytes());
        const std::string joined = Await(game::kJoined);
        player = game::Reader(joined.data(), joined.size()).Get<uint32_t>();
    }

private:
    std::string ReceiveBytes(size_t count) {
        std::string bytes = loopback::Read(mSocket, count);
        CHECK(bytes.size() == count);
        return bytes;
    }

    SOCKET mSocket;
};

// Waits for a state of the world in which a player stands there; `players` is how many are to be seen.
void AwaitPosition(Client& client, uint32_t player, int32_t x, int32_t y, size_t players) {
    for (;;) {
        const std::string world = client.Await(game::kWorld);
        CHECK(world.size() % 12 == 4);
        game::Reader reader(world.data(), world.size());
        reader.Get<uint32_t>();
        bool isThere = false;
        for (size_t seen = 0; seen < world.size() / 12; ++seen) {
            const uint32_t id = reader.Get<uint32_t>();
            const int32_t atX = reader.Get<int32_t>(), atY = reader.Get<int32_t>();
            isThere = isThere || (id == player && atX == x && atY == y);
        }
        if (isThere && world.size() / 12 == players) {
            return;
        }
    }
}

}  // namespace

int main(int count, char** arguments) {
    CHECK(count == 2);
    const uint16_t port = static_cast<uint16_t>(std::atoi(arguments[1]));
    constexpr size_t kPlayers = 20;

    // Two rooms with as many players each.
    std::vector<std::unique_ptr<Client>> clients;
    for (size_t number = 0; number < kPlayers; ++number) {
        clients.push_back(std::make_unique<Client>(port));
        clients.back()->Join(static_cast<uint8_t>(number % 2));
    }
    Client &first = *clients[0], &other = *clients[1];

    // Everybody in a room sees a move, sums included.
    for (int step = 0; step < 10; ++step) {
        first.Send(game::kMove, game::Writer().Put(int16_t{3}).Put(int16_t{-2}).Bytes());
    }
    for (size_t number = 0; number < kPlayers; number += 2) {
        AwaitPosition(*clients[number], first.player, 30, -20, kPlayers / 2);
    }

    // Chat stays in its room: what the other room hears first is its own.
    first.Send(game::kChat, "hello, room 0");
    other.Send(game::kChat, "hello, room 1");
    for (size_t number = 0; number < kPlayers; ++number) {
        const std::string said = clients[number]->Await(game::kSaid);
        game::Reader reader(said.data(), said.size());
        CHECK(reader.Get<uint32_t>() == (number % 2 == 0 ? first : other).player);
        CHECK(reader.Rest() == (number % 2 == 0 ? "hello, room 0" : "hello, room 1"));
    }

    // Who does not keep to the protocol is thrown out, and nobody else notices.
    const std::string moveBeforeJoining("\0\x08\0\x02\0\1\0\1", 8), noPacket("\0\2\0\0", 4);
    for (const std::string& wrong : {moveBeforeJoining, noPacket}) {
        Client rude(port);
        rude.SendBytes(wrong);
        CHECK(rude.IsEnded());
    }

    // Who leaves is missed.
    const uint32_t left = clients.back()->player;
    clients.pop_back();
    const std::string told = other.Await(game::kLeft);
    CHECK(game::Reader(told.data(), told.size()).Get<uint32_t>() == left);
    std::puts("game client: all checks passed");
    return 0;
}
