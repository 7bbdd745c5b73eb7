//! The way to Apple and Google: builds what a provider wants to read, sends it, and classifies the answer.
//!
//! A sender makes one attempt when asked and says what came of it. It does not decide whether to try again, waits for
//! no back-off and knows no caller.

pub mod apns;
pub mod emoji;
pub mod fcm;
pub mod network;
mod proof;
mod texts;
mod transport;

use std::sync::Arc;
use std::time::Duration;

use rustls::sign::CertifiedKey;
use tokio::time::Instant;
use url::Url;

use crate::clock::Clock;
use crate::notification::{Compatibility, Notification, Platform, TargetName};
use crate::outcome::{Attempt, Reason, Verdict};
pub use proof::Proof;
pub(crate) use transport::{ConnectError, Greeting, SecureError, Secured, Target as Way, Trouble, Unacceptable};
pub use transport::{NoWay, Patience};

/// One configured target: an app at a provider.
#[derive(Clone, Debug)]
pub struct TargetSettings {
    /// What chat servers call it.
    pub name: TargetName,
    /// How closely payloads follow the reference's.
    pub compatibility: Compatibility,
    /// How the provider is reached.
    pub network: network::NetworkSettings,
    /// Which provider, and with whose credentials.
    pub provider: ProviderSettings,
}

/// What differs between the providers.
#[derive(Clone, Debug)]
pub enum ProviderSettings {
    /// Apple.
    Apns(apns::ApnsSettings),
    /// Google.
    Fcm(fcm::FcmSettings),
}

impl TargetSettings {
    /// Whether both are the same sender to the provider.
    pub fn has_credential_of(&self, other: &Self) -> bool {
        match (&self.provider, &other.provider) {
            (ProviderSettings::Apns(own), ProviderSettings::Apns(other)) => own.credential.is_same(&other.credential),
            (ProviderSettings::Fcm(own), ProviderSettings::Fcm(other)) => own.account.is_same(&other.account),
            _ => false,
        }
    }

    /// This target with the credential of `other`, which is the same one as it is configured later.
    ///
    /// # Errors
    /// The credential would make it another target, whose phones have other device tokens: those of this one would be
    /// called dead and forgotten.
    pub fn with_credential_of(&self, other: &Self) -> Result<Self, String> {
        let provider = match (&self.provider, &other.provider) {
            (ProviderSettings::Apns(own), ProviderSettings::Apns(other)) => {
                ProviderSettings::Apns(apns::ApnsSettings { credential: other.credential.clone(), ..own.clone() })
            }
            (ProviderSettings::Fcm(own), ProviderSettings::Fcm(other)) => {
                let (from, to) = (own.account.project_id(), other.account.project_id());
                if from != to {
                    return Err(format!("the service account is of project {to}, and the target sends to {from}"));
                }
                ProviderSettings::Fcm(other.clone())
            }
            _ => return Err("the target is at another provider now".to_owned()),
        };
        Ok(Self { provider, ..self.clone() })
    }
}

impl ProviderSettings {
    /// Whose phones the provider reaches.
    pub fn platform(&self) -> Platform {
        match self {
            Self::Apns(_) => Platform::Apple,
            Self::Fcm(_) => Platform::Android,
        }
    }
}

impl TargetSettings {
    /// The way to the provider, to be walked by whoever wants to know where it ends; the sender itself goes it on
    /// connections of its own.
    ///
    /// # Errors
    /// What is wrong with the address, the proxy or the authorities, in words.
    pub(crate) fn way(&self) -> Result<Way, String> {
        match &self.provider {
            ProviderSettings::Apns(apns) => {
                let url = apns::endpoint(self.network.endpoint.as_ref(), apns)?;
                self.way_to(&url, apns.credential.certified())
            }
            ProviderSettings::Fcm(fcm) => {
                let url = fcm::send_url(self.network.endpoint.as_ref(), fcm.account.project_id());
                self.way_to(&url.ok_or("the endpoint cannot be used")?, None)
            }
        }
    }

    /// As [`Self::way`], to where Google gives access tokens. `None` for Apple, and without TLS, as to a stand-in on this
    /// machine.
    pub(crate) fn way_to_tokens(&self) -> Result<Option<Way>, String> {
        match &self.provider {
            ProviderSettings::Fcm(fcm) if fcm.account.token_uri().scheme() == "https" => {
                self.way_to(fcm.account.token_uri(), None).map(Some)
            }
            ProviderSettings::Apns(_) | ProviderSettings::Fcm(_) => Ok(None),
        }
    }

    fn way_to(&self, url: &Url, certified: Option<Arc<CertifiedKey>>) -> Result<Way, String> {
        let network = &self.network;
        let tls = network.tls_config(certified).map_err(|error| error.to_string())?;
        let proxy = network.proxy.for_url(url).map_err(|error| error.to_string())?;
        Way::new(url, proxy, tls, network.connect_timeout).map_err(|error| error.to_string())
    }
}

