//! What one process sent, the next one knows.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, mkfifoat};

use super::*;

const SETTINGS: MemorySettings = MemorySettings { window: WINDOW, entries: 100_000 };

fn start(directory: &Path, clock: &Clock) -> Memory {
    Memory::kept(SETTINGS, clock, directory)
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory.join("sent")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "sent"));
    files.sort();
    files
}

async fn outcome(again: Again<'_>) -> Outcome {
    again.outcome(SOON).await.unwrap()
}

#[tokio::test]
async fn after_a_restart_repeats_have_the_answer_of_the_first_one_and_receipts_count_once() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::manual(1_700_000_000);
    let memory = start(directory.path(), &clock);
    send(&memory, "s", "delivered", "d");
    send(&memory, "s", "received", "d");
    assert!(matches!(memory.receipt("received"), Receipt::Sent { .. }));
    let dead = Verdict::Remove { reason: "Unregistered", ambiguous: false };
    first(&memory, "s", "dead", "d").settle(&dead, &Outcome::Remove, None);
    first(&memory, "s", "refused", "d").settle(&REJECTED, &failed("no"), None);
    first(&memory, "s", "refused too", "d").settle(&REJECTED, &failed("never"), None);
    first(&memory, "s", "waits", "d").settle(&BUSY, &Outcome::Queued, None);
    first(&memory, "s", "passing", "d").settle(&BUSY, &failed("later"), None);
    memory.delivered_late("late", Platform::Android);
    drop(first(&memory, "s", "cut off", "d"));
    memory.close();
    drop(memory);

    for restart in 1..3 {
        clock.advance(Duration::from_secs(3_600));
        let memory = start(directory.path(), &clock);
        for (id, expected) in [
            ("delivered", Outcome::Delivered),
            ("dead", Outcome::Remove),
            ("refused", failed("no")),
            ("refused too", failed("never")),
            ("waits", Outcome::Queued),
        ] {
            assert_eq!(outcome(again(&memory, "s", id, "d")).await, expected, "{id}, restart {restart}");
        }
        for id in ["passing", "cut off", "never seen"] {
            drop(first(&memory, "s", id, "d"));
        }
        assert_eq!(memory.receipt("received"), Receipt::Again);
        assert_eq!(memory.receipt("never seen"), Receipt::Unknown);
        assert_eq!(memory.state().window_held, Duration::from_secs(3_600 * restart));
    }
    let memory = start(directory.path(), &clock);
    let after = Duration::from_secs(7_200);
    assert_eq!(memory.receipt("late"), Receipt::Sent { platform: Platform::Android, after });
    assert_eq!(memory.receipt("delivered"), Receipt::Sent { platform: Platform::Apple, after });
    assert_eq!(memory.state().unkept, 0);
}

#[test]
fn a_restart_makes_the_window_neither_longer_nor_shorter_whatever_is_done_to_the_clock() {
    for set_by in [0, -2, -3_600, 90] {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::manual(1_700_000_000);
        let memory = start(directory.path(), &clock);
        send(&memory, "s", "early", "d");
        clock.advance(Duration::from_secs(60));
        send(&memory, "s", "later", "d");
        drop(memory);
        clock.set_wall(set_by);
        clock.advance(ALMOST_THE_WINDOW.saturating_sub(Duration::from_secs(60)));
        let memory = start(directory.path(), &clock);
        drop(again(&memory, "s", "early", "d"));
        clock.advance(Duration::from_millis(1));
        drop(first(&memory, "s", "early", "d"));
        drop(again(&memory, "s", "later", "d"));
        drop(memory);
        clock.advance(Duration::from_secs(60));
        let memory = start(directory.path(), &clock);
        drop(first(&memory, "s", "later", "d"));
        assert_eq!(files(directory.path()).len(), 0, "what is too old is removed");
    }
}

#[test]
fn what_is_cut_or_damaged_costs_what_it_held_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::manual(1_700_000_000);
    for id in ["one", "two", "three"] {
        let memory = start(directory.path(), &clock);
        send(&memory, "s", id, "d");
    }
    let [one, two, three] = files(directory.path()).try_into().unwrap();
    let whole = fs::read(&one).unwrap();
    fs::write(&one, &whole[..whole.len() - 1]).unwrap();
    fs::write(&two, "something else").unwrap();
    let memory = start(directory.path(), &clock);
    for (id, is_known) in [("one", false), ("two", false), ("three", true)] {
        assert_eq!(memory.knows("s", id, "d"), is_known, "{id}");
    }
    drop(memory);
    assert!(three.exists());
    fs::write(directory.path().join("sent/key"), "short").unwrap();
    let memory = start(directory.path(), &clock);
    assert!(!memory.knows("s", "three", "d"), "without its key it says nothing");
    send(&memory, "s", "four", "d");
    drop(memory);
    assert!(start(directory.path(), &clock).knows("s", "four", "d"));
}

