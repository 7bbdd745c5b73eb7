//! What durability costs: entries per second through the queue, each answered only when it is on the disk, and what a lease
//! costs when there are many entries that are not due.
//!
//! `cargo bench --bench queue`. The file is in the target directory, which has to be on the disk in question.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement prints, and one that cannot go on has failed"
)]

use std::time::{Duration, Instant};

use pushrelay::clock::Clock;
use pushrelay::notification::{
    Content, DeviceToken, MattermostContent, Notification, PushKind, ServerId, TargetName, Transport, Urgency,
};
use pushrelay::private::Private;
use pushrelay::queue::{NewEntry, Queue, QueueSettings, Settlement};

/// How long each concurrency is measured.
const MEASURED: Duration = Duration::from_secs(5);

/// Entries that are not due while leases are measured.
const ASLEEP: usize = 200_000;

/// Entries per lease.
const LEASED: usize = 64;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    println!("callers  entries/s  group  answer p50  p99");
    for callers in [1, 32, 256] {
        runtime.block_on(enqueues(callers));
    }
    runtime.block_on(leases());
}

fn open(directory: &std::path::Path) -> Queue {
    let settings = QueueSettings { directory: directory.to_owned(), max_entries: u64::MAX, max_bytes: None };
    Queue::open(&settings, Clock::System).unwrap()
}

/// As many callers, each with one entry at a time.
async fn enqueues(callers: usize) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let queue = open(directory.path());
    let (before, start) = (queue.stats(), Instant::now());
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let queue = queue.clone();
            tokio::spawn(async move {
                let mut took = Vec::new();
                while start.elapsed() < MEASURED {
                    let notification = notification(&format!("{caller}-{}", took.len()));
                    let asked = Instant::now();
                    queue.enqueue(entry(&notification, Duration::ZERO)).await.unwrap();
                    took.push(asked.elapsed());
                }
                took
            })
        })
        .collect();
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await.unwrap());
    }
    let (seconds, after) = (start.elapsed().as_secs_f64(), queue.stats());
    took.sort_unstable();
    let at = |share: usize| took[(took.len() * share / 100).min(took.len() - 1)];
    println!(
        "{callers:7}  {:9.0}  {:5.1}  {:8.2}ms  {:.2}ms",
        took.len() as f64 / seconds,
        (after.commands - before.commands) as f64 / (after.commits - before.commits) as f64,
        at(50).as_secs_f64() * 1_000.0,
        at(99).as_secs_f64() * 1_000.0,
    );
    queue.close().await;
}

/// One worker that leases and settles what is due, before and after many were enqueued that are not.
async fn leases() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let queue = open(directory.path());
    println!("{LEASED} leased of {LEASED} due, none asleep: {:?}", lease(&queue, "few").await);
    let start = Instant::now();
    let tasks: Vec<_> = (0..256)
        .map(|caller| {
            let queue = queue.clone();
            tokio::spawn(async move {
                for n in 0..ASLEEP / 256 {
                    let notification = notification(&format!("{caller}-{n}"));
                    queue.enqueue(entry(&notification, Duration::from_secs(3_600))).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    println!("{ASLEEP} entries not due: enqueued in {:?}, {} bytes", start.elapsed(), queue.stats().file_bytes);
    println!("{LEASED} leased of {LEASED} due among them: {:?}", lease(&queue, "many").await);
    queue.close().await;
    let start = Instant::now();
    let queue = open(directory.path());
    println!("opened again, with its check: {:?}", start.elapsed());
    queue.close().await;
}

/// The middle of eleven leases.
async fn lease(queue: &Queue, name: &str) -> Duration {
    let target = TargetName::new("apple_rn");
    let mut took = Vec::new();
    for round in 0..11 {
        for n in 0..LEASED {
            let notification = notification(&format!("{name}-{round}-{n}"));
            queue.enqueue(entry(&notification, Duration::ZERO)).await.unwrap();
        }
        let asked = Instant::now();
        let lease = queue.lease(&target, LEASED, Clock::System.unix() + Duration::from_secs(60)).await.unwrap();
        took.push(asked.elapsed());
        assert_eq!(lease.entries.len(), LEASED);
        for entry in lease.entries {
            queue.settle(entry.id, Settlement::Done).await.unwrap();
        }
    }
    took.sort_unstable();
    took[took.len() / 2]
}

fn entry(notification: &Notification, later: Duration) -> NewEntry<'_> {
    let now = Clock::System.unix();
    NewEntry {
        notification,
        urgency: Urgency::Message,
        accepted_at: now,
        expires_at: now + Duration::from_secs(86_400),
        due_at: now + later,
        attempts: 1,
        reason: Some("ServiceUnavailable"),
    }
}

/// As a Mattermost server sends them: ids of 26 letters, a token of 64 digits, a signature of some 300 bytes.
fn notification(id: &str) -> Notification {
    let long_id = |name: &str| format!("{name:x<26}");
    Notification {
        ack_id: format!("{id:x<36}"),
        server_id: ServerId::new(&long_id("server")).unwrap(),
        target: TargetName::new("apple_rn"),
        app_version: 2,
        device: DeviceToken::new(format!("{id:0>64}")).unwrap(),
        kind: PushKind::Message,
        transport: Transport::Standard,
        signature: Private::new("s".repeat(300)),
        content: Content::Mattermost(MattermostContent {
            message: Private::new("@ann: the release is out, have a look when you are back at your desk"),
            badge: 3,
            version: "v2".into(),
            post_id: long_id("post"),
            team_id: long_id("team"),
            channel_id: long_id("channel"),
            channel_name: Private::new("Town Square"),
            sender_id: long_id("sender"),
            sender_name: Private::new("ann"),
            ..MattermostContent::default()
        }),
    }
}
