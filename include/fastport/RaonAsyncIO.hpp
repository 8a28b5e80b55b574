// The lower-level flavour of the provider: no callbacks, the 64-bit context of a request comes back in its entry; and the
// contexts by which entries find their session, or nothing if it is gone.
//
// Header-only over fastport.h; link libfastport_capi. Threads, sockets and buffers are as in AsyncIOProvider.hpp.
#pragma once

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#ifdef _WIN32
#include <winsock2.h>
#endif

#include "fastport.h"

namespace RAON {
namespace Network {
namespace AsyncIO {

#ifdef _WIN32
using SocketHandle = SOCKET;
using OSError = DWORD;
#else
using SocketHandle = int;
using OSError = int;
#endif

using RequestContext = uint64_t;

enum class AsyncIOType : uint8_t { Send, Recv, Accept, Connect, Timeout, Error };

enum class PlatformType : uint8_t { IOCP, RIO, Epoll, IOUring, Kqueue };

enum class AsyncIOError : int32_t {
    Success = FP_OK,
    NotInitialized = FP_NOT_INITIALIZED,
    InvalidSocket = FP_INVALID_SOCKET,
    OperationPending = FP_OPERATION_PENDING,
    OperationFailed = FP_OPERATION_FAILED,
    InvalidBuffer = FP_INVALID_BUFFER,
    NoResources = FP_NO_RESOURCES,
    Timeout = FP_TIMEOUT,
    PlatformNotSupported = FP_PLATFORM_NOT_SUPPORTED,
    AlreadyInitialized = FP_ALREADY_INITIALIZED
};

// The outcome of one request.
struct CompletionEntry {
    RequestContext context;
    AsyncIOType type;
    int32_t result;           // bytes transferred, or an AsyncIOError, which is below 0
    OSError osError;          // 0, or the system's number of the error; of what was cancelled, that for it
    uint64_t completionTime;  // nanoseconds of a clock that never goes back
};

struct IOBuffer {
    void* data;
    std::size_t size;
    std::size_t offset;
};

struct ProviderInfo {
    PlatformType platformType;
    const char* name;
    uint32_t capabilities;    // bit 0: buffer registration, 1: batching, 2: zero copy
    std::size_t maxQueueDepth;
    std::size_t maxConcurrentReq;
    bool supportsBufferReg;
    bool supportsBatching;
    bool supportsZeroCopy;
};

struct ProviderStats {
    uint64_t totalRequests;
    uint64_t totalCompletions;
    uint64_t pendingRequests;
    uint64_t avgLatency;      // nanoseconds
    double p99Latency;        // nanoseconds
    uint64_t errorCount;
};

class AsyncIOProvider {
public:
    AsyncIOProvider() = default;
    AsyncIOProvider(const AsyncIOProvider&) = delete;
    AsyncIOProvider& operator=(const AsyncIOProvider&) = delete;
    virtual ~AsyncIOProvider() = default;

    // A queue depth outside 32 ..= 4096 is refused; GetLastError tells so.
    virtual AsyncIOError Initialize(std::size_t queueDepth, std::size_t maxConcurrent) = 0;
    // Ends every request; their entries are still handed out by ProcessCompletions, which then returns -1.
    virtual void Shutdown() = 0;
    virtual bool IsInitialized() const = 0;

    // The id of the buffer, or an AsyncIOError, which is below 0.
    virtual int64_t RegisterBuffer(const void* ptr, std::size_t size) = 0;
    virtual AsyncIOError UnregisterBuffer(int64_t bufferId) = 0;

    // `flags` is for the future; pass 0.
    virtual AsyncIOError SendAsync(SocketHandle socket, const void* buffer, std::size_t size, RequestContext context,
                                   uint32_t flags = 0) = 0;
    virtual AsyncIOError RecvAsync(SocketHandle socket, void* buffer, std::size_t size, RequestContext context,
                                   uint32_t flags = 0) = 0;
    // Hands requests to the system now; ProcessCompletions does so by itself.
    virtual AsyncIOError FlushRequests() = 0;

    // The number of entries, 0 when the time is over (0 polls, below 0 waits for ever), or an AsyncIOError below 0.
    virtual int ProcessCompletions(CompletionEntry* entries, std::size_t maxEntries, int timeoutMs = 0) = 0;

