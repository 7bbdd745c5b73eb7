//! `POST /api/v1/send_push` and `POST /api/v1/ack`: from bytes to an answer. Who may send and how it is sent are passed
//! in; this module only puts the steps in their order.

use bytes::Bytes;
use http::StatusCode;
use hyper::body::Body;
use tokio::time::Instant;

use super::answer::{self, Answer};
use super::limits::{Gate, TurnedAway};
use super::mattermost::{self, BadPush};
use crate::admission::Refusal;
use crate::notification::{Compatibility, Notification};
use crate::outcome::Outcome;
use crate::telemetry::log;
use crate::telemetry::metrics::Metrics;

/// Seconds. Rates are counted per minute, so that by then something is allowed again.
const RATE_RETRY_AFTER: u32 = 60;

/// The most of a text about a malformed request that a line of the log shows, bytes. The answer may quote more: the
/// reference's quotes a server's id whole.
const LOGGED_PROBLEM_BYTES: usize = 160;

/// Why a request to send did not lead to an [`Outcome`].
enum Declined {
    TurnedAway(TurnedAway),
    Malformed(BadPush),
    Refused(Refusal),
}

/// Answers a request to send. `deliver` checks who sends and says how it is delivered.
pub(super) async fn send<B, D, F>(
    gate: &Gate,
    metrics: &Metrics,
    compatibility: Compatibility,
    body: B,
    deliver: D,
) -> Answer
where
    B: Body<Data = Bytes> + Unpin,
    D: FnOnce(Notification) -> Result<F, Refusal>,
    F: Future<Output = Outcome>,
{
    let began = Instant::now();
    let answer = match decide(gate, metrics, compatibility, body, deliver).await {
        Ok(outcome) => answer::outcome(compatibility, &outcome),
        Err(Declined::TurnedAway(turned_away)) => answer_turned_away(&turned_away, metrics, compatibility),
        // The reference answers a request that it does not understand with 200.
        Err(Declined::Malformed(bad)) => answer::failed(compatibility, StatusCode::OK, bad.text(compatibility)),
        Err(Declined::Refused(refusal)) => refused(compatibility, refusal.is_rate(), refusal.to_string()),
    };
    metrics.request(began.elapsed());
    answer
}

async fn decide<B, D, F>(
    gate: &Gate,
    metrics: &Metrics,
    compatibility: Compatibility,
    body: B,
    deliver: D,
) -> Result<Outcome, Declined>
where
    B: Body<Data = Bytes> + Unpin,
    D: FnOnce(Notification) -> Result<F, Refusal>,
    F: Future<Output = Outcome>,
{
    let (_place, body) = gate.enter(body).await.map_err(Declined::TurnedAway)?;
    let notification = understand(body, metrics, compatibility)?;
    let delivery = check(notification, metrics, deliver)?;
    Ok(delivery.await)
}

// The two steps below are functions of their own because what an async function has lent out keeps its place for as long
// as the function waits: a notification is 500 bytes, and one more copy of it would be held for each push in flight.

/// Takes the body, which shares the connection's buffer, so that it is gone before the long wait.
#[allow(clippy::needless_pass_by_value, reason = "the body must end here")]
fn understand(body: Bytes, metrics: &Metrics, compatibility: Compatibility) -> Result<Notification, Declined> {
    mattermost::decode_push(&body, compatibility).map_err(|bad| {
        metrics.bad_request();
        let problem = bad.to_string();
        let problem = &problem[..problem.floor_char_boundary(LOGGED_PROBLEM_BYTES)];
        tracing::warn!(problem, "a request to send could not be understood");
        Declined::Malformed(bad)
    })
}

fn check<D, F>(notification: Notification, metrics: &Metrics, deliver: D) -> Result<F, Declined>
where
    D: FnOnce(Notification) -> Result<F, Refusal>,
{
    // For the line about a refusal: the notification itself moves on.
    let (ack_id, server) = (notification.ack_id.clone(), notification.server_id.clone());
    let (target, kind) = (notification.target.clone(), notification.kind.word());
    deliver(notification).map_err(|refusal| {
        metrics.refusal(refusal.label());
        let subject = log::Subject { ack_id: &ack_id, server: server.as_str(), target: target.as_str(), kind };
        log::refusal_line(&subject, refusal.label());
        Declined::Refused(refusal)
    })
}

/// A chat server throws the text of anything but a 200 away, so the log says it too; not for an overload, which has a
/// metric of its own and would have a line for each of too many requests.
fn answer_turned_away(turned_away: &TurnedAway, metrics: &Metrics, compatibility: Compatibility) -> Answer {
    if !matches!(turned_away, TurnedAway::Overloaded(_)) {
        metrics.bad_request();
        tracing::warn!(problem = %turned_away, "a request was turned away");
    }
    turned_away.answer(compatibility)
}

fn refused(compatibility: Compatibility, is_rate: bool, text: String) -> Answer {
    if is_rate {
        answer::failed_for_now(compatibility, StatusCode::TOO_MANY_REQUESTS, text, RATE_RETRY_AFTER)
    } else {
        answer::failed(compatibility, StatusCode::UNAUTHORIZED, text)
    }
}

/// Answers a phone's receipt. The chat server forwards it inside the phone's own request, so nothing is waited for.
pub(super) async fn acknowledge<B>(gate: &Gate, metrics: &Metrics, compatibility: Compatibility, body: B) -> Answer
where
    B: Body<Data = Bytes> + Unpin,
{
    let began = Instant::now();
    let answer = receive(gate, metrics, compatibility, body).await;
    metrics.request(began.elapsed());
    answer
}

async fn receive<B>(gate: &Gate, metrics: &Metrics, compatibility: Compatibility, body: B) -> Answer
where
    B: Body<Data = Bytes> + Unpin,
{
    let (_place, body) = match gate.enter(body).await {
        Ok(entered) => entered,
        Err(turned_away) => return answer_turned_away(&turned_away, metrics, compatibility),
    };
    match mattermost::decode_ack(&body) {
        Ok(ack) => {
            metrics.acknowledged(&ack.platform, ack.kind.as_str());
            tracing::debug!(ack_id = log::bounded(&ack.id), "a phone has received its notification");
            answer::outcome(compatibility, &Outcome::Delivered)
        }
        Err(bad) => {
            metrics.bad_request();
            tracing::warn!(problem = %bad, "a receipt could not be understood");
            answer::failed(compatibility, StatusCode::OK, bad.text(compatibility))
        }
    }
}

#[cfg(test)]
#[path = "push_tests.rs"]
mod tests;