#[test]
fn where_nothing_can_be_kept_this_process_remembers_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::manual(1_700_000_000);
    let holder = start(directory.path(), &clock);
    let memory = start(directory.path(), &clock);
    send(&memory, "s", "id", "d");
    drop(again(&memory, "s", "id", "d"));
    drop((holder, memory));
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let memory = start(&file, &clock);
    send(&memory, "s", "id", "d");
    drop(again(&memory, "s", "id", "d"));
}

#[test]
fn only_the_relays_user_may_read_it_and_it_holds_no_text_of_a_caller() {
    use std::os::unix::fs::MetadataExt;
    let directory = tempfile::tempdir().unwrap();
    let memory = start(directory.path(), &Clock::manual(1_700_000_000));
    send(&memory, "canary-server", "canary-id", "canary-device");
    drop(memory);
    let mut seen = 0;
    for entry in fs::read_dir(directory.path().join("sent")).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600, "{}", path.display());
        let bytes = fs::read(&path).unwrap();
        assert!(!bytes.windows(6).any(|window| window == b"canary"), "{}", path.display());
        seen += 1;
    }
    assert_eq!(seen, 3, "key, lock and one file");
}

#[test]
fn files_stay_within_their_bounds_and_hold_what_the_memory_holds() {
    const ENTRIES: usize = 4_096;
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::manual(1_700_000_000);
    let settings = MemorySettings { window: WINDOW, entries: ENTRIES };
    let sent = |n: usize| format!("id-{n}");
    for restart in 0..12 {
        let memory = Memory::kept(settings, &clock, directory.path());
        for n in 0..ENTRIES {
            send(&memory, "s", &sent(restart * ENTRIES + n), "d");
        }
        memory.close();
        assert_eq!(memory.state().unkept, 0);
    }
    let bytes: u64 = files(directory.path()).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(bytes < 3 * 48 * ENTRIES as u64, "{bytes}");
    let memory = Memory::kept(settings, &clock, directory.path());
    let known = (0..12 * ENTRIES).filter(|n| memory.knows("s", &sent(*n), "d")).count();
    assert!((ENTRIES / 2..=ENTRIES).contains(&known), "{known}");
    assert!(memory.knows("s", &sent(12 * ENTRIES - 1), "d"));
}

#[test]
fn a_key_that_cannot_be_read_now_costs_nothing_that_was_kept_under_it() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::manual(1_700_000_000);
    send(&start(directory.path(), &clock), "s", "id", "d");
    let (key, aside) = (directory.path().join("sent/key"), directory.path().join("aside"));
    fs::rename(&key, &aside).unwrap();
    fs::create_dir(&key).unwrap();
    let memory = start(directory.path(), &clock);
    send(&memory, "s", "meanwhile", "d");
    assert!(memory.knows("s", "meanwhile", "d") && !memory.knows("s", "id", "d"));
    drop(memory);
    fs::remove_dir(&key).unwrap();
    fs::rename(&aside, &key).unwrap();
    assert!(start(directory.path(), &clock).knows("s", "id", "d"));
}

#[test]
fn after_a_restart_too_another_server_that_sent_the_same_id_makes_no_second_receipt_count() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::manual(1_700_000_000);
    let memory = start(directory.path(), &clock);
    send(&memory, "s", "id", "d");
    assert!(matches!(memory.receipt("id"), Receipt::Sent { .. }));
    send(&memory, "other", "id", "d");
    memory.delivered_late("id", Platform::Android);
    assert_eq!(memory.receipt("id"), Receipt::Again);
    drop(memory);
    assert_eq!(start(directory.path(), &clock).receipt("id"), Receipt::Again);
}

#[test]
fn what_is_no_file_among_the_files_holds_no_start_up() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::manual(1_700_000_000);
    send(&start(directory.path(), &clock), "s", "id", "d");
    let pipe = directory.path().join("sent/00000002.sent");
    mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
    fs::create_dir(directory.path().join("sent/00000003.sent")).unwrap();
    fs::write(directory.path().join("sent/18446744073709551615.sent"), "").unwrap();
    for id in ["another", "and another"] {
        let memory = start(directory.path(), &clock);
        assert!(memory.knows("s", "id", "d"));
        send(&memory, "s", id, "d");
    }
    let memory = start(directory.path(), &clock);
    assert!(memory.knows("s", "another", "d") && memory.knows("s", "and another", "d"));
}
