//! Bounds, full disks, and files that are not as they should be.

use std::os::unix::fs::PermissionsExt;

use super::*;

fn open(directory: &Path) -> Result<Queue, OpenError> {
    Queue::open(&settings(directory), Clock::manual(START))
}

/// A file of a few pages that nobody has open.
async fn closed_file() -> (TempDir, PathBuf) {
    let case = Case::open();
    for n in 0..100 {
        case.put(&message(&n.to_string())).await;
    }
    case.queue.close().await;
    let path = case.directory.path().join(FILE_NAME);
    (case.directory, path)
}

#[tokio::test]
async fn a_full_queue_says_so_and_takes_more_when_there_is_room() {
    let case = Case::with(|settings| settings.max_entries = 2);
    case.put(&message("1")).await;
    case.put(&push("2", "update_badge")).await;
    assert_eq!(case.queue.enqueue(entry(&message("3"))).await, Err(QueueError::Full { max: 2 }));
    assert_eq!(case.put(&message("1")).await, Enqueued::AlreadyThere);
    // One that replaces another needs no room.
    assert!(matches!(case.put(&push("4", "update_badge")).await, Enqueued::Stored { .. }));
    let id = case.lease().await.entries[0].id;
    case.queue.settle(id, Settlement::Done).await.unwrap();
    assert!(matches!(case.put(&message("3")).await, Enqueued::Stored { .. }));
    assert_eq!(case.waiting(), 2);
}

#[tokio::test]
async fn a_file_at_its_bound_takes_nothing_more_until_something_is_settled() {
    let case = Case::with(|settings| settings.max_bytes = Some(200_000));
    let large = |n: usize| {
        let mut large = message(&n.to_string());
        large.content.mattermost_mut().message = Private::new("x".repeat(2_000));
        large
    };
    let mut stored = 0;
    let error = loop {
        match case.queue.enqueue(entry(&large(stored))).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 1_000, "the bound holds nothing");
    };
    assert_eq!(error, QueueError::NoSpace);
    assert_eq!(case.waiting(), stored as u64, "what was not stored is not counted");
    assert_eq!(case.queue.enqueue(entry(&large(stored))).await, Err(QueueError::NoSpace));
    let entries = case.lease().await.entries;
    assert_eq!(entries.len(), stored);
    for entry in entries {
        case.queue.settle(entry.id, Settlement::Done).await.unwrap();
    }
    assert!(matches!(case.put(&large(stored)).await, Enqueued::Stored { .. }));
    assert_eq!(case.leased().await, [stored.to_string()]);
}

#[tokio::test]
async fn on_a_full_disk_what_makes_room_is_done_though_its_neighbours_fail() {
    let case = Case::with(|settings| settings.max_bytes = Some(200_000));
    case.put(&message("small")).await;
    let id = case.lease().await.entries[0].id;
    let mut large = message("large");
    large.content.mattermost_mut().message = Private::new("x".repeat(300_000));
    // Both wait for whoever holds the file, and come into one group.
    let file = case.file();
    file.execute_batch("BEGIN IMMEDIATE").unwrap();
    let both = async { tokio::join!(case.queue.enqueue(entry(&large)), case.queue.settle(id, Settlement::Done)) };
    tokio::pin!(both);
    assert!(futures_util::poll!(&mut both).is_pending());
    file.execute_batch("ROLLBACK").unwrap();
    assert_eq!(both.await, (Err(QueueError::NoSpace), Ok(Settled::Written)));
    assert_eq!(case.waiting(), 0);
}

