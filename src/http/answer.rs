//! The shapes of answers. Which answer a request gets is decided elsewhere.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;

use axum::body::Body;
use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response, StatusCode};

use super::mattermost;
use crate::notification::Compatibility;
use crate::outcome::Outcome;

const PLAIN_TEXT: &str = "text/plain; charset=utf-8";

/// What every handler answers. hyper adds `content-length` and `date`.
pub(super) type Answer = Response<Body>;

/// An answer with a body of this type.
pub(super) fn with_body(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Body::from(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // A browser must not take an answer for a page because of what a caller wrote into it.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

pub(super) fn json(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    with_body(status, "application/json", body)
}

pub(super) fn text(status: StatusCode, body: &'static str) -> Answer {
    with_body(status, PLAIN_TEXT, body)
}

/// A page that may load and run nothing.
pub(super) fn html(body: &'static str) -> Answer {
    let mut answer = with_body(StatusCode::OK, "text/html; charset=utf-8", body);
    answer.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'"));
    answer
}

/// What became of a notification or a receipt. Chat servers read the body of a 200 only, so a failure is one too.
pub(super) fn outcome(compatibility: Compatibility, outcome: &Outcome) -> Answer {
    outcome_as(compatibility, StatusCode::OK, outcome)
}

fn outcome_as(compatibility: Compatibility, status: StatusCode, outcome: &Outcome) -> Answer {
    let content_type = match compatibility {
        Compatibility::Improved => "application/json",
        // The reference names none, and Go takes JSON for text.
        Compatibility::Strict => PLAIN_TEXT,
    };
    with_body(status, content_type, mattermost::encode_outcome(outcome, compatibility))
}

/// A failure in the form that chat servers log.
pub(super) fn failed(compatibility: Compatibility, status: StatusCode, text: impl Into<Cow<'static, str>>) -> Answer {
    outcome_as(compatibility, status, &Outcome::Failed { text: text.into() })
}

/// The same, and when to try again.
pub(super) fn failed_for_now(
    compatibility: Compatibility,
    status: StatusCode,
    text: impl Into<Cow<'static, str>>,
    seconds: u32,
) -> Answer {
    let mut answer = failed(compatibility, status, text);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    answer
}

/// As Go's router answers, byte for byte.
pub(super) fn not_found() -> Answer {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// Turns a panic of a handler into an answer.
pub(super) async fn or_internal_error(handler: impl Future<Output = Answer>) -> Answer {
    // What handlers share are counters, semaphores and caches that are consistent between any two of their operations.
    match AssertUnwindSafe(handler).catch_unwind().await {
        Ok(answer) => answer,
        // Not the panic's text: it can quote what was being worked on. The panic hook has logged the place.
        Err(_panic) => {
            let text = "internal error: a bug in the relay, whose log says where";
            failed(Compatibility::Improved, StatusCode::INTERNAL_SERVER_ERROR, text)
        }
    }
}
