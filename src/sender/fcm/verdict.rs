//! What each answer of FCM means for the attempt: one table (Firebase, "FCM error codes"). Pure.

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use crate::outcome::{Reason, Scope, Verdict};

/// The longest `Retry-After` taken at its word. No notification lives that long; a bound keeps later arithmetic with
/// instants from overflowing.
const LONGEST_PAUSE: Duration = Duration::from_hours(24);

/// How the `@type` of the detail ends that holds FCM's own code.
const FCM_ERROR: &str = "google.firebase.fcm.v1.FcmError";

/// Every word FCM uses for an error: its `ErrorCode`s, then the canonical codes (`google.rpc.Code`) of `error.status`.
/// Reasons become metric labels, so a word that is not here is not repeated.
const WORDS: [&str; 21] = [
    "UNSPECIFIED_ERROR",
    "INVALID_ARGUMENT",
    "UNREGISTERED",
    "SENDER_ID_MISMATCH",
    "QUOTA_EXCEEDED",
    "UNAVAILABLE",
    "INTERNAL",
    "THIRD_PARTY_AUTH_ERROR",
    "CANCELLED",
    "UNKNOWN",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "DATA_LOSS",
];

/// Somebody between us and Google said 200: nobody knows whether Google has seen the push.
const NOT_GOOGLES: Reason = "not_googles_answer";

/// What Google calls the message that it took, `projects/…/messages/…`; `None` if the body does not say so.
pub(super) fn message_name(body: &[u8]) -> Option<&str> {
    /// Borrowed from the body. Google escapes nothing in it.
    #[derive(Deserialize)]
    struct Taken<'a> {
        name: &'a str,
    }
    let Taken { name } = serde_json::from_slice(body).ok()?;
    let (project, _) = name.strip_prefix("projects/")?.split_once("/messages/")?;
    (!project.is_empty()).then_some(name)
}

/// Reads an answer. `retry_after` is what [`retry_after`] made of the header.
pub(super) fn classify(status: StatusCode, body: &[u8], retry_after: Option<Duration>) -> Verdict {
    if status == StatusCode::OK {
        let not_googles =
            || Verdict::Retry { reason: NOT_GOOGLES, after: retry_after, scope: Scope::Target, unprocessed: false };
        return message_name(body).map_or_else(not_googles, |_| Verdict::Delivered);
    }
    let said = Said::read(body);
    let reason = said.detail.or(said.status).unwrap_or_else(|| by_status(status));
    let retry = |after| Verdict::Retry { reason, after, scope: Scope::Target, unprocessed: false };
    match (status.as_u16(), said.detail) {
        // A page of somebody in between says nothing about project, credentials or phone, and may be gone at the next attempt.
        (400..=428 | 430..=499, _) if !said.is_googles => retry(retry_after),
        // The phone's: its app is one for Apple or the web, and the project lacks the key for that.
        (401, Some(reason @ "THIRD_PARTY_AUTH_ERROR")) => Verdict::Rejected { reason },
        (404, Some("UNREGISTERED")) => Verdict::Remove { reason, ambiguous: false },
        // A token of another project: one phone's, or, for a whole fleet, the sign that ours is the wrong one.
        (403, Some("SENDER_ID_MISMATCH")) => Verdict::Remove { reason, ambiguous: true },
        // Without FCM's own word a 404 speaks about the address (project, endpoint), not about the phone.
        (403 | 404, _) => Verdict::TargetBroken { reason },
        (401, _) => Verdict::NewCredential { reason },
        // How long to wait without a `Retry-After` is decided where it is known whether the push can wait at all.
        (429, _) => Verdict::Retry { reason, after: retry_after, scope: Scope::Quota, unprocessed: false },
        // 408 comes from servers in between that tired of waiting.
        (408 | 500..=599, _) => retry(retry_after),
        (400..=499, _) => Verdict::Rejected { reason },
        // FCM answers with nothing else; whatever did, the push is not known to have arrived.
        _ => retry(retry_after),
    }
}

/// How long to wait, from a `Retry-After` header in either form (RFC 9110, 10.2.3); `now` in seconds after the Unix
/// epoch. At most [`LONGEST_PAUSE`]; a date that has passed is no wait; anything else is as good as no header.
pub(super) fn retry_after(header: &HeaderValue, now: u64) -> Option<Duration> {
    let text = header.to_str().ok()?.trim();
    let seconds = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // Only a number too large for the type fails here, and it means "very long".
        text.parse().unwrap_or(u64::MAX)
    } else {
        let date = httpdate::parse_http_date(text).ok()?;
        date.duration_since(UNIX_EPOCH).ok()?.as_secs().saturating_sub(now)
    };
    Some(Duration::from_secs(seconds).min(LONGEST_PAUSE))
}

