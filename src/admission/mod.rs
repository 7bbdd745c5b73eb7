//! Who may send: is this request from the chat server it names, and may that server ask for this?
//!
//! The only way to an [`Admitted`] notification leads through [`Admission::admit`], and an `Admitted` is the only thing
//! the relay takes: what was not checked cannot be sent.

pub mod key;
pub mod rate;
pub mod signature;
pub mod signing;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use std::collections::HashMap;
use std::num::NonZeroU32;

use crate::clock::Clock;
use crate::notification::{Content, Notification, PushKind, ServerId, Transport};
use signature::SignatureError;

/// What the configuration says about who may send.
#[derive(Clone, Debug)]
pub struct AdmissionSettings {
    /// How strictly.
    pub mode: AuthMode,
    /// Whether a registered server may send `type=test` without a signature, which is how Mattermost sends it.
    pub allow_unsigned_test: bool,
    /// The most unsigned tests per minute and server. They are proof of nothing, so few are let through.
    pub unsigned_tests_per_minute: NonZeroU32,
    /// The chat servers that may send.
    pub servers: Vec<ServerSettings>,
}

/// How strictly requests are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// Only signed requests from registered servers are sent.
    Required,
    /// Everything is sent; what `Required` would refuse is logged and counted.
    Observe,
    /// Nothing is checked.
    Off,
}

impl AuthMode {
    /// As the configuration names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Observe => "observe",
            Self::Off => "off",
        }
    }
}

/// One registered chat server.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// What it calls itself (Mattermost: the diagnostic id).
    pub id: ServerId,
    /// For people.
    pub name: String,
    /// What it may sign with; any of them will do.
    pub keys: Vec<key::VerifyingKey>,
}

/// Something that was checked. Only this module can make one.
#[derive(Debug)]
pub struct Admitted<T> {
    checked: T,
    observed: Option<Refusal>,
}

impl<T> Admitted<T> {
    /// The checked thing.
    pub fn get(&self) -> &T {
        &self.checked
    }

    /// What `required` would have refused it for; only ever set in `observe` mode.
    pub fn observed(&self) -> Option<Refusal> {
        self.observed
    }
}

/// Why a request is not sent. `Display` is the text for the caller: it says what was wrong and what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The server id is in no `[[server]]`.
    #[error(
        "this server is not registered with the relay: its operator adds a [[server]] with the server_id sent here"
    )]
    UnknownServer,
    /// There is no signature.
    #[error(
        "the request is not signed: `signature` is empty (a current Mattermost server signs every push but type=test)"
    )]
    MissingSignature,
    /// The signature cannot be read.
    #[error("the signature cannot be read: it is not a compact JWS with the claims ack_id and device_id")]
    MalformedSignature,
    /// Not ES256.
    #[error("the signature's algorithm is not ES256, the only one accepted")]
    WrongAlgorithm,
    /// By another key.
    #[error("the signature is by none of the keys registered for this server: enrol its new key if it was rotated")]
    WrongKey,
    /// For another push.
    #[error("the signature is for another push: its claim ack_id is not the request's ack_id")]
    AckIdMismatch,
    /// For another device.
    #[error("the signature is for another device: its claim device_id is not the request's device_id")]
    DeviceIdMismatch,
    /// Outside the signature's own time.
    #[error("the signature has expired or is not valid yet: compare the clocks of server and relay")]
    Untimely,
    /// Unsigned tests are not allowed here.
    #[error("unsigned test pushes are not allowed: the relay's configuration sets auth.allow_unsigned_test = false")]
    UnsignedTest,
    /// Too many unsigned tests.
    #[error("too many unsigned test pushes from this server: wait a minute")]
    TooManyTests,
}

impl Refusal {
    /// For metrics and logs: a fixed word.
    pub fn label(self) -> &'static str {
        match self {
            Self::UnknownServer => "unknown_server",
            Self::MissingSignature => "missing_signature",
            Self::MalformedSignature => "malformed_signature",
            Self::WrongAlgorithm => "wrong_algorithm",
            Self::WrongKey => "wrong_key",
            Self::AckIdMismatch => "ack_id_mismatch",
            Self::DeviceIdMismatch => "device_id_mismatch",
            Self::Untimely => "untimely",
            Self::UnsignedTest => "unsigned_test",
            Self::TooManyTests => "too_many_tests",
        }
    }

    /// Whether the caller is asked to slow down (429) rather than told that it may not (401).
    pub fn is_rate(self) -> bool {
        self == Self::TooManyTests
    }
}

impl From<SignatureError> for Refusal {
    fn from(error: SignatureError) -> Self {
        match error {
            SignatureError::Malformed => Self::MalformedSignature,
            SignatureError::Algorithm => Self::WrongAlgorithm,
            SignatureError::Key => Self::WrongKey,
            SignatureError::AckId => Self::AckIdMismatch,
            SignatureError::DeviceId => Self::DeviceIdMismatch,
            SignatureError::Time => Self::Untimely,
        }
    }
}

/// The gate.
#[derive(Debug)]
pub struct Admission {
    mode: AuthMode,
    allow_unsigned_test: bool,
    servers: HashMap<ServerId, Server>,
    clock: Clock,
}

#[derive(Debug)]
struct Server {
    keys: Vec<key::VerifyingKey>,
    /// One per registered server, so the memory is bounded by the configuration.
    unsigned_tests: DefaultDirectRateLimiter,
}

impl Admission {
    /// Sets the gate up.
    pub fn new(settings: AdmissionSettings, clock: Clock) -> Self {
        let quota = Quota::per_minute(settings.unsigned_tests_per_minute);
        let servers = settings
            .servers
            .into_iter()
            .map(|server| (server.id, Server { keys: server.keys, unsigned_tests: RateLimiter::direct(quota) }))
            .collect();
        Self { mode: settings.mode, allow_unsigned_test: settings.allow_unsigned_test, servers, clock }
    }

    /// Lets a notification through, or says why not.
    pub fn admit(&self, notification: Notification) -> Result<Admitted<Notification>, Refusal> {
        let observed = match self.mode {
            AuthMode::Off => None,
            AuthMode::Required => {
                self.check(&notification)?;
                None
            }
            AuthMode::Observe => self.check(&notification).err(),
        };
        Ok(Admitted { checked: notification, observed })
    }

    fn check(&self, notification: &Notification) -> Result<(), Refusal> {
        let server = self.servers.get(&notification.server_id).ok_or(Refusal::UnknownServer)?;
        if notification.signature.is_empty() {
            return match notification.kind {
                PushKind::Test if does_more_than_test(notification) => Err(Refusal::MissingSignature),
                PushKind::Test if !self.allow_unsigned_test => Err(Refusal::UnsignedTest),
                PushKind::Test => server.unsigned_tests.check().map_err(|_| Refusal::TooManyTests),
                _ => Err(Refusal::MissingSignature),
            };
        }
        signature::check(
            notification.signature.expose(),
            &server.keys,
            &notification.ack_id,
            &notification.device,
            self.clock.unix_seconds(),
        )
        .map_err(Refusal::from)
    }
}

/// Whether a phone would show a caller's text or ring. A test does neither, and Mattermost sends none that asks for it; a
/// stranger who knows a server's id could, since the payloads of these two do not depend on the kind.
fn does_more_than_test(notification: &Notification) -> bool {
    let shows_text = match &notification.content {
        Content::Mattermost(content) => content.is_id_loaded,
        Content::Native(_) => true,
    };
    shows_text || notification.transport != Transport::Standard
}
