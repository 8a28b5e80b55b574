//! The timer wheel: idle checks, time limits and game ticks of one worker.
//!
//! A worker arms timers for its sessions and its application, sleeps until [`TimerWheel::next_deadline`], and takes the
//! due ones out with [`TimerWheel::pop_expired`]. Time is passed in, so tests and simulations need no clock and no
//! sleeping. A session does not move its idle timer on every packet: it notes the time, and when the timer fires it
//! arms a new one for what is left. That makes the idle check a single store per packet.
//!
//! # How it works
//!
//! Time is counted in ticks since the wheel was made. Read a tick number as digits to the base of 64: a timer lies on
//! the level of the highest digit in which its due tick differs from the wheel's cursor, in the slot that this digit
//! names. On level 0 all timers of a slot are due in the same tick; a slot of level 2 spans 4096 ticks. When the cursor
//! reaches the beginning of such a slot, its timers move to lower levels. With eleven levels the digits cover all 64
//! bits, so no timer is too far away, and none needs a second turn of the wheel.
//!
//! ```text
//!  cursor      0 · 0 · 0 · 5 · 12
//!  due tick    0 · 0 · 0 · 5 · 40   first differing digit: level 0, slot 40
//!  due tick    0 · 0 · 0 · 9 · 63   level 1, slot 9
//!  due tick    0 · 3 · 0 · 0 ·  0   level 3, slot 3
//! ```
//!
//! A bit set of occupied slots on each level finds the next one without walking over empty ticks: a jump of days costs
//! as much as a jump of milliseconds.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// The tick of [`TimerWheel::new`]: 1 ms.
///
/// It is what a game loop of 60 steps a second needs, and the resolution of `epoll_wait`. A fine tick costs nothing by
/// itself, because the worker sleeps until the next timer and not until the next tick. Timers that need no such
/// precision, as the idle checks of thousands of sessions, share wake-ups through [`TimerWheel::insert_within`].
pub const DEFAULT_TICK: Duration = Duration::from_millis(1);

/// The finest tick: 1 µs.
pub const MIN_TICK: Duration = Duration::from_micros(1);

/// The coarsest tick: 1 minute.
pub const MAX_TICK: Duration = Duration::from_secs(60);

/// Binary digits in a slot number.
const SLOT_BITS: u32 = 6;
/// Slots of one level: as many as a word has bits.
const SLOTS: usize = 1 << SLOT_BITS;
/// Levels that cover every tick number.
const LEVELS: usize = u64::BITS.div_ceil(SLOT_BITS) as usize;

/// No entry: an empty slot, or the end of the vacant list.
const NONE: u32 = u32::MAX;

/// Names a timer that was armed. It may be kept after the timer fired or was cancelled: it then names nothing.
///
/// Generations return after four billion uses of the same entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerId {
    index: u32,
    generation: NonZeroU32,
}

/// The tick of a wheel lies outside [`MIN_TICK`] to [`MAX_TICK`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a timer tick of {given:?} is out of range: choose {MIN_TICK:?} to {MAX_TICK:?}")]
pub struct TickOutOfRange {
    /// The tick that was asked for.
    pub given: Duration,
}

/// Timers that each carry a token of the caller's.
///
/// - Arming and cancelling take constant time; expiring does too, amortised over the at most ten moves between levels.
/// - A timer never fires early. It fires at the first [`pop_expired`](Self::pop_expired) that is one tick or more after
///   its deadline or after it was armed, whichever is later, and often sooner.
/// - Timers come out in the order of the ticks they are due in, and within a tick in the order in which they were armed.
/// - An entry takes 32 bytes with a token of 8; the wheel itself takes 3 KiB. Memory grows to the highest number of
///   timers that were armed at once, and is reused from then on. There is no limit here: a caller that arms timers on
///   behalf of its peers limits them, as the service does with its sessions.
///
/// Deadlines more than 584 years after the wheel was made are treated as if they were at that point.
pub struct TimerWheel<T> {
    entries: Vec<Entry<T>>,
    first_vacant: u32,
    armed: u32,
    /// The first entry of each slot, level after level.
    heads: Box<[u32]>,
    /// One bit for each slot that is not empty.
    occupied: [u64; LEVELS],
    /// The tick that levels and slots refer to. All earlier ticks are empty.
    cursor: u64,
    /// The last time that the caller told. Ahead of the cursor only while expired timers are being taken out.
    now: u64,
    tick_ns: u64,
    origin: Instant,
}

