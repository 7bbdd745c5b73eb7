//! How often something may be done in one second.
//!
//! A counter for the second that runs, in one word and without a lock. At the turn of a second twice as much may happen
//! within a moment; what it bounds is the average.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bits of the word that count; the rest holds the second, enough for the next 30,000 years.
const COUNT_BITS: u32 = 24;

#[derive(Debug, Default)]
pub(super) struct PerSecond(AtomicU64);

impl PerSecond {
    /// Whether it may be done once more in the second `now`, of at most `most` times; if so, it is counted.
    pub(super) fn take(&self, now: u64, most: u32) -> bool {
        let most = u64::from(most).min((1 << COUNT_BITS) - 1);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
                // A clock set back starts a new second like any other.
                let count = if word >> COUNT_BITS == now { word & ((1 << COUNT_BITS) - 1) } else { 0 };
                (count < most).then_some(now << COUNT_BITS | (count + 1))
            })
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_allows_so_many_and_the_next_one_as_many_again() {
        let budget = PerSecond::default();
        let taken = |now| (0..10).filter(|_| budget.take(now, 3)).count();
        assert_eq!([taken(1_800_000_000), taken(1_800_000_000), taken(1_800_000_001)], [3, 0, 3]);
        assert_eq!(taken(1_700_000_000), 3, "a clock set back");
        assert!(!PerSecond::default().take(1_800_000_000, 0));
    }

    #[test]
    fn threads_together_get_no_more_than_one_alone() {
        let budget = PerSecond::default();
        let taken: usize = std::thread::scope(|scope| {
            let count = || (0..1_000).filter(|_| budget.take(1_800_000_000, 500)).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 500);
    }
}
