//! Callers that leave before they are answered, at each moment and over each protocol: what they asked for runs to its end.
//! The phone is woken once at the most, the log has its line, and whoever asks again hears what became of the first.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;

use pushrelay::admission::webhook::signing::{WebhookSigningKey, sign};
use pushrelay::clock::Clock;
use pushrelay::queue::inspect::{Filter, Inspector, MAX_LISTED};
use pushrelay::simulator::{Action, Fault, Provider};
use serde_json::{Value, json};

use crate::support::leaver::{self, Asked, Caller, Driver, Leaving, PROTOCOLS, Protocol};
use crate::support::process::{Process, Stage};
use crate::support::push::apple_token;
use crate::support::{PATIENCE, Push};

const SEND_PUSH: &str = "/api/v1/send_push";

/// A relay process that speaks one protocol, and who talks to it.
struct Talk {
    stage: Stage,
    relay: Process,
    ops: SocketAddr,
    caller: Caller,
    program: WebhookSigningKey,
    /// Connections that their callers have not closed.
    open: Vec<Driver>,
    pushes: u32,
}

impl Talk {
    /// `top` are lines above the first table.
    async fn begin(protocol: Protocol, top: &str, tables: &str) -> Self {
        let program = WebhookSigningKey::generate_symmetric();
        let bot = format!(
            "[[server]]\nid = \"bot\"\nname = \"Bot\"\nwebhook_keys = [\"{}\"]\n",
            program.relay_text().expose()
        );
        let tls = "[tls]\ncertificate_file = \"relay.pem\"\nkey_file = \"relay.key\"\n";
        let tls = if protocol.is_over_tls() { tls } else { "" };
        let tables = format!("{bot}{tls}[ops]\nlisten = \"127.0.0.1:0\"\n{tables}");
        let stage = Stage::set(&tables).await;
        let (certificate, key) = leaver::certificate();
        let folder = stage.folder.path();
        fs::write(folder.join("relay.pem"), &certificate).unwrap();
        fs::write(folder.join("relay.key"), key).unwrap();
        let config = folder.join("pushrelay.toml");
        fs::write(&config, format!("{top}{}", fs::read_to_string(&config).unwrap())).unwrap();
        let mut relay = stage.serve();
        let line: Value = serde_json::from_str(&relay.wait_for("listening")).unwrap();
        let address = |key: &str| line[key].as_str().unwrap().parse().unwrap();
        let caller = Caller::new(protocol, address("address"), &certificate);
        Self { ops: address("ops"), stage, relay, caller, program, open: Vec::new(), pushes: 0 }
    }

    /// A push to a phone of its own.
    fn push(&mut self) -> Push {
        self.pushes += 1;
        Push::apple(&apple_token(self.pushes))
    }

    async fn ask(&self, push: &Push) -> Asked {
        self.caller.ask(SEND_PUSH, &[], &push.body(&self.stage.key).to_string()).await.unwrap()
    }

    async fn leave(&mut self, asked: Asked, leaving: Leaving) {
        self.open.extend(asked.leave(leaving).await);
    }

    /// The status that a push is answered with.
    async fn status(&self, push: &Push) -> String {
        let answer = self.caller.post(&push.body(&self.stage.key).to_string()).await.unwrap();
        answer["status"].as_str().unwrap().to_owned()
    }

    fn fault(&self, fault: Fault, push: &Push) {
        let fault = fault.on(Provider::Apns).for_token(push.text("device_id"));
        self.stage.simulator.faults().add(fault).unwrap();
    }

