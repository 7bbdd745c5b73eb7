//! One target's circuit breaker: after enough trouble nothing is sent to its provider but one push now and then, to see
//! whether it is back. Decides from the ends of attempts; sends, logs and waits for nothing itself.
//!
//! An answer about one push is not one about the target: what fails counts only as long as nothing succeeds beside it, and a push that
//! fails again and again counts twice at the most.
//!
//! A push to a target that is well pays one relaxed load when it asks and two when it has its answer. All else is behind a
//! lock, which is taken only while something is wrong.

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::policy::LONGEST_HOLD;
use crate::clock::Clock;
use crate::outcome::{Attempt, Reason, Scope, Verdict};

/// The first pause after refused credentials: 5 s. They are wrong until somebody acts, or for the seconds in which a key
/// that was just made becomes known everywhere at the provider.
const FIRST_PAUSE_FOR_CREDENTIALS: Duration = Duration::from_secs(5);

/// For so long a success says of its target that the credentials are taken: a minute.
const SPEAKS_FOR: Duration = Duration::from_mins(1);

/// Refused credentials in a row that open a breaker where no success stands beside them. Not one: it may be that push's own.
const REFUSALS: u32 = 3;

/// So many attempts at one push count against its target. One that meets trouble for ever, be it in the queue, does not make an
/// outage by itself.
const COUNTED_ATTEMPTS: u32 = 2;

/// Google's word for a phone whose key the project lacks: no trouble of the target's, unless nothing else is heard.
const THIRD_PARTY: Reason = "THIRD_PARTY_AUTH_ERROR";

/// In [`Breaker::word`]: not closed. The bits below count failures in a row.
const NOT_CLOSED: u32 = 1 << 31;

/// When a breaker opens and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// How many attempts in a row must meet trouble. 0: it never opens, and each push finds out for itself, as with
    /// mattermost-push-proxy.
    pub failures: u32,
    /// The first pause after trouble; it doubles with each push that then fails.
    pub first_pause: Duration,
    /// The longest pause. Only a provider's `Retry-After` makes a longer one, of at most 1 h.
    pub longest_pause: Duration,
}

/// What one target's attempts say about whether to try at all.
#[derive(Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    clock: Clock,
    /// Mirrors `state`: 0 while all is well. Written under the lock only. Whoever reads it a moment late sends one push
    /// that it would not have, or takes the lock for nothing.
    word: AtomicU32,
    born: Instant,
    /// When the provider last took a push or refused it for its own sake: seconds since `born`, and one. 0: never.
    succeeded: AtomicU64,
    state: Mutex<State>,
    /// A random number in `0.0..1.0`; fixed in tests.
    jitter: fn() -> f64,
}

#[derive(Debug)]
struct State {
    /// Trouble in a row while closed.
    failures: u32,
    /// When the first of it ended.
    trouble_since: Option<Instant>,
    open: Option<Open>,
    /// How often it opened. Does not wrap in a lifetime: it opens at most once a pause.
    opened: u64,
    /// Names the probes, so that one that was given up cannot speak for the next.
    probes: u64,
}

#[derive(Debug)]
struct Open {
    by: Verdict,
    reason: Reason,
    why: Why,
    since: Instant,
    /// Doubles; without jitter and `Retry-After`.
    pause: Duration,
    /// Half open from then on.
    until: Instant,
    /// The probe that is out.
    probe: Option<u64>,
}

/// Why a breaker is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The provider does not take the target's credentials, topic or project: somebody must act.
    Credentials,
    /// The provider, or the way to it, does not work: it passes.
    Trouble,
}

/// Whether a push may be tried.
#[derive(Debug)]
#[must_use]
pub enum Pass<'a> {
    /// Yes.
    Closed,
    /// Yes, and how it goes decides for all the others: [`Probe::report`] it.
    Probe(Probe<'a>),
    /// No: it would meet what the others met.
    Refused(Refused),
}

/// Why a push is not tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What the last attempt that counted ended with.
    pub opened_by: Verdict,
    /// When it is worth asking again.
    pub retry_in: Duration,
}

/// The one push that sees whether the provider is back. Dropped without a report, it lets the next one be it.
#[derive(Debug)]
#[must_use]
pub struct Probe<'a> {
    breaker: &'a Breaker,
    id: u64,
}

