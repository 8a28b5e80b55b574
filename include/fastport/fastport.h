/* FastPort for C: completion-based socket I/O and framed servers.
 *
 * Made from crates/fastport-capi; do not edit. After a change there:
 *
 *   FASTPORT_WRITE_HEADER=1 cargo test -p fastport-capi --test header
 */

#ifndef FASTPORT_H
#define FASTPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// It was done.
#define FP_OK 0

/// Nobody listens at the peer's address.
#define FP_CONNECTION_REFUSED 1001

/// The connection was torn down.
#define FP_CONNECTION_RESET 1002

/// The peer did not answer in time.
#define FP_CONNECTION_TIMEOUT 1003

/// The system has no buffer space left.
#define FP_BUFFER_TOO_SMALL 2001

/// The socket is closed, or no socket at all.
#define FP_SOCKET_NOT_REGISTERED 3001

/// The provider or server does not run (any more).
#define FP_NOT_INITIALIZED -1

/// The socket cannot do this.
#define FP_INVALID_SOCKET -2

/// Another operation is in the way.
#define FP_OPERATION_PENDING -3

/// The operation failed for a reason without a number of its own.
#define FP_OPERATION_FAILED -4

/// A range is empty or lies outside its buffer.
#define FP_INVALID_BUFFER -5

/// A limit was reached; try again later.
#define FP_NO_RESOURCES -6

/// The time limit of the operation ran out.
#define FP_TIMEOUT -7

/// This system does not offer it.
#define FP_PLATFORM_NOT_SUPPORTED -8

/// The provider or server runs already.
#define FP_ALREADY_INITIALIZED -9

/// The operation was cancelled before it had an effect.
#define FP_CANCELLED -10

/// An argument is out of range, or a handle is dead.
#define FP_INVALID_ARGUMENT -11

/// It was done.
#define FP_STATUS_SUCCESS 0

/// It failed.
#define FP_STATUS_ERROR 1

/// It was cancelled before it had an effect.
#define FP_STATUS_CANCELLED 2

/// Its time ran out.
#define FP_STATUS_TIMEOUT 3

/// A completion of fp_provider_send or one of its kin.
#define FP_KIND_SEND 0

/// A completion of fp_provider_receive or one of its kin.
#define FP_KIND_RECEIVE 1

/// A completion of fp_provider_accept.
#define FP_KIND_ACCEPT 2

/// A completion of fp_provider_connect.
#define FP_KIND_CONNECT 3

/// A completion of fp_provider_timeout.
#define FP_KIND_TIMEOUT 4

/// A provider: the I/O of one backend, for many threads. 0 is none.
typedef uint64_t fp_provider;

/// A socket of the system: a descriptor, or a SOCKET on Windows. It stays the caller's.
typedef ptrdiff_t fp_socket;

/// The outcome of one operation. Each operation that was accepted has exactly one.
typedef struct {
  /// The number that was given with the operation.
  uint64_t context;
  /// The number that the socket was registered with when the operation was submitted.
  uint64_t socket_context;
  /// When it was collected, in nanoseconds of a clock that never goes back and begins with the program.
  uint64_t time_ns;
  /// The socket that the operation was about; FP_NO_SOCKET for a timeout.
  fp_socket socket;
  /// The connection that was accepted, which is the caller's now; FP_NO_SOCKET if there is none.
  fp_socket accepted;
  /// The id that the submitting call returned.
  uint32_t operation;
  /// What it was: FP_KIND_...
  uint32_t kind;
  /// How it went: FP_STATUS_...
  uint32_t status;
  /// Bytes transferred. A receive that succeeds with 0 bytes is the end of the peer's data.
  uint32_t bytes;
  /// 0, or the error's number: one of FP_..., or the system's own for those without.
  int32_t error;
  /// 0, or the system's own number of the error.
  int32_t system_error;
} fp_completion;

/// The limits and features of a provider that runs.
typedef struct {
  /// The backend: "io_uring", "epoll", "kqueue", "IOCP" or "RIO". The text lives as long as the program.
  const char *backend;
  /// Entries of the submission queue.
  uint32_t queue_depth;
  /// Entries of the completion queue.
  uint32_t completion_depth;
  /// The most operations in flight at once.
  uint32_t max_operations;
  /// Registered buffers are known to the system.
  bool buffer_registration;
  /// Many operations reach the system by one call.
  bool batching;
  /// Large sends are made without a copy.
  bool zero_copy_send;
} fp_provider_info;

