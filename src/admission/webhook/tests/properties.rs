//! What holds for any input at all: nothing panics, what is signed verifies, and what is changed does not.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Texts that come near the format as well as any at all.
fn header() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,300}",
        "(v1|v1a|v2|V1|)[,=]?[A-Za-z0-9+/=_-]{0,100}( (v1|v1a),[A-Za-z0-9+/]{0,88}={0,3}){0,10}",
        Just(SECRET_SIGNATURE.to_owned()),
        Just(PAIR_SIGNATURE.to_owned()),
        "[0-9]{0,25}",
        "[!-~]{0,300}",
    ]
}

fn id() -> impl Strategy<Value = String> {
    "[!--/-~]{1,256}"
}

fn key() -> impl Strategy<Value = WebhookSigningKey> {
    (any::<bool>(), vec(any::<u8>(), 32)).prop_filter_map("a secret is not one byte repeated", |(is_secret, bytes)| {
        let prefix = if is_secret { "whsec_" } else { "whsk_" };
        WebhookSigningKey::from_text(&format!("{prefix}{}", STANDARD.encode(bytes))).ok()
    })
}

/// Every single byte of what was sent, changed in turn.
#[derive(Clone, Copy, Debug)]
enum Part {
    Id,
    Timestamp,
    Signature,
    Body,
}

proptest! {
    #[test]
    fn no_request_makes_the_check_panic_or_pass(
        id in header(),
        timestamp in header(),
        signature in header(),
        body in vec(any::<u8>(), 0..200),
        now in any::<u64>(),
    ) {
        let keys = [secret().relay_key(), pair().relay_key()];
        let result = check(headers(&id, &timestamp, &signature), &body, &keys, now);
        prop_assert!(result.is_err());
        prop_assert!(!result.unwrap_err().label().is_empty());
    }

    #[test]
    fn no_list_of_signatures_makes_the_check_panic_or_pass(list in header()) {
        let others = [SECRET_SIGNATURE, PAIR_SIGNATURE].iter().all(|right| !list.contains(right));
        let keys = [secret().relay_key(), pair().relay_key()];
        prop_assert_eq!(verdict(&list, &keys).is_err(), others);
    }

    #[test]
    fn no_text_makes_the_reading_of_keys_panic(text in header(), base64 in "[A-Za-z0-9+/]{0,100}={0,2}") {
        for prefix in ["", "whsec_", "whpk_", "whsk_"] {
            for rest in [&text, &base64] {
                let text = format!("{prefix}{rest}");
                if let Ok(key) = WebhookKey::from_text(&text) {
                    prop_assert!(text.starts_with(key.kind()));
                }
                if let Ok(key) = WebhookSigningKey::from_text(&text) {
                    // Whoever can sign has a half to verify with.
                    key.relay_key();
                }
            }
        }
    }

    #[test]
    fn what_is_signed_verifies_until_it_is_too_old_or_too_new(
        key in key(),
        id in id(),
        body in vec(any::<u8>(), 0..2_000),
        signed_at in any::<u64>(),
        apart in 0..=2 * TOLERANCE_SECONDS,
        is_past in any::<bool>(),
    ) {
        let now = if is_past { signed_at.saturating_add(apart) } else { signed_at.saturating_sub(apart) };
        let relay = [key.relay_key()];
        let made = sign(&[key], &id, signed_at, &body).unwrap();
        let result = check(made.as_sent(), &body, &relay, now);
        prop_assert_eq!(result.is_ok(), now.abs_diff(signed_at) <= TOLERANCE_SECONDS);
    }

    #[test]
    fn any_single_byte_changed_is_found(
        key in key(),
        id in id(),
        body in vec(any::<u8>(), 1..500),
        part in prop_oneof![Just(Part::Id), Just(Part::Timestamp), Just(Part::Signature), Just(Part::Body)],
        at in any::<prop::sample::Index>(),
        difference in 1..=255_u8,
    ) {
        let relay = [key.relay_key()];
        let made = sign(&[key], &id, NOW, &body).unwrap();
        let mut parts = [made.id.into_bytes(), made.timestamp.into_bytes(), made.signature.expose().into(), body];
        let changed = &mut parts[part as usize];
        let at = at.index(changed.len());
        changed[at] ^= difference;
        let [id, timestamp, signature, body] = parts;
        // What is not UTF-8 is no header of ours in the first place.
        if let (Ok(id), Ok(timestamp), Ok(signature)) =
            (str::from_utf8(&id), str::from_utf8(&timestamp), str::from_utf8(&signature))
        {
            prop_assert!(check(headers(id, timestamp, signature), &body, &relay, NOW).is_err());
        }
    }

    #[test]
    fn a_key_of_another_server_verifies_nothing(one in key(), other in key(), body in vec(any::<u8>(), 0..200)) {
        prop_assume!(one.text() != other.text());
        let made = signed(one, ID, &body);
        prop_assert!(check(made.as_sent(), &body, &[other.relay_key()], NOW).is_err());
    }
}
