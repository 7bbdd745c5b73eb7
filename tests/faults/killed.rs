//! Processes that are told to stop, or killed, under load: what was acknowledged has arrived or is on disk.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pushrelay::admission::signing::SigningKey;
use pushrelay::admission::webhook::signing::{WebhookSigningKey, sign};
use pushrelay::clock::Clock;
use pushrelay::queue::inspect::{Filter, Inspector, MAX_LISTED, State, Which};
use pushrelay::simulator::{Action, Fault, GoAway, Ledger, Provider, Reset, Stall};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::disk::with_a_data_dir;
use crate::stand::{PATIENCE, outage};
use crate::support::Push;
use crate::support::leaver::{Caller, Protocol};
use crate::support::process::Stage;
use crate::support::push::apple_token;

/// Settings of a process whose back-offs a test can wait for.
const QUICK: &str = "[breaker]\nfailures = 3\nfirst_pause = \"100ms\"\nlongest_pause = \"1s\"\n";

/// A chat server, and a program, that post until the relay has gone. It remembers the numbers of what was acknowledged.
struct Load {
    posters: JoinSet<()>,
    acknowledged: Arc<Mutex<HashSet<String>>>,
}

impl Load {
    /// So many requests at a time, each to a phone of its own, numbered from `first` on: over HTTP/1.1 and HTTP/2 in turns,
    /// messages, badges and clears, and what a program does not wait for.
    fn begin(
        relay: SocketAddr,
        key: &Arc<SigningKey>,
        bot: &Arc<WebhookSigningKey>,
        at_a_time: u32,
        first: u32,
    ) -> Self {
        let acknowledged = Arc::<Mutex<HashSet<String>>>::default();
        let mut posters = JoinSet::new();
        for poster in 0..at_a_time {
            let (acknowledged, key, bot) = (Arc::clone(&acknowledged), Arc::clone(key), Arc::clone(bot));
            let protocol = if poster.is_multiple_of(2) { Protocol::Http1 } else { Protocol::Http2 };
            let caller = Caller::new(protocol, relay, "");
            posters.spawn(async move {
                for number in (first + poster..).step_by(at_a_time as usize) {
                    let answer = if (number / at_a_time).is_multiple_of(4) {
                        let body = native(number);
                        let asked = caller.ask("/v1/notifications", &signed(&bot, number, &body), &body).await;
                        let Ok(asked) = asked else { return };
                        let Some(answer) = asked.answer().await else { return };
                        let answer: Value = serde_json::from_slice(&answer).unwrap();
                        answer["results"][0]["status"] == "queued"
                    } else {
                        let Some(answer) = caller.post(&push(number).body(&key).to_string()).await else { return };
                        answer["status"] == "OK"
                    };
                    if answer {
                        acknowledged.lock().unwrap().insert(number.to_string());
                    }
                }
            });
        }
        Self { posters, acknowledged }
    }

    fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    async fn reaches(&self, acknowledged: usize) {
        let reached = async {
            while self.count() < acknowledged {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.expect("the relay acknowledges pushes");
    }

    /// Waits until the relay has gone.
    async fn end(mut self) -> HashSet<String> {
        while let Some(ended) = self.posters.join_next().await {
            ended.unwrap();
        }
        std::mem::take(&mut self.acknowledged.lock().unwrap())
    }
}

/// The phone of a number.
fn token(number: u32) -> String {
    if number.is_multiple_of(2) { apple_token(number) } else { format!("android-{number}") }
}

fn push(number: u32) -> Push {
    let push = if number.is_multiple_of(2) { Push::apple(&token(number)) } else { Push::android(&token(number)) };
    let kind = ["message", "update_badge", "clear"][number as usize / 3 % 3];
    push.with("ack_id", number.to_string()).with("type", kind)
}

fn native(number: u32) -> String {
    let target = if number.is_multiple_of(2) { "apple_rn" } else { "android_rn" };
    json!({"target": target, "devices": [token(number)], "kind": "alert", "title": "t"}).to_string()
}

/// The headers of a program that does not want to wait.
fn signed(bot: &WebhookSigningKey, number: u32, body: &str) -> [(&'static str, String); 5] {
    let signed =
        sign(std::slice::from_ref(bot), &number.to_string(), Clock::System.unix_seconds(), body.as_bytes()).unwrap();
    let sent = signed.as_sent();
    [
        ("prefer", "respond-async".to_owned()),
        ("pushrelay-server", "bot".to_owned()),
        ("webhook-id", sent.id.to_owned()),
        ("webhook-timestamp", sent.timestamp.to_owned()),
        ("webhook-signature", sent.signature.to_owned()),
    ]
}

/// A program that the relay knows, and its entry in the configuration.
fn program() -> (Arc<WebhookSigningKey>, String) {
    let key = Arc::new(WebhookSigningKey::generate_symmetric());
    let public = key.relay_text();
    let entry = format!("[[server]]\nid = \"bot\"\nname = \"Bot\"\nwebhook_keys = [\"{}\"]\n", public.expose());
    (key, entry)
}

/// How often what each number names has arrived.
fn numbers(ledger: &Ledger) -> HashMap<String, u32> {
    let mut arrived = HashMap::new();
    for push in ledger.accepted() {
        let token = push.device_token.as_str();
        let number = match token.strip_prefix("android-") {
            Some(number) => number.to_owned(),
            None => u32::from_str_radix(&token[1..], 16).unwrap().to_string(),
        };
        *arrived.entry(number).or_default() += 1;
    }
    arrived
}

/// The ack ids on disk.
fn queued(data: &Path) -> HashSet<String> {
    let inspector = Inspector::open(data, Clock::System).unwrap();
    let listed = inspector.list(&Filter::default(), MAX_LISTED).unwrap();
    assert!(listed.len() < MAX_LISTED, "more than can be listed");
    assert!(listed.iter().all(|entry| entry.state != State::Buried), "nothing is given up");
    listed.into_iter().map(|entry| entry.ack_id).collect()
}

/// Makes everything on disk due, as `pushrelay queue retry` does.
pub fn retry_all(data: &Path) {
    let mut inspector = Inspector::open(data, Clock::System).unwrap();
    let ids = inspector.list(&Filter::default(), MAX_LISTED).unwrap().into_iter().map(|entry| entry.id).collect();
    inspector.retry(&Which::Ids(ids), &mut |_| {}).unwrap();
}

fn key_of(stage: &Stage) -> Arc<SigningKey> {
    Arc::new(SigningKey::from_pem(&stage.key.to_pem()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_ends_within_its_deadline_and_keeps_what_was_acknowledged() {
    let (bot, entry) = program();
    // A relay that is started again makes a token anew.
    let stage =
        Stage::set_with(&format!("{entry}{QUICK}"), |settings| settings.provider_token_interval = Duration::ZERO).await;
    let data = with_a_data_dir(&stage);
    let config = stage.folder.path().join("pushrelay.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(config, format!("shutdown_deadline = \"3s\"\n{text}")).unwrap();
    // Google is down; Apple answers, but for one phone, whose push hangs until after the deadline.
    stage.simulator.faults().add(Fault::answer(503, "UNAVAILABLE").on(Provider::Fcm)).unwrap();
    let held = apple_token(0xabc_def);
    stage.simulator.faults().add(Fault::new(Action::Hold).on(Provider::Apns).for_token(&held)).unwrap();
    let mut relay = stage.serve();
    let address = relay.address();
    let load = Load::begin(address, &key_of(&stage), &bot, 8, 0);
    let hangs = Push::apple(&held).with("ack_id", 0xabc_def_u32.to_string());
    let hanging = stage.post(address, &hangs);
    let stop = async {
        load.reaches(200).await;
        stage.simulator.ledger().wait_until(|counts| counts.held == 1).await;
        relay.signal("TERM");
        let began = Clock::System.now();
        // Blocks a thread of this test's own runtime, and the others go on.
        let (status, output) = tokio::task::block_in_place(|| relay.end());
        (status, output, began.elapsed())
    };
    let (answer, (status, output, took)) = tokio::join!(hanging, stop);
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(took < Duration::from_secs(10), "it took {took:?}");
    let mut acknowledged = load.end().await;
    if answer.is_ok_and(|answer| answer.status == "OK") {
        acknowledged.insert(hangs.text("ack_id").to_owned());
    }
    let (there, waiting) = (numbers(stage.simulator.ledger()), queued(&data));
    let lost = acknowledged.iter().filter(|id| !there.contains_key(*id) && !waiting.contains(*id)).count();
    assert_eq!(lost, 0, "of {} acknowledged, {} waiting", acknowledged.len(), waiting.len());
    assert!(!waiting.is_empty(), "Google's wait");

    stage.simulator.faults().clear();
    retry_all(&data);
    let relay = stage.serve();
    let all = async {
        while !acknowledged.iter().all(|id| numbers(stage.simulator.ledger()).contains_key(id)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("what waited is delivered after the restart");
    drop(relay);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_program_did_not_wait_for_survives_a_kill_and_arrives_once() {
    let (signing, server) = program();
    let stage = Stage::set_with(&server, |settings| settings.provider_token_interval = Duration::ZERO).await;
    let data = with_a_data_dir(&stage);
    // Apple says nothing to the process that will be killed.
    stage.simulator.faults().add(Fault::new(Action::Stall(Stall::Connection)).on(Provider::Apns)).unwrap();
    let mut relay = stage.serve();
    let address = relay.address();
    let devices: Vec<_> = (1..=50).map(apple_token).collect();
    let body =
        json!({"target": "apple_rn", "devices": devices, "kind": "alert", "title": "t", "body": "b"}).to_string();
    let signed = sign(std::slice::from_ref(&signing), "m-1", Clock::System.unix_seconds(), body.as_bytes()).unwrap();
    let sent = signed.as_sent();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client
        .post(format!("http://{address}/v1/notifications"))
        .header("prefer", "respond-async")
        .header("pushrelay-server", "bot")
        .header("webhook-id", sent.id)
        .header("webhook-timestamp", sent.timestamp)
        .header("webhook-signature", sent.signature)
        .body(body.clone());
    assert_eq!(request.send().await.unwrap().status(), 202);
    relay.signal("KILL");
    drop(relay);
    assert_eq!(Inspector::open(&data, Clock::System).unwrap().list(&Filter::default(), 100).unwrap().len(), 50);
    assert_eq!(stage.simulator.ledger().counts().accepted, 0);

    stage.simulator.faults().clear();
    let relay = stage.serve();
    let emptied = async {
        while !Inspector::open(&data, Clock::System).unwrap().list(&Filter::default(), 1).unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, emptied).await.expect("what waited is delivered after the restart");
    drop(relay);
    for device in &devices {
        assert_eq!(stage.simulator.ledger().accepted_for(device).len(), 1);
    }
}

/// What goes wrong at the providers in one life of a process.
fn trouble(random: &mut fastrand::Rng) -> Vec<Fault> {
    let everywhere = |action: &Action| [Provider::Apns, Provider::Fcm].map(|one| Fault::new(action.clone()).on(one));
    match random.u32(0..7) {
        0 => outage().into(),
        1 => vec![Fault::answer(503, "UNAVAILABLE").on(Provider::Fcm)],
        2 => vec![Fault::answer(503, "ServiceUnavailable").on(Provider::Apns)],
        3 => everywhere(&Action::GoAway(GoAway::Before)).map(|fault| fault.after(5).times(3)).into(),
        4 => everywhere(&Action::Reset(Reset::Connection)).map(|fault| fault.after(5).times(5)).into(),
        5 => everywhere(&Action::Latency(Duration::from_millis(random.u64(1..30)))).into(),
        _ => Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_kills_under_load_lose_nothing_that_was_acknowledged() {
    const KILLS: u32 = 100;
    // Any other is as good: the moments differ in each run all the same.
    let seed = std::env::var("PUSHRELAY_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_261_128);
    let mut random = fastrand::Rng::with_seed(seed);
    let (bot, entry) = program();
    let stage = Stage::set_with(&format!("{entry}{QUICK}"), |settings| {
        settings.provider_token_interval = Duration::ZERO;
        settings.ledger_capacity = 200_000;
    })
    .await;
    let data = with_a_data_dir(&stage);
    let key = key_of(&stage);
    let (mut acknowledged, mut there) = (HashSet::new(), HashMap::<String, u32>::new());
    let mut from_disk = 0;
    for kill in 0..KILLS {
        stage.simulator.faults().clear();
        for fault in trouble(&mut random) {
            stage.simulator.faults().add(fault).unwrap();
        }
        let mut relay = stage.serve();
        let load = Load::begin(relay.address(), &key, &bot, 8, kill * 100_000);
        tokio::time::sleep(Duration::from_millis(random.u64(1..150))).await;
        relay.signal("KILL");
        drop(relay);
        acknowledged.extend(load.end().await);
        for (id, times) in numbers(stage.simulator.ledger()) {
            *there.entry(id).or_default() += times;
        }
        stage.simulator.ledger().clear();
        let waiting = queued(&data);
        from_disk += usize::from(!waiting.is_empty());
        let lost = acknowledged.iter().filter(|id| !there.contains_key(*id) && !waiting.contains(*id)).count();
        assert_eq!(
            lost,
            0,
            "after kill {kill} of seed {seed}: {} acknowledged, {} wait",
            acknowledged.len(),
            waiting.len()
        );
    }
    assert!(from_disk > 10, "seed {seed}: hardly anything had to wait");

    stage.simulator.faults().clear();
    retry_all(&data);
    let relay = stage.serve();
    let all = async {
        while !queued(&data).is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("what waited is delivered in the end");
    for (id, times) in numbers(stage.simulator.ledger()) {
        *there.entry(id).or_default() += times;
    }
    drop(relay);
    let lost = acknowledged.iter().filter(|id| !there.contains_key(*id)).count();
    let more = there.values().map(|times| u64::from(times - 1)).sum::<u64>();
    assert_eq!(lost, 0, "seed {seed}: of {} acknowledged", acknowledged.len());
    // At least once: what was on its way at a kill is sent again. That is what eight callers and two targets' loops have in hand.
    let in_hand = 8 + 2 * 128;
    assert!(more <= u64::from(KILLS) * in_hand, "seed {seed}: {more} more than {} arrived", there.len());
}