/// Counts of a provider since it was initialised.
typedef struct {
  /// Operations that the system was given.
  uint64_t requests;
  /// Completions that were collected.
  uint64_t completions;
  /// Operations that were submitted and whose completion was not handed out yet.
  uint64_t pending;
  /// Completions with an error; cancellations do not count.
  uint64_t errors;
  /// Registered sockets.
  uint64_t active_sockets;
  /// Bytes that were sent.
  uint64_t bytes_sent;
  /// Bytes that were received.
  uint64_t bytes_received;
  /// Mean time from an operation's start to its completion, in nanoseconds.
  uint64_t mean_latency_ns;
  /// 99th percentile of the same, within 1/8 of its value.
  uint64_t p99_latency_ns;
  /// How often completions were collected.
  uint64_t batches;
  /// The most completions that were collected at once.
  uint64_t max_batch;
} fp_provider_statistics;

/// One send of a batch.
typedef struct {
  /// Where to.
  fp_socket socket;
  /// The bytes, which stay as they are until the completion.
  const void *data;
  /// How many.
  uint32_t length;
  /// A number that comes back in the completion.
  uint64_t context;
} fp_send;

/// One receive of a batch.
typedef struct {
  /// Where from.
  fp_socket socket;
  /// Memory that nobody touches until the completion.
  void *buffer;
  /// Its size.
  uint32_t length;
  /// A number that comes back in the completion.
  uint64_t context;
} fp_receive;

/// No socket: -1, which is INVALID_SOCKET on Windows.
#define FP_NO_SOCKET -1

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/// The number of the latest error on this thread; 0 if no call has failed on it yet. Calls that succeed leave it alone.
int32_t fp_last_error(void);

/// The system's own number (errno, or a Winsock code) of the latest error on this thread; 0 if it had none.
int32_t fp_last_system_error(void);

/// What the latest error on this thread was about, and what to do: a sentence in UTF-8, never NULL. The text stays valid
/// until the next call that fails on this thread.
const char *fp_last_error_message(void);

/// The version of the library, such as "0.1.0". The text lives as long as the program.
const char *fp_version(void);

/// Creates a provider that does not run yet.
///
/// `backend` is "io_uring", "epoll", "kqueue", "iocp", "rio" or "auto", in any case; NULL means "auto": the best that works
/// here, or what the environment variable FASTPORT_BACKEND says. `provider` gets the handle, which is destroyed by
/// fp_provider_destroy.
int32_t fp_provider_create(const char *backend,
                           fp_provider *provider);

/// Starts a provider.
///
/// `queue_depth` is 32 ..= 4096: how many operations reach the system in one batch. `max_operations` is 1 ..= 16777216: how
/// many may be in flight at once; beyond it operations are refused by FP_NO_RESOURCES. Memory is taken as it is used.
/// Completions of an earlier run that were not taken are dropped.
///
/// FP_ALREADY_INITIALIZED if it runs; FP_PLATFORM_NOT_SUPPORTED, or the system's error, if the backend does not work here:
/// then fp_last_error_message tells why and what to do.
int32_t fp_provider_initialize(fp_provider provider,
                               uint32_t queue_depth,
                               uint32_t max_operations);

/// Stops a provider: what was submitted is carried out as far as that is possible at once, everything else is cancelled,
/// and sockets and memory are the caller's again when the call returns. Sockets stay open, and no received byte is lost.
///
/// The completions of it all are still handed out by fp_provider_process, until it answers FP_NOT_INITIALIZED. A thread that
/// waits in fp_provider_process is woken. FP_NOT_INITIALIZED if the provider does not run.
int32_t fp_provider_shutdown(fp_provider provider);

/// Destroys a provider, after stopping it if it runs. Completions that were not taken are dropped; the handle is dead from
/// now on.
int32_t fp_provider_destroy(fp_provider provider);

