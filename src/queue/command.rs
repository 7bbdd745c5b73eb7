//! What the writer is asked, and the way back for its answer.

use std::time::Duration;

use tokio::sync::oneshot;

use super::changes::{Changes, NewRow, Superseding};
use super::entry::{Enqueued, EntryId, Lease, Removed, Settled, Settlement};
use super::error::QueueError;
use super::keys::DeviceKey;
use super::withdrawal::Undo;
use crate::notification::TargetName;

/// What an answer carries.
pub(super) type Answered<T> = Result<T, QueueError>;

/// One thing to do.
pub(super) enum Command {
    Enqueue(Box<NewRow>, Option<Undo>, Answer<Enqueued>),
    Lease {
        target: TargetName,
        limit: usize,
        /// Only what is over before that.
        ends_before: Option<Duration>,
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

    /// Whoever asked has gone, or has told somebody that it was not done.
    fn is_given_up(&self) -> bool {
        self.sender.is_closed()
    }

    /// Says whether it was heard: either this is, or whoever asked is told that nobody answered, and never both.
    fn send(self, failure: Option<&QueueError>) -> bool {
        let result = failure.cloned().map(Err).or(self.result);
        // Nothing was tried: only a queue that is closed does that, or nobody wants it any more.
        self.sender.send(result.unwrap_or(Err(QueueError::Closed))).is_ok()
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
            // The file is ours from here on: whoever gives up before finds it not done, and whoever does later has it undone.
            Self::Enqueue(_, undo, answer) if answer.is_given_up() => (answer.result, *undo) = (None, None),
            Self::Supersede(Superseding { hold_until: Some(_), .. }, answer) if answer.is_given_up() => {}
            Self::Enqueue(row, undo, answer) => {
                let (result, how) = changes.enqueue(row)?;
                (answer.result, *undo) = (Some(result), how);
            }
            Self::Lease { target, limit, ends_before, until, answer } => {
                answer.result = Some(Ok(changes.lease(target, *limit, *ends_before, *until)?));
            }
            Self::Settle(id, settlement, answer) => answer.result = Some(Ok(changes.settle(*id, settlement)?)),
            Self::Supersede(by, answer) => answer.result = Some(Ok(changes.supersede(by)?)),
            Self::Forget(device) => changes.forget(*device)?,
            Self::Close(_) => {}
        }
        Ok(())
    }

    /// Answers: what was done, or the failure of the transaction. What nobody heard and is therefore to be undone. Other things
    /// than an enqueue stay done: they are right whoever has gone.
    pub(super) fn answer(self, failure: Option<&QueueError>) -> Option<Undo> {
        match self {
            Self::Enqueue(_, undo, answer) => {
                let is_heard = answer.send(failure);
                return undo.filter(|_| !is_heard && failure.is_none());
            }
            Self::Lease { answer, .. } => answer.send(failure),
            Self::Settle(_, _, answer) => answer.send(failure),
            Self::Supersede(_, answer) => answer.send(failure),
            Self::Forget(_) => true,
            Self::Close(answer) => answer.send(failure),
        };
        None
    }
}
