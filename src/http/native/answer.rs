//! What became of each device. A device is named by its place in the request: a token is private, and an answer may end up
//! in a log.

use http::{HeaderValue, StatusCode};
use serde::Serialize;

use crate::http::answer::{self, Answer};
use crate::http::signed::RESPOND_ASYNC;
use crate::outcome::{Outcome, Reason, Report};

#[derive(Serialize)]
struct Body<'a> {
    id: &'a str,
    results: Vec<Line<'a>>,
    counts: Counts,
}

#[derive(Serialize)]
struct Line<'a> {
    device: usize,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    /// Only for what failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    retryable: Option<bool>,
}

#[derive(Default, Serialize)]
struct Counts {
    delivered: usize,
    queued: usize,
    unregistered: usize,
    failed: usize,
}

/// The answer when each device has been dealt with.
pub(super) fn dealt_with(results: Vec<u8>) -> Answer {
    answer::json(StatusCode::OK, results)
}

/// The answer to a caller that would rather not wait: the relay will deal with each device that is `queued`.
pub(super) fn in_hand(results: Vec<u8>) -> Answer {
    let mut answer = answer::json(StatusCode::ACCEPTED, results);
    answer.headers_mut().insert("preference-applied", HeaderValue::from_static(RESPOND_ASYNC));
    answer
}

/// What became of a message's devices.
pub(super) struct Results {
    pub(super) body: Vec<u8>,
    /// Whether anything became of any: not all failed.
    pub(super) is_any_taken: bool,
}

/// One line for each device that was asked for. `places` says where in `reports` each one's report is: a device that was
/// named twice was sent to once.
pub(super) fn results(id: &str, places: &[usize], reports: &[Report]) -> Results {
    let mut counts = Counts::default();
    let results = places
        .iter()
        .enumerate()
        .map(|(device, place)| {
            let Report { outcome, reason, may_be_repeated } = &reports[*place];
            let line = |status| Line { device, status, reason: *reason, message: None, retryable: None };
            match outcome {
                Outcome::Delivered => {
                    counts.delivered += 1;
                    line("delivered")
                }
                Outcome::Queued => {
                    counts.queued += 1;
                    line("queued")
                }
                Outcome::Remove => {
                    counts.unregistered += 1;
                    line("unregistered")
                }
                Outcome::Failed { text } => {
                    counts.failed += 1;
                    Line { message: Some(text), retryable: Some(*may_be_repeated), ..line("failed") }
                }
            }
        })
        .collect();
    let is_any_taken = counts.delivered + counts.queued + counts.unregistered > 0;
    let body = Body { id, results, counts };
    let body = serde_json::to_vec(&body).expect("texts and numbers can always be written as JSON");
    Results { body, is_any_taken }
}
