//! What the writer is asked, and the way back for its answer.

use std::time::Duration;

use tokio::sync::oneshot;

use super::changes::{Changes, NewRow, Superseding};
use super::entry::{Enqueued, EntryId, Lease, Removed, Settled, Settlement};
use super::error::QueueError;
use super::keys::DeviceKey;
use crate::notification::TargetName;

/// What an answer carries.
pub(super) type Answered<T> = Result<T, QueueError>;

/// One thing to do.
pub(super) enum Command {
    Enqueue(Box<NewRow>, Answer<Enqueued>),
    Lease {
        target: TargetName,
        limit: usize,
        until: Duration,
        answer: Answer<Lease>,
    },
    Settle(EntryId, Settlement, Answer<Settled>),
    Supersede(Superseding, Answer<Vec<Removed>>),
    /// A late verdict has been told. Nobody waits for it.
    Forget(DeviceKey),
    /// Nothing comes after it.
    Close(Answer<()>),
}

/// The way back. The result is held until the transaction that it came from has been committed.
pub(super) struct Answer<T> {
    sender: oneshot::Sender<Answered<T>>,
    result: Option<Answered<T>>,
}

impl<T> Answer<T> {
    pub(super) fn pair() -> (Self, oneshot::Receiver<Answered<T>>) {
        let (sender, receiver) = oneshot::channel();
        (Self { sender, result: None }, receiver)
    }

    /// Whoever asked may have gone: what was done stays done.
    fn send(self, failure: Option<&QueueError>) {
        let result = failure.cloned().map(Err).or(self.result);
        // Nothing was tried: only a queue that is closed does that.
        let _ = self.sender.send(result.unwrap_or(Err(QueueError::Closed)));
    }
}

impl Answer<()> {
    pub(super) fn done(mut self) {
        self.result = Some(Ok(()));
        self.send(None);
    }
}

impl Command {
    /// Does it, within a transaction. Done again if the transaction failed.
    pub(super) fn apply(&mut self, changes: &mut Changes<'_>) -> rusqlite::Result<()> {
        match self {
            Self::Enqueue(row, answer) => answer.result = Some(changes.enqueue(row)?),
            Self::Lease { target, limit, until, answer } => {
                answer.result = Some(Ok(changes.lease(target, *limit, *until)?));
            }
            Self::Settle(id, settlement, answer) => answer.result = Some(Ok(changes.settle(*id, settlement)?)),
            Self::Supersede(by, answer) => answer.result = Some(Ok(changes.supersede(by)?)),
            Self::Forget(device) => changes.forget(*device)?,
            Self::Close(_) => {}
        }
        Ok(())
    }

    /// Answers: what was done, or the failure of the transaction.
    pub(super) fn answer(self, failure: Option<&QueueError>) {
        match self {
            Self::Enqueue(_, answer) => answer.send(failure),
            Self::Lease { answer, .. } => answer.send(failure),
            Self::Settle(_, _, answer) => answer.send(failure),
            Self::Supersede(_, answer) => answer.send(failure),
            Self::Forget(_) => {}
            Self::Close(answer) => answer.send(failure),
        }
    }
}
