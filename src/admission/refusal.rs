//! Why a request is not sent, in words for whoever sent it. What HTTP makes of it, the edge decides.

use super::rate::Wait;
use super::signature::SignatureError;
use super::webhook::WebhookError;
use crate::clock::rfc3339;

/// Why a request is not sent. `Display` is the text for the caller: it says what was wrong and what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The server id is registered nowhere.
    #[error(
        "this server is not registered with the relay: its operator adds a [[server]] with the server_id sent here"
    )]
    UnknownServer,
    /// The same of a request that names its sender in a header.
    #[error(
        "this server is not registered with the relay: its operator adds a [[server]] whose `id` is what the header pushrelay-server says"
    )]
    UnknownSender,
    /// Registered, and switched off.
    #[error("this server is disabled at the relay: ask its operator (`disabled` in the server's entry)")]
    ServerDisabled,
    /// Registered for another way of signing.
    #[error("this server is not registered for this kind of request: see `schemes` in its entry at the relay")]
    SchemeNotAllowed,
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
    /// Rightly signed, by a key that has ended.
    #[error("this key was registered until {}: the server must sign with its new key", rfc3339(*until))]
    KeyExpired {
        /// The last second in which the key counted, since the Unix epoch.
        until: u64,
    },
    /// Nothing says who signs.
    #[error("the header pushrelay-server is missing: it holds the `id` of the sender's [[server]] at the relay")]
    MissingServer,
    /// Not signed as Standard Webhooks ask.
    #[error(
        "the request is not signed: it needs the headers webhook-id, webhook-timestamp and webhook-signature (Standard Webhooks)"
    )]
    MissingWebhook,
    /// Signed as Standard Webhooks ask, and not rightly.
    #[error("{0}")]
    Webhook(WebhookError),
    /// Rightly signed, by another server than the one that it names.
    #[error("the request is signed by another server than its server_id names")]
    ServerMismatch,
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
    /// Not one of the server's apps.
    #[error("this server may not push to this app: see `targets` in its entry at the relay")]
    TargetNotAllowed,
    /// Too many unsigned tests.
    #[error("too many unsigned test pushes from this server: wait a minute")]
    TooManyTests {
        /// Seconds until one is allowed again.
        retry_after: u32,
    },
    /// More than the server's own rate.
    #[error(
        "this server sends faster than it may: try again in {retry_after} s (`per_second` in its entry at the relay)"
    )]
    ServerRate {
        /// Seconds until one is allowed again.
        retry_after: u32,
    },
    /// More than the server's own quota.
    #[error(
        "this server has sent all that it may in a day, which begins anew at 00:00 UTC (`daily_quota` in its entry)"
    )]
    DailyQuota {
        /// Seconds until the next day.
        retry_after: u32,
    },
    /// Too much for one phone.
    #[error("too many notifications for one device: try again in {retry_after} s (`auth.device_per_minute`)")]
    DeviceRate {
        /// Seconds until one is allowed again.
        retry_after: u32,
    },
    /// Too many refused requests from one address.
    #[error(
        "too many requests from this address were refused, for reasons given with each: try again in {retry_after} s"
    )]
    AddressRate {
        /// Seconds until one is looked at again.
        retry_after: u32,
    },
}

/// What a refusal means to whoever is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// It has not shown who it is, or not in a way that counts.
    Unproven,
    /// It is known, and may not.
    Forbidden,
    /// It may, but not so often.
    TooOften {
        /// Seconds until it may again, at least 1.
        retry_after: u32,
    },
}

impl Refusal {
    /// For metrics and logs: a fixed word.
    pub fn label(self) -> &'static str {
        match self {
            Self::UnknownServer | Self::UnknownSender => "unknown_server",
            Self::ServerDisabled => "server_disabled",
            Self::SchemeNotAllowed => "scheme_not_allowed",
            Self::MissingSignature => "missing_signature",
            Self::MalformedSignature => "malformed_signature",
            Self::WrongAlgorithm => "wrong_algorithm",
            Self::WrongKey => "wrong_key",
            Self::KeyExpired { .. } => "key_expired",
            Self::MissingServer => "missing_server",
            Self::MissingWebhook => "missing_webhook",
            Self::Webhook(error) => error.label(),
            Self::ServerMismatch => "server_mismatch",
            Self::AckIdMismatch => "ack_id_mismatch",
            Self::DeviceIdMismatch => "device_id_mismatch",
            Self::Untimely => "untimely",
            Self::UnsignedTest => "unsigned_test",
            Self::TargetNotAllowed => "target_not_allowed",
            Self::TooManyTests { .. } => "too_many_tests",
            Self::ServerRate { .. } => "server_rate",
            Self::DailyQuota { .. } => "daily_quota",
            Self::DeviceRate { .. } => "device_rate",
            Self::AddressRate { .. } => "address_rate",
        }
    }

    /// What it means to whoever is refused.
    pub fn kind(self) -> RefusalKind {
        match self {
            Self::UnknownServer
            | Self::UnknownSender
            | Self::MissingSignature
            | Self::MalformedSignature
            | Self::WrongAlgorithm
            | Self::WrongKey
            | Self::KeyExpired { .. }
            | Self::MissingServer
            | Self::MissingWebhook
            | Self::Webhook(_)
            | Self::ServerMismatch
            | Self::AckIdMismatch
            | Self::DeviceIdMismatch
            | Self::Untimely
            | Self::UnsignedTest => RefusalKind::Unproven,
            Self::ServerDisabled | Self::SchemeNotAllowed | Self::TargetNotAllowed => RefusalKind::Forbidden,
            Self::TooManyTests { retry_after }
            | Self::ServerRate { retry_after }
            | Self::DailyQuota { retry_after }
            | Self::DeviceRate { retry_after }
            | Self::AddressRate { retry_after } => RefusalKind::TooOften { retry_after },
        }
    }

    /// Whether it is a limit on a server that has proved who it is: counted and enforced in `observe` mode too.
    pub(super) fn limits_the_proven(self) -> bool {
        matches!(self, Self::ServerRate { .. } | Self::DailyQuota { .. } | Self::DeviceRate { .. })
    }
}

/// For a `Retry-After`, at least 1.
pub(super) fn seconds(wait: Wait) -> u32 {
    u32::try_from(wait.seconds()).unwrap_or(u32::MAX)
}

impl From<SignatureError> for Refusal {
    fn from(error: SignatureError) -> Self {
        match error {
            SignatureError::Malformed => Self::MalformedSignature,
            SignatureError::Algorithm => Self::WrongAlgorithm,
            SignatureError::AckId => Self::AckIdMismatch,
            SignatureError::DeviceId => Self::DeviceIdMismatch,
            SignatureError::Time => Self::Untimely,
        }
    }
}
