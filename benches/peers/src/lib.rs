//! What the servers and the load generator share: the frame, the command line of a server, its listener, and a ring of
//! receive buffers for io_uring.
//!
//! A frame is `[u16 size of the whole frame][u16 id][payload]`, big-endian. Every server takes all whole frames of a read
//! and writes their replies by one write, on one thread: what differs is how it reaches the kernel.

pub mod frame;
pub mod receive_ring;
pub mod server;
