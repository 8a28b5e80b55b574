// Completion-based socket I/O for C++17: one class over io_uring, epoll, kqueue, IOCP and Registered I/O.
//
// Header-only over fastport.h; link libfastport_capi. What callers may rely on:
//
// - Threads: operations may be begun by any thread at any time, and wake the one that waits in ProcessCompletions.
//   Initialize, ProcessCompletions and Shutdown may each be called by another thread.
// - Callbacks run inside ProcessCompletions, on its thread, or inside Shutdown for what that ends: each exactly once, and
//   its std::function is destroyed before the call returns. One that throws is reported (SetReporter), the others still
//   run. Callbacks may call the provider, Shutdown included, but not destroy it.
// - Sockets are the caller's, blocking or not. One that was never registered is registered by its first operation. Call
//   UnregisterSocket before a registered one is closed. Buffers are the caller's and must live until the completion.
// - A receive that succeeds with 0 bytes is the end of the peer's data. A dead peer is an error, never a signal.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#ifdef _WIN32
#include <winsock2.h>
#include <ws2tcpip.h>
#else
#include <sys/socket.h>
#endif

#include "fastport.h"

#ifndef _WIN32
#ifndef SOCKET
typedef int SOCKET;
#endif
#ifndef INVALID_SOCKET
#define INVALID_SOCKET (-1)
#endif
#endif

namespace Network {

using SOCKET_HANDLE = SOCKET;

// The outcome of one operation.
struct CompletionResult {
    enum class Status { Success = 0, Error = 1, Cancelled = 2, Timeout = 3 };

    Status mStatus = Status::Success;
    uint32_t mBytesTransferred = 0;
    int32_t mErrorCode = 0;         // 0, an ErrorCode, an FP_... below 0, or the system's own number
    uint32_t mOperationId = 0;      // what the call that began the operation returned
    void* mUserContext = nullptr;   // given to RegisterSocket, or with an operation of a batch
};

using CompletionCallback = std::function<void(const CompletionResult& result, void* userContext)>;

// Errors that are the same on every system.
enum class ErrorCode {
    ConnectionRefused = FP_CONNECTION_REFUSED,
    ConnectionReset = FP_CONNECTION_RESET,
    ConnectionTimeout = FP_CONNECTION_TIMEOUT,
    BufferTooSmall = FP_BUFFER_TOO_SMALL,
    SocketNotRegistered = FP_SOCKET_NOT_REGISTERED
};

struct SendOperation {
    SOCKET mSocket = INVALID_SOCKET;
    const void* mBuffer = nullptr;
    uint32_t mLength = 0;
    void* mUserContext = nullptr;   // null: the socket's
    CompletionCallback mCallback;
};

struct RecvOperation {
    SOCKET mSocket = INVALID_SOCKET;
    void* mBuffer = nullptr;
    uint32_t mMaxLength = 0;
    void* mUserContext = nullptr;   // null: the socket's
    CompletionCallback mCallback;
};

struct ProviderStatistics {
    uint32_t mActiveConnections = 0;
    uint32_t mPendingOperations = 0;
    uint64_t mCompletedOperations = 0;
    uint64_t mFailedOperations = 0;
    float mAverageLatencyMs = 0;
    void* mBackendSpecificData = nullptr;
};

// The interface. Operations return their id, or 0 if they were refused: then fp_last_error_message() tells why.
class AsyncIOProvider {
public:
    using CompletionResult = ::Network::CompletionResult;
    using CompletionCallback = ::Network::CompletionCallback;
    using ErrorCode = ::Network::ErrorCode;

    AsyncIOProvider() = default;
    AsyncIOProvider(const AsyncIOProvider&) = delete;
    AsyncIOProvider& operator=(const AsyncIOProvider&) = delete;
    virtual ~AsyncIOProvider() = default;

    // False if the backend does not work here, or runs already. Queue sizes outside 32 ..= 4096 are clamped, and reported.
    virtual bool Initialize(uint32_t maxConnections, uint32_t maxCompletionQueueSize = 256) = 0;
    // Ends every operation: each completes, most as Cancelled, and its callback runs before the call returns. Results of
    // operations without a callback are kept for ProcessCompletions. Sockets stay open; Initialize works again.
    virtual void Shutdown() = 0;

    virtual bool RegisterSocket(SOCKET socket, void* context = nullptr) = 0;
    // Cancels the socket's operations and lets go of it. Their completions come with ProcessCompletions.
    virtual bool UnregisterSocket(SOCKET socket) = 0;