    async fn in_flight(&self, requests: usize) {
        let wanted = format!("pushrelay_in_flight {requests}");
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let reached = async {
            loop {
                let text =
                    client.get(format!("http://{}/metrics", self.ops)).send().await.unwrap().text().await.unwrap();
                if text.lines().any(|line| line == wanted) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("never {requests} in flight"));
    }

    fn arrived(&self, push: &Push) -> usize {
        self.stage.simulator.ledger().accepted_for(push.text("device_id")).len()
    }

    /// A message of a program to these phones, as it is posted.
    async fn notify(&self, id: &str, devices: &[String], prefer: &str) -> Asked {
        let message = json!({"target": "apple_rn", "devices": devices, "kind": "alert", "title": "t"});
        self.post(id, &message, prefer).await
    }

    async fn post(&self, id: &str, message: &Value, prefer: &str) -> Asked {
        let body = message.to_string();
        let now = Clock::System.unix_seconds();
        let signed = sign(std::slice::from_ref(&self.program), id, now, body.as_bytes()).unwrap();
        let sent = signed.as_sent();
        let headers = [
            ("prefer", prefer.to_owned()),
            ("pushrelay-server", "bot".to_owned()),
            ("webhook-id", sent.id.to_owned()),
            ("webhook-timestamp", sent.timestamp.to_owned()),
            ("webhook-signature", sent.signature.to_owned()),
        ];
        self.caller.ask("/v1/notifications", &headers, &body).await.unwrap()
    }

    /// Ends the relay, which waits for what is under way, and gives the outcomes that its log has for each id.
    fn end(self) -> (Stage, HashMap<String, Vec<String>>) {
        drop(self.open);
        self.relay.signal("TERM");
        let (status, output) = tokio::task::block_in_place(|| self.relay.end());
        assert!(status.success(), "{output}");
        let mut outcomes = HashMap::<_, Vec<_>>::new();
        for line in output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            if let (Some(id), Some(outcome)) = (line["ack_id"].as_str(), line["outcome"].as_str()) {
                outcomes.entry(id.to_owned()).or_default().push(outcome.to_owned());
            }
        }
        for all in outcomes.values_mut() {
            all.sort();
        }
        (self.stage, outcomes)
    }
}

