//! What a server's signed requests are checked with: a shared secret, or the public half of an Ed25519 pair.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ED25519, ParsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::admission::key::groups;

/// What a shared secret's text begins with.
pub(super) const SECRET_PREFIX: &str = "whsec_";

/// What a public key's text begins with.
pub(super) const PUBLIC_PREFIX: &str = "whpk_";

/// What a private key's text begins with.
pub(super) const PRIVATE_PREFIX: &str = "whsk_";

/// Shortest secret, bytes: 192 bits (Standard Webhooks, "Signature scheme").
const MIN_SECRET_BYTES: usize = 24;

/// Longest secret, bytes: 512 bits (ibid.).
const MAX_SECRET_BYTES: usize = 64;

/// An Ed25519 public key, bytes (RFC 8032 § 5.1.5).
const PUBLIC_KEY_BYTES: usize = 32;

/// A key of a chat server. Cheap to clone.
#[derive(Clone)]
pub enum WebhookKey {
    /// `whsec_…`: both sides hold it, and either can sign.
    Symmetric(SharedSecret),
    /// `whpk_…`: it verifies and cannot sign.
    Ed25519(PublicKey),
}

/// Why a text is not a key for checking signed requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookKeyError {
    /// Of no known kind.
    #[error(
        "this starts with neither whsec_ nor whpk_, as a Standard Webhooks key does: \
         `pushrelay keygen` makes one (a Mattermost server's public key belongs into `keys`)"
    )]
    Prefix,
    /// The wrong half of the pair.
    #[error("this is the private half; the relay needs whpk_…, and this one should be replaced")]
    PrivateHalf,
    /// Not base64.
    #[error("what follows {prefix} is not padded base64 in the standard alphabet: is a part of it cut off?")]
    NotBase64 {
        /// Which kind of key it claims to be.
        prefix: &'static str,
    },
    /// A secret of another length.
    #[error("this secret has {bytes} bytes instead of 24 to 64: `pushrelay keygen` makes one")]
    SecretLength {
        /// Its length.
        bytes: usize,
    },
    /// A public key of another length.
    #[error(
        "this has {bytes} bytes; an Ed25519 public key has 32: `pushrelay keygen --kind webhook-ed25519` makes a pair"
    )]
    PublicKeyLength {
        /// Its length.
        bytes: usize,
    },
    /// Nobody's public key.
    #[error("this is a public key that anybody can sign for, such as all zeros: is it a placeholder?")]
    WeakPublicKey,
    /// A secret that is one byte over and over.
    #[error("this secret is one byte repeated, so anybody can guess it: is it a placeholder?")]
    WeakSecret,
}

impl WebhookKey {
    /// From `whsec_<base64, 24 to 64 bytes>` or `whpk_<base64, 32 bytes>`.
    pub fn from_text(text: &str) -> Result<Self, WebhookKeyError> {
        let text = text.trim();
        if text.starts_with(PRIVATE_PREFIX) {
            return Err(WebhookKeyError::PrivateHalf);
        }
        if let Some(base64) = text.strip_prefix(SECRET_PREFIX) {
            let secret = decode(SECRET_PREFIX, base64)?;
            return SharedSecret::new(&secret).map(Self::Symmetric);
        }
        let base64 = text.strip_prefix(PUBLIC_PREFIX).ok_or(WebhookKeyError::Prefix)?;
        let public = decode(PUBLIC_PREFIX, base64)?;
        PublicKey::new(&public).map(Self::Ed25519)
    }

    /// What its text begins with, without the underscore: enough to tell the kinds apart.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Symmetric(_) => "whsec",
            Self::Ed25519(_) => "whpk",
        }
    }

    /// SHA-256 of the public key's 32 bytes in groups of four hex digits, for two people to compare. `None` for a secret:
    /// a fingerprint would let whoever reads it try guesses.
    pub fn fingerprint(&self) -> Option<String> {
        match self {
            Self::Symmetric(_) => None,
            Self::Ed25519(public) => Some(public.fingerprint()),
        }
    }
}

pub(super) fn decode(prefix: &'static str, base64: &str) -> Result<Vec<u8>, WebhookKeyError> {
    STANDARD.decode(base64).map_err(|_| WebhookKeyError::NotBase64 { prefix })
}