    virtual uint32_t SendAsync(SOCKET socket, const void* buffer, uint32_t length,
                               CompletionCallback callback = nullptr) = 0;
    virtual uint32_t RecvAsync(SOCKET socket, void* buffer, uint32_t maxLength,
                               CompletionCallback callback = nullptr) = 0;
    // `accepted` and `addressBuffer` (a sockaddr) may be null, and are written before the completion is told.
    virtual uint32_t AcceptAsync(SOCKET listening, SOCKET* accepted, void* addressBuffer, uint32_t addressBufferSize,
                                 CompletionCallback callback = nullptr) = 0;
    virtual uint32_t ConnectAsync(SOCKET socket, const sockaddr* address, int addressLength,
                                  CompletionCallback callback = nullptr) = 0;
    // Returns how many were posted: all, or those before the first that was refused.
    virtual uint32_t SendBatchAsync(const SendOperation* operations, uint32_t count) = 0;
    virtual uint32_t RecvBatchAsync(const RecvOperation* operations, uint32_t count) = 0;

    // Runs callbacks and fills `results` with the same completions, at most `maxResults`; the rest stays queued. Returns
    // their number, 0 when `timeoutMs` is over (0 polls, -1 waits for ever), or below 0 with the error in results[0].
    // `results` may be null for those who have callbacks only.
    virtual int32_t ProcessCompletions(int32_t timeoutMs, uint32_t maxResults, CompletionResult* results) = 0;

    // The buffer's id, or below 0. The memory must live until UnregisterBuffer or Shutdown.
    virtual int32_t RegisterBuffer(const void* buffer, uint32_t size) = 0;
    virtual bool UnregisterBuffer(int32_t bufferId) = 0;
    virtual uint32_t SendAsyncRegistered(SOCKET socket, int32_t bufferId, uint32_t offset, uint32_t length,
                                         CompletionCallback callback = nullptr) = 0;
    virtual uint32_t RecvAsyncRegistered(SOCKET socket, int32_t bufferId, uint32_t offset, uint32_t maxLength,
                                         CompletionCallback callback = nullptr) = 0;

    virtual const char* GetBackendName() const = 0;
    virtual bool SupportsFeature(const char* feature) const = 0;
    // Before Initialize; see fp_provider_set_option for the names.
    virtual bool SetOption(const char* option, const void* value, uint32_t size) = 0;
    virtual void GetStatistics(ProviderStatistics& statistics) const = 0;
};

// Told what a program cannot be told by a result: a callback that threw, a limit that was clamped.
using Reporter = void (*)(const char* message);

namespace detail {

inline void ReportToStderr(const char* message) { std::fprintf(stderr, "fastport: %s\n", message); }

inline std::atomic<Reporter>& TheReporter() {
    static std::atomic<Reporter> reporter{&ReportToStderr};
    return reporter;
}

inline void Report(const std::string& message) noexcept {
    if (Reporter reporter = TheReporter().load()) reporter(message.c_str());
}

// What C++ keeps for an operation in flight.
struct Pending {
    CompletionCallback callback;
    void* userContext = nullptr;
    SOCKET* accepted = nullptr;
    Pending* next = nullptr;
};

// Recycles them, so that an operation allocates nothing once as many have been in flight before.
class PendingPool {
public:
    Pending* Take(CompletionCallback&& callback, void* userContext, SOCKET* accepted) {
        Pending* pending = Pop();
        pending->callback = std::move(callback);
        pending->userContext = userContext;
        pending->accepted = accepted;
        return pending;
    }

    void Give(Pending* pending) {
        std::lock_guard<std::mutex> lock(mMutex);
        pending->next = mFree;
        mFree = pending;
    }

private:
    static constexpr std::size_t kChunk = 256;

    Pending* Pop() {
        std::lock_guard<std::mutex> lock(mMutex);
        if (!mFree) {
            mChunks.push_back(std::make_unique<Pending[]>(kChunk));
            for (std::size_t position = 0; position < kChunk; ++position) {
                mChunks.back()[position].next = mFree;
                mFree = &mChunks.back()[position];
            }
        }
        Pending* pending = mFree;
        mFree = pending->next;
        return pending;
    }

    std::mutex mMutex;
    std::vector<std::unique_ptr<Pending[]>> mChunks;
    Pending* mFree = nullptr;
};

}  // namespace detail

// Chooses who is told; null for nobody. The default writes to stderr.
inline void SetReporter(Reporter reporter) { detail::TheReporter().store(reporter); }

namespace detail {

// The class over one backend of the C ABI. It repeats the defaults of the interface, for those who hold it by its own
// type.
class BackendProvider : public AsyncIOProvider {
public:
    explicit BackendProvider(const char* backend) { fp_provider_create(backend, &mProvider); }

