//! Counts by the hour of the last day, without a lock and able to outlive the process. Hours are numbered from the Unix epoch.

use std::sync::atomic::{AtomicU64, Ordering};

/// Hours kept. One more than a day has, so that what must cover a whole day does.
const HOURS: usize = 25;

/// What is kept of one over a restart: hours and what was counted in each.
pub(super) type Counted = Vec<(u64, u64)>;

/// A count for each hour.
#[derive(Debug, Default)]
pub(super) struct Hours {
    /// The hour in the upper half, what was counted in it in the lower: nobody adds to an hour that somebody else is just
    /// clearing. Four thousand million in one hour are out of reach.
    counts: [AtomicU64; HOURS],
}

impl Hours {
    /// One more: one load and one addition, but for the first of each hour.
    pub(super) fn add(&self, hour: u64) {
        self.add_many(hour, 1);
    }

    fn add_many(&self, hour: u64, many: u64) {
        let slot = self.slot(hour);
        let mut seen = slot.load(Ordering::Relaxed);
        while seen >> 32 < hour {
            match slot.compare_exchange_weak(seen, hour << 32 | many, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(other) => seen = other,
            }
        }
        slot.fetch_add(many, Ordering::Relaxed);
    }

    /// One less, of what was counted in this hour.
    pub(super) fn take_back(&self, hour: u64) {
        let less = |seen: u64| (seen >> 32 == hour && seen & 0xffff_ffff > 0).then(|| seen - 1);
        let _ = self.slot(hour).fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// How many there were in this hour and the ones before it, `hours` in all and at most [`HOURS`].
    pub(super) fn sum(&self, hour: u64, hours: u64) -> u64 {
        self.counted().into_iter().filter(|(of, _)| hour.saturating_sub(*of) < hours).map(|(_, count)| count).sum()
    }

    /// What is to outlive the process.
    pub(super) fn counted(&self) -> Counted {
        let counts = self.counts.iter().map(|slot| slot.load(Ordering::Relaxed));
        counts.map(|word| (word >> 32, word & 0xffff_ffff)).filter(|(_, count)| *count > 0).collect()
    }

    /// Adds what an earlier process has counted. `later` says what becomes of hours that are not yet: the clock was set back.
    pub(super) fn add_counted(&self, counted: &[(u64, u64)], hour: u64, later: Later) {
        for &(of, count) in counted {
            let count = count.min(u64::from(u32::MAX));
            match later {
                _ if of.saturating_add(HOURS as u64) <= hour => {}
                _ if of <= hour => self.add_many(of, count),
                Later::IsNow => self.add_many(hour, count),
                Later::IsForgotten => {}
            }
        }
    }

    fn slot(&self, hour: u64) -> &AtomicU64 {
        &self.counts[usize::try_from(hour % HOURS as u64).unwrap_or_default()]
    }
}

/// What is made of counts of hours that lie in the future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Later {
    /// They are of this hour.
    IsNow,
    /// They do not count.
    IsForgotten,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_was_asked_for_does_not_count_and_the_rest_does_over_a_restart() {
        let hours = Hours::default();
        for hour in 500_000..500_030 {
            hours.add(hour);
        }
        assert_eq!([hours.sum(500_029, 24), hours.sum(500_029, 25), hours.sum(500_052, 24)], [24, 25, 1]);
        hours.take_back(500_029);
        hours.take_back(500_029);
        hours.take_back(400_000);
        assert_eq!(hours.sum(500_029, 24), 23);
        let after = Hours::default();
        after.add_counted(&hours.counted(), 500_029, Later::IsForgotten);
        assert_eq!(after.sum(500_029, 25), 24);
    }

    #[test]
    fn a_clock_that_was_set_back_makes_later_hours_this_one_or_none() {
        for (later, expected) in [(Later::IsNow, 7), (Later::IsForgotten, 2)] {
            let hours = Hours::default();
            hours.add_counted(&[(90, 2), (105, 5)], 100, later);
            assert_eq!(hours.sum(100, 25), expected, "{later:?}");
        }
    }
}
