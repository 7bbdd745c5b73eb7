//! Device tokens that are said to be dead: too late for their sender to hear, or suspiciously many.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use pushrelay::journal::{self, JournalSettings};
use pushrelay::simulator::{Fault, Provider};

use crate::disk::with_a_data_dir;
use crate::stand::{PATIENCE, Stand, outage};
use crate::support::Push;
use crate::support::process::Stage;
use crate::support::push::apple_token;

const DEAD: &str = r#"pushrelay_queue_settled_total{outcome="removed",target="apple_rn"}"#;

/// A stand in which a phone's app was deleted while a notification to it waited.
async fn with_a_phone_that_died_meanwhile() -> (Stand, String) {
    let stand = Stand::with("[breaker]\nfailures = 1").await;
    let phone = apple_token(1);
    stand.fault(Fault::answer(503, "ServiceUnavailable").on(Provider::Apns));
    stand.pass_until(stand.post(&Push::apple(&phone))).await.expect_ok();
    stand.mend();
    stand.fault(Fault::answer(410, "Unregistered").on(Provider::Apns).for_token(&phone));
    stand.pass_until(stand.wait_for_metric(DEAD, 1.0)).await;
    (stand, phone)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_found_dead_too_late_is_removed_with_the_next_push_to_it_which_is_not_sent() {
    let (stand, phone) = with_a_phone_that_died_meanwhile().await;
    let refused = stand.simulator.ledger().counts().refused;
    // Another server's push would be told nothing; another phone's is sent.
    stand.post(&Push::apple(&apple_token(2))).await.expect_ok();
    stand.post(&Push::apple(&phone)).await.expect_remove();
    assert_eq!(stand.simulator.ledger().counts().refused, refused, "nobody asked Apple again");
    // Told once. The server has it registered again, with the same token.
    stand.mend();
    stand.post(&Push::apple(&phone)).await.expect_ok();
    assert_eq!(stand.simulator.ledger().accepted_for(&phone).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_found_dead_too_late_is_told_after_a_restart_and_once() {
    let (mut stand, phone) = with_a_phone_that_died_meanwhile().await;
    stand.stop().await;
    stand.start_again().await;
    stand.post(&Push::apple(&phone)).await.expect_remove();
    stand.mend();
    stand.stop().await;
    stand.start_again().await;
    stand.post(&Push::apple(&phone)).await.expect_ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_says_once_that_a_token_was_found_dead_too_late_and_not_that_the_server_was_told() {
    let mut stand = Stand::with("[breaker]\nfailures = 1").await;
    let push = Push::apple(&apple_token(1));
    stand.fault(Fault::answer(503, "ServiceUnavailable").on(Provider::Apns));
    stand.pass_until(stand.post(&push)).await.expect_ok();
    stand.mend();
    stand.fault(Fault::answer(410, "Unregistered").on(Provider::Apns));
    stand.pass_until(stand.wait_for_metric(DEAD, 1.0)).await;
    stand.stop().await;
    let journal = stand.folder.path().join("data").join(JournalSettings::DIRECTORY);
    let lines = journal::read(&journal, push.text("ack_id")).unwrap();
    let after: Vec<_> = lines.iter().skip_while(|line| line.event != "queued").skip(1).collect();
    let [told] = after[..] else { panic!("{lines:?}") };
    assert_eq!((&*told.event, told.reason.as_deref()), ("removed_late", Some("Unregistered")));
    assert!(told.attempts > Some(0) && told.ms.is_some() && told.provider_id.is_some(), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_twenty_ambiguous_removals_further_ones_are_withheld_until_pushes_arrive_and_a_day_is_over() {
    let stand = Stand::usual().await;
    let withheld = r#"pushrelay_removals_withheld_total{target="apple_rn"}"#;
    let active = r#"pushrelay_removal_guard_active{target="apple_rn"}"#;
    // A sandbox app's tokens at the production endpoint.
    stand.fault(Fault::answer(400, "BadDeviceToken").on(Provider::Apns));
    for phone in 1..=20 {
        stand.post(&Push::apple(&apple_token(phone))).await.expect_remove();
    }
    stand.expect_metric(active, 0.0).await;
    for phone in 21..=30 {
        let answer = stand.post(&Push::apple(&apple_token(phone))).await;
        answer.expect_fail(200, "BadDeviceToken");
        answer.expect_fail(200, "`sandbox = true`");
        answer.expect_fail(200, "Keep the token");
    }
    stand.expect_metric(withheld, 10.0).await;
    stand.expect_metric(active, 1.0).await;
    let target = stand.target("apple_rn").await;
    assert!(target["removals_withheld"].as_str().unwrap().contains("BadDeviceToken"), "{target}");
    // A word that means nothing else is passed on.
    stand.post(&Push::apple(&format!("dead0410{:056x}", 1))).await.expect_fail(200, "BadDeviceToken");
    stand.mend();
    stand.post(&Push::apple(&format!("dead0410{:056x}", 2))).await.expect_remove();

    // The operator has mended the target: most pushes arrive again.
    for phone in 100..140 {
        stand.post(&Push::apple(&apple_token(phone))).await.expect_ok();
    }
    // Twenty are what so small a fleet may have in a day.
    stand.clock.advance(Duration::from_secs(31));
    stand.fault(Fault::answer(400, "BadDeviceToken").on(Provider::Apns).times(1));
    stand.post(&Push::apple(&apple_token(140))).await.expect_fail(200, "BadDeviceToken");
    stand.clock.advance(Duration::from_hours(25));
    stand.fault(Fault::answer(400, "BadDeviceToken").on(Provider::Apns).times(1));
    stand.post(&Push::apple(&apple_token(141))).await.expect_remove();
    stand.expect_metric(active, 0.0).await;
    assert_eq!(stand.target("apple_rn").await["removals_withheld"], serde_json::Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_not_given_up_for_removals_that_are_not_believed() {
    let stand = Stand::with("[breaker]\nfailures = 1").await;
    for fault in outage() {
        stand.fault(fault);
    }
    for phone in 1..=40 {
        stand.pass_until(stand.post(&Push::apple(&apple_token(phone)))).await.expect_ok();
    }
    stand.mend();
    stand.fault(Fault::answer(400, "BadDeviceToken").on(Provider::Apns));
    let reached = async {
        while stand.metric(DEAD).await < 20.0 || stand.simulator.ledger().counts().refused < 45 {
            tokio::task::yield_now().await;
        }
    };
    stand.pass_until(reached).await;
    stand.wait_for_metric(DEAD, 20.0).await;
    stand.mend();
    stand.pass_until_nothing_waits().await;
    assert_eq!(stand.arrived().len(), 20, "those that were withheld arrive when the target is right again");
}

/// A token that Apple calls bad.
fn bad(phone: u32) -> Push {
    Push::apple(&format!("dead0400{phone:056x}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_certificate_does_not_empty_a_fleet_slowly() {
    let stand = Stand::usual().await;
    let mut removed = 0;
    // Ten minutes, then a month, one a day.
    for phone in 0..70 {
        removed += u32::from(stand.post(&bad(phone)).await.status == "REMOVE");
        stand.clock.advance(if phone < 40 { Duration::from_secs(16) } else { Duration::from_hours(24) });
    }
    assert_eq!(removed, 20);
}

/// A stage whose relays make provider tokens sooner than Apple likes.
async fn stage() -> Stage {
    let stage = Stage::set_with("", |simulator| simulator.provider_token_interval = Duration::ZERO).await;
    with_a_data_dir(&stage);
    stage
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_certificate_does_not_empty_a_fleet_by_kills() {
    let stage = stage().await;
    let mut removed = 0;
    for round in 0..6 {
        let mut relay = stage.serve();
        let address = relay.address();
        let posts = (0..30).map(async |phone| stage.post(address, &bad(round * 100 + phone)).await.unwrap());
        let answers = futures_util::future::join_all(posts).await;
        removed += answers.iter().filter(|answer| answer.status == "REMOVE").count();
        relay.signal("KILL");
        relay.wait();
    }
    assert_eq!(removed, 20);
}

/// What a command has printed that ended well.
fn run(folder: &Path, arguments: &[&str]) -> String {
    let command = Command::new(env!("CARGO_BIN_EXE_pushrelay")).args(arguments).current_dir(folder).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    assert!(command.status.success(), "{arguments:?}: {}", text(command.stderr));
    text(command.stdout)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_lets_so_many_removals_through_beside_a_running_relay_and_over_a_restart() {
    let stage = stage().await;
    let folder = stage.folder.path();
    let mut relay = stage.serve();
    let address = relay.address();
    for phone in 0..20 {
        stage.post(address, &bad(phone)).await.unwrap().expect_remove();
    }
    stage.post(address, &bad(20)).await.unwrap().expect_fail(200, "BadDeviceToken");
    let shown = || -> serde_json::Value {
        let shown = run(folder, &["removals", "show", "--data-dir", "data", "--json"]);
        serde_json::from_str::<serde_json::Value>(&shown).unwrap()[1].clone()
    };
    let before = shown();
    assert_eq!((&before["target"], &before["since_delivery"]), (&"apple_rn".into(), &20.into()), "{before}");

    run(folder, &["removals", "allow", "--config", "pushrelay.toml", "--target", "apple_rn", "--count", "2"]);
    assert_eq!(shown()["allowed"], 2);
    // The relay notices within a second.
    let (began, mut phone) = (Instant::now(), 21);
    let let_through = loop {
        let push = bad(phone);
        if stage.post(address, &push).await.unwrap().status == "REMOVE" {
            break push;
        }
        phone += 1;
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    relay.wait_for("an operator lets so many removals of device tokens through");
    relay.signal("KILL");
    relay.wait();
    let mut relay = stage.serve();
    let address = relay.address();
    stage.post(address, &bad(1_001)).await.unwrap().expect_remove();
    stage.post(address, &bad(1_002)).await.unwrap().expect_fail(200, "BadDeviceToken");
    assert_eq!(shown()["allowed"], 0);
    relay.signal("TERM");
    relay.wait();
    let lines =
        journal::read(&folder.join("data").join(JournalSettings::DIRECTORY), let_through.text("ack_id")).unwrap();
    // A kill may cost the journal its last second.
    assert!(lines.is_empty() || lines.iter().any(|line| line.event == "allowed"), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_cannot_be_written_down_is_told_to_nobody() {
    let stand = Stand::usual().await;
    let in_its_place = stand.folder.path().join("data/removals.json.tmp");
    // The start writes the file once itself, by this name first.
    let taken = async {
        while std::fs::create_dir(&in_its_place).is_err() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, taken).await.expect("the start's file has its own name");
    stand.post(&bad(1)).await.expect_fail(200, "BadDeviceToken");
    std::fs::remove_dir(&in_its_place).unwrap();
    for phone in 2..21 {
        stand.post(&bad(phone)).await.expect_remove();
    }
    stand.clock.advance(Duration::from_mins(10));
    stand.post(&bad(21)).await.expect_remove();
    stand.post(&bad(22)).await.expect_fail(200, "BadDeviceToken");
}