    virtual const ProviderInfo& GetInfo() const = 0;
    virtual ProviderStats GetStats() const = 0;
    // What the latest call that failed on this thread was about.
    virtual const char* GetLastError() const = 0;
};

namespace detail {

// The AsyncIOError for an error number of the C ABI.
inline AsyncIOError ErrorOf(int32_t number) {
    if (number <= FP_OK && number >= FP_ALREADY_INITIALIZED) return static_cast<AsyncIOError>(number);
    switch (number) {
        case FP_SOCKET_NOT_REGISTERED: return AsyncIOError::InvalidSocket;
        case FP_BUFFER_TOO_SMALL: return AsyncIOError::NoResources;
        default: return AsyncIOError::OperationFailed;
    }
}

inline CompletionEntry EntryOf(const fp_completion& completion) {
#ifdef _WIN32
    const OSError aborted = ERROR_OPERATION_ABORTED;
#else
    const OSError aborted = ECANCELED;
#endif
    CompletionEntry entry{};
    entry.context = completion.context;
    entry.completionTime = completion.time_ns;
    switch (completion.kind) {
        case FP_KIND_SEND: entry.type = AsyncIOType::Send; break;
        case FP_KIND_RECEIVE: entry.type = AsyncIOType::Recv; break;
        case FP_KIND_ACCEPT: entry.type = AsyncIOType::Accept; break;
        case FP_KIND_CONNECT: entry.type = AsyncIOType::Connect; break;
        case FP_KIND_TIMEOUT: entry.type = AsyncIOType::Timeout; break;
        default: entry.type = AsyncIOType::Error; break;
    }
    if (completion.status == FP_STATUS_SUCCESS) {
        entry.result = static_cast<int32_t>(completion.bytes);
        return entry;
    }
    const bool isCancelled = completion.status == FP_STATUS_CANCELLED;
    entry.result = static_cast<int32_t>(isCancelled ? AsyncIOError::OperationFailed : ErrorOf(completion.error));
    entry.osError = isCancelled ? aborted : static_cast<OSError>(completion.system_error);
    return entry;
}

class BackendProvider : public AsyncIOProvider {
public:
    explicit BackendProvider(const char* backend) {
        fp_provider_create(backend, &mProvider);
        Describe();
    }

    ~BackendProvider() override { fp_provider_destroy(mProvider); }

    AsyncIOError Initialize(std::size_t queueDepth, std::size_t maxConcurrent) override {
        const int32_t error = fp_provider_initialize(mProvider, Narrow(queueDepth), Narrow(maxConcurrent));
        if (error != FP_OK) return ErrorOf(error);
        Describe();
        mInitialized.store(true);
        return AsyncIOError::Success;
    }

    void Shutdown() override {
        mInitialized.store(false);
        fp_provider_shutdown(mProvider);
    }

    bool IsInitialized() const override { return mInitialized.load(); }

    int64_t RegisterBuffer(const void* ptr, std::size_t size) override {
        int32_t id = -1;
        const int32_t error = fp_provider_register_buffer(mProvider, ptr, size, &id);
        return error == FP_OK ? id : static_cast<int64_t>(ErrorOf(error));
    }

    AsyncIOError UnregisterBuffer(int64_t bufferId) override {
        const int32_t id = bufferId >= 0 && bufferId <= INT32_MAX ? static_cast<int32_t>(bufferId) : -1;
        return ErrorOf(fp_provider_unregister_buffer(mProvider, id));
    }

    AsyncIOError SendAsync(SocketHandle socket, const void* buffer, std::size_t size, RequestContext context,
                           uint32_t) override {
        const auto raw = static_cast<fp_socket>(socket);
        return Refused(fp_provider_send(mProvider, raw, buffer, Length(size), context, nullptr));
    }

    AsyncIOError RecvAsync(SocketHandle socket, void* buffer, std::size_t size, RequestContext context,
                           uint32_t) override {
        const auto raw = static_cast<fp_socket>(socket);
        return Refused(fp_provider_receive(mProvider, raw, buffer, Length(size), context, nullptr));
    }

    AsyncIOError FlushRequests() override { return ErrorOf(fp_provider_flush(mProvider)); }

    int ProcessCompletions(CompletionEntry* entries, std::size_t maxEntries, int timeoutMs) override {
        if (!entries) return static_cast<int>(AsyncIOError::InvalidBuffer);
        constexpr std::size_t batch = 64;
        fp_completion completions[batch];
        std::size_t total = 0;
        uint32_t count = batch;
        while (total < maxEntries && count == batch) {
            const std::size_t room = maxEntries - total < batch ? maxEntries - total : batch;
            const int32_t wait = total == 0 ? timeoutMs : 0;
            const int32_t error = fp_provider_process(mProvider, completions, static_cast<uint32_t>(room), wait, &count);
            if (error != FP_OK) return total > 0 ? static_cast<int>(total) : static_cast<int>(ErrorOf(error));
            for (uint32_t position = 0; position < count; ++position) {
                entries[total + position] = EntryOf(completions[position]);
            }
            total += count;
        }
        return static_cast<int>(total);
    }

