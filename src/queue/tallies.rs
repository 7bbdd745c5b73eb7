//! How many entries each target has, in memory: read by anybody, changed by the writer only, and only after a commit.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Notify;

use super::entry::{TargetStats, since_epoch};
use crate::notification::TargetName;

/// No oldest one.
const NONE: u64 = u64::MAX;

/// One target's figures.
#[derive(Debug)]
pub(super) struct TargetTally {
    waiting: AtomicU64,
    buried: AtomicU64,
    /// When the oldest one was accepted, milliseconds since the Unix epoch.
    oldest: AtomicU64,
    /// Sweeps since a worker last asked for entries. Not a time: who sets the clock has not stopped any worker.
    sweeps_without_look: AtomicU64,
    /// Keeps one permit for a worker that is not waiting just now, so that no entry is slept over.
    pub work: Notify,
}

impl Default for TargetTally {
    fn default() -> Self {
        Self {
            waiting: AtomicU64::new(0),
            buried: AtomicU64::new(0),
            oldest: AtomicU64::new(NONE),
            sweeps_without_look: AtomicU64::new(0),
            work: Notify::new(),
        }
    }
}

impl TargetTally {
    pub(super) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// A worker has asked for entries.
    pub(super) fn looked(&self) {
        self.sweeps_without_look.store(0, Ordering::Relaxed);
    }

    /// One more sweep. How many there were since a worker has asked.
    pub(super) fn swept(&self) -> u64 {
        self.sweeps_without_look.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn buried(&self) -> u64 {
        self.buried.load(Ordering::Relaxed)
    }
}

/// What a transaction adds and takes away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub waiting: i64,
    pub buried: i64,
}

/// All targets. As many as the configuration names and the file has entries for.
#[derive(Debug, Default)]
pub(super) struct Tallies(RwLock<HashMap<TargetName, Arc<TargetTally>>>);

impl Tallies {
    /// A target's figures, if it ever had an entry or a worker.
    pub(super) fn find(&self, target: &str) -> Option<Arc<TargetTally>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(target).cloned()
    }

    pub(super) fn of(&self, target: &str) -> Arc<TargetTally> {
        if let Some(tally) = self.find(target) {
            return tally;
        }
        let mut tallies = self.0.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(tallies.entry(TargetName::new(target)).or_default())
    }

    /// Entries of all targets, buried ones included.
    pub(super) fn total(&self) -> u64 {
        let tallies = self.0.read().unwrap_or_else(PoisonError::into_inner);
        tallies.values().map(|tally| tally.waiting() + tally.buried()).sum()
    }

    /// What a commit has changed.
    pub(super) fn change(&self, target: &str, change: Change) {
        let tally = self.of(target);
        add(&tally.waiting, change.waiting);
        add(&tally.buried, change.buried);
    }

    /// The figures as they were counted; a target that is not among them has none.
    pub(super) fn replace(&self, counted: &BTreeMap<String, Change>) {
        for target in counted.keys() {
            self.of(target);
        }
        let tallies = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for (target, tally) in tallies.iter() {
            let change = counted.get(target.as_str()).copied().unwrap_or_default();
            tally.waiting.store(change.waiting.unsigned_abs(), Ordering::Relaxed);
            tally.buried.store(change.buried.unsigned_abs(), Ordering::Relaxed);
        }
    }

    pub(super) fn set_oldest(&self, target: &str, millis: Option<i64>) {
        let millis = millis.and_then(|millis| u64::try_from(millis).ok()).unwrap_or(NONE);
        self.of(target).oldest.store(millis, Ordering::Relaxed);
    }

    pub(super) fn names(&self) -> Vec<TargetName> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    pub(super) fn wake_those_with_work(&self) {
        let tallies = self.0.read().unwrap_or_else(PoisonError::into_inner);
        tallies.values().filter(|tally| tally.waiting() > 0).for_each(|tally| tally.work.notify_one());
    }

    /// By name.
    pub(super) fn stats(&self) -> Vec<TargetStats> {
        let tallies = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut stats: Vec<_> = tallies
            .iter()
            .map(|(target, tally)| TargetStats {
                target: target.clone(),
                waiting: tally.waiting(),
                buried: tally.buried(),
                oldest_accepted_at: match tally.oldest.load(Ordering::Relaxed) {
                    NONE => None,
                    millis => i64::try_from(millis).ok().map(since_epoch),
                },
            })
            .collect();
        stats.sort_by(|one, other| one.target.cmp(&other.target));
        stats
    }
}

/// Only the writer adds: a load and a store lose nothing.
fn add(figure: &AtomicU64, change: i64) {
    figure.store(figure.load(Ordering::Relaxed).saturating_add_signed(change), Ordering::Relaxed);
}
