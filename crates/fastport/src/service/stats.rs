//! What a service counts. Each worker counts for itself, in plain numbers, and publishes them once a batch.

use fastport_io::{PoolStats, ProviderStats};

use crate::session::CloseReason;
use crate::sync::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counts of a service, or of one worker, at one moment.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct ServiceStats {
            $($(#[$doc])* pub $name: u64,)*
            closed: [u64; CloseReason::KINDS],
        }

        /// A worker's own counts, as all threads may read them.
        ///
        /// The words are written by one thread only. They start on a cache line of their own, so that two workers do not
        /// disturb each other.
        #[derive(Default)]
        #[repr(align(128))]
        pub(crate) struct PublishedStats {
            $($name: AtomicU64,)*
            closed: [AtomicU64; CloseReason::KINDS],
        }

        impl PublishedStats {
            /// Makes the counts visible.
            #[inline]
            pub(crate) fn publish(&self, stats: &ServiceStats) {
                $(self.$name.store(stats.$name, Ordering::Relaxed);)*
            }

            fn publish_closed(&self, stats: &ServiceStats) {
                for (word, count) in self.closed.iter().zip(stats.closed) {
                    word.store(count, Ordering::Relaxed);
                }
            }

            /// The counts that were published last.
            pub(crate) fn read(&self) -> ServiceStats {
                ServiceStats {
                    $($name: self.$name.load(Ordering::Relaxed),)*
                    closed: std::array::from_fn(|index| self.closed[index].load(Ordering::Relaxed)),
                }
            }
        }

        impl ServiceStats {
            /// Adds another worker's counts.
            pub(crate) fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
                for (count, more) in self.closed.iter_mut().zip(other.closed) {
                    *count += more;
                }
            }
        }
    };
}

counters! {
    /// Sessions now, those that are connecting or closing included.
    sessions,
    /// Clients that were accepted as sessions.
    accepted,
    /// Connections that were made.
    connected,
    /// Attempts to connect that failed.
    connect_failures,
    /// Clients that were accepted and closed at once, because of any limit.
    refused,
    /// Of these, at the maximum of sessions.
    refused_at_maximum,
    /// Of these, at the maximum of sessions of their address.
    refused_by_address,
    /// Of these, beyond the rate of accepts.
    refused_by_rate,
    /// How often a listener paused because the system had no descriptors or memory left.
    accept_pauses,
    /// Packets that were handed to the handler.
    packets_received,
    /// Packets that were queued to be sent.
    packets_sent,
    /// Bytes that arrived.
    bytes_received,
    /// Bytes that the system has taken.
    bytes_sent,
    /// Bytes that wait in send queues now.
    queued_bytes,
    /// Panics of the handler.
    handler_panics,
    /// Batches of completions.
    batches,
    /// Completions in all batches, cancelled ones excepted.
    completions,
    /// Completions that were errors.
    errors,
    /// How often waiting for completions failed and was tried again.
    provider_retries,
    /// Log periods of a worker in which more than 5 % of its completions were errors.
    error_rate_warnings,
    /// How often a receive waited because all receive buffers were held, when the worker last logged its counts
    /// ([`ServiceOptions::log_period`](crate::ServiceOptions::log_period)) or ended.
    buffer_waits,
    /// Slots of the receive pool that are held now.
    receive_slots_held,
    /// Slots of the send pool that are held now.
    send_slots_held,
    /// The most slots of the send pool ever held at once.
    send_slots_high_water,
    /// How often the send pool was empty.
    send_pool_exhausted,
}

impl ServiceStats {
    /// Sessions that ended for this reason; errors are counted together.
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.closed[reason.index()]
    }

    /// Counts the end of a session, and makes it visible.
    pub(crate) fn count_closed(&mut self, reason: CloseReason, published: &PublishedStats) {
        self.closed[reason.index()] += 1;
        published.publish_closed(self);
    }

    /// Notes the state of the pools.
    pub(crate) fn note_pools(&mut self, receive: &PoolStats, send: &PoolStats) {
        self.receive_slots_held = u64::from(receive.allocated);
        self.send_slots_held = u64::from(send.allocated);
        self.send_slots_high_water = u64::from(send.high_water);
        self.send_pool_exhausted = send.exhausted;
    }

    /// Notes what the provider counts.
    pub(crate) fn note_provider(&mut self, provider: &ProviderStats) {
        self.buffer_waits = provider.buffer_waits;
    }

    /// The share of errors among the completions since `earlier`, 0 ..= 1.
    pub(crate) fn error_rate_since(&self, earlier: &Self) -> f64 {
        let completions = self.completions - earlier.completions;
        if completions == 0 {
            return 0.0;
        }
        (self.errors - earlier.errors) as f64 / completions as f64
    }
}

/// The share of errors among completions above which a worker warns.
pub(crate) const ERROR_RATE_WARNING: f64 = 0.05;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_counts_are_read_back_and_added_up() {
        let published = PublishedStats::default();
        let mut stats = ServiceStats { sessions: 2, bytes_sent: 10, ..ServiceStats::default() };
        stats.count_closed(CloseReason::Idle, &published);
        published.publish(&stats);
        let mut sum = published.read();
        assert_eq!(sum, stats);
        sum.add(&stats);
        assert_eq!((sum.sessions, sum.bytes_sent, sum.closed(CloseReason::Idle)), (4, 20, 2));
    }

    #[test]
    fn the_error_rate_is_that_of_the_time_since() {
        let earlier = ServiceStats { completions: 100, errors: 100, ..ServiceStats::default() };
        let later = ServiceStats { completions: 200, errors: 106, ..ServiceStats::default() };
        assert!((later.error_rate_since(&earlier) - 0.06).abs() < 1e-9);
        assert!(later.error_rate_since(&later).abs() < f64::EPSILON);
    }
}
