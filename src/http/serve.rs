//! Accepts connections and speaks HTTP/1.1 and HTTP/2 (with prior knowledge, or as agreed on over TLS) on them until told
//! to stop.
//!
//! It knows no route and no notification. What it owns is what a connection may cost: how many there are, how long one
//! may dawdle, how much it may buffer; that a handler's panic costs one request and not its connection; and that a handler
//! runs to its end, whoever leaves (`to_its_end`).

mod seats;
mod secure;
mod to_its_end;

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulConnection;
use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use super::answer::{self, Answer};
use super::pace::{self, Pace, PacedStream, Patience};
use super::tls::{Peer, Tls};
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::ListenerMetrics;
use seats::{Seat, Seats};
use to_its_end::ToItsEnd;

/// Bytes that HTTP/1 buffers of what it reads, which also bounds a request's headers. The smallest that hyper takes: a
/// push is about 1 KiB, and ten thousand idle connections should not hold more than they need.
const HTTP1_BUFFER_BYTES: usize = 8 * 1024;

/// Streams that one HTTP/2 connection may have open. A chat server sends 8 pushes per core at once; a proxy that gathers
/// several of them onto one connection still fits. The limit on requests in flight is counted over all connections.
const HTTP2_STREAMS: u32 = 256;

/// Bytes of all of a request's headers over HTTP/2. A chat server sends about 300.
const HTTP2_HEADER_BYTES: u32 = 16 * 1024;

/// Bytes that one HTTP/2 stream may send before we have read them: RFC 9113's own initial value. Times the streams, this
/// bounds what a connection can make us hold.
const HTTP2_STREAM_WINDOW: u32 = 65_535;

/// Bytes that all streams of one HTTP/2 connection together may send before we have read them.
const HTTP2_CONNECTION_WINDOW: u32 = 1024 * 1024;

/// How often a quiet HTTP/2 connection is asked whether its peer is still there, and how long it may take to say so.
const HTTP2_PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// The pause after a first failure to accept, doubled up to the second. Out of file descriptors, an immediate retry would
/// fail again and keep a core busy with it.
const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// How long a connection waits for one that asks nothing to make room before the others are looked at again.
const ROOM_LOOK: Duration = Duration::from_millis(100);

/// How often the log says that all connections are in use.
const FULL_WARNING_INTERVAL: Duration = Duration::from_mins(1);

/// What the connections of one listener may cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectionLimits {
    /// The most open connections. Beyond it none is accepted: they wait in the kernel's queue, whose length bounds them,
    /// and the caller's dial times out. Accepting in order to refuse would spend what there is too little of.
    pub(super) max_connections: usize,
    /// The longest wait for a request's headers once they have begun.
    pub(super) header_timeout: Duration,
    /// Whether a connection that asks nothing is closed for the next one when there is no slot. For a listener with few, where
    /// those who come must find one.
    pub(super) makes_room: bool,
    /// How long a connection is kept without a request; also the longest wait for a new connection's first word: Go's client
    /// dials ahead and keeps what it did not need for a later request.
    pub(super) idle_timeout: Duration,
}

/// What the connections are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Running,
    /// Finish running requests, begin no other, close.
    Draining,
    /// Close now.
    Dropped,
}

/// Serves `listener`, over TLS if there is any, until `shutdown` begins, then lets running requests finish; ends when the
/// last connection has ended, or at once when `shutdown` is forced.
pub(super) async fn serve(
    listener: TcpListener,
    limits: ConnectionLimits,
    tls: Option<Arc<Tls>>,
    metrics: ListenerMetrics,
    shutdown: Shutdown,
    routes: Routes,
) {
    let (stage, _) = watch::channel(Stage::Running);
    let protocols = Arc::new(Protocols::new(&stage));
    let start = |(stream, address, slot): Accepted, seats: Option<&mut Seats>| {
        let seat = seats.is_some().then(Arc::<Seat>::default);
        let own_seat = seat.clone();
        let serving = Serving {
            open: Open::new(metrics.clone(), slot),
            protocols: Arc::clone(&protocols),
            limits,
            stage: stage.subscribe(),
            routes: routes.clone(),
            seat,
        };
        // Two kinds of tasks: a plain connection need not reserve the room that a handshake takes.
        let connection = match &tls {
            None => tokio::spawn(plain(stream, address, serving)),
            Some(tls) => tokio::spawn(secure::connection(stream, address, Arc::clone(tls), serving)),
        };
        if let Some((seats, seat)) = seats.zip(own_seat) {
            seats.take(&seat, connection.abort_handle());
        }
    };
    let mut acceptor = Acceptor {
        listener,
        slots: Arc::new(Semaphore::new(limits.max_connections)),
        max_connections: limits.max_connections,
        seats: limits.makes_room.then(Seats::default),
        warned: None,
    };

    let mut begun = pin!(shutdown.begun());
    loop {
        tokio::select! {
            biased;
            () = &mut begun => break,
            accepted = acceptor.accept() => start(accepted, acceptor.seats.as_mut()),
        }
    }
    // Whoever the kernel has accepted for us already may have sent its request, and would not send it again.
    acceptor.left().into_iter().for_each(|accepted| start(accepted, None));

    stage.send_replace(Stage::Draining);
    tokio::select! {
        () = stage.closed() => {}
        () = shutdown.forced() => {
            stage.send_replace(Stage::Dropped);
            stage.closed().await;
        }
    }
}

