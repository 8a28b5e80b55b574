// The sample programs of the design documents, as tests: what programs that exist do with the interface.

#include <atomic>
#include <cstring>
#include <memory>
#include <queue>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include <fastport/AsyncIOProvider.hpp>

#include "check.hpp"
#include "loopback.hpp"

using namespace Network;

namespace {

// A session that lives until it is closed, by whomever.
class Session : public std::enable_shared_from_this<Session> {
public:
    explicit Session(SOCKET socket) : mSocket(socket) {}
    SOCKET GetSocket() const { return mSocket; }
    void OnSendComplete(uint32_t bytes) { mSent += bytes; }
    uint32_t Sent() const { return mSent; }

private:
    SOCKET mSocket;
    uint32_t mSent = 0;
};

// Slots of one registered buffer.
class BufferPool {
public:
    BufferPool(AsyncIOProvider& provider, uint32_t slotSize, uint32_t slots)
        : mProvider(provider), mMemory(std::size_t{slotSize} * slots) {
        mBufferId = provider.RegisterBuffer(mMemory.data(), slotSize * slots);
        for (uint32_t slot = 0; slot < slots; ++slot) mFree.push(slot * slotSize);
    }
    ~BufferPool() { mProvider.UnregisterBuffer(mBufferId); }

    bool Acquire(uint32_t& offset) {
        if (mFree.empty()) return false;
        offset = mFree.front();
        mFree.pop();
        return true;
    }
    void Release(uint32_t offset) { mFree.push(offset); }
    int32_t Id() const { return mBufferId; }
    char* At(uint32_t offset) { return &mMemory[offset]; }
    std::size_t Free() const { return mFree.size(); }

private:
    AsyncIOProvider& mProvider;
    std::vector<char> mMemory;
    std::queue<uint32_t> mFree;
    int32_t mBufferId = -1;
};

std::unique_ptr<AsyncIOProvider> Started() {
    auto provider = CreateAsyncIOProvider(check::Backend());
    CHECK(provider && provider->Initialize(1000, 256));
    return provider;
}

void RunUntil(AsyncIOProvider& provider, const bool& done) {
    CompletionResult results[64];
    while (!done) CHECK(provider.ProcessCompletions(30000, 64, results) > 0);
}

}  // namespace

TEST("initialise with a fall-back: the preferred backends in turn, then the best") {
    std::unique_ptr<AsyncIOProvider> provider;
    for (const char* name : {"RIO", "IOCP", "kqueue", check::Backend()}) {
        provider = CreateAsyncIOProvider(name);
        if (provider && provider->Initialize(1000)) break;
        provider.reset();
    }
    if (!provider) provider = CreateAsyncIOProvider();
    CHECK(provider != nullptr);
    CHECK(std::string(provider->GetBackendName()) == check::Backend());
    auto best = CreateAsyncIOProvider();
    CHECK(best && best->Initialize(1000));
}

TEST("send with a callback") {
    auto provider = Started();
    SOCKET far, near;
    std::tie(far, near) = loopback::Pair();
    const char message[] = "Hello, FastPort";
    bool done = false;
    const uint32_t id = provider->SendAsync(near, message, sizeof message - 1, [&](const CompletionResult& result, void*) {
        CHECK(result.mStatus == CompletionResult::Status::Success);
        CHECK_EQUAL(result.mBytesTransferred, sizeof message - 1);
        done = true;
    });
    CHECK(id != 0);
    RunUntil(*provider, done);
    CHECK(loopback::Read(far, sizeof message - 1) == message);
    provider->Shutdown();
    loopback::Close(far);
    loopback::Close(near);
}

TEST("a polling loop meets the three kinds of results: completions, the time limit, an error") {
    auto provider = Started();
    SOCKET far, near;
    std::tie(far, near) = loopback::Pair();
    char buffer[64];
    provider->RecvAsync(near, buffer, sizeof buffer);
    int completions = 0, limits = 0, errors = 0;
    while (errors == 0) {
        CompletionResult results[16];
        const int32_t count = provider->ProcessCompletions(10, 16, results);
        if (count > 0) {
            completions += count;
            CHECK(std::memcmp(buffer, "data", 4) == 0);
            provider->Shutdown();
        } else if (count == 0) {
            if (++limits == 2) loopback::Write(far, "data");
        } else {
            CHECK(results[0].mStatus == CompletionResult::Status::Error);
            CHECK(results[0].mErrorCode != 0);
            ++errors;
        }
    }
    CHECK_EQUAL(completions, 1);
    CHECK(limits >= 2);
    loopback::Close(far);
    loopback::Close(near);
}

