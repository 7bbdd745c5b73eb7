//! What to do after an attempt: pure, so that every case is in one table. [`next`] while a caller waits for the answer,
//! [`later`] for what waits in the queue.
//!
//! Pauses are drawn evenly between nothing and their length ("full jitter"): that spreads the pushes of a provider that just
//! came back better than any fixed part would. A provider's `Retry-After` comes on top: it is not shortened, and those
//! who were told the same one do not come back together. Two things go before it: nothing is held back for more than an hour by
//! one answer, and what waits on disk is tried once more before its time is over.

use std::time::Duration;

use super::DeliverySettings;
use crate::outcome::{Reason, Scope, Verdict};

/// The longest pause of our own choosing while a caller waits: 8 s. A provider may ask for more.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// The least pause after a used up quota, whatever the provider says: Google asks for a minute ("FCM error codes").
const LEAST_PAUSE_FOR_QUOTA: Duration = Duration::from_mins(1);

/// The most attempts from the queue at what may itself be the cause of the trouble that it meets, since others arrive. With the
/// pauses below they take some four hours.
const MOST_ATTEMPTS: u32 = 100;

/// The longest that one answer holds a notification back: 1 h, whatever it asks for. A slip in a header must not be the end of all
/// that waits.
pub const LONGEST_HOLD: Duration = Duration::from_hours(1);

/// How long before its end a notification is tried for the last time, at the most: a minute. What is worth something for less
/// than ten minutes keeps a tenth of that.
const LONGEST_REMAINDER: Duration = Duration::from_mins(1);

/// Less than this is not enough for a last attempt: a second.
const LEAST_LEFT: Duration = Duration::from_secs(1);

/// What has been tried so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Attempts made, the one just ended included; at least 1.
    pub attempts: u32,
    /// Whether an earlier attempt already ended in [`Verdict::NewCredential`].
    pub credential_renewed: bool,
    /// Time since the notification was admitted.
    pub elapsed: Duration,
}

/// The decision while a caller waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The last verdict stands.
    Settle,
    /// Another attempt, after this pause.
    Attempt {
        /// How long to wait first.
        after: Duration,
    },
}

/// What has been tried so far of what waits in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Attempts made from the queue, the one just ended included; at least 1.
    pub attempts: u32,
    /// Whether the attempt before this one ended in [`Verdict::NewCredential`].
    pub credential_renewed: bool,
    /// Whether the target takes others: its breaker is closed.
    pub others_arrive: bool,
    /// Wall time since the Unix epoch.
    pub now: Duration,
    /// When it is of no more use, in the same.
    pub expires_at: Duration,
}

/// The decision about what waits in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Later {
    /// The last verdict stands.
    Settle,
    /// Another attempt at this time since the Unix epoch; in time before it expires.
    At(Duration),
    /// Its time is over.
    Expires,
    /// It has been tried too often to go on: it is set aside for somebody to look at.
    Bury(Reason),
}

/// Decides while a caller waits. `jitter` is a random number in `0.0..1.0`.
pub fn next(verdict: &Verdict, tried: Tried, limits: &DeliverySettings, jitter: f64) -> Next {
    let pause = match verdict {
        Verdict::Delivered | Verdict::Remove { .. } | Verdict::TargetBroken { .. } | Verdict::Rejected { .. } => {
            return Next::Settle;
        }
        // A fresh credential is worth one attempt at once; refused again, the fault is not its age.
        Verdict::NewCredential { .. } if tried.credential_renewed => return Next::Settle,
        Verdict::NewCredential { .. } => Duration::ZERO,
        Verdict::Retry { after, scope, .. } => {
            let back_off = BackOff { least: least(*scope), first: limits.first_pause, longest: LONGEST_PAUSE };
            back_off.pause(*after, tried.attempts, jitter)
        }
    };
    // A pause that ends at the deadline leaves no time to try: better to answer now.
    if tried.attempts >= limits.max_attempts || tried.elapsed.saturating_add(pause) >= limits.deadline {
        Next::Settle
    } else {
        Next::Attempt { after: pause }
    }
}

