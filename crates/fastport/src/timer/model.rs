//! The wheel against a sorted map, under random sequences of everything that a caller may do.
//!
//! What must hold: the same timers fire, in order; never early; at most one tick (and the slack) late; and a caller that
//! sleeps until the next deadline always gets further.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The wheel beside a sorted map that says what has to happen.
struct Compared {
    wheel: TimerWheel<u64>,
    start: Instant,
    tick: Duration,
    /// The real time, which the wheel learns of only when it is drained.
    now: Duration,
    told: Duration,
    armed: BTreeMap<(u64, u64), Armed>,
    ids: Vec<(TimerId, (u64, u64))>,
}

struct Armed {
    deadline: Duration,
    since: Duration,
    slack: Duration,
}

#[derive(Clone, Debug)]
enum Step {
    Insert { deadline: Duration, slack: Duration },
    InsertPast,
    Cancel(usize),
    Pass(Duration),
    Drain { arm_again: Duration },
    SleepUntilNext,
}

impl Compared {
    fn new(tick: Duration) -> Self {
        let start = Instant::now();
        let wheel = TimerWheel::with_tick(start, tick).unwrap();
        let (now, told) = (Duration::ZERO, Duration::ZERO);
        Self { wheel, start, tick, now, told, armed: BTreeMap::new(), ids: Vec::new() }
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Insert { deadline, slack } => self.insert(self.now + deadline, slack),
            Step::InsertPast => self.insert(self.now / 2, Duration::ZERO),
            Step::Cancel(pick) => self.cancel(pick),
            Step::Pass(duration) => self.now += duration,
            Step::Drain { arm_again } => self.drain(arm_again),
            Step::SleepUntilNext => self.sleep_until_next(),
        }
        assert_eq!(self.wheel.len(), self.armed.len());
        assert_eq!(self.wheel.next_deadline().is_none(), self.armed.is_empty());
    }

    fn insert(&mut self, deadline: Duration, slack: Duration) {
        let token = self.ids.len() as u64;
        let id = self.wheel.insert_within(self.start + deadline, slack, token);
        // Which tick is chosen within the slack is the wheel's business; the checks below see to the limits.
        let key = (self.wheel.entries[id.index as usize].due, token);
        self.armed.insert(key, Armed { deadline, since: self.now, slack });
        self.ids.push((id, key));
    }

    fn cancel(&mut self, pick: usize) {
        if self.ids.is_empty() {
            return;
        }
        let (id, key) = self.ids[pick % self.ids.len()];
        let expected = self.armed.remove(&key).map(|_| key.1);
        assert_eq!(self.wheel.cancel(id), expected);
    }

    fn drain(&mut self, arm_again: Duration) {
        self.told = self.told.max(self.now);
        while let Some(token) = self.wheel.pop_expired(self.start + self.now) {
            let ((_, expected), timer) = self.armed.pop_first().expect("only armed timers fire");
            assert_eq!(token, expected, "timers fire in the order of their ticks");
            assert!(timer.deadline <= self.now, "never early");
            if token % 4 == 0 {
                self.insert(self.now + arm_again, Duration::ZERO);
            }
        }
        for timer in self.armed.values() {
            let latest = timer.deadline.max(timer.since) + timer.slack + self.tick;
            assert!(self.now < latest, "at most one tick late");
        }
        assert!(self.wheel.next_deadline().is_none_or(|next| next > self.start + self.told), "no spinning");
    }

    fn sleep_until_next(&mut self) {
        let Some(next) = self.wheel.next_deadline() else { return };
        self.now = self.now.max(next - self.start);
        self.drain(Duration::ZERO);
    }
}

fn durations() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(0),
        0..3_000_000_u64,
        0..200_000_000_u64,
        0..30_000_000_000_u64,
        0..DAY.as_nanos() as u64,
        0..1000 * DAY.as_nanos() as u64,
    ]
    .prop_map(Duration::from_nanos)
}

fn steps() -> impl Strategy<Value = Step> {
    let slack = prop_oneof![3 => Just(Duration::ZERO), 1 => durations()];
    prop_oneof![
        6 => (durations(), slack).prop_map(|(deadline, slack)| Step::Insert { deadline, slack }),
        1 => Just(Step::InsertPast),
        2 => any::<usize>().prop_map(Step::Cancel),
        2 => durations().prop_map(Step::Pass),
        2 => durations().prop_map(|arm_again| Step::Drain { arm_again }),
        2 => Just(Step::SleepUntilNext),
    ]
}

proptest! {
    #[test]
    fn behaves_like_a_sorted_map_under_any_sequence(
        tick_us in prop_oneof![Just(1_u64), Just(1000), Just(7777), Just(60_000_000)],
        steps in proptest::collection::vec(steps(), 1..200),
    ) {
        let mut compared = Compared::new(Duration::from_micros(tick_us));
        for step in &steps {
            compared.apply(step);
        }
        compared.now += 100_000 * DAY;
        compared.drain(Duration::ZERO);
    }
}
