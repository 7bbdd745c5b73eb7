//! Signed requests of other chat servers: Standard Webhooks (<https://www.standardwebhooks.com>), version 1.0.0.
//!
//! Pure: headers, the body's raw bytes and keys in, a decision out. A signature covers the id, the time and every byte of
//! the body. Whether an id was seen before is not asked here: see `webhook-id` as the idempotency key in the
//! specification.

mod error;
mod key;
pub mod signing;
#[cfg(test)]
mod tests;

use std::cell::LazyCell;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;

pub use error::WebhookError;
pub use key::{PublicKey, SharedSecret, WebhookKey, WebhookKeyError};

/// The header with the message's id, the same for every attempt to send it.
pub const ID_HEADER: &str = "webhook-id";

/// The header with the time of the attempt, Unix seconds.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";

/// The header with the signatures.
pub const SIGNATURE_HEADER: &str = "webhook-signature";

/// How far the sender's clock and ours may be apart, seconds, either way. The specification's libraries allow the same.
pub const TOLERANCE_SECONDS: u64 = 300;

/// Longest id, bytes. Ids in use have about 30; the relay remembers each for a while, so they must not be large.
pub const MAX_ID_BYTES: usize = 256;

/// The most signatures in a request, of known and unknown versions together: old and new key in each version, twice over.
/// An Ed25519 signature costs a curve operation for each of the server's keys, so this bounds what a stranger can make
/// the relay compute.
pub const MAX_SIGNATURES: usize = 8;

/// Longest list of signatures looked at, bytes. Eight of today's versions take 743; post-quantum ones of a few kilobytes
/// may stand beside them one day, and are passed over.
pub const MAX_SIGNATURE_HEADER_BYTES: usize = 16 * 1024;

/// An HMAC-SHA256 tag, bytes (RFC 2104).
const HMAC_BYTES: usize = 32;

/// An Ed25519 signature, bytes (RFC 8032 § 5.1.6).
const ED25519_BYTES: usize = 64;

/// Digits of the largest `u64`.
const MAX_TIMESTAMP_DIGITS: usize = 20;

/// The name of a symmetric signature.
const SYMMETRIC_VERSION: &str = "v1";

/// The name of an asymmetric signature.
const ASYMMETRIC_VERSION: &str = "v1a";

/// The three headers of a signed request, as sent.
#[derive(Clone, Copy)]
pub struct WebhookHeaders<'a> {
    /// `webhook-id`.
    pub id: &'a str,
    /// `webhook-timestamp`.
    pub timestamp: &'a str,
    /// `webhook-signature`: `version,base64`, several of them with spaces between.
    pub signature: &'a str,
}

impl<'a> WebhookHeaders<'a> {
    /// From a request. `None` if there is none of the three: the request is not signed this way, which need not be wrong.
    pub fn from_request(headers: &'a HeaderMap) -> Result<Option<Self>, WebhookError> {
        if [ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER].iter().all(|name| !headers.contains_key(*name)) {
            return Ok(None);
        }
        Ok(Some(Self {
            id: only(headers, ID_HEADER)?.ok_or(WebhookError::IdCharacters)?,
            timestamp: only(headers, TIMESTAMP_HEADER)?.ok_or(WebhookError::Timestamp)?,
            signature: only(headers, SIGNATURE_HEADER)?.ok_or(WebhookError::Malformed)?,
        }))
    }
}

/// The one value of a header, `None` within if it is not ASCII. Of two values, this relay and something behind it could
/// each believe another.
fn only<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, WebhookError> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or(WebhookError::Missing { header: name })?;
    match values.next() {
        Some(_) => Err(WebhookError::Repeated { header: name }),
        None => Ok(value.to_str().ok()),
    }
}

impl fmt::Debug for WebhookHeaders<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookHeaders")
            .field("id", &self.id)
            .field("timestamp", &self.timestamp)
            .finish_non_exhaustive()
    }
}

/// Checks that one of `keys` signed this body under this id, not longer than [`TOLERANCE_SECONDS`] from `unix_seconds`, the
/// time now. During a rotation there are several keys, and the first that fits will do; expired ones are not passed in.
pub fn check(
    headers: WebhookHeaders<'_>,
    body: &[u8],
    keys: &[WebhookKey],
    unix_seconds: u64,
) -> Result<(), WebhookError> {
    check_id(headers.id)?;
    check_age(headers.timestamp, unix_seconds)?;
    check_list(headers.signature, keys)?;

    let signatures = headers.signature;
    // Ed25519 hashes its message behind a value of its own, and the library takes it in one piece: one copy of the body,
    // made only when there is such a key and such a signature. HMAC reads the parts where they are.
    let content = LazyCell::new(|| signed_content(headers.id, headers.timestamp, body));
    let verified = keys.iter().any(|key| match key {
        WebhookKey::Symmetric(secret) => {
            let tag = LazyCell::new(|| secret.tag(headers.id, headers.timestamp, body));
            decoded::<HMAC_BYTES>(signatures, SYMMETRIC_VERSION).any(|signature| tag.is(&signature))
        }
        WebhookKey::Ed25519(public) => decoded::<ED25519_BYTES>(signatures, ASYMMETRIC_VERSION)
            .any(|signature| public.verifies(&content, &signature)),
    });
    if verified { Ok(()) } else { Err(WebhookError::WrongKey) }
}

