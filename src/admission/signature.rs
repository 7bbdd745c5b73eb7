//! Mattermost's signature: a compact JWS (RFC 7515), ES256, whose claims name the push and the device.
//!
//! Pure: text in, a decision out. It covers `ack_id` and `device_id` only, not the message; the phone checks the
//! same signature again.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::fmt;

use super::key::VerifyingKey;
use crate::notification::DeviceToken;

/// Longest signature looked at, bytes. Mattermost's have about 400 to 500; the rest is room for longer tokens and claims.
const MAX_JWS_BYTES: usize = 8 * 1024;

/// An ES256 signature is r and s, 32 bytes each (RFC 7518 § 3.4).
pub const ES256_BYTES: usize = 64;

/// Leeway for a signer's `exp` and `nbf`, seconds: clocks of two machines.
const CLOCK_LEEWAY_SECONDS: u64 = 60;

/// What is wrong with a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureError {
    /// Not three base64url segments holding a JSON header, JSON claims and 64 bytes.
    Malformed,
    /// Signed, or said to be, with something other than ES256 (`none` and HMAC with a public key among them), or with a
    /// critical extension that is not understood.
    Algorithm,
    /// For another push.
    AckId,
    /// For another device.
    DeviceId,
    /// Its own `exp` has passed or its `nbf` is yet to come.
    Time,
}

#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    /// Extensions that must be understood (RFC 7515 § 4.1.11). We understand none, so it is enough that it is there.
    #[serde(default, deserialize_with = "is_there")]
    crit: bool,
}

/// For a field of which nothing but its presence counts. An `Option` would take `null` for absent.
fn is_there<'de, D: Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(value).map(|_| true)
}

#[derive(Deserialize)]
struct Claims<'a> {
    #[serde(borrow)]
    ack_id: Cow<'a, str>,
    #[serde(borrow)]
    device_id: Cow<'a, str>,
    exp: Option<f64>,
    nbf: Option<f64>,
}

/// A signature that can be read and is for the push it came with. Whose it is, is still open.
#[derive(Clone, Copy)]
pub struct SignedParts<'a> {
    signed: &'a str,
    signature: [u8; ES256_BYTES],
}

impl SignedParts<'_> {
    /// The bytes that were signed: header and claims as they were sent. The claims name the device, so they are private.
    pub fn signed(&self) -> &[u8] {
        self.signed.as_bytes()
    }

    /// r, then s.
    pub fn signature(&self) -> &[u8; ES256_BYTES] {
        &self.signature
    }

    /// Whether `key` made it.
    pub fn is_by(&self, key: &VerifyingKey) -> bool {
        key.verifies(self.signed(), &self.signature)
    }
}

impl fmt::Debug for SignedParts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignedParts([private])")
    }
}

/// Reads `jws` and holds its claims against this push to this device; whose it is, [`SignedParts::is_by`] says.
/// `unix_seconds` is the time now, for the signers that set an expiry (Mattermost sets none).
///
/// The claims come before the curve operation: that is four fifths of the cost, and an attacker learns nothing from a
/// refusal about the text he sent himself.
pub fn parse<'a>(
    jws: &'a str,
    ack_id: &str,
    device: &DeviceToken,
    unix_seconds: u64,
) -> Result<SignedParts<'a>, SignatureError> {
    if jws.len() > MAX_JWS_BYTES {
        return Err(SignatureError::Malformed);
    }
    let (signed, signature) = jws.rsplit_once('.').ok_or(SignatureError::Malformed)?;
    let (header, claims) = signed.split_once('.').ok_or(SignatureError::Malformed)?;
    // A fourth segment would leave a dot in the claims, which base64url does not know.
    let header = decode(header)?;
    let header: Header<'_> = object(&header)?;
    if header.alg != "ES256" || header.crit {
        return Err(SignatureError::Algorithm);
    }
    let mut signature_bytes = [0; ES256_BYTES];
    match URL_SAFE_NO_PAD.decode_slice(signature, &mut signature_bytes) {
        Ok(ES256_BYTES) => {}
        _ => return Err(SignatureError::Malformed),
    }
    let claims = decode(claims)?;
    let claims: Claims<'_> = object(&claims)?;
    if claims.ack_id != ack_id {
        return Err(SignatureError::AckId);
    }
    if claims.device_id != device.expose() {
        return Err(SignatureError::DeviceId);
    }
    if !is_timely(claims.exp, claims.nbf, unix_seconds) {
        return Err(SignatureError::Time);
    }
    Ok(SignedParts { signed, signature: signature_bytes })
}

fn decode(segment: &str) -> Result<Vec<u8>, SignatureError> {
    URL_SAFE_NO_PAD.decode(segment).map_err(|_| SignatureError::Malformed)
}

