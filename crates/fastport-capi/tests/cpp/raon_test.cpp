// RAON::Network::AsyncIO: contexts instead of callbacks, session contexts, and the adapter for completion ports.

#include <atomic>
#include <cstring>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include <fastport/IocpAdapter.hpp>
#include <fastport/RaonAsyncIO.hpp>

#include "check.hpp"
#include "loopback.hpp"

using namespace RAON::Network::AsyncIO;

namespace {

std::unique_ptr<AsyncIOProvider> Started() {
    auto provider = CreateAsyncIOProvider(check::Backend());
    CHECK(provider != nullptr);
    CHECK(provider->Initialize(256, 1024) == AsyncIOError::Success);
    return provider;
}

CompletionEntry Next(AsyncIOProvider& provider) {
    CompletionEntry entry;
    CHECK_EQUAL(provider.ProcessCompletions(&entry, 1, 30000), 1);
    return entry;
}

struct Session {
    uint32_t generation;
    uint32_t GetGeneration() const { return generation; }
};

struct Pool {
    std::vector<Session*> sessions;
    Session* GetSession(uint32_t id) { return id < sessions.size() ? sessions[id] : nullptr; }
};

// The call that the adapter made.
struct Called {
    int times = 0;
    LPOVERLAPPED overlapped = nullptr;
    DWORD bytes = 0;
    DWORD error = 0;
};

void Handler(void* session, LPOVERLAPPED overlapped, DWORD bytes, DWORD error) {
    auto* called = static_cast<Called*>(session);
    ++called->times;
    called->overlapped = overlapped;
    called->bytes = bytes;
    called->error = error;
}

}  // namespace

TEST("requests bring their context back, with bytes and time") {
    auto provider = Started();
    SOCKET far, near;
    std::tie(far, near) = loopback::Pair();
    CHECK(provider->SendAsync(near, "hello", 5, 11) == AsyncIOError::Success);
    CompletionEntry entry = Next(*provider);
    CHECK_EQUAL(entry.context, 11u);
    CHECK(entry.type == AsyncIOType::Send);
    CHECK_EQUAL(entry.result, 5);
    char buffer[8];
    CHECK(provider->RecvAsync(near, buffer, sizeof buffer, UINT64_MAX) == AsyncIOError::Success);
    CHECK(provider->FlushRequests() == AsyncIOError::Success);
    loopback::Write(far, "abc");
    const uint64_t before = entry.completionTime;
    entry = Next(*provider);
    CHECK(entry.context == UINT64_MAX && entry.type == AsyncIOType::Recv && entry.result == 3);
    CHECK(entry.completionTime >= before);
    const ProviderStats stats = provider->GetStats();
    CHECK_EQUAL(stats.totalCompletions, 2u);
    CHECK_EQUAL(stats.pendingRequests, 0u);
    // Closing with unread bytes would be a reset.
    CHECK(loopback::Read(far, 5) == "hello");
    loopback::Close(far);
    CHECK(provider->RecvAsync(near, buffer, sizeof buffer, 1) == AsyncIOError::Success);
    CHECK_EQUAL(Next(*provider).result, 0);
    provider->Shutdown();
    loopback::Close(near);
}

TEST("a request that fails has a result below 0 and the system's number") {
    auto provider = Started();
    SOCKET far, near;
    std::tie(far, near) = loopback::Pair();
    char buffer[8];
    provider->RecvAsync(near, buffer, sizeof buffer, 1);
    loopback::Reset(far);
    CompletionEntry entry = Next(*provider);
    CHECK_EQUAL(entry.result, static_cast<int>(AsyncIOError::OperationFailed));
    CHECK(entry.osError != 0);
    provider->RecvAsync(near, buffer, sizeof buffer, 2);
    provider->Shutdown();
    CHECK(!provider->IsInitialized());
    CHECK_EQUAL(provider->ProcessCompletions(&entry, 1, 0), 1);
    CHECK(entry.context == 2 && entry.result < 0);
    CHECK_EQUAL(provider->ProcessCompletions(&entry, 1, 0), -1);
    loopback::Close(near);
}

