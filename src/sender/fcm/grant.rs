//! What the OAuth endpoint's answer to an assertion means (RFC 6749, 5; RFC 7523). Pure.

use std::time::Duration;

use http::{HeaderValue, StatusCode};
use serde_json::Value;

use super::trouble::token_reason;
use crate::outcome::{Reason, Scope, Verdict};
use crate::sender::transport::Trouble;

/// How long a token is used that came without `expires_in`. Google always says (an hour, less a second).
const ASSUMED_LIFE: Duration = Duration::from_mins(5);

/// The shortest and the longest life believed. A shorter one would have us ask before every push, and Google says 401
/// if the token really is dead; a longer one is a mistake.
const SHORTEST_LIFE: Duration = Duration::from_mins(1);
const LONGEST_LIFE: Duration = Duration::from_hours(12);

/// An access token that was granted.
#[derive(Debug)]
pub(super) struct Grant {
    /// `Bearer …`, marked sensitive, ready for `Authorization`.
    pub(super) header: HeaderValue,
    /// How long it works from the moment it was asked for.
    pub(super) life: Duration,
}

/// Why there is no access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// For the pushes that waited. Nothing was sent.
    pub(super) verdict: Verdict,
    /// For the operator, if it is theirs to solve.
    pub(super) problem: Option<&'static str>,
}

impl Failure {
    /// It may pass by itself.
    pub(super) fn passing(reason: Reason, after: Option<Duration>) -> Self {
        Self { verdict: Verdict::Retry { reason, after, scope: Scope::Target, unprocessed: true }, problem: None }
    }

    fn refused(reason: Reason, problem: &'static str) -> Self {
        Self { verdict: Verdict::TargetBroken { reason }, problem: Some(problem) }
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Self::passing(token_reason(trouble), None)
    }
}

/// Reads the endpoint's answer.
pub(super) fn read(status: StatusCode, body: &[u8], retry_after: Option<Duration>) -> Result<Grant, Failure> {
    let body = serde_json::from_slice::<Value>(body).unwrap_or_default();
    match status.as_u16() {
        200 => granted(&body).ok_or_else(|| match &body {
            Value::Object(_) => Failure::refused("oauth no access_token", NO_TOKEN),
            // Google answers in JSON: this is somebody in between.
            _ => Failure::passing("oauth unreadable answer", retry_after),
        }),
        408 | 429 => Err(Failure::passing("oauth unavailable", retry_after)),
        400..=499 => Err(refusal(&body)),
        _ => Err(Failure::passing("oauth unavailable", retry_after)),
    }
}

fn granted(body: &Value) -> Option<Grant> {
    let token = body["access_token"].as_str().filter(|token| !token.is_empty())?;
    let mut header = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    header.set_sensitive(true);
    let life = body["expires_in"].as_u64().map_or(ASSUMED_LIFE, Duration::from_secs);
    Some(Grant { header, life: life.clamp(SHORTEST_LIFE, LONGEST_LIFE) })
}

const NO_TOKEN: &str = "the OAuth endpoint answered without an access token; check `token_uri` in the key file";
const CLOCK: &str = "Google refuses the signed request for an access token as not current; check this machine's clock \
                     (Google allows a few minutes)";
const KEY_GONE: &str = "Google does not accept the service account's key: it was deleted or disabled, or the key file \
                        was changed; create a new key in the Firebase console, Project settings, Service accounts";
const ACCOUNT_GONE: &str = "Google does not know the service account, or it is disabled; check it in the Google Cloud \
                            console, IAM, Service accounts, or use the key file of another one";
const GRANT: &str = "Google refuses the signed request for an access token (invalid_grant); usual causes are this \
                     machine's clock and a deleted key";
const OTHER: &str = "the OAuth endpoint refuses the request for an access token; check `token_uri` in the key file, \
                     the service account in the Google Cloud console, and whether a proxy answers in Google's place";