/// What an error's body says, as far as it is known.
#[derive(Default)]
struct Said {
    /// `errorCode` of FCM's detail.
    detail: Option<Reason>,
    /// `error.status`.
    status: Option<Reason>,
    /// It has the form of Google's errors.
    is_googles: bool,
}

impl Said {
    /// A body that is not Google's (a middlebox's page) says nothing. Read as loose JSON rather than into a type: a
    /// detail of another kind, shaped as it likes, must not hide FCM's.
    fn read(body: &[u8]) -> Self {
        let Ok(body) = serde_json::from_slice::<Value>(body) else { return Self::default() };
        let error = &body["error"];
        let details = error["details"].as_array().map_or(&[][..], Vec::as_slice);
        let fcm = details.iter().find(|detail| detail["@type"].as_str().is_some_and(|kind| kind.ends_with(FCM_ERROR)));
        let is_googles = fcm.is_some() || error["code"].is_u64() || error["status"].is_string();
        Self { is_googles, detail: fcm.and_then(|detail| known(&detail["errorCode"])), status: known(&error["status"]) }
    }
}

/// Our own copy of the word.
fn known(word: &Value) -> Option<Reason> {
    let word = word.as_str()?;
    WORDS.into_iter().find(|known| *known == word)
}

/// For answers that say nothing we know.
fn by_status(status: StatusCode) -> Reason {
    match (status.as_u16(), status.as_u16() / 100) {
        (400, _) => "HTTP 400",
        (401, _) => "HTTP 401",
        (403, _) => "HTTP 403",
        (404, _) => "HTTP 404",
        (408, _) => "HTTP 408",
        (413, _) => "HTTP 413",
        (429, _) => "HTTP 429",
        (500, _) => "HTTP 500",
        (502, _) => "HTTP 502",
        (503, _) => "HTTP 503",
        (504, _) => "HTTP 504",
        (_, 2) => "HTTP 2xx",
        (_, 3) => "HTTP 3xx",
        (_, 4) => "HTTP 4xx",
        (_, 5) => "HTTP 5xx",
        _ => "HTTP status out of range",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn error(status: &str, code: Option<&str>) -> Vec<u8> {
        let mut details = vec![json!({"@type": "type.googleapis.com/google.rpc.BadRequest", "errorCode": 17})];
        details.extend(
            code.map(|code| json!({"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code})),
        );
        json!({"error": {"code": 400, "message": "canary", "status": status, "details": details}}).to_string().into()
    }

    fn quota(reason: Reason, seconds: Option<u64>) -> Verdict {
        Verdict::Retry { reason, after: seconds.map(Duration::from_secs), scope: Scope::Quota, unprocessed: false }
    }

    fn retry(reason: Reason, seconds: Option<u64>) -> Verdict {
        Verdict::Retry { reason, after: seconds.map(Duration::from_secs), scope: Scope::Target, unprocessed: false }
    }

    /// Every answer that FCM documents, and those of whoever stands in between: status, body, `Retry-After` in
    /// seconds, verdict.
    pub(in crate::sender::fcm) fn table() -> Vec<(u16, Vec<u8>, Option<u64>, Verdict)> {
        let page = || b"<html><body>Access denied</body></html>".to_vec();
        let broken = |reason| Verdict::TargetBroken { reason };
        let rejected = |reason| Verdict::Rejected { reason };
        vec![
            (200, json!({"name": "projects/p/messages/1"}).to_string().into(), None, Verdict::Delivered),
            (200, Vec::new(), None, retry(NOT_GOOGLES, None)),
            (200, b"{}".to_vec(), None, retry(NOT_GOOGLES, None)),
            (200, page(), None, retry(NOT_GOOGLES, None)),
            (200, json!({"name": "x"}).to_string().into(), None, retry(NOT_GOOGLES, None)),
            (
                404,
                error("NOT_FOUND", Some("UNREGISTERED")),
                None,
                Verdict::Remove { reason: "UNREGISTERED", ambiguous: false },
            ),
            (
                403,
                error("PERMISSION_DENIED", Some("SENDER_ID_MISMATCH")),
                None,
                Verdict::Remove { reason: "SENDER_ID_MISMATCH", ambiguous: true },
            ),
            (404, error("NOT_FOUND", None), None, broken("NOT_FOUND")),
            (404, error("UNREGISTERED", None), None, broken("UNREGISTERED")),
            (404, page(), None, retry("HTTP 404", None)),
            (403, error("PERMISSION_DENIED", None), None, broken("PERMISSION_DENIED")),
            (403, page(), None, retry("HTTP 403", None)),
            (401, error("UNAUTHENTICATED", None), None, Verdict::NewCredential { reason: "UNAUTHENTICATED" }),
            (401, page(), None, retry("HTTP 401", None)),
            (401, error("UNAUTHENTICATED", Some("THIRD_PARTY_AUTH_ERROR")), None, rejected("THIRD_PARTY_AUTH_ERROR")),
            (400, error("INVALID_ARGUMENT", Some("INVALID_ARGUMENT")), None, rejected("INVALID_ARGUMENT")),
            (400, error("INVALID_ARGUMENT", None), None, rejected("INVALID_ARGUMENT")),
            // A dead token is only believed where Google documents it.
            (400, error("INVALID_ARGUMENT", Some("UNREGISTERED")), None, rejected("UNREGISTERED")),
            (400, page(), None, retry("HTTP 400", None)),
            (413, page(), None, retry("HTTP 413", None)),
            (418, error("A_NEW_WORD", Some("ANOTHER")), None, rejected("HTTP 4xx")),
            (429, error("RESOURCE_EXHAUSTED", Some("QUOTA_EXCEEDED")), None, quota("QUOTA_EXCEEDED", None)),
            (429, error("RESOURCE_EXHAUSTED", Some("QUOTA_EXCEEDED")), Some(7), quota("QUOTA_EXCEEDED", Some(7))),
            (429, error("RESOURCE_EXHAUSTED", None), Some(90), quota("RESOURCE_EXHAUSTED", Some(90))),
            (429, page(), None, quota("HTTP 429", None)),
            (408, page(), None, retry("HTTP 408", None)),
            (500, error("INTERNAL", Some("INTERNAL")), None, retry("INTERNAL", None)),
            (500, error("INTERNAL", None), Some(3), retry("INTERNAL", Some(3))),
            (503, error("UNAVAILABLE", Some("UNAVAILABLE")), Some(30), retry("UNAVAILABLE", Some(30))),
            (502, page(), None, retry("HTTP 502", None)),
            (599, error("A_NEW_WORD", None), None, retry("HTTP 5xx", None)),
            (204, Vec::new(), None, retry("HTTP 2xx", None)),
            (302, page(), None, retry("HTTP 3xx", None)),
        ]
    }

    #[test]
    fn each_answer_has_its_verdict() {
        for (status, body, pause, verdict) in table() {
            let answer = classify(StatusCode::from_u16(status).unwrap(), &body, pause.map(Duration::from_secs));
            assert_eq!(answer, verdict, "{status} {}", String::from_utf8_lossy(&body));
        }
    }

    #[test]
    fn a_word_that_is_not_a_text_or_not_in_its_place_is_no_word() {
        let shapes = [
            json!({"error": {"status": 5, "details": "UNREGISTERED"}}),
            json!({"error": {"details": [{"@type": 1, "errorCode": "UNREGISTERED"}]}}),
            json!({"error": {"details": [{"@type": "x.FcmError", "errorCode": "UNREGISTERED"}, null, 3]}}),
            json!({"error": "UNREGISTERED"}),
            json!([{"error": {"status": "NOT_FOUND"}}]),
            json!(null),
        ];
        for shape in shapes {
            let verdict = classify(StatusCode::NOT_FOUND, shape.to_string().as_bytes(), None);
            assert_eq!(verdict, retry("HTTP 404", None), "{shape}");
        }
    }

    #[test]
    fn both_forms_of_retry_after_are_understood() {
        // Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110.
        let now = 784_111_777;
        let cases = [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 120 ", Some(120)),
            ("99999999999999999999999", Some(86_400)),
            ("86401", Some(86_400)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
            ("Sun Nov  6 08:50:37 1994", Some(60)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(86_400)),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("soon", None),
        ];
        for (text, seconds) in cases {
            let header = HeaderValue::from_str(text).unwrap();
            assert_eq!(retry_after(&header, now), seconds.map(Duration::from_secs), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic_and_only_a_200_that_names_a_message_delivers(
            status in 100_u16..1000,
            body in proptest::collection::vec(any::<u8>(), 0..512),
        ) {
            let verdict = classify(StatusCode::from_u16(status).unwrap(), &body, None);
            prop_assert_eq!(verdict == Verdict::Delivered, status == 200 && message_name(&body).is_some());
        }

        #[test]
        fn only_fcms_own_word_in_its_own_status_removes_a_token(
            status in 201_u16..600,
            word in prop::sample::select(WORDS.to_vec()),
            code in prop::option::of(prop::sample::select(WORDS.to_vec())),
        ) {
            let verdict = classify(StatusCode::from_u16(status).unwrap(), &error(word, code), None);
            let removes = matches!(
                (status, code),
                (404, Some("UNREGISTERED")) | (403, Some("SENDER_ID_MISMATCH"))
            );
            prop_assert_eq!(matches!(verdict, Verdict::Remove { .. }), removes);
        }

        #[test]
        fn no_header_makes_it_panic_and_no_pause_is_longer_than_a_day(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
            now in any::<u64>(),
        ) {
            if let Ok(header) = HeaderValue::from_bytes(&bytes) {
                prop_assert!(retry_after(&header, now).is_none_or(|pause| pause <= LONGEST_PAUSE));
            }
        }
    }
}
