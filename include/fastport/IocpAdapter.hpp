// Lets completion handlers that were written for an I/O completion port be called by a provider, on every system.
//
// A handler of that kind takes the session, the OVERLAPPED of the operation, the bytes and a Winsock error. The adapter
// keeps the session and the handler, and turns a CompletionResult into such a call:
//
//   auto adapter = std::make_shared<IocpCallbackAdapter>(session, &Session::OnCompletion);
//   provider->SendAsync(socket, data, length, [adapter, overlapped](const auto& result, void*) {
//       adapter->OnAsyncCompletion(result, overlapped);
//   });
//
// Where the system has no Windows types, this header defines those that such code needs. Code that brings its own defines
// FASTPORT_OWN_WINDOWS_TYPES before it includes this; names that are macros already are left alone in any case.
#pragma once

#include <cerrno>
#include <cstdint>

#include "AsyncIOProvider.hpp"

#ifndef _WIN32

#ifndef FASTPORT_OWN_WINDOWS_TYPES
#ifndef DWORD
typedef std::uint32_t DWORD;
#endif
#ifndef OVERLAPPED
typedef struct _OVERLAPPED {
    std::uintptr_t Internal;
    std::uintptr_t InternalHigh;
    DWORD Offset;
    DWORD OffsetHigh;
    void* hEvent;
} OVERLAPPED, *LPOVERLAPPED;
#endif
#endif

#ifndef NO_ERROR
#define NO_ERROR 0
#endif
#ifndef WSA_IO_PENDING
#define WSA_IO_PENDING 997
#endif
#ifndef WSA_OPERATION_ABORTED
#define WSA_OPERATION_ABORTED 995
#endif
#ifndef WSAEINTR
#define WSAEINTR 10004
#endif
#ifndef WSAEBADF
#define WSAEBADF 10009
#endif
#ifndef WSAEACCES
#define WSAEACCES 10013
#endif
#ifndef WSAEFAULT
#define WSAEFAULT 10014
#endif
#ifndef WSAEINVAL
#define WSAEINVAL 10022
#endif
#ifndef WSAEMFILE
#define WSAEMFILE 10024
#endif
#ifndef WSAEWOULDBLOCK
#define WSAEWOULDBLOCK 10035
#endif
#ifndef WSAENOTSOCK
#define WSAENOTSOCK 10038
#endif
#ifndef WSAEMSGSIZE
#define WSAEMSGSIZE 10040
#endif
#ifndef WSAEOPNOTSUPP
#define WSAEOPNOTSUPP 10045
#endif
#ifndef WSAEAFNOSUPPORT
#define WSAEAFNOSUPPORT 10047
#endif
#ifndef WSAEADDRINUSE
#define WSAEADDRINUSE 10048
#endif
#ifndef WSAEADDRNOTAVAIL
#define WSAEADDRNOTAVAIL 10049
#endif
#ifndef WSAENETDOWN
#define WSAENETDOWN 10050
#endif
#ifndef WSAENETUNREACH
#define WSAENETUNREACH 10051
#endif
#ifndef WSAECONNABORTED
#define WSAECONNABORTED 10053
#endif
#ifndef WSAECONNRESET
#define WSAECONNRESET 10054
#endif
#ifndef WSAENOBUFS
#define WSAENOBUFS 10055
#endif
#ifndef WSAEISCONN
#define WSAEISCONN 10056
#endif
#ifndef WSAENOTCONN
#define WSAENOTCONN 10057
#endif
#ifndef WSAESHUTDOWN
#define WSAESHUTDOWN 10058
#endif
#ifndef WSAETIMEDOUT
#define WSAETIMEDOUT 10060
#endif
#ifndef WSAECONNREFUSED
#define WSAECONNREFUSED 10061
#endif
#ifndef WSAEHOSTUNREACH
#define WSAEHOSTUNREACH 10065
#endif
#ifndef WSANOTINITIALISED
#define WSANOTINITIALISED 10093
#endif

#endif  // _WIN32