/// What an attempt changed, for one log line a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing worth telling.
    None,
    /// It opened, or is now open for the other cause.
    Opened {
        /// The provider's word.
        reason: Reason,
        /// Whether somebody must act.
        why: Why,
        /// Until the first probe.
        pause: Duration,
    },
    /// It closed.
    Closed {
        /// How long pushes were held back.
        was_open_for: Duration,
    },
}

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Position {
    /// Pushes are sent.
    #[default]
    Closed,
    /// None is.
    Open,
    /// One is, or the next one will be.
    HalfOpen,
}

impl Position {
    /// For metrics and probes.
    pub fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// What an operator should know about a breaker. The default: it is closed and never was anything else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BreakerState {
    /// Where it stands.
    pub position: Position,
    /// What keeps it from being closed.
    pub cause: Option<(Why, Reason)>,
    /// How long it has not been closed; nothing while it is.
    pub open_for: Duration,
    /// How long until the next probe; nothing unless it is open.
    pub next_try_in: Duration,
    /// How often it opened since the start.
    pub opened: u64,
}

impl State {
    fn forget_failures(&mut self) {
        self.failures = 0;
        self.trouble_since = None;
    }
}

impl Breaker {
    /// Closed.
    pub fn new(settings: BreakerSettings, clock: Clock) -> Self {
        let state = State { failures: 0, trouble_since: None, open: None, opened: 0, probes: 0 };
        let (born, word, succeeded) = (clock.now(), AtomicU32::new(0), AtomicU64::new(0));
        Self { settings, clock, word, born, succeeded, state: Mutex::new(state), jitter: fastrand::f64 }
    }

