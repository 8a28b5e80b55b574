// FastPort for C++: framed servers, and the connections that they make.
//
//   class Echo : public fastport::ServerHandler {
//     void OnPacket(fastport::Session session, uint16_t id, const void* payload, size_t bytes) override {
//       session.Send(id, payload, bytes);
//     }
//   };
//
//   Echo echo;
//   fastport::Server server(echo);
//   if (!server.Listen("0.0.0.0:6628") || !server.Start()) {
//     std::fprintf(stderr, "%s\n", fastport::LastError());
//     return 1;
//   }
//
// C++17, header-only, over the C interface in fastport.h, which documents threads, limits and errors of each call. Link
// with libfastport_capi. Nothing here throws. What a handler throws ends the session that it was thrown for
// (FP_CLOSED_CALLBACK_FAILED); the others live on.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "fastport.h"

#if defined(__cpp_exceptions) || defined(_CPPUNWIND)
#include <exception>
#endif

namespace fastport {

// Why the latest call on this thread failed, and what to do; valid until the next call that fails.
inline const char* LastError() noexcept { return fp_last_error_message(); }

// A session of a server: a name for it, to be copied and kept at will, also beyond the end of the session and of the
// server. Any thread may use it.
class Session {
public:
    // No session.
    Session() noexcept = default;
    Session(fp_server server, fp_session id) noexcept : mServer(server), mId(id) {}

    // Never the same for two sessions of one server; 0 is none.
    fp_session Id() const noexcept { return mId; }

    // Sends a packet: FP_OK, FP_SESSION_CLOSED, FP_QUEUE_FULL or FP_PACKET_TOO_LARGE. Inside a callback of the session
    // itself it is written straight into the memory that it is sent from.
    int32_t Send(uint16_t id, const void* payload, size_t bytes) const noexcept {
        return fp_session_send(mServer, mId, id, payload, bytes);
    }

    // Sends on the packet that OnPacket was given on this thread, as it came. A large one goes back to its own session
    // without a copy.
    int32_t Forward() const noexcept { return fp_session_forward(mServer, mId); }

    // Ends it gracefully: what is queued is sent first. False if it was gone already.
    bool Close() const noexcept { return fp_session_close(mServer, mId) == FP_OK; }

    // Ends it at once by a reset. False if it was gone already.
    bool Abort() const noexcept { return fp_session_abort(mServer, mId) == FP_OK; }

    // Whether packets can be sent to it.
    bool IsOpen() const noexcept { return fp_session_is_open(mServer, mId); }

    friend bool operator==(Session left, Session right) noexcept {
        return left.mServer == right.mServer && left.mId == right.mId;
    }
    friend bool operator!=(Session left, Session right) noexcept { return !(left == right); }

private:
    fp_server mServer = 0;
    fp_session mId = 0;
};

// What an application implements. For each session OnAccepted or OnConnected comes first and OnClosed last, each
// exactly once, and never two callbacks at the same time; callbacks of different sessions come at the same time if the
// server has several threads (`workers`, `handler_threads`). They must not wait for anything unless there are
// `handler_threads`.
class ServerHandler {
public:
    virtual ~ServerHandler() = default;

