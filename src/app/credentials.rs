//! Keys, certificates and service accounts that change while the relay runs: notices it, has the configuration read again,
//! and hands each target what is meant for it. `target` tries it and puts it in place.
//!
//! The files are looked at rather than watched: they may lie anywhere, be reached through links that are swapped, or be
//! mounted from elsewhere, and a look costs a few microseconds.

mod target;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::config::{CredentialReading, CredentialSources, Finding, Problems, Remainder, Stamps, TargetReading};
use crate::notification::TargetName;
use crate::relay::Relay;
use crate::sender::TargetSettings;
use crate::sender::apns::KeysInUse;
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::Metrics;
use target::{Offer, Target};

/// How often the files are looked at: 5 s, for somebody who has just replaced one and waits for the line in the log.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Asks for the credentials to be read again. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked(Arc<Notify>);

impl Asked {
    /// Reads and tries everything again at once, what was refused before included.
    pub(super) fn ask(&self) {
        self.0.notify_one();
    }
}

/// What is followed, and with what.
#[derive(Debug)]
pub(super) struct Credentials {
    pub(super) sources: CredentialSources,
    /// The targets as they were set up; those that could not be are not among them.
    pub(super) targets: Vec<TargetSettings>,
    /// The process's own: a key that comes back must find its provider token.
    pub(super) keys: KeysInUse,
    pub(super) relay: Arc<Relay>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Clock,
}

/// Keeps the targets' credentials as the files say until the relay stops.
pub(super) async fn follow(credentials: Credentials, asked: Asked, shutdown: Shutdown) {
    let Credentials { sources, targets, keys, relay, metrics, clock } = credentials;
    let keys = Arc::new(Mutex::new(keys));
    // A task each, ended with this one: a provider that does not answer holds up nobody but its target.
    let mut tasks = JoinSet::new();
    let mut offers = Offers { remainder: sources.remainder(), metrics, targets: BTreeMap::new() };
    for in_use in targets {
        let (offer, offered) = watch::channel(None);
        offers.targets.insert(in_use.name.clone(), Addressee { offer, said: None });
        let (relay, metrics) = (Arc::clone(&relay), Arc::clone(&offers.metrics));
        tasks.spawn(Target::new(in_use, Arc::clone(&keys), relay, metrics, clock.clone()).keep(offered));
    }
    let mut files = Files { sources, read: Vec::new(), seen: None, read_at: None };
    let mut is_asked = false;
    loop {
        #[allow(clippy::disallowed_methods, reason = "one at a time: the next begins after this one has ended")]
        let work = tokio::task::spawn_blocking(move || {
            let reading = files.look(is_asked);
            (files, reading)
        });
        // A panic has been logged by now.
        let Ok((back, reading)) = work.await else {
            tracing::error!("credentials are not followed any more: changes count after a restart of the relay");
            return;
        };
        files = back;
        match reading {
            None => {}
            Some(Ok(reading)) => offers.make(reading, is_asked),
            Some(Err(problems)) => offers.refuse_all(&problems, is_asked),
        }
        is_asked = tokio::select! {
            () = asked.0.notified() => true,
            () = clock.sleep(LOOK_EVERY) => false,
            () = shutdown.begun() => return,
        };
    }
}

/// The files that credentials come from.
struct Files {
    sources: CredentialSources,
    /// What the last reading found; says where the files are.
    read: Vec<TargetReading>,
    /// At the last look.
    seen: Option<Stamps>,
    /// Just before the last reading.
    read_at: Option<Stamps>,
}

impl Files {
    /// What the files say, if it is time to read them.
    fn look(&mut self, asked: bool) -> Option<Result<CredentialReading, Problems>> {
        let now = self.sources.stamps(&self.read);
        let due = is_due(asked, &now, self.seen.as_ref(), self.read_at.as_ref());
        self.seen = Some(now.clone());
        if !due {
            return None;
        }
        // From before the reading: what changes during it is noticed at the next look.
        self.read_at = Some(now);
        let reading = self.sources.read();
        if let Ok(reading) = &reading {
            self.read.clone_from(&reading.targets);
        }
        Some(reading)
    }
}