/// Hands out completions: at most `max` of them are written to `completions`, and their number to `count`. Those that do
/// not fit stay for the next call.
///
/// If there are none, waits for them: `timeout_ms` 0 does not wait, a negative one waits for ever. `count` is 0 if the time
/// is up, or if fp_provider_wake ended the wait. What other threads submit meanwhile is handed to the system at once.
///
/// Any thread may call, from call to call another one. A second thread that calls at the same time waits for its turn.
/// FP_NOT_INITIALIZED if the provider does not run, and nothing is left from when it ran.
int32_t fp_provider_process(fp_provider provider,
                            fp_completion *completions,
                            uint32_t max,
                            int32_t timeout_ms,
                            uint32_t *count);

/// Ends the wait of the thread that is in fp_provider_process, or of the next one that would wait.
int32_t fp_provider_wake(fp_provider provider);

/// Hands what was submitted to the system now. Not needed by those who call fp_provider_process, which does it too.
int32_t fp_provider_flush(fp_provider provider);

/// Makes a socket known, with a number that comes back in the completions of its operations. The socket stays the
/// caller's: it may block or not, and is never closed.
///
/// A socket that is used without having been registered is registered by that, with the number 0. It is cheaper to do it
/// here, since otherwise each operation has to find out whether the number still names the same socket. Again for a socket
/// that is registered: its number changes.
///
/// A registered socket must be unregistered before it is closed.
int32_t fp_provider_register_socket(fp_provider provider,
                                    fp_socket socket,
                                    uint64_t context);

/// Lets go of a socket. Its operations are cancelled, and their completions handed out by fp_provider_process; the system
/// uses none of their memory any more when the call returns. The socket stays open.
///
/// FP_SOCKET_NOT_REGISTERED if the provider does not know it.
int32_t fp_provider_unregister_socket(fp_provider provider,
                                      fp_socket socket);

/// Makes a TCP socket that this backend can work with, for the family of `address` (a struct sockaddr of `address_bytes`
/// bytes). Registered I/O needs it, since it works with sockets of its own kind only; the others take any TCP socket. The
/// caller closes it.
int32_t fp_provider_create_socket(fp_provider provider,
                                  const void *address,
                                  uint32_t address_bytes,
                                  fp_socket *socket);

/// Registers `bytes` bytes of memory from `start` on for fp_provider_send_registered and fp_provider_receive_registered,
/// and writes its number, which is never negative, to `buffer`. io_uring and Registered I/O know the memory from then on,
/// which makes operations cheaper; the others use it like any other. It must stay valid until it is unregistered or the
/// provider is shut down.
int32_t fp_provider_register_buffer(fp_provider provider,
                                    const void *start,
                                    size_t bytes,
                                    int32_t *buffer);

/// Unregisters a buffer. FP_OPERATION_PENDING while an operation uses it; FP_INVALID_BUFFER if there is no such buffer.
int32_t fp_provider_unregister_buffer(fp_provider provider, int32_t buffer);

/// The backend of a provider: the one in use, or before it was initialised the one that was asked for ("auto" included).
/// NULL for a dead handle. The text lives as long as the program.
const char *fp_provider_backend(fp_provider provider);

/// Tells what a provider is and can do. FP_NOT_INITIALIZED before it was initialised.
int32_t fp_provider_get_info(fp_provider provider, fp_provider_info *info);

/// Whether the provider has a feature, by its name in any case: "BufferRegistration", "FixedFileSet", "Batching",
/// "ZeroCopySend", "MultishotAccept". Before it was initialised, whether its backend usually has it. False for unknown
/// names and dead handles.
bool fp_provider_supports(fp_provider provider, const char *feature);

/// Sets an option before the provider is initialised. `value` points to a uint32_t (`bytes` 4) or a bool (`bytes` 1):
///
/// - "RegisterBuffer": whether registered buffers are made known to the system (default 1).
/// - "RegisterFileSet": whether sockets are made known to the system (default 0).
/// - "ZeroCopySendBytes": sends of at least that many bytes are made without a copy where that is possible (default 0:
///   never).
/// - "BusyPollMicroseconds": look for completions that long before sleeping (default 0; 0xFFFFFFFF: never sleep).
/// - "DrainLimitMs": how long a shutdown waits for the system to let go of memory (default 2000).
///
/// FP_INVALID_ARGUMENT for an unknown name; FP_ALREADY_INITIALIZED while the provider runs.
int32_t fp_provider_set_option(fp_provider provider, const char *option, const void *value, uint32_t bytes);

