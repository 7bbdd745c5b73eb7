//! The one shape of everything this route answers that is not a 200:
//! `{"error":{"code","message","fields":[{"path","problem"}]}}`. `code` is for programs and never changes its meaning,
//! `message` is for people, `fields` is there if parts of the body are to blame.

use std::borrow::Cow;

use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use super::problem::{Path, Problem, Problems};
use super::tree::NotJson;
use crate::http::answer::{self, Answer};
use crate::http::limits::{OVERLOAD_RETRY_AFTER, TurnedAway};

/// Why a request led to nothing.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::http) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: Cow<'static, str>,
    problems: Problems,
    /// Seconds.
    retry_after: Option<u32>,
    /// Admission's word, for the log.
    reason: Option<&'static str>,
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, message: message.into(), problems: Problems::default(), retry_after: None, reason: None }
    }

    /// 400: the body is JSON, and these of its parts are wrong.
    pub(super) fn invalid(problems: Problems) -> Self {
        Self { problems, ..Self::new(StatusCode::BAD_REQUEST, "invalid", "") }
    }

    /// 400: there is no such target.
    pub(in crate::http) fn unknown_target() -> Self {
        let mut problems = Problems::default();
        problems.add(Path::field("target"), "the relay has no target of this name");
        Self::invalid(problems)
    }

    /// 401: it is not proven who sends.
    pub(in crate::http) fn unauthorized(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    /// 403: this server may not do this.
    pub(in crate::http) fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// 429: this server sends too much; it may come again after this many seconds.
    pub(in crate::http) fn too_many(message: impl Into<Cow<'static, str>>, retry_after: u32) -> Self {
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message);
        Self { retry_after: Some(retry_after), ..error }
    }

    /// The same, for this reason of admission's.
    pub(in crate::http) fn because(self, reason: &'static str) -> Self {
        Self { reason: Some(reason), ..self }
    }

    /// Admission's word, if it was admission that refused.
    pub(super) fn reason(&self) -> Option<&'static str> {
        self.reason
    }

    /// The fixed word for what happened.
    pub(super) fn code(&self) -> &'static str {
        self.code
    }

    pub(super) fn problems(&self) -> usize {
        self.problems.count()
    }

    /// Whether the caller's program is to blame, rather than who it is or how much it sends.
    pub(super) fn is_bad_request(&self) -> bool {
        matches!(self.status, StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT)
    }

    /// The answer.
    pub(super) fn answer(&self) -> Answer {
        let message = if self.problems.count() > 0 { self.problems.summary().into() } else { self.message.clone() };
        let body = Body { error: Error { code: self.code, message, fields: self.problems.listed() } };
        let body = serde_json::to_vec(&body).expect("texts can always be written as JSON to memory");
        let mut answer = answer::json(self.status, body);
        if let Some(seconds) = self.retry_after {
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        answer
    }
}

impl From<TurnedAway> for ApiError {
    fn from(turned_away: TurnedAway) -> Self {
        let text = turned_away.to_string();
        match turned_away {
            TurnedAway::Overloaded(_) => Self {
                retry_after: Some(OVERLOAD_RETRY_AFTER),
                ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", text)
            },
            TurnedAway::TooLarge(_) => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", text),
            TurnedAway::TooSlow(_) => Self::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", text),
            TurnedAway::Broken => Self::new(StatusCode::BAD_REQUEST, "body_broken_off", "the body was broken off"),
        }
    }
}

impl From<NotJson> for ApiError {
    fn from(not_json: NotJson) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "not_json", not_json.to_string())
    }
}

#[derive(Serialize)]
struct Body<'a> {
    error: Error<'a>,
}

#[derive(Serialize)]
struct Error<'a> {
    code: &'static str,
    message: Cow<'static, str>,
    #[serde(skip_serializing_if = "<[Problem]>::is_empty")]
    fields: &'a [Problem],
}

#[cfg(test)]
impl ApiError {
    /// The problems, `path: problem` each.
    pub(super) fn lines(&self) -> Vec<String> {
        self.problems.lines()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::BodyExt;
    use serde_json::{Value, json};

    use super::*;

    #[tokio::test]
    async fn each_error_has_its_status_its_word_and_the_one_shape() {
        let mut problems = Problems::default();
        problems.add(Path::field("id"), "is empty");
        let fields = json!([{"path": "id", "problem": "is empty"}]);
        let table = [
            (ApiError::invalid(problems), 400, "invalid", Some(fields), None),
            (
                ApiError::unknown_target(),
                400,
                "invalid",
                Some(json!([{"path": "target", "problem": "the relay has no target of this name"}])),
                None,
            ),
            (NotJson::Empty.into(), 400, "not_json", None, None),
            (TurnedAway::Broken.into(), 400, "body_broken_off", None, None),
            (ApiError::unauthorized("x"), 401, "unauthorized", None, None),
            (ApiError::forbidden("x"), 403, "forbidden", None, None),
            (TurnedAway::TooSlow(Duration::from_secs(1)).into(), 408, "body_too_slow", None, None),
            (TurnedAway::TooLarge(1).into(), 413, "body_too_large", None, None),
            (ApiError::too_many("x", 7), 429, "rate_limited", None, Some("7")),
            (TurnedAway::Overloaded(1).into(), 503, "overloaded", None, Some("1")),
        ];
        for (error, status, code, fields, retry_after) in table {
            let answer = error.answer();
            assert_eq!((answer.status().as_u16(), error.code()), (status, code));
            assert_eq!(answer.headers()["content-type"], "application/json");
            assert_eq!(answer.headers().get("retry-after").map(|value| value.to_str().unwrap()), retry_after);
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            let body: Value = serde_json::from_slice(&body).unwrap();
            let error = body["error"].as_object().unwrap();
            assert_eq!((&error["code"], error.get("fields")), (&json!(code), fields.as_ref()));
            assert!(!error["message"].as_str().unwrap().is_empty());
        }
    }
}
