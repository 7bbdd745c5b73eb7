//! What `pushrelay trace` tells, with the real binary.

use std::fs;
use std::path::Path;
use std::time::Duration;

use pushrelay::clock::Clock;
use pushrelay::journal::{Event, Journal, JournalSettings};
use pushrelay::outcome::{FcmMessageId, ProviderId};
use pushrelay::telemetry::log::Subject;
use serde_json::{Value, json};

use super::*;

/// Runs `pushrelay trace` to its end: the exit code, and what it has printed.
fn trace(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let (status, output) = Process::start(&[&["trace"], arguments].concat(), folder).end();
    (status.code(), output)
}

/// A journal in `data` in which one push was delivered at the second attempt.
fn journal(folder: &Path) {
    let directory = folder.join("data").join(JournalSettings::DIRECTORY);
    let settings =
        JournalSettings { directory, keep: Duration::from_secs(3_600), max_bytes: JournalSettings::LEAST_BYTES };
    let journal = Journal::start(settings, Clock::manual(1_800_000_000)).unwrap();
    let subject = Subject { ack_id: "ack-\"1\"", server: "chat-1", target: "android_rn", kind: "message" };
    let took = Duration::from_millis(104);
    journal.note(&subject, &Event::Attempt { number: 1, reason: Some("UNAVAILABLE"), provider_id: None, took });
    let id = FcmMessageId::of_name("projects/p/messages/0:15%31bd").map(ProviderId::Fcm);
    let ended = Event::Ended { outcome: "delivered", reason: None, provider_id: id.as_ref(), attempts: 2, took };
    journal.note(&subject, &ended);
    assert!(journal.flush(Duration::from_secs(60)));
}

#[test]
fn what_happened_to_a_push_is_told_from_the_journal_whether_a_relay_runs_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    journal(folder);
    // Half a configuration is enough to say where it is.
    fs::write(folder.join("pushrelay.toml"), "data_dir = \"data\"\n").unwrap();
    for place in [["--config", "pushrelay.toml"], ["--data-dir", "data"]] {
        let (code, output) = trace(folder, &[&["ack-\"1\""], &place[..]].concat());
        assert_eq!(code, Some(0), "{output}");
        let lines: Vec<_> = output.lines().filter(|line| line.starts_with("2027-01-15T08:00:00.000Z")).collect();
        let [first, second] = lines[..] else { panic!("{output}") };
        assert!(first.contains("attempt 1 failed after 104 ms") && first.contains("UNAVAILABLE"), "{output}");
        for words in ["delivered at attempt 2", "0:15%31bd", "chat-1 → android_rn, message"] {
            assert!(second.contains(words), "{words}: {output}");
        }
    }
    let (_, output) = trace(folder, &["ack-\"1\"", "--data-dir", "data", "--json"]);
    let lines: Value = serde_json::from_str(&output).unwrap();
    assert_eq!((&lines[1]["id"], &lines[1]["attempts"]), (&json!("ack-\"1\""), &json!(2)));
}

#[test]
fn whoever_finds_nothing_is_told_why_that_can_be() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    journal(folder);
    fs::create_dir(folder.join("empty")).unwrap();
    fs::write(folder.join("none.toml"), "").unwrap();
    for (arguments, words) in [
        (&["ack-", "--data-dir", "data"][..], "nothing is known of \"ack-\""),
        (&["ack-1", "--data-dir", "data"], "older than the journal reaches back"),
        (&["ack-1", "--data-dir", "empty"], "there is no journal in empty/journal"),
        (&["ack-1", "--config", "none.toml"], "none.toml has no `data_dir`, so this relay keeps no journal"),
        (&["", "--data-dir", "data"], "the id is empty"),
    ] {
        let (code, output) = trace(folder, arguments);
        assert!(code == Some(1) && output.contains(words), "{arguments:?}: {code:?} {output}");
    }
}
