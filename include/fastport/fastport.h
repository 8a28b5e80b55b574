/* FastPort for C: completion-based socket I/O and framed servers.
 *
 * Made from crates/fastport-capi; do not edit. After a change there:
 *
 *   FASTPORT_WRITE_HEADER=1 cargo test -p fastport-capi --test header
 *
 * What holds for every call, unless it says otherwise:
 *
 * - Results: a call returns FP_OK or an error number, the same numbers on every system. What it produces goes through
 *   pointers, which are not written if it fails. fp_last_error_message tells why the latest call on a thread failed.
 * - Handles are numbers, not pointers. 0, a number that never was a handle, one that was destroyed and one of another kind
 *   are answered by FP_INVALID_ARGUMENT, and so is NULL where something is needed.
 * - Threads: any call may be made from any thread at any time.
 * - Ownership: sockets and buffers stay the caller's; buffers must be left alone from the call that begins an operation to
 *   its completion. Other texts, arrays and structs that a call is given are copied, and may go when it returns.
 * - Nothing is thrown and nothing is raised: a bug in the library becomes FP_OPERATION_FAILED, a dead peer an error.
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

/// Its time ran out: the system has given the peer up.
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

/// Packets with a header of 4 bytes: the size of the whole packet and an id, 16 bits each, big-endian.
#define FP_FRAMING_PACKET 0

/// Packets with a header of 4 bytes: the size of what follows, 32 bits, big-endian. There is no id: those received have id
/// 0, and the id of those sent is not transmitted.
#define FP_FRAMING_LENGTH 1

/// The program asked for it.
#define FP_CLOSED_REQUESTED 0

/// The peer ended the stream.
#define FP_CLOSED_PEER_CLOSED 1

/// The peer, or the system on its behalf, tore the connection down.
#define FP_CLOSED_RESET 2

/// The system gave the peer up.
#define FP_CLOSED_TIMEOUT 3

/// The peer was silent for longer than the idle limit.
#define FP_CLOSED_IDLE 4

/// The peer sent something that is no packet.
#define FP_CLOSED_PROTOCOL 5

/// The peer did not read what was sent to it, and the send queue reached its limit.
#define FP_CLOSED_BACKPRESSURE 6

/// A callback failed; see fp_callback_failed.
#define FP_CLOSED_CALLBACK_FAILED 7

/// The server stopped.
#define FP_CLOSED_SHUTDOWN 8

/// Another error, whose number is told too.
#define FP_CLOSED_ERROR 9

/// The peer announced a packet above the maximum.
#define FP_CLOSED_PACKET_TOO_LARGE 10

/// The peer sent more packets than its rate allows.
#define FP_CLOSED_PACKET_RATE 11

/// The peer sent more bytes than its rate allows.
#define FP_CLOSED_BYTE_RATE 12

/// The peer did not send its first packet in time.
#define FP_CLOSED_NO_FIRST_PACKET 13

/// The peer began a packet and did not finish it in time.
#define FP_CLOSED_SLOW_PACKET 14

/// All send queues together had reached their limit, and this session's was among the longest.
#define FP_CLOSED_QUEUE_MEMORY 15

/// The peer read nothing of what waited for it for too long.
#define FP_CLOSED_SLOW_READER 16

/// The session is closed, or is being closed.
#define FP_SESSION_CLOSED FP_SOCKET_NOT_REGISTERED

/// The peer reads too slowly: the session's queue is full, or the one on the way to it. `writable` tells when to go on.
#define FP_QUEUE_FULL FP_NO_RESOURCES

/// The payload does not fit into one packet.
#define FP_PACKET_TOO_LARGE FP_INVALID_BUFFER

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
  /// The mean of completions that were collected at once.
  double mean_batch;
  /// Completions of operations that were over already; they were dropped.
  uint64_t stale_completions;
  /// How often a receive had to wait for a buffer of the provider's.
  uint64_t buffer_waits;
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

/// How a server is set up. Set `struct_bytes` to sizeof(fp_server_options) and everything else to 0, which is the default,
/// then what is to be different: `fp_server_options options = {.struct_bytes = sizeof options};`. The struct may get more
/// fields at its end in later versions; programs built before go on to work.
typedef struct {
  /// sizeof(fp_server_options).
  size_t struct_bytes;
  /// "io_uring", "epoll", "kqueue", "iocp", "rio" or "auto"; NULL: the best that works here.
  const char *backend;
  /// I/O threads, up to 1024; 0: one a core.
  uint32_t workers;
  /// Threads for the callbacks, for those that compute for long or wait; 0: the I/O threads themselves call them, which
  /// copies and locks nothing and is right for callbacks that never wait.
  uint32_t handler_threads;
  /// How often `tick` is called, in milliseconds; 0: never.
  uint32_t tick_ms;
  /// FP_FRAMING_PACKET or FP_FRAMING_LENGTH.
  uint32_t framing;
  /// The longest packet, its header included; 0: 65535, or 1 MiB with FP_FRAMING_LENGTH.
  uint32_t max_frame_bytes;
  /// Connections that the system keeps until they are accepted; 0: 1024.
  uint32_t backlog;
  /// Sessions at once; 0: 65536. Further clients are refused.
  uint32_t max_sessions;
  /// Sessions at once from one address (one network of 64 bits with IPv6); 0: no limit.
  uint32_t max_sessions_per_address;
  /// Clients that each address to listen on accepts in a second; 0: no limit.
  uint32_t max_accepts_per_second;
  /// Packets that a client may send in a second; beyond it the session is closed. 0: no limit.
  uint32_t max_packets_per_second;
  /// Bytes that a client may send in a second; beyond it the session is closed. 0: no limit.
  uint32_t max_bytes_per_second;
  /// How long a client may take until its first packet is there, at least 10; 0: no limit.
  uint32_t first_packet_limit_ms;
  /// How long a client may take from the first to the last byte of a packet, at least 10; 0: no limit.
  uint32_t unfinished_packet_limit_ms;
  /// Sessions whose peer sends nothing for this long are closed, at least 10; 0: never.
  uint32_t idle_limit_ms;
  /// How long a graceful close may take before the connection is reset; 0: 5000.
  uint32_t close_limit_ms;
  /// Queued bytes from which on a session is full; 0: 1 MiB.
  uint32_t high_water_bytes;
  /// Queued bytes at which a session that was full is writable again; 0: a quarter of `high_water_bytes`.
  uint32_t low_water_bytes;
  /// Queued bytes beyond which a session is closed; 0: four times `high_water_bytes`. Room for what other threads send
  /// before they are told that the session is full belongs between the two.
  uint32_t queue_limit_bytes;
  /// 0: what a session's own callbacks send is queued up to `queue_limit_bytes`. 1: it is refused by FP_QUEUE_FULL from
  /// `high_water_bytes` on, as what other threads send always is.
  uint32_t refuse_when_full;
  /// Bytes in all send queues together, beyond which the sessions with the most of them are closed; 0: no limit.
  uint64_t max_queued_bytes;
  /// Which worker gets a new session. 0: the one with the fewest; 1: one after the other.
  uint32_t round_robin;
  /// How long a worker looks for events before it sleeps, in microseconds; 0: it sleeps at once; 0xFFFFFFFF: it never
  /// sleeps.
  uint32_t busy_poll_us;
  /// 0: small packets are sent at once (TCP_NODELAY). 1: the system gathers them.
  uint32_t delay_small_packets;
  /// SO_RCVBUF of connections; 0: as the system does.
  uint32_t receive_buffer_bytes;
  /// SO_SNDBUF of connections; 0: as the system does.
  uint32_t send_buffer_bytes;
  /// Silence after which the system probes the peer, in seconds; 0: never.
  uint32_t keep_alive_idle_s;
  /// Seconds between probes; 0: 10.
  uint32_t keep_alive_interval_s;
  /// Unanswered probes after which the peer counts as gone; 0: 3.
  uint32_t keep_alive_probes;
  /// 1: on cores that are shared with other programs, workers wait for their turn and handle what came meanwhile in one go
  /// (SCHED_BATCH, Linux only): more packets for the same processor time, later by up to a time slice.
  uint32_t batch_scheduling;
  /// How long a client may read nothing of what waits for it, at least 10; 0: no limit.
  uint32_t unread_limit_ms;
} fp_server_options;

/// A session of a server. It may be kept for as long as one likes: when the session is gone, the number names nothing, and is
/// not given to another session of that server. 0 is none.
typedef uint64_t fp_session;

/// The counts of one session, from its beginning to its end.
typedef struct {
  /// The size of the struct in the library.
  size_t struct_bytes;
  /// Packets that were handed to the program.
  uint64_t packets_received;
  /// Packets that were queued to be sent.
  uint64_t packets_sent;
  /// Bytes that arrived, headers included.
  uint64_t bytes_received;
  /// Bytes that the system has taken, headers included.
  uint64_t bytes_sent;
} fp_session_statistics;

/// What a server tells the program. Set `struct_bytes` to sizeof(fp_server_callbacks); what is NULL is not told.
///
/// `user` is the pointer that was given to fp_server_create. All events of a session come one after another, `accepted` or
/// `connected` first, `closed` last, each exactly once. Events of different sessions come at the same time if there are
/// several threads (see `workers` and `handler_threads`): then what callbacks share needs locks.
///
/// A callback on an I/O thread holds up all sessions of that thread, so it must not wait for anything. It may make any call
/// of this library except those that wait for the server: fp_server_stop, fp_server_wait and fp_server_destroy answer
/// FP_OPERATION_PENDING inside a callback of the same server.
///
/// Texts, payloads and structs that a callback is given are valid until it returns. No C++ exception and no longjmp may leave
/// a callback; layers for languages that have exceptions catch them and call fp_callback_failed.
typedef struct {
  /// sizeof(fp_server_callbacks).
  size_t struct_bytes;
  /// A client has connected; `peer` is its address, such as `192.0.2.7:4711` or `[2001:db8::7]:4711`.
  void (*accepted)(void *user, fp_session session, const char *peer);
  /// A connection stands that fp_server_connect asked for with this `token`.
  void (*connected)(void *user, fp_session session, uint64_t token);
  /// An attempt to connect has failed; `error` is one of the error numbers, `message` says it in words. If reconnecting was
  /// asked for, the next attempt follows by itself.
  void (*connect_failed)(void *user, uint64_t token, int32_t error, const char *message);
  /// A whole packet has arrived.
  void (*packet)(void *user, fp_session session, uint16_t id, const void *payload, size_t bytes);
  /// The system has taken `bytes` more bytes of what was sent, headers included.
  void (*sent)(void *user, fp_session session, size_t bytes);
  /// The session was full and takes packets again.
  void (*writable)(void *user, fp_session session);
  /// The session is over. `reason` is one of FP_CLOSED_…; `error` is the number of the error for FP_CLOSED_ERROR,
  /// otherwise 0.
  void (*closed)(void *user, fp_session session, uint32_t reason, int32_t error, const fp_session_statistics *statistics);
  /// The period `tick_ms` is over. Each thread that makes callbacks ticks for itself; `thread` is its number, from 0 on. A
  /// server with one thread has one tick. Late ticks are not made up for.
  void (*tick)(void *user, uint32_t thread);
  /// A client was accepted and closed at once, because of a limit: `reason` is "sessions", "address", "rate" or
  /// "exhausted".
  void (*refused)(void *user, const char *peer, const char *reason);
} fp_server_callbacks;

/// A server: framed sessions over one backend, on threads of its own. 0 is none.
typedef uint64_t fp_server;

/// How a server ended. The program sets `struct_bytes` to sizeof(fp_stop_report).
typedef struct {
  /// sizeof(fp_stop_report).
  size_t struct_bytes;
  /// Sessions that were still open when the time for draining was over, and were reset.
  uint64_t cut_off;
  /// How long the end took.
  uint64_t elapsed_ms;
  /// The number of the error that made the server stop by itself, which fp_last_error_message tells in words; 0 if it was
  /// asked to.
  int32_t failure;
} fp_stop_report;

/// The counts of a server since it was started. The program sets `struct_bytes` to sizeof(fp_server_statistics).
typedef struct {
  /// sizeof(fp_server_statistics).
  size_t struct_bytes;
  /// Sessions now, those that are connecting or closing included.
  uint64_t sessions;
  /// Clients that were accepted as sessions.
  uint64_t accepted;
  /// Connections that were made.
  uint64_t connected;
  /// Attempts to connect that failed.
  uint64_t connect_failures;
  /// Clients that were accepted and closed at once, because of any limit.
  uint64_t refused;
  /// Packets that were handed to the program.
  uint64_t packets_received;
  /// Packets that were queued to be sent.
  uint64_t packets_sent;
  /// Bytes that arrived, headers included.
  uint64_t bytes_received;
  /// Bytes that the system has taken, headers included.
  uint64_t bytes_sent;
  /// Bytes that wait in send queues now.
  uint64_t queued_bytes;
  /// Callbacks that failed; see fp_callback_failed.
  uint64_t callback_failures;
  /// Completions of the provider, cancelled ones excepted.
  uint64_t completions;
  /// Completions that were errors.
  uint64_t errors;
  /// How often a listener paused because the system had no descriptors or memory left.
  uint64_t accept_pauses;
  /// How often a receive waited because all receive buffers were held.
  uint64_t buffer_waits;
} fp_server_statistics;

/// How to connect. Set `struct_bytes` to sizeof(fp_connect_options) and everything else to 0, which is the default.
typedef struct {
  /// sizeof(fp_connect_options).
  size_t struct_bytes;
  /// An attempt that took this long has failed; 0: 10000.
  uint32_t time_limit_ms;
  /// 1: try again after a failure, and connect again after a loss, with waits that double. A session that the program
  /// closes is not connected again.
  uint32_t reconnect;
  /// The wait before the first new attempt; 0: 100.
  uint32_t first_wait_ms;
  /// The longest wait; 0: 30000.
  uint32_t longest_wait_ms;
  /// New attempts in a row before it gives up; 0: no limit.
  uint32_t attempts;
} fp_connect_options;

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
/// "ZeroCopySend", "MultishotAccept", "MultishotReceive", "BufferRing", "DeferredTaskWork". Before it was initialised,
/// whether its backend usually has it. False for unknown names and dead handles.
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

/// Creates a server that does not run yet.
///
/// `options` and `callbacks` are copied; NULL options are the defaults. `user` is passed to every callback and must stay valid
/// until the server has stopped. `server` gets the handle, which is destroyed by fp_server_destroy.
///
/// FP_INVALID_ARGUMENT for an option that does not exist; ranges are checked by fp_server_start.
int32_t fp_server_create(const fp_server_options *options,
                         const fp_server_callbacks *callbacks,
                         void *user,
                         fp_server *server);

/// Adds an address to listen on, such as `0.0.0.0:6628`, `[::]:6628` or `127.0.0.1:0`: with port 0 the system chooses one,
/// which fp_server_address tells. Any number of them before the server starts; a server without one accepts nobody and only
/// makes connections.
///
/// FP_ALREADY_INITIALIZED if it was started. Whether the address can be had is found out by fp_server_start.
int32_t fp_server_listen(fp_server server,
                         const char *address);

/// Starts a server: chooses the backend, opens the listeners and starts the threads. Clients can connect when it returns, and
/// callbacks may come before that.
///
/// FP_INVALID_ARGUMENT for an option out of range; FP_PLATFORM_NOT_SUPPORTED, FP_NO_RESOURCES or the system's error (such as
/// an address in use) otherwise: fp_last_error_message tells why and what to do. Nothing runs then, and it may be tried again.
/// FP_ALREADY_INITIALIZED if the server was started before: a server starts once.
int32_t fp_server_start(fp_server server);

/// Closes the listeners. Sessions live on. FP_NOT_INITIALIZED if the server was not started.
int32_t fp_server_stop_accepting(fp_server server);

/// Stops a server and waits for its end: no client is accepted any more, sessions may send what is queued for at most
/// `drain_limit_ms` milliseconds, what is left then is reset. When it returns, every session was told to be closed, and no
/// callback runs. `report` gets the outcome; it may be NULL.
///
/// FP_NOT_INITIALIZED if the server was not started, or has stopped already. FP_OPERATION_PENDING inside a callback of the
/// server, which it would wait for: call fp_server_begin_stop there.
int32_t fp_server_stop(fp_server server,
                       uint32_t drain_limit_ms,
                       fp_stop_report *report);

/// Stops a server as fp_server_stop does, without waiting. Of several calls the first one counts. Any thread may call, also
/// inside a callback. FP_NOT_INITIALIZED if the server was not started.
int32_t fp_server_begin_stop(fp_server server,
                             uint32_t drain_limit_ms);

/// Waits until a server has stopped: because fp_server_begin_stop was called, or because its backend failed. `report` gets the
/// outcome; it may be NULL. Several threads may wait, also after the end.
///
/// FP_NOT_INITIALIZED if the server was not started; FP_OPERATION_PENDING inside a callback of the server.
int32_t fp_server_wait(fp_server server,
                       fp_stop_report *report);

/// Destroys a server, after stopping it without draining if it runs. When it returns, no callback runs, and the handle is
/// dead.
///
/// FP_OPERATION_PENDING inside a callback of the server, which it would wait for: the server lives on.
int32_t fp_server_destroy(fp_server server);

/// Tells an address that the server listens on, in the order in which they were given, `index` from 0 on: `address` gets it as
/// a text that ends with a zero, `port` its port. Either may be NULL. 64 bytes are enough for any text.
///
/// FP_INVALID_ARGUMENT if there are fewer addresses; FP_INVALID_BUFFER if `address_bytes` is too small; FP_NOT_INITIALIZED if
/// the server was not started.
int32_t fp_server_address(fp_server server,
                          uint32_t index,
                          char *address,
                          size_t address_bytes,
                          uint16_t *port);

/// The backend of a server: "io_uring", "epoll", "kqueue", "IOCP" or "RIO"; NULL before fp_server_start has returned, and for
/// a dead handle. The text lives as long as the program.
const char *fp_server_backend(fp_server server);

/// The counts of a server, all threads together, at most one batch of events old. FP_NOT_INITIALIZED if it was not started;
/// after its end, those of the end.
int32_t fp_server_get_statistics(fp_server server,
                                 fp_server_statistics *statistics);

/// The name of a reason, such as "peer_closed", for logs and metrics; "unknown" for a number that is none. The text lives as
/// long as the program.
const char *fp_close_reason_name(uint32_t reason);

/// Sends a packet with a copy of `bytes` bytes from `payload` on, which may be NULL if there are none.
///
/// Any thread may call at any time, also inside callbacks. A packet that was accepted is sent, unless the session ends before.
/// Packets of one thread to one session keep their order; only what a callback sends to its own session goes out with that
/// callback, ahead of what other callbacks on the thread have sent to it just before.
///
/// FP_SESSION_CLOSED for a session that is gone or going, FP_QUEUE_FULL for one whose peer reads too slowly,
/// FP_PACKET_TOO_LARGE beyond the largest packet: nothing was sent then.
int32_t fp_session_send(fp_server server,
                        fp_session session,
                        uint16_t id,
                        const void *payload,
                        size_t bytes);

/// Sends the packet that the `packet` callback on this thread was given, as it came, to a session of the same server. Back to
/// its own session a large one goes without a copy.
///
/// FP_INVALID_ARGUMENT outside a `packet` callback of the server; otherwise as fp_session_send.
int32_t fp_session_forward(fp_server server,
                           fp_session session);

/// Sends one packet to `count` sessions. It is encoded once, and large ones are not copied for each. `reached`, if it is not
/// NULL, gets the number of sessions that take it; the others are gone, or full.
///
/// Any thread may call, also inside callbacks. FP_PACKET_TOO_LARGE beyond the largest packet.
int32_t fp_server_broadcast(fp_server server,
                            const fp_session *sessions,
                            size_t count,
                            uint16_t id,
                            const void *payload,
                            size_t bytes,
                            size_t *reached);

/// Ends a session gracefully: what is queued is sent, then the stream is ended, and the peer gets time to end its own. No
/// packet of it is handed to the program any more. Any thread may call. FP_SESSION_CLOSED if it was gone or going already.
int32_t fp_session_close(fp_server server,
                         fp_session session);

/// Ends a session at once by a reset; what is queued is dropped. Any thread may call. FP_SESSION_CLOSED if it was gone or
/// going already.
int32_t fp_session_abort(fp_server server,
                         fp_session session);

/// Whether packets can be sent to a session: it is neither closed nor being closed. False for dead handles too.
bool fp_session_is_open(fp_server server, fp_session session);

/// Makes a connection, which becomes a session of the server: `address` is like "192.0.2.7:6628", names are not looked up. The
/// outcome comes to `connected` or `connect_failed`, with `token`. `options` may be NULL for the defaults.
///
/// Any thread may call. FP_QUEUE_FULL at the limit of sessions; FP_SESSION_CLOSED when the server stops; FP_NOT_INITIALIZED
/// before it was started.
int32_t fp_server_connect(fp_server server,
                          const char *address,
                          uint64_t token,
                          const fp_connect_options *options);

/// Makes no connection any more that fp_server_connect was asked for with `token`. An attempt that is under way, or waits for its
/// time, ends with `connect_failed` and FP_CANCELLED. A connection that stands lives on, and is not made again when it is
/// lost.
///
/// Any thread may call.
int32_t fp_server_cancel_connect(fp_server server,
                                 uint64_t token);

/// Says inside a callback that it has failed, for layers over this one whose language has exceptions: when the callback
/// returns, `what` is logged and counted, and the session, if the callback had one, is reset with reason
/// FP_CLOSED_CALLBACK_FAILED. `what` may be NULL.
///
/// FP_INVALID_ARGUMENT outside callbacks.
int32_t fp_callback_failed(const char *what);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* FASTPORT_H */
