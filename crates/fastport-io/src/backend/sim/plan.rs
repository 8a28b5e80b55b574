//! What goes wrong in a simulated network, and how often.

use std::fmt;
use std::ops::{Index, RangeInclusive};
use std::time::Duration;

use super::random::Random;

/// Something that a real system does now and then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// A receive brings less than what is there.
    ShortReceive,
    /// The system takes less of a send than it has room for; the provider goes on with the rest later.
    ShortSend,
    /// What is sent travels in several pieces.
    SplitSegment,
    /// An operation is done, but its completion comes later, behind those of other sockets.
    SlowCompletion,
    /// A cancellation takes its time, in which the operation may still succeed.
    LateCancel,
    /// A connection is reset while bytes are transferred; both ends are told.
    Reset,
    /// A connect is refused although somebody listens.
    RefusedConnect,
    /// A connect is never answered, and fails by the system's time limit.
    LostConnect,
    /// An accept, or the creation of a socket, finds no descriptor left (`EMFILE`).
    NoDescriptors,
    /// A send or a receive finds no buffer space left (`ENOBUFS`); the connection is as it was.
    NoBuffers,
    /// The system refuses an operation when it is handed over.
    FailedSubmission,
    /// The system refuses to watch a socket.
    FailedAttach,
    /// Waiting for completions fails as a whole, once.
    FailedWait,
    /// A wait ends early without anything to tell.
    EmptyWait,
    /// The memory of a receive is overwritten as a whole, not only where bytes arrive: it belongs to the provider.
    Scribble,
    /// Of the sockets that have something to do any comes first, not the one that waited longest.
    Reorder,
    /// The completion of an operation that is over is told once more. Its id is dead, so nobody may notice, least of all
    /// the operation that has its place now.
    StaleCompletion,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::ShortReceive,
        Self::ShortSend,
        Self::SplitSegment,
        Self::SlowCompletion,
        Self::LateCancel,
        Self::Reset,
        Self::RefusedConnect,
        Self::LostConnect,
        Self::NoDescriptors,
        Self::NoBuffers,
        Self::FailedSubmission,
        Self::FailedAttach,
        Self::FailedWait,
        Self::EmptyWait,
        Self::Scribble,
        Self::Reorder,
        Self::StaleCompletion,
    ];

    /// True if it breaks a connection, or keeps one from being made. The others are to be borne without a trace.
    pub const fn breaks_connections(self) -> bool {
        matches!(
            self,
            Self::Reset
                | Self::RefusedConnect
                | Self::LostConnect
                | Self::NoDescriptors
                | Self::NoBuffers
                | Self::FailedSubmission
                | Self::FailedAttach
                | Self::FailedWait
        )
    }
}

/// How a simulated network behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultPlan {
    chances: [f64; Fault::ALL.len()],
    /// How long a segment, or an answer to a connect, travels; drawn for each.
    pub latency: RangeInclusive<Duration>,
    /// Bytes that each direction of a connection carries in a second; `None` for no limit.
    pub bytes_per_second: Option<u64>,
    /// What the system takes from a sender before it has travelled, in bytes.
    pub send_buffer_bytes: usize,
    /// What the system keeps for a receiver, in bytes.
    pub receive_buffer_bytes: usize,
    /// The longest delay of [`Fault::SlowCompletion`] and [`Fault::LateCancel`].
    pub longest_delay: Duration,
    /// After this time a connect that is not answered fails.
    pub connect_time_limit: Duration,
}

impl Default for FaultPlan {
    /// No faults, no latency: a loopback device on a good day.
    fn default() -> Self {
        Self {
            chances: [0.0; Fault::ALL.len()],
            latency: Duration::ZERO..=Duration::ZERO,
            bytes_per_second: None,
            send_buffer_bytes: 128 * 1024,
            receive_buffer_bytes: 128 * 1024,
            longest_delay: Duration::from_millis(5),
            // What Linux needs for the retries that it makes by default.
            connect_time_limit: Duration::from_secs(127),
        }
    }
}

impl FaultPlan {
    /// The plan with one more fault, which happens with that probability whenever it could. Reordering, empty
    /// waits and stale completions are drawn once for each wait.
    ///
    /// # Panics
    /// If the probability is outside 0 ..= 1.
    #[must_use]
    pub fn with(mut self, fault: Fault, probability: f64) -> Self {
        assert!((0.0..=1.0).contains(&probability), "{probability} is no probability");
        self.chances[fault as usize] = probability;
        self
    }

    /// How probable a fault is.
    pub const fn chance(&self, fault: Fault) -> f64 {
        self.chances[fault as usize]
    }

    /// A plan of its own for each seed: any part of the faults, each more or less often, on a network of any kind. Runs
    /// with few faults, or with one, find what the noise of all of them would hide.
    pub fn drawn(random: &mut Random) -> Self {
        let mut plan = Self::default();
        let density = *random.pick(&[0.0, 0.2, 0.5, 0.8]);
        for fault in Fault::ALL {
            if random.chance(density) {
                let often = if fault.breaks_connections() { 0.01 } else { 0.5 };
                // Squared, so that rare ones are as likely as frequent ones.
                let share = random.below(1 << 20) as f64 / (1u64 << 20) as f64;
                plan = plan.with(fault, often * share * share);
            }
        }
        let slowest_us = *random.pick(&[0, 50, 1_000, 40_000]);
        let fastest_us = random.below(slowest_us + 1);
        plan.latency = Duration::from_micros(fastest_us)..=Duration::from_micros(slowest_us);
        plan.bytes_per_second = *random.pick(&[None, None, Some(100_000), Some(10_000_000)]);
        plan.send_buffer_bytes = *random.pick(&[64, 1000, 8192, 128 * 1024]);
        plan.receive_buffer_bytes = *random.pick(&[64, 1000, 8192, 128 * 1024]);
        plan
    }
}

impl fmt::Display for FaultPlan {
    /// In one line, without what is off.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "latency {:?}..={:?}", self.latency.start(), self.latency.end())?;
        if let Some(bytes) = self.bytes_per_second {
            write!(f, ", {bytes} B/s")?;
        }
        write!(f, ", buffers {} and {} B", self.send_buffer_bytes, self.receive_buffer_bytes)?;
        for fault in Fault::ALL.into_iter().filter(|&fault| self.chance(fault) > 0.0) {
            write!(f, ", {fault:?} {:.3}", self.chance(fault))?;
        }
        Ok(())
    }
}

/// How often each fault has happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts([u64; Fault::ALL.len()]);

impl FaultCounts {
    pub(super) const fn count(&mut self, fault: Fault) {
        self.0[fault as usize] += 1;
    }

    /// All together.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Adds those of another network.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }
}

impl Index<Fault> for FaultCounts {
    type Output = u64;

    fn index(&self, fault: Fault) -> &u64 {
        &self.0[fault as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_tells_what_is_on_and_nothing_else() {
        let plan = FaultPlan::default().with(Fault::Reset, 0.25);
        let told = plan.to_string();
        assert!(told.contains("Reset 0.250"), "{told}");
        assert!(!told.contains("Scribble"), "{told}");
    }

    #[test]
    fn drawn_plans_differ_and_some_have_no_fault() {
        let mut random = Random::new(3);
        let plans: Vec<_> = (0..50).map(|_| FaultPlan::drawn(&mut random)).collect();
        assert!(plans.iter().any(|plan| Fault::ALL.iter().all(|&fault| plan.chance(fault) == 0.0)));
        assert!(plans.iter().any(|plan| plan.chance(Fault::Reset) > 0.0));
    }
}
