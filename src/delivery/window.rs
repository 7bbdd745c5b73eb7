//! How often something happened in the last while, counted without a lock. Knows neither what happened nor the time: the
//! caller says when it is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// In how many parts the window slides: one is dropped at a time, so that it covers between nine tenths and all of its length.
const PARTS: usize = 10;

/// A sliding count.
#[derive(Debug)]
pub(super) struct Window {
    start: Instant,
    /// Milliseconds, never 0.
    part_ms: u64,
    /// Each holds the number of its part (upper half) and what was counted in it (lower half) in one word, so that nobody
    /// adds to a part that somebody else is just clearing. Four thousand million in one part of at most 6 min are out of
    /// reach; parts of a tenth of a second are numbered for 13 years.
    counts: [AtomicU64; PARTS],
}

impl Window {
    pub(super) fn new(length: Duration, now: Instant) -> Self {
        let tenth = u64::try_from(length.as_millis() / 10).unwrap_or(u64::MAX);
        Self { start: now, part_ms: tenth.max(100), counts: std::array::from_fn(|_| AtomicU64::new(0)) }
    }

    /// One more. One load and one addition, but for the first of each part.
    pub(super) fn add(&self, now: Instant) {
        let part = self.part_at(now);
        let slot = self.slot(part);
        let mut seen = slot.load(Ordering::Relaxed);
        // Whoever read the clock just before the others and comes just after them is counted with them.
        while seen >> 32 < part {
            match slot.compare_exchange_weak(seen, part << 32 | 1, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(other) => seen = other,
            }
        }
        slot.fetch_add(1, Ordering::Relaxed);
    }

    /// How many there were in the window that ends now.
    pub(super) fn sum(&self, now: Instant) -> u64 {
        let newest = self.part_at(now);
        let counts = self.counts.iter().map(|slot| slot.load(Ordering::Relaxed));
        counts.filter(|count| newest.saturating_sub(count >> 32) < PARTS as u64).map(|count| count & 0xffff_ffff).sum()
    }

    /// How many there were per second. Over a second at least, so that a first one is no rush.
    pub(super) fn per_second(&self, now: Instant) -> f64 {
        let since_start = now.saturating_duration_since(self.start).as_secs_f64();
        let part = self.part().as_secs_f64();
        // The nine parts that are over and what has passed of the tenth.
        let covered = since_start.min(9.0 * part + since_start % part);
        self.sum(now) as f64 / covered.max(1.0)
    }

    /// The length of one part.
    pub(super) fn part(&self) -> Duration {
        Duration::from_millis(self.part_ms)
    }

    /// From 1, so that a word of zeros is a part that is over.
    fn part_at(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.start);
        // Not `as_millis`, whose 128 bits are slow to divide: this runs for each push.
        let milliseconds = passed.as_secs().saturating_mul(1_000).saturating_add(passed.subsec_millis().into());
        (milliseconds / self.part_ms).saturating_add(1).min(u32::MAX.into())
    }

    fn slot(&self, part: u64) -> &AtomicU64 {
        &self.counts[usize::try_from(part % PARTS as u64).unwrap_or_default()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_older_than_the_window_no_longer_counts() {
        let start = Instant::now();
        let window = Window::new(100 * SECOND, start);
        assert_eq!(window.sum(start), 0);
        window.add(start);
        window.add(start + 9 * SECOND);
        window.add(start + 10 * SECOND);
        for (seconds, expected) in [(10, 3), (99, 3), (100, 1), (109, 1), (110, 0), (100_000, 0)] {
            assert_eq!(window.sum(start + seconds * SECOND), expected, "after {seconds} s");
        }
        window.add(start + 1_000 * SECOND);
        assert_eq!(window.sum(start + 1_000 * SECOND), 1, "the same place is used again, from nothing");
    }

    #[test]
    fn whoever_comes_late_is_counted_with_the_others() {
        let start = Instant::now();
        let window = Window::new(100 * SECOND, start);
        window.add(start + 100 * SECOND);
        window.add(start + SECOND);
        assert_eq!(window.sum(start + 100 * SECOND), 2);
    }

    #[test]
    fn the_rate_is_that_of_the_time_covered() {
        let start = Instant::now();
        let window = Window::new(60 * SECOND, start);
        for second in 0..200 {
            for _ in 0..7 {
                window.add(start + second * SECOND);
            }
        }
        for late in [0, 1, 3, 5] {
            let seven = window.per_second(start + 199 * SECOND + late * SECOND / 10);
            assert!((7.0..7.2).contains(&seven), "{seven}");
        }
        let window = Window::new(60 * SECOND, start);
        (0..50).for_each(|_| window.add(start));
        assert!((window.per_second(start) - 50.0).abs() < 0.1, "a second at least");
        assert!((window.per_second(start + 5 * SECOND) - 10.0).abs() < 0.1);
    }

    #[test]
    fn none_is_lost_when_many_count_at_once() {
        let start = Instant::now();
        let window = Window::new(10 * SECOND, start);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..8_000).for_each(|i| window.add(start + SECOND * (i / 1_000))));
            }
        });
        assert_eq!(window.sum(start + 7 * SECOND), 32_000);
    }
}
