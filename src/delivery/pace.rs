//! How fast a target may send after its provider has said that it sends too much (Google's 429). Multiplied down, added up:
//! half of what went through before, then a little more every ten seconds. Lets pass or says how long to wait; queues
//! nothing.
//!
//! Google counts a project's messages by the minute, refuses everything until the minute is over, and asks senders to spread
//! them (Firebase, "Throttling and quotas", "Scale FCM"). So nothing is sent until `Retry-After` has passed: it would be
//! refused as well. Then what counts is the rate over a minute, and that is what is measured and halved.
//!
//! Where nothing can wait on disk, a stop would lose what outlives its caller's patience, and Google has the same answer for a
//! phone and for a project. So there one push is let through each second to see which it was ([`Stop::Probed`]): the first
//! that is taken ends stop and limit.
//!
//! While no limit was met, a push pays two loads and an addition when it asks and a load when it has its answer.

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::policy::LONGEST_HOLD;
use super::window::Window;
use crate::outcome::{Attempt, Scope, Verdict};

/// How many answers in a row must speak of the quota. Google has the same answer for one phone that gets too much (240 a
/// minute, 5,000 an hour), which is no reason to hold the others back; those succeed in between.
const IN_A_ROW: u32 = 5;

/// Over what the rate is measured: 60 s, as Google counts it.
const MEASURED_OVER: Duration = Duration::from_mins(1);

/// After a cut and its `Retry-After`, so long answers of attempts that began before still come: 10 s, more than one may take
/// by default. They are no reason for another cut.
const STRAGGLERS: Duration = Duration::from_secs(10);

/// The least limit, messages per second: what is on its way must get there, and one a second harms nobody.
const LEAST_PER_SECOND: f64 = 1.0;

/// A limit grows this often: 10 s.
const STEP_EVERY: Duration = Duration::from_secs(10);

/// By this part of the rate that was cut. Back at that rate after 3⅓ min, and at twice the rate, where the limit is lifted,
/// after 10 min: if the quota is still met then, it is another one.
const STEP: f64 = 1.0 / 40.0;

/// How many steps from a half to twice the rate.
const STEPS: u32 = 60;

/// Without one: Google asks for a minute.
const USUAL_RETRY_AFTER: Duration = Duration::from_mins(1);

/// How far ahead of an even flow pushes may come: 100 ms, so that the grain of timers costs nothing of the rate.
const AHEAD: Duration = Duration::from_millis(100);

/// Where pushes cannot wait on disk, one passes so often while nothing else does: every second.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// In [`Pace::word`]: there is a limit. The bits below count quota answers in a row.
const LIMITED: u32 = 1 << 31;

/// What a stop means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Nothing passes: what comes waits on disk.
    Whole,
    /// One passes each second, since what comes can wait only as long as its caller does.
    Probed,
}

/// One target's pace.
#[derive(Debug)]
pub struct Pace {
    stop: Stop,
    /// What was let through.
    passed: Window,
    /// 0 while nothing is wrong. The count in it may be off by those who count at once; it is only ever compared with a few.
    word: AtomicU32,
    limit: Mutex<Option<Limit>>,
}

#[derive(Clone, Copy, Debug)]
struct Limit {
    /// Messages per second that went through before the cut.
    cut_from: f64,
    cut_at: Instant,
    /// Nothing passes until then, but for probes.
    resumes_at: Instant,
    /// When the next one may, if there are any.
    probe_at: Instant,
    /// When the next one is due in an even flow (GCRA's theoretical arrival time).
    next_at: Instant,
}

/// What an answer changed, for one log line a change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Turn {
    /// Nothing.
    None,
    /// There is a limit, or a lower one.
    Slowed {
        /// Messages per second, when they pass again.
        per_second: f64,
        /// Until then.
        pause: Duration,
    },
    /// There is none any more.
    Lifted,
}

/// What an operator should know about a pace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PaceState {
    /// Messages per second; `None` without a limit.
    pub per_second: Option<f64>,
    /// How long nothing passes.
    pub resumes_in: Duration,
}

impl Pace {
    /// Without a limit.
    pub fn new(stop: Stop, now: Instant) -> Self {
        Self { stop, passed: Window::new(MEASURED_OVER, now), word: AtomicU32::new(0), limit: Mutex::new(None) }
    }

    /// What a stop means.
    pub fn stop(&self) -> Stop {
        self.stop
    }

    /// Asks before an attempt.
    ///
    /// # Errors
    /// How long to wait before asking again.
    pub fn admit(&self, now: Instant) -> Result<(), Duration> {
        if self.word.load(Ordering::Relaxed) & LIMITED != 0
            && let Some(limit) = self.lock().as_mut()
        {
            limit.admit(self.stop, now)?;
        }
        self.passed.add(now);
        Ok(())
    }