    const ProviderInfo& GetInfo() const override { return mInfo; }

    ProviderStats GetStats() const override {
        fp_provider_statistics counts;
        if (fp_provider_get_statistics(mProvider, &counts) != FP_OK) return ProviderStats{};
        return ProviderStats{counts.requests,        counts.completions,
                             counts.pending,         counts.mean_latency_ns,
                             static_cast<double>(counts.p99_latency_ns), counts.errors};
    }

    const char* GetLastError() const override { return fp_last_error_message(); }

private:
    // A size that does not fit is out of range there, too.
    static uint32_t Narrow(std::size_t size) { return size > UINT32_MAX ? UINT32_MAX : static_cast<uint32_t>(size); }
    static uint32_t Length(std::size_t size) { return size > UINT32_MAX ? 0 : static_cast<uint32_t>(size); }
    static AsyncIOError Refused(int32_t error) { return ErrorOf(error); }

    void Describe() {
        std::size_t count = 0;
        const char* const* supported = fp_supported_backends(&count);
        const char* name = fp_provider_backend(mProvider);
        const std::string backend = name ? name : "";
        mInfo.name = backend == "auto" && count > 0 ? supported[0] : name;
        mInfo.platformType = TypeOf(mInfo.name ? mInfo.name : "");
        mInfo.supportsBufferReg = fp_provider_supports(mProvider, "BufferRegistration");
        mInfo.supportsBatching = fp_provider_supports(mProvider, "Batching");
        mInfo.supportsZeroCopy = fp_provider_supports(mProvider, "ZeroCopySend");
        mInfo.capabilities = (mInfo.supportsBufferReg ? 1u : 0u) | (mInfo.supportsBatching ? 2u : 0u) |
                             (mInfo.supportsZeroCopy ? 4u : 0u);
        mInfo.maxQueueDepth = 4096;
        fp_provider_info info;
        const bool isRunning = fp_provider_get_info(mProvider, &info) == FP_OK;
        mInfo.maxConcurrentReq = isRunning ? info.max_operations : std::size_t{1} << 24;
    }

    static PlatformType TypeOf(const std::string& name) {
        if (name == "io_uring") return PlatformType::IOUring;
        if (name == "epoll") return PlatformType::Epoll;
        if (name == "kqueue") return PlatformType::Kqueue;
        return name == "RIO" ? PlatformType::RIO : PlatformType::IOCP;
    }

    fp_provider mProvider = 0;
    ProviderInfo mInfo{};
    std::atomic<bool> mInitialized{false};
};

}  // namespace detail

// Whether a backend works here, found by trying. Names in any case; false for unknown ones.
inline bool IsPlatformSupported(const char* platform) { return platform && fp_backend_supported(platform) == FP_OK; }

// The names of all that work here, best first.
inline const char** GetSupportedPlatforms(std::size_t& outCount) {
    return const_cast<const char**>(fp_supported_backends(&outCount));
}

// The best that works here, not initialised.
inline std::unique_ptr<AsyncIOProvider> CreateAsyncIOProvider() {
    return std::make_unique<detail::BackendProvider>("auto");
}

// The one of that name, not initialised; null if it is unknown or does not work here.
inline std::unique_ptr<AsyncIOProvider> CreateAsyncIOProvider(const char* platformHint) {
    if (!IsPlatformSupported(platformHint)) return nullptr;
    return std::make_unique<detail::BackendProvider>(platformHint);
}

// A session's id and generation in one number: the id in the high half.
struct SessionContextEncoder {
    static RequestContext Encode(uint32_t sessionId, uint32_t generation) {
        return static_cast<RequestContext>(sessionId) << 32 | generation;
    }

    static std::pair<uint32_t, uint32_t> Decode(RequestContext context) {
        return {static_cast<uint32_t>(context >> 32), static_cast<uint32_t>(context)};
    }
};

// What a context was allocated for.
struct SessionContext {
    uint32_t sessionId;
    uint32_t generation;
    void* sessionPtr;
    uint16_t requestType;
    uint16_t flags;
};

// Contexts for requests, by which a completion finds its session only while that is alive.
//
// A context names a place in a pool and how often the place was used, so one that was released finds nothing. All calls
// take constant time, allocate nothing, and may come from many threads at once.
class SessionContextManager {
public:
    static constexpr uint32_t kCapacity = 16384;

