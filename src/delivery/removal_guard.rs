//! Whether a provider's "this token is dead" is believed. The words that also answer a wrong certificate, topic or project
//! are believed only as often as a healthy target has them: a chat server that is told to forget its tokens forgets a whole
//! fleet of phones. Decides; tells nobody.
//!
//! Three bounds, whichever is met first (`is_believed`): so many since the last delivery, however long ago it was and however often
//! the process began; so many in the last day, by what was delivered in it; and not most of what was decided in the last
//! minutes. What is needed for the first two outlives the process where there is a place for it (`ledger`). To change credentials
//! changes nothing: what shows that the new ones are right is a delivery.
//!
//! A push that is delivered pays five loads and two additions. Only an ambiguous removal takes a lock.

mod hours;
pub mod ledger;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use self::hours::{Hours, Later};
use self::ledger::{Grant, Record};
use super::window::Window;
use crate::outcome::{Attempt, Reason, Verdict};

/// One in so many of the deliveries of the last day is what a large target may have in ambiguous removals.
const ONE_IN: u64 = 20;

/// Whole hours that count of what was delivered: less than a day rather than more.
const DELIVERED_HOURS: u64 = 24;

/// Of what was believed: more than a day rather than less.
const BELIEVED_HOURS: u64 = 25;

/// When removals are withheld.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovalGuardSettings {
    /// Believed at most since the last delivery; and in a day, unless a twentieth of what was delivered in it is more.
    pub count: u32,
    /// If there were more than `count` in the window, they must be no more than so many per cent of all that was delivered or
    /// removed in it.
    pub share_percent: u32,
    /// How far back is looked for that, at most an hour. It slides by tenths.
    pub window: Duration,
}

/// What a target has seen when an ambiguous removal comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    /// Believed since the last delivery.
    since_delivery: u64,
    /// Believed in the last day.
    believed: u64,
    /// Delivered in the last day.
    delivered: u64,
    /// Ambiguous ones in the window, this one included.
    ambiguous: u64,
    /// All that was delivered or removed in the window, this one included.
    decided: u64,
}

/// Whether one more is believed.
fn is_believed(settings: &RemovalGuardSettings, seen: Seen) -> bool {
    let count = u64::from(settings.count);
    let many = seen.ambiguous > count;
    let most = seen.ambiguous * 100 > seen.decided * u64::from(settings.share_percent);
    seen.since_delivery < count && seen.believed < count.max(seen.delivered / ONE_IN) && !(many && most)
}

/// One target's guard.
#[derive(Debug)]
pub struct RemovalGuard {
    settings: RemovalGuardSettings,
    started: Instant,
    /// The same, since the Unix epoch. From then on time only goes forward, whatever is done to the machine's clock.
    started_at: Duration,
    delivered: Window,
    clear: Window,
    ambiguous: Window,
    delivered_by_hour: Hours,
    believed_by_hour: Hours,
    /// Believed since the last delivery.
    since_delivery: AtomicU64,
    /// Mirrors whether an episode is there; written under its lock only.
    active: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    episode: Option<Episode>,
    grant: Option<Grant>,
}

/// A time in which removals are withheld.
#[derive(Clone, Copy, Debug)]
struct Episode {
    since: Instant,
    last: Instant,
    reason: Reason,
    withheld: u64,
}

/// What becomes of a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// The caller is told.
    Stands,
    /// An ambiguous removal that the caller may be told once it is written down ([`RemovalGuard::record`]). If that fails, it
    /// is to be withheld: [`RemovalGuard::take_back`].
    Believed {
        /// Only since an operator lets so many through.
        allowed: bool,
    },
    /// It says that a token is dead and is not believed: the caller is told that the push failed.
    Withheld,
}

/// What a verdict changed, for one log line a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing.
    None,
    /// The first removal is withheld.
    Began {
        /// The provider's word: see [`super::removal_cause::likely_cause`].
        reason: Reason,
    },
    /// Removals are believed again.
    Ended {
        /// How long they were not.
        lasted: Duration,
        /// How many were withheld.
        withheld: u64,
    },
}

