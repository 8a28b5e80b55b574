// What callers of Network::AsyncIOProvider rely on, a test for each sentence.

#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include <fastport/AsyncIOProvider.hpp>

#include "check.hpp"
#include "loopback.hpp"

using namespace Network;
using Status = CompletionResult::Status;

namespace {

std::unique_ptr<AsyncIOProvider> Started() {
    auto provider = CreateAsyncIOProvider(check::Backend());
    CHECK(provider != nullptr);
    CHECK(provider->Initialize(64));
    return provider;
}

// The next `count` completions.
std::vector<CompletionResult> Next(AsyncIOProvider& provider, std::size_t count) {
    std::vector<CompletionResult> all;
    while (all.size() < count) {
        CompletionResult results[16];
        const auto room = static_cast<uint32_t>(std::min<std::size_t>(16, count - all.size()));
        const int32_t number = provider.ProcessCompletions(30000, room, results);
        CHECK(number > 0);
        all.insert(all.end(), results, results + number);
    }
    return all;
}

CompletionResult Next(AsyncIOProvider& provider) { return Next(provider, 1)[0]; }

struct Connection {
    SOCKET far, near;
    Connection() { std::tie(far, near) = loopback::Pair(); }
    ~Connection() {
        loopback::Close(far);
        loopback::Close(near);
    }
};

std::string lastReport;

}  // namespace

TEST("callbacks run inside ProcessCompletions on the calling thread, and the results hold the same") {
    auto provider = Started();
    Connection connection;
    std::thread::id ran;
    CompletionResult told;
    const uint32_t id = provider->SendAsync(connection.near, "hello", 5, [&](const CompletionResult& result, void*) {
        ran = std::this_thread::get_id();
        told = result;
    });
    CHECK(id != 0);
    CHECK(ran == std::thread::id());
    const CompletionResult result = Next(*provider);
    CHECK(ran == std::this_thread::get_id());
    CHECK_EQUAL(told.mOperationId, id);
    CHECK_EQUAL(result.mOperationId, id);
    CHECK_EQUAL(result.mBytesTransferred, 5u);
    CHECK(result.mStatus == Status::Success);
    CHECK(loopback::Read(connection.far, 5) == "hello");
}

TEST("a callback runs once and is destroyed by the time its completion is returned") {
    auto provider = Started();
    Connection connection;
    auto token = std::make_shared<int>(0);
    provider->SendAsync(connection.near, "x", 1, [token](const CompletionResult&, void*) { ++*token; });
    CHECK_EQUAL(token.use_count(), 2);
    Next(*provider);
    CHECK_EQUAL(*token, 1);
    CHECK_EQUAL(token.use_count(), 1);
    CHECK_EQUAL(provider->SendAsync(connection.near, nullptr, 1, [token](const CompletionResult&, void*) {}), 0u);
    CHECK_EQUAL(token.use_count(), 1);
}

TEST("a callback that throws is reported, and the others still run") {
    auto provider = Started();
    Connection connection;
    SetReporter([](const char* message) { lastReport = message; });
    int ran = 0;
    for (int number = 0; number < 3; ++number) {
        provider->SendAsync(connection.near, "x", 1, [&ran, number](const CompletionResult&, void*) {
            ++ran;
            if (number == 1) throw std::runtime_error("out of luck");
            if (number == 2) throw 42;
        });
    }
    for (const CompletionResult& result : Next(*provider, 3)) CHECK(result.mStatus == Status::Success);
    CHECK_EQUAL(ran, 3);
    CHECK(!lastReport.empty());
    SetReporter(nullptr);
}

TEST("operations may be begun while another thread waits, and wake it") {
    auto provider = Started();
    Connection connection;
    std::thread processing([&] {
        CompletionResult results[4];
        CHECK_EQUAL(provider->ProcessCompletions(-1, 4, results), 1);
    });
    CHECK(provider->SendAsync(connection.near, "wake", 4) != 0);
    processing.join();
    CHECK(loopback::Read(connection.far, 4) == "wake");
}

