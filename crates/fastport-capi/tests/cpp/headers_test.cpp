// All headers in one program that has macros, types and sockets of its own, as code from Windows that was moved brings them.

// What the library of C++ has, before the macros: with some of it they do not go together.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#ifdef _WIN32
#include <winsock2.h>
#else
// windows.h has these two, unless it is told otherwise.
#define min(a, b) (((a) < (b)) ? (a) : (b))
#define max(a, b) (((a) > (b)) ? (a) : (b))
// Not the types that the adapter's header would define.
typedef unsigned long DWORD;
struct OVERLAPPED {
    void* event;
    int number;
};
typedef OVERLAPPED* LPOVERLAPPED;
#define NO_ERROR 0L
#define WSAECONNRESET 10054L
#define FASTPORT_OWN_WINDOWS_TYPES
#endif

#include <fastport/AsyncIOProvider.hpp>
#include <fastport/IocpAdapter.hpp>
#include <fastport/RaonAsyncIO.hpp>
#include <fastport/Server.hpp>

#include "check.hpp"

TEST("the adapter works with the types of the program") {
    static DWORD told = 0;
    OVERLAPPED overlapped{};
    RAON::Network::AsyncIO::IocpCallbackAdapter adapter(&overlapped, [](void* session, LPOVERLAPPED of, DWORD, DWORD error) {
        CHECK(session == of);
        told = error;
    });
    Network::CompletionResult reset;
    reset.mStatus = Network::CompletionResult::Status::Error;
    reset.mErrorCode = static_cast<int>(Network::ErrorCode::ConnectionReset);
    adapter.OnAsyncCompletion(reset, &overlapped);
    CHECK_EQUAL(told, static_cast<DWORD>(WSAECONNRESET));
}

TEST("both flavours and a server live in one program") {
    struct Nothing : fastport::ServerHandler {
        void OnPacket(fastport::Session, uint16_t, const void*, std::size_t) override {}
    } nothing;
    fastport::Server server(nothing);
    CHECK(Network::CreateAsyncIOProvider(check::Backend())->Initialize(16));
    CHECK(RAON::Network::AsyncIO::CreateAsyncIOProvider(check::Backend()) != nullptr);
    CHECK(server.Start() && server.Stop(0));
    CHECK(std::strlen(fp_version()) > 0);
}

int main(int argc, char** argv) { return check::Run(argc, argv); }