/// An id that can be signed: the content's parts are separated by full stops, so it must hold none.
fn check_id(id: &str) -> Result<(), WebhookError> {
    if id.is_empty() {
        return Err(WebhookError::Missing { header: ID_HEADER });
    }
    if id.len() > MAX_ID_BYTES {
        return Err(WebhookError::IdLength);
    }
    if !id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(WebhookError::IdCharacters);
    }
    if id.contains('.') {
        return Err(WebhookError::IdDot);
    }
    Ok(())
}

fn check_age(timestamp: &str, unix_seconds: u64) -> Result<(), WebhookError> {
    if timestamp.is_empty() {
        return Err(WebhookError::Missing { header: TIMESTAMP_HEADER });
    }
    // `parse` alone would take a sign.
    if timestamp.len() > MAX_TIMESTAMP_DIGITS || !timestamp.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(WebhookError::Timestamp);
    }
    let signed_at: u64 = timestamp.parse().map_err(|_| WebhookError::Timestamp)?;
    if unix_seconds.saturating_sub(signed_at) > TOLERANCE_SECONDS {
        return Err(WebhookError::TooOld { seconds: unix_seconds - signed_at });
    }
    if signed_at.saturating_sub(unix_seconds) > TOLERANCE_SECONDS {
        return Err(WebhookError::TooNew { seconds: signed_at - unix_seconds });
    }
    Ok(())
}

/// Refuses, before anything is computed, a list of signatures of which none can be by one of `keys`. None of this is
/// secret: the sender knows what he sent, and the kinds of keys are told in the error.
fn check_list(signatures: &str, keys: &[WebhookKey]) -> Result<(), WebhookError> {
    if signatures.len() > MAX_SIGNATURE_HEADER_BYTES || entries(signatures).count() > MAX_SIGNATURES {
        return Err(WebhookError::TooManySignatures);
    }
    if entries(signatures).next().is_none() {
        return Err(WebhookError::Missing { header: SIGNATURE_HEADER });
    }
    let symmetric = decoded::<HMAC_BYTES>(signatures, SYMMETRIC_VERSION).next().is_some();
    let asymmetric = decoded::<ED25519_BYTES>(signatures, ASYMMETRIC_VERSION).next().is_some();
    if !symmetric && !asymmetric {
        let known = of_version(signatures, SYMMETRIC_VERSION).chain(of_version(signatures, ASYMMETRIC_VERSION)).count();
        return Err(if known == 0 { WebhookError::UnknownVersion } else { WebhookError::Malformed });
    }
    if keys.is_empty() {
        return Err(WebhookError::NoKey);
    }
    let fits = |key: &WebhookKey| match key {
        WebhookKey::Symmetric(_) => symmetric,
        WebhookKey::Ed25519(_) => asymmetric,
    };
    if !keys.iter().any(fits) {
        return Err(WebhookError::WrongKind);
    }
    Ok(())
}

fn entries(signatures: &str) -> impl Iterator<Item = &str> {
    signatures.split(' ').filter(|entry| !entry.is_empty())
}

fn of_version<'a>(signatures: &'a str, version: &str) -> impl Iterator<Item = &'a str> {
    entries(signatures).filter_map(move |entry| entry.strip_prefix(version)?.strip_prefix(','))
}

/// The readable signatures of one version. What cannot be read is passed over: another in the list may be right. Decoded
/// again for each key, which costs less than keeping them.
fn decoded<const BYTES: usize>(signatures: &str, version: &str) -> impl Iterator<Item = [u8; BYTES]> {
    of_version(signatures, version).filter_map(|base64| {
        let mut bytes = [0; BYTES];
        let length = STANDARD.decode_slice(base64, &mut bytes).ok()?;
        (length == BYTES).then_some(bytes)
    })
}

/// `{id}.{timestamp}.{raw body}`.
fn signed_content(id: &str, timestamp: &str, body: &[u8]) -> Vec<u8> {
    [id.as_bytes(), timestamp.as_bytes(), body].join(&b'.')
}