TEST("initialising, processing and shutting down may each be done by another thread") {
    auto provider = CreateAsyncIOProvider(check::Backend());
    Connection connection;
    char buffer[8];
    std::thread([&] { CHECK(provider->Initialize(16)); }).join();
    std::thread([&] { CHECK(provider->RecvAsync(connection.near, buffer, sizeof buffer) != 0); }).join();
    CompletionResult result;
    std::thread([&] { CHECK_EQUAL(provider->ProcessCompletions(0, 1, &result), 0); }).join();
    loopback::Write(connection.far, "data");
    std::thread([&] { result = Next(*provider); }).join();
    CHECK_EQUAL(result.mBytesTransferred, 4u);
    std::thread([&] { provider->Shutdown(); }).join();
}

TEST("a send on a dead connection raises no signal") {
    auto provider = Started();
    SOCKET far, near;
    std::tie(far, near) = loopback::Pair();
    loopback::Reset(far);
    bool failed = false;
    for (int round = 0; round < 100 && !failed; ++round) {
        provider->SendAsync(near, "into the void", 13);
        failed = Next(*provider).mStatus == Status::Error;
    }
    CHECK(failed);
    CHECK(provider->UnregisterSocket(near));
    loopback::Close(near);
}

TEST("a reset is an error with its code, and an orderly end is a success of 0 bytes") {
    auto provider = Started();
    char buffer[8];
    SOCKET far, near;
    std::tie(far, near) = loopback::Pair();
    provider->RecvAsync(near, buffer, sizeof buffer);
    loopback::Reset(far);
    CompletionResult result = Next(*provider);
    CHECK(result.mStatus == Status::Error);
    CHECK_EQUAL(result.mErrorCode, static_cast<int>(ErrorCode::ConnectionReset));
    provider->UnregisterSocket(near);
    loopback::Close(near);

    std::tie(far, near) = loopback::Pair();
    provider->RecvAsync(near, buffer, sizeof buffer);
    loopback::Close(far);
    result = Next(*provider);
    CHECK(result.mStatus == Status::Success);
    CHECK_EQUAL(result.mBytesTransferred, 0u);
    provider->UnregisterSocket(near);
    loopback::Close(near);
}

TEST("the user context is the socket's, or that of an operation in a batch") {
    auto provider = Started();
    Connection connection;
    int ofSocket = 0, ofOperation = 0;
    CHECK(provider->RegisterSocket(connection.near, &ofSocket));
    void* told = nullptr;
    provider->SendAsync(connection.near, "x", 1, [&](const CompletionResult&, void* context) { told = context; });
    CHECK(Next(*provider).mUserContext == &ofSocket);
    CHECK(told == &ofSocket);
    SendOperation operations[2];
    operations[0] = SendOperation{connection.near, "a", 1, &ofOperation, nullptr};
    operations[1] = SendOperation{connection.near, "b", 1, nullptr, nullptr};
    CHECK_EQUAL(provider->SendBatchAsync(operations, 2), 2u);
    const auto results = Next(*provider, 2);
    CHECK(results[0].mUserContext == &ofOperation);
    CHECK(results[1].mUserContext == &ofSocket);
    CHECK(loopback::Read(connection.far, 3) == "xab");
}

TEST("a batch of receives posts all, or those before the first that is refused") {
    auto provider = Started();
    Connection connection;
    char buffers[3][4];
    int ran = 0;
    auto callback = [&](const CompletionResult&, void*) { ++ran; };
    RecvOperation operations[3];
    for (int number = 0; number < 3; ++number) {
        operations[number] = RecvOperation{connection.near, buffers[number], 1, nullptr, callback};
    }
    CHECK_EQUAL(provider->RecvBatchAsync(operations, 3), 3u);
    loopback::Write(connection.far, "abc");
    Next(*provider, 3);
    CHECK_EQUAL(ran, 3);
    CHECK(buffers[0][0] == 'a' && buffers[1][0] == 'b' && buffers[2][0] == 'c');
    operations[1].mBuffer = nullptr;
    CHECK_EQUAL(provider->RecvBatchAsync(operations, 3), 1u);
    // What is in flight uses what ends with this test.
    provider->Shutdown();
    CHECK_EQUAL(ran, 4);
}

