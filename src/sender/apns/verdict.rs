//! What each answer of APNs means for the push, for the token and for the target: one table and nothing else. No I/O, no
//! state.
//!
//! Source: Apple, "Handling notification response errors from APNs". A token is given up only for a pair of status and
//! reason that stands here: what Apple may add one day must not silence a phone before somebody has read about it.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;

use crate::outcome::{Reason, Scope, Verdict};

/// What to do about an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Remove,
    /// The token may be fine and our topic or environment wrong.
    RemoveAmbiguous,
    NewCredential,
    TargetBroken,
    Retry,
    /// This phone gets too much.
    RetryPhone,
    Rejected,
}

use Class::{NewCredential, Rejected, Remove, RemoveAmbiguous, Retry, RetryPhone, TargetBroken};

/// Every reason that Apple documents, with the status it comes with.
const TABLE: &[(u16, Reason, Class)] = &[
    // 400: the request is wrong, and in a few cases so is the token or our topic.
    (400, "BadCollapseId", Rejected),
    (400, "BadDeviceToken", RemoveAmbiguous),
    (400, "BadExpirationDate", Rejected),
    (400, "BadMessageId", Rejected),
    (400, "BadPriority", Rejected),
    (400, "BadTopic", TargetBroken),
    (400, "DeviceTokenNotForTopic", RemoveAmbiguous),
    (400, "DuplicateHeaders", Rejected),
    (400, "IdleTimeout", Retry),
    (400, "InvalidPushType", Rejected),
    (400, "MissingDeviceToken", RemoveAmbiguous),
    (400, "MissingTopic", TargetBroken),
    (400, "PayloadEmpty", Rejected),
    (400, "TopicDisallowed", TargetBroken),
    // 403: the certificate or the provider token is wrong.
    (403, "BadCertificate", TargetBroken),
    (403, "BadCertificateEnvironment", TargetBroken),
    (403, "BadEnvironmentKeyIdInToken", TargetBroken),
    (403, "BadEnvironmentKeyInToken", TargetBroken),
    (403, "ExpiredProviderToken", NewCredential),
    (403, "Forbidden", TargetBroken),
    (403, "InvalidProviderToken", TargetBroken),
    (403, "MissingProviderToken", TargetBroken),
    (403, "UnrelatedKeyIdInToken", TargetBroken),
    (404, "BadPath", Rejected),
    (405, "MethodNotAllowed", Rejected),
    // 410: the app is gone from the phone, or the token was replaced.
    (410, "ExpiredToken", Remove),
    (410, "Unregistered", Remove),
    (413, "PayloadTooLarge", Rejected),
    (429, "TooManyProviderTokenUpdates", Retry),
    (429, "TooManyRequests", RetryPhone),
    (500, "InternalServerError", Retry),
    (503, "ServiceUnavailable", Retry),
    (503, "Shutdown", Retry),
];

/// Somebody between us and Apple said 200: nobody knows whether Apple has seen the push.
const NOT_APPLES: Reason = "not_apples_answer";

/// Whether a 200 can be Apple's, which has no body: it names the push, or has nothing that Apple would not send. Should Apple have
/// more to say one day, it will be JSON.
pub(super) fn is_apples(has_apns_id: bool, content_type: Option<&[u8]>, body: &[u8]) -> bool {
    let is_json = |value: &[u8]| value.to_ascii_lowercase().starts_with(b"application/json");
    if body.is_empty() {
        has_apns_id || content_type.is_none_or(is_json)
    } else {
        has_apns_id && body.starts_with(b"{") && content_type.is_none_or(is_json)
    }
}

/// From the status, the body's `reason` and the `Retry-After` of an answer. `is_apples` is what [`is_apples`] says of a 200.
///
/// What is not in the table is decided by its status and named after it, so that the set of reasons stays fixed: 429 and
/// 5xx pass, everything else that has a reason is a request that stays wrong. What has none is not in Apple's form: a page of
/// somebody in between, which may be gone at the next attempt.
pub(super) fn classify(status: u16, reason: &str, is_apples: bool, retry_after: Option<Duration>) -> Verdict {
    if status == 200 {
        return if is_apples {
            Verdict::Delivered
        } else {
            Verdict::Retry { reason: NOT_APPLES, after: retry_after, scope: Scope::Target, unprocessed: false }
        };
    }
    let (reason, class) = TABLE
        .iter()
        .find(|(row_status, row_reason, _)| *row_status == status && *row_reason == reason)
        .map_or_else(|| unknown(status, reason.is_empty()), |(_, reason, class)| (*reason, *class));
    match class {
        Remove => Verdict::Remove { reason, ambiguous: false },
        RemoveAmbiguous => Verdict::Remove { reason, ambiguous: true },
        NewCredential => Verdict::NewCredential { reason },
        TargetBroken => Verdict::TargetBroken { reason },
        // Apple answered, so it has seen the request. It says that it did not deliver it, but not how it knows.
        Retry => Verdict::Retry { reason, after: retry_after, scope: Scope::Target, unprocessed: false },
        RetryPhone => Verdict::Retry { reason, after: retry_after, scope: Scope::Phone, unprocessed: false },
        Rejected => Verdict::Rejected { reason },
    }
}

