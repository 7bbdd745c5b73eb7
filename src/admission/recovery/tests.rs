//! Recovery against the library that checks signatures, which is another one.

use p256::elliptic_curve::ops::Reduce;
use p256::elliptic_curve::sec1::FromSec1Point;
use p256::{AffinePoint, FieldBytes, NonZeroScalar, Scalar, Sec1Point, U256};
use proptest::prelude::*;

use super::*;
use crate::admission::signing::SigningKey;

/// The order of the curve, n (SEC 2 v2.0, § 2.4.2).
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
    0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

fn sign(key: &SigningKey, message: &[u8]) -> [u8; 64] {
    key.sign(message).try_into().unwrap()
}

fn joined(r: &[u8], s: &[u8]) -> [u8; 64] {
    [r, s].concat().try_into().unwrap()
}

/// The other signature of the same message by the same key: n − s for s.
fn flipped(signature: &[u8; 64]) -> [u8; 64] {
    let s = Scalar::reduce(&FieldBytes::try_from(&signature[32..]).unwrap());
    joined(&signature[..32], &(-s).to_bytes())
}

fn assert_good(keys: &[VerifyingKey], signed: &[u8], signature: &[u8; 64]) {
    for (at, key) in keys.iter().enumerate() {
        assert!(key.verifies(signed, signature), "candidate {at} must be one under which the signature is good");
        assert!(!keys[..at].contains(key), "candidate {at} was there before");
    }
}

#[test]
fn one_signature_leaves_two_keys_and_the_signers_is_one_of_them() {
    for round in 0_u32..200 {
        let key = SigningKey::generate();
        let signed = format!("message {round}");
        let signature = sign(&key, signed.as_bytes());
        let keys = candidates(signed.as_bytes(), &signature);
        assert_eq!(keys.len(), 2, "round {round}");
        assert!(keys.contains(&key.verifying_key()), "round {round}");
        assert_good(&keys, signed.as_bytes(), &signature);
    }
}

#[test]
fn two_signatures_leave_the_signers_key_alone() {
    for round in 0..50 {
        let key = SigningKey::generate();
        let second = sign(&key, b"second");
        let mut keys = candidates(b"first", &sign(&key, b"first"));
        keys.retain(|key| key.verifies(b"second", &second));
        assert_eq!(keys, [key.verifying_key()], "round {round}");
    }
}

#[test]
fn the_recovered_key_is_written_as_the_signer_publishes_it() {
    let key = SigningKey::generate().verifying_key();
    assert_eq!(key.spki_der().len(), SPKI_BYTES);
    assert_eq!(key.spki_der()[..26], SPKI_PREFIX);
}

#[test]
fn a_high_and_a_low_s_leave_the_same_keys() {
    let key = SigningKey::generate();
    let signature = sign(&key, b"message");
    let other = flipped(&signature);
    assert_ne!(signature, other);
    let (mut one, mut two) = (candidates(b"message", &signature), candidates(b"message", &other));
    assert_good(&two, b"message", &other);
    one.sort_by_key(VerifyingKey::fingerprint);
    two.sort_by_key(VerifyingKey::fingerprint);
    assert_eq!(one, two);
}

/// The smallest r from `from` on for which r + n is the x coordinate of a point.
fn reduced_r(from: u64) -> u64 {
    let order = U256::from_be_slice(&ORDER);
    (from..from + 1_000)
        .find(|r| {
            let x = order.wrapping_add(&U256::from_u64(*r)).to_be_bytes();
            let point = Sec1Point::from_bytes([&[2][..], x.as_ref()].concat()).unwrap();
            bool::from(AffinePoint::from_sec1_point(&point).is_some())
        })
        .unwrap()
}

/// Nobody signs like this by chance: who wants such an r starts from the point and never knows the private key.
#[test]
fn an_r_whose_point_lies_beyond_the_order_leaves_those_keys_as_well() {
    let (mut four, mut from) = (false, 1);
    for _ in 0..20 {
        let r = reduced_r(from);
        from = r + 1;
        let mut r_bytes = [0; 32];
        r_bytes[24..].copy_from_slice(&r.to_be_bytes());
        let signature = joined(&r_bytes, &[7; 32]);
        let keys = candidates(b"message", &signature);
        assert!(keys.len() == 2 || keys.len() == MAX_CANDIDATES, "r = {r} leaves {}", keys.len());
        assert_good(&keys, b"message", &signature);
        four |= keys.len() == MAX_CANDIDATES;
    }
    assert!(four, "about every second such r is the x coordinate of a point itself");
}

#[test]
fn what_no_key_can_have_signed_leaves_none() {
    let mut above = ORDER;
    above[31] += 1;
    let bad = [("zero", [0; 32]), ("the order", ORDER), ("the order and one", above), ("all ones", [0xff; 32])];
    for (name, value) in bad {
        assert!(candidates(b"message", &joined(&value, &[1; 32])).is_empty(), "r is {name}");
        assert!(candidates(b"message", &joined(&[1; 32], &value)).is_empty(), "s is {name}");
        assert!(candidates(b"message", &joined(&value, &value)).is_empty(), "both are {name}");
    }
    let mut last = ORDER;
    last[31] -= 1;
    let signature = joined(&last, &last);
    assert_good(&candidates(b"message", &signature), b"message", &signature);
}

/// A signature for which sR = zG: one of the two keys would be the point at infinity.
#[test]
fn a_key_that_would_be_the_point_at_infinity_is_left_out() {
    let hash = digest(&SHA256, b"message");
    let z = Scalar::reduce(&FieldBytes::try_from(hash.as_ref()).unwrap());
    // R = G, so s = z.
    let generator = Sec1Point::from(AffinePoint::GENERATOR);
    let r = Scalar::reduce(generator.x().unwrap());
    let signature = joined(&r.to_bytes(), &NonZeroScalar::new(z).unwrap().to_bytes());
    let keys = candidates(b"message", &signature);
    assert_eq!(keys.len(), 1);
    assert_good(&keys, b"message", &signature);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_leave_only_keys_under_which_they_are_a_good_signature(
        signed in proptest::collection::vec(any::<u8>(), 0..100),
        bytes in proptest::collection::vec(any::<u8>(), 64),
    ) {
        let signature: [u8; 64] = bytes.try_into().unwrap();
        let keys = candidates(&signed, &signature);
        prop_assert!(keys.len() <= MAX_CANDIDATES);
        assert_good(&keys, &signed, &signature);
    }

    #[test]
    fn the_signers_key_is_found_for_any_message(signed in proptest::collection::vec(any::<u8>(), 0..300)) {
        let key = SigningKey::generate();
        prop_assert!(candidates(&signed, &sign(&key, &signed)).contains(&key.verifying_key()));
    }
}
