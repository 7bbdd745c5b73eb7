//! Time as the relay sees it. Production asks the system; tests turn the hands themselves.
//!
//! Two readings: wall time, for what others compare with theirs (`iat`, certificate dates), and a monotonic one for
//! how long something took. A manual clock moves both together.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::Instant;

/// Where the time comes from. Cheap to clone; clones of a manual clock share its hands.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's clocks.
    System,
    /// Stands still until [`Clock::advance`]d.
    Manual(Arc<ManualClock>),
}

/// The hands of a manual clock.
#[derive(Debug)]
pub struct ManualClock {
    wall_start: Duration,
    monotonic_start: Instant,
    advanced: watch::Sender<Duration>,
    /// By how much wall time was set, milliseconds.
    wall_set_by: AtomicI64,
}

impl Clock {
    /// A clock that stands at this many seconds after the Unix epoch.
    pub fn manual(unix_seconds: u64) -> Self {
        Self::Manual(Arc::new(ManualClock {
            wall_start: Duration::from_secs(unix_seconds),
            monotonic_start: Instant::now(),
            advanced: watch::Sender::new(Duration::ZERO),
            wall_set_by: AtomicI64::new(0),
        }))
    }

    /// Moves a manual clock forward and wakes whoever slept that long.
    ///
    /// # Panics
    /// On the system's clock, which no one turns.
    pub fn advance(&self, by: Duration) {
        match self {
            Self::System => panic!("the system's clock cannot be turned"),
            Self::Manual(hands) => hands.advanced.send_modify(|advanced| *advanced += by),
        }
    }

    /// Sets the wall time of a manual clock forward or back, as whoever corrects a machine's clock does: no time passes, and
    /// nobody is woken.
    ///
    /// # Panics
    /// On the system's clock, which no one sets.
    pub fn set_wall(&self, by_seconds: i64) {
        match self {
            Self::System => panic!("the system's clock cannot be set"),
            Self::Manual(hands) => {
                hands.wall_set_by.fetch_add(by_seconds.saturating_mul(1_000), Ordering::Relaxed);
            }
        }
    }

    /// Wall time since the Unix epoch. A machine set before 1970 reads as the epoch itself.
    #[allow(clippy::disallowed_methods, reason = "this is the one place that asks the system for wall time")]
    pub fn unix(&self) -> Duration {
        match self {
            Self::System => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            Self::Manual(hands) => {
                let right = hands.wall_start + *hands.advanced.borrow();
                let by = hands.wall_set_by.load(Ordering::Relaxed);
                let milliseconds = Duration::from_millis(by.unsigned_abs());
                if by < 0 { right.saturating_sub(milliseconds) } else { right + milliseconds }
            }
        }
    }

    /// Wall time in whole seconds since the Unix epoch.
    pub fn unix_seconds(&self) -> u64 {
        self.unix().as_secs()
    }

    /// A reading that never goes back. Only differences mean something.
    pub fn now(&self) -> Instant {
        match self {
            Self::System => Instant::now(),
            Self::Manual(hands) => hands.monotonic_start + *hands.advanced.borrow(),
        }
    }

    /// How long the machine has been up, its sleep included, and which of its boots that is: what measures the time between two
    /// processes whatever is done to the wall time. `None` where the system does not say.
    pub fn boot(&self) -> Option<Boot> {
        match self {
            Self::System => system_boot(),
            Self::Manual(hands) => Some(Boot { id: "manual".into(), up: *hands.advanced.borrow() }),
        }
    }

    /// Waits until this much time has passed on this clock.
    pub async fn sleep(&self, duration: Duration) {
        match self {
            Self::System => tokio::time::sleep(duration).await,
            Self::Manual(hands) => {
                let until = *hands.advanced.borrow() + duration;
                let mut advanced = hands.advanced.subscribe();
                // The sender lives in `hands`, which we hold: the wait cannot fail.
                let _ = advanced.wait_for(|now| *now >= until).await;
            }
        }
    }
}

/// A moment in the life of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// Another one after each boot.
    pub id: Box<str>,
    /// Since then.
    pub up: Duration,
}

#[cfg(target_os = "linux")]
fn system_boot() -> Option<Boot> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let up = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Some(Boot { id: id.trim().into(), up: Duration::try_from(up).ok()? })
}

#[cfg(not(target_os = "linux"))]
fn system_boot() -> Option<Boot> {
    None
}

/// Seconds since the Unix epoch, as people and TOML read them: `2026-12-31T23:59:59Z`.
pub fn rfc3339(unix_seconds: u64) -> String {
    // Years have four digits where ends are read.
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(unix_seconds.min(LAST_SECOND))).to_string()
}

/// 9999-12-31T23:59:59Z, the last time that RFC 3339 can write, in seconds since the Unix epoch.
const LAST_SECOND: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manual_clock_stands_still_until_it_is_turned_and_then_wakes_the_sleeper() {
        let clock = Clock::manual(1_000);
        let start = clock.now();
        assert_eq!(clock.unix_seconds(), 1_000);
        let sleeper = clock.sleep(Duration::from_secs(60));
        tokio::pin!(sleeper);
        assert!(futures_util::poll!(&mut sleeper).is_pending());
        clock.advance(Duration::from_secs(59));
        assert!(futures_util::poll!(&mut sleeper).is_pending());
        clock.advance(Duration::from_secs(31));
        sleeper.await;
        assert_eq!(clock.unix_seconds(), 1_090);
        assert_eq!(clock.now() - start, Duration::from_secs(90));
    }

    #[test]
    fn to_set_the_wall_time_lets_no_time_pass() {
        let clock = Clock::manual(10_000);
        let start = clock.now();
        for (by, reads) in [(3_600, 13_600), (-7_200, 6_400), (3_600, 10_000)] {
            clock.set_wall(by);
            assert_eq!(clock.unix_seconds(), reads);
        }
        assert_eq!(clock.now(), start);
    }
}