TEST("completions beyond maxResults stay queued") {
    auto provider = Started();
    Connection connection;
    for (int number = 0; number < 200; ++number) CHECK(provider->SendAsync(connection.near, "x", 1) != 0);
    CompletionResult results[200];
    int32_t total = 0;
    while (total < 3) {
        const int32_t number = provider->ProcessCompletions(30000, 3 - static_cast<uint32_t>(total), results);
        CHECK(number > 0);
        total += number;
    }
    while (total < 200) {
        const int32_t number = provider->ProcessCompletions(30000, 200, results);
        CHECK(number > 0);
        total += number;
    }
    CHECK_EQUAL(total, 200);
    CHECK_EQUAL(provider->ProcessCompletions(0, 200, results), 0);
}

TEST("after a shutdown everything has completed, data is still there, and Initialize works again") {
    auto provider = Started();
    Connection connection;
    char buffer[8];
    Status told = Status::Success;
    provider->RecvAsync(connection.near, buffer, sizeof buffer,
                        [&](const CompletionResult& result, void*) { told = result.mStatus; });
    const uint32_t polled = provider->RecvAsync(connection.near, buffer, sizeof buffer);
    CompletionResult result;
    CHECK_EQUAL(provider->ProcessCompletions(0, 1, &result), 0);
    provider->Shutdown();
    CHECK(told == Status::Cancelled);
    CHECK_EQUAL(provider->ProcessCompletions(0, 1, &result), 1);
    CHECK(result.mStatus == Status::Cancelled);
    CHECK_EQUAL(result.mOperationId, polled);
    CHECK(provider->ProcessCompletions(0, 1, &result) < 0);
    loopback::Write(connection.far, "kept");
    CHECK(loopback::Read(connection.near, 4) == "kept");
    CHECK(provider->Initialize(16));
    // Wine keeps a socket at its first completion port, and tells so; Windows lets it go to another one from 8.1 on.
    if (loopback::IsWine()) {
        CHECK(provider->SendAsync(connection.near, "again", 5) != 0);
        CHECK_EQUAL(Next(*provider).mErrorCode, FP_INVALID_SOCKET);
    }
    Connection fresh;
    const Connection& usable = loopback::IsWine() ? fresh : connection;
    CHECK(provider->SendAsync(usable.near, "again", 5) != 0);
    CHECK(Next(*provider).mStatus == Status::Success);
    CHECK(loopback::Read(usable.far, 5) == "again");
}

TEST("a callback may shut the provider down") {
    auto provider = Started();
    Connection connection;
    provider->SendAsync(connection.near, "x", 1, [&](const CompletionResult&, void*) { provider->Shutdown(); });
    Next(*provider);
    CHECK_EQUAL(provider->SendAsync(connection.near, "x", 1), 0u);
}

TEST("a time limit of 0 polls, and one above it is kept") {
    auto provider = Started();
    CompletionResult result;
    CHECK_EQUAL(provider->ProcessCompletions(0, 1, &result), 0);
    CHECK_EQUAL(provider->ProcessCompletions(20, 1, &result), 0);
}

TEST("before Initialize everything is refused") {
    auto provider = CreateAsyncIOProvider(check::Backend());
    Connection connection;
    CompletionResult result;
    result.mStatus = Status::Success;
    CHECK(provider->ProcessCompletions(0, 1, &result) < 0);
    CHECK(result.mStatus == Status::Error);
    CHECK_EQUAL(result.mErrorCode, FP_NOT_INITIALIZED);
    CHECK_EQUAL(provider->SendAsync(connection.near, "x", 1), 0u);
    CHECK(!provider->RegisterSocket(connection.near));
    CHECK(provider->RegisterBuffer("x", 1) < 0);
    ProviderStatistics statistics;
    statistics.mPendingOperations = 7;
    provider->GetStatistics(statistics);
    CHECK_EQUAL(statistics.mPendingOperations, 0u);
}