namespace RAON {
namespace Network {
namespace AsyncIO {
namespace Compatibility {

namespace detail {

// The Winsock code for the system's own number of an error.
inline DWORD WinsockCodeOfSystem(int32_t number) noexcept {
#ifdef _WIN32
    return static_cast<DWORD>(number);
#else
    switch (number) {
        case EINTR: return WSAEINTR;
        case EBADF: return WSAEBADF;
        case EACCES: case EPERM: return WSAEACCES;
        case EFAULT: return WSAEFAULT;
        case EINVAL: return WSAEINVAL;
        case EMFILE: case ENFILE: return WSAEMFILE;
        case EAGAIN: return WSAEWOULDBLOCK;
        case ENOTSOCK: return WSAENOTSOCK;
        case EMSGSIZE: return WSAEMSGSIZE;
        case EOPNOTSUPP: return WSAEOPNOTSUPP;
        case EAFNOSUPPORT: return WSAEAFNOSUPPORT;
        case EADDRINUSE: return WSAEADDRINUSE;
        case EADDRNOTAVAIL: return WSAEADDRNOTAVAIL;
        case ENETDOWN: return WSAENETDOWN;
        case ENETUNREACH: return WSAENETUNREACH;
        case ECONNABORTED: return WSAECONNABORTED;
        case ECONNRESET: case EPIPE: return WSAECONNRESET;
        case ENOBUFS: case ENOMEM: return WSAENOBUFS;
        case EISCONN: return WSAEISCONN;
        case ENOTCONN: return WSAENOTCONN;
        case ESHUTDOWN: return WSAESHUTDOWN;
        case ETIMEDOUT: return WSAETIMEDOUT;
        case ECONNREFUSED: return WSAECONNREFUSED;
        case EHOSTUNREACH: return WSAEHOSTUNREACH;
        case ECANCELED: return WSA_OPERATION_ABORTED;
        default: return static_cast<DWORD>(number);
    }
#endif
}

}  // namespace detail

// The Winsock code that a completion port would have told.
inline DWORD WinsockCode(const ::Network::CompletionResult& result) noexcept {
    using Status = ::Network::CompletionResult::Status;
    switch (result.mStatus) {
        case Status::Success: return NO_ERROR;
        case Status::Cancelled: return WSA_OPERATION_ABORTED;
        case Status::Timeout: return WSAETIMEDOUT;
        case Status::Error: break;
    }
    switch (result.mErrorCode) {
        case FP_CONNECTION_REFUSED: return WSAECONNREFUSED;
        case FP_CONNECTION_RESET: return WSAECONNRESET;
        case FP_CONNECTION_TIMEOUT: case FP_TIMEOUT: return WSAETIMEDOUT;
        case FP_BUFFER_TOO_SMALL: case FP_NO_RESOURCES: return WSAENOBUFS;
        case FP_SOCKET_NOT_REGISTERED: case FP_INVALID_SOCKET: return WSAENOTSOCK;
        case FP_NOT_INITIALIZED: return WSANOTINITIALISED;
        case FP_OPERATION_PENDING: return WSA_IO_PENDING;
        case FP_INVALID_BUFFER: return WSAEFAULT;
        case FP_PLATFORM_NOT_SUPPORTED: return WSAEOPNOTSUPP;
        case FP_CANCELLED: return WSA_OPERATION_ABORTED;
        default:
            // Those without a code of their own carry the system's; what is below 0 is left, and was a wrong call.
            return result.mErrorCode > 0 ? detail::WinsockCodeOfSystem(result.mErrorCode) : WSAEINVAL;
    }
}

// Calls a completion port's handler with the completions of a provider.
class IocpCallbackAdapter {
public:
    using IocpCallback = void (*)(void* session, LPOVERLAPPED overlapped, DWORD bytesTransferred, DWORD dwError);

    IocpCallbackAdapter(void* sessionPtr, IocpCallback originalCallback)
        : mSession(sessionPtr), mCallback(originalCallback) {}

    // `userContext` is the LPOVERLAPPED of the operation. A handler that throws is reported.
    void OnAsyncCompletion(const ::Network::CompletionResult& result, void* userContext) noexcept {
        if (!mCallback) return;
        try {
            mCallback(mSession, static_cast<LPOVERLAPPED>(userContext), result.mBytesTransferred, WinsockCode(result));
        } catch (...) {
            ::Network::detail::Report("a completion port's handler threw");
        }
    }

private:
    void* mSession;
    IocpCallback mCallback;
};

}  // namespace Compatibility

using Compatibility::IocpCallbackAdapter;

}  // namespace AsyncIO
}  // namespace Network
}  // namespace RAON
