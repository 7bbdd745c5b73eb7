//! A byte stream that gathers everything one poll of an HTTP/2 connection writes and hands it on in one piece.
//!
//! h2 flushes after nearly every frame. Over TLS each flush is a record and a system call of its own; gathering them
//! is worth a third of the cost of forwarding. Used by the sink and the bare forwarder, so that neither pays for
//! what the relay avoids. It must know nothing of HTTP/2 beyond that.

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes gathered before writing starts without waiting for the end of the poll: four full TLS records.
const GATHER_LIMIT_BYTES: usize = 64 * 1024;

/// Two handles to one stream: one lies inside the HTTP/2 connection, the other is kept by the task that polls it.
/// Both are only ever touched by that task, so the lock is never contended.
pub(crate) struct Coalesced<S>(Arc<Mutex<State<S>>>);

struct State<S> {
    stream: S,
    gathered: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Coalesced<S> {
    /// The handle for the connection and the handle for its driver.
    pub(crate) fn pair(stream: S) -> (Self, Self) {
        let gathered = BytesMut::with_capacity(GATHER_LIMIT_BYTES);
        let state = Arc::new(Mutex::new(State { stream, gathered }));
        (Self(state.clone()), Self(state))
    }

    /// Writes what was gathered. To be called after each poll of the connection, also when that was `Pending`.
    pub(crate) fn poll_write_out(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.state().poll_write_out(cx)
    }

    fn state(&self) -> MutexGuard<'_, State<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: AsyncWrite + Unpin> State<S> {
    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gathered.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !self.gathered.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.gathered))?;
            self.gathered.advance(written);
        }
        self.gathered.clear();
        self.gathered.reserve(GATHER_LIMIT_BYTES);
        Pin::new(&mut self.stream).poll_flush(cx)
    }
}

/// Polls `connection` to its end and writes out after each poll.
pub(crate) async fn drive<S, C, T>(connection: C, io: Coalesced<S>) -> T
where
    S: AsyncRead + AsyncWrite + Unpin,
    C: Future<Output = T>,
{
    let mut connection = pin!(connection);
    poll_fn(|cx| {
        let polled = connection.as_mut().poll(cx);
        // An error shows itself to the connection at its next read.
        let _ = io.poll_write_out(cx);
        polled
    })
    .await
}

impl<S: AsyncRead + Unpin> AsyncRead for Coalesced<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut state.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Coalesced<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.state();
        if state.gathered.len() >= GATHER_LIMIT_BYTES {
            ready!(state.poll_write_out(cx))?;
        }
        state.gathered.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    /// Says yes and does nothing: the driver writes out.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state();
        ready!(state.poll_write_out(cx))?;
        Pin::new(&mut state.stream).poll_shutdown(cx)
    }
}
