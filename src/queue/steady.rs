//! The queue's time: wall time that never goes back. Entries outlive the process, so their times are wall times, and somebody
//! may set the machine's clock while they wait. Set back, it would keep a call alive long after it was taken, and hold up
//! what is due; here time goes on from where it was. Set forward, or after a sleep of the machine, it is taken at its word: what
//! is perhaps too late wakes no phone.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;

/// Time that never goes back while the process lives.
#[derive(Debug)]
pub(super) struct Steady {
    clock: Clock,
    /// The last reading. The lock is held for a comparison; only what has to do with the queue asks.
    last: Mutex<(Duration, Instant)>,
}

impl Steady {
    pub(super) fn new(clock: Clock) -> Self {
        let last = Mutex::new((clock.unix(), clock.now()));
        Self { clock, last }
    }

    /// Since the Unix epoch.
    pub(super) fn now(&self) -> Duration {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // Read under the lock, so that no other reading comes in between.
        let (wall, monotonic) = (self.clock.unix(), self.clock.now());
        let (then, read_at) = *last;
        let now = wall.max(then + monotonic.saturating_duration_since(read_at));
        *last = (now, monotonic);
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_when_the_clock_is_set_back_and_follows_when_it_is_set_forward() {
        let clock = Clock::manual(100_000);
        let steady = Steady::new(clock.clone());
        let reads = |seconds| assert_eq!(steady.now(), Duration::from_secs(seconds));
        reads(100_000);
        clock.set_wall(-3_600);
        reads(100_000);
        clock.advance(Duration::from_secs(10));
        reads(100_010);
        clock.set_wall(3_600);
        reads(100_010);
        clock.set_wall(3_600);
        reads(103_610);
        clock.set_wall(-3_600);
        clock.advance(Duration::from_secs(10));
        reads(103_620);
    }
}