TEST("connections are accepted into the caller's places, and made") {
    auto provider = Started();
    const SOCKET listener = loopback::Listen();
    const SOCKET client = loopback::NewSocket();
    SOCKET accepted = INVALID_SOCKET;
    sockaddr_in peer{};
    bool isThere = false;
    CHECK(provider->AcceptAsync(listener, &accepted, &peer, sizeof peer, [&](const CompletionResult&, void*) {
        isThere = accepted != INVALID_SOCKET;
    }) != 0);
    const sockaddr_in address = loopback::Address(loopback::PortOf(listener));
    CHECK(provider->ConnectAsync(client, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0);
    for (const CompletionResult& result : Next(*provider, 2)) CHECK(result.mStatus == Status::Success);
    CHECK(isThere);
    CHECK_EQUAL(ntohs(peer.sin_port), loopback::PortOf(client));
    provider->Shutdown();
    loopback::Write(accepted, "hi");
    CHECK(loopback::Read(client, 2) == "hi");
    for (SOCKET socket : {accepted, client, listener}) loopback::Close(socket);
}

TEST("registered buffers work everywhere, and the feature is told where the system knows them") {
    auto provider = Started();
    Connection connection;
    std::vector<char> memory(8192, 'r');
    const int32_t buffer = provider->RegisterBuffer(memory.data(), 8192);
    CHECK(buffer >= 0);
    CHECK(provider->SendAsyncRegistered(connection.near, buffer, 4096, 3) != 0);
    CHECK_EQUAL(Next(*provider).mBytesTransferred, 3u);
    CHECK(loopback::Read(connection.far, 3) == "rrr");
    CHECK(provider->RecvAsyncRegistered(connection.near, buffer, 0, 16) != 0);
    loopback::Write(connection.far, "in");
    CHECK_EQUAL(Next(*provider).mBytesTransferred, 2u);
    CHECK(memory[0] == 'i' && memory[1] == 'n');
    CHECK_EQUAL(provider->SendAsyncRegistered(connection.near, buffer, 8190, 3), 0u);
    CHECK_EQUAL(provider->SendAsyncRegistered(connection.near, buffer + 1, 0, 3), 0u);
    CHECK(provider->UnregisterBuffer(buffer));
    CHECK(!provider->UnregisterBuffer(buffer));
    const std::string name = provider->GetBackendName();
    CHECK_EQUAL(provider->SupportsFeature("BufferRegistration"), name == "io_uring" || name == "RIO");
    CHECK(!provider->SupportsFeature("Teleportation"));
    const uint32_t one = 1;
    CHECK(!provider->SetOption("Turbo", &one, sizeof one));
}

TEST("queue sizes out of range are clamped, and that is reported") {
    auto provider = CreateAsyncIOProvider(check::Backend());
    lastReport.clear();
    SetReporter([](const char* message) { lastReport = message; });
    CHECK(provider->Initialize(16, 1000000));
    CHECK(lastReport.find("4096") != std::string::npos);
    SetReporter(nullptr);
}

TEST("backends are found by name") {
    std::size_t count = 0;
    const char** names = GetSupportedPlatforms(count);
    CHECK(count > 0);
    bool isFound = false;
    for (std::size_t position = 0; position < count; ++position) {
        CHECK(IsPlatformSupported(names[position]));
        CHECK(CreateAsyncIOProvider(names[position])->GetBackendName() == std::string(names[position]));
        isFound |= std::string(names[position]) == check::Backend();
    }
    CHECK(isFound);
    CHECK(CreateAsyncIOProvider("select") == nullptr && !IsPlatformSupported("select") && !IsPlatformSupported(nullptr));
}

// By its own type, with the defaults that the interface has.
template <class Backend>
static void CheckClass() {
    Backend provider;
    Connection connection;
    const bool isRunning = provider.Initialize(16);
    CHECK_EQUAL(isRunning, IsPlatformSupported(provider.GetBackendName()));
    CHECK_EQUAL(provider.RegisterSocket(connection.near), isRunning);
    CHECK_EQUAL(provider.SendAsync(connection.near, "x", 1) != 0, isRunning);
    if (isRunning) CHECK(Next(provider).mStatus == Status::Success);
    provider.Shutdown();
}

TEST("every class can be constructed, and works where the system has its backend") {
    CheckClass<IocpAsyncIOProvider>();
    CheckClass<RIOAsyncIOProvider>();
    CheckClass<IOUringAsyncIOProvider>();
    CheckClass<EpollAsyncIOProvider>();
    CheckClass<KqueueAsyncIOProvider>();
}

int main(int argc, char** argv) { return check::Run(argc, argv); }