/// An armed timer is a member of its slot's ring. A vacant entry uses `next` only.
struct Entry<T> {
    token: T,
    due: u64,
    next: u32,
    previous: u32,
    generation: NonZeroU32,
    slot: u16,
}

const _: () = assert!(size_of::<Entry<u64>>() <= 32, "10 000 idle sessions have a budget");

impl<T: Copy> TimerWheel<T> {
    /// An empty wheel with a tick of [`DEFAULT_TICK`].
    pub fn new(now: Instant) -> Self {
        Self::from_tick_ns(now, DEFAULT_TICK.as_nanos() as u64)
    }

    /// An empty wheel with a tick of the caller's choice, [`MIN_TICK`] to [`MAX_TICK`].
    pub fn with_tick(now: Instant, tick: Duration) -> Result<Self, TickOutOfRange> {
        if !(MIN_TICK..=MAX_TICK).contains(&tick) {
            return Err(TickOutOfRange { given: tick });
        }
        Ok(Self::from_tick_ns(now, tick.as_nanos() as u64))
    }

    fn from_tick_ns(origin: Instant, tick_ns: u64) -> Self {
        Self {
            entries: Vec::new(),
            first_vacant: NONE,
            armed: 0,
            heads: vec![NONE; LEVELS * SLOTS].into_boxed_slice(),
            occupied: [0; LEVELS],
            cursor: 0,
            now: 0,
            tick_ns,
            origin,
        }
    }

    /// Number of armed timers.
    pub fn len(&self) -> usize {
        self.armed as usize
    }

    /// True if no timer is armed.
    pub fn is_empty(&self) -> bool {
        self.armed == 0
    }

    /// Arms a timer. A deadline that has passed already fires within a tick.
    ///
    /// # Panics
    ///
    /// With 2³² − 1 timers armed at once, which take 128 GiB.
    pub fn insert(&mut self, deadline: Instant, token: T) -> TimerId {
        self.insert_within(deadline, Duration::ZERO, token)
    }

    /// Arms a timer that may fire up to `slack` later than [`insert`](Self::insert) would let it.
    ///
    /// Timers with slack gather at the same few ticks, so that thousands of them wake the worker a few times a second
    /// instead of once each. A quarter of a second suits an idle check of a minute.
    ///
    /// # Panics
    ///
    /// As [`insert`](Self::insert).
    pub fn insert_within(&mut self, deadline: Instant, slack: Duration, token: T) -> TimerId {
        // A timer armed while expired ones are taken out is due after `now`, even if its deadline has passed. So taking
        // out always ends, also for a caller that arms each timer again at once.
        let earliest = self.ns_since_origin(deadline).div_ceil(self.tick_ns).max(self.now.saturating_add(1));
        let due = round_up_within(earliest, ns_of(slack) / self.tick_ns);
        let index = self.take_vacant(token, due);
        self.link(index);
        self.armed += 1;
        TimerId { index, generation: self.entries[index as usize].generation }
    }

    /// Disarms a timer and returns its token, or `None` if it fired or was cancelled before.
    pub fn cancel(&mut self, id: TimerId) -> Option<T> {
        let entry = self.entries.get(id.index as usize)?;
        // A vacant entry has a generation that was not given out yet, so this finds armed timers only.
        if entry.generation != id.generation {
            return None;
        }
        Some(self.remove(id.index))
    }

