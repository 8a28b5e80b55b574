// A server that was written for an I/O completion port, moved over with the adapter.
//
//   iocp_server --addr 127.0.0.1:PORT [--backend NAME]
//
// `legacy` is the code as it was: sessions with an OVERLAPPED for each direction and one static completion handler. It
// posted its operations by WSARecv and WSASend and had worker threads in GetQueuedCompletionStatus; these two places,
// marked below, are all that changed.

#include <array>
#include <memory>

#include <fastport/IocpAdapter.hpp>

#include "sockets.hpp"

namespace {

Network::AsyncIOProvider* theProvider = nullptr;

namespace legacy {

struct Session {
    SOCKET socket = INVALID_SOCKET;
    OVERLAPPED receiving{};
    OVERLAPPED sending{};
    std::array<char, 8192> buffer;
    std::unique_ptr<RAON::Network::AsyncIO::IocpCallbackAdapter> adapter;
};

bool PostReceive(Session* session);
bool PostSend(Session* session, DWORD bytes);

void Close(Session* session, DWORD error) {
    if (error != NO_ERROR && error != WSAECONNRESET) std::fprintf(stderr, "session ended by %u\n", static_cast<unsigned>(error));
    theProvider->UnregisterSocket(session->socket);
    sockets::Close(session->socket);
    delete session;
}

// The handler of the completion port.
void OnCompletion(void* context, LPOVERLAPPED overlapped, DWORD bytes, DWORD error) {
    auto* session = static_cast<Session*>(context);
    const bool isReceive = overlapped == &session->receiving;
    if (error != NO_ERROR || (isReceive && bytes == 0)) return Close(session, error);
    const bool isPosted = isReceive ? PostSend(session, bytes) : PostReceive(session);
    if (!isPosted) Close(session, WSAENOBUFS);
}

// Was: WSARecv(session->socket, …, &session->receiving, nullptr).
bool PostReceive(Session* session) {
    const auto room = static_cast<uint32_t>(session->buffer.size());
    return theProvider->RecvAsync(session->socket, session->buffer.data(), room, [session](const auto& result, void*) {
        session->adapter->OnAsyncCompletion(result, &session->receiving);
    }) != 0;
}

// Was: WSASend(session->socket, …, &session->sending, nullptr).
bool PostSend(Session* session, DWORD bytes) {
    return theProvider->SendAsync(session->socket, session->buffer.data(), bytes, [session](const auto& result, void*) {
        session->adapter->OnAsyncCompletion(result, &session->sending);
    }) != 0;
}

}  // namespace legacy

// Was: AcceptEx.
void Accept(SOCKET listener, SOCKET* accepted) {
    theProvider->AcceptAsync(listener, accepted, nullptr, 0, [=](const Network::CompletionResult& result, void*) {
        if (result.mStatus == Network::CompletionResult::Status::Success) {
            auto* session = new legacy::Session;
            session->socket = *accepted;
            session->adapter =
                std::make_unique<RAON::Network::AsyncIO::IocpCallbackAdapter>(session, &legacy::OnCompletion);
            theProvider->RegisterSocket(session->socket, session);
            if (!legacy::PostReceive(session)) legacy::Close(session, WSAENOBUFS);
        }
        Accept(listener, accepted);
    });
}

}  // namespace

int main(int argc, char** argv) {
    const sockets::Arguments arguments(argc, argv);
    auto provider = sockets::Provider(arguments);
    theProvider = provider.get();
    const SOCKET listener = sockets::Listen(arguments.port);
    std::printf("%s listens on 127.0.0.1:%d\n", provider->GetBackendName(), sockets::PortOf(listener));
    std::fflush(stdout);
    SOCKET accepted = INVALID_SOCKET;
    Accept(listener, &accepted);
    // Was: GetQueuedCompletionStatus.
    while (provider->ProcessCompletions(-1, 256, nullptr) >= 0) {
    }
    return 1;
}
