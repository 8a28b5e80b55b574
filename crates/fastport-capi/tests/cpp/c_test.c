/* The header in a C program, and the calls as C makes them: a provider, and a server that is its own client. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fastport/fastport.h>

#define CHECK(condition)                                                                              \
    do {                                                                                              \
        if (!(condition)) {                                                                           \
            fprintf(stderr, "%s:%d: not so: %s (%s)\n", __FILE__, __LINE__, #condition, fp_last_error_message()); \
            exit(1);                                                                                  \
        }                                                                                             \
    } while (0)

static void provider(const char *backend) {
    fp_provider provider = 0;
    fp_completion completions[4];
    uint32_t timeout = 0, count = 0;
    CHECK(fp_provider_create(backend, &provider) == FP_OK);
    CHECK(fp_provider_process(provider, completions, 4, 0, &count) == FP_NOT_INITIALIZED);
    CHECK(fp_provider_initialize(provider, 64, 100) == FP_OK);
    CHECK(fp_provider_timeout(provider, 1, 42, &timeout) == FP_OK);
    CHECK(fp_provider_process(provider, completions, 4, 30000, &count) == FP_OK && count == 1);
    CHECK(completions[0].operation == timeout && completions[0].context == 42);
    CHECK(completions[0].kind == FP_KIND_TIMEOUT && completions[0].socket == FP_NO_SOCKET);
    CHECK(fp_provider_shutdown(provider) == FP_OK);
    CHECK(fp_provider_timeout(provider, 1, 0, NULL) == FP_NOT_INITIALIZED);
    CHECK(fp_provider_destroy(provider) == FP_OK);
    CHECK(fp_provider_destroy(provider) == FP_INVALID_ARGUMENT && fp_last_error() == FP_INVALID_ARGUMENT);
}

/* The server echoes what has id 1; the session that made the connection stops the server when the echo is there. */
static void connected(void *user, fp_session session, uint64_t token) {
    CHECK(token == 7);
    CHECK(fp_session_send(*(fp_server *)user, session, 1, "hello", 5) == FP_OK);
}

static void packet(void *user, fp_session session, uint16_t id, const void *payload, size_t bytes) {
    const fp_server server = *(fp_server *)user;
    CHECK(bytes == 5 && memcmp(payload, "hello", 5) == 0);
    if (id == 1) {
        CHECK(fp_session_send(server, session, 2, payload, bytes) == FP_OK);
    } else {
        CHECK(fp_server_begin_stop(server, 5000) == FP_OK);
    }
}

static void server(const char *backend) {
    fp_server server = 0;
    fp_server_options options = {.struct_bytes = sizeof options, .backend = backend, .workers = 1};
    fp_server_callbacks callbacks = {.struct_bytes = sizeof callbacks, .connected = connected, .packet = packet};
    fp_stop_report report = {.struct_bytes = sizeof report};
    char address[64];
    CHECK(fp_server_create(&options, &callbacks, &server, &server) == FP_OK);
    CHECK(fp_server_listen(server, "127.0.0.1:0") == FP_OK);
    CHECK(fp_server_start(server) == FP_OK);
    CHECK(fp_server_address(server, 0, address, sizeof address, NULL) == FP_OK);
    CHECK(fp_server_connect(server, address, 7, NULL) == FP_OK);
    CHECK(fp_server_wait(server, &report) == FP_OK && report.failure == FP_OK);
    CHECK(fp_server_destroy(server) == FP_OK);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    provider(argv[1]);
    server(argv[1]);
    printf("FastPort %s works for C on %s\n", fp_version(), argv[1]);
    return 0;
}