/// Decides about what waits in the queue. `jitter` is a random number in `0.0..1.0`.
pub fn later(verdict: &Verdict, queued: Queued, jitter: f64) -> Later {
    let (after, back_off, may_be_its_own_fault) = match verdict {
        Verdict::Delivered | Verdict::Remove { .. } | Verdict::Rejected { .. } => return Later::Settle,
        Verdict::NewCredential { .. } if !queued.credential_renewed => {
            return if queued.now < queued.expires_at { Later::At(queued.now) } else { Later::Expires };
        }
        Verdict::NewCredential { .. } | Verdict::TargetBroken { .. } => (None, BackOff::BROKEN, false),
        Verdict::Retry { after, scope: Scope::Target, unprocessed: true, .. } => (*after, BackOff::UNREACHED, false),
        Verdict::Retry { after, scope: Scope::Target, .. } => (*after, BackOff::TROUBLED, true),
        Verdict::Retry { after, scope: Scope::Phone, .. } => (*after, BackOff::PHONE, true),
        Verdict::Retry { after, scope: Scope::Quota, .. } => (*after, BackOff::QUOTA, false),
    };
    let left = queued.expires_at.saturating_sub(queued.now);
    if left < LEAST_LEFT {
        return Later::Expires;
    }
    // What meets an outage goes on until it expires, which bounds it: the outage is not its fault.
    if may_be_its_own_fault && queued.others_arrive && queued.attempts >= MOST_ATTEMPTS {
        return Later::Bury(verdict.reason().unwrap_or_default());
    }
    let (floor, drawn) = back_off.parts(after, queued.attempts);
    Later::At(queued.now.saturating_add(within(left, floor, drawn, jitter.clamp(0.0, 1.0))))
}

/// How long to wait of what is `left`: at least the `floor`, which the provider asked for, and what is drawn; but no answer holds
/// anything back for longer than [`LONGEST_HOLD`], nor is its time over before it is tried once more.
fn within(left: Duration, floor: Duration, drawn: Duration, jitter: f64) -> Duration {
    let floor = floor.min(LONGEST_HOLD);
    let remainder = (left / 10).clamp(LEAST_LEFT, LONGEST_REMAINDER);
    let latest = left.saturating_sub(remainder);
    match latest.checked_sub(floor) {
        Some(room) => floor + drawn.min(room).min(LONGEST_HOLD.saturating_sub(floor)).mul_f64(jitter),
        // Shorter than what was asked for. Those that end together are not tried together.
        None => latest.saturating_sub(remainder.min(latest).mul_f64(jitter)),
    }
}

/// How pauses grow.
#[derive(Clone, Copy, Debug)]
struct BackOff {
    /// Comes before the drawn part, unless the provider names another.
    least: Duration,
    /// The longest that may be drawn after the first attempt; doubles.
    first: Duration,
    /// The longest that may be drawn at all.
    longest: Duration,
}

impl BackOff {
    /// Somebody must act, or a new key become known at the provider.
    const BROKEN: Self = Self::new(Duration::ZERO, 30, 300);
    /// The provider cannot have seen it: a connection that broke.
    const UNREACHED: Self = Self::new(Duration::ZERO, 2, 300);
    /// The provider is in trouble. Google asks for about ten seconds at first ("Scale FCM"): half of twenty in the mean.
    const TROUBLED: Self = Self::new(Duration::ZERO, 20, 300);
    /// One phone gets too much.
    const PHONE: Self = Self::new(Duration::ZERO, 10, 600);
    /// The target sends too much.
    const QUOTA: Self = Self::new(LEAST_PAUSE_FOR_QUOTA, 60, 600);

    /// In seconds.
    const fn new(least: Duration, first: u64, longest: u64) -> Self {
        Self { least, first: Duration::from_secs(first), longest: Duration::from_secs(longest) }
    }

    fn pause(self, retry_after: Option<Duration>, attempts: u32, jitter: f64) -> Duration {
        let (floor, drawn) = self.parts(retry_after, attempts);
        floor.saturating_add(drawn.mul_f64(jitter.clamp(0.0, 1.0)))
    }

    /// What is never shortened, and the longest that may be drawn on top.
    fn parts(self, retry_after: Option<Duration>, attempts: u32) -> (Duration, Duration) {
        let doublings = attempts.saturating_sub(1).min(16);
        let drawn = self.first.saturating_mul(1 << doublings).min(self.longest);
        (retry_after.unwrap_or_default().max(self.least), drawn)
    }
}

fn least(scope: Scope) -> Duration {
    match scope {
        Scope::Target | Scope::Phone => Duration::ZERO,
        Scope::Quota => LEAST_PAUSE_FOR_QUOTA,
    }
}

#[cfg(test)]
mod tests;
