//! One target and the credential that it is offered: tried with the provider, then put in place or turned down.
//!
//! A credential takes the old one's place only when the provider has taken it, or when the old one is known to be useless.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::app::expiry;
use crate::clock::{Clock, rfc3339};
use crate::outcome::Reason;
use crate::relay::Relay;
use crate::sender::apns::KeysInUse;
use crate::sender::{Proof, Sender, TargetSettings};
use crate::telemetry::metrics::Metrics;

/// How long the provider may take to say what it thinks: a connection, perhaps through a proxy, an access token, an answer.
const PROOF_TIMEOUT: Duration = Duration::from_secs(20);

/// How long to wait before a provider is asked again that could not be: 60 s. Whoever cannot wait sends SIGHUP.
const ASK_AGAIN: Duration = Duration::from_mins(1);

/// What a target may prove itself with from now on.
#[derive(Debug)]
pub(super) struct Offer {
    /// The target as it is configured now.
    pub(super) settings: TargetSettings,
    /// Where the credential was read from, for people.
    pub(super) file: String,
    /// Somebody waits for a word about it.
    pub(super) asked: bool,
}

/// One target.
pub(super) struct Target {
    in_use: TargetSettings,
    /// What was turned down: it is not tried again until somebody asks or the files say something else.
    refused: Option<TargetSettings>,
    keys: Arc<Mutex<KeysInUse>>,
    relay: Arc<Relay>,
    metrics: Arc<Metrics>,
    clock: Clock,
}

/// What follows from what the provider said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Swap,
    /// Nobody knows whether it works, but the old one does not.
    SwapUntried(Reason),
    Refuse(Reason),
    AskAgain(Reason),
}

fn next(proof: Proof, is_old_useless: bool) -> Next {
    match proof {
        Proof::Accepted => Next::Swap,
        Proof::Refused { reason } => Next::Refuse(reason),
        Proof::Unknown { reason } if is_old_useless => Next::SwapUntried(reason),
        Proof::Unknown { reason } => Next::AskAgain(reason),
    }
}

impl Target {
    pub(super) fn new(
        in_use: TargetSettings,
        keys: Arc<Mutex<KeysInUse>>,
        relay: Arc<Relay>,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Self {
        Self { in_use, refused: None, keys, relay, metrics, clock }
    }

    /// Takes what is offered until nobody offers any more. A newer offer puts an end to what is tried.
    pub(super) async fn keep(mut self, mut offered: watch::Receiver<Option<Arc<Offer>>>) {
        while offered.changed().await.is_ok() {
            let Some(offer) = offered.borrow_and_update().clone() else { continue };
            let mut newer = offered.clone();
            tokio::select! {
                () = self.take(&offer) => {}
                _ = newer.changed() => {}
            }
        }
    }

    async fn take(&mut self, offer: &Offer) {
        let (target, file) = (self.in_use.name.as_str(), offer.file.as_str());
        if offer.settings.has_credential_of(&self.in_use) {
            if offer.asked {
                tracing::info!(target, file, "the target's credentials were read again: they are those in use");
            }
            // Whoever goes back to the old ones and then tries again wants to hear of it again.
            self.refused = None;
            return;
        }
        let is_known = self.refused.as_ref().is_some_and(|refused| offer.settings.has_credential_of(refused));
        if is_known && !offer.asked {
            return;
        }
        let (settings, sender) = match self.set_up(&offer.settings) {
            Ok(made) => made,
            Err(problem) => return self.refuse(offer, "not_usable", Some(&problem)),
        };
        let mut was_said = false;
        loop {
            let proof = sender.prove(PROOF_TIMEOUT).await;
            match next(proof, self.relay.is_credential_useless(&self.in_use.name)) {
                Next::Swap => return self.swap(settings, sender, offer, None),
                Next::SwapUntried(reason) => return self.swap(settings, sender, offer, Some(reason)),
                Next::Refuse(reason) => return self.refuse(offer, reason, sender.credential_problem().as_deref()),
                Next::AskAgain(reason) => {
                    if !was_said {
                        was_said = true;
                        self.metrics.targets().credential_reload(&self.in_use.name, "unknown");
                        tracing::warn!(
                            target = self.in_use.name.as_str(),
                            file = offer.file,
                            reason,
                            "the provider could not be asked whether it takes the target's new credentials: those in \
                             use stay, and it is asked again every minute"
                        );
                    }
                    self.clock.sleep(ASK_AGAIN).await;
                }
            }
        }
    }

    fn set_up(&self, offered: &TargetSettings) -> Result<(TargetSettings, Sender), String> {
        let settings = self.in_use.with_credential_of(offered).map_err(|why| {
            format!("{why}; give the credential of this target, or restart the relay if another is meant")
        })?;
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = Sender::new(&settings, &self.clock, &mut keys).map_err(|error| error.problem)?;
        Ok((settings, sender))
    }

    fn swap(&mut self, settings: TargetSettings, sender: Sender, offer: &Offer, untried: Option<Reason>) {
        let (target, file) = (self.in_use.name.as_str(), offer.file.as_str());
        let expires_at = sender.credential_expires_at();
        let expires = expires_at.map(rfc3339);
        self.relay.replace_sender(&self.in_use.name, sender);
        self.metrics.targets().credential_reload(&self.in_use.name, "swapped");
        match untried {
            None => tracing::info!(
                target,
                file,
                expires,
                "the provider takes the target's new credentials: they are in use from now on"
            ),
            Some(reason) => tracing::warn!(
                target,
                file,
                expires,
                reason,
                "the target's old credentials do not work: the new ones are in use from now on, although the provider \
                 could not be asked about them"
            ),
        }
        if let Some(end) = expires_at {
            expiry::say(target, end, self.clock.unix_seconds());
        }
        self.in_use = settings;
        self.refused = None;
    }

    fn refuse(&mut self, offer: &Offer, reason: &'static str, problem: Option<&str>) {
        self.metrics.targets().credential_reload(&self.in_use.name, "refused");
        tracing::error!(
            target = self.in_use.name.as_str(),
            file = offer.file,
            reason,
            problem,
            remedy = "give the provider's own file for this target (with the key id and team id that belong to it); \
                      after a change at the provider itself, send SIGHUP",
            "the target's new credentials are refused: those in use stay"
        );
        self.refused = Some(offer.settings.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_provider_takes_replaces_credentials_that_work() {
        let (refused, unknown) = (Proof::Refused { reason: "r" }, Proof::Unknown { reason: "u" });
        let cases = [
            (Proof::Accepted, false, Next::Swap),
            (Proof::Accepted, true, Next::Swap),
            (refused, false, Next::Refuse("r")),
            (refused, true, Next::Refuse("r")),
            (unknown, false, Next::AskAgain("u")),
            (unknown, true, Next::SwapUntried("u")),
        ];
        for (proof, is_old_useless, expected) in cases {
            assert_eq!(next(proof, is_old_useless), expected, "{proof:?}, old one useless: {is_old_useless}");
        }
    }
}
