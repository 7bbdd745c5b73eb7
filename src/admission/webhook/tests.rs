//! What is signed is accepted; what is wrong in any way is refused, each way told apart.

mod keys;
mod properties;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use http::HeaderMap;

use super::signing::{SignedHeaders, WebhookSigningKey, sign};
use super::*;

const NOW: u64 = 1_614_265_330;

const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";

const BODY: &[u8] = br#"{"test": 2432232314}"#;

/// The secret, id, time, body and signature that the reference libraries of Standard Webhooks test themselves with.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const SECRET_SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

/// The same for Ed25519, from the Go library's test of its asymmetric half.
const PRIVATE_KEY: &str = "whsk_VEVTVFNJR05JTkdLRVlET05PVFVTRVRISVNGT1JBTlk=";
const PUBLIC_KEY: &str = "whpk_ZlN4eg7dSSqi0moX9hQUk3orrOouK3QVQSlJa248c/g=";
const PAIR_SIGNATURE: &str =
    "v1a,tQ9V2XOqn7jL/DQenEFpqIugdBVtiMmER5mhSkXBNwM0mkATuDe6KYYUuxqtaiHeYGb7KaaBRdM5WqyeFiL8Ag==";

fn secret() -> WebhookSigningKey {
    WebhookSigningKey::from_text(SECRET).unwrap()
}

fn pair() -> WebhookSigningKey {
    WebhookSigningKey::from_text(PRIVATE_KEY).unwrap()
}

fn headers<'a>(id: &'a str, timestamp: &'a str, signature: &'a str) -> WebhookHeaders<'a> {
    WebhookHeaders { id, timestamp, signature }
}

fn signed(key: WebhookSigningKey, id: &str, body: &[u8]) -> SignedHeaders {
    sign(&[key], id, NOW, body).unwrap()
}

/// A right signature by a sender who does not know the rules for ids and times.
fn signed_anyway(id: &str, timestamp: &str) -> String {
    let secret = SharedSecret::new(&STANDARD.decode(&SECRET[6..]).unwrap()).unwrap();
    format!("v1,{}", STANDARD.encode(secret.tag(id, timestamp, BODY).bytes()))
}

/// Only the list of signatures differs from what is right.
fn verdict(signatures: &str, keys: &[WebhookKey]) -> Result<(), WebhookError> {
    check(headers(ID, &NOW.to_string(), signatures), BODY, keys, NOW)
}

#[test]
fn the_published_signatures_are_made_and_accepted() {
    for (key, relay, signature) in [(SECRET, SECRET, SECRET_SIGNATURE), (PRIVATE_KEY, PUBLIC_KEY, PAIR_SIGNATURE)] {
        let key = WebhookSigningKey::from_text(key).unwrap();
        assert_eq!(key.relay_text().expose(), relay);
        let made = signed(key, ID, BODY);
        assert_eq!(made.signature.expose(), signature);
        assert_eq!((made.id.as_str(), made.timestamp.as_str()), (ID, "1614265330"));
        assert_eq!(verdict(signature, &[WebhookKey::from_text(relay).unwrap()]), Ok(()));
    }
}

#[test]
fn during_a_rotation_any_signature_by_any_key_will_do() {
    let signing = [WebhookSigningKey::generate_symmetric(), WebhookSigningKey::generate_ed25519(), secret(), pair()];
    let keys = signing.each_ref().map(WebhookSigningKey::relay_key);
    for signature in [SECRET_SIGNATURE, PAIR_SIGNATURE] {
        assert_eq!(verdict(signature, &keys), Ok(()), "signed with the old key, the new one registered before it");
    }
    let by_all = sign(&signing, ID, NOW, BODY).unwrap();
    for key in keys {
        assert_eq!(verdict(by_all.signature.expose(), std::slice::from_ref(&key)), Ok(()), "{key:?}");
    }
}

