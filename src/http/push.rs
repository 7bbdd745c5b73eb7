//! `POST /api/v1/send_push` and `POST /api/v1/ack`: from bytes to an answer. Who may send and how it is sent are passed
//! in; this module only puts the steps in their order.

use std::net::IpAddr;

use bytes::Bytes;
use http::StatusCode;
use hyper::body::Body;
use tokio::time::Instant;

use super::answer::{self, Answer};
use super::limits::{Gate, TurnedAway};
use super::mattermost;
use crate::admission::{Refusal, RefusalKind};
use crate::notification::{Compatibility, Notification};
use crate::outcome::Outcome;
use crate::relay::memory::Receipt;
use crate::telemetry::log;
use crate::telemetry::metrics::Metrics;

/// The most of a text about a malformed request that a line of the log shows, bytes. The answer may quote more: the
/// reference's quotes a server's id whole.
const LOGGED_PROBLEM_BYTES: usize = 160;

/// Why a request to send did not lead to an [`Outcome`].
enum Declined {
    TurnedAway(TurnedAway),
    /// What the caller is told.
    Malformed(String),
    Refused(Refusal),
}

/// Who says that it sends, which may be anybody, and from where: for the log and the status page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claimed<'a> {
    /// What a header says; empty without one.
    pub(super) server: &'a str,
    pub(super) client: IpAddr,
}

/// Answers a request to send. `verify` sees the body exactly as it came, for a request that is signed as a whole; `deliver` checks who sends and says how it is delivered.
pub(super) async fn send<B, V, P, D, F>(
    gate: &Gate,
    metrics: &Metrics,
    compatibility: Compatibility,
    claimed: Claimed<'_>,
    body: B,
    verify: V,
    deliver: D,
) -> Answer
where
    B: Body<Data = Bytes> + Unpin,
    V: FnOnce(&[u8]) -> Result<P, Refusal>,
    D: FnOnce(P, Notification) -> Result<F, Refusal>,
    F: Future<Output = Outcome>,
{
    let began = Instant::now();
    let answer = match decide(gate, metrics, compatibility, claimed, body, verify, deliver).await {
        Ok(outcome) => answer::outcome(compatibility, &outcome),
        Err(Declined::TurnedAway(turned_away)) => answer_turned_away(&turned_away, metrics, compatibility),
        // The reference answers a request that it does not understand with 200.
        Err(Declined::Malformed(text)) => answer::failed(compatibility, StatusCode::OK, text),
        Err(Declined::Refused(refusal)) => refused(compatibility, refusal),
    };
    metrics.request(began.elapsed());
    answer
}

async fn decide<B, V, P, D, F>(
    gate: &Gate,
    metrics: &Metrics,
    compatibility: Compatibility,
    claimed: Claimed<'_>,
    body: B,
    verify: V,
    deliver: D,
) -> Result<Outcome, Declined>
where
    B: Body<Data = Bytes> + Unpin,
    V: FnOnce(&[u8]) -> Result<P, Refusal>,
    D: FnOnce(P, Notification) -> Result<F, Refusal>,
    F: Future<Output = Outcome>,
{
    let (_place, body) = gate.enter(body).await.map_err(Declined::TurnedAway)?;
    let (proof, notification) = understand(body, metrics, compatibility, claimed, verify)?;
    let delivery = check(proof, notification, metrics, claimed, deliver)?;
    Ok(delivery.await)
}

// The two steps below are functions of their own because what an async function has lent out keeps its place for as long
// as the function waits: a notification is 500 bytes, and one more copy of it would be held for each push in flight.

/// Takes the body, which shares the connection's buffer, so that it is gone before the long wait.
#[allow(clippy::needless_pass_by_value, reason = "the body must end here")]
fn understand<V, P>(
    body: Bytes,
    metrics: &Metrics,
    compatibility: Compatibility,
    claimed: Claimed<'_>,
    verify: V,
) -> Result<(P, Notification), Declined>
where
    V: FnOnce(&[u8]) -> Result<P, Refusal>,
{
    let proof = verify(&body).map_err(|refusal| {
        metrics.refusal(refusal.label());
        // Nothing that the body says is believed yet, and who says that it sends may be anybody.
        let subject = log::Subject { ack_id: "", server: claimed.server, target: "", kind: "unread" };
        log::refusal_line(&subject, claimed.client, refusal.label());
        metrics.refused().note(&subject, refusal.label(), &refusal.to_string());
        Declined::Refused(refusal)
    })?;
    let notification = mattermost::decode_push(&body, compatibility).map_err(|bad| {
        metrics.bad_request();
        let problem = bad.to_string();
        let problem = &problem[..problem.floor_char_boundary(LOGGED_PROBLEM_BYTES)];
        tracing::warn!(problem, client = %claimed.client, "a request to send could not be understood");
        Declined::Malformed(bad.text(&body, compatibility))
    })?;
    Ok((proof, notification))
}

