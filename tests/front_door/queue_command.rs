//! `pushrelay queue` with the real binary, beside a relay that runs and without one.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use pushrelay::simulator::{Fault, Provider};
use serde_json::Value;

use crate::support::Push;
use crate::support::process::Stage;
use crate::support::push::apple_token;

/// The longest wait for what should be there at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// One attempt before a push goes to disk, so that a test knows how many there were, and no breaker that would put off those
/// that come when the provider is back.
const ONE_ATTEMPT: &str = "[delivery]\nfirst_pause = \"1ms\"\nmax_attempts = 1\n[breaker]\nfailures = 0\n";

/// A stage whose relay keeps its state in `data`.
pub(crate) async fn stage() -> Stage {
    // A relay that starts again makes a provider token anew, sooner than Apple likes.
    let stage = Stage::set_with(ONE_ATTEMPT, |simulator| simulator.provider_token_interval = Duration::ZERO).await;
    let file = stage.folder.path().join("pushrelay.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(file, format!("data_dir = \"data\"\n{text}")).unwrap();
    stage
}

/// What a command that ran to its end has printed.
pub(crate) struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    #[track_caller]
    pub fn well(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self.out
    }

    /// Ended badly, and the standard error says so.
    #[track_caller]
    pub fn badly(&self, code: i32, words: &str) {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        assert!(self.err.contains(words), "{words:?} is not in {}", self.err);
    }

    #[track_caller]
    pub fn json(self) -> Value {
        serde_json::from_str(&self.well()).unwrap()
    }
}

pub(crate) fn run_with(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_pushrelay"))
        .args(arguments)
        .envs(variables.iter().copied())
        .current_dir(folder)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: status.code(), out: text(stdout), err: text(stderr) }
}

pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Ran {
    run_with(folder, arguments, &[])
}

fn queue(stage: &Stage, arguments: &[&str]) -> Ran {
    run(stage.folder.path(), &[&["queue"], arguments, &["--config", "pushrelay.toml"]].concat())
}

/// Asks until the answer is right.
fn wait_for(stage: &Stage, arguments: &[&str], is_right: impl Fn(&Value) -> bool) -> Value {
    let started = Instant::now();
    loop {
        let answer = queue(stage, arguments).json();
        if is_right(&answer) {
            return answer;
        }
        assert!(started.elapsed() < PATIENCE, "{arguments:?}: {answer:#}");
    }
}

fn count(answer: &Value) -> usize {
    answer.as_array().unwrap().len()
}

