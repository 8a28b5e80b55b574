// Echoes bytes by callbacks: each says what happens next, and holds its session for as long as it is needed.
//
//   echo_callbacks --addr 127.0.0.1:PORT [--backend NAME]

#include <array>
#include <memory>

#include <fastport/AsyncIOProvider.hpp>

#include "sockets.hpp"

namespace {

using Network::AsyncIOProvider;
using Network::CompletionResult;

class Session : public std::enable_shared_from_this<Session> {
public:
    Session(AsyncIOProvider& provider, SOCKET socket) : mProvider(provider), mSocket(socket) {}

    // The last callback is gone, and with it the last operation.
    ~Session() {
        mProvider.UnregisterSocket(mSocket);
        sockets::Close(mSocket);
    }

    void Receive() {
        mProvider.RecvAsync(mSocket, mBuffer.data(), static_cast<uint32_t>(mBuffer.size()),
                            [self = shared_from_this()](const CompletionResult& result, void*) { self->OnReceived(result); });
    }

private:
    void OnReceived(const CompletionResult& result) {
        if (result.mStatus != CompletionResult::Status::Success || result.mBytesTransferred == 0) return;
        mProvider.SendAsync(mSocket, mBuffer.data(), result.mBytesTransferred,
                            [self = shared_from_this()](const CompletionResult& sent, void*) {
                                if (sent.mStatus == CompletionResult::Status::Success) self->Receive();
                            });
    }

    AsyncIOProvider& mProvider;
    SOCKET mSocket;
    std::array<char, 16384> mBuffer;
};

class Server {
public:
    Server(AsyncIOProvider& provider, SOCKET listener) : mProvider(provider), mListener(listener) { Accept(); }

private:
    void Accept() {
        mProvider.AcceptAsync(mListener, &mAccepted, nullptr, 0, [this](const CompletionResult& result, void*) {
            if (result.mStatus == CompletionResult::Status::Cancelled) return;
            if (result.mStatus == CompletionResult::Status::Success) {
                sockets::NoDelay(mAccepted);
                mProvider.RegisterSocket(mAccepted);
                std::make_shared<Session>(mProvider, mAccepted)->Receive();
            }
            Accept();
        });
    }

    AsyncIOProvider& mProvider;
    SOCKET mListener;
    SOCKET mAccepted = INVALID_SOCKET;
};

}  // namespace

int main(int argc, char** argv) {
    const sockets::Arguments arguments(argc, argv);
    auto provider = sockets::Provider(arguments);
    const SOCKET listener = sockets::Listen(arguments.port);
    std::printf("%s listens on 127.0.0.1:%d\n", provider->GetBackendName(), sockets::PortOf(listener));
    std::fflush(stdout);
    Server server(*provider, listener);
    while (provider->ProcessCompletions(-1, 256, nullptr) >= 0) {
    }
    std::fprintf(stderr, "echo_callbacks: %s\n", fp_last_error_message());
    return 1;
}
