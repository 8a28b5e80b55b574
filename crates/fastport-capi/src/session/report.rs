//! What a server tells about its sessions, its work and its end.

use fastport::{ServiceStats, SessionStats, StopReport};

use super::growing::Growing;

/// The counts of one session, from its beginning to its end.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct fp_session_statistics {
    /// The size of the struct in the library.
    pub struct_bytes: usize,
    /// Packets that were handed to the program.
    pub packets_received: u64,
    /// Packets that were queued to be sent.
    pub packets_sent: u64,
    /// Bytes that arrived, headers included.
    pub bytes_received: u64,
    /// Bytes that the system has taken, headers included.
    pub bytes_sent: u64,
}

impl From<&SessionStats> for fp_session_statistics {
    fn from(stats: &SessionStats) -> Self {
        Self {
            struct_bytes: size_of::<Self>(),
            packets_received: stats.packets_received,
            packets_sent: stats.packets_sent,
            bytes_received: stats.bytes_received,
            bytes_sent: stats.bytes_sent,
        }
    }
}

/// The counts of a server since it was started. The program sets `struct_bytes` to sizeof(fp_server_statistics).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct fp_server_statistics {
    /// sizeof(fp_server_statistics).
    pub struct_bytes: usize,
    /// Sessions now, those that are connecting or closing included.
    pub sessions: u64,
    /// Clients that were accepted as sessions.
    pub accepted: u64,
    /// Connections that were made.
    pub connected: u64,
    /// Attempts to connect that failed.
    pub connect_failures: u64,
    /// Clients that were accepted and closed at once, because of any limit.
    pub refused: u64,
    /// Packets that were handed to the program.
    pub packets_received: u64,
    /// Packets that were queued to be sent.
    pub packets_sent: u64,
    /// Bytes that arrived, headers included.
    pub bytes_received: u64,
    /// Bytes that the system has taken, headers included.
    pub bytes_sent: u64,
    /// Bytes that wait in send queues now.
    pub queued_bytes: u64,
    /// Callbacks that failed; see fp_callback_failed.
    pub callback_failures: u64,
    /// Completions of the provider, cancelled ones excepted.
    pub completions: u64,
    /// Completions that were errors.
    pub errors: u64,
    /// How often a listener paused because the system had no descriptors or memory left.
    pub accept_pauses: u64,
    /// How often a receive waited because all receive buffers were held.
    pub buffer_waits: u64,
}

// SAFETY: plain numbers, the size first.
unsafe impl Growing for fp_server_statistics {
    const NAME: &'static str = "fp_server_statistics";
}

impl From<&ServiceStats> for fp_server_statistics {
    fn from(stats: &ServiceStats) -> Self {
        Self {
            struct_bytes: size_of::<Self>(),
            sessions: stats.sessions,
            accepted: stats.accepted,
            connected: stats.connected,
            connect_failures: stats.connect_failures,
            refused: stats.refused,
            packets_received: stats.packets_received,
            packets_sent: stats.packets_sent,
            bytes_received: stats.bytes_received,
            bytes_sent: stats.bytes_sent,
            queued_bytes: stats.queued_bytes,
            callback_failures: stats.handler_panics,
            completions: stats.completions,
            errors: stats.errors,
            accept_pauses: stats.accept_pauses,
            buffer_waits: stats.buffer_waits,
        }
    }
}

/// How a server ended. The program sets `struct_bytes` to sizeof(fp_stop_report).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct fp_stop_report {
    /// sizeof(fp_stop_report).
    pub struct_bytes: usize,
    /// Sessions that were still open when the time for draining was over, and were reset.
    pub cut_off: u64,
    /// How long the end took.
    pub elapsed_ms: u64,
    /// The number of the error that made the server stop by itself, which fp_last_error_message tells in words; 0 if it was
    /// asked to.
    pub failure: i32,
}

// SAFETY: plain numbers, the size first; the padding at the end is not read by anybody.
unsafe impl Growing for fp_stop_report {
    const NAME: &'static str = "fp_stop_report";
}

impl From<&StopReport> for fp_stop_report {
    fn from(report: &StopReport) -> Self {
        Self {
            struct_bytes: size_of::<Self>(),
            cut_off: report.aborted,
            elapsed_ms: u64::try_from(report.elapsed.as_millis()).unwrap_or(u64::MAX),
            failure: report.failure.as_ref().map_or(0, fastport_io::Error::number),
        }
    }
}