    /// Asks before an attempt.
    pub fn admit(&self) -> Pass<'_> {
        if self.word.load(Ordering::Relaxed) & NOT_CLOSED == 0 {
            return Pass::Closed;
        }
        let now = self.clock.now();
        let mut state = self.lock();
        let state = &mut *state;
        let Some(open) = &mut state.open else { return Pass::Closed };
        let retry_in = open.until.saturating_duration_since(now);
        if !retry_in.is_zero() {
            Pass::Refused(Refused { opened_by: open.by.clone(), retry_in })
        } else if open.probe.is_some() {
            // How the probe goes is known when its attempt has ended, at the latest.
            Pass::Refused(Refused { opened_by: open.by.clone(), retry_in: self.settings.first_pause })
        } else {
            state.probes += 1;
            open.probe = Some(state.probes);
            Pass::Probe(Probe { breaker: self, id: state.probes })
        }
    }

    /// Asks for a push that will be of no more use when the next probe is due: if nobody is out to see, it is the probe.
    pub fn last_chance(&self) -> Option<Probe<'_>> {
        let mut state = self.lock();
        let state = &mut *state;
        let open = state.open.as_mut().filter(|open| open.probe.is_none())?;
        state.probes += 1;
        open.probe = Some(state.probes);
        Some(Probe { breaker: self, id: state.probes })
    }

    /// Takes note of how an attempt went, the `number`th at its push, that was made then and was let through with
    /// [`Pass::Closed`], be it that it ends when the breaker is open: if it succeeds, the provider is there.
    pub fn record(&self, attempt: &Attempt, during: Range<Instant>, number: u32) -> Turn {
        let why = match Evidence::of(attempt) {
            Evidence::Nothing => return Turn::None,
            Evidence::Well => {
                self.note_success(during.end);
                if self.word.load(Ordering::Relaxed) == 0 {
                    return Turn::None;
                }
                None
            }
            Evidence::Bad(_) if self.settings.failures == 0 => return Turn::None,
            Evidence::Bad(why) => Some(why),
        };
        let counts = counts(attempt, number);
        let mut state = self.lock();
        let turn = match (why, &state.open) {
            (None, _) => self.close(&mut state),
            // The pause is over and nobody is out to see: this one has seen. (A probe that found the credential too old says
            // nothing; its second attempt comes here.)
            (Some(why), Some(open)) if open.probe.is_none() && open.until <= during.start => {
                self.open(&mut state, why, &attempt.verdict, counts)
            }
            // It began before. Only a probe's failure makes the pause longer. But that somebody must act is news.
            (Some(why), Some(open)) if why == Why::Trouble || open.why == why => Turn::None,
            (Some(why), Some(_)) => self.open(&mut state, why, &attempt.verdict, counts),
            // A push that was tried before, while others may be well. That the provider has taken nothing yet from these
            // credentials is worth knowing whoever finds it.
            (Some(why), None) if !counts && (why == Why::Trouble || self.has_succeeded()) => Turn::None,
            (Some(why), None) => {
                // What was under way when the trouble began and had no answer has met the same: a connection that breaks with a
                // hundred pushes on it is one failure, and the attempts that follow tell whether it lasts.
                let began_before = !attempt.answered && state.trouble_since.is_some_and(|since| during.start < since);
                state.trouble_since.get_or_insert_with(|| self.clock.now());
                if !began_before {
                    // A refusal of fresh credentials is the second of its push, and the first has not counted.
                    let attempts = if why == Why::Credentials { number.clamp(1, COUNTED_ATTEMPTS) } else { 1 };
                    state.failures = state.failures.saturating_add(attempts).min(NOT_CLOSED - 1);
                }
                if state.failures < self.enough(why, attempt, during.end) {
                    Turn::None
                } else {
                    self.open(&mut state, why, &attempt.verdict, true)
                }
            }
        };
        self.mirror(&state);
        turn
    }

    /// How many failures in a row say that it is the target.
    fn enough(&self, why: Why, attempt: &Attempt, now: Instant) -> u32 {
        // What is known without asking is not a push's own.
        if why == Why::Credentials && !attempt.answered {
            return 1;
        }
        let is_alone = !self.has_succeeded() || self.since_success(now) >= SPEAKS_FOR;
        if why == Why::Credentials && is_alone && attempt.verdict.reason() != Some(THIRD_PARTY) {
            self.settings.failures.min(REFUSALS)
        } else {
            self.settings.failures
        }
    }

    fn has_succeeded(&self) -> bool {
        self.succeeded.load(Ordering::Relaxed) != 0
    }

    fn since_success(&self, now: Instant) -> Duration {
        let at = Duration::from_secs(self.succeeded.load(Ordering::Relaxed).saturating_sub(1));
        now.saturating_duration_since(self.born).saturating_sub(at)
    }

    /// Written once a second: it is the same word for everybody.
    fn note_success(&self, now: Instant) {
        let second = now.saturating_duration_since(self.born).as_secs() + 1;
        if self.succeeded.load(Ordering::Relaxed) != second {
            self.succeeded.store(second, Ordering::Relaxed);
        }
    }

    /// New credentials were loaded: whatever was known about the old ones, the next push may try them. Still only one does
    /// until it is known whether they are better.
    pub fn reset(&self) {
        let now = self.clock.now();
        let mut state = self.lock();
        // What the old ones could says nothing about these.
        self.succeeded.store(0, Ordering::Relaxed);
        state.forget_failures();
        if let Some(open) = &mut state.open {
            open.pause = Duration::ZERO;
            open.until = now;
        }
        self.mirror(&state);
    }

    /// For metrics and probes.
    pub fn state(&self) -> BreakerState {
        let now = self.clock.now();
        let state = self.lock();
        let opened = state.opened;
        let Some(open) = &state.open else {
            let (open_for, next_try_in) = Default::default();
            return BreakerState { position: Position::Closed, cause: None, open_for, next_try_in, opened };
        };
        let next_try_in = open.until.saturating_duration_since(now);
        BreakerState {
            position: if next_try_in.is_zero() { Position::HalfOpen } else { Position::Open },
            cause: Some((open.why, open.reason)),
            open_for: now.saturating_duration_since(open.since),
            next_try_in,
            opened,
        }
    }

    /// The pause is `longer` than the one before, unless a push met it that meets trouble wherever it goes, for all that is known.
    fn open(&self, state: &mut State, why: Why, verdict: &Verdict, longer: bool) -> Turn {
        let now = self.clock.now();
        let reason = verdict.reason().unwrap_or_default();
        let first = match why {
            Why::Credentials => FIRST_PAUSE_FOR_CREDENTIALS,
            Why::Trouble => self.settings.first_pause,
        };
        let before = state.open.as_ref();
        let is_news = before.is_none_or(|before| before.why != why);
        let doubled = before.map_or(Duration::ZERO, |before| before.pause.saturating_mul(if longer { 2 } else { 1 }));
        let pause = doubled.max(first).min(self.settings.longest_pause);
        let wait = wait(pause, retry_after(verdict), (self.jitter)());
        let since = before.map_or(now, |before| before.since);
        if before.is_none() {
            state.opened += 1;
        }
        state.forget_failures();
        state.open = Some(Open { by: verdict.clone(), reason, why, since, pause, until: now + wait, probe: None });
        if is_news { Turn::Opened { reason, why, pause: wait } } else { Turn::None }
    }

    fn close(&self, state: &mut State) -> Turn {
        state.forget_failures();
        match state.open.take() {
            None => Turn::None,
            Some(open) => Turn::Closed { was_open_for: self.clock.now().saturating_duration_since(open.since) },
        }
    }

    fn mirror(&self, state: &State) {
        let word = if state.open.is_some() { NOT_CLOSED } else { state.failures };
        self.word.store(word, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Probe<'_> {
    /// Says how it went, the `number`th attempt at its push: closes the breaker, or begins a pause twice as long, or as long
    /// again if that push had its attempts. What says nothing about the provider (an old
    /// provider token, a push that was never sent) lets the next push be the probe.
    pub fn report(self, attempt: &Attempt, number: u32) -> Turn {
        let breaker = self.breaker;
        let mut state = breaker.lock();
        let is_mine = state.open.as_ref().is_some_and(|open| open.probe == Some(self.id));
        let turn = match Evidence::of(attempt) {
            Evidence::Well => {
                breaker.note_success(breaker.clock.now());
                breaker.close(&mut state)
            }
            Evidence::Bad(why) if is_mine => breaker.open(&mut state, why, &attempt.verdict, counts(attempt, number)),
            Evidence::Bad(_) | Evidence::Nothing => Turn::None,
        };
        breaker.mirror(&state);
        // Dropped at the end, which takes the lock again.
        drop(state);
        turn
    }
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        let mut state = self.breaker.lock();
        if let Some(open) = state.open.as_mut().filter(|open| open.probe == Some(self.id)) {
            open.probe = None;
        }
    }
}