fn lines<'a>(log: &'a HashMap<String, Vec<String>>, push: &Push) -> Vec<&'a str> {
    log.get(push.text("ack_id")).into_iter().flatten().map(String::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_leaves_at_whatever_moment_the_phone_is_woken_once_and_the_log_has_its_line() {
    for protocol in PROTOCOLS {
        // Long enough to leave within, and nothing is waited for that is longer.
        let mut talk = Talk::begin(protocol, "", "[delivery]\nfirst_pause = \"200ms\"\n").await;
        let (mut certain, mut perhaps) = (Vec::new(), Vec::new());
        for leaving in protocol.leavings() {
            // Before anything is done for it.
            for _ in 0..10 {
                let push = talk.push();
                let asked = talk.ask(&push).await;
                talk.leave(asked, *leaving).await;
                perhaps.push(push);
            }
            talk.in_flight(0).await;
            // In the attempt.
            let push = talk.push();
            talk.fault(Fault::new(Action::Hold), &push);
            let held = talk.stage.simulator.ledger().counts().held;
            let asked = talk.ask(&push).await;
            talk.stage.simulator.ledger().wait_until(|counts| counts.held > held).await;
            talk.leave(asked, *leaving).await;
            // While waiting for the outcome of the same request.
            let same = talk.ask(&push).await;
            talk.in_flight(2).await;
            talk.leave(same, *leaving).await;
            talk.stage.simulator.faults().clear();
            assert_eq!(talk.status(&push).await, "OK");
            certain.push((push, vec!["delivered", "repeated", "repeated"]));
            // Between two attempts.
            let push = talk.push();
            talk.fault(Fault::answer(503, "ServiceUnavailable").times(1), &push);
            let refused = talk.stage.simulator.ledger().counts().refused;
            let asked = talk.ask(&push).await;
            talk.stage.simulator.ledger().wait_until(|counts| counts.refused > refused).await;
            talk.leave(asked, *leaving).await;
            assert_eq!(talk.status(&push).await, "OK");
            certain.push((push, vec!["delivered", "repeated"]));
        }
        for push in &perhaps {
            assert_eq!(talk.status(push).await, "OK");
        }
        for push in perhaps.iter().chain(certain.iter().map(|(push, _)| push)) {
            assert_eq!(talk.arrived(push), 1, "{protocol:?}");
        }
        let (_stage, log) = talk.end();
        for (push, expected) in certain {
            assert_eq!(lines(&log, &push), expected, "{protocol:?}");
        }
        for push in perhaps {
            let lines = lines(&log, &push);
            assert!(matches!(lines[..], ["delivered"] | ["delivered", "repeated"]), "{protocol:?}: {lines:?}");
        }
    }
}

/// A recorded push, sent over and over by somebody who resets each stream before its answer.
#[tokio::test(flavor = "multi_thread")]
async fn seventy_resets_of_one_push_wake_its_phone_once() {
    let mut talk = Talk::begin(Protocol::Http2OverTls, "", "").await;
    let push = talk.push();
    talk.fault(Fault::new(Action::Hold), &push);
    for number in 0..70 {
        let asked = talk.ask(&push.clone().with("message", format!("text {number}"))).await;
        // The first waits for its answer from Apple, and the others for the first.
        talk.in_flight(number + 1).await;
        talk.leave(asked, Leaving::Stream).await;
    }
    talk.stage.simulator.faults().clear();
    assert_eq!(talk.status(&push).await, "OK");
    assert_eq!(talk.arrived(&push), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_its_way_to_the_disk_gets_there_once_whoever_leaves() {
    for protocol in PROTOCOLS {
        // The first push opens the breaker: all others go to the disk at once.
        let breaker = "[breaker]\nfailures = 1\nfirst_pause = \"1m\"\nlongest_pause = \"1m\"\n";
        let mut talk = Talk::begin(protocol, "data_dir = \"data\"\n", breaker).await;
        let data = talk.stage.folder.path().join("data");
        talk.stage.simulator.faults().add(Fault::answer(503, "ServiceUnavailable").on(Provider::Apns)).unwrap();
        let first = talk.push();
        assert_eq!(talk.status(&first).await, "OK");
        let (mut certain, mut perhaps, mut programs) = (Vec::new(), Vec::new(), Vec::new());
        for leaving in protocol.leavings() {
            // Before the disk has it: another process keeps the file to itself, and nothing else is under way.
            talk.in_flight(0).await;
            let database = rusqlite::Connection::open(data.join("queue.sqlite3")).unwrap();
            database.execute_batch("BEGIN IMMEDIATE").unwrap();
            let push = talk.push();
            let asked = talk.ask(&push).await;
            talk.in_flight(1).await;
            talk.leave(asked, *leaving).await;
            // A program's message, for which it does not want to wait, is put there device by device.
            let devices: Vec<_> = (0..100).map(|n| apple_token(10_000 * (talk.pushes + 1) + n)).collect();
            let id = format!("m-{}", talk.pushes);
            let asked = talk.notify(&id, &devices, "respond-async").await;
            talk.in_flight(2).await;
            talk.leave(asked, *leaving).await;
            database.execute_batch("COMMIT").unwrap();
            assert_eq!(talk.status(&push).await, "OK");
            certain.push(push);
            programs.push(id);
            // Just about when the disk has it.
            for _ in 0..10 {
                let push = talk.push();
                let asked = talk.ask(&push).await;
                tokio::task::yield_now().await;
                talk.leave(asked, *leaving).await;
                perhaps.push(push);
            }
        }
        for push in &perhaps {
            assert_eq!(talk.status(push).await, "OK");
        }
        let (_stage, log) = talk.end();
        let on_disk = Inspector::open(&data, Clock::System).unwrap().list(&Filter::default(), MAX_LISTED).unwrap();
        let entries = |id: &str| on_disk.iter().filter(|entry| entry.ack_id == id).count();
        for push in &certain {
            assert_eq!(lines(&log, push), ["queued", "repeated"], "{protocol:?}");
        }
        for push in &perhaps {
            let lines = lines(&log, push);
            assert!(matches!(lines[..], ["queued"] | ["queued", "repeated"]), "{protocol:?}: {lines:?}");
        }
        for push in certain.iter().chain(&perhaps) {
            assert_eq!(entries(push.text("ack_id")), 1, "{protocol:?}");
        }
        for id in programs {
            assert_eq!((entries(&id), log[&id].len()), (100, 100), "{protocol:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_leaves_has_still_sent_to_each_of_its_devices() {
    for protocol in PROTOCOLS {
        for leaving in protocol.leavings() {
            let mut talk = Talk::begin(protocol, "", "").await;
            // More than are under way at once.
            let devices: Vec<_> = (0..100).map(apple_token).collect();
            talk.stage.simulator.faults().add(Fault::new(Action::Hold).on(Provider::Apns)).unwrap();
            let asked = talk.notify("m-1", &devices, "wait").await;
            talk.stage.simulator.ledger().wait_until(|counts| counts.held > 0).await;
            talk.leave(asked, *leaving).await;
            talk.stage.simulator.faults().clear();
            let (stage, log) = talk.end();
            assert_eq!(log["m-1"], vec!["delivered"; 100], "{protocol:?}");
            for device in &devices {
                assert_eq!(stage.simulator.ledger().accepted_for(device).len(), 1, "{protocol:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_equal_requests_leave_their_neighbours_places_free() {
    let mut talk = Talk::begin(Protocol::Http1, "", "[http]\nmax_in_flight = 300\n").await;
    let push = talk.push();
    talk.fault(Fault::new(Action::Hold), &push);
    let mut asked = vec![talk.ask(&push).await];
    talk.stage.simulator.ledger().wait_until(|counts| counts.held > 0).await;
    for _ in 0..300 {
        asked.push(talk.ask(&push).await);
    }
    // The first, and 1 in 32 of the places for its repeats; all others have their answer.
    talk.in_flight(1 + 300 / 32).await;
    let neighbour = talk.push();
    assert_eq!(talk.status(&neighbour).await, "OK");
    talk.stage.simulator.faults().clear();
    let (mut ok, mut later) = (0, 0);
    for one in asked {
        let answer: Value = serde_json::from_slice(&one.answer().await.unwrap()).unwrap();
        match answer["status"].as_str() {
            Some("OK") => ok += 1,
            _ => later += usize::from(answer["error"].as_str().unwrap().contains("try again later")),
        }
    }
    assert!(ok > 300 / 32 && ok + later == 301, "{ok} and {later}");
    assert_eq!(talk.arrived(&push), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_provider_is_known_to_refuse_is_refused_before_it_is_queued_in_every_mode() {
    let breaker = "[breaker]\nfailures = 1\nfirst_pause = \"1m\"\nlongest_pause = \"1m\"\n";
    let mut talk = Talk::begin(Protocol::Http1, "data_dir = \"data\"\n", breaker).await;
    let results = async |talk: &Talk, id: &str, device: String, body: String, prefer: &str| {
        let message = json!({"target": "apple_rn", "devices": [device, apple_token(9)], "kind": "alert", "title": "t", "body": body});
        let answer: Value =
            serde_json::from_slice(&talk.post(id, &message, prefer).await.answer().await.unwrap()).unwrap();
        [0, 1].map(|at| (answer["results"][at]["status"].clone(), answer["results"][at]["reason"].clone()))
    };
    let large = || "x".repeat(4_090);
    let mut id = 0;
    for is_open in [false, true] {
        if is_open {
            let fault = Fault::answer(503, "ServiceUnavailable").on(Provider::Apns);
            talk.stage.simulator.faults().add(fault).unwrap();
            let first = talk.push();
            assert_eq!(talk.status(&first).await, "OK");
        }
        for prefer in ["wait=10", "respond-async"] {
            id += 1;
            let refused = results(&talk, &format!("large-{id}"), apple_token(1), large(), prefer).await;
            for (status, reason) in refused {
                assert_eq!((status, reason), (json!("failed"), json!("payload_too_large")), "{is_open} {prefer}");
            }
            let [long, other] = results(&talk, &format!("long-{id}"), "a".repeat(1_025), "b".into(), prefer).await;
            assert_eq!(long, (json!("failed"), json!("token_too_long")), "{is_open} {prefer}");
            assert_ne!(other.0, json!("failed"), "the other phone of the same message");
        }
    }
}