fn unknown(status: u16, has_no_reason: bool) -> (Reason, Class) {
    let stays = if has_no_reason { Retry } else { Rejected };
    match status {
        403 => ("other_403", stays),
        410 => ("other_410", stays),
        429 => ("other_429", Retry),
        400..=499 => ("other_4xx", stays),
        500..=599 => ("other_5xx", Retry),
        // Apple answers with nothing else.
        _ => ("other_status", Retry),
    }
}

/// The `reason` of an answer's body, `{"reason": "…", "timestamp": …}`; empty if the body is anything else. Free text:
/// only for [`classify`], which lets nothing through that is not in its table.
pub(super) fn reason_of(body: &[u8]) -> Cow<'_, str> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        reason: Cow<'a, str>,
    }
    // serde would read the struct from an array, too.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Cow::Borrowed("");
    }
    serde_json::from_slice::<Body<'_>>(body).map(|body| body.reason).unwrap_or_default()
}

/// RFC 9110 §10.2.3: seconds, or a date, which is compared with `now` (since the Unix epoch).
pub(super) fn retry_after(value: &[u8], now: Duration) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let moment = httpdate::parse_http_date(text).ok()?;
    Some(moment.duration_since(std::time::UNIX_EPOCH).ok()?.saturating_sub(now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn remove(reason: Reason, ambiguous: bool) -> Verdict {
        Verdict::Remove { reason, ambiguous }
    }

    fn retry(reason: Reason) -> Verdict {
        Verdict::Retry { reason, after: None, scope: Scope::Target, unprocessed: false }
    }

    fn retry_phone(reason: Reason) -> Verdict {
        Verdict::Retry { reason, after: None, scope: Scope::Phone, unprocessed: false }
    }

    #[test]
    fn every_documented_answer_has_its_verdict() {
        let broken = |reason| Verdict::TargetBroken { reason };
        let rejected = |reason| Verdict::Rejected { reason };
        let cases = [
            (200, "", Verdict::Delivered),
            (410, "Unregistered", remove("Unregistered", false)),
            (410, "ExpiredToken", remove("ExpiredToken", false)),
            (400, "BadDeviceToken", remove("BadDeviceToken", true)),
            (400, "MissingDeviceToken", remove("MissingDeviceToken", true)),
            (400, "DeviceTokenNotForTopic", remove("DeviceTokenNotForTopic", true)),
            (403, "ExpiredProviderToken", Verdict::NewCredential { reason: "ExpiredProviderToken" }),
            (403, "InvalidProviderToken", broken("InvalidProviderToken")),
            (403, "MissingProviderToken", broken("MissingProviderToken")),
            (403, "BadCertificate", broken("BadCertificate")),
            (403, "BadCertificateEnvironment", broken("BadCertificateEnvironment")),
            (403, "Forbidden", broken("Forbidden")),
            (403, "BadEnvironmentKeyIdInToken", broken("BadEnvironmentKeyIdInToken")),
            (403, "BadEnvironmentKeyInToken", broken("BadEnvironmentKeyInToken")),
            (403, "UnrelatedKeyIdInToken", broken("UnrelatedKeyIdInToken")),
            (400, "BadTopic", broken("BadTopic")),
            (400, "MissingTopic", broken("MissingTopic")),
            (400, "TopicDisallowed", broken("TopicDisallowed")),
            (429, "TooManyProviderTokenUpdates", retry("TooManyProviderTokenUpdates")),
            (429, "TooManyRequests", retry_phone("TooManyRequests")),
            (500, "InternalServerError", retry("InternalServerError")),
            (503, "ServiceUnavailable", retry("ServiceUnavailable")),
            (503, "Shutdown", retry("Shutdown")),
            (400, "IdleTimeout", retry("IdleTimeout")),
            (413, "PayloadTooLarge", rejected("PayloadTooLarge")),
            (400, "BadCollapseId", rejected("BadCollapseId")),
            (400, "BadExpirationDate", rejected("BadExpirationDate")),
            (400, "BadMessageId", rejected("BadMessageId")),
            (400, "BadPriority", rejected("BadPriority")),
            (400, "DuplicateHeaders", rejected("DuplicateHeaders")),
            (400, "InvalidPushType", rejected("InvalidPushType")),
            (400, "PayloadEmpty", rejected("PayloadEmpty")),
            (404, "BadPath", rejected("BadPath")),
            (405, "MethodNotAllowed", rejected("MethodNotAllowed")),
        ];
        for (status, reason, expected) in &cases {
            assert_eq!(classify(*status, reason, true, None), *expected, "{status} {reason}");
        }
        for (status, reason, _) in TABLE {
            assert!(cases.iter().any(|case| (case.0, case.1) == (*status, *reason)), "{status} {reason} has no case");
        }
    }

    #[test]
    fn an_unknown_answer_is_decided_by_its_status_and_never_removes_a_token() {
        let cases = [
            (400, "Whatever", Verdict::Rejected { reason: "other_4xx" }),
            (400, "", retry("other_4xx")),
            (403, "", retry("other_403")),
            (404, "", retry("other_4xx")),
            // A reason that removes, under a status it is not documented with.
            (400, "Unregistered", Verdict::Rejected { reason: "other_4xx" }),
            (410, "", retry("other_410")),
            (410, "BadDeviceToken", Verdict::Rejected { reason: "other_410" }),
            (403, "NewReason", Verdict::Rejected { reason: "other_403" }),
            (429, "", retry("other_429")),
            (500, "Unregistered", retry("other_5xx")),
            (502, "<html>", retry("other_5xx")),
            (204, "", retry("other_status")),
            (302, "", retry("other_status")),
        ];
        for (status, reason, expected) in cases {
            assert_eq!(classify(status, reason, true, None), expected, "{status} {reason}");
        }
    }

    #[test]
    fn a_200_is_apples_if_it_names_the_push_or_has_nothing_that_is_not_apples() {
        type Case = (bool, Option<&'static [u8]>, &'static [u8], bool);
        let table: [Case; 9] = [
            (true, None, b"", true),
            (true, Some(b"text/plain"), b"", true),
            (true, Some(b"application/json"), b"{}", true),
            (true, None, b"<html>", false),
            (false, None, b"", true),
            (false, Some(b"Application/JSON; charset=utf-8"), b"", true),
            (false, Some(b"text/html"), b"", false),
            (false, None, b"<html>blocked</html>", false),
            (false, Some(b"application/json"), b"{}", false),
        ];
        for (has_apns_id, content_type, body, expected) in table {
            assert_eq!(is_apples(has_apns_id, content_type, body), expected, "{has_apns_id} {body:?}");
        }
        assert_eq!(classify(200, "", false, None), retry(NOT_APPLES));
    }

    #[test]
    fn a_retry_keeps_the_pause_that_was_asked_for() {
        let after = Some(Duration::from_secs(17));
        let expected = Verdict::Retry { reason: "TooManyRequests", after, scope: Scope::Phone, unprocessed: false };
        assert_eq!(classify(429, "TooManyRequests", true, after), expected);
    }

    #[test]
    fn a_pause_is_read_in_seconds_and_as_a_date() {
        let now = Duration::from_secs(1_445_412_000);
        let cases: [(&[u8], Option<u64>); 6] = [
            (b"120", Some(120)),
            (b" 0 ", Some(0)),
            (b"Wed, 21 Oct 2015 07:28:00 GMT", Some(480)),
            (b"Wed, 21 Oct 2015 07:00:00 GMT", Some(0)),
            (b"soon", None),
            (b"-1", None),
        ];
        for (value, expected) in cases {
            assert_eq!(
                retry_after(value, now),
                expected.map(Duration::from_secs),
                "{}",
                String::from_utf8_lossy(value)
            );
        }
    }

    #[test]
    fn the_reason_is_found_in_apples_body_and_in_nothing_else() {
        let cases: [(&[u8], &str); 7] = [
            (br#"{"reason":"BadDeviceToken"}"#, "BadDeviceToken"),
            (br#"{"timestamp":1454948015990,"reason":"Unregistered","more":[1]}"#, "Unregistered"),
            (br#"{"reason":"a\u0062c"}"#, "abc"),
            (br#"{"reason":5}"#, ""),
            (br#"["reason"]"#, ""),
            (b"<html>Bad Gateway</html>", ""),
            (b"", ""),
        ];
        for (body, expected) in cases {
            assert_eq!(reason_of(body), expected, "{}", String::from_utf8_lossy(body));
        }
    }

    proptest! {
        #[test]
        fn no_answer_whatever_panics_or_removes_outside_the_table(status in 0_u16..1_000, body: Vec<u8>, header: Vec<u8>) {
            let reason = reason_of(&body);
            let verdict = classify(status, &reason, true, retry_after(&header, Duration::from_secs(1)));
            if let Verdict::Remove { reason, .. } = verdict {
                prop_assert!(TABLE.iter().any(|row| (row.0, row.1) == (status, reason)));
            }
        }
    }
}
