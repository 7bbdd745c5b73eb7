//! The 64 bytes, and whose they are.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use pushrelay::admission::signing::SigningKey;

use super::forge::{Forge, HEADER, ORDER, base64url, difference, joined, segments, sign};
use super::{ACK_ID, Case, Expected, KEY, MALFORMED, body, signature};
use Expected::Sent;

pub fn cases() -> Vec<Case> {
    [bytes(), other_messages(), owners()].into_iter().flatten().collect()
}

/// Each of the two numbers at the edges of what it may be.
fn bytes() -> Vec<Case> {
    /// The right signature with r and s as this makes them.
    fn with(name: &'static str, change: fn([u8; 32], [u8; 32]) -> Vec<u8>, expected: Expected) -> Case {
        signature(
            name,
            move |f| {
                let (r, s) = halves(&f.bytes());
                f.with_bytes(change(r, s))
            },
            expected,
        )
    }
    let mut above_order = ORDER;
    above_order[31] += 1;
    let zero = [0; 32];
    let of = |r: [u8; 32], s: [u8; 32]| move |f: &Forge<'_>| f.with_bytes([r, s].concat());
    vec![
        // ECDSA takes s and n − s alike, and so does ES256 (RFC 7518 § 3.4 asks for no low s).
        signature("the twin with the higher s", |f| twin(f, true), Sent),
        signature("the twin with the lower s", |f| twin(f, false), Sent),
        signature("r and s zero", of(zero, zero), KEY),
        signature("r and s one", of(one(), one()), KEY),
        signature("r and s the order", of(ORDER, ORDER), KEY),
        signature("r and s all ones", of([0xff; 32], [0xff; 32]), KEY),
        with("r zero", |_, s| [[0; 32], s].concat(), KEY),
        with("s zero", |r, _| [r, [0; 32]].concat(), KEY),
        with("r the order", |_, s| [ORDER, s].concat(), KEY),
        with("s the order", |r, _| [r, ORDER].concat(), KEY),
        signature("r above the order", move |f| f.with_bytes([above_order, halves(&f.bytes()).1].concat()), KEY),
        signature("s above the order", move |f| f.with_bytes([halves(&f.bytes()).0, above_order].concat()), KEY),
        with("r and s in each other's place", |r, s| [s, r].concat(), KEY),
        with("r twice", |r, _| [r, r].concat(), KEY),
        with("r with the other sign", |r, s| [difference(&ORDER, &r), s].concat(), KEY),
        with("the least significant bytes first", |r, s| r.into_iter().rev().chain(s.into_iter().rev()).collect(), KEY),
        with(
            "the first bit flipped",
            |mut r, s| {
                r[0] ^= 0x80;
                [r, s].concat()
            },
            KEY,
        ),
        with(
            "the last bit flipped",
            |r, mut s| {
                s[31] ^= 1;
                [r, s].concat()
            },
            KEY,
        ),
        with("one byte short", |r, s| [&r[..], &s[..31]].concat(), MALFORMED),
        with("one byte long", |r, s| [&r[..], &s, &[0]].concat(), MALFORMED),
        with("a zero before it", |r, s| [&[0], &r[..], &s].concat(), MALFORMED),
        with("only r", |r, _| r.to_vec(), MALFORMED),
        with("the whole twice over", |r, s| [r, s, r, s].concat(), MALFORMED),
        with("in DER, as OpenSSL writes it", der, MALFORMED),
        signature(
            "in DER, shortened to 64 bytes",
            |f| {
                let (r, s) = halves(&f.bytes());
                f.with_bytes(&der(r, s)[..64])
            },
            KEY,
        ),
    ]
}