/// What an operator should know about a guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardState {
    /// Ambiguous removals that were believed in the last day.
    pub believed: u64,
    /// Deliveries of the last day.
    pub delivered: u64,
    /// What is withheld, if anything is.
    pub active: Option<Withholding>,
}

/// Removals are being withheld.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Withholding {
    /// For how long.
    pub lasts: Duration,
    /// How many were.
    pub withheld: u64,
    /// The provider's last word.
    pub reason: Reason,
}

/// Whether an attempt's verdict is for [`RemovalGuard::decide`] to doubt. What the provider was never asked says nothing
/// about what it knows us as.
pub fn is_doubtful(attempt: &Attempt) -> bool {
    attempt.answered && matches!(attempt.verdict, Verdict::Remove { ambiguous: true, .. })
}

impl RemovalGuard {
    /// With nothing seen. `unix` is what `now` is since the Unix epoch.
    pub fn new(settings: RemovalGuardSettings, now: Instant, unix: Duration) -> Self {
        let window = || Window::new(settings.window, now);
        let (delivered, clear, ambiguous) = (window(), window(), window());
        Self {
            settings,
            started: now,
            started_at: unix,
            delivered,
            clear,
            ambiguous,
            delivered_by_hour: Hours::default(),
            believed_by_hour: Hours::default(),
            since_delivery: AtomicU64::new(0),
            active: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    /// Rules on the last attempt of a notification. Each one is to be asked about once.
    pub fn decide(&self, attempt: &Attempt, now: Instant) -> (Ruling, Turn) {
        match attempt.verdict {
            Verdict::Delivered => {
                self.delivered.add(now);
                self.delivered_by_hour.add(self.hour(now));
                // A target that is well pays one load.
                if self.since_delivery.load(Ordering::Relaxed) != 0 {
                    self.since_delivery.store(0, Ordering::Relaxed);
                }
            }
            // One that was found before, and is only told now, was counted then.
            Verdict::Remove { ambiguous: false, .. } if attempt.answered => self.clear.add(now),
            Verdict::Remove { ambiguous: true, reason } if attempt.answered => {
                self.ambiguous.add(now);
                return self.rule(reason, now);
            }
            _ => {}
        }
        let turn = if self.active.load(Ordering::Relaxed) { self.end(&mut self.lock(), now) } else { Turn::None };
        (Ruling::Stands, turn)
    }

    /// On an ambiguous removal that has been counted in the window.
    fn rule(&self, reason: Reason, now: Instant) -> (Ruling, Turn) {
        // Under the lock, so that no two take the last place of a bound.
        let mut state = self.lock();
        if self.believes(now) {
            self.since_delivery.fetch_add(1, Ordering::Relaxed);
            self.believed_by_hour.add(self.hour(now));
            return (Ruling::Believed { allowed: false }, self.end(&mut state, now));
        }
        let unix = self.unix(now).as_secs();
        if let Some(grant) = state.grant.as_mut().filter(|grant| grant.left > 0 && unix < grant.until) {
            grant.left -= 1;
            return (Ruling::Believed { allowed: true }, Turn::None);
        }
        (Ruling::Withheld, self.withhold(&mut state, reason, now))
    }

    /// One that was believed and could not be written down, so that nobody was told.
    pub fn take_back(&self, allowed: bool, now: Instant) {
        let mut state = self.lock();
        if allowed {
            if let Some(grant) = &mut state.grant {
                grant.left += 1;
            }
            return;
        }
        self.believed_by_hour.take_back(self.hour(now));
        let _ = self.since_delivery.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |since| since.checked_sub(1));
    }

    /// Whether it takes an operator's word for the next one to be believed.
    pub fn is_spent(&self, now: Instant) -> bool {
        !self.believes(now)
    }

    /// Takes note of what an operator lets through; `false` if it is known, or over.
    pub fn allow(&self, grant: Grant, now: Instant) -> bool {
        let mut state = self.lock();
        let is_news = state.grant.is_none_or(|known| known.id != grant.id) && self.unix(now).as_secs() < grant.until;
        if is_news {
            state.grant = Some(Grant { left: grant.left.min(ledger::MOST_ALLOWED), ..grant });
        }
        is_news
    }

    /// What is to outlive the process.
    pub fn record(&self) -> Record {
        let state = self.lock();
        Record {
            since_delivery: self.since_delivery.load(Ordering::Relaxed),
            believed: self.believed_by_hour.counted(),
            delivered: self.delivered_by_hour.counted(),
            grant: state.grant,
        }
    }

    /// Goes on where an earlier process ended.
    pub fn restore(&self, record: &Record, now: Instant) {
        let mut state = self.lock();
        let hour = self.hour(now);
        self.since_delivery.fetch_add(record.since_delivery, Ordering::Relaxed);
        self.believed_by_hour.add_counted(&record.believed, hour, Later::IsNow);
        self.delivered_by_hour.add_counted(&record.delivered, hour, Later::IsForgotten);
        state.grant = record.grant;
    }

    /// It is not known what was believed before: as many as may be without a delivery, just now.
    pub fn distrust(&self, now: Instant) {
        let count = u64::from(self.settings.count);
        let believed = vec![(self.hour(now), count)];
        self.restore(&Record { since_delivery: count, believed, ..Record::default() }, now);
    }

    /// For metrics and probes.
    pub fn state(&self, now: Instant) -> GuardState {
        let seen = self.seen(now);
        let episode = self.lock().episode.filter(|episode| !self.is_over(episode, now));
        let active = episode.map(|Episode { since, reason, withheld, .. }| Withholding {
            lasts: now.saturating_duration_since(since),
            withheld,
            reason,
        });
        GuardState { believed: seen.believed, delivered: seen.delivered, active }
    }

    fn believes(&self, now: Instant) -> bool {
        is_believed(&self.settings, self.seen(now))
    }

    fn seen(&self, now: Instant) -> Seen {
        let hour = self.hour(now);
        let ambiguous = self.ambiguous.sum(now);
        Seen {
            since_delivery: self.since_delivery.load(Ordering::Relaxed),
            believed: self.believed_by_hour.sum(hour, BELIEVED_HOURS),
            delivered: self.delivered_by_hour.sum(hour, DELIVERED_HOURS),
            ambiguous,
            decided: ambiguous + self.clear.sum(now) + self.delivered.sum(now),
        }
    }

    fn withhold(&self, state: &mut State, reason: Reason, now: Instant) -> Turn {
        let before = state.episode.filter(|episode| !self.is_over(episode, now));
        let (since, withheld) = before.map_or((now, 0), |before| (before.since, before.withheld));
        state.episode = Some(Episode { since, last: now, reason, withheld: withheld + 1 });
        self.active.store(true, Ordering::Relaxed);
        if before.is_none() { Turn::Began { reason } } else { Turn::None }
    }

    fn end(&self, state: &mut State, now: Instant) -> Turn {
        let Some(episode) = state.episode.filter(|episode| self.is_over(episode, now)) else { return Turn::None };
        state.episode = None;
        self.active.store(false, Ordering::Relaxed);
        Turn::Ended { lasted: now.saturating_duration_since(episode.since), withheld: episode.withheld }
    }

    /// Not at the first verdict that makes the share fall: near the threshold each would begin or end it, with a line in the
    /// log. A tenth of the window without a withheld one must have passed as well.
    fn is_over(&self, episode: &Episode, now: Instant) -> bool {
        now.saturating_duration_since(episode.last) >= self.ambiguous.part() && self.believes(now)
    }

    fn unix(&self, now: Instant) -> Duration {
        self.started_at.saturating_add(now.saturating_duration_since(self.started))
    }

    /// The number of the hour. Years past the bits for it stay in the last one.
    fn hour(&self, now: Instant) -> u64 {
        (self.unix(now).as_secs() / 3_600).min(u64::from(u32::MAX))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