#[tokio::test]
async fn the_file_and_its_directory_are_for_the_relays_user_alone() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("a/b");
    let queue = open(&directory).unwrap();
    queue.enqueue(entry(&message("a"))).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    for name in [FILE_NAME, "queue.sqlite3-wal", "queue.sqlite3-shm", "queue.lock"] {
        assert_eq!(mode(&directory.join(name)), 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_second_relay_on_the_same_directory_is_refused() {
    let case = Case::open();
    let error = open(case.directory.path()).unwrap_err();
    assert!(matches!(&error, OpenError::Locked { path } if path.ends_with("queue.lock")), "{error}");
    assert!(error.to_string().contains("stop the other one"), "{error}");
    case.queue.close().await;
    open(case.directory.path()).unwrap();
}

#[tokio::test]
async fn a_damaged_file_is_a_clear_error_and_is_left_as_it_was() {
    let garbage: fn(&mut Vec<u8>) = |bytes| *bytes = b"not a database, and long enough to be looked at".repeat(100);
    let header: fn(&mut Vec<u8>) = |bytes| bytes[..16].fill(0);
    let cut: fn(&mut Vec<u8>) = |bytes| bytes.truncate(bytes.len() / 2 + 100);
    let page: fn(&mut Vec<u8>) = |bytes| bytes[3 * 4_096..4 * 4_096].fill(0xa5);
    for (what, damage) in [("garbage", garbage), ("its header", header), ("cut", cut), ("a page", page)] {
        let (directory, path) = closed_file().await;
        let mut bytes = fs::read(&path).unwrap();
        damage(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        let error = open(directory.path()).unwrap_err();
        assert!(matches!(error, OpenError::Corrupt { .. }), "{what}: {error:?}");
        assert!(error.to_string().contains("restore the file from a snapshot"), "{what}: {error}");
        assert!(fs::read(&path).unwrap() == bytes, "{what}: the file was changed");
    }
}

#[tokio::test]
async fn a_file_of_a_later_release_is_refused_and_never_touched() {
    let (directory, path) = closed_file().await;
    let file = rusqlite::Connection::open(&path).unwrap();
    file.pragma_update(None, "user_version", schema::VERSION + 1).unwrap();
    drop(file);
    let before = fs::read(&path).unwrap();
    let error = open(directory.path()).unwrap_err();
    assert!(matches!(error, OpenError::TooNew { version: 3, known: 2, .. }), "{error:?}");
    assert!(fs::read(&path).unwrap() == before);
}

#[tokio::test]
async fn another_programs_database_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = rusqlite::Connection::open(directory.path().join(FILE_NAME)).unwrap();
    file.execute_batch("CREATE TABLE theirs (x)").unwrap();
    drop(file);
    assert!(matches!(open(directory.path()), Err(OpenError::Foreign { .. })));
}

#[tokio::test]
async fn a_file_in_the_directorys_place_is_told_with_its_path() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("file");
    fs::write(&path, "").unwrap();
    let error = open(&path).unwrap_err();
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
}

#[tokio::test]
async fn nothing_private_is_printed_or_stands_in_a_column_but_the_content() {
    let case = Case::open();
    case.put(&message("a")).await;
    let lease = case.lease().await;
    let printed = format!("{lease:?} {:?} {:?}", case.queue, entry(&message("a")));
    assert!(printed.contains("private") && !printed.contains("canary"), "{printed}");
    let file = case.file();
    let mut statement = file.prepare("SELECT * FROM entries").unwrap();
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut rows = statement.query([]).unwrap();
    let row = rows.next().unwrap().unwrap();
    for (n, name) in names.iter().enumerate().filter(|(_, name)| *name != "content") {
        assert!(!format!("{:?}", row.get_ref(n).unwrap()).contains("canary"), "{name}");
    }
}

#[tokio::test]
async fn what_a_burst_has_filled_is_given_back_to_the_disk() {
    let case = Case::open();
    for n in 0..100 {
        let mut large = message(&n.to_string());
        large.content.mattermost_mut().message = Private::new("x".repeat(10_000));
        case.put(&large).await;
    }
    let pages = || case.file().pragma_query_value(None, "page_count", |row| row.get::<_, i64>(0)).unwrap();
    let full = pages();
    for entry in case.lease().await.entries {
        case.queue.settle(entry.id, Settlement::Done).await.unwrap();
    }
    assert!(pages() >= full, "what is settled leaves free pages first");
    case.clock.advance(Duration::from_secs(60));
    // The sweep is behind a group of commands: the second lease finds that of the first one done.
    case.lease().await;
    case.lease().await;
    assert!(pages() < full / 5, "{} of {full} pages", pages());
}

#[tokio::test]
async fn what_waits_for_a_target_that_nobody_serves_expires_all_the_same() {
    let case = Case::open();
    case.put(&message("a")).await;
    let case = case.reopen().await;
    let other = TargetName::new("other");
    for _ in 0..70 {
        case.clock.advance(Duration::from_secs(60));
        // The sweep is behind a group of commands: the second finds that of the first done.
        for _ in 0..2 {
            case.queue.lease(&other, 1, case.clock.unix()).await.unwrap();
        }
    }
    assert_eq!(case.waiting(), 0);
}