#[test]
fn a_list_is_read_past_what_is_not_understood() {
    let keys = [secret().relay_key()];
    let wrong = "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc=";
    for list in [
        format!("{wrong} v2,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc= {SECRET_SIGNATURE} {wrong}"),
        format!("v1,not-base64 v1 , v1, v9,{} {SECRET_SIGNATURE}", "A".repeat(10_000)),
        format!("{SECRET_SIGNATURE} {SECRET_SIGNATURE}"),
        format!("  {SECRET_SIGNATURE}  "),
    ] {
        assert_eq!(verdict(&list, &keys), Ok(()), "{list}");
    }
}

#[test]
fn every_way_a_signature_can_be_wrong_is_told_apart() {
    use WebhookError::{Malformed, Missing, TooManySignatures, UnknownVersion, WrongKey, WrongKind};
    let other_secret = || signed(WebhookSigningKey::generate_symmetric(), ID, BODY).signature;
    let other_pair = || signed(WebhookSigningKey::generate_ed25519(), ID, BODY).signature;
    let (secret_base64, pair_base64) = (&SECRET_SIGNATURE[3..], &PAIR_SIGNATURE[4..]);
    let secret_bytes = STANDARD.decode(secret_base64).unwrap();
    let pair_bytes = STANDARD.decode(pair_base64).unwrap();
    let v1 = |bytes: &[u8]| format!("v1,{}", STANDARD.encode(bytes));
    let v1a = |bytes: &[u8]| format!("v1a,{}", STANDARD.encode(bytes));
    let hex = secret_bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let cases: Vec<(&str, String, WebhookError)> = vec![
        ("empty", String::new(), Missing { header: SIGNATURE_HEADER }),
        ("only spaces", "   ".into(), Missing { header: SIGNATURE_HEADER }),
        ("another secret", other_secret().expose().into(), WrongKey),
        ("another pair", other_pair().expose().into(), WrongKey),
        ("a tag of zeros", v1(&[0; 32]), WrongKey),
        ("a signature of zeros", v1a(&[0; 64]), WrongKey),
        ("a signature of ones", v1a(&[0xff; 64]), WrongKey),
        ("the halves of a signature swapped", v1a(&[&pair_bytes[32..], &pair_bytes[..32]].concat()), WrongKey),
        ("v1 presented as v1a", format!("v1a,{secret_base64}"), Malformed),
        ("v1a presented as v1", format!("v1,{pair_base64}"), Malformed),
        ("a tag doubled to the length of v1a", v1a(&[&secret_bytes[..], &secret_bytes].concat()), WrongKey),
        ("half of a v1a signature as v1", v1(&pair_bytes[..32]), WrongKey),
        ("no version", secret_base64.into(), UnknownVersion),
        ("no signature behind v1", "v1,".into(), Malformed),
        ("no signature behind v1a", "v1a,".into(), Malformed),
        ("a version alone", "v1".into(), UnknownVersion),
        ("a comma alone", ",".into(), UnknownVersion),
        ("an empty version", format!(",{secret_base64}"), UnknownVersion),
        ("a version in capitals", format!("V1,{secret_base64}"), UnknownVersion),
        ("a later version", format!("v2,{secret_base64}"), UnknownVersion),
        ("a version that begins like one", format!("v10,{secret_base64}"), UnknownVersion),
        ("an equals sign for the comma", format!("v1={secret_base64}"), UnknownVersion),
        ("the version twice", format!("v1,v1,{secret_base64}"), Malformed),
        ("a comma at the end", format!("{SECRET_SIGNATURE},"), Malformed),
        ("a comma between two", format!("{SECRET_SIGNATURE},{SECRET_SIGNATURE}"), Malformed),
        ("a space behind the comma", format!("v1, {secret_base64}"), Malformed),
        ("a tab behind it", format!("{SECRET_SIGNATURE}\t"), Malformed),
        ("a tab between two", format!("{SECRET_SIGNATURE}\t{SECRET_SIGNATURE}"), Malformed),
        ("a line break behind it", format!("{SECRET_SIGNATURE}\n"), Malformed),
        ("without its padding", SECRET_SIGNATURE.trim_end_matches('=').into(), Malformed),
        ("with more padding", format!("{SECRET_SIGNATURE}="), Malformed),
        ("cut off", SECRET_SIGNATURE[..SECRET_SIGNATURE.len() - 4].into(), Malformed),
        ("one byte short", v1(&secret_bytes[..31]), Malformed),
        ("one byte long", v1(&[&secret_bytes[..], &[0]].concat()), Malformed),
        ("bits behind the last byte", SECRET_SIGNATURE.replace("1OE=", "1OF="), Malformed),
        ("the other alphabet", format!("v1,{}", URL_SAFE.encode(&secret_bytes)), Malformed),
        ("hexadecimal", format!("v1,{hex}"), Malformed),
        ("quoted", format!("\"{SECRET_SIGNATURE}\""), UnknownVersion),
        ("not ASCII", "v1,ä".into(), Malformed),
        ("nine, the right one last", format!("{}{SECRET_SIGNATURE}", "v1,AA== ".repeat(8)), TooManySignatures),
        ("a thousand", format!("{SECRET_SIGNATURE} ").repeat(1_000), TooManySignatures),
        ("one that is very long", format!("{SECRET_SIGNATURE} v9,{}", "A".repeat(16 * 1024)), TooManySignatures),
    ];
    let keys = [secret().relay_key(), pair().relay_key()];
    for (name, list, expected) in &cases {
        assert_eq!(verdict(list, &keys), Err(*expected), "{name}");
    }
    assert_eq!(verdict(SECRET_SIGNATURE, &[pair().relay_key()]), Err(WrongKind), "v1 to a server with a pair");
    assert_eq!(verdict(PAIR_SIGNATURE, &[secret().relay_key()]), Err(WrongKind), "v1a to a server with a secret");
    assert_eq!(verdict(SECRET_SIGNATURE, &[]), Err(WebhookError::NoKey), "a server without keys");
}