TEST("a buffer pool over one registered buffer serves many sends and gets every slot back") {
    auto provider = Started();
    SOCKET far, near;
    std::tie(far, near) = loopback::Pair();
    {
        std::string received;
        BufferPool pool(*provider, 1024, 8);
        CHECK(pool.Id() >= 0);
        int sent = 0, completed = 0;
        bool done = false;
        std::string expected;
        std::thread reading([&received, far] { received = loopback::Read(far, 100 * 1024); });
        while (sent < 100) {
            uint32_t offset;
            if (!pool.Acquire(offset)) {
                CompletionResult results[8];
                CHECK(provider->ProcessCompletions(30000, 8, results) > 0);
                continue;
            }
            std::memset(pool.At(offset), 'a' + sent % 26, 1024);
            expected.append(1024, static_cast<char>('a' + sent % 26));
            CHECK(provider->SendAsyncRegistered(near, pool.Id(), offset, 1024, [&, offset](const CompletionResult& result, void*) {
                CHECK_EQUAL(result.mBytesTransferred, 1024u);
                pool.Release(offset);
                done = ++completed == 100;
            }) != 0);
            ++sent;
        }
        RunUntil(*provider, done);
        reading.join();
        CHECK(received == expected);
        CHECK_EQUAL(pool.Free(), 8u);
    }
    provider->Shutdown();
    loopback::Close(far);
    loopback::Close(near);
}

TEST("drain on shutdown: no callback is lost, none runs twice, and none after it") {
    std::vector<std::pair<SOCKET, SOCKET>> pairs;
    std::vector<std::vector<char>> buffers(20, std::vector<char>(64));
    std::vector<int> ran(20, 0);
    auto provider = Started();
    for (std::size_t number = 0; number < 20; ++number) {
        pairs.push_back(loopback::Pair());
        auto callback = [&ran, number](const CompletionResult&, void*) { ++ran[number]; };
        CHECK(provider->RecvAsync(pairs.back().second, buffers[number].data(), 64, callback) != 0);
        if (number % 2) loopback::Write(pairs.back().first, "x");
    }
    CompletionResult results[4];
    CHECK(provider->ProcessCompletions(30000, 4, results) > 0);
    provider->Shutdown();
    for (int times : ran) CHECK_EQUAL(times, 1);
    provider.reset();
    for (int times : ran) CHECK_EQUAL(times, 1);
    for (const auto& pair : pairs) {
        loopback::Close(pair.first);
        loopback::Close(pair.second);
    }
}

TEST("a callback with a weak reference does not touch a session that is gone") {
    auto provider = Started();
    SOCKET far, near;
    std::tie(far, near) = loopback::Pair();
    auto living = std::make_shared<Session>(near);
    auto dying = std::make_shared<Session>(near);
    int found = 0, gone = 0;
    const auto send = [&](const std::shared_ptr<Session>& session) {
        std::weak_ptr<Session> weak = session;
        provider->SendAsync(session->GetSocket(), "x", 1, [&, weak](const CompletionResult& result, void*) {
            if (auto alive = weak.lock()) {
                alive->OnSendComplete(result.mBytesTransferred);
                ++found;
            } else {
                ++gone;
            }
        });
    };
    send(living);
    send(dying);
    dying.reset();
    CompletionResult results[4];
    while (found + gone < 2) CHECK(provider->ProcessCompletions(30000, 4, results) > 0);
    CHECK(found == 1 && gone == 1 && living->Sent() == 1);
    provider->Shutdown();
    loopback::Close(far);
    loopback::Close(near);
}

int main(int argc, char** argv) { return check::Run(argc, argv); }
