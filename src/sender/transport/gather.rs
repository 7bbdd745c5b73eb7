//! Gathers what one poll of an HTTP/2 connection writes, so that it leaves in one piece.
//!
//! h2 hands every frame over by itself and flushes after most of them; each would become its own TLS record and its own
//! system call, which costs more than everything else about sending. So a flush asked for by h2 does nothing, and
//! whoever polls the connection calls [`Gather::poll_drain`] afterwards. That call is what keeps the promise that
//! nothing stays behind: a connection must never be polled without it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most that is held back, in bytes: four TLS records. A connection that writes more in one poll drains in between,
/// and waits for the socket as it would without this buffer.
pub(super) const CAPACITY: usize = 64 * 1024;

/// A stream whose writes are gathered. Both handles are used by one task, one after the other: the lock is never
/// contended, it only lets that task reach the stream which h2 owns.
pub(super) struct Gather<S>(Arc<Mutex<Inner<S>>>);

struct Inner<S> {
    stream: S,
    gathered: Vec<u8>,
    /// How much of `gathered` the stream has taken.
    taken: usize,
    /// The stream may hold bytes of its own (TLS does) that it has not yet given to the socket.
    unflushed: bool,
    /// Bytes read so far: the peer is alive as long as this grows.
    received: u64,
}

impl<S> Gather<S> {
    pub(super) fn new(stream: S) -> Self {
        Self(Arc::new(Mutex::new(Inner { stream, gathered: Vec::new(), taken: 0, unflushed: false, received: 0 })))
    }

    /// The same stream, for the one who drains.
    pub(super) fn handle(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    /// Bytes read so far.
    pub(super) fn received(&self) -> u64 {
        self.lock().received
    }

    fn lock(&self) -> MutexGuard<'_, Inner<S>> {
        // A panic in the stream leaves nothing half-written that a later call could misread.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: AsyncWrite + Unpin> Gather<S> {
    /// Sends everything gathered, to the socket. `Pending` registers the task for when the socket takes more.
    pub(super) fn poll_drain(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.lock().poll_drain(cx)
    }
}

impl<S: AsyncWrite + Unpin> Inner<S> {
    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.taken < self.gathered.len() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.gathered[self.taken..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.taken += written;
        }
        self.gathered.clear();
        self.taken = 0;
        Poll::Ready(Ok(()))
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unflushed {
            ready!(self.poll_write_out(cx))?;
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gather<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.lock();
        let before = buf.filled().len();
        ready!(Pin::new(&mut inner.stream).poll_read(cx, buf))?;
        inner.received += (buf.filled().len() - before) as u64;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gather<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let mut inner = self.lock();
        if inner.gathered.len() >= CAPACITY {
            ready!(inner.poll_write_out(cx))?;
        }
        let taken = data.len().min(CAPACITY - inner.gathered.len());
        inner.gathered.extend_from_slice(&data[..taken]);
        inner.unflushed = true;
        Poll::Ready(Ok(taken))
    }

    /// Does nothing: see the module's words.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.lock();
        ready!(inner.poll_drain(cx))?;
        Pin::new(&mut inner.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::task::noop_waker_ref;
    use proptest::prelude::*;

    /// A socket that takes at most `room` bytes before it is full, and notes each write.
    #[derive(Default)]
    struct Socket {
        room: usize,
        writes: Vec<usize>,
        wire: Vec<u8>,
        flushes: usize,
    }

    impl AsyncWrite for Socket {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
            let taken = data.len().min(self.room);
            if taken == 0 {
                return Poll::Pending;
            }
            self.room -= taken;
            self.writes.push(taken);
            self.wire.extend_from_slice(&data[..taken]);
            Poll::Ready(Ok(taken))
        }
        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.flushes += 1;
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn write(gather: &mut Gather<Socket>, data: &[u8]) -> Option<usize> {
        match Pin::new(gather).poll_write(&mut Context::from_waker(noop_waker_ref()), data) {
            Poll::Ready(result) => Some(result.unwrap()),
            Poll::Pending => None,
        }
    }

    fn drain(gather: &Gather<Socket>) -> bool {
        match gather.poll_drain(&mut Context::from_waker(noop_waker_ref())) {
            Poll::Ready(result) => {
                result.unwrap();
                true
            }
            Poll::Pending => false,
        }
    }

    #[test]
    fn many_small_writes_and_flushes_leave_as_one_write_when_drained() {
        let mut gather = Gather::new(Socket { room: usize::MAX, ..Socket::default() });
        for _ in 0..200 {
            assert_eq!(write(&mut gather, b"frame head "), Some(11));
            assert_eq!(write(&mut gather, b"and body."), Some(9));
            let _ = Pin::new(&mut gather).poll_flush(&mut Context::from_waker(noop_waker_ref()));
        }
        assert!(gather.lock().stream.writes.is_empty());
        assert!(drain(&gather));
        assert_eq!(gather.lock().stream.writes, [4_000]);
        assert!(drain(&gather));
        assert_eq!(gather.lock().stream.flushes, 1, "an idle connection costs no flush");
    }

    #[test]
    fn a_full_socket_pushes_back_and_the_buffer_stays_bounded() {
        let mut gather = Gather::new(Socket::default());
        let big = vec![7; CAPACITY + 100];
        assert_eq!(write(&mut gather, &big), Some(CAPACITY));
        assert_eq!(write(&mut gather, &big), None);
        assert!(!drain(&gather));
        assert_eq!(gather.lock().gathered.len(), CAPACITY);
        gather.lock().stream.room = usize::MAX;
        assert!(drain(&gather));
        assert_eq!(gather.lock().stream.wire.len(), CAPACITY);
    }

    proptest! {
        #[test]
        fn whatever_is_written_arrives_once_and_in_order(
            steps in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..3_000), 0_usize..4_000, any::<bool>()), 1..60)
        ) {
            let mut gather = Gather::new(Socket::default());
            let mut accepted = Vec::new();
            for (data, room, drains) in steps {
                gather.lock().stream.room += room;
                if let Some(taken) = write(&mut gather, &data) {
                    accepted.extend_from_slice(&data[..taken]);
                }
                prop_assert!(gather.lock().gathered.len() <= CAPACITY);
                if drains {
                    drain(&gather);
                }
            }
            gather.lock().stream.room = usize::MAX;
            prop_assert!(drain(&gather));
            prop_assert_eq!(&gather.lock().stream.wire, &accepted);
        }
    }
}
