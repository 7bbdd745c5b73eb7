//! How long a connection may keep us waiting: for a request's headers, and between requests.
//!
//! hyper has one timer for both, restarted at each request. The two need different lengths: headers that take ten
//! seconds are an attack, while a chat server keeps a connection for its next request 90 seconds (the default of Go's
//! HTTP client) and does not repeat a request that meets a closing connection. So the stream says when bytes come, the
//! service when a request begins and ends, and the connection's task looks in at the earliest moment that could matter.
//! Nothing here counts bytes of bodies: those have a limit of their own.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// How long a caller may take nothing of an answer that is being written: 20 s. One that reads at all, however slowly, takes
/// something in that time; one that does not would hold its connection, and what is buffered for it, for good.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(20);

/// What an HTTP/2 client sends first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What one connection is doing.
#[derive(Debug)]
pub(super) struct Pace {
    header_timeout: Duration,
    /// How long the connection is kept without a request.
    idle_timeout: Duration,
    phase: Mutex<Phase>,
    /// Since when an answer waits to be read.
    unread_since: Mutex<Option<Instant>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Headers are being received, or the connection is new and nothing came yet.
    Headers { since: Instant },
    /// Requests are being worked on; never 0.
    Busy { requests: u32 },
    /// Between requests.
    Idle { since: Instant },
}

/// What to do about a connection now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// Look again then.
    Until(Instant),
    /// It was idle for long: close it in an orderly way.
    Idle,
    /// The headers took too long: drop it.
    Exhausted,
    /// The caller does not read what it is answered: drop it.
    Unread,
}

impl Pace {
    pub(super) fn new(header_timeout: Duration, idle_timeout: Duration, now: Instant) -> Arc<Self> {
        Arc::new(Self {
            header_timeout,
            idle_timeout,
            phase: Mutex::new(Phase::Headers { since: now }),
            unread_since: Mutex::default(),
        })
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        // A phase is one word of data: a panic cannot leave it half written.
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bytes_came(&self) {
        let mut phase = self.phase();
        if matches!(*phase, Phase::Idle { .. }) {
            *phase = Phase::Headers { since: Instant::now() };
        }
    }

    /// An HTTP/2 client has introduced itself. From here pings watch over it, and its frames are no sign of headers.
    fn speaks_http2(&self) {
        let mut phase = self.phase();
        if matches!(*phase, Phase::Headers { .. }) {
            *phase = Phase::Idle { since: Instant::now() };
        }
    }

    /// A request's headers are complete. The request lasts until the guard goes.
    pub(super) fn request(self: &Arc<Self>) -> Request {
        let mut phase = self.phase();
        let running = if let Phase::Busy { requests } = *phase { requests } else { 0 };
        *phase = Phase::Busy { requests: running + 1 };
        Request(Arc::clone(self))
    }

    /// What to do about this connection at `now`.
    pub(super) fn patience(&self, now: Instant) -> Patience {
        let give_up = self.unread_since().map(|since| since + UNREAD_TIMEOUT);
        match (self.patience_with_phase(now), give_up) {
            (_, Some(give_up)) if now >= give_up => Patience::Unread,
            (Patience::Until(then), Some(give_up)) => Patience::Until(then.min(give_up)),
            (patience, _) => patience,
        }
    }

    /// Since when there is no request that its caller still waits for; `None` while there is one. An answer that is not read counts
    /// as none.
    pub(super) fn without_request_since(&self) -> Option<Instant> {
        match *self.phase() {
            Phase::Headers { since } | Phase::Idle { since } => Some(since),
            Phase::Busy { .. } => *self.unread_since(),
        }
    }

    fn unread_since(&self) -> MutexGuard<'_, Option<Instant>> {
        // One word of data, as the phase.
        self.unread_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn patience_with_phase(&self, now: Instant) -> Patience {
        match *self.phase() {
            Phase::Headers { since } if now >= since + self.header_timeout => Patience::Exhausted,
            Phase::Headers { since } => Patience::Until(since + self.header_timeout),
            // No headers that begin after `now` can be late before then.
            Phase::Busy { .. } => Patience::Until(now + self.header_timeout),
            Phase::Idle { since } if now >= since + self.idle_timeout => Patience::Idle,
            Phase::Idle { since } => Patience::Until((now + self.header_timeout).min(since + self.idle_timeout)),
        }
    }
}

/// One running request.
#[derive(Debug)]
pub(super) struct Request(Arc<Pace>);

impl Drop for Request {
    fn drop(&mut self) {
        let mut phase = self.0.phase();
        *phase = match *phase {
            Phase::Busy { requests } if requests > 1 => Phase::Busy { requests: requests - 1 },
            _ => Phase::Idle { since: Instant::now() },
        };
    }
}

/// A connection's stream that tells its [`Pace`] when bytes come.
#[derive(Debug)]
pub(super) struct PacedStream<S> {
    stream: S,
    pace: Arc<Pace>,
    opening: Opening,
    /// The last write found no room. Kept here so that a write that finds some costs no lock.
    is_unread: bool,
}

/// What the first bytes say about the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    /// This many bytes came, all as an HTTP/2 preface begins; fewer than 24.
    Undecided(usize),
    Http1,
    Http2,
}