    // A client has connected from `peer`, such as "192.0.2.7:4711".
    virtual void OnAccepted(Session, const char* /*peer*/) {}
    // A connection stands that Server::Connect asked for.
    virtual void OnConnected(Session, uint64_t /*token*/) {}
    // An attempt to connect has failed.
    virtual void OnConnectFailed(uint64_t /*token*/, int32_t /*error*/, const char* /*message*/) {}
    // A whole packet has arrived; its memory is valid until the return.
    virtual void OnPacket(Session, uint16_t id, const void* payload, size_t bytes) = 0;
    // The system has taken `bytes` more bytes of what was sent.
    virtual void OnSent(Session, size_t /*bytes*/) {}
    // The session was full and takes packets again.
    virtual void OnWritable(Session) {}
    // The session is over: `reason` is one of FP_CLOSED_…, `error` belongs to FP_CLOSED_ERROR.
    virtual void OnClosed(Session, uint32_t /*reason*/, int32_t /*error*/, const fp_session_statistics&) {}
    // The period `tick_ms` is over, on this thread.
    virtual void OnTick(uint32_t /*thread*/) {}
    // A client was turned away because of a limit: "sessions", "address", "rate" or "exhausted".
    virtual void OnRefused(const char* /*peer*/, const char* /*reason*/) {}
};

// The options of a server, all at their defaults; see fp_server_options.
struct ServerOptions : fp_server_options {
    ServerOptions() noexcept : fp_server_options{} { struct_bytes = sizeof(fp_server_options); }
};

// How to connect, all at the defaults; see fp_connect_options.
struct ConnectOptions : fp_connect_options {
    ConnectOptions() noexcept : fp_connect_options{} { struct_bytes = sizeof(fp_connect_options); }
};

// How a server ended; see fp_stop_report.
struct StopReport : fp_stop_report {
    StopReport() noexcept : fp_stop_report{} { struct_bytes = sizeof(fp_stop_report); }
};

// The counts of a server; see fp_server_statistics.
struct ServerStatistics : fp_server_statistics {
    ServerStatistics() noexcept : fp_server_statistics{} { struct_bytes = sizeof(fp_server_statistics); }
};

// A server. Calls that return false or a number other than FP_OK have failed; LastError says why.
//
// When it is destroyed it stops, without draining unless Stop was called. A server must not be destroyed inside one of
// its own callbacks, which it would wait for: that ends the program.
class Server {
public:
    // `handler` must outlive the server. `options` are checked by Start.
    explicit Server(ServerHandler& handler, const ServerOptions& options = ServerOptions()) noexcept
            : mBridge{&handler, 0} {
        fp_server_callbacks callbacks{};
        callbacks.struct_bytes = sizeof callbacks;
        callbacks.accepted = &Bridge::Accepted;
        callbacks.connected = &Bridge::Connected;
        callbacks.connect_failed = &Bridge::ConnectFailed;
        callbacks.packet = &Bridge::Packet;
        callbacks.sent = &Bridge::Sent;
        callbacks.writable = &Bridge::Writable;
        callbacks.closed = &Bridge::Closed;
        callbacks.tick = options.tick_ms == 0 ? nullptr : &Bridge::Tick;
        callbacks.refused = &Bridge::Refused;
        // If it fails the handle stays 0, and every further call says so.
        fp_server_create(&options, &callbacks, &mBridge, &mBridge.mServer);
    }

    ~Server() {
        if (mBridge.mServer != 0 && fp_server_destroy(mBridge.mServer) == FP_OPERATION_PENDING) {
            std::fprintf(stderr, "fastport::Server destroyed inside its own callback: %s\n", LastError());
            std::abort();
        }
    }

    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    // Adds an address to listen on, such as "0.0.0.0:6628" or "[::]:6628", before Start. With port 0 the system chooses
    // one.
    bool Listen(const char* address) noexcept { return fp_server_listen(mBridge.mServer, address) == FP_OK; }

    // Starts the threads. Clients can connect when it returns.
    bool Start() noexcept { return fp_server_start(mBridge.mServer) == FP_OK; }

    // Closes the listeners; sessions live on.
    bool StopAccepting() noexcept { return fp_server_stop_accepting(mBridge.mServer) == FP_OK; }

    // Stops and waits for the end; sessions may send what is queued for at most `drainLimitMs`. Not inside callbacks.
    bool Stop(uint32_t drainLimitMs, StopReport* report = nullptr) noexcept {
        return fp_server_stop(mBridge.mServer, drainLimitMs, report) == FP_OK;
    }

    // Stops without waiting; for callbacks, too.
    bool BeginStop(uint32_t drainLimitMs) noexcept {
        return fp_server_begin_stop(mBridge.mServer, drainLimitMs) == FP_OK;
    }

    // Waits for the end. Not inside callbacks.
    bool Wait(StopReport* report = nullptr) noexcept { return fp_server_wait(mBridge.mServer, report) == FP_OK; }

    // The session with this id.
    Session Find(fp_session id) const noexcept { return Session(mBridge.mServer, id); }

    // Sends one packet, encoded once, to many sessions; returns how many take it.
    size_t Broadcast(const fp_session* sessions, size_t count, uint16_t id, const void* payload,
                     size_t bytes) noexcept {
        size_t reached = 0;
        fp_server_broadcast(mBridge.mServer, sessions, count, id, payload, bytes, &reached);
        return reached;
    }
    size_t Broadcast(const std::vector<fp_session>& sessions, uint16_t id, const void* payload, size_t bytes) noexcept {
        return Broadcast(sessions.data(), sessions.size(), id, payload, bytes);
    }