/// Why a target could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("target `{target}`: {problem}")]
pub struct SetupError {
    /// The target's name.
    pub target: TargetName,
    /// What is wrong and what to do about it.
    pub problem: String,
}

/// A target that is configured, could not be set up, and does not keep the others from running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// What chat servers call it.
    pub name: TargetName,
    /// Whose phones it was to reach.
    pub platform: Platform,
    /// What is wrong and what to do about it; holds no secret.
    pub problem: String,
}

/// Sends to one target.
#[derive(Debug)]
pub enum Sender {
    /// Apple.
    Apns(apns::Apns),
    /// Google.
    Fcm(fcm::Fcm),
}

/// A notification as its provider will read it: built once, sent as often as it takes.
#[derive(Debug)]
pub enum Prepared {
    /// For Apple.
    Apns(apns::Prepared),
    /// For Google.
    Fcm(fcm::Prepared),
}

impl Prepared {
    /// Why it can never be sent, as far as that is known without asking the provider: it is too large, or its token too long.
    pub fn unfit(&self) -> Option<Reason> {
        match self {
            Self::Apns(prepared) => prepared.unfit(),
            Self::Fcm(prepared) => prepared.unfit(),
        }
    }
}

impl Sender {
    /// Sets a target up. Opens no connection yet. `keys` is the same for all targets of a process.
    pub fn new(settings: &TargetSettings, clock: &Clock, keys: &mut apns::KeysInUse) -> Result<Self, SetupError> {
        match &settings.provider {
            ProviderSettings::Apns(apns) => apns::Apns::new(settings, apns, clock, keys).map(Self::Apns),
            ProviderSettings::Fcm(fcm) => fcm::Fcm::new(settings, fcm, clock).map(Self::Fcm),
        }
    }

    /// Whose phones it reaches.
    pub fn platform(&self) -> Platform {
        match self {
            Self::Apns(_) => Platform::Apple,
            Self::Fcm(_) => Platform::Android,
        }
    }

    /// Builds what the provider will read. `remaining` is how long the notification is worth delivering from now on: the
    /// provider is told to keep it no longer for a phone that it cannot reach, except where the reference is followed to
    /// the letter. `None` tells it nothing beyond what a program asked for itself.
    pub fn prepare(&self, notification: &Notification, remaining: Option<Duration>) -> Prepared {
        match self {
            Self::Apns(apns) => Prepared::Apns(apns.prepare(notification, remaining)),
            Self::Fcm(fcm) => Prepared::Fcm(fcm.prepare(notification, remaining)),
        }
    }

    /// Makes one attempt and says what came of it.
    ///
    /// # Panics
    /// If `prepared` was built by another kind of sender.
    pub async fn attempt(&self, prepared: &Prepared, patience: Patience, no_way: NoWay) -> Attempt {
        match (self, prepared) {
            (Self::Apns(apns), Prepared::Apns(prepared)) => apns.attempt(prepared, patience, no_way).await,
            (Self::Fcm(fcm), Prepared::Fcm(prepared)) => fcm.attempt(prepared, patience, no_way).await,
            _ => unreachable!("a notification is attempted by the sender that prepared it"),
        }
    }

    /// Asks the provider whether it takes the credentials, within `timeout` for everything, and wakes no phone: the push
    /// is for a device token that cannot exist, and Google is told not to send it at all.
    ///
    /// Says nothing about the app's topic: which of two mistakes Apple names first is not documented.
    pub async fn prove(&self, timeout: Duration) -> Proof {
        let prepared = match self {
            Self::Apns(apns) => Prepared::Apns(apns.prepare_for_nobody()),
            Self::Fcm(_) => Prepared::Fcm(fcm::Fcm::prepare_for_nobody()),
        };
        // Google's access token cannot be asked for without a way, either: there is nothing to wait for.
        let no_way = if matches!(self, Self::Fcm(_)) { NoWay::GiveUp } else { NoWay::Wait };
        let deadline = Instant::now() + timeout;
        let mut verdict = self.attempt(&prepared, Patience::of(timeout), no_way).await.verdict;
        if matches!(verdict, Verdict::NewCredential { .. }) {
            let left = deadline.saturating_duration_since(Instant::now());
            verdict = self.attempt(&prepared, Patience::of(left), no_way).await.verdict;
        }
        Proof::of(&verdict)
    }

    /// What an operator should know about the credentials, if anything is wrong with them now.
    pub fn credential_problem(&self) -> Option<String> {
        match self {
            Self::Apns(apns) => apns.credential_problem(),
            Self::Fcm(fcm) => fcm.credential_problem(),
        }
    }

    /// Seconds after the Unix epoch at which the credential stops working by itself (a certificate's last moment);
    /// `None` for keys, which do not expire.
    pub fn credential_expires_at(&self) -> Option<u64> {
        match self {
            Self::Apns(apns) => apns.credential_expires_at(),
            Self::Fcm(_) => None,
        }
    }
}
