//! A target's HTTP/2 connections: opens them when needed, hands out their streams, carries a request over one and brings
//! the answer back. It knows no provider and no payload, and decides nothing about repeating what a provider may have
//! acted on.
//!
//! ```text
//! request ── lease (slots) ── stream (h2) ── answer
//!               │                  │
//!            opener            connection task: poll h2, write what it gathered, ping
//! ```
//!
//! Its own pool, because the pooled clients there are lose requests on a cold burst against a peer that allows one
//! stream, and on GOAWAY; and because gathering writes is worth more than anything else done for speed here.

mod connect;
mod connection;
mod gather;
mod pool;
mod race;
mod slots;
mod trouble;
mod walk;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use h2::client::ResponseFuture;
use http::{HeaderMap, Request, StatusCode};
use tokio::time::{Instant, timeout_at};

pub(crate) use connect::{ConnectError, Target};
use pool::{Lease, Shared, Silence};
pub(crate) use slots::Tuning;
pub(crate) use trouble::{TransportError, Trouble};
pub(crate) use walk::{Greeting, SecureError, Secured, Unacceptable};

/// How often a request is repeated at once that the peer has promised not to have looked at. A peer that turns down four
/// connections' worth in a row is in trouble, and the caller's back-off is the better answer.
const MAX_REPLAYS: u32 = 3;

/// What is read of an answer's body, in bytes. APNs sends a few dozen, FCM less than 2 KiB.
const MAX_BODY: usize = 16 * 1024;

/// What a peer answered.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Cut at 16 KiB, or what kept it from coming whole.
    pub(crate) body: Result<Bytes, Trouble>,
}

/// How long one attempt may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Until the request is on its way: a credential, a connection, a stream.
    pub to_send: Duration,
    /// Until the answer, with all of that. A peer that answers PINGs is only slow, and it may have acted already: to ask again would
    /// not be quicker. One that does not is left after some seconds, whatever this says.
    pub to_hear: Duration,
}

impl Patience {
    /// So long for everything.
    pub fn of(time: Duration) -> Self {
        Self { to_send: time, to_hear: time }
    }

    /// What is left of it after so long.
    #[must_use]
    pub(crate) fn after(self, time: Duration) -> Self {
        Self { to_send: self.to_send.saturating_sub(time), to_hear: self.to_hear.saturating_sub(time) }
    }
}

/// The connections to one target. Opens none before the first request; dropping it ends them all.
pub(crate) struct Pool(Arc<Shared>);

/// What a request does while there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoWay {
    /// It waits for one, as long as it may take.
    Wait,
    /// It waits for the next try at one, and gives up if that fails: it can wait elsewhere.
    GiveUp,
}

/// How far a request has come, which decides what running out of time means.
enum Stage {
    Unsent,
    Sent(Silence),
    /// The peer has answered; only the rest of its answer is missing.
    Answered(StatusCode, HeaderMap),
}

impl Pool {
    pub(crate) fn new(target: Target, tuning: Tuning) -> Self {
        Self(Arc::new(Shared::new(target, tuning)))
    }

    /// Sends one request and brings its answer. `head` is asked once for each time the request is put on a connection: once,
    /// and again for each replay (at most 3) of what a peer has not looked at.
    ///
    /// Dropping the future, or running out of time, resets the stream and frees its place.
    pub(crate) async fn request(
        &self,
        head: impl Fn() -> Request<()>,
        body: &Bytes,
        patience: Patience,
        no_way: NoWay,
    ) -> Result<Response, TransportError> {
        let started = Instant::now();
        let (send_by, hear_by) = (started + patience.to_send, started + patience.to_hear.max(patience.to_send));
        let mut stage = Stage::Unsent;
        let result = timeout_at(hear_by, self.exchange(head, body, send_by, no_way, &mut stage)).await;
        let reason = match result {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(reason)) => reason,
            Err(_) => Trouble::Timeout,
        };
        match stage {
            Stage::Answered(status, headers) => Ok(Response { status, headers, body: Err(reason) }),
            Stage::Sent(silence) => {
                if reason == Trouble::Timeout {
                    self.0.had_no_answer(&silence);
                }
                Err(TransportError { reason, unprocessed: reason.is_unprocessed() })
            }
            // The time for sending may be all the time there is.
            Stage::Unsent if reason == Trouble::Timeout => {
                Err(TransportError { reason: self.0.why_none(), unprocessed: true })
            }
            Stage::Unsent => Err(TransportError { reason, unprocessed: true }),
        }
    }

    async fn exchange(
        &self,
        head: impl Fn() -> Request<()>,
        body: &Bytes,
        send_by: Instant,
        no_way: NoWay,
        stage: &mut Stage,
    ) -> Result<Response, Trouble> {
        let mut replays = 0;
        loop {
            let lease = timeout_at(send_by, self.0.lease(no_way)).await.unwrap_or_else(|_| Err(self.0.why_none()))?;
            let trouble = match send(&lease, head(), body) {
                Ok(answer) => {
                    *stage = Stage::Sent(lease.silence());
                    match receive(answer, &lease, stage).await {
                        Ok(response) => return Ok(response),
                        Err(error) => Trouble::of(&error),
                    }
                }
                // The connection has ended or is closing since it was chosen: nothing was sent.
                Err(error) => match Trouble::of(&error) {
                    Trouble::RefusedStream => Trouble::RefusedStream,
                    _ => Trouble::GoAway,
                },
            };
            if trouble == Trouble::GoAway {
                lease.retire();
            }
            if matches!(stage, Stage::Answered(..)) || !trouble.is_unprocessed() || replays == MAX_REPLAYS {
                return Err(trouble);
            }
            *stage = Stage::Unsent;
            replays += 1;
        }
    }
}

/// Hands a request to the connection's task.
fn send(lease: &Lease, head: Request<()>, body: &Bytes) -> Result<ResponseFuture, h2::Error> {
    // A clone of its own: h2 would otherwise make this request wait until the task has taken the one before.
    let mut handle = lease.handle();
    let (answer, mut stream) = handle.send_request(head, body.is_empty())?;
    if !body.is_empty() {
        // h2 keeps what the peer's window does not let through yet; a payload has a few KiB.
        stream.send_data(body.clone(), true)?;
    }
    Ok(answer)
}

async fn receive(answer: ResponseFuture, lease: &Lease, stage: &mut Stage) -> Result<Response, h2::Error> {
    let (parts, mut stream) = answer.await?.into_parts();
    lease.answered();
    let sent = std::mem::replace(stage, Stage::Answered(parts.status, parts.headers));
    let body = read(&mut stream).await?;
    let Stage::Answered(status, headers) = std::mem::replace(stage, sent) else { unreachable!("set above") };
    Ok(Response { status, headers, body: Ok(body) })
}

async fn read(stream: &mut RecvStream) -> Result<Bytes, h2::Error> {
    let mut body = BytesMut::new();
    while let Some(chunk) = stream.data().await {
        let chunk = chunk?;
        // The window is per connection too: what is not given back is lost to the other streams.
        let _ = stream.flow_control().release_capacity(chunk.len());
        let room = MAX_BODY - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            break;
        }
    }
    Ok(body.freeze())
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (connections, streams, waiting) = self.0.counts();
        f.debug_struct("Pool")
            .field("connections", &connections)
            .field("streams", &streams)
            .field("waiting", &waiting)
            .finish_non_exhaustive()
    }
}