    // 0 when all are in use.
    static RequestContext AllocateContext(uint32_t sessionId, uint32_t generation, void* sessionPtr) {
        Pool& pool = ThePool();
        const uint32_t index = pool.Pop();
        if (index == kNone) return 0;
        Slot& slot = pool.slots[index];
        slot.session.store(SessionContextEncoder::Encode(sessionId, generation), std::memory_order_release);
        slot.pointer.store(sessionPtr, std::memory_order_release);
        // Odd while it is in use. Whoever sees this stamp sees the session, too.
        const uint32_t stamp = slot.stamp.load(std::memory_order_relaxed) + 1;
        slot.stamp.store(stamp, std::memory_order_release);
        return static_cast<RequestContext>(index + 1) << 32 | stamp;
    }

    // 0 and contexts that were released are ignored.
    static void ReleaseContext(RequestContext context) {
        Slot* slot = SlotOf(context);
        if (!slot) return;
        auto stamp = static_cast<uint32_t>(context);
        // Of several who release the same context, one succeeds.
        if ((stamp & 1) && slot->stamp.compare_exchange_strong(stamp, stamp + 1, std::memory_order_acq_rel)) {
            ThePool().Push(static_cast<uint32_t>(slot - ThePool().slots));
        }
    }

    // What a context was allocated for; false if it was released.
    static bool GetContext(RequestContext context, SessionContext& found) {
        Slot* slot = SlotOf(context);
        const auto stamp = static_cast<uint32_t>(context);
        if (!slot || !(stamp & 1) || slot->stamp.load(std::memory_order_acquire) != stamp) return false;
        const auto session = SessionContextEncoder::Decode(slot->session.load(std::memory_order_acquire));
        void* pointer = slot->pointer.load(std::memory_order_acquire);
        // Reused in between: what was read may be another's.
        if (slot->stamp.load(std::memory_order_acquire) != stamp) return false;
        found = SessionContext{session.first, session.second, pointer, 0, 0};
        return true;
    }

    // The pool's session of that id; null if the context was released, or if the id belongs to a later session by now.
    // `pool.GetSession(id)` returns a pointer (or what acts like one) to something that has GetGeneration().
    template <class SessionPool>
    static auto ResolveSession(RequestContext context, SessionPool& pool) -> decltype(pool.GetSession(0u)) {
        SessionContext found{};
        if (!GetContext(context, found)) return nullptr;
        auto session = pool.GetSession(found.sessionId);
        if (!session || static_cast<uint32_t>(session->GetGeneration()) != found.generation) return nullptr;
        return session;
    }

private:
    static constexpr uint32_t kNone = UINT32_MAX;

    struct Slot {
        std::atomic<uint32_t> stamp{0};
        std::atomic<uint32_t> next{kNone};
        std::atomic<uint64_t> session{0};
        std::atomic<void*> pointer{nullptr};
    };

    // The free places form a stack without a lock. Its head counts how often it changed, in the high half, so that a
    // place that was taken and came back meanwhile is noticed.
    struct Pool {
        Slot slots[kCapacity];
        std::atomic<uint64_t> head{0};

        Pool() {
            for (uint32_t index = 0; index + 1 < kCapacity; ++index) slots[index].next.store(index + 1);
        }

        uint32_t Pop() {
            uint64_t seen = head.load(std::memory_order_acquire);
            for (;;) {
                const auto index = static_cast<uint32_t>(seen);
                if (index == kNone) return kNone;
                const uint32_t next = slots[index].next.load(std::memory_order_relaxed);
                if (head.compare_exchange_weak(seen, Changed(seen, next), std::memory_order_acq_rel)) return index;
            }
        }

        void Push(uint32_t index) {
            uint64_t seen = head.load(std::memory_order_relaxed);
            do {
                slots[index].next.store(static_cast<uint32_t>(seen), std::memory_order_relaxed);
            } while (!head.compare_exchange_weak(seen, Changed(seen, index), std::memory_order_acq_rel));
        }

        static uint64_t Changed(uint64_t seen, uint32_t index) { return ((seen >> 32) + 1) << 32 | index; }
    };

    static Pool& ThePool() {
        static Pool pool;
        return pool;
    }

    static Slot* SlotOf(RequestContext context) {
        const uint64_t place = context >> 32;
        return place == 0 || place > kCapacity ? nullptr : &ThePool().slots[place - 1];
    }
};

}  // namespace AsyncIO
}  // namespace Network
}  // namespace RAON
