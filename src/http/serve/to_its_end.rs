//! A handler runs to its end, whoever leaves: what has been begun for a caller may have woken a phone already, so it must be
//! logged and remembered. Only a forced stop ends it before.
//!
//! hyper drops a handler with its HTTP/2 stream (reset, or the connection closed), and with an HTTP/1.1 connection whose
//! earlier answer can no longer be written (pipelined requests). A handler that is dropped unfinished goes on as a task of its
//! own here. One that is not, which is all but a few, costs no task, no allocation and no lock.
//!
//! Bound: nothing that waits does so without a time or a place of its own: pushes hold theirs among the requests in flight to
//! the end, and the body of a caller who has gone ends at once.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio::sync::watch;

use super::{Answering, Stage};
use crate::http::answer::{self, Answer};

/// A handler at work for a caller.
pub(super) struct ToItsEnd {
    /// Absent once it has ended, be it by a panic.
    handler: Option<Answering>,
    /// The connection's. Whoever holds one is waited for at a stop.
    stage: Arc<watch::Receiver<Stage>>,
}

impl ToItsEnd {
    pub(super) fn new(handler: Answering, stage: &Arc<watch::Receiver<Stage>>) -> Self {
        Self { handler: Some(handler), stage: Arc::clone(stage) }
    }
}

impl Future for ToItsEnd {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        // Taken out, so that one that panics is not there to be gone on with.
        let mut handler = self.handler.take().expect("polled after its end");
        let answer = handler.as_mut().poll(context);
        if answer.is_pending() {
            self.handler = Some(handler);
        }
        answer
    }
}

impl Drop for ToItsEnd {
    fn drop(&mut self) {
        let Some(handler) = self.handler.take() else { return };
        // Without a runtime the process is ending.
        let Ok(runtime) = Handle::try_current() else { return };
        if *self.stage.borrow() != Stage::Dropped {
            runtime.spawn(finish(handler, watch::Receiver::clone(&self.stage)));
        }
    }
}

/// Nobody hears the answer. Holds `stage` for as long as the handler lives.
async fn finish(handler: Answering, mut stage: watch::Receiver<Stage>) {
    tokio::select! {
        biased;
        // Fails only if `serve` has gone, which waits for this unless it was dropped itself.
        _ = stage.wait_for(|stage| *stage == Stage::Dropped) => {}
        _answer = answer::or_internal_error(handler) => {}
    }
}