    ~BackendProvider() override {
        BackendProvider::Shutdown();
        fp_provider_destroy(mProvider);
    }

    bool Initialize(uint32_t maxConnections, uint32_t maxCompletionQueueSize = 256) override {
        const uint32_t depth = std::min<uint32_t>(std::max<uint32_t>(maxCompletionQueueSize, 32), 4096);
        // A connection has two or three operations in flight; whoever queues more gets the room for it.
        const uint64_t wanted = std::max<uint64_t>(uint64_t{maxConnections} * 64, uint64_t{1} << 20);
        const auto operations = static_cast<uint32_t>(std::min<uint64_t>(wanted, uint64_t{1} << 24));
        if (fp_provider_initialize(mProvider, depth, operations) != FP_OK) return false;
        if (depth != maxCompletionQueueSize) {
            Report("a completion queue of " + std::to_string(maxCompletionQueueSize) + " is outside 32 ..= 4096; using " +
                   std::to_string(depth));
        }
        std::lock_guard<std::mutex> lock(mKeptMutex);
        mKept.clear();
        return true;
    }

    void Shutdown() override {
        fp_provider_shutdown(mProvider);
        fp_completion completions[kBatch];
        uint32_t count = 0;
        while (fp_provider_process(mProvider, completions, kBatch, 0, &count) == FP_OK && count > 0) {
            for (uint32_t position = 0; position < count; ++position) {
                const bool isTold = HasCallback(completions[position]);
                const CompletionResult result = Complete(completions[position]);
                if (isTold) continue;
                std::lock_guard<std::mutex> lock(mKeptMutex);
                mKept.push_back(result);
            }
        }
    }

    bool RegisterSocket(SOCKET socket, void* context = nullptr) override {
        return fp_provider_register_socket(mProvider, Raw(socket), Bits(context)) == FP_OK;
    }

    bool UnregisterSocket(SOCKET socket) override {
        return fp_provider_unregister_socket(mProvider, Raw(socket)) == FP_OK;
    }

    uint32_t SendAsync(SOCKET socket, const void* buffer, uint32_t length,
                       CompletionCallback callback = nullptr) override {
        return Begin(std::move(callback), nullptr, [&](uint64_t context, uint32_t* id) {
            return fp_provider_send(mProvider, Raw(socket), buffer, length, context, id);
        });
    }

    uint32_t RecvAsync(SOCKET socket, void* buffer, uint32_t maxLength,
                       CompletionCallback callback = nullptr) override {
        return Begin(std::move(callback), nullptr, [&](uint64_t context, uint32_t* id) {
            return fp_provider_receive(mProvider, Raw(socket), buffer, maxLength, context, id);
        });
    }

    uint32_t AcceptAsync(SOCKET listening, SOCKET* accepted, void* addressBuffer, uint32_t addressBufferSize,
                         CompletionCallback callback = nullptr) override {
        return Begin(std::move(callback), accepted, [&](uint64_t context, uint32_t* id) {
            return fp_provider_accept(mProvider, Raw(listening), nullptr, addressBuffer, addressBufferSize, context, id);
        });
    }

    uint32_t ConnectAsync(SOCKET socket, const sockaddr* address, int addressLength,
                          CompletionCallback callback = nullptr) override {
        return Begin(std::move(callback), nullptr, [&](uint64_t context, uint32_t* id) {
            const auto bytes = addressLength > 0 ? static_cast<uint32_t>(addressLength) : 0;
            return fp_provider_connect(mProvider, Raw(socket), address, bytes, context, id);
        });
    }

    uint32_t SendBatchAsync(const SendOperation* operations, uint32_t count) override {
        return BeginBatch<fp_send>(operations, count, &fp_provider_send_batch, [](const SendOperation& operation) {
            return fp_send{Raw(operation.mSocket), operation.mBuffer, operation.mLength, 0};
        });
    }

    uint32_t RecvBatchAsync(const RecvOperation* operations, uint32_t count) override {
        return BeginBatch<fp_receive>(operations, count, &fp_provider_receive_batch, [](const RecvOperation& operation) {
            return fp_receive{Raw(operation.mSocket), operation.mBuffer, operation.mMaxLength, 0};
        });
    }

