//! The bytes of one HTTP/2 connection between TLS and h2, with [`Frames`] looking at each of them.
//!
//! Owns buffering and the orderly goodbye; knows nothing of requests.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::{Frames, Misstep};

/// Bytes held for a client that does not read before h2 has to wait, and read from it at once.
const BUFFER: usize = 64 * 1024;

#[derive(Debug)]
struct State {
    frames: Frames,
    /// Writes out what is there, says goodbye and waits for the client's; h2's further words are dropped, because
    /// h2 knows nothing of the GOAWAY said over its head.
    closing: bool,
}

/// The handle by which the connection's driver reaches the bytes it gave to h2.
#[derive(Clone, Debug)]
pub(super) struct Wire(Arc<Mutex<State>>);

impl Wire {
    pub(super) fn new(frames: Frames) -> Self {
        Self(Arc::new(Mutex::new(State { frames, closing: false })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // One task holds both ends; a poisoned lock means it is unwinding anyway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn raise_limit_after(&self, stream: u32) {
        self.state().frames.raise_after(stream);
    }

    pub(super) fn say_goaway(&self, last_stream: u32) {
        self.state().frames.say_goaway(last_stream);
    }

    pub(super) fn is_refused(&self, stream: u32) -> bool {
        self.state().frames.is_refused(stream)
    }

    pub(super) fn is_settled(&self, last_stream: u32) -> bool {
        self.state().frames.is_settled(last_stream)
    }

    pub(super) fn take_missteps(&self) -> Vec<Misstep> {
        self.state().frames.take_missteps()
    }

    pub(super) fn close(&self) {
        self.state().closing = true;
    }

    pub(super) fn is_closing(&self) -> bool {
        self.state().closing
    }
}

/// The stream h2 is given.
#[derive(Debug)]
pub(super) struct FramedIo<T> {
    inner: T,
    wire: Wire,
    /// From the client, waiting for h2.
    inbound: Vec<u8>,
    inbound_read: usize,
    /// From h2, waiting for the client.
    outbound: Vec<u8>,
    outbound_written: usize,
    scratch: Box<[u8]>,
    shut: bool,
}

impl<T: AsyncRead + AsyncWrite + Unpin> FramedIo<T> {
    pub(super) fn new(inner: T, wire: Wire) -> Self {
        Self {
            inner,
            wire,
            inbound: Vec::new(),
            inbound_read: 0,
            outbound: Vec::new(),
            outbound_written: 0,
            scratch: vec![0; BUFFER].into_boxed_slice(),
            shut: false,
        }
    }

    /// Writes what is buffered, without flushing the layer below.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.outbound_written < self.outbound.len() {
            let rest = &self.outbound[self.outbound_written..];
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outbound_written += written;
        }
        self.outbound.clear();
        self.outbound_written = 0;
        Poll::Ready(Ok(()))
    }

    fn poll_flush_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        if self.wire.is_closing() && !self.shut {
            ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
            self.shut = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads from the client through the frames into `inbound`; `false` at the end of the stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut buffer = ReadBuf::new(&mut self.scratch);
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buffer))?;
        if buffer.filled().is_empty() {
            return Poll::Ready(Ok(false));
        }
        self.inbound.clear();
        self.inbound_read = 0;
        let mut state = self.wire.state();
        if !state.closing {
            state.frames.inbound(buffer.filled(), &mut self.inbound);
        }
        Poll::Ready(Ok(true))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for FramedIo<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.inbound_read == this.inbound.len() {
            if !ready!(this.poll_fill(cx))? {
                return Poll::Ready(Ok(()));
            }
        }
        let rest = &this.inbound[this.inbound_read..];
        let take = rest.len().min(out.remaining());
        out.put_slice(&rest[..take]);
        this.inbound_read += take;
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for FramedIo<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.wire.is_closing() {
            return Poll::Ready(Ok(bytes.len()));
        }
        if this.outbound.len() - this.outbound_written >= BUFFER {
            ready!(this.poll_drain(cx))?;
        }
        this.wire.state().frames.outbound(bytes, &mut this.outbound);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.wire.state().frames.add_goaway(&mut this.outbound);
        this.poll_flush_all(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}
