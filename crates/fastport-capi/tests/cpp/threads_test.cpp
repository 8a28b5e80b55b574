// Four threads send, one processes completions, another destroys sessions meanwhile. Also run under ThreadSanitizer.

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include <fastport/AsyncIOProvider.hpp>

#include "check.hpp"
#include "loopback.hpp"

using namespace Network;

namespace {

// How many operations each thread begins. A sanitizer makes each many times as expensive.
int OperationsPerThread() {
    const char* set = std::getenv("FASTPORT_TEST_OPERATIONS");
    return set ? std::atoi(set) : 100000;
}

// A connection whose far end swallows everything.
class Session {
public:
    explicit Session(AsyncIOProvider& provider) : mProvider(provider) {
        std::tie(mFar, mNear) = loopback::Pair();
        CHECK(provider.RegisterSocket(mNear, this));
        mSink = std::thread([far = mFar] {
            char bytes[4096];
            while (::recv(far, bytes, sizeof bytes, 0) > 0) {
            }
        });
    }

    ~Session() {
        // Completes what is in flight; from here on the number may name another socket.
        CHECK(mProvider.UnregisterSocket(mNear));
        loopback::Close(mNear);
        mSink.join();
        loopback::Close(mFar);
    }

    SOCKET Socket() const { return mNear; }

private:
    AsyncIOProvider& mProvider;
    SOCKET mFar, mNear;
    std::thread mSink;
};

// The sessions that are alive, by their place.
class Sessions {
public:
    Sessions(AsyncIOProvider& provider, std::size_t places) : mProvider(provider), mSessions(places) {
        for (auto& session : mSessions) session = std::make_shared<Session>(provider);
    }

    std::shared_ptr<Session> Get(std::size_t place) {
        std::lock_guard<std::mutex> lock(mMutex);
        return mSessions[place % mSessions.size()];
    }

    void Replace(std::size_t place) {
        auto fresh = std::make_shared<Session>(mProvider);
        std::lock_guard<std::mutex> lock(mMutex);
        std::swap(mSessions[place % mSessions.size()], fresh);
    }

private:
    AsyncIOProvider& mProvider;
    std::mutex mMutex;
    std::vector<std::shared_ptr<Session>> mSessions;
};

}  // namespace

TEST("four threads send while one processes and another destroys sessions: each operation completes once") {
    static const char bytes[64] = {};
    auto provider = CreateAsyncIOProvider(check::Backend());
    CHECK(provider && provider->Initialize(64, 1024));
    const int operations = OperationsPerThread();
    std::atomic<int64_t> begun{0}, completed{0}, failed{0};
    std::atomic<bool> sending{true}, processing{true};
    {
        Sessions sessions(*provider, 8);
        std::thread processor([&] {
            CompletionResult results[256];
            while (processing || completed < begun) {
                CHECK(provider->ProcessCompletions(100, 256, results) >= 0);
            }
        });
        std::vector<std::thread> senders;
        for (std::size_t thread = 0; thread < 4; ++thread) {
            senders.emplace_back([&, thread] {
                for (int number = 0; number < operations; ++number) {
                    // Bounded, as any sender's queue is.
                    while (begun - completed > 4096) std::this_thread::yield();
                    // Alive for as long as the call lasts; the operation may outlive it.
                    const auto session = sessions.Get(thread * 3 + static_cast<std::size_t>(number) / 16);
                    ++begun;
                    const uint32_t id = provider->SendAsync(session->Socket(), bytes, sizeof bytes,
                                                            [&](const CompletionResult& result, void*) {
                                                                if (result.mStatus != CompletionResult::Status::Success) ++failed;
                                                                ++completed;
                                                            });
                    CHECK(id != 0);
                }
            });
        }
        std::thread destroyer([&] {
            for (std::size_t place = 0; sending; ++place) {
                sessions.Replace(place);
                std::this_thread::yield();
            }
        });
        for (std::thread& sender : senders) sender.join();
        sending = false;
        destroyer.join();
        processing = false;
        processor.join();
    }
    CHECK_EQUAL(begun.load(), int64_t{4} * operations);
    CHECK_EQUAL(completed.load(), begun.load());
    // A send that was cancelled with its session is the only one that may not have gone out.
    CHECK(failed < begun);
    ProviderStatistics statistics;
    provider->GetStatistics(statistics);
    CHECK_EQUAL(statistics.mPendingOperations, 0u);
    CHECK_EQUAL(statistics.mActiveConnections, 0u);
}

int main(int argc, char** argv) { return check::Run(argc, argv); }