/// Whether the `number`th attempt at a push says something about its target, should it fail. Where nobody can have seen the
/// push, it is not its doing.
pub fn counts(attempt: &Attempt, number: u32) -> bool {
    let was_seen = match attempt.verdict {
        Verdict::Retry { unprocessed, .. } => !unprocessed,
        _ => attempt.answered,
    };
    number <= COUNTED_ATTEMPTS || !was_seen
}

/// What an attempt says about its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Evidence {
    /// The provider is there and takes our credentials.
    Well,
    Bad(Why),
    Nothing,
}

impl Evidence {
    fn of(attempt: &Attempt) -> Self {
        match &attempt.verdict {
            Verdict::TargetBroken { .. } | Verdict::Rejected { reason: THIRD_PARTY } => Self::Bad(Why::Credentials),
            Verdict::Retry { scope: Scope::Target, .. } => Self::Bad(Why::Trouble),
            Verdict::NewCredential { .. } => Self::Nothing,
            // What the relay itself refused to send has met nobody.
            _ if !attempt.answered => Self::Nothing,
            Verdict::Delivered | Verdict::Remove { .. } | Verdict::Rejected { .. } | Verdict::Retry { .. } => {
                Self::Well
            }
        }
    }
}

fn retry_after(verdict: &Verdict) -> Duration {
    let Verdict::Retry { after, .. } = verdict else { return Duration::ZERO };
    after.unwrap_or_default()
}

/// Several nodes whose breakers opened together do not probe together: our own pause is up to a quarter shorter, so that
/// [`BreakerSettings::longest_pause`] holds; what the provider asked for is up to a quarter longer, and never shorter up to an
/// hour. A slip in a header must not silence a target for days.
fn wait(pause: Duration, retry_after: Duration, jitter: f64) -> Duration {
    let quarter = jitter.clamp(0.0, 1.0) / 4.0;
    let asked = retry_after.min(LONGEST_HOLD);
    pause.mul_f64(1.0 - quarter).max(asked.mul_f64(1.0 + quarter).min(LONGEST_HOLD))
}
