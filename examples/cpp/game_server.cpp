// A game server on FastPort's sessions: rooms, movement at a fixed tick, chat.
//
//   game_server [address, 0.0.0.0:6630 if none is given] [backend]
//
// One worker runs all callbacks and the tick, so the game needs no locks. What a callback sends is gathered, and goes
// out together with everything else of the same batch of events. SIGINT and SIGTERM end it after a drain.

#include <algorithm>
#include <chrono>
#include <csignal>
#include <iostream>
#include <map>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include <fastport/Server.hpp>

#include "game_protocol.hpp"

namespace {

constexpr uint32_t kTickMs = 50;
constexpr uint32_t kDrainLimitMs = 5000;
constexpr size_t kMostPlayersInRoom = 1000;

class Game : public fastport::ServerHandler {
public:
    explicit Game(const fastport::ServerOptions& options) : mServer(*this, options) {}

    fastport::Server& Server() { return mServer; }

private:
    struct Player {
        uint32_t id;
        uint8_t room;
        int32_t x = 0, y = 0;
    };

    struct Room {
        std::vector<fp_session> sessions;
        bool hasChanged = false;
    };

    void OnPacket(fastport::Session session, uint16_t id, const void* payload, size_t bytes) override {
        game::Reader reader(payload, bytes);
        if (id == game::kJoin) {
            return Join(session, reader);
        }
        auto found = mPlayers.find(session.Id());
        if (found == mPlayers.end()) {
            session.Abort();  // Whoever does not join first does not play.
            return;
        }
        Player& player = found->second;
        if (id == game::kMove) {
            Move(session, player, reader);
        } else if (id == game::kChat) {
            const std::string said = game::Writer().Put(player.id).Put(reader.Rest()).Bytes();
            mServer.Broadcast(mRooms[player.room].sessions, game::kSaid, said.data(), said.size());
        }
    }

    void OnClosed(fastport::Session session, uint32_t, int32_t, const fp_session_statistics&) override {
        auto found = mPlayers.find(session.Id());
        if (found == mPlayers.end()) {
            return;
        }
        const Player player = found->second;
        mPlayers.erase(found);
        std::vector<fp_session>& sessions = mRooms[player.room].sessions;
        sessions.erase(std::remove(sessions.begin(), sessions.end(), session.Id()), sessions.end());
        const std::string left = game::Writer().Put(player.id).Bytes();
        mServer.Broadcast(sessions, game::kLeft, left.data(), left.size());
    }

    // Tells each room in which something has moved where everybody is.
    void OnTick(uint32_t) override {
        ++mTick;
        for (auto& [number, room] : mRooms) {
            if (!room.hasChanged) {
                continue;
            }
            room.hasChanged = false;
            game::Writer world;
            world.Put(mTick);
            for (fp_session session : room.sessions) {
                const Player& player = mPlayers.at(session);
                world.Put(player.id).Put(player.x).Put(player.y);
            }
            // Who reads too slowly misses this tick and sees the next one.
            mServer.Broadcast(room.sessions, game::kWorld, world.Bytes().data(), world.Bytes().size());
        }
    }

    void Join(fastport::Session session, game::Reader& reader) {
        const uint8_t number = reader.Get<uint8_t>();
        Room& room = mRooms[number];
        if (!reader.IsGood() || mPlayers.count(session.Id()) != 0 || room.sessions.size() >= kMostPlayersInRoom) {
            session.Abort();
            return;
        }
        const uint32_t player = ++mLastPlayer;
        mPlayers[session.Id()] = Player{player, number};
        room.sessions.push_back(session.Id());
        room.hasChanged = true;
        const std::string joined = game::Writer().Put(player).Bytes();
        session.Send(game::kJoined, joined.data(), joined.size());
    }

    void Move(fastport::Session session, Player& player, game::Reader& reader) {
        const int16_t dx = reader.Get<int16_t>(), dy = reader.Get<int16_t>();
        if (!reader.IsGood()) {
            session.Abort();
            return;
        }
        player.x += dx;
        player.y += dy;
        mRooms[player.room].hasChanged = true;
    }

    std::unordered_map<fp_session, Player> mPlayers;
    std::map<uint8_t, Room> mRooms;
    uint32_t mLastPlayer = 0;
    uint32_t mTick = 0;
    // Last, so that it stops before what its callbacks use is gone.
    fastport::Server mServer;
};

volatile std::sig_atomic_t gShallStop = 0;

}  // namespace

int main(int count, char** arguments) {
    fastport::ServerOptions options;
    options.workers = 1;
    options.tick_ms = kTickMs;
    options.idle_limit_ms = 60'000;
    options.first_packet_limit_ms = 5'000;
    options.max_packets_per_second = 1'000;
    options.backend = count > 2 ? arguments[2] : nullptr;

    Game game(options);
    fastport::Server& server = game.Server();
    if (!server.Listen(count > 1 ? arguments[1] : "0.0.0.0:6630") || !server.Start()) {
        std::cerr << "cannot start: " << fastport::LastError() << std::endl;
        return 1;
    }
    std::signal(SIGINT, [](int) { gShallStop = 1; });
    std::signal(SIGTERM, [](int) { gShallStop = 1; });
    std::cout << server.BackendName() << " listens on " << server.Address() << std::endl;
    while (gShallStop == 0) {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }

    fastport::StopReport report;
    if (!server.Stop(kDrainLimitMs, &report)) {
        std::cerr << "cannot stop: " << fastport::LastError() << std::endl;
        return 1;
    }
    const fastport::ServerStatistics statistics = server.Statistics();
    std::cout << statistics.accepted << " players, " << statistics.packets_received << " packets in, "
              << statistics.packets_sent << " out, " << report.cut_off << " cut off" << std::endl;
    return report.failure == FP_OK ? 0 : 1;
}
