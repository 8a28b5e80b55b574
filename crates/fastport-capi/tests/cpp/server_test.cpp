// What callers of fastport::Server rely on, a test for each sentence. Server and clients are in one process.

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

#include <fastport/Server.hpp>

#include "check.hpp"

namespace {

using fastport::Session;

// Far above what a loaded machine needs.
constexpr auto kLimit = std::chrono::seconds(30);

struct Event {
    std::string what;
    Session session;
    uint64_t number = 0;
    std::string payload;
};

// Tells the test what happens.
class Recorder : public fastport::ServerHandler {
public:
    Event Await(const std::string& what) {
        std::unique_lock<std::mutex> lock(mMutex);
        for (;;) {
            CHECK(mHasEvent.wait_for(lock, kLimit, [&] { return !mEvents.empty(); }));
            Event event = std::move(mEvents.front());
            mEvents.pop_front();
            if (event.what == what) {
                return event;
            }
        }
    }

    void OnAccepted(Session session, const char* peer) override { Record({"accepted", session, 0, peer}); }
    void OnConnected(Session session, uint64_t token) override { Record({"connected", session, token, ""}); }
    void OnConnectFailed(uint64_t token, int32_t, const char* message) override {
        Record({"connect failed", Session(), token, message});
    }
    void OnPacket(Session session, uint16_t id, const void* payload, size_t bytes) override {
        Record({"packet", session, id, std::string(static_cast<const char*>(payload), bytes)});
    }
    void OnClosed(Session session, uint32_t reason, int32_t, const fp_session_statistics&) override {
        Record({"closed", session, reason, ""});
    }

protected:
    void Record(Event event) {
        std::lock_guard<std::mutex> lock(mMutex);
        mEvents.push_back(std::move(event));
        mHasEvent.notify_one();
    }

private:
    std::mutex mMutex;
    std::condition_variable mHasEvent;
    std::deque<Event> mEvents;
};

enum Id : uint16_t { kEcho = 1, kForward = 2, kThrow = 3, kThrowNumber = 4, kStop = 5 };

// Does what the packet's id says.
class Obedient : public Recorder {
public:
    fastport::Server* server = nullptr;

    void OnPacket(Session session, uint16_t id, const void* payload, size_t bytes) override {
        switch (id) {
            case kEcho:
                CHECK(session.Send(id, payload, bytes) == FP_OK);
                break;
            case kForward:
                CHECK(session.Forward() == FP_OK);
                break;
            case kThrow:
                throw std::runtime_error("thrown on purpose");
            case kThrowNumber:
                throw 42;
            case kStop:
                CHECK(!server->Stop(0) && fp_last_error() == FP_OPERATION_PENDING);
                CHECK(server->BeginStop(5000));
                break;
        }
    }
};

fastport::ServerOptions Workers(uint32_t workers) {
    fastport::ServerOptions options;
    options.workers = workers;
    options.backend = check::Backend();
    return options;
}

// A server that obeys, and a second one that makes the connections.
struct Pair {
    Obedient obedient;
    Recorder recorder;
    fastport::Server server;
    fastport::Server client;

    Pair() : server(obedient, Workers(2)), client(recorder, Workers(1)) {
        obedient.server = &server;
        CHECK(server.Listen("127.0.0.1:0") && server.Start() && client.Start());
        CHECK(server.Port() != 0 && server.Address() == "127.0.0.1:" + std::to_string(server.Port()));
        CHECK(std::strlen(server.BackendName()) > 0);
    }

    Session Connect() {
        CHECK(client.Connect(server.Address().c_str(), 7) == FP_OK);
        const Event connected = recorder.Await("connected");
        CHECK(connected.number == 7);
        return connected.session;
    }
};

}  // namespace