    /// Takes out one timer that is due, or says `None` when all of them have been taken.
    ///
    /// Between two calls the caller may arm and cancel timers; one that is cancelled does not come out, even if it was
    /// due. A `now` before an earlier one counts as the earlier one.
    pub fn pop_expired(&mut self, now: Instant) -> Option<T> {
        self.now = self.now.max(self.ns_since_origin(now) / self.tick_ns);
        while let Some((level, start)) = self.next_slot() {
            if start > self.now {
                break;
            }
            self.cursor = start;
            let slot = slot_of(start, level);
            if level == 0 {
                return Some(self.remove(self.heads[slot]));
            }
            self.move_down(slot);
        }
        self.cursor = self.now;
        None
    }

    /// When to call [`pop_expired`](Self::pop_expired) next; `None` if no timer is armed.
    ///
    /// It is never later than the first timer is due. It may be earlier, when timers have to move between levels, but
    /// at most once for each level of a timer (an hour away with a tick of 1 ms: four times). After `pop_expired` said
    /// `None` it lies after that `now`, so a caller that waits for it does not spin.
    pub fn next_deadline(&self) -> Option<Instant> {
        let (_, start) = self.next_slot()?;
        Some(self.origin + Duration::from_nanos(start.saturating_mul(self.tick_ns)))
    }

    /// The level and the first tick of the slot that comes next.
    ///
    /// A timer shares all digits above its level with the cursor, so every timer of a level is due before every timer
    /// of the levels above.
    fn next_slot(&self) -> Option<(usize, u64)> {
        let level = self.occupied.iter().position(|&slots| slots != 0)?;
        let digit = u64::from(self.occupied[level].trailing_zeros());
        let shift = level as u32 * SLOT_BITS;
        let digits_above = (self.cursor >> shift) & !(SLOTS as u64 - 1);
        let start = (digits_above | digit) << shift;
        debug_assert!(start >= self.cursor, "all ticks before the cursor are empty");
        Some((level, start))
    }

    /// Distributes a slot that the cursor has reached over the levels below.
    fn move_down(&mut self, slot: usize) {
        while self.heads[slot] != NONE {
            let index = self.heads[slot];
            self.unlink(index);
            self.link(index);
            debug_assert!((self.entries[index as usize].slot as usize) < slot, "timers only move down");
        }
    }

    /// Adds an entry at the end of the ring of the slot for its due tick.
    fn link(&mut self, index: u32) {
        let due = self.entries[index as usize].due;
        debug_assert!(due >= self.cursor, "no timer is armed for a tick that is over");
        let level = level_of(due, self.cursor);
        let slot = slot_of(due, level);
        let head = self.heads[slot];
        let (next, previous) = match head {
            NONE => (index, index),
            _ => (head, self.entries[head as usize].previous),
        };
        let entry = &mut self.entries[index as usize];
        entry.next = next;
        entry.previous = previous;
        entry.slot = slot as u16;
        if head == NONE {
            self.heads[slot] = index;
            self.occupied[level] |= 1 << (slot % SLOTS);
            return;
        }
        self.entries[next as usize].previous = index;
        self.entries[previous as usize].next = index;
    }

    fn unlink(&mut self, index: u32) {
        let Entry { next, previous, slot, .. } = self.entries[index as usize];
        let slot = slot as usize;
        if next == index {
            self.heads[slot] = NONE;
            self.occupied[slot / SLOTS] &= !(1 << (slot % SLOTS));
            return;
        }
        self.entries[next as usize].previous = previous;
        self.entries[previous as usize].next = next;
        if self.heads[slot] == index {
            self.heads[slot] = next;
        }
    }

    /// An entry that belongs to no ring yet. The one that became vacant last is taken first: it is still in the cache.
    fn take_vacant(&mut self, token: T, due: u64) -> u32 {
        if self.first_vacant == NONE {
            let index = u32::try_from(self.entries.len()).ok().filter(|&index| index != NONE);
            let index = index.expect("fewer than 2^32 - 1 timers are armed");
            let generation = NonZeroU32::MIN;
            self.entries.push(Entry { token, due, next: NONE, previous: NONE, generation, slot: 0 });
            return index;
        }
        let index = self.first_vacant;
        let entry = &mut self.entries[index as usize];
        self.first_vacant = entry.next;
        entry.token = token;
        entry.due = due;
        index
    }