TEST("each wrong call has its code") {
    auto provider = CreateAsyncIOProvider(check::Backend());
    CompletionEntry entry;
    char buffer[4];
    CHECK(!provider->IsInitialized());
    CHECK_EQUAL(provider->ProcessCompletions(&entry, 1), -1);
    CHECK(provider->SendAsync(3, "x", 1, 0) == AsyncIOError::NotInitialized);
    CHECK(provider->FlushRequests() == AsyncIOError::NotInitialized);
    CHECK(provider->UnregisterBuffer(0) == AsyncIOError::NotInitialized);
    for (std::size_t depth : {std::size_t{0}, std::size_t{31}, std::size_t{4097}, SIZE_MAX}) {
        CHECK(provider->Initialize(depth, 64) != AsyncIOError::Success);
        CHECK(std::strstr(provider->GetLastError(), "32 ..= 4096") != nullptr);
    }
    CHECK(provider->Initialize(32, 2) == AsyncIOError::Success);
    CHECK(provider->Initialize(32, 2) == AsyncIOError::AlreadyInitialized);
    CHECK(provider->SendAsync(3, nullptr, 1, 0) == AsyncIOError::InvalidBuffer);
    CHECK(provider->RecvAsync(3, buffer, 0, 0) == AsyncIOError::InvalidBuffer);
    CHECK(provider->RecvAsync(static_cast<SocketHandle>(-1), buffer, 4, 0) == AsyncIOError::InvalidSocket);
    CHECK(provider->RegisterBuffer(nullptr, 4) < 0);
    CHECK(provider->UnregisterBuffer(INT64_MAX) == AsyncIOError::InvalidBuffer);
    const int64_t id = provider->RegisterBuffer(buffer, sizeof buffer);
    CHECK(id >= 0 && provider->UnregisterBuffer(id) == AsyncIOError::Success);
    CHECK(provider->ProcessCompletions(nullptr, 1) < 0);
    SOCKET far, near;
    std::tie(far, near) = loopback::Pair();
    CHECK(provider->RecvAsync(near, buffer, 4, 0) == AsyncIOError::Success);
    CHECK(provider->RecvAsync(near, buffer, 4, 0) == AsyncIOError::Success);
    CHECK(provider->RecvAsync(near, buffer, 4, 0) == AsyncIOError::NoResources);
    provider->Shutdown();
    loopback::Close(far);
    loopback::Close(near);
}

TEST("a provider tells what it is") {
    CHECK(CreateAsyncIOProvider("select") == nullptr && CreateAsyncIOProvider(nullptr) == nullptr);
    std::size_t count = 0;
    CHECK(GetSupportedPlatforms(count) != nullptr && count > 0);
    CHECK(std::string(CreateAsyncIOProvider()->GetInfo().name) == GetSupportedPlatforms(count)[0]);
    auto provider = Started();
    const ProviderInfo& info = provider->GetInfo();
    CHECK(std::string(info.name) == check::Backend());
    CHECK_EQUAL(info.maxConcurrentReq, 1024u);
    CHECK_EQUAL(info.supportsBufferReg, info.platformType == PlatformType::IOUring || info.platformType == PlatformType::RIO);
}

TEST("ids and generations survive encoding") {
    for (uint32_t id : {0u, 1u, UINT32_MAX}) {
        for (uint32_t generation : {0u, 7u, UINT32_MAX}) {
            const auto pair = SessionContextEncoder::Decode(SessionContextEncoder::Encode(id, generation));
            CHECK(pair.first == id && pair.second == generation);
        }
    }
    CHECK_EQUAL(SessionContextEncoder::Encode(1, 2), 0x100000002u);
}

TEST("a context finds its session until it is released, and never a later one") {
    Session session{5};
    Pool pool{{nullptr, &session}};
    const RequestContext context = SessionContextManager::AllocateContext(1, 5, &session);
    CHECK(context != 0);
    CHECK(SessionContextManager::ResolveSession(context, pool) == &session);
    session.generation = 6;
    CHECK(SessionContextManager::ResolveSession(context, pool) == nullptr);
    session.generation = 5;
    pool.sessions[1] = nullptr;
    CHECK(SessionContextManager::ResolveSession(context, pool) == nullptr);
    pool.sessions[1] = &session;
    SessionContext found{};
    CHECK(SessionContextManager::GetContext(context, found) && found.sessionPtr == &session && found.generation == 5);
    SessionContextManager::ReleaseContext(context);
    CHECK(SessionContextManager::ResolveSession(context, pool) == nullptr);
    // The same place again: the old context stays dead, and releasing it again takes nothing away from the new one.
    const RequestContext next = SessionContextManager::AllocateContext(1, 5, &session);
    SessionContextManager::ReleaseContext(context);
    SessionContextManager::ReleaseContext(0);
    SessionContextManager::ReleaseContext(UINT64_MAX);
    CHECK(SessionContextManager::ResolveSession(context, pool) == nullptr);
    CHECK(SessionContextManager::ResolveSession(next, pool) == &session);
    SessionContextManager::ReleaseContext(next);
}

TEST("at least 10 000 contexts can be in use, and 0 says that there are no more") {
    std::vector<RequestContext> contexts;
    while (const RequestContext context = SessionContextManager::AllocateContext(1, 1, nullptr)) contexts.push_back(context);
    CHECK(contexts.size() >= 10000);
    for (RequestContext context : contexts) SessionContextManager::ReleaseContext(context);
    const RequestContext again = SessionContextManager::AllocateContext(1, 1, nullptr);
    CHECK(again != 0);
    SessionContextManager::ReleaseContext(again);
}

