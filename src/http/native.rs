//! `POST /v1/notifications`: one message from a program to many devices. From bytes to an answer; who may send and how one
//! notification is delivered are passed in.
//!
//! `tree` reads JSON, `decode` checks what it says, `fan_out` sends to each device, `answer` says what became of them, and
//! `error` is the one shape of everything that is not a 200.

mod answer;
mod decode;
mod error;
mod fan_out;
mod problem;
mod tree;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Body;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::answer::Answer;
use super::limits::{Gate, TurnedAway};
use super::push::Claimed;
use crate::notification::{Notification, ServerId, TargetName};
use crate::outcome::Report;
use crate::telemetry::log;
use crate::telemetry::metrics::Metrics;
use decode::Request;
pub(super) use error::ApiError;
use fan_out::{Addressed, Lanes, deliver_all};

/// Where programs post messages to.
pub(super) const NOTIFICATIONS: &str = "/v1/notifications";

/// The largest body, bytes, unless more is configured for all routes: 500 of Google's tokens are about 90 KiB, and the
/// message about 5.
const MAX_BODY_BYTES: usize = 256 * 1024;

/// The most large bodies (above what every route takes) that are read at once. Times [`MAX_BODY_BYTES`], 64 MiB. Nobody has
/// proved anything yet: whoever lets them dawdle keeps others from sending large ones, and nobody from small ones.
const MAX_LARGE_BODIES: usize = 256;

/// The most requests worked on at once for one server, so that none takes all places.
const MAX_REQUESTS_PER_SERVER: usize = 64;

/// Seconds until a server that has too many requests running may come again.
const BUSY_RETRY_AFTER: u32 = 1;

/// A request whose sender is known.
pub(super) struct Signed<P> {
    /// Who sends.
    pub(super) server: ServerId,
    /// What the signature calls the request.
    pub(super) id: String,
    /// What admission has to show for it.
    pub(super) proof: P,
}

/// What the requests of this route share.
#[derive(Debug)]
pub(super) struct Native {
    large_bodies: Semaphore,
    lanes: Lanes,
    /// From a request's head to its answer.
    deadline: Duration,
}

impl Native {
    /// `deadline` is that of one notification: a program waits no longer for many than a chat server for one.
    pub(super) fn new(deadline: Duration) -> Self {
        Self { large_bodies: Semaphore::new(MAX_LARGE_BODIES), lanes: Lanes::default(), deadline }
    }
}

/// Answers a request to send.
///
/// `claimed` is who says that it sends, for the log. `verify` sees the body exactly as it came and says who sends. `admit` says whether this server may send to this target,
/// and if so, how one notification is delivered: within the time it is given. `later` says that this is only to disk, as the
/// caller would have it.
#[allow(clippy::too_many_arguments, reason = "the steps of one request")]
pub(super) async fn send<B, V, P, A, D, F>(
    gate: &Gate,
    native: &Native,
    metrics: &Metrics,
    claimed: Claimed<'_>,
    later: bool,
    body: B,
    verify: V,
    admit: A,
) -> Answer
where
    B: Body<Data = Bytes> + Unpin,
    V: FnOnce(&[u8]) -> Result<Signed<P>, ApiError>,
    A: FnOnce(P, &TargetName) -> Result<D, ApiError>,
    D: Fn(Notification, Duration) -> F,
    F: Future<Output = Report>,
{
    let deadline = Instant::now() + native.deadline;
    match decide(gate, native, metrics, body, verify, admit, deadline).await {
        // A promise to deal with what was not kept would be none.
        Ok(results) if later && results.is_any_taken => answer::in_hand(results.body),
        Ok(results) => answer::dealt_with(results.body),
        Err(error) => {
            if error.is_bad_request() {
                metrics.bad_request();
            }
            let server = log::bounded(claimed.server);
            tracing::warn!(
                server,
                client = %claimed.client,
                code = error.code(),
                reason = error.reason(),
                problems = error.problems(),
                "a request of the native API was refused"
            );
            error.answer()
        }
    }
}

async fn decide<B, V, P, A, D, F>(
    gate: &Gate,
    native: &Native,
    metrics: &Metrics,
    body: B,
    verify: V,
    admit: A,
    deadline: Instant,
) -> Result<answer::Results, ApiError>
where
    B: Body<Data = Bytes> + Unpin,
    V: FnOnce(&[u8]) -> Result<Signed<P>, ApiError>,
    A: FnOnce(P, &TargetName) -> Result<D, ApiError>,
    D: Fn(Notification, Duration) -> F,
    F: Future<Output = Report>,
{
    let (_place, body) = if gate.takes(&body) {
        gate.enter(body).await?
    } else {
        let Ok(_reading) = native.large_bodies.try_acquire() else {
            metrics.overloaded();
            return Err(TurnedAway::Overloaded(MAX_LARGE_BODIES).into());
        };
        gate.enter_larger(body, MAX_BODY_BYTES).await?
    };
    let (Signed { server, id, proof }, Request { target, mut message, devices }) = understand(body, verify)?;
    if message.id.is_empty() {
        // The signature's id names the request as well: a repeat is known by it.
        message.id = id;
    }
    let deliver = admit(proof, &target)?;
    let lanes = native.lanes.of(&server);
    let Some(_request) = lanes.request() else {
        return Err(ApiError::too_many("this server has too many requests running at once", BUSY_RETRY_AFTER));
    };
    let addressed = Addressed { message: Arc::new(message), server, target };
    let reports = deliver_all(&addressed, devices.distinct, &lanes, deadline, deliver).await;
    Ok(answer::results(&addressed.message.id, &devices.places, &reports))
}

/// Takes the body, so that it is gone before the long wait. Who sends is asked first: a stranger learns nothing about what
/// is wrong with a request.
#[allow(clippy::needless_pass_by_value, reason = "the body must end here")]
fn understand<V, P>(body: Bytes, verify: V) -> Result<(Signed<P>, Request), ApiError>
where
    V: FnOnce(&[u8]) -> Result<Signed<P>, ApiError>,
{
    let signed = verify(&body)?;
    Ok((signed, decode::decode(&body)?))
}

#[cfg(test)]
mod tests;
