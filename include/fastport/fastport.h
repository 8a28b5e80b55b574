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

/// A provider: the I/O of one backend. Destroyed by `fp_provider_destroy`.
typedef uint64_t fp_provider;

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
/// `backend` is "io_uring", "epoll", "kqueue", "iocp", "rio" or "auto", in any case; NULL means "auto". `provider` gets the
/// handle.
int32_t fp_provider_create(const char *backend,
                           fp_provider *provider);

/// Destroys a provider. Its handle is dead from now on.
int32_t fp_provider_destroy(fp_provider provider);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* FASTPORT_H */
