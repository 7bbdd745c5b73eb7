//! One HTTP/2 connection: takes streams, lets the providers decide about them, and does to them what was decided.
//!
//! Everything that changes the ledger happens in this one task, one stream after the other; that is why the ledger
//! can say for certain what was processed before a GOAWAY and what was not.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream};
use http::Response;
use tokio::io::{AsyncRead, AsyncWrite};

use super::exchange::{Answer, Body, Core, Decision, Disturbance, MAX_BODY, Request, Service};
use super::faults::{GoAway, Reset, Stall};
use super::frames::{Frames, Misstep};
use super::ledger::{Unprocessed, Violation};
use super::wire::{FramedIo, Wire};

/// Bytes a connection may have in flight towards us. Bodies are at most [`MAX_BODY`]; 1,000 streams of 4 KiB fit.
const WINDOW: u32 = 16 * 1024 * 1024;
/// How long a client may take to close after a GOAWAY that was followed by our goodbye.
const LINGER: Duration = Duration::from_secs(5);
/// How long a stalled connection is held before it is dropped; longer than any client's patience.
const STALL: Duration = Duration::from_mins(10);
/// Streams the client has reset whose remains are kept. A client that times out often is not an attack here.
const RESET_STREAMS: usize = 10_000;

/// How many streams a connection may open.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamLimits {
    /// Before the first authenticated request was answered.
    pub(super) at_first: u32,
    /// From then on.
    pub(super) later: u32,
}

/// Serves one connection until the client or a fault ends it.
pub(super) async fn serve<T>(io: T, core: &Core, service: &Service, limits: StreamLimits, connection: u64)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let wire = Wire::new(Frames::new(limits.at_first.min(limits.later), limits.later));
    let io = FramedIo::new(io, wire.clone());
    let handshake = server::Builder::new()
        .max_concurrent_streams(limits.later)
        .initial_connection_window_size(WINDOW)
        .max_pending_accept_reset_streams(RESET_STREAMS)
        .max_concurrent_reset_streams(RESET_STREAMS)
        .max_local_error_reset_streams(None)
        .handshake::<_, Bytes>(io);
    // A client that does not even speak HTTP/2 is gone; there is nobody left to tell.
    let Ok(mut h2) = handshake.await else { return };
    let mut driver = Driver {
        core,
        connection,
        wire,
        answered_up_to: 0,
        highest_taken: 0,
        last_stream: None,
        held: Vec::new(),
        next: Next::Go,
    };
    let mut running = FuturesUnordered::new();
    loop {
        let leaving = driver.last_stream.filter(|_| running.is_empty());
        tokio::select! {
            accepted = accept_or_leave(&mut h2, &driver.wire, leaving) => {
                driver.note_missteps();
                let accepted = match accepted {
                    Accept::Stream(accepted) => accepted,
                    Accept::Leave => break,
                    Accept::Closed => return,
                };
                let (request, respond) = *accepted;
                if let Some(respond) = driver.take(respond) {
                    running.push(exchange(core, service, connection, request, respond));
                }
            }
            Some((respond, decision)) = running.next() => match decision {
                Some(decision) => driver.settle(respond, decision),
                None => driver.abandon(&respond, String::new()),
            },
        }
        match std::mem::replace(&mut driver.next, Next::Go) {
            Next::Go => {}
            Next::Drop => return,
            Next::Stall => return tokio::time::sleep(STALL).await,
            Next::ShutDown => h2.graceful_shutdown(),
        }
    }
    // What was promised is answered and written: say goodbye, and hold the refused streams until the client has read it all.
    driver.wire.close();
    let _ = tokio::time::timeout(LINGER, async { while let Some(Ok(_)) = h2.accept().await {} }).await;
}

type Taken = (http::Request<RecvStream>, SendResponse<Bytes>);

enum Accept {
    Stream(Box<Taken>),
    /// Everything up to the last stream of a GOAWAY is answered and written.
    Leave,
    Closed,
}