/// A JSON object; serde would also fill a struct from a list, by position. Text first: what `from_slice` skips, it does not
/// look at.
fn object<'de, T: Deserialize<'de>>(json: &'de [u8]) -> Result<T, SignatureError> {
    let json = std::str::from_utf8(json).map_err(|_| SignatureError::Malformed)?;
    if !json.trim_ascii_start().starts_with('{') {
        return Err(SignatureError::Malformed);
    }
    serde_json::from_str(json).map_err(|_| SignatureError::Malformed)
}

fn is_timely(exp: Option<f64>, nbf: Option<f64>, unix_seconds: u64) -> bool {
    let earliest = unix_seconds.saturating_sub(CLOCK_LEEWAY_SECONDS) as f64;
    let latest = unix_seconds.saturating_add(CLOCK_LEEWAY_SECONDS) as f64;
    exp.is_none_or(|exp| exp > earliest) && nbf.is_none_or(|nbf| nbf <= latest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::signing::SigningKey;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const NOW: u64 = 1_800_000_000;

    fn device() -> DeviceToken {
        DeviceToken::new("token-1").unwrap()
    }

    fn segment(value: &Value) -> String {
        URL_SAFE_NO_PAD.encode(value.to_string())
    }

    fn signed(key: &SigningKey, header: &Value, claims: &Value) -> String {
        let input = format!("{}.{}", segment(header), segment(claims));
        let signature = key.sign(input.as_bytes());
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn es256() -> Value {
        json!({"alg": "ES256", "typ": "JWT"})
    }

    fn claims() -> Value {
        json!({"ack_id": "ack-1", "device_id": "token-1"})
    }

    #[derive(Debug, PartialEq)]
    enum WrongSignature {
        Parts(SignatureError),
        /// By none of the keys.
        Key,
    }

    fn verdict(jws: &str, keys: &[VerifyingKey]) -> Result<(), WrongSignature> {
        let device = device();
        let parts = parse(jws, "ack-1", &device, NOW).map_err(WrongSignature::Parts)?;
        if keys.iter().any(|key| parts.is_by(key)) { Ok(()) } else { Err(WrongSignature::Key) }
    }

    #[test]
    fn a_signature_for_this_push_and_device_by_a_registered_key_is_good() {
        let (key, other) = (SigningKey::generate(), SigningKey::generate());
        let jws = signed(&key, &es256(), &claims());
        assert_eq!(verdict(&jws, &[key.verifying_key()]), Ok(()));
        assert_eq!(verdict(&jws, &[other.verifying_key(), key.verifying_key()]), Ok(()), "any of the keys will do");
        let wipe = json!({"ack_id": "ack-1", "device_id": "token-1", "user_id": "u", "iat": 1});
        assert_eq!(
            verdict(&signed(&key, &es256(), &wipe), &[key.verifying_key()]),
            Ok(()),
            "unknown claims are ignored"
        );
    }

    #[test]
    fn every_way_to_be_wrong_is_told_apart() {
        use SignatureError::{AckId, Algorithm, DeviceId, Malformed, Time};
        let key = SigningKey::generate();
        let good = signed(&key, &es256(), &claims());
        let (input, signature) = good.rsplit_once('.').unwrap();
        let (header, payload) = input.split_once('.').unwrap();
        let with = |header: Value, claims: Value| signed(&key, &header, &claims);
        let cases = [
            ("empty", String::new(), Malformed),
            ("one segment", "abc".into(), Malformed),
            ("two segments", input.to_owned(), Malformed),
            ("four segments", format!("{good}.{signature}"), Malformed),
            ("an empty header", format!(".{payload}.{signature}"), Malformed),
            ("an empty signature", format!("{input}."), Malformed),
            ("a padded segment", format!("{header}=.{payload}.{signature}"), Malformed),
            ("the other base64 alphabet", format!("{input}.{}", "+/".repeat(43)), Malformed),
            ("a signature one byte short", format!("{input}.{}", URL_SAFE_NO_PAD.encode([1; 63])), Malformed),
            ("a signature one byte long", format!("{input}.{}", URL_SAFE_NO_PAD.encode([1; 65])), Malformed),
            ("a DER signature", format!("{input}.{}", URL_SAFE_NO_PAD.encode([0x30; 70])), Malformed),
            ("white space around it", format!(" {good}"), Malformed),
            (
                "a header that is no JSON",
                format!("{}.{payload}.{signature}", URL_SAFE_NO_PAD.encode("ES256")),
                Malformed,
            ),
            ("a header without alg", with(json!({"typ": "JWT"}), claims()), Malformed),
            (
                "alg given twice",
                format!("{}.{payload}.{signature}", URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","alg":"none"}"#)),
                Malformed,
            ),
            ("a header that is a list", with(json!(["ES256", null]), claims()), Malformed),
            ("claims that are a list", with(es256(), json!(["ack-1", "token-1", null, null])), Malformed),
            ("claims without ack_id", with(es256(), json!({"device_id": "token-1"})), Malformed),
            ("claims without device_id", with(es256(), json!({"ack_id": "ack-1"})), Malformed),
            ("an ack_id that is a number", with(es256(), json!({"ack_id": 1, "device_id": "token-1"})), Malformed),
            ("an oversized one", format!("{good}{}", "A".repeat(9_000)), Malformed),
            ("alg none", with(json!({"alg": "none"}), claims()), Algorithm),
            ("alg none without a signature", format!("{}.{payload}.", segment(&json!({"alg": "none"}))), Algorithm),
            ("HMAC with the public key", with(json!({"alg": "HS256"}), claims()), Algorithm),
            ("ES384", with(json!({"alg": "ES384"}), claims()), Algorithm),
            ("es256 in small letters", with(json!({"alg": "es256"}), claims()), Algorithm),
            ("a critical extension", with(json!({"alg": "ES256", "crit": ["b64"], "b64": false}), claims()), Algorithm),
            ("a crit of null", with(json!({"alg": "ES256", "crit": null}), claims()), Algorithm),
            (
                "bytes that are no text in an unknown parameter",
                {
                    let header = URL_SAFE_NO_PAD.encode(b"{\"alg\":\"ES256\",\"x\":\"\xff\"}");
                    let input = format!("{header}.{payload}");
                    format!("{input}.{}", URL_SAFE_NO_PAD.encode(key.sign(input.as_bytes())))
                },
                Malformed,
            ),
            ("another push", with(es256(), json!({"ack_id": "ack-2", "device_id": "token-1"})), AckId),
            ("another device", with(es256(), json!({"ack_id": "ack-1", "device_id": "token-2"})), DeviceId),
            ("claims swapped", with(es256(), json!({"ack_id": "token-1", "device_id": "ack-1"})), AckId),
            (
                "expired by its own word",
                with(es256(), json!({"ack_id": "ack-1", "device_id": "token-1", "exp": NOW - 61})),
                Time,
            ),
            (
                "not valid yet by its own word",
                with(es256(), json!({"ack_id": "ack-1", "device_id": "token-1", "nbf": NOW + 61})),
                Time,
            ),
        ];
        for (name, jws, expected) in cases {
            assert_eq!(verdict(&jws, &[key.verifying_key()]), Err(WrongSignature::Parts(expected)), "{name}");
        }
        let by_another = [
            ("another server's key", signed(&SigningKey::generate(), &es256(), &claims())),
            ("a signature of zeros", format!("{input}.{}", URL_SAFE_NO_PAD.encode([0; 64]))),
            ("a signature of ones", format!("{input}.{}", URL_SAFE_NO_PAD.encode([0xff; 64]))),
            (
                "a signature over other bytes",
                format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(format!("{} ", claims()))),
            ),
        ];
        for (name, jws) in by_another {
            assert_eq!(verdict(&jws, &[key.verifying_key()]), Err(WrongSignature::Key), "{name}");
        }
        assert_eq!(verdict(&good, &[]), Err(WrongSignature::Key), "a server without keys");
    }

    #[test]
    fn a_signature_is_read_without_a_key_and_shows_nobody_the_device() {
        let key = SigningKey::generate();
        let jws = signed(&key, &es256(), &claims());
        let parts = parse(&jws, "ack-1", &device(), NOW).unwrap();
        assert_eq!(parts.signed(), jws.rsplit_once('.').unwrap().0.as_bytes());
        assert!(parts.is_by(&key.verifying_key()));
        assert!(!parts.is_by(&SigningKey::generate().verifying_key()));
        assert_eq!(format!("{parts:?}"), "SignedParts([private])");
        assert_eq!(parse(&jws, "ack-2", &device(), NOW).unwrap_err(), SignatureError::AckId, "claims are held as well");
    }

    #[test]
    fn a_flipped_bit_anywhere_in_the_signature_is_found() {
        let key = SigningKey::generate();
        let jws = signed(&key, &es256(), &claims());
        let (input, signature) = jws.rsplit_once('.').unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        for at in 0..ES256_BYTES {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            let jws = format!("{input}.{}", URL_SAFE_NO_PAD.encode(flipped));
            assert_eq!(verdict(&jws, &[key.verifying_key()]), Err(WrongSignature::Key), "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_check_panic_or_pass(text in "\\PC{0,300}", dotted in "[A-Za-z0-9_.-]{0,300}") {
            let keys = [SigningKey::generate().verifying_key()];
            prop_assert!(verdict(&text, &keys).is_err());
            prop_assert!(verdict(&dotted, &keys).is_err());
        }
    }
}