    // Makes a connection; OnConnected or OnConnectFailed tells the outcome with `token`.
    int32_t Connect(const char* address, uint64_t token, const ConnectOptions& options = ConnectOptions()) noexcept {
        return fp_server_connect(mBridge.mServer, address, token, &options);
    }
    // Makes none any more that was asked for with `token`: an attempt under way, or its wait, ends with OnConnectFailed.
    int32_t CancelConnect(uint64_t token) noexcept { return fp_server_cancel_connect(mBridge.mServer, token); }

    // The port of the first address, or of another one; 0 before Start.
    uint16_t Port(uint32_t index = 0) const noexcept {
        uint16_t port = 0;
        fp_server_address(mBridge.mServer, index, nullptr, 0, &port);
        return port;
    }

    // An address that it listens on; empty if there is none.
    std::string Address(uint32_t index = 0) const {
        char text[64] = "";
        fp_server_address(mBridge.mServer, index, text, sizeof text, nullptr);
        return text;
    }

    // The backend in use, once started; otherwise an empty text.
    const char* BackendName() const noexcept {
        const char* name = fp_server_backend(mBridge.mServer);
        return name == nullptr ? "" : name;
    }

    ServerStatistics Statistics() const noexcept {
        ServerStatistics statistics;
        fp_server_get_statistics(mBridge.mServer, &statistics);
        return statistics;
    }

private:
    // From callbacks of C to the handler. Its address is what the callbacks are given.
    struct Bridge {
        ServerHandler* mHandler;
        fp_server mServer;

        static Bridge& Of(void* user) noexcept { return *static_cast<Bridge*>(user); }

        Session Find(fp_session id) const noexcept { return Session(mServer, id); }

        // Calls the handler, and keeps its exceptions on this side.
        template <class Call>
        static void Contain(Call&& call) noexcept {
#if defined(__cpp_exceptions) || defined(_CPPUNWIND)
            try {
                call();
            } catch (const std::exception& error) {
                fp_callback_failed(error.what());
            } catch (...) {
                fp_callback_failed("the handler threw something that is no std::exception");
            }
#else
            call();
#endif
        }

        static void Accepted(void* user, fp_session session, const char* peer) {
            Bridge& bridge = Of(user);
            Contain([&] { bridge.mHandler->OnAccepted(bridge.Find(session), peer); });
        }
        static void Connected(void* user, fp_session session, uint64_t token) {
            Bridge& bridge = Of(user);
            Contain([&] { bridge.mHandler->OnConnected(bridge.Find(session), token); });
        }
        static void ConnectFailed(void* user, uint64_t token, int32_t error, const char* message) {
            Contain([&] { Of(user).mHandler->OnConnectFailed(token, error, message); });
        }
        static void Packet(void* user, fp_session session, uint16_t id, const void* payload, size_t bytes) {
            Bridge& bridge = Of(user);
            Contain([&] { bridge.mHandler->OnPacket(bridge.Find(session), id, payload, bytes); });
        }
        static void Sent(void* user, fp_session session, size_t bytes) {
            Bridge& bridge = Of(user);
            Contain([&] { bridge.mHandler->OnSent(bridge.Find(session), bytes); });
        }
        static void Writable(void* user, fp_session session) {
            Bridge& bridge = Of(user);
            Contain([&] { bridge.mHandler->OnWritable(bridge.Find(session)); });
        }
        static void Closed(void* user, fp_session session, uint32_t reason, int32_t error,
                                              const fp_session_statistics* statistics) {
            Bridge& bridge = Of(user);
            Contain([&] { bridge.mHandler->OnClosed(bridge.Find(session), reason, error, *statistics); });
        }
        static void Tick(void* user, uint32_t thread) {
            Contain([&] { Of(user).mHandler->OnTick(thread); });
        }
        static void Refused(void* user, const char* peer, const char* reason) {
            Contain([&] { Of(user).mHandler->OnRefused(peer, reason); });
        }
    };

    Bridge mBridge;
};

}  // namespace fastport

// Sessions of one server as keys of unordered containers.
template <>
struct std::hash<fastport::Session> {
    size_t operator()(fastport::Session session) const noexcept { return std::hash<fp_session>()(session.Id()); }
};
