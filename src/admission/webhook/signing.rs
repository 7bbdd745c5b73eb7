//! The other half of Standard Webhooks: what a chat server signs its requests with.
//!
//! The relay verifies and never signs; this is for `pushrelay keygen`, for commands and tests that play the chat server.

use std::fmt;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::key::{PRIVATE_PREFIX, PUBLIC_PREFIX, SECRET_PREFIX, SharedSecret, WebhookKeyError, decode};
use super::{
    ASYMMETRIC_VERSION, SYMMETRIC_VERSION, WebhookError, WebhookHeaders, WebhookKey, check_id, signed_content,
};
use crate::private::Private;

/// Length of the secrets made here, bytes: as long as the hash, so that neither is the weaker part.
const NEW_SECRET_BYTES: usize = 32;

/// The private half of an Ed25519 pair, bytes (RFC 8032 § 5.1.5).
const SEED_BYTES: usize = 32;

/// The private half followed by the public one, bytes: how many senders write a private key.
const PAIR_BYTES: usize = 64;

/// What a chat server signs with.
pub struct WebhookSigningKey {
    kind: Kind,
    text: Private,
}

enum Kind {
    Symmetric(SharedSecret),
    Ed25519(Ed25519KeyPair),
}

/// Why a text is not a key to sign with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookSigningKeyError {
    /// Of no known kind.
    #[error("this starts with neither whsec_ nor whsk_: `pushrelay keygen` makes a key of either kind")]
    Prefix,
    /// The wrong half of the pair.
    #[error("this is the public half; signing needs whsk_…")]
    PublicHalf,
    /// A secret that is none, or no base64.
    #[error(transparent)]
    Key(#[from] WebhookKeyError),
    /// A private key of another length, or with a public half that is not its own.
    #[error("this is no Ed25519 private key: `pushrelay keygen --kind webhook-ed25519` makes a pair")]
    PrivateKey,
}

impl WebhookSigningKey {
    /// A fresh secret.
    pub fn generate_symmetric() -> Self {
        Self::from_text(&format!("{SECRET_PREFIX}{}", random())).expect("a secret of this length is one")
    }

    /// A fresh Ed25519 pair.
    pub fn generate_ed25519() -> Self {
        Self::from_text(&format!("{PRIVATE_PREFIX}{}", random())).expect("any 32 bytes are a private key")
    }

    /// From `whsec_<base64, 24 to 64 bytes>` or `whsk_<base64, 32 bytes>`; a private key may be followed by its public half.
    pub fn from_text(text: &str) -> Result<Self, WebhookSigningKeyError> {
        let text = text.trim();
        let kind = if let Some(base64) = text.strip_prefix(SECRET_PREFIX) {
            Kind::Symmetric(SharedSecret::new(&decode(SECRET_PREFIX, base64)?)?)
        } else if let Some(base64) = text.strip_prefix(PRIVATE_PREFIX) {
            let bytes = decode(PRIVATE_PREFIX, base64)?;
            let pair = match bytes.len() {
                SEED_BYTES => Ed25519KeyPair::from_seed_unchecked(&bytes),
                PAIR_BYTES => Ed25519KeyPair::from_seed_and_public_key(&bytes[..SEED_BYTES], &bytes[SEED_BYTES..]),
                _ => return Err(WebhookSigningKeyError::PrivateKey),
            };
            Kind::Ed25519(pair.map_err(|_| WebhookSigningKeyError::PrivateKey)?)
        } else if text.starts_with(PUBLIC_PREFIX) {
            return Err(WebhookSigningKeyError::PublicHalf);
        } else {
            return Err(WebhookSigningKeyError::Prefix);
        };
        Ok(Self { kind, text: Private::new(text) })
    }

    /// What the chat server keeps: `whsec_…` or `whsk_…`.
    pub fn text(&self) -> &Private {
        &self.text
    }

    /// What the relay needs, as it stands in its configuration: the same `whsec_…`, or the public half, `whpk_…`.
    pub fn relay_text(&self) -> Private {
        match &self.kind {
            Kind::Symmetric(_) => self.text.clone(),
            Kind::Ed25519(pair) => Private::new(format!("{PUBLIC_PREFIX}{}", STANDARD.encode(pair.public_key()))),
        }
    }

    /// What the relay needs, ready to verify.
    pub fn relay_key(&self) -> WebhookKey {
        WebhookKey::from_text(self.relay_text().expose()).expect("what signs has a half that verifies")
    }

    /// `version,base64`.
    fn signature(&self, id: &str, timestamp: &str, body: &[u8]) -> String {
        match &self.kind {
            Kind::Symmetric(secret) => {
                format!("{SYMMETRIC_VERSION},{}", STANDARD.encode(secret.tag(id, timestamp, body).bytes()))
            }
            Kind::Ed25519(pair) => {
                let signature = pair.sign(&signed_content(id, timestamp, body));
                format!("{ASYMMETRIC_VERSION},{}", STANDARD.encode(signature))
            }
        }
    }
}

/// Base64 of 32 random bytes.
fn random() -> String {
    let mut bytes = [0; NEW_SECRET_BYTES];
    // Fails only when the system has no entropy, and then nothing with TLS can run either.
    SystemRandom::new().fill(&mut bytes).expect("the system gives random numbers");
    STANDARD.encode(bytes)
}

impl fmt::Debug for WebhookSigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSigningKey([private])")
    }
}

/// The three headers of a request, to be sent with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHeaders {
    /// `webhook-id`.
    pub id: String,
    /// `webhook-timestamp`.
    pub timestamp: String,
    /// `webhook-signature`.
    pub signature: Private,
}

impl SignedHeaders {
    /// As the checking side reads them.
    pub fn as_sent(&self) -> WebhookHeaders<'_> {
        WebhookHeaders { id: &self.id, timestamp: &self.timestamp, signature: self.signature.expose() }
    }
}

/// Signs a body with each of `keys`: one, or the old and the new one during a rotation. An id that no relay would take is
/// an error.
pub fn sign(
    keys: &[WebhookSigningKey],
    id: &str,
    unix_seconds: u64,
    body: &[u8],
) -> Result<SignedHeaders, WebhookError> {
    check_id(id)?;
    let timestamp = unix_seconds.to_string();
    let signatures: Vec<String> = keys.iter().map(|key| key.signature(id, &timestamp, body)).collect();
    Ok(SignedHeaders { id: id.to_owned(), timestamp, signature: Private::new(signatures.join(" ")) })
}