/// Files that have changed are read when they have stayed the same from one look to the next: what is half-written, or
/// missing for a moment, is left alone.
fn is_due<T: PartialEq>(asked: bool, now: &T, seen: Option<&T>, read_at: Option<&T>) -> bool {
    asked || (read_at != Some(now) && seen == Some(now))
}

/// What was said to whom.
struct Offers {
    /// Of the configuration that was last spoken of.
    remainder: Remainder,
    metrics: Arc<Metrics>,
    targets: BTreeMap<TargetName, Addressee>,
}

/// One target's task, seen from here.
struct Addressee {
    offer: watch::Sender<Option<Arc<Offer>>>,
    /// What was last said to be wrong, until something is right again.
    said: Option<Problems>,
}

impl Offers {
    fn make(&mut self, reading: CredentialReading, asked: bool) {
        if self.remainder != reading.remainder {
            self.remainder = reading.remainder;
            tracing::warn!(
                "the configuration says something else than at the start, credentials apart: that takes effect after a restart"
            );
        }
        for TargetReading { name, files, settings } in reading.targets {
            // One that is new since the start is part of what takes effect after a restart.
            let Some(addressee) = self.targets.get_mut(&name) else { continue };
            match settings {
                Ok(settings) => {
                    addressee.said = None;
                    let file = files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ");
                    addressee.offer(Offer { settings, file, asked });
                }
                Err(problems) => {
                    // It is not what the files say any more.
                    addressee.offer.send_if_modified(|offer| offer.take().is_some());
                    addressee.refuse(&name, problems, asked, &self.metrics);
                }
            }
        }
    }

    /// The configuration cannot be read, and what it says about any target is not known.
    fn refuse_all(&mut self, problems: &Problems, asked: bool) {
        for (name, addressee) in &mut self.targets {
            addressee.refuse(name, problems.clone(), asked, &self.metrics);
        }
    }
}

impl Addressee {
    /// Interrupts whatever is tried, unless it is the same.
    fn offer(&self, new: Offer) {
        self.offer.send_if_modified(|offer| {
            let is_old = offer.as_ref().is_some_and(|old| old.settings.has_credential_of(&new.settings));
            let is_news = new.asked || !is_old;
            if is_news {
                *offer = Some(Arc::new(new));
            }
            is_news
        });
    }

    fn refuse(&mut self, name: &TargetName, problems: Problems, asked: bool, metrics: &Metrics) {
        if !asked && self.said.as_ref() == Some(&problems) {
            return;
        }
        metrics.targets().credential_reload(name, "unreadable");
        if let Some(Finding { place, key, what, remedy }) = problems.list().first() {
            let further = Some(problems.list().len() - 1).filter(|further| *further > 0);
            tracing::error!(
                target = name.as_str(),
                place = place.to_string().trim_end_matches(": "),
                key,
                what,
                remedy,
                further_problems = further,
                "the target's credentials cannot be read again: those in use stay"
            );
        }
        self.said = Some(problems);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_when_they_have_changed_and_stay_as_they_are_or_when_somebody_asks() {
        // Asked, now, seen at the last look, as last read.
        let cases = [
            ((false, 1, None, None), false, "at the first look nobody knows whether somebody is writing"),
            ((false, 1, Some(1), None), true, "they may have changed since the start read them"),
            ((false, 1, Some(1), Some(1)), false, "nothing has changed"),
            ((false, 2, Some(1), Some(1)), false, "somebody may be writing"),
            ((false, 3, Some(2), Some(1)), false, "somebody is writing"),
            ((false, 3, Some(3), Some(1)), true, "whoever wrote is done"),
            ((false, 1, Some(2), Some(1)), false, "they are back to what was read"),
            ((true, 1, Some(1), Some(1)), true, "asked"),
            ((true, 2, Some(1), Some(1)), true, "asked by somebody who knows that all is written"),
        ];
        for ((asked, now, seen, read_at), expected, why) in cases {
            assert_eq!(is_due(asked, &now, seen.as_ref(), read_at.as_ref()), expected, "{why}");
        }
    }
}
