//! Whether a provider's "this token is dead" is believed. The words that also answer a wrong certificate, topic or project
//! are not, while most of a target's pushes end in them: then it is the relay that is wrong, and a chat server that is told
//! to forget its tokens forgets a whole fleet of phones. Decides; tells nobody.
//!
//! A push that is delivered pays three loads and an addition. Only a withheld removal, and what comes while removals are
//! withheld, takes a lock.

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::window::Window;
use crate::outcome::{Attempt, Reason, Verdict};

/// When removals are withheld.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovalGuardSettings {
    /// Only if there were more ambiguous ones than this in the window …
    pub count: u32,
    /// … and they are more than so many per cent of all that was delivered or removed, or more than `count` came one after the
    /// other: a busy target has delivered so much that their share would rise for minutes first.
    pub share_percent: u32,
    /// How far back is looked, at most an hour. It slides by tenths.
    pub window: Duration,
}

/// One target's guard.
#[derive(Debug)]
pub struct RemovalGuard {
    settings: RemovalGuardSettings,
    delivered: Window,
    clear: Window,
    ambiguous: Window,
    /// Ambiguous ones since the provider last took a push, or called a token dead in a word that means nothing else.
    in_a_row: AtomicU64,
    /// Mirrors whether `episode` is there; written under its lock only.
    active: AtomicBool,
    episode: Mutex<Option<Episode>>,
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
    /// It says that a token is dead and is not believed: the caller is told that the push failed.
    Withheld {
        /// Ambiguous removals in the window, this one included.
        ambiguous: u64,
        /// All that was delivered or removed in the window, this one included.
        decided: u64,
    },
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
    /// Removals of the window, those that another word could not mean left out.
    pub ambiguous: u64,
    /// All that was delivered or removed in the window.
    pub decided: u64,
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

impl RemovalGuard {
    /// With nothing seen.
    pub fn new(settings: RemovalGuardSettings, now: Instant) -> Self {
        let window = || Window::new(settings.window, now);
        let (delivered, clear, ambiguous) = (window(), window(), window());
        let (active, episode) = (AtomicBool::new(false), Mutex::new(None));
        Self { settings, delivered, clear, ambiguous, in_a_row: AtomicU64::new(0), active, episode }
    }

    /// Rules on the last attempt of a notification. Each one is to be asked about once.
    pub fn decide(&self, attempt: &Attempt, now: Instant) -> (Ruling, Turn) {
        match attempt.verdict {
            Verdict::Delivered => {
                self.delivered.add(now);
                self.interrupt();
            }
            // One that was found before, and is only told now, was counted then.
            Verdict::Remove { ambiguous: false, .. } if attempt.answered => {
                self.clear.add(now);
                self.interrupt();
            }
            // What the provider was never asked says nothing about what it knows us as.
            Verdict::Remove { ambiguous: true, reason } if attempt.answered => {
                self.ambiguous.add(now);
                self.in_a_row.fetch_add(1, Ordering::Relaxed);
                if let withheld @ Ruling::Withheld { .. } = self.ruling(now) {
                    return (withheld, self.withhold(reason, now));
                }
            }
            _ => {}
        }
        let turn = if self.active.load(Ordering::Relaxed) { self.end(now) } else { Turn::None };
        (Ruling::Stands, turn)
    }

    /// The provider knows a token of ours. A target that is well pays one load.
    fn interrupt(&self) {
        if self.in_a_row.load(Ordering::Relaxed) != 0 {
            self.in_a_row.store(0, Ordering::Relaxed);
        }
    }

    /// For metrics and probes.
    pub fn state(&self, now: Instant) -> GuardState {
        let (ambiguous, decided) = self.counts(now);
        let episode = (*self.lock()).filter(|episode| !self.is_over(episode, now));
        let active = episode.map(|Episode { since, reason, withheld, .. }| Withholding {
            lasts: now.saturating_duration_since(since),
            withheld,
            reason,
        });
        GuardState { ambiguous, decided, active }
    }

    /// What an ambiguous removal that has been counted meets.
    fn ruling(&self, now: Instant) -> Ruling {
        let (ambiguous, decided) = self.counts(now);
        let many = ambiguous > u64::from(self.settings.count);
        let most = ambiguous * 100 > decided * u64::from(self.settings.share_percent);
        let only = self.in_a_row.load(Ordering::Relaxed) > u64::from(self.settings.count);
        if many && (most || only) { Ruling::Withheld { ambiguous, decided } } else { Ruling::Stands }
    }

    /// Ambiguous removals, and all that was decided.
    fn counts(&self, now: Instant) -> (u64, u64) {
        let ambiguous = self.ambiguous.sum(now);
        (ambiguous, ambiguous + self.clear.sum(now) + self.delivered.sum(now))
    }

    fn withhold(&self, reason: Reason, now: Instant) -> Turn {
        let mut guard = self.lock();
        let before = guard.filter(|episode| !self.is_over(episode, now));
        let (since, withheld) = before.map_or((now, 0), |before| (before.since, before.withheld));
        *guard = Some(Episode { since, last: now, reason, withheld: withheld + 1 });
        self.active.store(true, Ordering::Relaxed);
        if before.is_none() { Turn::Began { reason } } else { Turn::None }
    }

    fn end(&self, now: Instant) -> Turn {
        let mut guard = self.lock();
        let Some(episode) = guard.filter(|episode| self.is_over(episode, now)) else { return Turn::None };
        *guard = None;
        self.active.store(false, Ordering::Relaxed);
        Turn::Ended { lasted: now.saturating_duration_since(episode.since), withheld: episode.withheld }
    }

    /// Not at the first verdict that makes the share fall: near the threshold each would begin or end it, with a line in the
    /// log. A tenth of the window without a withheld one must have passed as well.
    fn is_over(&self, episode: &Episode, now: Instant) -> bool {
        now.saturating_duration_since(episode.last) >= self.ambiguous.part() && self.ruling(now) == Ruling::Stands
    }

    fn lock(&self) -> MutexGuard<'_, Option<Episode>> {
        self.episode.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