fn apple_is_down(stage: &Stage) {
    stage.simulator.faults().add(Fault::answer(503, "ServiceUnavailable").on(Provider::Apns)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_listed_while_the_relay_runs_and_after_it_has_stopped_and_nothing_private_is_shown() {
    let stage = stage().await;
    let mut relay = stage.serve();
    let address = relay.address();
    assert_eq!(queue(&stage, &["list"]).well(), "Nothing waits.\n");
    apple_is_down(&stage);
    let tokens = [apple_token(0xcafe_0001), apple_token(0xcafe_0002)];
    for token in &tokens {
        stage.post(address, &Push::apple(token)).await.unwrap().expect_ok();
    }
    stage.post(address, &Push::android("canary-android")).await.unwrap().expect_ok();

    let none = queue(&stage, &["list", "--target", "bogus", "--buried"]).well();
    assert_eq!(none, "There are no entries in the state buried for a target \"bogus\".\n");
    let mut printed = String::new();
    for runs in [true, false] {
        let listed = queue(&stage, &["list", "--json"]);
        printed += &listed.out;
        let listed = listed.json();
        assert_eq!(count(&listed), 2, "{listed:#}");
        for entry in listed.as_array().unwrap() {
            assert_eq!(
                [&entry["target"], &entry["server"], &entry["kind"], &entry["reason"]],
                ["apple_rn", "chat-1", "message", "ServiceUnavailable"],
                "{runs}: {entry:#}"
            );
            assert!(entry["attempts"].as_u64() >= Some(1) && entry["bytes"].as_u64() > Some(0), "{entry:#}");
        }
        assert_ne!(listed[0]["device"], listed[1]["device"]);
        let id = listed[1]["id"].to_string();
        for arguments in [
            &["list"][..],
            &["list", "--target", "apple_rn", "--server", "chat-1", "--limit", "1"],
            &["show", &id],
            &["stats"],
        ] {
            let text = queue(&stage, arguments).well();
            assert!(text.contains("apple_rn"), "{arguments:?}: {text}");
            printed += &text;
        }
        let shown = queue(&stage, &["show", &id, "--json"]).json();
        assert_eq!((&shown["id"], &shown["ack_id"]), (&listed[1]["id"], &listed[1]["ack_id"]));
        let stats = queue(&stage, &["stats", "--json"]).json();
        assert_eq!((&stats["targets"][0]["waiting"], &stats["targets"][0]["buried"]), (&2.into(), &0.into()));
        for none in [&["--target", "android_rn"], &["--server", "chat-2"], &["--state", "buried"]] {
            assert_eq!(count(&queue(&stage, &[&["list", "--json"], &none[..]].concat()).json()), 0, "{none:?}");
        }
        assert_eq!(count(&queue(&stage, &["list", "--json", "--limit", "1"]).json()), 1);
        if runs {
            relay.signal("TERM");
            relay.wait();
        }
    }
    for secret in ["canary", &tokens[0][..], &tokens[1]] {
        assert!(!printed.contains(secret), "{secret:?} was printed:\n{printed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buried_entry_that_is_retried_is_delivered_by_the_running_relay() {
    let stage = stage().await;
    let mut relay = stage.serve();
    let address = relay.address();
    let faults = stage.simulator.faults();
    faults.add(Fault::answer(503, "ServiceUnavailable").on(Provider::Apns).times(1)).unwrap();
    faults.add(Fault::answer(413, "PayloadTooLarge").on(Provider::Apns).times(1)).unwrap();
    let token = apple_token(7);
    stage.post(address, &Push::apple(&token)).await.unwrap().expect_ok();

    let buried = wait_for(&stage, &["list", "--buried", "--json"], |listed| count(listed) == 1);
    assert_eq!(buried[0]["reason"], "PayloadTooLarge");
    let id = buried[0]["id"].to_string();
    assert!(queue(&stage, &["list", "--buried"]).well().contains("PayloadTooLarge"));

    assert_eq!(queue(&stage, &["retry", "--all-buried"]).well(), "1 entry due now.\n");
    tokio::time::timeout(PATIENCE, stage.simulator.ledger().wait_for(1)).await.unwrap();
    assert_eq!(stage.simulator.ledger().accepted_for(&token).len(), 1);
    wait_for(&stage, &["list", "--json"], |listed| count(listed) == 0);
    queue(&stage, &["show", &id]).badly(1, "there is no entry");
    queue(&stage, &["retry", &id]).badly(1, "1 entry not there");
    assert_eq!(queue(&stage, &["retry", "--all-buried", "--json"]).json()["due"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dropped_is_not_delivered_and_more_than_one_by_one_needs_a_yes() {
    let stage = stage().await;
    let mut relay = stage.serve();
    let address = relay.address();
    apple_is_down(&stage);
    for number in 1..=4 {
        stage.post(address, &Push::apple(&apple_token(number))).await.unwrap().expect_ok();
    }
    relay.signal("TERM");
    relay.wait();

    let listed = queue(&stage, &["list", "--json"]).json();
    let (first, second) = (listed[0]["id"].to_string(), listed[1]["id"].to_string());
    assert_eq!(queue(&stage, &["drop", &first]).well(), "1 entry dropped.\n");
    queue(&stage, &["drop", &first]).badly(1, "1 entry not there");
    queue(&stage, &["drop", "--target", "apple_rn"]).badly(1, "3 entries would be dropped");
    assert_eq!(queue(&stage, &["drop", "--all-buried", "--yes"]).well(), "0 entries dropped.\n");
    assert_eq!(count(&queue(&stage, &["list", "--json"]).json()), 3);

    // Beside a relay: what it has counted follows.
    let mut relay = stage.serve();
    let address = relay.address();
    assert_eq!(queue(&stage, &["drop", &second, "--json"]).json()["dropped"], 1);
    assert_eq!(queue(&stage, &["drop", "--target", "apple_rn", "--yes"]).well(), "2 entries dropped.\n");
    let started = Instant::now();
    loop {
        let metrics = reqwest::get(format!("http://{address}/metrics")).await.unwrap().text().await.unwrap();
        let depth = metrics.lines().find(|line| line.starts_with("pushrelay_queue_waiting{target=\"apple_rn\""));
        if depth.is_some_and(|line| line.ends_with(" 0")) {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "{depth:?}");
    }
    stage.simulator.faults().clear();
    let last = apple_token(99);
    stage.post(address, &Push::apple(&last)).await.unwrap().expect_ok();
    let accepted = stage.simulator.ledger().accepted();
    assert!(accepted.len() == 1 && accepted[0].device_token == last, "{accepted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_does_and_what_waits_is_told_by_trace_even_where_the_journal_knows_nothing() {
    let stage = stage().await;
    let mut relay = stage.serve();
    let address = relay.address();
    apple_is_down(&stage);
    let push = Push::apple(&apple_token(7)).with("ack_id", "ack-7");
    stage.post(address, &push).await.unwrap().expect_ok();
    let trace =
        |more: &[&str]| run(stage.folder.path(), &[&["trace", "ack-7", "--config", "pushrelay.toml"], more].concat());
    let id = queue(&stage, &["list", "--json"]).json()[0]["id"].to_string();
    relay.signal("TERM");
    relay.wait();
    assert_eq!(queue(&stage, &["retry", &id]).well(), "1 entry due now.\n");
    let told = trace(&[]).well();
    assert!(told.contains("an operator asked for another try after"), "{told}");
    assert!(told.contains(&format!("In the queue it is entry {id} for apple_rn: ")), "{told}");

    // As after a restore without the journal.
    let journal = stage.folder.path().join("data/journal");
    std::fs::remove_dir_all(&journal).unwrap();
    let told = trace(&[]).well();
    assert!(told.contains("The journal knows nothing of it") && told.contains("restored without --with-journal"));
    assert!(told.contains("\"ServiceUnavailable\" at last; "), "{told}");
    let waits = trace(&["--json"]).json();
    assert_eq!((&waits[0]["event"], &waits[0]["entry"].to_string()), (&"in_queue".into(), &id), "{waits:#}");

    std::fs::create_dir(&journal).unwrap();
    assert_eq!(queue(&stage, &["drop", &id]).well(), "1 entry dropped.\n");
    let told = trace(&[]).well();
    assert!(told.contains("an operator dropped it after") && !told.contains("In the queue"), "{told}");
    // Where no journal is kept, none is begun.
    std::fs::remove_dir_all(&journal).unwrap();
    queue(&stage, &["drop", "--target", "apple_rn", "--yes"]).well();
    assert!(!journal.exists());
    trace(&[]).badly(1, "there is no journal");
}

#[test]
fn each_way_to_fail_has_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::create_dir(folder.join("empty")).unwrap();
    std::fs::write(folder.join("none.toml"), "").unwrap();
    std::fs::write(folder.join("wrong.toml"), "data_dir = [").unwrap();
    for (arguments, code, words) in [
        (&["list", "--data-dir", "empty"][..], 1, "there is no queue at empty/queue.sqlite3"),
        (&["list", "--config", "none.toml"], 1, "none.toml has no `data_dir`, so this relay has no queue"),
        (&["list", "--config", "wrong.toml"], 78, "wrong.toml"),
        (&["list", "--data-dir", "empty", "--limit", "0"], 2, "from 1 to 10000"),
        (&["list", "--data-dir", "empty", "--state", "lost"], 2, "waiting, ready, leased, buried"),
        (&["show", "--data-dir", "empty", "x"], 2, "not the number of an entry"),
        (&["retry", "--data-dir", "empty"], 2, "required"),
        (&["drop", "--data-dir", "empty"], 2, "required"),
        (&["drop", "--data-dir", "empty", "1", "--all-buried"], 2, "cannot be used with"),
    ] {
        run(folder, &[&["queue"], arguments].concat()).badly(code, words);
    }
    let left: Vec<_> = std::fs::read_dir(folder.join("empty")).unwrap().collect();
    assert!(left.is_empty(), "nothing was made: {left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_another_relay_has_is_worth_another_start_and_the_log_says_why_there_is_none() {
    let stage = stage().await;
    let mut first = stage.serve();
    let address = first.address();
    let (status, printed) = stage.serve().end();
    assert_eq!(status.code(), Some(1), "{printed}");
    let logged =
        printed.lines().find(|line| line.contains(r#""msg":"not started""#)).unwrap_or_else(|| panic!("{printed}"));
    assert!(logged.contains(r#""level":"error""#) && logged.contains("held by another process"), "{logged}");

    // And the one that starts says what waits.
    apple_is_down(&stage);
    stage.post(address, &Push::apple(&apple_token(1))).await.unwrap().expect_ok();
    first.signal("TERM");
    first.wait();
    let line = stage.serve().wait_for("listening");
    assert!(line.contains(r#""waiting":1"#), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waited_has_a_second_line_when_a_later_one_takes_its_place() {
    let stage = stage().await;
    let mut relay = stage.serve();
    let address = relay.address();
    apple_is_down(&stage);
    let badge = |id: &str| Push::apple(&apple_token(1)).with("ack_id", id).with("type", "update_badge");
    for id in ["older", "newer"] {
        stage.post(address, &badge(id)).await.unwrap().expect_ok();
    }
    let line = relay.wait_for(r#""outcome":"superseded""#);
    assert!(line.contains(r#""ack_id":"older""#) && line.contains(r#""reason":"ServiceUnavailable""#), "{line}");
}