/// `error` decides; Google's `error_description` tells the causes of `invalid_grant` apart, of which each has another
/// remedy. It is compared, never passed on.
fn refusal(body: &Value) -> Failure {
    let description = body["error_description"].as_str().unwrap_or_default();
    match body["error"].as_str() {
        Some("invalid_grant") if description.contains("reasonable timeframe") => {
            Failure::refused("oauth invalid_grant", CLOCK)
        }
        Some("invalid_grant") if description.contains("Signature") => Failure::refused("oauth invalid_grant", KEY_GONE),
        Some("invalid_grant") if description.contains("account") => {
            Failure::refused("oauth invalid_grant", ACCOUNT_GONE)
        }
        Some("invalid_grant") => Failure::refused("oauth invalid_grant", GRANT),
        Some("invalid_client") => Failure::refused("oauth invalid_client", ACCOUNT_GONE),
        Some("unauthorized_client") => Failure::refused("oauth unauthorized_client", ACCOUNT_GONE),
        Some("invalid_scope") => Failure::refused("oauth invalid_scope", OTHER),
        Some("invalid_request") => Failure::refused("oauth invalid_request", OTHER),
        Some("access_denied") => Failure::refused("oauth access_denied", ACCOUNT_GONE),
        _ => Failure::refused("oauth refused", OTHER),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn answer(status: u16, body: &Value) -> Result<Grant, Failure> {
        read(StatusCode::from_u16(status).unwrap(), body.to_string().as_bytes(), None)
    }

    #[test]
    fn a_granted_token_becomes_a_header_that_is_not_printed() {
        let grant =
            answer(200, &json!({"access_token": "canary", "expires_in": 3599, "token_type": "Bearer"})).unwrap();
        assert_eq!(grant.header.to_str().unwrap(), "Bearer canary");
        assert_eq!(grant.life, Duration::from_secs(3_599));
        assert!(!format!("{grant:?}").contains("canary"));
    }

    #[test]
    fn lives_are_believed_within_reason() {
        let cases = [
            (json!(0), 60),
            (json!(59), 60),
            (json!(90), 90),
            (json!(u64::MAX), 43_200),
            (json!("x"), 300),
            (json!(null), 300),
        ];
        for (life, seconds) in cases {
            let grant = answer(200, &json!({"access_token": "t", "expires_in": life})).unwrap();
            assert_eq!(grant.life, Duration::from_secs(seconds), "{life}");
        }
    }

    #[test]
    fn a_refusal_breaks_the_target_and_tells_the_operator_what_to_look_at() {
        let skew = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check \
                    your iat and exp values in the JWT claim.";
        let cases = [
            (400, json!({"error": "invalid_grant", "error_description": skew}), "oauth invalid_grant", CLOCK),
            (
                400,
                json!({"error": "invalid_grant", "error_description": "Invalid JWT Signature."}),
                "oauth invalid_grant",
                KEY_GONE,
            ),
            (
                400,
                json!({"error": "invalid_grant", "error_description": "Invalid grant: account not found"}),
                "oauth invalid_grant",
                ACCOUNT_GONE,
            ),
            (400, json!({"error": "invalid_grant"}), "oauth invalid_grant", GRANT),
            (401, json!({"error": "invalid_client"}), "oauth invalid_client", ACCOUNT_GONE),
            (401, json!({"error": "unauthorized_client"}), "oauth unauthorized_client", ACCOUNT_GONE),
            (400, json!({"error": "invalid_scope"}), "oauth invalid_scope", OTHER),
            (400, json!({"error": "invalid_request"}), "oauth invalid_request", OTHER),
            (403, json!({"error": "access_denied"}), "oauth access_denied", ACCOUNT_GONE),
            (403, json!({"error": {"code": 403}}), "oauth refused", OTHER),
            (404, json!(null), "oauth refused", OTHER),
            (200, json!({"id_token": "x"}), "oauth no access_token", NO_TOKEN),
            (200, json!({"access_token": "line\nbreak"}), "oauth no access_token", NO_TOKEN),
        ];
        for (status, body, reason, problem) in cases {
            assert_eq!(answer(status, &body).unwrap_err(), Failure::refused(reason, problem), "{status} {body}");
        }
    }

    #[test]
    fn what_may_pass_is_tried_again_and_no_push_was_sent() {
        let pause = Some(Duration::from_secs(9));
        for (status, reason) in [
            (408, "oauth unavailable"),
            (429, "oauth unavailable"),
            (500, "oauth unavailable"),
            (503, "oauth unavailable"),
            (302, "oauth unavailable"),
            (200, "oauth unreadable answer"),
        ] {
            let failure = read(StatusCode::from_u16(status).unwrap(), b"<html>", pause).unwrap_err();
            assert_eq!(
                failure.verdict,
                Verdict::Retry { reason, after: pause, scope: Scope::Target, unprocessed: true },
                "{status}"
            );
            assert_eq!(failure.problem, None);
        }
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(
            status in 100_u16..1000,
            body in proptest::collection::vec(any::<u8>(), 0..256),
        ) {
            let _ = read(StatusCode::from_u16(status).unwrap(), &body, None);
        }
    }
}
