//! Keys as text: what is one, what is none, and what is shown of it.

use super::super::signing::WebhookSigningKeyError;
use super::*;

fn text(prefix: &str, bytes: usize) -> String {
    let bytes: Vec<u8> = (0..bytes).map(|i| u8::try_from(i % 251).unwrap()).collect();
    format!("{prefix}{}", STANDARD.encode(bytes))
}

#[test]
fn what_is_not_a_key_is_refused_with_the_reason() {
    use WebhookKeyError::{NotBase64, Prefix, PrivateHalf, PublicKeyLength, SecretLength, WeakPublicKey, WeakSecret};
    let placeholder = |prefix| format!("{prefix}{}", STANDARD.encode([0; 32]));
    let cases = [
        ("empty", String::new(), Prefix),
        ("no prefix", SECRET[6..].to_owned(), Prefix),
        ("the prefix in capitals", SECRET.replace("whsec", "WHSEC"), Prefix),
        ("the prefix of another scheme", SECRET.replace("whsec", "v1,whsec"), Prefix),
        ("a hyphen for the underscore", SECRET.replace('_', "-"), Prefix),
        ("SPKI in base64, as Mattermost publishes it", "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE".into(), Prefix),
        ("a private key", PRIVATE_KEY.into(), PrivateHalf),
        ("a private key with its public half", text("whsk_", 64), PrivateHalf),
        ("something broken that says it is a private key", "whsk_!".into(), PrivateHalf),
        ("nothing behind whsec_", "whsec_".into(), SecretLength { bytes: 0 }),
        ("nothing behind whpk_", "whpk_".into(), PublicKeyLength { bytes: 0 }),
        ("a secret that is not base64", "whsec_not base64!".into(), NotBase64 { prefix: "whsec_" }),
        (
            "a secret without its padding",
            text("whsec_", 32).trim_end_matches('=').into(),
            NotBase64 { prefix: "whsec_" },
        ),
        (
            "a secret in the other alphabet",
            format!("whsec_{}", URL_SAFE.encode([0xfb; 32])),
            NotBase64 { prefix: "whsec_" },
        ),
        ("a secret with a letter too few", SECRET[..SECRET.len() - 1].into(), NotBase64 { prefix: "whsec_" }),
        ("a secret that is too short", text("whsec_", 23), SecretLength { bytes: 23 }),
        ("a secret that is too long", text("whsec_", 65), SecretLength { bytes: 65 }),
        ("a secret of zeros", placeholder("whsec_"), WeakSecret),
        ("a public key that is not base64", "whpk_%%%%".into(), NotBase64 { prefix: "whpk_" }),
        ("a public key that is too short", text("whpk_", 31), PublicKeyLength { bytes: 31 }),
        ("a public key that is too long", text("whpk_", 33), PublicKeyLength { bytes: 33 }),
        ("a public key in SPKI", text("whpk_", 44), PublicKeyLength { bytes: 44 }),
        ("a public key of zeros", placeholder("whpk_"), WeakPublicKey),
    ];
    for (name, text, expected) in cases {
        assert_eq!(WebhookKey::from_text(&text).map(|_| ()), Err(expected), "{name}");
    }
    let words = PrivateHalf.to_string();
    assert_eq!(words, "this is the private half; the relay needs whpk_…, and this one should be replaced");
}

#[test]
fn a_secret_has_24_to_64_bytes_and_space_around_a_key_does_not_matter() {
    for bytes in [24, 25, 32, 63, 64] {
        let key = WebhookKey::from_text(&format!(" {}\n", text("whsec_", bytes))).unwrap();
        assert_eq!(key.kind(), "whsec");
    }
    assert_eq!(WebhookKey::from_text(&format!("{PUBLIC_KEY}\n")).unwrap().kind(), "whpk");
}