/// Right signatures of something else.
fn other_messages() -> Vec<Case> {
    let of =
        |name, message: fn(&Forge<'_>) -> Vec<u8>| signature(name, move |f| f.with_bytes(f.key.sign(&message(f))), KEY);
    vec![
        of("of the header alone", |f| segments(&f.right())[0].into()),
        of("of the claims alone", |f| segments(&f.right())[1].into()),
        of("of header and claims before encoding", |f| format!("{HEADER}.{}", f.claims()).into()),
        of("of header and claims without the full stop", |f| f.input().replace('.', "").into()),
        of("of claims and header", |f| joined(f.claims(), HEADER).into()),
        of("of nothing", |_| Vec::new()),
        of("of header and claims with a line's end", |f| format!("{}\n", f.input()).into()),
        of("of their digest", |f| digest(&SHA256, f.input().as_bytes()).as_ref().into()),
        of("under another header", |f| joined(r#"{"typ":"JWT","alg":"ES256"}"#, f.claims()).into()),
        of("of claims with one space more", |f| joined(HEADER, format!("{} ", f.claims())).into()),
        of("of claims in another order", |f| {
            joined(HEADER, f.filled(r#"{"device_id":"DEVICE","ack_id":"ACK"}"#)).into()
        }),
        of("of claims with a user's id", |f| {
            joined(HEADER, f.filled(r#"{"ack_id":"ACK","device_id":"DEVICE","user_id":"u"}"#)).into()
        }),
        of("of another push", |f| Forge::new(f.key, f.keys, 1_000_001).input().into()),
        signature(
            "on the curve P-384",
            |f| {
                let key = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
                f.with_bytes(key.sign(&SystemRandom::new(), f.input().as_bytes()).unwrap())
            },
            MALFORMED,
        ),
    ]
}

/// Whose key it is.
fn owners() -> Vec<Case> {
    const ENDED: Expected = Expected::Refused(401, "registered until 2027-01-15T07:59:59Z", "key_expired");
    vec![
        signature("the server's key", |f| f.by(f.key), Sent),
        signature("nobody's key", |f| f.by(&SigningKey::generate()), KEY),
        signature("another registered server's key", |f| f.by(&f.keys.neighbour), KEY),
        signature("another server's current key", |f| f.by(&f.keys.current), KEY),
        signature("another server's ended key", |f| f.by(&f.keys.ended), KEY),
        body("another server's id with its own key", |f| f.push_of("neighbour", &f.keys.neighbour), Sent),
        body("another server's id with this one's key", |f| f.push_of("neighbour", f.key), KEY),
        body("the current key of a rotation", |f| f.push_of("rotating", &f.keys.current), Sent),
        body("a key in its last second", |f| f.push_of("rotating", &f.keys.ending), Sent),
        body("a key that has ended", |f| f.push_of("rotating", &f.keys.ended), ENDED),
        body("no key of a rotation", |f| f.push_of("rotating", &SigningKey::generate()), KEY),
        body(
            "a key that has ended, for another push",
            |f| {
                let jws = sign(&f.keys.ended, &joined(HEADER, f.filled(r#"{"ack_id":"x","device_id":"DEVICE"}"#)));
                f.push().with("server_id", "rotating").signed_as(jws).body(f.key).to_string()
            },
            ACK_ID,
        ),
        signature(
            "the bytes of a neighbour's signature of the same",
            |f| f.with_bytes(f.keys.neighbour.sign(f.input().as_bytes())),
            KEY,
        ),
        signature(
            "a right signature whose header was exchanged",
            |f| {
                let right = f.right();
                let [_, claims, signature] = segments(&right);
                format!("{}.{claims}.{signature}", base64url(r#"{"alg":"ES256"}"#))
            },
            KEY,
        ),
    ]
}

fn one() -> [u8; 32] {
    let mut one = [0; 32];
    one[31] = 1;
    one
}

fn halves(signature: &[u8]) -> ([u8; 32], [u8; 32]) {
    (signature[..32].try_into().unwrap(), signature[32..].try_into().unwrap())
}

/// The right signature or its twin, whichever has the higher (or the lower) s.
fn twin(f: &Forge<'_>, higher: bool) -> String {
    let (r, s) = halves(&f.bytes());
    let other = difference(&ORDER, &s);
    let s = if (s > other) == higher { s } else { other };
    f.with_bytes([r, s].concat())
}

/// SEQUENCE of two INTEGERs, as X.509 writes a signature (RFC 3279 § 2.2.3).
fn der(r: [u8; 32], s: [u8; 32]) -> Vec<u8> {
    let integer = |number: [u8; 32]| {
        let mut bytes: Vec<u8> = number.into_iter().skip_while(|byte| *byte == 0).collect();
        if bytes.first().is_none_or(|first| first & 0x80 != 0) {
            bytes.insert(0, 0);
        }
        [vec![2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
    };
    let content = [integer(r), integer(s)].concat();
    [vec![0x30, u8::try_from(content.len()).unwrap()], content].concat()
}