/// A connection, its peer and its slot.
type Accepted = (TcpStream, IpAddr, OwnedSemaphorePermit);

/// Accepts connections as long as there are slots for them.
struct Acceptor {
    listener: TcpListener,
    slots: Arc<Semaphore>,
    max_connections: usize,
    /// Who can make room; absent where nobody has to.
    seats: Option<Seats>,
    /// When the log last said that there are no slots.
    warned: Option<Instant>,
}

impl Acceptor {
    /// The next connection that there is a slot for.
    async fn accept(&mut self) -> Accepted {
        let mut came = None;
        if self.seats.is_some() {
            // Nobody is asked to leave before somebody has come.
            came = Some(self.next().await);
            self.make_room().await;
        }
        if self.slots.available_permits() == 0 && self.warned.is_none_or(|then| then.elapsed() >= FULL_WARNING_INTERVAL)
        {
            self.warned = Some(Instant::now());
            tracing::warn!(
                max_connections = self.max_connections,
                "all connections are in use: callers wait until one ends; raise max_connections if this lasts"
            );
        }
        let slot = Arc::clone(&self.slots).acquire_owned().await.expect("the semaphore is never closed");
        let (stream, address) = match came {
            Some(came) => came,
            None => self.next().await,
        };
        (stream, address, slot)
    }

    /// Waits until there is a slot, and has those that ask nothing leave for it, one at a time.
    async fn make_room(&mut self) {
        let Some(seats) = &mut self.seats else { return };
        while self.slots.available_permits() == 0 {
            seats.make_room();
            // Given back at once: nobody else takes any.
            let _ = tokio::time::timeout(ROOM_LOOK, self.slots.acquire()).await;
        }
    }

    /// The next connection. Does not fail: it waits until accepting works again.
    async fn next(&self) -> (TcpStream, IpAddr) {
        let mut pause = ACCEPT_PAUSE.0;
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => return (stream, canonical(peer)),
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    tracing::error!(%error, ?pause, "cannot accept connections; trying again after a pause");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(ACCEPT_PAUSE.1);
                }
            }
        }
    }
}

impl Acceptor {
    /// Closes the listener and gives the connections that the kernel had accepted for it, as far as there are slots.
    /// From here the kernel refuses whoever dials.
    fn left(self) -> Vec<Accepted> {
        let Self { listener, slots, .. } = self;
        // Asks the kernel itself: tokio learns of what has come only when it next waits.
        let Ok(listener) = listener.into_std() else { return Vec::new() };
        let next = || {
            let slot = Arc::clone(&slots).try_acquire_owned().ok()?;
            let (stream, peer) = listener.accept().ok()?;
            stream.set_nonblocking(true).ok()?;
            Some((TcpStream::from_std(stream).ok()?, canonical(peer), slot))
        };
        std::iter::from_fn(next).collect()
    }
}

/// The address without the port. A socket for IPv6 and IPv4 reports an IPv4 peer as mapped into IPv6; it is IPv4.
fn canonical(peer: SocketAddr) -> IpAddr {
    peer.ip().to_canonical()
}

/// Whether accepting failed only for a caller who has gone, so that the next one can be accepted at once.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// The protocols that connections may speak.
struct Protocols {
    http1: http1::Builder,
    /// Reads the first bytes to tell HTTP/2 from HTTP/1. It hands them on apart from the rest, and for that hyper doubles
    /// the read buffer of an HTTP/1 connection: 16 KiB where 8 would do. So it gets only what may be HTTP/2.
    either: auto::Builder<Streams>,
    http2: auto::Builder<Streams>,
}

/// What a connection's first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaks {
    Http1,
    /// HTTP/1, for one request.
    Http1Once,
    PerhapsHttp2,
    /// As agreed on in the TLS handshake.
    Http2,
}

impl Speaks {
    /// By one or two bytes; `None` for none.
    fn of(first: &[u8]) -> Option<Self> {
        match first {
            [] => None,
            // HTTP/2 begins with `PRI * HTTP/2.0` (RFC 9113 § 3.4), and no method that is served here with `PR`.
            [b'P'] | [b'P', b'R'] => Some(Self::PerhapsHttp2),
            _ => Some(Self::Http1),
        }
    }
}