#[test]
fn a_secret_whose_bytes_are_the_public_key_does_not_stand_in_for_it() {
    // The confusion that broke JWT libraries: HMAC with a public key, which everybody knows.
    let confused = WebhookSigningKey::from_text(&PUBLIC_KEY.replace("whpk_", "whsec_")).unwrap();
    let made = signed(confused, ID, BODY);
    assert_eq!(verdict(made.signature.expose(), &[pair().relay_key()]), Err(WebhookError::WrongKind));
}

#[test]
fn a_signature_is_good_for_one_id_time_and_body() {
    let moved = |id: &str, timestamp: u64, body: &[u8]| {
        [SECRET_SIGNATURE, PAIR_SIGNATURE].map(|signature| {
            let keys = [secret().relay_key(), pair().relay_key()];
            check(headers(id, &timestamp.to_string(), signature), body, &keys, NOW)
        })
    };
    assert_eq!(moved(ID, NOW, BODY), [Ok(()); 2]);
    for (name, results) in [
        ("another id", moved("msg_p5jXN8AQM9LWM0D4loKWxJel", NOW, BODY)),
        ("the id in other letters", moved(&ID.to_lowercase(), NOW, BODY)),
        ("a shorter id", moved(&ID[1..], NOW, BODY)),
        ("another second", moved(ID, NOW + 1, BODY)),
        ("no body", moved(ID, NOW, b"")),
        ("one byte changed", moved(ID, NOW, br#"{"test": 2432232315}"#)),
        ("one space fewer", moved(ID, NOW, br#"{"test":2432232314}"#)),
        ("a line break behind it", moved(ID, NOW, b"{\"test\": 2432232314}\n")),
        ("a byte order mark before it", moved(ID, NOW, b"\xef\xbb\xbf{\"test\": 2432232314}")),
        ("the body twice", moved(ID, NOW, &[BODY, BODY].concat())),
    ] {
        assert_eq!(results, [Err(WebhookError::WrongKey); 2], "{name}");
    }
}

#[test]
fn line_breaks_of_another_kind_are_another_body() {
    let made = signed(secret(), ID, b"{\n}\n");
    let keys = [secret().relay_key()];
    assert_eq!(check(made.as_sent(), b"{\n}\n", &keys, NOW), Ok(()));
    assert_eq!(check(made.as_sent(), b"{\r\n}\r\n", &keys, NOW), Err(WebhookError::WrongKey));
}

#[test]
fn the_parts_of_what_is_signed_cannot_be_moved_into_each_other() {
    // Without the rule on full stops these two requests would be signed with the same bytes.
    let made = signed(secret(), "msg", b"1614265330.{}");
    let shifted = headers("msg.1614265330", "1614265330", made.signature.expose());
    assert_eq!(check(shifted, b"{}", &[secret().relay_key()], NOW), Err(WebhookError::IdDot));
}

#[test]
fn a_body_need_not_be_text() {
    let body = [0, 0xff, b'.', 0xc3, b'\n'];
    for key in [secret(), pair()] {
        let relay = [key.relay_key()];
        assert_eq!(check(signed(key, ID, &body).as_sent(), &body, &relay, NOW), Ok(()));
    }
}

#[test]
fn an_id_is_short_visible_and_without_full_stops() {
    use WebhookError::{IdCharacters, IdDot, IdLength, Missing};
    let longest = "x".repeat(MAX_ID_BYTES);
    let longer = "x".repeat(MAX_ID_BYTES + 1);
    for (id, expected) in [
        (longest.as_str(), Ok(())),
        ("!", Ok(())),
        ("0a2b4c6d-1111-4222-8333-444455556666", Ok(())),
        ("", Err(Missing { header: ID_HEADER })),
        (longer.as_str(), Err(IdLength)),
        (".", Err(IdDot)),
        ("msg.1", Err(IdDot)),
        ("msg 1", Err(IdCharacters)),
        (" msg", Err(IdCharacters)),
        ("msg\t", Err(IdCharacters)),
        ("msg\0", Err(IdCharacters)),
        ("m\u{7f}", Err(IdCharacters)),
        ("mäg", Err(IdCharacters)),
    ] {
        assert_eq!(sign(&[secret()], id, NOW, BODY).map(|_| ()), expected, "signing {id:?}");
        let signature = signed_anyway(id, &NOW.to_string());
        let sent = headers(id, "1614265330", &signature);
        assert_eq!(check(sent, BODY, &[secret().relay_key()], NOW), expected, "checking {id:?}");
    }
}

#[test]
fn a_time_is_whole_seconds_within_five_minutes() {
    use WebhookError::{Missing, Timestamp, TooNew, TooOld};
    let at = |offset: i64| NOW.checked_add_signed(offset).unwrap().to_string();
    let max = u64::MAX.to_string();
    let cases = [
        ("now", at(0), Ok(())),
        ("as old as may be", at(-300), Ok(())),
        ("a second older", at(-301), Err(TooOld { seconds: 301 })),
        ("as new as may be", at(300), Ok(())),
        ("a second newer", at(301), Err(TooNew { seconds: 301 })),
        ("the beginning of time", "0".into(), Err(TooOld { seconds: NOW })),
        ("milliseconds", format!("{NOW}000"), Err(TooNew { seconds: NOW * 999 })),
        ("the largest number", max.clone(), Err(TooNew { seconds: u64::MAX - NOW })),
        ("one more than that", "18446744073709551616".into(), Err(Timestamp)),
        ("a thousand digits", "9".repeat(1_000), Err(Timestamp)),
        ("many zeros before it", format!("{}{NOW}", "0".repeat(1_000)), Err(Timestamp)),
        ("empty", String::new(), Err(Missing { header: TIMESTAMP_HEADER })),
        ("negative", format!("-{NOW}"), Err(Timestamp)),
        ("with a plus", format!("+{NOW}"), Err(Timestamp)),
        ("a space before it", format!(" {NOW}"), Err(Timestamp)),
        ("a space behind it", format!("{NOW} "), Err(Timestamp)),
        ("a fraction", format!("{NOW}.5"), Err(Timestamp)),
        ("an exponent", "1.6e9".into(), Err(Timestamp)),
        ("hexadecimal", "0x60378AB2".into(), Err(Timestamp)),
        ("separators", "1_614_265_330".into(), Err(Timestamp)),
        ("a date", "2021-02-25T15:02:10Z".into(), Err(Timestamp)),
        ("digits that are not ASCII", "١٦١٤٢٦٥٣٣٠".into(), Err(Timestamp)),
        ("a line break behind it", format!("{NOW}\n"), Err(Timestamp)),
        ("two times", format!("{NOW},{NOW}"), Err(Timestamp)),
    ];
    for (name, timestamp, expected) in cases {
        let signature = signed_anyway(ID, &timestamp);
        let sent = headers(ID, &timestamp, &signature);
        assert_eq!(check(sent, BODY, &[secret().relay_key()], NOW), expected, "{name}");
    }
    for (now, expected) in [(0, Err(TooNew { seconds: NOW })), (u64::MAX, Err(TooOld { seconds: u64::MAX - NOW }))] {
        let sent = headers(ID, "1614265330", SECRET_SIGNATURE);
        assert_eq!(check(sent, BODY, &[secret().relay_key()], now), expected, "our clock says {now}");
    }
}

#[test]
fn the_three_headers_are_found_in_a_request_each_exactly_once() {
    use WebhookError::{IdCharacters, Missing, Repeated};
    let full = || {
        let mut map = HeaderMap::new();
        map.insert(ID_HEADER, ID.parse().unwrap());
        map.insert(TIMESTAMP_HEADER, "1614265330".parse().unwrap());
        map.insert(SIGNATURE_HEADER, SECRET_SIGNATURE.parse().unwrap());
        map
    };
    let map = full();
    let sent = WebhookHeaders::from_request(&map).unwrap().unwrap();
    assert_eq!(check(sent, BODY, &[secret().relay_key()], NOW), Ok(()));
    assert!(WebhookHeaders::from_request(&HeaderMap::new()).unwrap().is_none(), "a request signed in no such way");

    for header in [ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER] {
        let mut without = full();
        without.remove(header);
        assert_eq!(WebhookHeaders::from_request(&without).unwrap_err(), Missing { header });
        let mut twice = full();
        twice.append(header, full()[header].clone());
        assert_eq!(WebhookHeaders::from_request(&twice).unwrap_err(), Repeated { header });
    }
    let mut foreign = full();
    foreign.insert(ID_HEADER, http::HeaderValue::from_bytes(b"m\xe4g").unwrap());
    assert_eq!(WebhookHeaders::from_request(&foreign).unwrap_err(), IdCharacters);
}

#[test]
fn a_refusal_tells_the_caller_what_to_do() {
    let texts = [
        (WebhookError::TooOld { seconds: 412 }, "the webhook-timestamp is 412 s old; at most 300 s are accepted"),
        (WebhookError::TooNew { seconds: 412 }, "is 412 s ahead of the relay's clock"),
        (WebhookError::Missing { header: ID_HEADER }, "the header webhook-id is missing or empty"),
        (WebhookError::WrongKey, "sign exactly the bytes that are sent"),
    ];
    for (error, text) in texts {
        assert!(error.to_string().contains(text), "{error}");
    }
    // The numbers in the texts are those of the constants.
    assert!(WebhookError::TooOld { seconds: 1 }.to_string().contains(&format!("{TOLERANCE_SECONDS} s are")));
    assert!(WebhookError::TooNew { seconds: 1 }.to_string().contains(&format!("{TOLERANCE_SECONDS} s are")));
    assert!(WebhookError::IdLength.to_string().contains(&format!("{MAX_ID_BYTES} bytes")));
    let bounds = format!("{MAX_SIGNATURES} signatures or more than {} KiB", MAX_SIGNATURE_HEADER_BYTES / 1024);
    assert!(WebhookError::TooManySignatures.to_string().contains(&bounds));
}

#[test]
fn nothing_that_was_signed_or_signs_is_printed() {
    let made = signed(secret(), ID, BODY);
    let printed =
        format!("{made:?} {:?} {:?} {:?}", made.as_sent(), secret(), [secret().relay_key(), pair().relay_key()]);
    for canary in ["g0hM9SsE", "MfKQ9r8G", "VEVTVFNJ"] {
        assert!(!printed.contains(canary), "{printed}");
    }
    assert!(printed.contains(ID));
}
