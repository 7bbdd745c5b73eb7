//! One HTTP/2 connection: the task that drives it, writes what it gathered, watches the peer's stream limit and finds
//! out when the peer is gone.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::FutureExt;
use h2::client::{Connection, SendRequest};
use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Sleep, sleep};

use super::gather::Gather;
use super::slots::Tuning;
use super::trouble::Trouble;

/// What is said of a connection that ended as both sides agreed.
pub(super) const ORDERLY: &str = "closed";

/// What is said of one whose peer is gone without a word.
pub(super) const SILENT: &str = "no answer to a ping";

/// Response headers, in bytes: Apple's are a status, an id and a date.
const MAX_HEADER_LIST: u32 = 16 * 1024;

/// Requests given up whose late answers are still recognised. A peer that stalls makes all its streams time out at once.
const REMEMBERED_RESETS: usize = 1_024;

/// How long those are remembered.
const REMEMBER_RESETS_FOR: std::time::Duration = std::time::Duration::from_secs(30);

/// What the driver tells the pool.
pub(super) trait Report {
    /// Streams that the peer allows from now on.
    fn limit(&self, streams: usize);
    /// Requests that wait for an answer.
    fn in_use(&self) -> usize;
    /// Bytes received so far.
    fn heard(&self, bytes: u64);
    /// The peer owes the answer to a ping, or has said something since.
    fn suspect(&self, suspect: bool);
}

/// Why a connection ended.
pub(super) struct Ended {
    pub(super) trouble: Trouble,
    /// For the log. Holds no secret: HTTP/2 and TLS error texts.
    pub(super) detail: String,
}

/// Prepares HTTP/2 on a fresh stream. Nothing is sent before the driver runs.
pub(super) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    tuning: &Tuning,
) -> Result<(SendRequest<Bytes>, Driver<S>), h2::Error> {
    let wire = Gather::new(stream);
    let (handle, mut h2) = h2::client::Builder::new()
        .enable_push(false)
        // Until the peer's settings are here, one: APNs starts token-authenticated connections that way, and a burst
        // beyond the limit would be refused.
        .initial_max_send_streams(1)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_concurrent_reset_streams(REMEMBERED_RESETS)
        .reset_stream_duration(REMEMBER_RESETS_FOR)
        .handshake(wire.handle())
        .await?;
    let pings = h2.ping_pong();
    let alive = Alive {
        tick: Box::pin(sleep(tuning.tick)),
        tuning: tuning.clone(),
        pings,
        seen: 0,
        silent: 0,
        pinged: false,
        suspect: false,
        patience: tuning.busy_ticks,
        unanswered: false,
    };
    Ok((handle, Driver { h2, wire, limit: 1, alive }))
}

/// Moves bytes until the connection ends.
pub(super) struct Driver<S> {
    h2: Connection<Gather<S>, Bytes>,
    wire: Gather<S>,
    /// As last reported.
    limit: usize,
    alive: Alive,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    /// One round: everything that can be read and written now. Dropping the driver fails all streams at once.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, report: &impl Report) -> Poll<Ended> {
        if let Poll::Ready(result) = self.h2.poll_unpin(cx) {
            return Poll::Ready(match result {
                Ok(()) => ended(Trouble::ConnectionLost, ORDERLY),
                Err(error) => ended(Trouble::of(&error), error),
            });
        }
        // `Pending` only means that the socket is full; it wakes this task when it is not.
        if let Poll::Ready(Err(error)) = self.wire.poll_drain(cx) {
            return Poll::Ready(io_ended(&error));
        }
        let limit = self.h2.max_concurrent_send_streams();
        if limit != self.limit {
            self.limit = limit;
            report.limit(limit);
        }
        let received = self.wire.received();
        report.heard(received);
        self.alive.poll(cx, received, report)
    }
}

fn ended(trouble: Trouble, detail: impl std::fmt::Display) -> Ended {
    Ended { trouble, detail: detail.to_string() }
}

fn io_ended(error: &io::Error) -> Ended {
    let trouble = if error.kind() == io::ErrorKind::InvalidData { Trouble::Tls } else { Trouble::ConnectionLost };
    ended(trouble, error)
}

/// Finds connections whose other end is gone without a word. Silence is counted in ticks, so that a busy connection
/// pays one timer each few seconds and nothing per request.
struct Alive {
    tick: Pin<Box<Sleep>>,
    tuning: Tuning,
    /// `None` only if h2 had given it away before.
    pings: Option<PingPong>,
    /// Bytes received at the last tick.
    seen: u64,
    /// Ticks in a row without a byte.
    silent: u32,
    /// A ping has been sent in this silence.
    pinged: bool,
    /// Reported as such.
    suspect: bool,
    /// Silent ticks until the next ping while requests wait.
    patience: u32,
    /// A ping's answer has not been taken yet.
    unanswered: bool,
}

impl Alive {
    fn poll(&mut self, cx: &mut Context<'_>, received: u64, report: &impl Report) -> Poll<Ended> {
        if self.suspect && received != self.seen {
            self.suspect = false;
            report.suspect(false);
        }
        while self.tick.as_mut().poll_unpin(cx).is_ready() {
            self.tick.as_mut().reset(tokio::time::Instant::now() + self.tuning.tick);
            if received != self.seen {
                // A peer that only answers pings is slow, and need not be asked again so soon.
                self.patience =
                    if self.pinged { (self.patience * 2).min(self.tuning.idle_ticks) } else { self.tuning.busy_ticks };
                (self.seen, self.silent, self.pinged) = (received, 0, false);
                continue;
            }
            self.silent += 1;
            let patience = if report.in_use() > 0 { self.patience } else { self.tuning.idle_ticks };
            if self.pinged {
                if self.silent >= self.tuning.pong_ticks {
                    return Poll::Ready(ended(Trouble::ConnectionLost, SILENT));
                }
                if !self.suspect {
                    self.suspect = true;
                    report.suspect(true);
                }
            } else if self.silent >= patience {
                self.pinged = true;
                // The wait for the answer begins now.
                self.silent = 0;
                self.ping();
            }
        }
        // Taking the answer frees h2's only place for a ping. Its bytes have ended the silence by themselves.
        if self.unanswered
            && let Some(pings) = &mut self.pings
            && pings.poll_pong(cx).is_ready()
        {
            self.unanswered = false;
        }
        Poll::Pending
    }

    fn ping(&mut self) {
        if let Some(pings) = &mut self.pings {
            // It fails if an earlier ping is still unanswered, which then serves as well.
            let _ = pings.send_ping(Ping::opaque());
            self.unanswered = true;
        }
    }
}