impl fmt::Debug for WebhookKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Symmetric(_) => f.write_str("WebhookKey(whsec)"),
            Self::Ed25519(public) => write!(f, "WebhookKey(whpk {})", public.fingerprint()),
        }
    }
}

/// A secret that both sides hold. The key's schedule is computed once.
#[derive(Clone)]
pub struct SharedSecret(Arc<hmac::Key>);

impl SharedSecret {
    pub(super) fn new(secret: &[u8]) -> Result<Self, WebhookKeyError> {
        if !(MIN_SECRET_BYTES..=MAX_SECRET_BYTES).contains(&secret.len()) {
            return Err(WebhookKeyError::SecretLength { bytes: secret.len() });
        }
        if secret.iter().all(|byte| *byte == secret[0]) {
            return Err(WebhookKeyError::WeakSecret);
        }
        Ok(Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, secret))))
    }

    /// The signature over a request, without a copy of its body.
    pub(super) fn tag(&self, id: &str, timestamp: &str, body: &[u8]) -> Tag {
        let mut context = hmac::Context::with_key(&self.0);
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            context.update(part);
        }
        Tag(context.sign())
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret([private])")
    }
}

/// What the right signature is. Nobody but its signer may learn it, so it has no `==` and no `Debug`.
pub(super) struct Tag(hmac::Tag);

impl Tag {
    /// Compares in a time that does not depend on where the two differ.
    pub(super) fn is(&self, signature: &[u8]) -> bool {
        verify_slices_are_equal(self.0.as_ref(), signature).is_ok()
    }

    /// The bytes, to sign with.
    pub(super) fn bytes(&self) -> &[u8] {
        self.0.as_ref()
    }
}

/// The public half of an Ed25519 pair. Parsed once.
#[derive(Clone)]
pub struct PublicKey(Arc<ParsedPublicKey>);

impl PublicKey {
    pub(super) fn new(bytes: &[u8]) -> Result<Self, WebhookKeyError> {
        let wrong_length = WebhookKeyError::PublicKeyLength { bytes: bytes.len() };
        // The library also takes SPKI; a configuration should hold one form only.
        let bytes: [u8; PUBLIC_KEY_BYTES] = bytes.try_into().map_err(|_| wrong_length)?;
        if has_small_order(&bytes) {
            return Err(WebhookKeyError::WeakPublicKey);
        }
        ParsedPublicKey::new(&ED25519, bytes).map(|parsed| Self(Arc::new(parsed))).map_err(|_| wrong_length)
    }

    /// Whether `signature` (64 bytes) is this key's over `message`.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.verify_sig(message, signature).is_ok()
    }

    fn fingerprint(&self) -> String {
        groups(digest(&SHA256, (*self.0).as_ref()).as_ref())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.fingerprint())
    }
}

/// Whether a point generates a group of at most eight. For such a "public key" signatures can be made without a private
/// half; the library does not ask, since no honest key generator makes one.
fn has_small_order(point: &[u8; PUBLIC_KEY_BYTES]) -> bool {
    let mut y = *point;
    // The top bit is the sign of x, and both signs have the same order.
    y[PUBLIC_KEY_BYTES - 1] &= 0x7f;
    SMALL_ORDER_Y.contains(&y)
}

/// The y coordinates of the eight points of small order on edwards25519, little-endian, and those of them that have a
/// second encoding below 2^255: computed from the curve of RFC 7748 § 4.1.
const SMALL_ORDER_Y: [[u8; PUBLIC_KEY_BYTES]; 7] = [
    edge(0x00, 0x00, 0x00),
    edge(0x01, 0x00, 0x00),
    edge(0xec, 0xff, 0x7f),
    edge(0xed, 0xff, 0x7f),
    edge(0xee, 0xff, 0x7f),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

/// Thirty-two bytes, all but the outer two the same.
const fn edge(first: u8, between: u8, last: u8) -> [u8; PUBLIC_KEY_BYTES] {
    let mut bytes = [between; PUBLIC_KEY_BYTES];
    bytes[0] = first;
    bytes[PUBLIC_KEY_BYTES - 1] = last;
    bytes
}