TEST("threads allocate, resolve and release at once without mixing anything up") {
    Session sessions[4] = {{1}, {1}, {1}, {1}};
    Pool pool{{&sessions[0], &sessions[1], &sessions[2], &sessions[3]}};
    std::atomic<RequestContext> foreign{0};
    std::vector<std::thread> threads;
    for (uint32_t id = 0; id < 4; ++id) {
        threads.emplace_back([&, id] {
            for (int round = 0; round < 20000; ++round) {
                const RequestContext context = SessionContextManager::AllocateContext(id, 1, &sessions[id]);
                CHECK(context != 0);
                CHECK(SessionContextManager::ResolveSession(context, pool) == &sessions[id]);
                foreign.store(context);
                SessionContext found{};
                if (SessionContextManager::GetContext(foreign.load(), found)) CHECK(found.sessionPtr == &sessions[found.sessionId]);
                SessionContextManager::ReleaseContext(context);
                CHECK(!SessionContextManager::GetContext(context, found));
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
}

TEST("the adapter calls a completion port's handler with its session, its OVERLAPPED and Winsock's code") {
    using Result = ::Network::CompletionResult;
    Called called;
    OVERLAPPED overlapped{};
    IocpCallbackAdapter adapter(&called, &Handler);
    const auto codeOf = [&](Result::Status status, int32_t error) {
        Result result;
        result.mStatus = status;
        result.mErrorCode = error;
        result.mBytesTransferred = 17;
        adapter.OnAsyncCompletion(result, &overlapped);
        CHECK(called.overlapped == &overlapped);
        CHECK_EQUAL(called.bytes, 17u);
        return called.error;
    };
    CHECK_EQUAL(codeOf(Result::Status::Success, 0), static_cast<DWORD>(NO_ERROR));
    CHECK_EQUAL(codeOf(Result::Status::Cancelled, FP_CANCELLED), 995u);
    CHECK_EQUAL(codeOf(Result::Status::Timeout, FP_TIMEOUT), 10060u);
    CHECK_EQUAL(codeOf(Result::Status::Error, FP_CONNECTION_REFUSED), 10061u);
    CHECK_EQUAL(codeOf(Result::Status::Error, FP_CONNECTION_RESET), 10054u);
    CHECK_EQUAL(codeOf(Result::Status::Error, FP_CONNECTION_TIMEOUT), 10060u);
    CHECK_EQUAL(codeOf(Result::Status::Error, FP_BUFFER_TOO_SMALL), 10055u);
    CHECK_EQUAL(codeOf(Result::Status::Error, FP_SOCKET_NOT_REGISTERED), 10038u);
#ifndef _WIN32
    CHECK_EQUAL(codeOf(Result::Status::Error, EHOSTUNREACH), 10065u);
#endif
    IocpCallbackAdapter(nullptr, nullptr).OnAsyncCompletion(Result{}, nullptr);
    Compatibility::IocpCallbackAdapter throwing(nullptr, [](void*, LPOVERLAPPED, DWORD, DWORD) { throw 1; });
    ::Network::SetReporter(nullptr);
    throwing.OnAsyncCompletion(Result{}, nullptr);
}

TEST("handlers of a completion port and callbacks that resolve their session run side by side") {
    auto provider = ::Network::CreateAsyncIOProvider(check::Backend());
    CHECK(provider && provider->Initialize(16));
    SOCKET far, near;
    std::tie(far, near) = loopback::Pair();
    Called called;
    OVERLAPPED receiving{};
    char buffer[8];
    IocpCallbackAdapter adapter(&called, &Handler);
    CHECK(provider->RecvAsync(near, buffer, sizeof buffer, [&](const ::Network::CompletionResult& result, void*) {
        adapter.OnAsyncCompletion(result, &receiving);
    }) != 0);
    Session living{1}, replaced{1};
    Pool pool{{&living, &replaced}};
    int found = 0, gone = 0;
    for (uint32_t id : {0u, 1u}) {
        const RequestContext context = SessionContextManager::AllocateContext(id, 1, pool.sessions[id]);
        CHECK(provider->SendAsync(near, "x", 1, [&, context](const ::Network::CompletionResult&, void*) {
            ++(SessionContextManager::ResolveSession(context, pool) ? found : gone);
            SessionContextManager::ReleaseContext(context);
        }) != 0);
    }
    // Another session has its place by the time of the completion.
    ++replaced.generation;
    loopback::Write(far, "abc");
    while (called.times + found + gone < 3) CHECK(provider->ProcessCompletions(30000, 4, nullptr) > 0);
    CHECK(called.times == 1 && called.overlapped == &receiving && called.bytes == 3 && called.error == NO_ERROR);
    CHECK(found == 1 && gone == 1);
    provider->Shutdown();
    loopback::Close(far);
    loopback::Close(near);
}

int main(int argc, char** argv) { return check::Run(argc, argv); }
