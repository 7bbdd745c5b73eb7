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

/// What is read of an answer's body, in bytes. APNs sends a few dozen.
const MAX_BODY: usize = 16 * 1024;

/// What a peer answered.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Cut at 16 KiB. Empty with status 200, whose body carries nothing.
    pub(crate) body: Bytes,
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
    /// The peer said 200. Whatever happens to the rest of its answer, it has the request.
    Accepted(HeaderMap),
}

impl Pool {
    pub(crate) fn new(target: Target, tuning: Tuning) -> Self {
        Self(Arc::new(Shared::new(target, tuning)))
    }

    /// Sends one request and brings its answer, both before `deadline`. `head` is asked once for each time the request is
    /// put on a connection: once, and again for each replay (at most 3) of what a peer has not looked at.
    ///
    /// Dropping the future, or running out of time, resets the stream and frees its place.
    pub(crate) async fn request(
        &self,
        head: impl Fn() -> Request<()>,
        body: &Bytes,
        deadline: Instant,
        no_way: NoWay,
    ) -> Result<Response, TransportError> {
        let mut stage = Stage::Unsent;
        let result = timeout_at(deadline, self.exchange(head, body, no_way, &mut stage)).await;
        match (result, stage) {
            (Ok(Ok(response)), _) => Ok(response),
            (_, Stage::Accepted(headers)) => Ok(Response { status: StatusCode::OK, headers, body: Bytes::new() }),
            (Ok(Err(reason)), stage) => {
                Err(TransportError { reason, unprocessed: matches!(stage, Stage::Unsent) || reason.is_unprocessed() })
            }
            (Err(_), Stage::Sent(silence)) => {
                self.0.had_no_answer(&silence);
                Err(TransportError { reason: Trouble::Timeout, unprocessed: false })
            }
            (Err(_), Stage::Unsent) => Err(TransportError { reason: self.0.why_none(), unprocessed: true }),
        }
    }

    async fn exchange(
        &self,
        head: impl Fn() -> Request<()>,
        body: &Bytes,
        no_way: NoWay,
        stage: &mut Stage,
    ) -> Result<Response, Trouble> {
        let mut replays = 0;
        loop {
            let lease = self.0.lease(no_way).await?;
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
            if !trouble.is_unprocessed() || replays == MAX_REPLAYS {
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
        // h2 keeps what the peer's window does not let through yet; a payload has at most 5 KiB.
        stream.send_data(body.clone(), true)?;
    }
    Ok(answer)
}

async fn receive(answer: ResponseFuture, lease: &Lease, stage: &mut Stage) -> Result<Response, h2::Error> {
    let (parts, mut stream) = answer.await?.into_parts();
    lease.answered();
    if parts.status == StatusCode::OK {
        *stage = Stage::Accepted(parts.headers);
        read(&mut stream).await?;
        let Stage::Accepted(headers) = std::mem::replace(stage, Stage::Sent(lease.silence())) else {
            unreachable!("set above")
        };
        return Ok(Response { status: parts.status, headers, body: Bytes::new() });
    }
    let body = read(&mut stream).await?;
    Ok(Response { status: parts.status, headers: parts.headers, body })
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