#[test]
fn a_public_key_is_shown_by_its_fingerprint_and_a_secret_not_at_all() {
    let public = WebhookKey::from_text(PUBLIC_KEY).unwrap();
    // echo ZlN4eg7dSSqi0moX9hQUk3orrOouK3QVQSlJa248c/g= | base64 -d | sha256sum
    let fingerprint = "808d 1060 236c 20d2 0e11 5cb2 59ca ab91 ba7f 1fab 39aa 9b62 3c0a 16b3 bb89 b8da";
    assert_eq!(public.fingerprint().as_deref(), Some(fingerprint));
    assert_eq!(format!("{public:?}"), format!("WebhookKey(whpk {fingerprint})"));
    let secret = WebhookKey::from_text(SECRET).unwrap();
    assert_eq!(secret.fingerprint(), None);
    assert_eq!(format!("{secret:?}"), "WebhookKey(whsec)");
}

#[test]
fn a_key_to_sign_with_is_a_secret_or_a_private_key() {
    use WebhookSigningKeyError::{Key, Prefix, PrivateKey, PublicHalf};
    let with_public_half = |public: &[u8]| {
        let seed = STANDARD.decode(&PRIVATE_KEY[5..]).unwrap();
        format!("whsk_{}", STANDARD.encode([&seed[..], public].concat()))
    };
    let public = STANDARD.decode(&PUBLIC_KEY[5..]).unwrap();
    let pair = WebhookSigningKey::from_text(&with_public_half(&public)).unwrap();
    assert_eq!(pair.relay_text().expose(), PUBLIC_KEY);
    assert_eq!(signed(pair, ID, BODY).signature.expose(), PAIR_SIGNATURE);

    for (name, text, expected) in [
        ("neither", "hunter2".to_owned(), Prefix),
        ("a public key", PUBLIC_KEY.to_owned(), PublicHalf),
        ("a short secret", text("whsec_", 23), Key(WebhookKeyError::SecretLength { bytes: 23 })),
        ("no base64", "whsk_%".to_owned(), Key(WebhookKeyError::NotBase64 { prefix: "whsk_" })),
        ("a short private key", text("whsk_", 31), PrivateKey),
        ("another's public half", with_public_half(&[7; 32]), PrivateKey),
    ] {
        assert_eq!(WebhookSigningKey::from_text(&text).map(|_| ()).unwrap_err(), expected, "{name}");
    }
}

#[test]
fn made_keys_differ_and_read_back_as_themselves() {
    for make in [WebhookSigningKey::generate_symmetric, WebhookSigningKey::generate_ed25519] {
        let (one, other) = (make(), make());
        assert!(one.text() != other.text());
        let read = WebhookSigningKey::from_text(one.text().expose()).unwrap();
        assert!(read.relay_text() == one.relay_text());
        let made = signed(read, ID, BODY);
        assert_eq!(verdict(made.signature.expose(), &[one.relay_key()]), Ok(()));
        assert_eq!(verdict(made.signature.expose(), &[other.relay_key()]), Err(WebhookError::WrongKey));
    }
}

/// `y` of edwards25519's points of small order, with both signs of x.
fn weak_points() -> Vec<[u8; 32]> {
    let mut points = Vec::new();
    for hex in [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ] {
        let y: Vec<u8> = (0..32).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect();
        let mut point: [u8; 32] = y.try_into().unwrap();
        points.push(point);
        point[31] |= 0x80;
        points.push(point);
    }
    points
}

#[test]
fn a_public_key_that_anybody_can_sign_for_is_refused() {
    for point in weak_points() {
        assert_eq!(PublicKey::new(&point).map(|_| ()), Err(WebhookKeyError::WeakPublicKey), "{point:02x?}");
    }
    // What the refusal is for: with such a key, the neutral element and a zero pass for a signature of every fourth message.
    let library = aws_lc_rs::signature::ParsedPublicKey::new(&aws_lc_rs::signature::ED25519, [0; 32]).unwrap();
    let mut forged = [0; 64];
    forged[0] = 1;
    let forgeries = (0..=u8::MAX).filter(|message| library.verify_sig(&[*message], &forged).is_ok()).count();
    assert!(forgeries > 0, "the library refuses such keys by itself now: this refusal is not needed any more");
}
