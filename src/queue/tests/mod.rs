//! Through the front door, with real files.

mod durable;
mod gone;
mod inspect;
mod limits;
mod plans;
mod supersede;
mod turns;
mod verdicts;
mod withdrawal;

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::notification::{Content, MattermostContent, PushKind, Transport, Urgency};
use crate::private::Private;

/// When the tests' clocks start, seconds since the Unix epoch.
const START: u64 = 1_800_000_000;

fn at(seconds: u64) -> Duration {
    Duration::from_secs(START + seconds)
}

fn settings(directory: &Path) -> QueueSettings {
    QueueSettings { directory: directory.to_owned(), max_entries: 10_000, max_bytes: None }
}

fn target() -> TargetName {
    TargetName::new("apple_rn")
}

/// A queue in a directory that is gone afterwards.
struct Case {
    queue: Queue,
    clock: Clock,
    directory: TempDir,
}

impl Case {
    fn open() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut QueueSettings)) -> Self {
        let (directory, clock) = (tempfile::tempdir().unwrap(), Clock::manual(START));
        let mut settings = settings(directory.path());
        change(&mut settings);
        let queue = Queue::open(&settings, clock.clone()).unwrap();
        Self { queue, clock, directory }
    }

    fn limited(change: impl FnOnce(&mut Limits)) -> Self {
        let (directory, clock) = (tempfile::tempdir().unwrap(), Clock::manual(START));
        let settings = settings(directory.path());
        let mut limits = Limits::of(&settings);
        change(&mut limits);
        let queue = Queue::open_within(&settings, clock.clone(), limits).unwrap();
        Self { queue, clock, directory }
    }

    /// Closes and opens again.
    async fn reopen(self) -> Self {
        self.queue.close().await;
        let queue = Queue::open(&settings(self.directory.path()), self.clock.clone()).unwrap();
        Self { queue, ..self }
    }

    async fn put(&self, notification: &Notification) -> Enqueued {
        self.queue.enqueue(entry(notification)).await.unwrap()
    }

    async fn lease(&self) -> Lease {
        self.queue.lease(&target(), 100, self.clock.unix() + Duration::from_secs(60)).await.unwrap()
    }

    /// Leases everything and says which.
    async fn leased(&self) -> Vec<String> {
        ids(&self.lease().await)
    }

    fn waiting(&self) -> u64 {
        self.queue.waiting(&target())
    }

    fn buried(&self) -> u64 {
        self.queue.buried(&target())
    }

    /// Another connection to the file, as another program would have.
    fn file(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.directory.path().join(FILE_NAME)).unwrap()
    }
}

fn ids(lease: &Lease) -> Vec<String> {
    lease.entries.iter().map(|entry| entry.notification.ack_id.clone()).collect()
}

fn acks(removed: &[Removed]) -> Vec<&str> {
    removed.iter().map(|removed| removed.ack_id.as_str()).collect()
}

/// A message to the phone `canary-token`.
fn push(ack_id: &str, kind: &str) -> Notification {
    Notification {
        ack_id: ack_id.into(),
        server_id: ServerId::new("server").unwrap(),
        target: target(),
        app_version: 2,
        device: DeviceToken::new("canary-token").unwrap(),
        kind: PushKind::from_wire(kind),
        transport: Transport::Standard,
        signature: Private::new("canary-signature"),
        content: Content::Mattermost(MattermostContent {
            message: Private::new("canary-text"),
            channel_id: "channel".into(),
            ..MattermostContent::default()
        }),
    }
}

fn message(ack_id: &str) -> Notification {
    push(ack_id, "message")
}

/// Due at once, and wanted for an hour.
fn entry(notification: &Notification) -> NewEntry<'_> {
    NewEntry {
        notification,
        urgency: Urgency::Message,
        accepted_at: at(0),
        expires_at: at(3_600),
        due_at: at(0),
        attempts: 1,
        reason: Some("connection refused"),
    }
}
