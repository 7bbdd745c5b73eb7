use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::outcome::{FcmMessageId, ProviderId};

/// 2027-01-15T08:00:00Z.
const NOW: u64 = 1_800_000_000;

const HOUR: Duration = Duration::from_secs(3_600);

/// Far longer than any write here takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn settings(directory: &Path) -> JournalSettings {
    JournalSettings { directory: directory.to_owned(), keep: 24 * HOUR, max_bytes: JournalSettings::LEAST_BYTES }
}

fn start(directory: &Path, clock: &Clock) -> Journal {
    Journal::start(settings(directory), clock.clone()).unwrap()
}

fn subject(ack_id: &str) -> Subject<'_> {
    Subject { ack_id, server: "chat-1", target: "apple_rn", kind: "message" }
}

fn delivered(id: &ProviderId) -> Event<'_> {
    let took = Duration::from_micros(12_900);
    Event::Ended { outcome: "delivered", reason: None, provider_id: Some(id), attempts: 1, took }
}

fn apns_id() -> ProviderId {
    ProviderId::Apns(Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10))
}

fn note_and_flush(journal: &Journal, ack_id: &str) {
    journal.note(&subject(ack_id), &delivered(&apns_id()));
    assert!(journal.flush(PATIENCE));
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn events(directory: &Path, ack_id: &str) -> Vec<String> {
    read(directory, ack_id).unwrap().into_iter().map(|line| line.event.into_owned()).collect()
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_delivered_push_is_one_short_line_that_only_its_owner_may_read() {
    let folder = folder();
    let directory = folder.path().join("state/journal");
    let journal = start(&directory, &Clock::manual(NOW));
    note_and_flush(&journal, "ack-1");
    let file = directory.join("1800000000.jsonl");
    let expected = concat!(
        r#"{"id":"ack-1","at":1800000000000,"event":"ended","server":"chat-1","target":"apple_rn","kind":"message","#,
        r#""outcome":"delivered","provider_id":"01020304-0506-0708-090a-0b0c0d0e0f10","attempts":1,"ms":12}"#,
        "\n"
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), expected);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn everything_that_can_happen_is_found_again_in_its_order_and_nothing_of_others() {
    let folder = folder();
    let clock = Clock::manual(NOW);
    let journal = start(folder.path(), &clock);
    let fcm = ProviderId::Fcm(FcmMessageId::of_name("projects/p/messages/0:15%31bd").unwrap());
    let (reason, took) = (Some("UNAVAILABLE"), Duration::from_millis(7));
    let all = [
        Event::Attempt { number: 1, reason, provider_id: None, took },
        Event::Queued { reason, attempts: 1, expires: Duration::from_secs(NOW + 60) },
        Event::Superseded,
        Event::Expired { reason, attempts: 2 },
        Event::RemovedLate { reason: "UNREGISTERED", told: Some(Told { provider_id: Some(&fcm), attempts: 5, took }) },
        Event::Buried { reason, attempts: 3 },
        Event::Dropped { attempts: 1 },
        Event::Retried { attempts: 2 },
        Event::Receipt,
        Event::Repeat { answer: "remembered" },
        Event::Refused { reason: "signature" },
        Event::Withheld { reason: "BadDeviceToken" },
        Event::Ended { outcome: "delivered", reason: None, provider_id: Some(&fcm), attempts: 4, took },
    ];
    for event in &all {
        journal.note(&subject("ack-10"), event);
        journal.note(&subject("ack-1"), event);
        journal.note(&subject(""), event);
        clock.advance(Duration::from_millis(1));
    }
    assert!(journal.flush(PATIENCE));
    let lines = read(folder.path(), "ack-1").unwrap();
    let words: Vec<_> = lines.iter().map(|line| &*line.event).collect();
    assert_eq!(
        words,
        [
            "attempt",
            "queued",
            "superseded",
            "expired",
            "removed_late",
            "buried",
            "dropped",
            "retried",
            "receipt",
            "repeat",
            "refused",
            "withheld",
            "ended"
        ]
    );
    assert!(lines.iter().zip(NOW * 1_000..).all(|(line, at)| line.at == at && line.ack_id == "ack-1"));
    let reasons: Vec<_> = lines.iter().map(|line| line.reason.as_deref().unwrap_or("-")).collect();
    let said =
        ["UNAVAILABLE", "UNAVAILABLE", "-", "UNAVAILABLE", "UNREGISTERED", "UNAVAILABLE", "-", "-", "-", "remembered"];
    assert_eq!(reasons, [&said[..], &["signature", "BadDeviceToken", "-"]].concat());
    let attempts: Vec<_> = lines.iter().map(|line| line.attempts.unwrap_or(0)).collect();
    assert_eq!(attempts, [1, 1, 0, 2, 5, 3, 1, 2, 0, 0, 0, 0, 4]);
    assert_eq!(lines[1].expires_at, Some((NOW + 60) * 1_000));
    assert_eq!((lines[0].ms, &lines[0].provider_id), (Some(7), &None));
    assert_eq!(lines[12].provider_id.as_deref(), Some("0:15%31bd"));
    assert_eq!(read(folder.path(), "").unwrap(), [], "what has no id is not noted");
    assert_eq!(journal.dropped(), 0);
}

#[test]
fn a_segment_lasts_an_hour_and_goes_when_its_last_line_is_too_old_even_if_nothing_is_noted() {
    let folder = folder();
    let clock = Clock::manual(NOW);
    let journal = start(folder.path(), &clock);
    note_and_flush(&journal, "first");
    clock.advance(HOUR.checked_sub(Duration::from_secs(1)).unwrap());
    note_and_flush(&journal, "second");
    assert_eq!(names(folder.path()), ["1800000000.jsonl"]);
    clock.advance(Duration::from_secs(1));
    note_and_flush(&journal, "third");
    assert_eq!(names(folder.path()), ["1800000000.jsonl", "1800003600.jsonl"]);

    clock.advance((24 * HOUR).checked_sub(Duration::from_secs(1)).unwrap());
    assert!(journal.flush(PATIENCE));
    assert_eq!(events(folder.path(), "second"), ["ended"]);
    clock.advance(Duration::from_secs(1));
    assert!(journal.flush(PATIENCE));
    assert_eq!(names(folder.path()), ["1800003600.jsonl"]);
    assert_eq!(events(folder.path(), "first"), [""; 0]);
    clock.advance(HOUR);
    assert!(journal.flush(PATIENCE));
    assert_eq!(names(folder.path()), [""; 0]);
    note_and_flush(&journal, "fourth");
    assert_eq!(events(folder.path(), "fourth"), ["ended"]);
}

#[test]
fn all_segments_together_stay_within_their_bound_and_the_oldest_go_first() {
    let folder = folder();
    let settings = JournalSettings { max_bytes: 24 * 100, ..settings(folder.path()) };
    let mut segments = Segments::open(settings, Clock::manual(NOW));
    let size = || {
        let files = names(folder.path()).into_iter();
        files.map(|name| fs::metadata(folder.path().join(name)).unwrap().len()).sum::<u64>()
    };
    for number in 0..500 {
        let line = format!("{{\"id\":\"{number:03}\",{:40}\n", "");
        assert_eq!(segments.append(line.as_bytes()), 0);
        assert!(size() <= 24 * 100, "{number}: {}", size());
    }
    assert!(names(folder.path()).len() >= 23, "no more than a small part goes at once");
    let kept: String =
        names(folder.path()).into_iter().map(|name| fs::read_to_string(folder.path().join(name)).unwrap()).collect();
    let first: u32 = kept[7..10].parse().unwrap();
    let numbers: Vec<_> = kept.lines().map(|line| line[7..10].parse::<u32>().unwrap()).collect();
    assert_eq!(numbers, (first..500).collect::<Vec<_>>());
}

#[test]
fn a_new_run_continues_where_the_last_one_broke_off_within_a_line() {
    let folder = folder();
    let clock = Clock::manual(NOW);
    let journal = start(folder.path(), &clock);
    note_and_flush(&journal, "ack-1");
    drop(journal);
    let file = folder.path().join("1800000000.jsonl");
    let mut text = fs::read_to_string(&file).unwrap();
    let torn = text.len() - 20;
    text.push_str(&text.clone()[..torn]);
    fs::write(&file, &text).unwrap();
    assert_eq!(events(folder.path(), "ack-1"), ["ended"]);

    clock.advance(Duration::from_secs(5));
    let journal = start(folder.path(), &clock);
    journal.note(&subject("ack-1"), &Event::Receipt);
    assert!(journal.flush(PATIENCE));
    assert_eq!(names(folder.path()), ["1800000000.jsonl"]);
    assert_eq!(events(folder.path(), "ack-1"), ["ended", "receipt"]);
}

#[test]
fn a_file_without_an_end_of_line_is_passed_over_and_so_are_files_that_are_not_ours() {
    let folder = folder();
    let journal = start(folder.path(), &Clock::manual(NOW));
    note_and_flush(&journal, "ack-1");
    let line = fs::read_to_string(folder.path().join("1800000000.jsonl")).unwrap();
    let mut damaged = vec![0; 100_000];
    damaged.extend(line.as_bytes());
    damaged.extend(line.as_bytes());
    fs::write(folder.path().join("1799999999.jsonl"), damaged).unwrap();
    fs::write(folder.path().join("1.jsonl"), &line).unwrap();
    fs::write(folder.path().join("1799999999.jsonl.old"), &line).unwrap();
    fs::create_dir(folder.path().join("1799999998.jsonl")).unwrap();
    assert_eq!(events(folder.path(), "ack-1").len(), 2, "the one after the damage, and the one of the other file");
}

#[test]
fn a_clock_that_was_set_back_neither_hides_lines_nor_keeps_them_for_ever() {
    let folder = folder();
    let wrong = start(folder.path(), &Clock::manual(NOW + 365 * 24 * 3_600));
    note_and_flush(&wrong, "from the future");
    drop(wrong);
    let clock = Clock::manual(NOW);
    let journal = start(folder.path(), &clock);
    note_and_flush(&journal, "ack-1");
    assert_eq!(names(folder.path()), ["1800000000.jsonl"]);

    // By a little: what was noted stays.
    let journal = start(folder.path(), &Clock::manual(NOW - 60));
    note_and_flush(&journal, "ack-2");
    assert_eq!((events(folder.path(), "ack-1").len(), events(folder.path(), "ack-2").len()), (1, 1));
}

#[test]
fn notes_of_many_threads_do_not_mix_and_none_is_lost() {
    let folder = folder();
    let journal = start(folder.path(), &Clock::manual(NOW));
    thread::scope(|scope| {
        for thread in 0..4 {
            let journal = &journal;
            scope.spawn(move || {
                for number in 0..500 {
                    journal.note(&subject(&format!("{thread}-{number}")), &delivered(&apns_id()));
                }
            });
        }
    });
    assert!(journal.flush(PATIENCE));
    let text = fs::read_to_string(folder.path().join("1800000000.jsonl")).unwrap();
    let mut ids: Vec<_> =
        text.lines().map(|line| serde_json::from_str::<Line<'static>>(line).unwrap().ack_id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), text.lines().count(), journal.dropped()), (2_000, 2_000, 0));
}

#[test]
fn what_finds_no_room_while_the_disk_stands_still_is_dropped_and_counted() {
    let shared = Shared::default();
    let line = vec![b'x'; 1_000];
    let room = (WAITING_BYTES / line.len()) as u64;
    for _ in 0..room + 3 {
        shared.take_in(&line);
    }
    let state = shared.state();
    assert_eq!(state.dropped, 3);
    assert!(state.waiting.len() <= WAITING_BYTES);
}

#[test]
fn what_waits_at_the_end_is_written() {
    let folder = folder();
    let mut segments = Segments::open(settings(folder.path()), Clock::manual(NOW));
    let shared = Shared::default();
    shared.take_in(b"last\n");
    shared.state().ending = true;
    shared.write_out(&mut segments);
    assert_eq!(fs::read_to_string(folder.path().join("1800000000.jsonl")).unwrap(), "last\n");
}

#[test]
fn a_directory_that_cannot_be_written_costs_lines_and_nothing_else_and_is_tried_again() {
    let folder = folder();
    let in_the_way = folder.path().join("data");
    fs::write(&in_the_way, "").unwrap();
    let directory = in_the_way.join("journal");
    let journal = start(&directory, &Clock::manual(NOW));
    note_and_flush(&journal, "ack-1");
    note_and_flush(&journal, "ack-1");
    assert_eq!(journal.dropped(), 2);
    assert!(matches!(read(&directory, "ack-1"), Err(ReadError::Unreadable { .. })));
    fs::remove_file(&in_the_way).unwrap();
    assert!(matches!(read(&directory, "ack-1"), Err(ReadError::Missing(_))));
    note_and_flush(&journal, "ack-1");
    assert_eq!((journal.dropped(), events(&directory, "ack-1").len()), (2, 1));
}

#[test]
fn of_a_request_that_is_repeated_for_ever_only_the_last_lines_are_given() {
    let folder = folder();
    let clock = Clock::manual(NOW);
    let journal = start(folder.path(), &clock);
    for _ in 0..MOST_LINES + 5 {
        journal.note(&subject("ack-1"), &Event::Repeat { answer: "remembered" });
        clock.advance(Duration::from_millis(1));
    }
    assert!(journal.flush(PATIENCE));
    let lines = read(folder.path(), "ack-1").unwrap();
    assert_eq!((lines.len(), lines[0].at), (MOST_LINES, NOW * 1_000 + 5));
}

#[test]
fn a_command_notes_beside_a_relay_that_goes_on_with_what_it_finds() {
    let folder = folder();
    let clock = Clock::manual(NOW);
    let journal = start(folder.path(), &clock);
    note_and_flush(&journal, "ack-1");
    let beside = |notes: &[(Subject<'static>, Event<'static>)]| {
        note_beside(folder.path(), &clock, notes.iter().copied()).unwrap();
    };
    beside(&[(subject("ack-1"), Event::Retried { attempts: 1 }), (subject(""), Event::Retried { attempts: 1 })]);
    assert_eq!(names(folder.path()), ["1800000000.jsonl"]);
    // A night without a push: what is noted now is to be kept for as long as anything.
    clock.advance(8 * HOUR);
    beside(&[(subject("ack-1"), Event::Dropped { attempts: 2 })]);
    assert_eq!(names(folder.path()), ["1800000000.jsonl", "1800028800.jsonl"]);
    note_and_flush(&journal, "ack-1");
    assert_eq!(names(folder.path()).len(), 2, "the relay goes on with the new one");
    assert_eq!(events(folder.path(), "ack-1"), ["ended", "retried", "dropped", "ended"]);
    // Nothing is deleted for its age by whoever does not know how much is to be kept.
    clock.advance(100 * HOUR);
    beside(&[(subject("ack-1"), Event::Dropped { attempts: 2 })]);
    assert_eq!(names(folder.path()).len(), 3);
}

#[test]
fn where_no_journal_is_kept_a_command_begins_none() {
    let folder = folder();
    let directory = folder.path().join("journal");
    let dropped = [(subject("ack-1"), Event::Dropped { attempts: 1 })];
    note_beside(&directory, &Clock::manual(NOW), dropped).unwrap();
    assert!(!directory.exists());
}

proptest! {
    #[test]
    fn whatever_an_id_is_made_of_its_line_is_one_line_and_is_found(
        ack_id in ".{1,100}", server in ".*", other in ".{1,10}",
    ) {
        let mut text = Vec::new();
        let subject = Subject { ack_id: &ack_id, server: &server, target: "apple_rn", kind: "message" };
        line::write(&mut text, Duration::from_secs(NOW), &subject, &Event::Receipt);
        prop_assert_eq!(text.iter().position(|byte| *byte == b'\n'), Some(text.len() - 1));
        prop_assert!(text.starts_with(&line::beginning(&ack_id)));
        prop_assert!(text.len() < 2_000);
        let line: Line<'static> = serde_json::from_slice(&text).unwrap();
        let same = crate::telemetry::log::bounded;
        prop_assert_eq!(&*line.ack_id, same(&ack_id));
        prop_assert_eq!(&*line.server, same(&server));
        prop_assert_eq!(text.starts_with(&line::beginning(&other)), other == same(&ack_id));
    }
}
