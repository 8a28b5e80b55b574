// What the examples need of the system: sockets, and their command line.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#ifdef _WIN32
#include <winsock2.h>
#include <ws2tcpip.h>
#else
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>
#endif

#include <fastport/AsyncIOProvider.hpp>

namespace sockets {

// Winsock wants to be started.
struct Started {
    Started() {
#ifdef _WIN32
        WSADATA data;
        WSAStartup(MAKEWORD(2, 2), &data);
#endif
    }
};
inline const Started started;

[[noreturn]] inline void Die(const char* what) {
    std::perror(what);
    std::exit(1);
}

// --addr 127.0.0.1:PORT (port 0: the system chooses), --backend NAME.
struct Arguments {
    uint16_t port = 0;
    const char* backend = nullptr;

    Arguments(int argc, char** argv) {
        for (int position = 1; position + 1 < argc; position += 2) {
            if (std::strcmp(argv[position], "--backend") == 0) {
                backend = argv[position + 1];
            } else if (std::strcmp(argv[position], "--addr") == 0) {
                const char* colon = std::strrchr(argv[position + 1], ':');
                port = static_cast<uint16_t>(std::atoi(colon ? colon + 1 : argv[position + 1]));
            } else {
                std::fprintf(stderr, "usage: %s --addr 127.0.0.1:PORT [--backend NAME]\n", argv[0]);
                std::exit(2);
            }
        }
    }
};

// The provider that the command line names, or the best, running.
inline std::unique_ptr<Network::AsyncIOProvider> Provider(const Arguments& arguments) {
    auto provider = arguments.backend ? Network::CreateAsyncIOProvider(arguments.backend) : Network::CreateAsyncIOProvider();
    if (!provider || !provider->Initialize(10000, 1024)) {
        std::fprintf(stderr, "no provider: %s\n", fp_last_error_message());
        std::exit(1);
    }
    return provider;
}

inline void Close(SOCKET socket) {
#ifdef _WIN32
    ::closesocket(socket);
#else
    ::close(socket);
#endif
}

inline void NoDelay(SOCKET socket) {
    const int on = 1;
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, reinterpret_cast<const char*>(&on), sizeof on);
}

inline SOCKET NewSocket() {
    const SOCKET socket = ::socket(AF_INET, SOCK_STREAM, 0);
    if (socket == INVALID_SOCKET) Die("socket");
    NoDelay(socket);
    return socket;
}

inline sockaddr_in Loopback(uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

inline int PortOf(SOCKET socket) {
    sockaddr_in address{};
    socklen_t bytes = sizeof address;
    if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &bytes) != 0) Die("getsockname");
    return ntohs(address.sin_port);
}

inline SOCKET Listen(uint16_t port) {
    const SOCKET listener = NewSocket();
#ifndef _WIN32
    const int on = 1;
    ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
#endif
    const sockaddr_in address = Loopback(port);
    if (::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) Die("bind");
    if (::listen(listener, 1024) != 0) Die("listen");
    return listener;
}

}  // namespace sockets