/// The counts of a provider. FP_NOT_INITIALIZED before it was initialised; after a shutdown, those of the end.
int32_t fp_provider_get_statistics(fp_provider provider, fp_provider_statistics *statistics);

/// Whether a backend works on this system, found by trying: 0, or the reason, which fp_last_error_message tells in words.
/// FP_INVALID_ARGUMENT for a name that does not exist.
int32_t fp_backend_supported(const char *backend);

/// The backends that work on this system, best first: `count` gets their number. Array and names live as long as the
/// program.
const char *const *fp_supported_backends(size_t *count);

/// Sends all `length` bytes. A dead peer is an error of the completion and never a signal.
///
/// `data` must stay as it is until the completion; `context` comes back in it. `operation`, if it is not NULL, gets the id.
int32_t fp_provider_send(fp_provider provider,
                         fp_socket socket,
                         const void *data,
                         uint32_t length,
                         uint64_t context,
                         uint32_t *operation);

/// Receives what is there, at least one byte and at most `length`, or 0 bytes at the end of the peer's data.
///
/// `buffer` must stay untouched until the completion; `context` comes back in it. `operation`, if it is not NULL, gets the
/// id.
int32_t fp_provider_receive(fp_provider provider,
                            fp_socket socket,
                            void *buffer,
                            uint32_t length,
                            uint64_t context,
                            uint32_t *operation);

/// Begins `count` sends. `operations`, if it is not NULL, is an array of `count` that gets the ids; `posted`, if it is not
/// NULL, gets the number of sends that were accepted, also when the call fails, which it does at the first one that is
/// refused.
int32_t fp_provider_send_batch(fp_provider provider,
                               const fp_send *sends,
                               uint32_t count,
                               uint32_t *operations,
                               uint32_t *posted);

/// Begins `count` receives; see fp_provider_send_batch.
int32_t fp_provider_receive_batch(fp_provider provider,
                                  const fp_receive *receives,
                                  uint32_t count,
                                  uint32_t *operations,
                                  uint32_t *posted);

/// Accepts one connection. The completion carries it; it is the caller's, blocking, and not registered yet.
///
/// `accepted`, if it is not NULL, gets it too, before the completion is handed out. `address`, if it is not NULL, gets the
/// peer's address (a struct sockaddr), cut to `address_bytes` bytes. Both must stay valid until the completion.
int32_t fp_provider_accept(fp_provider provider,
                           fp_socket listener,
                           fp_socket *accepted,
                           void *address,
                           uint32_t address_bytes,
                           uint64_t context,
                           uint32_t *operation);

/// Connects a socket to `address`, a struct sockaddr of `address_bytes` bytes, which is copied. For a time limit, begin a
/// timeout too and cancel the one that has not completed.
int32_t fp_provider_connect(fp_provider provider,
                            fp_socket socket,
                            const void *address,
                            uint32_t address_bytes,
                            uint64_t context,
                            uint32_t *operation);

/// Completes successfully after `delay_ms` milliseconds.
int32_t fp_provider_timeout(fp_provider provider, uint32_t delay_ms, uint64_t context, uint32_t *operation);

/// Sends `length` bytes from `offset` on out of a registered buffer; otherwise like fp_provider_send. FP_INVALID_BUFFER if
/// they are not inside it.
int32_t fp_provider_send_registered(fp_provider provider,
                                    fp_socket socket,
                                    int32_t buffer,
                                    uint32_t offset,
                                    uint32_t length,
                                    uint64_t context,
                                    uint32_t *operation);

/// Receives into at most `length` bytes from `offset` on of a registered buffer; otherwise like fp_provider_receive.
/// FP_INVALID_BUFFER if they are not inside it.
int32_t fp_provider_receive_registered(fp_provider provider,
                                       fp_socket socket,
                                       int32_t buffer,
                                       uint32_t offset,
                                       uint32_t length,
                                       uint64_t context,
                                       uint32_t *operation);

/// Asks for the end of an operation. It completes soon, as cancelled, or with what it achieved before: a connection or data
/// that came in time is handed out and never dropped. Nothing happens if there is no such operation (any more).
int32_t fp_provider_cancel(fp_provider provider,
                           uint32_t operation);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* FASTPORT_H */