impl Protocols {
    fn new(stage: &watch::Sender<Stage>) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            // Pace keeps the time of headers.
            .header_read_timeout(None)
            .max_buf_size(HTTP1_BUFFER_BYTES)
            // Nobody looks for a caller that hangs up, which would take a second buffer: its handler runs to its end.
            .half_close(true);
        let mut either = auto::Builder::new(Streams(stage.clone()));
        either.http1().header_read_timeout(None).max_buf_size(HTTP1_BUFFER_BYTES).half_close(true);
        either
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(HTTP2_PING.0)
            .keep_alive_timeout(HTTP2_PING.1)
            .max_concurrent_streams(HTTP2_STREAMS)
            .max_header_list_size(HTTP2_HEADER_BYTES)
            .initial_stream_window_size(HTTP2_STREAM_WINDOW)
            .initial_connection_window_size(HTTP2_CONNECTION_WINDOW);
        let http2 = either.clone().http2_only();
        Self { http1, either, http2 }
    }
}

/// Looks at the first bytes without taking them. `None` if the caller has gone.
async fn first_words(stream: &TcpStream) -> Option<Speaks> {
    let mut first = [0; 2];
    let length = stream.peek(&mut first).await.ok()?;
    Speaks::of(&first[..length])
}

/// The same of what has come already; `None` if that is nothing. Asks the kernel itself: tokio learns of it only when it
/// next waits.
fn words_so_far(stream: &TcpStream) -> Option<Speaks> {
    let mut first = [0; 2];
    let (length, _) = rustix::net::recv(stream, &mut first[..], RecvFlags::PEEK).ok()?;
    Speaks::of(&first[..length])
}

/// What serves one connection.
struct Serving {
    open: Open,
    protocols: Arc<Protocols>,
    limits: ConnectionLimits,
    stage: watch::Receiver<Stage>,
    routes: Routes,
    /// Where connections make room for others.
    seat: Option<Arc<Seat>>,
}

impl Serving {
    /// Waits until a stop begins. With a receiver of its own: `attend` must still see the change.
    fn told_to_stop(&self) -> impl Future<Output = ()> + use<> {
        let mut stage = self.stage.clone();
        async move {
            // Fails only if `serve` has gone, which is a stop too.
            let _ = stage.wait_for(|stage| *stage != Stage::Running).await;
        }
    }

    /// hyper would close a connection that has not begun a request when it is told to stop. So a connection whose request
    /// has come is not told, and closes by itself after its first answer.
    fn once(&mut self) -> Speaks {
        self.stage.borrow_and_update();
        Speaks::Http1Once
    }
}

/// Serves one connection until it ends, dawdles or is told to.
async fn plain(stream: TcpStream, address: IpAddr, mut serving: Serving) {
    // An answer is one small write: waiting to fill a segment only delays it. Fails only if the caller has gone.
    let _ = stream.set_nodelay(true);
    let speaks = tokio::select! {
        biased;
        first = tokio::time::timeout(serving.limits.idle_timeout, first_words(&stream)) => match first {
            Ok(Some(speaks)) => speaks,
            Ok(None) | Err(_) => return,
        },
        () = serving.told_to_stop() => match words_so_far(&stream) {
            Some(Speaks::Http1) => serving.once(),
            // An HTTP/2 peer learns from our GOAWAY that nothing was processed.
            Some(_) => Speaks::PerhapsHttp2,
            None => return,
        },
    };
    converse(stream, Peer { address, identity: None }, speaks, serving).await;
}

/// Speaks HTTP on a connection until it ends, dawdles or is told to.
async fn converse<S>(stream: S, peer: Peer, speaks: Speaks, serving: Serving)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let Serving { open: _open, protocols, limits, stage, routes, seat } = serving;
    let pace = Pace::new(limits.header_timeout, limits.idle_timeout, Instant::now());
    if let Some(seat) = &seat {
        seat.speaks(&pace);
    }
    let io = TokioIo::new(PacedStream::new(stream, Arc::clone(&pace)));
    let service = service_fn({
        let (pace, stage) = (Arc::clone(&pace), Arc::new(stage.clone()));
        move |request: Request<Incoming>| {
            let running = pace.request();
            let handler = ToItsEnd::new(routes.answer(request, &peer), &stage);
            async move {
                let answer = answer::or_internal_error(handler).await;
                Ok::<_, Infallible>(while_it_is_given(answer, running))
            }
        }
    });
    match speaks {
        Speaks::Http1 | Speaks::Http1Once => {
            let mut http1 = protocols.http1.clone();
            http1.keep_alive(speaks == Speaks::Http1);
            // Pinned here and lent: an async function keeps what it is given beside what it makes of it.
            let mut connection = pin!(http1.serve_connection(io, service));
            attend(connection.as_mut(), pace, limits, stage).await;
        }
        // Rare and large: apart, so that the usual connection need not reserve the room.
        Speaks::PerhapsHttp2 | Speaks::Http2 => {
            let either = if speaks == Speaks::Http2 { &protocols.http2 } else { &protocols.either };
            let connection = either.serve_connection(io, service).into_owned();
            let attended: Pin<Box<dyn Future<Output = ()> + Send>> =
                Box::pin(attend_owned(connection, pace, limits, stage));
            attended.await;
        }
    }
}