/// The next stream, or the moment to leave: h2 writes only while it is polled for streams, so both are one wait.
async fn accept_or_leave<T>(h2: &mut server::Connection<T, Bytes>, wire: &Wire, leaving: Option<u32>) -> Accept
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    std::future::poll_fn(|context| {
        let accepted = pin!(h2.accept()).poll(context);
        match accepted {
            Poll::Ready(Some(Ok(stream))) => Poll::Ready(Accept::Stream(Box::new(stream))),
            Poll::Ready(Some(Err(_)) | None) => Poll::Ready(Accept::Closed),
            Poll::Pending if leaving.is_some_and(|last| wire.is_settled(last)) => Poll::Ready(Accept::Leave),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// What the connection does after the present stream.
enum Next {
    Go,
    /// Break off without a word.
    Drop,
    /// Hold still, neither reading nor writing.
    Stall,
    /// Two-step GOAWAY: everything received is answered.
    ShutDown,
}

struct Driver<'a> {
    core: &'a Core,
    connection: u64,
    wire: Wire,
    /// The highest stream that was answered.
    answered_up_to: u32,
    /// The highest stream that was taken up.
    highest_taken: u32,
    /// After a GOAWAY that leaves streams unprocessed: the last that is not.
    last_stream: Option<u32>,
    /// Streams that get no answer but must not be reset either, at most as many as the stream limit allows.
    held: Vec<SendResponse<Bytes>>,
    next: Next,
}

impl Driver<'_> {
    fn note_missteps(&mut self) {
        let connection = self.connection;
        for misstep in self.wire.take_missteps() {
            self.core.ledger.note_violation(match misstep {
                Misstep::TooManyStreams(stream) => Violation::TooManyStreams { connection, stream },
                Misstep::Priority(stream) => Violation::PriorityFrame { connection, stream },
            });
        }
    }

    /// A new stream: back if it is to be processed.
    fn take(&mut self, mut respond: SendResponse<Bytes>) -> Option<SendResponse<Bytes>> {
        let stream = respond.stream_id().as_u32();
        if self.wire.is_refused(stream) {
            respond.send_reset(Reason::REFUSED_STREAM);
            self.abandon(&respond, String::new());
            None
        } else if self.last_stream.is_some_and(|last| stream > last) {
            self.abandon(&respond, String::new());
            self.held.push(respond);
            None
        } else {
            self.highest_taken = self.highest_taken.max(stream);
            Some(respond)
        }
    }

    fn abandon(&self, respond: &SendResponse<Bytes>, device_token: String) {
        self.core.ledger.leave_unprocessed(Unprocessed {
            connection: self.connection,
            stream: respond.stream_id().as_u32(),
            device_token,
        });
    }

    fn settle(&mut self, mut respond: SendResponse<Bytes>, decision: Decision) {
        let stream = respond.stream_id().as_u32();
        let beyond = |last: Option<u32>| last.is_some_and(|last| stream > last);
        if beyond(self.last_stream) {
            self.abandon(&respond, decision.device_token);
            self.held.push(respond);
            return;
        }
        match decision.disturbance {
            None => self.answer(respond, decision),
            Some(Disturbance::Reset(Reset::AnswerLost)) => {
                self.core.commit(decision.record);
                respond.send_reset(Reason::INTERNAL_ERROR);
            }
            Some(Disturbance::Reset(reset)) => {
                match reset {
                    Reset::Stream | Reset::AnswerLost => respond.send_reset(Reason::INTERNAL_ERROR),
                    Reset::Refused => respond.send_reset(Reason::REFUSED_STREAM),
                    Reset::Connection => self.next = Next::Drop,
                }
                self.abandon(&respond, decision.device_token);
            }
            Some(Disturbance::Stall(stall)) => {
                if stall == Stall::Connection {
                    self.next = Next::Stall;
                }
                self.abandon(&respond, decision.device_token);
                self.held.push(respond);
            }
            Some(Disturbance::GoAway(GoAway::Graceful)) => {
                self.next = Next::ShutDown;
                self.answer(respond, decision);
            }
            Some(Disturbance::GoAway(goaway)) => {
                // Streams below one that was answered may have been processed, so they must be (RFC 9113 § 6.8).
                let last = match goaway {
                    GoAway::Before => self.answered_up_to.max(stream.saturating_sub(2)),
                    GoAway::After | GoAway::Graceful => self.answered_up_to.max(stream),
                };
                let last = self.last_stream.map_or(last, |earlier| earlier.min(last));
                self.last_stream = Some(last);
                self.wire.say_goaway(last);
                if stream > last {
                    self.abandon(&respond, decision.device_token);
                    self.held.push(respond);
                } else {
                    self.answer(respond, decision);
                }
            }
        }
    }

    fn answer(&mut self, mut respond: SendResponse<Bytes>, decision: Decision) {
        let stream = respond.stream_id().as_u32();
        self.answered_up_to = self.answered_up_to.max(stream);
        if decision.authenticated {
            self.wire.raise_limit_after(stream);
        }
        self.core.commit(decision.record);
        // An error says that the client gave up on the stream; it was processed all the same.
        let _ = send(&mut respond, decision.answer);
    }
}

fn send(respond: &mut SendResponse<Bytes>, answer: Answer) -> Result<(), h2::Error> {
    let mut response = Response::new(());
    *response.status_mut() = answer.status;
    response.headers_mut().extend(answer.headers.into_iter().map(|(name, value)| (Some(name), value)));
    let mut body = respond.send_response(response, answer.body.is_empty())?;
    if answer.body.is_empty() { Ok(()) } else { body.send_data(answer.body, true) }
}

/// Reads a stream's request and asks what becomes of it; nothing when the client broke it off.
async fn exchange(
    core: &Core,
    service: &Service,
    connection: u64,
    request: http::Request<RecvStream>,
    respond: SendResponse<Bytes>,
) -> (SendResponse<Bytes>, Option<Decision>) {
    let stream = respond.stream_id().as_u32();
    let (head, body) = request.into_parts();
    let Ok(body) = read(body).await else { return (respond, None) };
    let request = Request { method: head.method, path: head.uri.path().to_owned(), headers: head.headers, body };
    let decision = core.decide(service, request, connection, stream).await;
    (respond, Some(decision))
}

async fn read(mut stream: RecvStream) -> Result<Body, h2::Error> {
    let mut body = Vec::new();
    let mut too_large = false;
    while let Some(part) = stream.data().await {
        let part = part?;
        stream.flow_control().release_capacity(part.len())?;
        too_large |= body.len() + part.len() > MAX_BODY;
        if !too_large {
            body.extend_from_slice(&part);
        }
    }
    Ok(if too_large { Body::TooLarge } else { Body::Complete(body.into()) })
}