impl Opening {
    fn after(self, bytes: &[u8]) -> Self {
        let Self::Undecided(matched) = self else { return self };
        let expected = &PREFACE[matched..];
        let compared = bytes.len().min(expected.len());
        if bytes[..compared] != expected[..compared] {
            Self::Http1
        } else if compared == expected.len() {
            Self::Http2
        } else {
            Self::Undecided(matched + compared)
        }
    }
}

impl<S> PacedStream<S> {
    pub(super) fn new(stream: S, pace: Arc<Pace>) -> Self {
        Self { stream, pace, opening: Opening::Undecided(0), is_unread: false }
    }

    /// Takes note of whether a write found room.
    fn wrote(&mut self, found_room: bool) {
        if self.is_unread == found_room {
            self.is_unread = !found_room;
            *self.pace.unread_since() = self.is_unread.then(Instant::now);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PacedStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let came = &buf.filled()[before..];
        if let Opening::Undecided(_) = self.opening {
            self.opening = self.opening.after(came);
            if self.opening == Opening::Http2 {
                self.pace.speaks_http2();
            }
        } else if self.opening == Opening::Http1 && !came.is_empty() {
            self.pace.bytes_came();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PacedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(written.is_ready());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(written.is_ready());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// As by default.
    const IDLE: Duration = Duration::from_secs(120);

    #[tokio::test(start_paused = true)]
    async fn a_new_connection_has_the_header_timeout_to_send_its_first_headers() {
        let start = Instant::now();
        let pace = Pace::new(10 * SECOND, IDLE, start);
        assert_eq!(pace.patience(start), Patience::Until(start + 10 * SECOND));
        assert_eq!(pace.patience(start + 10 * SECOND), Patience::Exhausted);
    }

    #[tokio::test(start_paused = true)]
    async fn a_running_request_is_never_late_however_long_it_takes() {
        let pace = Pace::new(10 * SECOND, IDLE, Instant::now());
        let request = pace.request();
        let later = Instant::now() + 1_000 * SECOND;
        assert_eq!(pace.patience(later), Patience::Until(later + 10 * SECOND));
        drop(request);
    }

    #[tokio::test(start_paused = true)]
    async fn between_requests_a_connection_outlives_the_90_seconds_of_gos_client() {
        let pace = Pace::new(10 * SECOND, IDLE, Instant::now());
        drop(pace.request());
        let start = Instant::now();
        assert_eq!(pace.patience(start + 95 * SECOND), Patience::Until(start + 105 * SECOND));
        assert_eq!(pace.patience(start + 115 * SECOND), Patience::Until(start + 120 * SECOND));
        assert_eq!(pace.patience(start + 120 * SECOND), Patience::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn headers_that_begin_after_a_pause_have_the_header_timeout_again() {
        let pace = Pace::new(10 * SECOND, IDLE, Instant::now());
        drop(pace.request());
        tokio::time::advance(60 * SECOND).await;
        pace.bytes_came();
        tokio::time::advance(9 * SECOND).await;
        pace.bytes_came();
        assert_eq!(pace.patience(Instant::now()), Patience::Until(Instant::now() + SECOND));
        tokio::time::advance(SECOND).await;
        assert_eq!(pace.patience(Instant::now()), Patience::Exhausted);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_busy_until_the_last_of_its_streams_has_ended() {
        let pace = Pace::new(SECOND, IDLE, Instant::now());
        pace.speaks_http2();
        let (first, second) = (pace.request(), pace.request());
        drop(first);
        assert_eq!(*pace.phase(), Phase::Busy { requests: 1 });
        drop(second);
        assert_eq!(*pace.phase(), Phase::Idle { since: Instant::now() });
    }

    /// A stream that has read `opening`, and its other end.
    async fn opened_with(opening: &[u8]) -> (PacedStream<TcpStream>, TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let pace = Pace::new(SECOND, IDLE, Instant::now());
        let mut stream = PacedStream::new(listener.accept().await.unwrap().0, pace);
        peer.write_all(opening).await.unwrap();
        stream.read_exact(&mut vec![0; opening.len()]).await.unwrap();
        (stream, peer)
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_reads_nothing_of_its_answer_is_given_up_and_one_that_reads_is_not() {
        let (near, mut far) = tokio::io::duplex(16);
        let pace = Pace::new(60 * SECOND, IDLE, Instant::now());
        let mut stream = PacedStream::new(near, Arc::clone(&pace));
        let _request = pace.request();
        stream.write_all(&[0; 16]).await.unwrap();
        assert!(futures_util::poll!(std::pin::pin!(stream.write_all(&[0; 8]))).is_pending());
        let start = Instant::now();
        assert_eq!(pace.patience(start), Patience::Until(start + UNREAD_TIMEOUT));
        tokio::time::advance(UNREAD_TIMEOUT / 2).await;
        far.read_exact(&mut [0; 8]).await.unwrap();
        stream.write_all(&[0; 8]).await.unwrap();
        tokio::time::advance(UNREAD_TIMEOUT).await;
        let later = Instant::now();
        assert_eq!(pace.patience(later), Patience::Until(later + 60 * SECOND));
        assert!(futures_util::poll!(std::pin::pin!(stream.write_all(&[0; 8]))).is_pending());
        tokio::time::advance(UNREAD_TIMEOUT).await;
        assert_eq!(pace.patience(Instant::now()), Patience::Unread);
    }

    #[tokio::test]
    async fn the_first_byte_after_an_http1_request_begins_the_next_ones_headers() {
        let (mut stream, mut peer) = opened_with(b"POST / HTTP/1.1\r\n\r\n").await;
        assert!(matches!(*stream.pace.phase(), Phase::Headers { .. }));
        drop(stream.pace.request());
        assert!(matches!(*stream.pace.phase(), Phase::Idle { .. }));
        peer.write_all(b"P").await.unwrap();
        stream.read_u8().await.unwrap();
        assert!(matches!(*stream.pace.phase(), Phase::Headers { .. }));
    }

    #[tokio::test]
    async fn bytes_between_http2_requests_are_no_sign_of_headers() {
        let (mut stream, mut peer) = opened_with(PREFACE).await;
        assert!(matches!(*stream.pace.phase(), Phase::Idle { .. }));
        peer.write_all(b"a ping").await.unwrap();
        stream.read_u8().await.unwrap();
        assert!(matches!(*stream.pace.phase(), Phase::Idle { .. }));
    }

    #[test]
    fn the_preface_is_recognised_in_whatever_pieces_it_comes() {
        for cut in 0..PREFACE.len() {
            let (first, second) = PREFACE.split_at(cut);
            assert_eq!(Opening::Undecided(0).after(first), Opening::Undecided(cut));
            assert_eq!(Opening::Undecided(0).after(first).after(second), Opening::Http2);
            assert_eq!(Opening::Undecided(0).after(first).after(b"\0"), Opening::Http1);
        }
        assert_eq!(Opening::Undecided(0).after(b"POST /api/v1/send_push HTTP/1.1\r\n"), Opening::Http1);
    }
}