/// An answer without a known length goes on after its beginning, and its connection is not idle until it ends.
fn while_it_is_given(answer: Answer, running: pace::Request) -> Answer {
    if answer.body().size_hint().exact().is_some() {
        return answer;
    }
    answer.map(|body| {
        axum::body::Body::new(body.map_frame(move |frame| {
            let _still = &running;
            frame
        }))
    })
}

/// [`attend`] for a connection that is kept elsewhere than in its task.
async fn attend_owned<C>(connection: C, pace: Arc<Pace>, limits: ConnectionLimits, stage: watch::Receiver<Stage>)
where
    C: GracefulConnection,
    C::Error: std::fmt::Display,
{
    attend(pin!(connection), pace, limits, stage).await;
}

/// Keeps one connection going until it ends, dawdles or is told to.
async fn attend<C>(
    mut connection: Pin<&mut C>,
    pace: Arc<Pace>,
    limits: ConnectionLimits,
    mut stage: watch::Receiver<Stage>,
) where
    C: GracefulConnection,
    C::Error: std::fmt::Display,
{
    let mut look = pin!(tokio::time::sleep(limits.header_timeout));
    let mut asked_to_close = false;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended with an error");
                }
                return;
            }
            // The sender outlives its receivers: `serve` waits for them.
            _ = stage.changed() => match *stage.borrow_and_update() {
                Stage::Running => {}
                Stage::Draining => {
                    connection.as_mut().graceful_shutdown();
                    // Whoever does not read must not hold the end up longer than it may.
                    look.as_mut().reset(Instant::now());
                }
                Stage::Dropped => return,
            },
            () = look.as_mut() => match pace.patience(Instant::now()) {
                Patience::Until(then) => look.as_mut().reset(then),
                // Asked to close an idle while ago, and still there.
                Patience::Idle if asked_to_close => return,
                Patience::Idle => {
                    asked_to_close = true;
                    connection.as_mut().graceful_shutdown();
                    // HTTP/1 closes at once. An HTTP/2 peer has this long to read our GOAWAY.
                    look.as_mut().reset(Instant::now() + limits.header_timeout);
                }
                Patience::Exhausted => {
                    tracing::debug!("a connection was closed: its headers took too long");
                    return;
                }
                Patience::Unread => {
                    tracing::debug!("a connection was closed: its caller does not read what it is answered");
                    return;
                }
            },
        }
    }
}

/// An answer in the making.
pub(super) type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// What a listener hands its requests to, each with who is at the other end of its connection. Cheap to clone.
#[derive(Clone)]
pub(super) struct Routes(Arc<Answers>);

type Answers = dyn Fn(Request<Incoming>, &Peer) -> Answering + Send + Sync;

impl Routes {
    pub(super) fn new(answer: impl Fn(Request<Incoming>, &Peer) -> Answering + Send + Sync + 'static) -> Self {
        Self(Arc::new(answer))
    }

    pub(super) fn answer(&self, request: Request<Incoming>, peer: &Peer) -> Answering {
        (self.0)(request, peer)
    }
}

/// One open connection: its slot, and its place in the count.
struct Open {
    metrics: ListenerMetrics,
    _slot: OwnedSemaphorePermit,
}

impl Open {
    fn new(metrics: ListenerMetrics, slot: OwnedSemaphorePermit) -> Self {
        metrics.opened();
        Self { metrics, _slot: slot }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics.closed();
    }
}

/// Runs the requests of HTTP/2 connections, each as a task that ends with its connection's stage.
#[derive(Clone)]
struct Streams(watch::Sender<Stage>);

impl<T> hyper::rt::Executor<T> for Streams
where
    T: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, request: T) {
        let mut stage = self.0.subscribe();
        tokio::spawn(async move {
            tokio::select! {
                () = request => {}
                // Fails only if the sender has gone, and then nobody waits for the answer either.
                _ = stage.wait_for(|stage| *stage == Stage::Dropped) => {}
            }
        });
    }
}

#[cfg(test)]
#[path = "serve_tests.rs"]
mod tests;
