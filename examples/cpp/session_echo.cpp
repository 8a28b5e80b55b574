// Echoes every packet on the session API: no sockets, buffers or completions to handle.
//
//   session_echo --addr 127.0.0.1:PORT [--backend NAME]
//
// Prints the port it listens on. The other server of the comparison in docs/cpp.md.

#include <string>

#include <fastport/Server.hpp>

#include "sockets.hpp"

namespace {

class Echo : public fastport::ServerHandler {
    void OnPacket(fastport::Session session, uint16_t id, const void* payload, size_t bytes) override {
        session.Send(id, payload, bytes);
    }
};

}  // namespace

int main(int argc, char** argv) {
    const sockets::Arguments arguments(argc, argv);
    fastport::ServerOptions options;
    options.workers = 1;
    options.backend = arguments.backend;
    Echo echo;
    fastport::Server server(echo, options);
    if (!server.Listen(("127.0.0.1:" + std::to_string(arguments.port)).c_str()) || !server.Start()) {
        std::fprintf(stderr, "session_echo: %s\n", fastport::LastError());
        return 1;
    }
    std::printf("%s listens on %s\n", server.BackendName(), server.Address().c_str());
    std::fflush(stdout);
    server.Wait();
}
