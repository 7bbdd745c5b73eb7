//! A request that comes again, and receipts of phones for what was sent and what was not.

use futures_util::future::{join, join_all};
use pushrelay::clock::Clock;
use pushrelay::simulator::{Action, Fault, Provider};
use serde_json::json;
use std::time::Duration;

use crate::support::process::Stage;
use crate::support::push::apple_token;
use crate::support::{Answer, PATIENCE, Plan, Push, Scene};

/// What the simulator calls a token whose app was deleted.
fn dead_token() -> String {
    format!("dead0410{:056x}", 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_duplicates_at_once_are_one_push_and_two_hundred_equal_answers() {
    for (push, provider) in
        [(Push::apple(&apple_token(1)), Provider::Apns), (Push::android("android-1"), Provider::Fcm)]
    {
        let scene = Scene::usual().await;
        // Held until all of them are there.
        scene.simulator.faults().add(Fault::new(Action::Hold).on(provider)).unwrap();
        let all = join_all((0..200).map(|_| scene.post(&push)));
        let let_go = async {
            scene.wait_for_metric("pushrelay_in_flight", 200.0).await;
            scene.simulator.faults().clear();
        };
        let (answers, ()): (Vec<Answer>, ()) = join(all, let_go).await;
        let equal = answers.iter().filter(|answer| (answer.code, answer.status.as_str()) == (200, "OK")).count();
        assert_eq!(equal, 200);
        let counts = scene.simulator.ledger().counts();
        assert_eq!((counts.accepted, counts.repeats, counts.refused), (1, 0, 0), "{counts:?}");
        // One that has its place, but has not asked the memory yet when the first is let go, finds its answer there.
        let mut repeats = 0.0;
        for answer in ["waited", "remembered"] {
            repeats += scene.metric(&format!("pushrelay_repeats_total{{answer=\"{answer}\"}}")).await;
        }
        assert!((repeats - 199.0).abs() < f64::EPSILON, "{repeats}");
    }
}

#[tokio::test]
async fn a_captured_request_wakes_no_phone_again_whatever_was_changed_in_it() {
    let scene = Scene::usual().await;
    let captured = Push::apple(&apple_token(1)).with("ack_id", "ack-1");
    scene.post(&captured).await.expect_ok();
    // The signature covers the ids, and nothing of these.
    for changed in [
        captured.clone(),
        captured.clone().with("message", "send your password to …"),
        captured.clone().with("platform", "android_rn-v2"),
        captured.clone().with("type", "session"),
    ] {
        scene.post(&changed).await.expect_ok();
    }
    assert_eq!(scene.simulator.ledger().accepted().len(), 1);
    scene.expect_metric(r#"pushrelay_repeats_total{answer="remembered"}"#, 4.0).await;
    // Another phone, or another push to the same one, is another request.
    scene.post(&Push::apple(&apple_token(2)).with("ack_id", "ack-1")).await.expect_ok();
    scene.post(&Push::apple(&apple_token(1)).with("ack_id", "ack-2")).await.expect_ok();
    assert_eq!(scene.simulator.ledger().accepted().len(), 3);
}

#[tokio::test]
async fn an_apple_token_is_one_phone_however_it_is_spelt_and_arrives_as_it_was() {
    let scene = Scene::usual().await;
    let (small, capital) = (apple_token(0xabc), apple_token(0xabc).to_uppercase());
    for token in [&capital, &small, &capital] {
        scene.post(&Push::apple(token).with("ack_id", "ack-1")).await.expect_ok();
    }
    let accepted = scene.simulator.ledger().accepted();
    assert_eq!(accepted.iter().map(|push| push.device_token.as_str()).collect::<Vec<_>>(), [capital.as_str()]);
    // Google tells capitals from small letters.
    for token in ["android-Ab:1", "android-aB:1"] {
        scene.post(&Push::android(token).with("ack_id", "ack-2")).await.expect_ok();
    }
    assert_eq!(scene.simulator.ledger().accepted().len(), 3);
}

#[tokio::test]
async fn what_failed_for_now_is_tried_again_and_what_is_dead_stays_dead() {
    let scene = Scene::usual().await;
    let push = Push::apple(&apple_token(1));
    scene.simulator.faults().add(Fault::answer(503, "ServiceUnavailable").on(Provider::Apns)).unwrap();
    scene.post(&push).await.expect_fail(200, "try again later");
    scene.simulator.faults().clear();
    scene.post(&push).await.expect_ok();

    let dead = Push::apple(&dead_token());
    scene.post(&dead).await.expect_remove();
    let asked = scene.simulator.ledger().counts().refused;
    scene.post(&dead).await.expect_remove();
    assert_eq!(scene.simulator.ledger().counts().refused, asked, "Apple is not asked again");
}

#[tokio::test]
async fn after_the_window_the_same_id_is_another_request() {
    let clock = Clock::manual(1_800_000_000);
    let plan = Plan { clock: Some(clock.clone()), tables: "[memory]\nwindow = \"1h\"".into(), ..Plan::default() };
    let scene = Scene::new(plan).await;
    let push = Push::apple(&apple_token(1));
    for (later, sent) in [(0, 1), (3_599, 1), (1, 2)] {
        clock.advance(Duration::from_secs(later));
        scene.post(&push).await.expect_ok();
        assert_eq!(scene.simulator.ledger().accepted().len(), sent);
    }
}

#[tokio::test]
async fn repeats_are_sent_again_where_nothing_is_remembered() {
    let scene = Scene::new(Plan { tables: "[memory]\nenabled = false".into(), ..Plan::default() }).await;
    let push = Push::apple(&apple_token(1));
    for sent in 1..=2 {
        scene.post(&push).await.expect_ok();
        assert_eq!(scene.simulator.ledger().accepted().len(), sent);
    }
}

#[tokio::test]
async fn a_duplicate_costs_its_server_nothing_of_what_a_phone_may_get() {
    let plan = Plan { auth_keys: "device_per_minute = 1\ndevice_burst = 1", ..Plan::default() };
    let scene = Scene::new(plan).await;
    let push = Push::apple(&apple_token(1));
    for _ in 0..5 {
        scene.post(&push).await.expect_ok();
    }
    scene.post(&Push::apple(&apple_token(1))).await.expect_fail(429, "for one device");
    scene.post(&Push::apple(&apple_token(1).to_uppercase())).await.expect_fail(429, "for one device");
}

#[tokio::test]
async fn only_receipts_for_what_was_sent_count_and_each_once() {
    let clock = Clock::manual(1_800_000_000);
    let scene = Scene::new(Plan { clock: Some(clock.clone()), ..Plan::default() }).await;
    scene.post(&Push::apple(&apple_token(1)).with("ack_id", "ack-1")).await.expect_ok();
    scene.post(&Push::apple(&dead_token()).with("ack_id", "dead-1")).await.expect_remove();
    clock.advance(Duration::from_secs(3));
    for (id, result, count) in
        [("ack-1", "sent", 1.0), ("ack-1", "again", 1.0), ("forged", "unknown", 1.0), ("dead-1", "unknown", 2.0)]
    {
        let (code, text) = scene.post_to("/api/v1/ack", &json!({"id": id, "platform": "ios", "type": "message"})).await;
        assert_eq!((code, text.as_str()), (200, r#"{"status":"OK"}"#), "{id}");
        scene.expect_metric(&format!("pushrelay_receipts_total{{result=\"{result}\"}}"), count).await;
    }
    scene.expect_metric(r#"service_delivered_total{platform="ios",transport="",type="message"}"#, 1.0).await;
    scene.expect_metric(r#"pushrelay_receipt_seconds_sum{platform="apple"}"#, 3.0).await;
}

#[tokio::test]
async fn an_unsigned_test_cannot_stand_for_the_push_that_will_have_its_id() {
    let scene = Scene::new(Plan::default()).await;
    let push = Push::apple(&apple_token(1)).with("ack_id", "guessed");
    scene.post(&push.clone().with("type", "test").with("badge", -1).unsigned()).await.expect_ok();
    scene.post(&push).await.expect_ok();
    assert_eq!(scene.simulator.ledger().accepted().len(), 2, "the push was sent as well");
}

/// Waits until a relay in this folder has written so many records of what was sent, at the least.
async fn wait_for_records(folder: &std::path::Path, count: u64) {
    const HEAD: u64 = 76;
    const RECORD: u64 = 32;
    let written = async {
        loop {
            let files = std::fs::read_dir(folder.join("data/sent")).into_iter().flatten().flatten();
            let sent = files.filter(|file| file.path().extension().is_some_and(|ending| ending == "sent"));
            if sent.map(|file| file.metadata().unwrap().len().saturating_sub(HEAD)).sum::<u64>() >= count * RECORD {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, written).await.expect("what was sent is written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_push_wakes_no_phone_after_a_stop_or_a_kill_and_has_the_answer_of_the_first() {
    for signal in ["TERM", "KILL"] {
        let stage = Stage::set("").await;
        let file = stage.folder.path().join("pushrelay.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("data_dir = \"data\"\n{text}")).unwrap();
        let refused = Fault::answer(400, "BadCollapseId").for_token("f00d").times(1);
        stage.simulator.faults().add(refused).unwrap();
        let pushes = [
            Push::apple(&apple_token(1)),
            Push::android("android-1"),
            Push::apple(&dead_token()),
            Push::apple(&format!("f00d{:060x}", 1)),
        ];
        let mut relay = stage.serve();
        let address = relay.address();
        let mut first = Vec::new();
        for push in &pushes {
            first.push(stage.post(address, push).await.unwrap());
        }
        if signal == "KILL" {
            wait_for_records(stage.folder.path(), 4).await;
        }
        relay.signal(signal);
        relay.wait();
        let counts = stage.simulator.ledger().counts();

        let mut relay = stage.serve();
        let address = relay.address();
        for http2 in [false, true] {
            let builder = reqwest::Client::builder().no_proxy();
            let client = if http2 { builder.http2_prior_knowledge() } else { builder }.build().unwrap();
            for (push, first) in pushes.iter().zip(&first) {
                let body = push.body(&stage.key).to_string();
                let send = || client.post(format!("http://{address}/api/v1/send_push")).body(body.clone()).send();
                for response in join_all((0..25).map(|_| send())).await {
                    let again = Answer::read(response.unwrap()).await;
                    assert_eq!(
                        (&again.status, &again.error),
                        (&first.status, &first.error),
                        "{signal}, HTTP/2: {http2}"
                    );
                }
            }
        }
        assert_eq!(stage.simulator.ledger().counts(), counts, "{signal}: nothing was asked of a provider again");
        relay.signal("TERM");
        relay.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_end_or_a_damaged_file_of_what_was_sent_costs_what_it_held_and_the_relay_starts_and_says_so() {
    // A relay that is started again makes a token anew, and Apple takes few in an hour.
    let stage = Stage::set_with("", |settings| settings.provider_token_interval = Duration::ZERO).await;
    let config = stage.folder.path().join("pushrelay.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("data_dir = \"data\"\n{text}")).unwrap();
    let push = |phone| Push::apple(&apple_token(phone)).with("ack_id", format!("ack-{phone}"));
    let sent = |number: u32| stage.folder.path().join(format!("data/sent/{number:08}.sent"));
    let mut asked = 0;
    let damages: [Damage<'_>; 4] = [
        (&|| {}, "", &[1, 2]),
        // As after a power cut: half a batch.
        (&|| append(&sent(1), &[99; 20]), "is cut or damaged", &[]),
        (&|| std::fs::write(sent(1), "something else").unwrap(), "it is damaged; it is removed", &[1, 2]),
        (&|| std::fs::write(stage.folder.path().join("data/sent/key"), "?").unwrap(), "missing or damaged", &[1, 2]),
    ];
    for (damage, words, anew) in damages {
        damage();
        let mut relay = stage.serve();
        let address = relay.address();
        for phone in 1..=2 {
            stage.post(address, &push(phone)).await.unwrap().expect_ok();
            asked += u64::from(anew.contains(&phone));
            assert_eq!(stage.simulator.ledger().counts().accepted, asked, "{words}, phone {phone}");
        }
        relay.signal("TERM");
        let (status, output) = relay.end();
        assert!(status.success() && output.contains(words), "{words}: {output}");
    }
}

/// What is done to the files before a start, what the log says then, and which of the phones are woken anew.
type Damage<'a> = (&'a dyn Fn(), &'static str, &'static [u32]);

fn append(path: &std::path::Path, bytes: &[u8]) {
    use std::io::Write;
    std::fs::OpenOptions::new().append(true).open(path).unwrap().write_all(bytes).unwrap();
}