    /// Takes note of how an attempt went, made from when to when.
    pub fn record(&self, attempt: &Attempt, during: Range<Instant>) -> Turn {
        let now = during.end;
        let Verdict::Retry { scope: Scope::Quota, after, .. } = attempt.verdict else {
            let word = self.word.load(Ordering::Relaxed);
            // What met nobody says nothing about who would have been met.
            if word == 0 || !attempt.answered {
                return Turn::None;
            }
            self.word.fetch_and(LIMITED, Ordering::Relaxed);
            let was_taken = attempt.verdict == Verdict::Delivered;
            return if word & LIMITED == 0 { Turn::None } else { self.lift(was_taken, during) };
        };
        let in_a_row = (self.word.fetch_add(1, Ordering::Relaxed) & !LIMITED) + 1;
        if in_a_row < IN_A_ROW {
            return Turn::None;
        }
        self.cut(after.unwrap_or(USUAL_RETRY_AFTER).min(LONGEST_HOLD), now)
    }

    /// For metrics and probes.
    pub fn state(&self, now: Instant) -> PaceState {
        let limit = (*self.lock()).filter(|limit| !limit.is_over(now));
        PaceState {
            per_second: limit.map(|limit| limit.per_second(now)),
            resumes_in: limit.map_or(Duration::ZERO, |limit| limit.resumes_at.saturating_duration_since(now)),
        }
    }

    fn cut(&self, retry_after: Duration, now: Instant) -> Turn {
        let mut limit = self.lock();
        self.word.store(LIMITED, Ordering::Relaxed);
        if let Some(limit) = limit.as_mut()
            && now < limit.resumes_at.max(limit.cut_at + STRAGGLERS)
        {
            // A floor that is never shortened. For the rate the burst of answers to one moment is one.
            limit.resumes_at = limit.resumes_at.max(now + retry_after);
            limit.next_at = limit.next_at.max(limit.resumes_at);
            return Turn::None;
        }
        // The minute that is measured holds the pause of an earlier cut: then half of the limit that was not low enough.
        let before = limit.filter(|limit| !limit.is_over(now));
        let cut_from = before.map_or_else(|| self.passed.per_second(now), |limit| limit.per_second(now));
        let cut_from = cut_from.max(LEAST_PER_SECOND);
        let resumes_at = now + retry_after;
        let cut = Limit { cut_from, cut_at: now, resumes_at, probe_at: now + PROBE_EVERY, next_at: resumes_at };
        *limit = Some(cut);
        Turn::Slowed { per_second: cut.per_second(now), pause: retry_after }
    }

    fn lift(&self, was_taken: bool, during: Range<Instant>) -> Turn {
        let mut limit = self.lock();
        // What was sent before the cut and is taken says nothing about now.
        let is_disproved = |limit: &Limit| self.stop == Stop::Probed && was_taken && during.start > limit.cut_at;
        if !limit.is_some_and(|limit| limit.is_over(during.end) || is_disproved(&limit)) {
            return Turn::None;
        }
        *limit = None;
        self.word.fetch_and(!LIMITED, Ordering::Relaxed);
        Turn::Lifted
    }

    fn lock(&self) -> MutexGuard<'_, Option<Limit>> {
        self.limit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Limit {
    fn admit(&mut self, stop: Stop, now: Instant) -> Result<(), Duration> {
        let pause = self.resumes_at.saturating_duration_since(now);
        if !pause.is_zero() {
            let until_probe = self.probe_at.saturating_duration_since(now);
            if stop == Stop::Probed && until_probe.is_zero() {
                self.probe_at = now + PROBE_EVERY;
                return Ok(());
            }
            return Err(if stop == Stop::Probed { pause.min(until_probe) } else { pause });
        }
        if self.is_over(now) {
            return Ok(());
        }
        let too_early = self.next_at.saturating_duration_since(now).saturating_sub(AHEAD);
        if !too_early.is_zero() {
            return Err(too_early);
        }
        self.next_at = self.next_at.max(now) + Duration::from_secs_f64(1.0 / self.per_second(now));
        Ok(())
    }

    fn per_second(&self, now: Instant) -> f64 {
        let grown = self.cut_from / 2.0 + self.cut_from * STEP * f64::from(self.steps(now));
        grown.max(LEAST_PER_SECOND)
    }

    fn is_over(&self, now: Instant) -> bool {
        self.steps(now) >= STEPS
    }

    fn steps(&self, now: Instant) -> u32 {
        let grows_for = now.saturating_duration_since(self.resumes_at);
        u32::try_from(grows_for.as_nanos() / STEP_EVERY.as_nanos()).unwrap_or(u32::MAX).min(STEPS)
    }
}