    /// Takes an armed timer out. Its id is dead from now on.
    fn remove(&mut self, index: u32) -> T {
        self.unlink(index);
        let entry = &mut self.entries[index as usize];
        entry.generation = entry.generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
        entry.next = self.first_vacant;
        self.first_vacant = index;
        self.armed -= 1;
        entry.token
    }

    fn ns_since_origin(&self, time: Instant) -> u64 {
        ns_of(time.saturating_duration_since(self.origin))
    }
}

fn ns_of(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The first tick from `earliest` on that is a multiple of the largest power of two within the slack. Powers of two make
/// timers meet whatever their slack is, and begin a slot of a higher level, which saves moves.
fn round_up_within(earliest: u64, slack_ticks: u64) -> u64 {
    let step = 1 << slack_ticks.saturating_add(1).ilog2();
    earliest.checked_next_multiple_of(step).unwrap_or(earliest)
}

/// The highest digit in which the two ticks differ; 0 if they do not.
fn level_of(due: u64, cursor: u64) -> usize {
    ((due ^ cursor) | 1).ilog2() as usize / SLOT_BITS as usize
}

/// The slot of a tick on a level, counted over all levels.
fn slot_of(tick: u64, level: usize) -> usize {
    let digit = (tick >> (level as u32 * SLOT_BITS)) as usize % SLOTS;
    level * SLOTS + digit
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn drain<T: Copy>(wheel: &mut TimerWheel<T>, now: Instant) -> Vec<T> {
        std::iter::from_fn(|| wheel.pop_expired(now)).collect()
    }

    #[test]
    fn a_timer_fires_at_its_deadline_and_not_before() {
        let start = Instant::now();
        let mut wheel = TimerWheel::new(start);
        wheel.insert(start + 5 * MS, "five");
        assert_eq!(drain(&mut wheel, start + Duration::from_nanos(4_999_999)), [""; 0]);
        assert_eq!(drain(&mut wheel, start + 5 * MS), ["five"]);
        assert!(wheel.is_empty());
    }

    #[test]
    fn a_deadline_within_a_tick_waits_for_the_end_of_the_tick() {
        let start = Instant::now();
        let mut wheel = TimerWheel::new(start);
        wheel.insert(start + Duration::from_micros(4100), ());
        assert_eq!(wheel.pop_expired(start + Duration::from_micros(4999)), None);
        assert_eq!(wheel.pop_expired(start + 5 * MS), Some(()));
    }

    #[test]
    fn a_deadline_that_has_passed_fires_within_a_tick() {
        let start = Instant::now();
        let mut wheel = TimerWheel::new(start + HOUR);
        wheel.insert(start, "past");
        assert_eq!(drain(&mut wheel, start + HOUR + MS), ["past"]);
    }

    #[test]
    fn a_stale_cancel_does_not_hit_the_timer_that_reuses_the_entry() {
        let start = Instant::now();
        let mut wheel = TimerWheel::new(start);
        let first = wheel.insert(start + MS, 1);
        assert_eq!(wheel.cancel(first), Some(1));
        let second = wheel.insert(start + MS, 2);
        assert_eq!(second.index, first.index);
        assert_eq!(wheel.cancel(first), None);
        assert_eq!(drain(&mut wheel, start + MS), [2]);
        assert_eq!(wheel.cancel(second), None);
    }

    #[test]
    fn a_due_timer_that_is_cancelled_by_another_one_does_not_fire() {
        let start = Instant::now();
        let mut wheel = TimerWheel::new(start);
        wheel.insert(start + MS, "first");
        let second = wheel.insert(start + MS, "second");
        assert_eq!(wheel.pop_expired(start + HOUR), Some("first"));
        assert_eq!(wheel.cancel(second), Some("second"));
        assert_eq!(wheel.pop_expired(start + HOUR), None);
    }

    #[test]
    fn timers_that_are_armed_again_at_once_do_not_keep_the_drain_going() {
        let start = Instant::now();
        let mut wheel = TimerWheel::new(start);
        wheel.insert(start + MS, ());
        let mut fired = 0;
        while wheel.pop_expired(start + DAY).is_some() {
            fired += 1;
            wheel.insert(start, ());
        }
        assert_eq!(fired, 1);
        assert!(wheel.next_deadline().unwrap() > start + DAY);
    }

    #[test]
    fn a_clock_that_steps_back_fires_nothing_and_loses_nothing() {
        let start = Instant::now();
        let mut wheel = TimerWheel::new(start);
        assert_eq!(wheel.pop_expired(start + HOUR), None);
        wheel.insert(start + HOUR + 10 * MS, ());
        assert_eq!(wheel.pop_expired(start), None);
        assert_eq!(wheel.pop_expired(start + HOUR / 2), None);
        assert_eq!(wheel.pop_expired(start + HOUR + 10 * MS), Some(()));
    }

    #[test]
    fn an_hour_long_timer_wakes_its_caller_at_most_four_times_for_nothing() {
        let start = Instant::now();
        let before_a_carry = ((1 << 30) - 1000) * MS;
        for offset in [Duration::ZERO, 12_345 * MS, DAY + MS, before_a_carry] {
            let mut wheel = TimerWheel::new(start);
            assert_eq!(wheel.pop_expired(start + offset), None);
            wheel.insert(start + offset + HOUR, ());
            let mut wakes = 1;
            while wheel.pop_expired(wheel.next_deadline().unwrap()).is_none() {
                wakes += 1;
            }
            assert!(wakes <= 5, "{wakes} wake-ups from {offset:?} on");
        }
    }

    #[test]
    fn slack_gathers_timers_at_few_ticks_and_is_never_exceeded() {
        let start = Instant::now();
        let slack = 250 * MS;
        let mut wheel = TimerWheel::new(start);
        for offset_ms in 0..1000 {
            let deadline = start + DAY + offset_ms * MS;
            wheel.insert_within(deadline, slack, deadline);
        }
        let mut wakes = 0;
        while let Some(now) = wheel.next_deadline() {
            wakes += 1;
            for deadline in drain(&mut wheel, now) {
                assert!(deadline <= now && now <= deadline + slack);
            }
        }
        assert!(wakes <= 16, "{wakes} wake-ups for 1000 timers");
    }

    #[test]
    fn deadlines_at_the_end_of_time_are_kept_and_can_be_cancelled() {
        let start = Instant::now();
        let century = 36_525 * DAY;
        let mut wheel = TimerWheel::with_tick(start, MIN_TICK).unwrap();
        let last = wheel.insert_within(start + 10 * century, Duration::MAX, ());
        assert_eq!(wheel.pop_expired(start + century), None);
        assert!(wheel.next_deadline().is_some());
        assert_eq!(wheel.cancel(last), Some(()));
        assert_eq!(wheel.next_deadline(), None);
    }

    #[test]
    fn entries_are_reused() {
        let start = Instant::now();
        let mut wheel = TimerWheel::new(start);
        for round in 1..1000 {
            let id = wheel.insert(start + HOUR, round);
            wheel.insert(start + round * MS, round);
            wheel.cancel(id);
            assert_eq!(drain(&mut wheel, start + round * MS).len(), 1);
        }
        assert_eq!(wheel.entries.len(), 2);
    }

    #[test]
    fn a_tick_out_of_range_is_refused_with_the_range() {
        for given in [Duration::ZERO, MAX_TICK + MS] {
            let error = TimerWheel::<()>::with_tick(Instant::now(), given).err().unwrap();
            assert!(error.to_string().ends_with("choose 1µs to 60s"), "{error}");
        }
    }

    #[test]
    fn an_optional_id_takes_eight_bytes() {
        assert_eq!(size_of::<Option<TimerId>>(), 8);
    }
}
