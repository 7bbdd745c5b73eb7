//! Dead device tokens that are believed: written down before anybody is told, so that no number of restarts makes more of
//! them, and what an operator lets through. `delivery::removal_guard` decides; this module does its reading and writing.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Relay;
use super::target::Target;
use crate::delivery::removal_guard::ledger::{self, Grants, Ledger, LedgerError};
use crate::delivery::removal_guard::{Ruling, is_doubtful};
use crate::journal::Event;
use crate::outcome::Attempt;
use crate::telemetry::log::Subject;

/// Between two savings of what is delivered: what a relay that is killed forgets. Fewer deliveries mean fewer removals.
const SAVE_EVERY: Duration = Duration::from_mins(10);

/// Between two looks at what an operator lets through, while removals are withheld: a second.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where it is kept.
#[derive(Debug)]
pub(super) struct Removals {
    directory: PathBuf,
    /// What was there of targets that are not set up: to take one out and put it back is no new beginning.
    others: Ledger,
    /// How many were believed; before that number is read, they are in their guards.
    believed: AtomicU64,
    /// Up to which of them the file has. Held while it is written: whoever waits finds itself written by the one before.
    saved: tokio::sync::Mutex<u64>,
    looked: Mutex<Option<Instant>>,
}

impl Relay {
    /// Remembers in this directory which ambiguous removals were believed. A file that cannot be read is taken to say that no
    /// more may be, until pushes arrive again.
    #[must_use]
    pub fn keeping_removals(mut self, directory: &Path) -> Self {
        if self.targets.values().all(|target| target.guard.is_none()) {
            return self;
        }
        let now = self.clock.now();
        let mut others = match ledger::read(directory) {
            Ok(ledger) => {
                for target in self.targets.values() {
                    if let (Some(guard), Some(record)) = (&target.guard, ledger.get(target.name.as_str())) {
                        guard.restore(record, now);
                    }
                }
                ledger
            }
            Err(error) => {
                tracing::error!(
                    %error,
                    "it is not known how many dead device tokens were believed: no more are, until pushes arrive"
                );
                self.targets.values().filter_map(|target| target.guard.as_ref()).for_each(|guard| guard.distrust(now));
                Ledger::new()
            }
        };
        others.retain(|name, _| !self.targets.keys().any(|target| target.as_str() == name));
        self.removals = Some(Removals {
            directory: directory.to_owned(),
            others,
            believed: AtomicU64::new(0),
            saved: tokio::sync::Mutex::new(0),
            looked: Mutex::new(None),
        });
        self
    }

    /// What becomes of a verdict. A removal that is believed is on the disk when this returns; if it cannot be, it is withheld.
    pub(super) async fn rule(&self, target: &Target, subject: &Subject<'_>, attempt: &Attempt) -> Ruling {
        let doubted = target.guard.as_ref().filter(|_| is_doubtful(attempt));
        if let (Some(guard), Some(removals)) = (doubted, &self.removals)
            && guard.is_spent(self.clock.now())
        {
            self.look_for_grants(removals).await;
        }
        let ruling = target.rule(attempt, self.clock.now());
        let (Ruling::Believed { allowed }, Some(removals)) = (ruling, &self.removals) else { return ruling };
        let number = removals.believed.fetch_add(1, Ordering::AcqRel) + 1;
        if self.save_believed(removals, number).await {
            if let (true, Some(reason)) = (allowed, attempt.verdict.reason()) {
                self.note(subject, &Event::Allowed { reason });
            }
            return ruling;
        }
        target.take_back(allowed);
        Ruling::Withheld
    }

    /// What an operator lets through from now on.
    async fn look_for_grants(&self, removals: &Removals) {
        let now = self.clock.now();
        {
            let mut looked = removals.looked.lock().unwrap_or_else(PoisonError::into_inner);
            if looked.is_some_and(|at| now.saturating_duration_since(at) < LOOK_EVERY) {
                return;
            }
            *looked = Some(now);
        }
        let directory = removals.directory.clone();
        match on_disk(move || ledger::read_grants(&directory)).await {
            Some(Ok(grants)) => self.take_grants(&grants),
            Some(Err(error)) => {
                tracing::error!(%error, "what an operator lets through of dead device tokens is not known");
            }
            None => {}
        }
    }

    fn take_grants(&self, grants: &Grants) {
        for target in self.targets.values() {
            let (Some(guard), Some(grant)) = (&target.guard, grants.get(target.name.as_str())) else { continue };
            if guard.allow(*grant, self.clock.now()) {
                let (target, count, until) = (target.name.as_str(), grant.left, crate::clock::rfc3339(grant.until));
                tracing::warn!(target, count, until, "an operator lets so many removals of device tokens through");
            }
        }
    }

    /// Writes until the shutdown begins what is not written with each removal: deliveries.
    pub async fn save_removals_regularly(&self) {
        let Some(removals) = &self.removals else { return };
        while !self.shutdown.has_begun() {
            self.save(removals).await;
            tokio::select! {
                () = self.shutdown.begun() => {}
                () = self.clock.sleep(SAVE_EVERY) => {}
            }
        }
    }

    /// For the end.
    pub async fn save_removals(&self) {
        if let Some(removals) = &self.removals {
            self.save(removals).await;
        }
    }

    async fn save(&self, removals: &Removals) {
        let mut saved = removals.saved.lock().await;
        self.write_ledger(removals, &mut saved).await;
    }

    /// Whether that many are on the disk.
    async fn save_believed(&self, removals: &Removals, number: u64) -> bool {
        let mut saved = removals.saved.lock().await;
        *saved >= number || self.write_ledger(removals, &mut saved).await
    }

    async fn write_ledger(&self, removals: &Removals, saved: &mut u64) -> bool {
        let number = removals.believed.load(Ordering::Acquire);
        let mut ledger = removals.others.clone();
        let guarded = self.targets.values().filter_map(|target| Some((&target.name, target.guard.as_ref()?)));
        ledger.extend(guarded.map(|(name, guard)| (name.as_str().to_owned(), guard.record())));
        let directory = removals.directory.clone();
        match on_disk(move || ledger::write(&directory, &ledger)).await {
            Some(Ok(())) => {
                *saved = number;
                true
            }
            Some(Err(error)) => {
                tracing::error!(
                    %error,
                    "it cannot be written down which dead device tokens are believed: no chat server is told of any"
                );
                false
            }
            None => false,
        }
    }
}

/// Rare and short, and waited for. `None` after a panic, which has been logged.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LedgerError> + Send + 'static,
) -> Option<Result<T, LedgerError>> {
    #[allow(clippy::disallowed_methods, reason = "one at a time: the next one waits for a lock")]
    tokio::task::spawn_blocking(work).await.ok()
}
