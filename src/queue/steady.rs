//! The queue's time: wall time that never goes back. Entries outlive the process, so their times are wall times, and somebody
//! may set the machine's clock while they wait. Set back, it would keep a call alive long after it was taken, and hold up
//! what is due, or have all of it expire at the next start; here time goes on from where it was, over a restart as well. Set
//! forward, or after a sleep of the machine, it is taken at its word: what is perhaps too late wakes no phone.
//!
//! Over a restart it goes by how long the machine has been up, which nobody sets. After a boot of the machine only the wall time can
//! say how long that took.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::{Boot, Clock};

/// The queue's time at a moment, for the next process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// Since the Unix epoch.
    pub(super) time: Duration,
    /// When that was in the life of the machine; `None` where the system does not say.
    pub(super) boot: Option<Boot>,
}

/// Where the time of a new process begins, since the Unix epoch, and whether it is known how much has passed since the last one.
pub(super) fn begin(wall: Duration, boot: Option<&Boot>, last: Option<&Moment>) -> (Duration, bool) {
    let Some(last) = last else { return (wall, false) };
    match (&last.boot, boot) {
        (Some(then), Some(now)) if then.id == now.id => (wall.max(last.time + now.up.saturating_sub(then.up)), true),
        _ => (wall.max(last.time), wall >= last.time),
    }
}

/// Time that never goes back.
#[derive(Debug)]
pub(super) struct Steady {
    clock: Clock,
    /// The last reading. The lock is held for a comparison; only what has to do with the queue asks.
    last: Mutex<(Duration, Instant)>,
}

impl Steady {
    /// Begins at this time since the Unix epoch.
    pub(super) fn new(clock: Clock, begin: Duration) -> Self {
        let last = Mutex::new((begin, clock.now()));
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

    /// To be kept for the next process.
    pub(super) fn moment(&self) -> Moment {
        Moment { time: self.now(), boot: self.clock.boot() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_when_the_clock_is_set_back_and_follows_when_it_is_set_forward() {
        let clock = Clock::manual(100_000);
        let steady = Steady::new(clock.clone(), clock.unix());
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

    #[test]
    fn a_restart_goes_by_how_long_the_machine_was_up_and_a_boot_by_the_wall_time() {
        let seconds = Duration::from_secs;
        let boot = |id: &str, up| Some(Boot { id: id.into(), up: seconds(up) });
        // The last moment and its boot; wall time and boot of the new process; its time, and whether what has passed is known.
        for (what, last, wall, now, expected) in [
            ("the first start", None, 1_000, boot("a", 7), (1_000, false)),
            ("ten seconds later", Some((1_000, boot("a", 50))), 1_010, boot("a", 60), (1_010, true)),
            ("set back two seconds meanwhile", Some((1_000, boot("a", 50))), 1_008, boot("a", 60), (1_010, true)),
            ("set back a year", Some((1_000, boot("a", 50))), 5, boot("a", 60), (1_010, true)),
            ("set forward", Some((1_000, boot("a", 50))), 2_000, boot("a", 60), (2_000, true)),
            ("booted", Some((1_000, boot("a", 50))), 1_090, boot("b", 3), (1_090, true)),
            ("booted with a clock that is behind", Some((1_000, boot("a", 50))), 5, boot("b", 3), (1_000, false)),
            ("a system that does not say", Some((1_000, None)), 1_010, None, (1_010, true)),
            ("the same, set back", Some((1_000, None)), 990, None, (1_000, false)),
            (
                "a file from a later moment of the same boot",
                Some((1_000, boot("a", 50))),
                1_010,
                boot("a", 40),
                (1_010, true),
            ),
        ] {
            let last = last.map(|(time, boot)| Moment { time: seconds(time), boot });
            let (time, known) = begin(seconds(wall), now.as_ref(), last.as_ref());
            assert_eq!((time.as_secs(), known), expected, "{what}");
        }
    }
}