fn check<P, D, F>(
    proof: P,
    notification: Notification,
    metrics: &Metrics,
    claimed: Claimed<'_>,
    deliver: D,
) -> Result<F, Declined>
where
    D: FnOnce(P, Notification) -> Result<F, Refusal>,
{
    // For the line about a refusal: the notification itself moves on.
    let (ack_id, server) = (notification.ack_id.clone(), notification.server_id.clone());
    let (target, kind) = (notification.target.clone(), notification.kind.word());
    deliver(proof, notification).map_err(|refusal| {
        metrics.refusal(refusal.label());
        let subject = log::Subject { ack_id: &ack_id, server: server.as_str(), target: target.as_str(), kind };
        log::refusal_line(&subject, claimed.client, refusal.label());
        metrics.refused().note(&subject, refusal.label(), &refusal.to_string());
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

fn refused(compatibility: Compatibility, refusal: Refusal) -> Answer {
    let text = refusal.to_string();
    match refusal.kind() {
        RefusalKind::Unproven => answer::failed(compatibility, StatusCode::UNAUTHORIZED, text),
        RefusalKind::Forbidden => answer::failed(compatibility, StatusCode::FORBIDDEN, text),
        RefusalKind::TooOften { retry_after } => {
            answer::failed_for_now(compatibility, StatusCode::TOO_MANY_REQUESTS, text, retry_after)
        }
    }
}

/// Answers a phone's receipt. The chat server forwards it inside the phone's own request, so nothing is waited for.
///
/// `receipt` says whether this relay sent what the receipt names; `None` where nothing is remembered and every one counts.
pub(super) async fn acknowledge<B, R>(
    gate: &Gate,
    metrics: &Metrics,
    compatibility: Compatibility,
    body: B,
    receipt: R,
) -> Answer
where
    B: Body<Data = Bytes> + Unpin,
    R: FnOnce(&str) -> Option<Receipt>,
{
    let began = Instant::now();
    let answer = receive(gate, metrics, compatibility, body, receipt).await;
    metrics.request(began.elapsed());
    answer
}

async fn receive<B, R>(gate: &Gate, metrics: &Metrics, compatibility: Compatibility, body: B, receipt: R) -> Answer
where
    B: Body<Data = Bytes> + Unpin,
    R: FnOnce(&str) -> Option<Receipt>,
{
    let (_place, body) = match gate.enter(body).await {
        Ok(entered) => entered,
        Err(turned_away) => return answer_turned_away(&turned_away, metrics, compatibility),
    };
    match mattermost::decode_ack(&body) {
        Ok(ack) => {
            // Whatever it means, the chat server is told the same: it can do nothing about it.
            match receipt(&ack.id) {
                None => metrics.acknowledged(&ack.platform, ack.kind.as_str()),
                Some(Receipt::Sent { platform, after }) => {
                    metrics.acknowledged(&ack.platform, ack.kind.as_str());
                    metrics.repeats().receipt_of_ours(platform, after);
                }
                Some(Receipt::Again) => metrics.repeats().receipt("again"),
                Some(Receipt::Unknown) => metrics.repeats().receipt("unknown"),
            }
            tracing::debug!(ack_id = log::bounded(&ack.id), "a phone says that it has received its notification");
            answer::outcome(compatibility, &Outcome::Delivered)
        }
        Err(bad) => {
            metrics.bad_request();
            tracing::warn!(problem = %bad, "a receipt could not be understood");
            answer::failed(compatibility, StatusCode::OK, bad.text(&body, compatibility))
        }
    }
}

#[cfg(test)]
#[path = "push_tests.rs"]
mod tests;
