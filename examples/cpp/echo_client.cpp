// Plays against an echo server: connections that each send frames and check what comes back.
//
//   echo_client --addr 127.0.0.1:PORT [--backend NAME]
//
// Ends by 0 when every byte of 16 connections with 200 frames each has come back.

#include <memory>
#include <string>
#include <vector>

#include <fastport/AsyncIOProvider.hpp>

#include "sockets.hpp"

namespace {

using Network::AsyncIOProvider;
using Network::CompletionResult;

constexpr int kConnections = 16;
constexpr int kFrames = 200;

class Connection {
public:
    Connection(AsyncIOProvider& provider, int number, uint16_t port)
        : mProvider(provider), mSocket(sockets::NewSocket()), mNumber(number) {
        mProvider.RegisterSocket(mSocket, this);
        const sockaddr_in address = sockets::Loopback(port);
        mProvider.ConnectAsync(mSocket, reinterpret_cast<const sockaddr*>(&address), sizeof address,
                               [this](const CompletionResult& result, void*) {
                                   Check(result, "connect");
                                   NextFrame();
                               });
    }

    ~Connection() {
        mProvider.UnregisterSocket(mSocket);
        sockets::Close(mSocket);
    }

    bool IsDone() const { return mEchoed == kFrames; }

private:
    void NextFrame() {
        if (IsDone()) return;
        const auto size = static_cast<uint32_t>(4 + (mEchoed * 37 + mNumber) % 3000);
        mFrame.assign(size, static_cast<char>('a' + mEchoed % 26));
        mFrame[0] = static_cast<char>(size >> 8);
        mFrame[1] = static_cast<char>(size & 0xFF);
        mReply.assign(size, '\0');
        mReceived = 0;
        mProvider.SendAsync(mSocket, mFrame.data(), size, [](const CompletionResult& result, void*) { Check(result, "send"); });
        Receive();
    }

    void Receive() {
        const auto left = static_cast<uint32_t>(mReply.size()) - mReceived;
        mProvider.RecvAsync(mSocket, &mReply[mReceived], left, [this](const CompletionResult& result, void*) {
            Check(result, "receive");
            if (result.mBytesTransferred == 0) Fail("the server ended the connection");
            mReceived += result.mBytesTransferred;
            if (mReceived < mReply.size()) return Receive();
            if (mReply != mFrame) Fail("another frame came back");
            ++mEchoed;
            NextFrame();
        });
    }

    static void Check(const CompletionResult& result, const char* what) {
        if (result.mStatus != CompletionResult::Status::Success) Fail(std::string(what) + ": error " + std::to_string(result.mErrorCode));
    }

    [[noreturn]] static void Fail(const std::string& what) {
        std::fprintf(stderr, "echo_client: %s\n", what.c_str());
        std::exit(1);
    }

    AsyncIOProvider& mProvider;
    SOCKET mSocket;
    int mNumber, mEchoed = 0;
    uint32_t mReceived = 0;
    std::string mFrame, mReply;
};

}  // namespace

int main(int argc, char** argv) {
    const sockets::Arguments arguments(argc, argv);
    auto provider = sockets::Provider(arguments);
    std::vector<std::unique_ptr<Connection>> connections;
    for (int number = 0; number < kConnections; ++number) {
        connections.push_back(std::make_unique<Connection>(*provider, number, arguments.port));
    }
    const auto isDone = [&] {
        for (const auto& connection : connections) {
            if (!connection->IsDone()) return false;
        }
        return true;
    };
    while (!isDone()) {
        if (provider->ProcessCompletions(30000, 256, nullptr) <= 0) {
            std::fprintf(stderr, "echo_client: no answer within 30 s\n");
            return 1;
        }
    }
    std::printf("%d frames came back\n", kConnections * kFrames);
}
