// Echoes every frame [u16 size, whole frame][u16 id][payload], polling for completions: one thread, no callbacks.
//
//   frame_echo --addr 127.0.0.1:PORT [--backend NAME]
//
// Prints the port it listens on. The server of the comparison in docs/cpp.md.

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <unordered_set>
#include <utility>
#include <vector>

#include <fastport/AsyncIOProvider.hpp>

#include "sockets.hpp"

namespace {

using Network::AsyncIOProvider;
using Network::CompletionResult;

// One connection: what was received and not answered yet, and the answer that is on its way.
class Session {
public:
    Session(AsyncIOProvider& provider, SOCKET socket) : mProvider(provider), mSocket(socket) {
        mProvider.RegisterSocket(mSocket, this);
        Receive();
    }

    // Everything is done and the session is to be deleted.
    bool IsOver() const { return mIsClosing && mReceiveId == 0 && mSendId == 0; }

    void OnCompletion(const CompletionResult& result) {
        const bool isReceive = result.mOperationId == mReceiveId;
        (isReceive ? mReceiveId : mSendId) = 0;
        if (result.mStatus != CompletionResult::Status::Success || (isReceive && result.mBytesTransferred == 0)) {
            return Close();
        }
        if (isReceive) mReceived += result.mBytesTransferred;
        if (mIsClosing) return;
        Answer();
        Receive();
    }

    void Close() {
        if (mIsClosing) return;
        mIsClosing = true;
        // Cancels what is in flight, whose completions come later: only then may the session go.
        mProvider.UnregisterSocket(mSocket);
        sockets::Close(mSocket);
    }

private:
    // A frame has 65535 bytes at most.
    static constexpr uint32_t kRoom = 128 * 1024;

    void Receive() {
        if (mReceiveId != 0) return;
        // Nothing is in flight, so what was answered may make room.
        if (mAnswered > 0) {
            std::memmove(mIn.data(), mIn.data() + mAnswered, mReceived - mAnswered);
            mReceived -= std::exchange(mAnswered, 0);
        }
        if (mReceived == kRoom) return;
        mReceiveId = mProvider.RecvAsync(mSocket, mIn.data() + mReceived, kRoom - mReceived);
        if (mReceiveId == 0) Close();
    }

    // Answers all whole frames by one send, unless one is in flight.
    void Answer() {
        if (mSendId != 0) return;
        const uint32_t whole = WholeFrames();
        if (mIsClosing || whole == 0) return;
        const char* begin = mIn.data() + mAnswered;
        mOut.assign(begin, begin + whole);
        mAnswered += whole;
        mSendId = mProvider.SendAsync(mSocket, mOut.data(), whole);
        if (mSendId == 0) Close();
    }

    // Bytes of the whole frames that were received. A frame smaller than its header ends the connection.
    uint32_t WholeFrames() {
        uint32_t end = mAnswered;
        while (mReceived - end >= 4) {
            const auto* header = reinterpret_cast<const unsigned char*>(mIn.data() + end);
            const uint32_t size = static_cast<uint32_t>(header[0]) << 8 | header[1];
            if (size < 4) {
                Close();
                return 0;
            }
            if (mReceived - end < size) break;
            end += size;
        }
        return end - mAnswered;
    }

    AsyncIOProvider& mProvider;
    SOCKET mSocket;
    uint32_t mReceiveId = 0, mSendId = 0;
    uint32_t mReceived = 0, mAnswered = 0;
    bool mIsClosing = false;
    std::vector<char> mIn = std::vector<char>(kRoom);
    std::vector<char> mOut;
};

}  // namespace

int main(int argc, char** argv) {
    const sockets::Arguments arguments(argc, argv);
    auto provider = sockets::Provider(arguments);
    const SOCKET listener = sockets::Listen(arguments.port);
    std::printf("%s listens on 127.0.0.1:%d\n", provider->GetBackendName(), sockets::PortOf(listener));
    std::fflush(stdout);

    std::unordered_set<Session*> sessions;
    SOCKET accepted = INVALID_SOCKET;
    provider->RegisterSocket(listener);
    provider->AcceptAsync(listener, &accepted, nullptr, 0);
    CompletionResult results[256];
    for (;;) {
        const int32_t count = provider->ProcessCompletions(-1, 256, results);
        if (count < 0) {
            std::fprintf(stderr, "frame_echo: %s\n", fp_last_error_message());
            return 1;
        }
        for (int32_t position = 0; position < count; ++position) {
            const CompletionResult& result = results[position];
            if (auto* session = static_cast<Session*>(result.mUserContext)) {
                session->OnCompletion(result);
                if (session->IsOver()) {
                    sessions.erase(session);
                    delete session;
                }
            } else {
                // Of the listener. One that failed (no descriptors, say) is no reason to stop.
                if (result.mStatus == CompletionResult::Status::Success) {
                    sockets::NoDelay(accepted);
                    sessions.insert(new Session(*provider, accepted));
                }
                provider->AcceptAsync(listener, &accepted, nullptr, 0);
            }
        }
    }
}
