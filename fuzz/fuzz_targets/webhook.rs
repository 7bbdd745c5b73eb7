//! Any request in the place of a signed webhook: nothing panics, and only what one of the keys has signed is taken.
//!
//! An input is a request's header lines, an empty line, and the body, as HTTP/1.1 has them but with `\n`.

#![no_main]

use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use pushrelay::admission::webhook::signing::{WebhookSigningKey, sign};
use pushrelay::admission::webhook::{self, ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, WebhookHeaders, WebhookKey};

/// The keys with which the libraries of Standard Webhooks test themselves; the seeds are signed with them.
const KEYS: [&str; 2] = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsk_VEVTVFNJR05JTkdLRVlET05PVFVTRVRISVNGT1JBTlk="];

/// The time of the seeds.
const NOW: u64 = 1_614_265_330;

static SIGNING: LazyLock<Vec<WebhookSigningKey>> =
    LazyLock::new(|| KEYS.iter().map(|text| WebhookSigningKey::from_text(text).expect("a published key")).collect());

static CHECKING: LazyLock<Vec<WebhookKey>> =
    LazyLock::new(|| SIGNING.iter().map(WebhookSigningKey::relay_key).collect());

fuzz_target!(|input: &[u8]| {
    let end = input.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = end.map_or((input, &[][..]), |end| (&input[..end], &input[end + 2..]));
    let mut map = HeaderMap::new();
    for (name, value) in head.split(|byte| *byte == b'\n').filter_map(header) {
        // As a server does: all of several values are kept.
        map.append(name, value);
    }

    let headers = match WebhookHeaders::from_request(&map) {
        Err(error) => {
            assert!(!error.to_string().is_empty() && !error.label().is_empty());
            return;
        }
        Ok(None) => {
            assert!([ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER].iter().all(|name| !map.contains_key(*name)));
            return;
        }
        Ok(Some(headers)) => headers,
    };
    for (name, value) in
        [(ID_HEADER, headers.id), (TIMESTAMP_HEADER, headers.timestamp), (SIGNATURE_HEADER, headers.signature)]
    {
        let all: Vec<_> = map.get_all(name).iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(all, [value.as_bytes()], "one of several values was chosen");
    }

    let verdict = webhook::check(headers, body, &CHECKING, NOW);
    // Both kinds of signature are the same whenever they are made, so that a right one can be told by making it again. The
    // time is what may be written in several ways.
    let Ok(()) = verdict else { return };
    let time: u64 = headers.timestamp.parse().expect("it was taken as a time");
    assert!(time.abs_diff(NOW) <= webhook::TOLERANCE_SECONDS);
    assert!(!headers.id.contains('.'), "the id runs into the time");
    if headers.timestamp == time.to_string() {
        let right = sign(&SIGNING, headers.id, time, body).expect("the id was taken");
        let right: Vec<_> = right.signature.expose().split(' ').collect();
        assert!(headers.signature.split(' ').any(|one| right.contains(&one)), "none of the keys has signed this");
    }
});

fn header(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let value = line[colon + 1..].trim_ascii();
    Some((HeaderName::from_bytes(&line[..colon]).ok()?, HeaderValue::from_bytes(value).ok()?))
}