    int32_t ProcessCompletions(int32_t timeoutMs, uint32_t maxResults, CompletionResult* results) override {
        uint32_t total = TakeKept(maxResults, results);
        if (total > 0) return static_cast<int32_t>(total);
        if (maxResults == 0) return 0;
        fp_completion completions[kBatch];
        uint32_t count = kBatch;
        while (total < maxResults && count == kBatch) {
            const uint32_t room = std::min<uint32_t>(maxResults - total, kBatch);
            const int32_t wait = total == 0 ? timeoutMs : 0;
            const int32_t error = fp_provider_process(mProvider, completions, room, wait, &count);
            if (error != FP_OK) return total > 0 ? static_cast<int32_t>(total) : Fail(error, results);
            for (uint32_t position = 0; position < count; ++position) {
                const CompletionResult result = Complete(completions[position]);
                if (results) results[total + position] = result;
            }
            total += count;
        }
        return static_cast<int32_t>(total);
    }

    int32_t RegisterBuffer(const void* buffer, uint32_t size) override {
        int32_t id = -1;
        return fp_provider_register_buffer(mProvider, buffer, size, &id) == FP_OK ? id : -1;
    }

    bool UnregisterBuffer(int32_t bufferId) override {
        return fp_provider_unregister_buffer(mProvider, bufferId) == FP_OK;
    }

    uint32_t SendAsyncRegistered(SOCKET socket, int32_t bufferId, uint32_t offset, uint32_t length,
                                 CompletionCallback callback = nullptr) override {
        return Begin(std::move(callback), nullptr, [&](uint64_t context, uint32_t* id) {
            return fp_provider_send_registered(mProvider, Raw(socket), bufferId, offset, length, context, id);
        });
    }

    uint32_t RecvAsyncRegistered(SOCKET socket, int32_t bufferId, uint32_t offset, uint32_t maxLength,
                                 CompletionCallback callback = nullptr) override {
        return Begin(std::move(callback), nullptr, [&](uint64_t context, uint32_t* id) {
            return fp_provider_receive_registered(mProvider, Raw(socket), bufferId, offset, maxLength, context, id);
        });
    }

    const char* GetBackendName() const override {
        const char* name = fp_provider_backend(mProvider);
        std::size_t count = 0;
        const char* const* supported = fp_supported_backends(&count);
        // One that is not initialised yet will be the best.
        if (name && std::string(name) == "auto" && count > 0) return supported[0];
        return name ? name : "";
    }

    bool SupportsFeature(const char* feature) const override { return fp_provider_supports(mProvider, feature); }

    bool SetOption(const char* option, const void* value, uint32_t size) override {
        return fp_provider_set_option(mProvider, option, value, size) == FP_OK;
    }

    void GetStatistics(ProviderStatistics& statistics) const override {
        statistics = ProviderStatistics{};
        fp_provider_statistics counts;
        if (fp_provider_get_statistics(mProvider, &counts) != FP_OK) return;
        statistics.mActiveConnections = static_cast<uint32_t>(counts.active_sockets);
        statistics.mPendingOperations = static_cast<uint32_t>(counts.pending);
        statistics.mCompletedOperations = counts.completions;
        statistics.mFailedOperations = counts.errors;
        statistics.mAverageLatencyMs = static_cast<float>(static_cast<double>(counts.mean_latency_ns) / 1e6);
    }

private:
    static constexpr uint32_t kBatch = 64;

    static fp_socket Raw(SOCKET socket) { return static_cast<fp_socket>(socket); }
    static uint64_t Bits(const void* pointer) { return static_cast<uint64_t>(reinterpret_cast<std::uintptr_t>(pointer)); }
    template <class T>
    static T* Pointer(uint64_t bits) { return reinterpret_cast<T*>(static_cast<std::uintptr_t>(bits)); }

    // An operation with a callback or a place for a socket has a Pending; its address is the operation's context.
    template <class Call>
    uint32_t Begin(CompletionCallback&& callback, SOCKET* accepted, Call call) {
        Pending* pending = callback || accepted ? mPending.Take(std::move(callback), nullptr, accepted) : nullptr;
        uint32_t id = 0;
        if (call(Bits(pending), &id) == FP_OK) return id;
        if (pending) Forget(pending);
        return 0;
    }

