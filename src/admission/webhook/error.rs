//! Why a signed request is refused, in words for its sender and in one word for metrics. Nothing in it is secret.

/// Why a signed request is refused. `Display` is the text for the caller: it says what was wrong and what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// One of the three headers is absent or empty.
    #[error(
        "the header {header} is missing or empty: Standard Webhooks need webhook-id, webhook-timestamp and webhook-signature"
    )]
    Missing {
        /// Its name.
        header: &'static str,
    },
    /// A header is there more than once.
    #[error("the header {header} is sent more than once: send one, with several signatures separated by spaces")]
    Repeated {
        /// Its name.
        header: &'static str,
    },
    /// The id is longer than [`MAX_ID_BYTES`](super::MAX_ID_BYTES).
    #[error("the webhook-id is longer than 256 bytes: a UUID has 36")]
    IdLength,
    /// The id holds something other than visible ASCII.
    #[error("the webhook-id holds a space or another character that is not visible ASCII")]
    IdCharacters,
    /// The id holds a full stop.
    #[error(
        "the webhook-id holds a full stop, which separates the parts of what is signed: use letters, digits, _ or -"
    )]
    IdDot,
    /// The time is not a plain number.
    #[error("the webhook-timestamp is not a whole number of seconds since 1970, such as 1614265330")]
    Timestamp,
    /// Signed too long ago.
    #[error(
        "the webhook-timestamp is {seconds} s old; at most 300 s are accepted: \
         sign each attempt anew, and compare the clocks of server and relay"
    )]
    TooOld {
        /// Its age.
        seconds: u64,
    },
    /// Signed in the future.
    #[error(
        "the webhook-timestamp is {seconds} s ahead of the relay's clock; at most 300 s are accepted: \
         it is in seconds (not milliseconds); compare the clocks of server and relay"
    )]
    TooNew {
        /// How far ahead.
        seconds: u64,
    },
    /// More signatures than [`MAX_SIGNATURES`](super::MAX_SIGNATURES), or more bytes than [`MAX_SIGNATURE_HEADER_BYTES`](super::MAX_SIGNATURE_HEADER_BYTES).
    #[error("the webhook-signature holds more than 8 signatures or more than 16 KiB: sign with the current keys only")]
    TooManySignatures,
    /// Only signatures of versions that are not known.
    #[error("the webhook-signature holds no signature of version v1 (HMAC-SHA256) or v1a (Ed25519)")]
    UnknownVersion,
    /// Signatures of known versions, none of which can be read.
    #[error(
        "the webhook-signature cannot be read: v1, is followed by the base64 of 32 bytes and v1a, by that of 64, \
         in the standard alphabet and padded with ="
    )]
    Malformed,
    /// The server has no key at all.
    #[error(
        "the relay has no webhook key for this server: its operator adds one to webhook_keys (pushrelay keygen makes one)"
    )]
    NoKey,
    /// There are keys, but none of them could have made a signature of this version.
    #[error(
        "the signature is of another kind than the keys registered for this server: \
         v1 is checked with whsec_ and v1a with whpk_"
    )]
    WrongKind,
    /// By none of the keys, or over something else.
    #[error(
        "the signature is by none of the keys registered for this server, or for another id, timestamp or body: \
         sign exactly the bytes that are sent"
    )]
    WrongKey,
}

impl WebhookError {
    /// For metrics and logs: a fixed word.
    pub fn label(self) -> &'static str {
        match self {
            Self::Missing { .. } => "webhook_missing_header",
            Self::Repeated { .. } => "webhook_repeated_header",
            Self::IdLength | Self::IdCharacters | Self::IdDot => "webhook_malformed_id",
            Self::Timestamp => "webhook_malformed_timestamp",
            Self::TooOld { .. } => "webhook_too_old",
            Self::TooNew { .. } => "webhook_too_new",
            Self::TooManySignatures => "webhook_too_many_signatures",
            Self::UnknownVersion => "webhook_unknown_version",
            Self::Malformed => "webhook_malformed_signature",
            Self::NoKey => "webhook_no_key",
            Self::WrongKind => "webhook_wrong_kind",
            Self::WrongKey => "webhook_wrong_key",
        }
    }
}