TEST("packets are echoed and forwarded") {
    Pair pair;
    const Session session = pair.Connect();
    for (uint16_t id : {kEcho, kForward}) {
        for (size_t bytes : {size_t{0}, size_t{5}, size_t{4000}, size_t{65531}}) {
            const std::string payload(bytes, 'x');
            CHECK(session.Send(id, payload.data(), payload.size()) == FP_OK);
            const Event reply = pair.recorder.Await("packet");
            CHECK(reply.session == session && reply.number == id && reply.payload == payload);
        }
    }
    CHECK(session.Send(kEcho, std::string(65532, 'x').data(), 65532) == FP_PACKET_TOO_LARGE);
}

TEST("what a handler throws ends its session only") {
    Pair pair;
    const Session lasting = pair.Connect();
    for (uint16_t id : {kThrow, kThrowNumber}) {
        const Session unlucky = pair.Connect();
        CHECK(unlucky.Send(id, nullptr, 0) == FP_OK);
        CHECK(pair.obedient.Await("closed").number == FP_CLOSED_CALLBACK_FAILED);
        CHECK(pair.recorder.Await("closed").session == unlucky);
        CHECK(!unlucky.IsOpen() && unlucky.Send(kEcho, nullptr, 0) == FP_SESSION_CLOSED);
    }
    CHECK(lasting.Send(kEcho, "on", 2) == FP_OK);
    CHECK(pair.recorder.Await("packet").payload == "on");
    CHECK(pair.server.Statistics().callback_failures == 2);
}

TEST("a broadcast reaches all") {
    Pair pair;
    std::vector<fp_session> sessions;
    std::unordered_set<Session> waiting;
    for (int number = 0; number < 10; ++number) {
        waiting.insert(pair.Connect());
        sessions.push_back(pair.obedient.Await("accepted").session.Id());
    }
    CHECK(pair.server.Broadcast(sessions, 9, "all", 3) == 10);
    while (!waiting.empty()) {
        const Event event = pair.recorder.Await("packet");
        CHECK(event.number == 9 && event.payload == "all" && waiting.erase(event.session) == 1);
    }
}

TEST("any thread may send") {
    Pair pair;
    const Session session = pair.Connect();
    constexpr int kThreads = 4, kEach = 500;
    std::vector<std::thread> threads;
    for (int number = 0; number < kThreads; ++number) {
        threads.emplace_back([=] {
            for (int sent = 0; sent < kEach; ++sent) {
                CHECK(session.Send(kEcho, "x", 1) == FP_OK);
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    for (int received = 0; received < kThreads * kEach; ++received) {
        CHECK(pair.recorder.Await("packet").payload == "x");
    }
}

TEST("a server can be stopped in a callback, and waited for outside") {
    Pair pair;
    const Session session = pair.Connect();
    CHECK(session.Send(kStop, nullptr, 0) == FP_OK);
    fastport::StopReport report;
    CHECK(pair.server.Wait(&report) && report.failure == FP_OK);
    CHECK(!pair.server.Stop(0) && fp_last_error() == FP_NOT_INITIALIZED);
    CHECK(pair.recorder.Await("closed").number == FP_CLOSED_PEER_CLOSED);
}

TEST("failures tell why") {
    Recorder recorder;
    fastport::ServerOptions options;
    options.workers = 5000;
    fastport::Server wrong(recorder, options);
    CHECK(!wrong.Start() && std::strstr(fastport::LastError(), "choose 1 to 1024") != nullptr);
    CHECK(!wrong.Listen("nowhere") && wrong.Port() == 0 && wrong.Address().empty());
    fastport::Server client(recorder, Workers(1));
    CHECK(client.Start() && client.Connect("127.0.0.1:1", 3) == FP_OK);
    const Event failed = recorder.Await("connect failed");
    CHECK(failed.number == 3 && !failed.payload.empty());

    fastport::ConnectOptions again;
    again.reconnect = 1;
    again.first_wait_ms = again.longest_wait_ms = 3'600'000;
    CHECK(client.Connect("127.0.0.1:1", 4, again) == FP_OK);
    CHECK(recorder.Await("connect failed").number == 4);
    CHECK(client.CancelConnect(4) == FP_OK);
    CHECK(recorder.Await("connect failed").number == 4);
}

int main(int argc, char** argv) { return check::Run(argc, argv); }