    template <class Entry, class Operation, class Call, class Make>
    uint32_t BeginBatch(const Operation* operations, uint32_t count, Call call, Make make) {
        if (!operations) return 0;
        std::vector<Entry> entries;
        entries.reserve(count);
        for (uint32_t position = 0; position < count; ++position) {
            const Operation& operation = operations[position];
            entries.push_back(make(operation));
            if (!operation.mCallback && !operation.mUserContext) continue;
            CompletionCallback callback = operation.mCallback;
            entries.back().context = Bits(mPending.Take(std::move(callback), operation.mUserContext, nullptr));
        }
        uint32_t posted = 0;
        call(mProvider, entries.data(), count, nullptr, &posted);
        for (uint32_t position = posted; position < count; ++position) {
            if (entries[position].context) Forget(Pointer<Pending>(entries[position].context));
        }
        return posted;
    }

    void Forget(Pending* pending) {
        pending->callback = nullptr;
        mPending.Give(pending);
    }

    static bool HasCallback(const fp_completion& completion) {
        return completion.context && Pointer<Pending>(completion.context)->callback;
    }

    // Ends an operation: its Pending goes back, its callback runs and is destroyed.
    CompletionResult Complete(const fp_completion& completion) {
        CompletionResult result;
        result.mStatus = static_cast<CompletionResult::Status>(completion.status);
        result.mBytesTransferred = completion.bytes;
        result.mErrorCode = completion.error;
        result.mOperationId = completion.operation;
        result.mUserContext = Pointer<void>(completion.socket_context);
        if (!completion.context) return result;
        auto* pending = Pointer<Pending>(completion.context);
        if (pending->userContext) result.mUserContext = pending->userContext;
        if (pending->accepted) *pending->accepted = static_cast<SOCKET>(completion.accepted);
        const CompletionCallback callback = std::exchange(pending->callback, nullptr);
        mPending.Give(pending);
        if (callback) Run(callback, result);
        return result;
    }

    static void Run(const CompletionCallback& callback, const CompletionResult& result) noexcept {
        try {
            callback(result, result.mUserContext);
        } catch (const std::exception& exception) {
            Report(std::string("a completion callback threw: ") + exception.what());
        } catch (...) {
            Report("a completion callback threw something that is no std::exception");
        }
    }

    static int32_t Fail(int32_t error, CompletionResult* results) {
        if (results) {
            results[0] = CompletionResult{};
            results[0].mStatus = CompletionResult::Status::Error;
            results[0].mErrorCode = error;
        }
        return error < 0 ? error : FP_OPERATION_FAILED;
    }

    // What a shutdown left for those who poll.
    uint32_t TakeKept(uint32_t maxResults, CompletionResult* results) {
        std::lock_guard<std::mutex> lock(mKeptMutex);
        uint32_t count = 0;
        for (; count < maxResults && !mKept.empty(); ++count) {
            if (results) results[count] = mKept.front();
            mKept.pop_front();
        }
        return count;
    }

    fp_provider mProvider = 0;
    PendingPool mPending;
    std::mutex mKeptMutex;
    std::deque<CompletionResult> mKept;
};

}  // namespace detail

// One class for each backend. Each can be constructed on every system; Initialize is false where it does not work.

class IOUringAsyncIOProvider : public detail::BackendProvider {
public:
    IOUringAsyncIOProvider() : BackendProvider("io_uring") {}
};

class EpollAsyncIOProvider : public detail::BackendProvider {
public:
    EpollAsyncIOProvider() : BackendProvider("epoll") {}
};

class KqueueAsyncIOProvider : public detail::BackendProvider {
public:
    KqueueAsyncIOProvider() : BackendProvider("kqueue") {}
};

class IocpAsyncIOProvider : public detail::BackendProvider {
public:
    IocpAsyncIOProvider() : BackendProvider("iocp") {}
};

class RIOAsyncIOProvider : public detail::BackendProvider {
public:
    RIOAsyncIOProvider() : BackendProvider("rio") {}
};

// Whether a backend works here, found by trying. Names in any case; false for unknown ones.
inline bool IsPlatformSupported(const char* platform) { return platform && fp_backend_supported(platform) == FP_OK; }

// The names of all that work here, best first.
inline const char** GetSupportedPlatforms(std::size_t& count) {
    return const_cast<const char**>(fp_supported_backends(&count));
}

// The best that works here; what the environment variable FASTPORT_BACKEND says comes first.
inline std::unique_ptr<AsyncIOProvider> CreateAsyncIOProvider() {
    return std::make_unique<detail::BackendProvider>("auto");
}

// "IOCP", "RIO", "io_uring", "epoll" or "kqueue"; null if it does not work here, or is unknown.
inline std::unique_ptr<AsyncIOProvider> CreateAsyncIOProvider(const char* platform) {
    if (!IsPlatformSupported(platform)) return nullptr;
    return std::make_unique<detail::BackendProvider>(platform);
}

}  // namespace Network
