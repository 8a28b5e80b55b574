// Blocking sockets for the far end of tests and examples.
#pragma once

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#ifdef _WIN32
#include <winsock2.h>
#include <ws2tcpip.h>
// Left over from systems with segments.
#undef near
#undef far
#else
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#endif

#include <fastport/AsyncIOProvider.hpp>

namespace loopback {

// Winsock wants to be started.
struct Sockets {
    Sockets() {
#ifdef _WIN32
        WSADATA data;
        WSAStartup(MAKEWORD(2, 2), &data);
#endif
    }
};
inline const Sockets sockets;

// Whether this is Wine, which differs from Windows in a few things that tests have to know.
inline bool IsWine() {
#ifdef _WIN32
    return ::GetProcAddress(::GetModuleHandleA("ntdll.dll"), "wine_get_version") != nullptr;
#else
    return false;
#endif
}

inline void Close(SOCKET socket) {
#ifdef _WIN32
    ::closesocket(socket);
#else
    ::close(socket);
#endif
}

inline void Must(bool isDone, const char* what) {
    if (isDone) return;
    std::fprintf(stderr, "cannot %s: %s\n", what, std::strerror(errno));
    std::_Exit(1);
}

inline sockaddr_in Address(uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

inline SOCKET NewSocket() {
    const SOCKET socket = ::socket(AF_INET, SOCK_STREAM, 0);
    Must(socket != INVALID_SOCKET, "make a socket");
    const int on = 1;
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, reinterpret_cast<const char*>(&on), sizeof on);
    return socket;
}

// Nobody waits for ever: 30 s.
inline void LimitReceives(SOCKET socket) {
#ifdef _WIN32
    const DWORD limit = 30000;
#else
    const timeval limit{30, 0};
#endif
    ::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, reinterpret_cast<const char*>(&limit), sizeof limit);
}

inline uint16_t PortOf(SOCKET socket) {
    sockaddr_in address{};
    socklen_t bytes = sizeof address;
    Must(::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &bytes) == 0, "tell a port");
    return ntohs(address.sin_port);
}

// A listener on 127.0.0.1; port 0 lets the system choose.
inline SOCKET Listen(uint16_t port = 0) {
    const SOCKET listener = NewSocket();
    const int on = 1;
#ifndef _WIN32
    ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
#endif
    (void)on;
    const sockaddr_in address = Address(port);
    Must(::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0, "bind");
    Must(::listen(listener, 1024) == 0, "listen");
    return listener;
}

inline SOCKET Connect(uint16_t port) {
    const SOCKET socket = NewSocket();
    LimitReceives(socket);
    const sockaddr_in address = Address(port);
    Must(::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0, "connect");
    return socket;
}

// A connection: the far end, and the near one for the provider.
inline std::pair<SOCKET, SOCKET> Pair() {
    const SOCKET listener = Listen();
    const SOCKET far = Connect(PortOf(listener));
    const SOCKET near = ::accept(listener, nullptr, nullptr);
    Must(near != INVALID_SOCKET, "accept");
    Close(listener);
    return {far, near};
}

// Closes with a reset instead of an orderly end.
inline void Reset(SOCKET socket) {
    linger nothing{};
    nothing.l_onoff = 1;
    ::setsockopt(socket, SOL_SOCKET, SO_LINGER, reinterpret_cast<const char*>(&nothing), sizeof nothing);
    Close(socket);
}

inline void Write(SOCKET socket, const std::string& bytes) {
    std::size_t sent = 0;
    while (sent < bytes.size()) {
        const auto step = ::send(socket, bytes.data() + sent, static_cast<int>(bytes.size() - sent), 0);
        Must(step > 0, "send");
        sent += static_cast<std::size_t>(step);
    }
}

// Exactly `size` bytes, or fewer at the end of the peer's data.
inline std::string Read(SOCKET socket, std::size_t size) {
    std::string bytes(size, '\0');
    std::size_t received = 0;
    while (received < size) {
        const auto step = ::recv(socket, &bytes[received], static_cast<int>(size - received), 0);
        Must(step >= 0, "receive");
        if (step == 0) break;
        received += static_cast<std::size_t>(step);
    }
    bytes.resize(received);
    return bytes;
}

}  // namespace loopback
