//! What a program sees. Who sends is decided by the test; how a notification is delivered, too, and at the end by the real
//! relay in front of the simulators of Apple and Google.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::routing::post;
use http::Request as HttpRequest;
use serde_json::{Value, json};

use super::*;
use crate::http::testing::{self, Reply, Server};
use crate::outcome::Outcome;

/// Who says that it sends.
const CHAT_ONE: Claimed<'_> = Claimed { server: "chat-1", client: std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST) };

/// What a delivery ends with, by the device token.
fn report(notification: &Notification) -> Report {
    let failed = |reason, text: &'static str, may_be_repeated| Report {
        outcome: Outcome::Failed { text: text.into() },
        reason: Some(reason),
        may_be_repeated,
    };
    match notification.device.expose() {
        "dead" => Report { outcome: Outcome::Remove, reason: Some("Unregistered"), may_be_repeated: false },
        "wrong" => failed("BadTopic", "the topic is wrong", false),
        "busy" => failed("ServiceUnavailable", "try again later", true),
        _ => Report { outcome: Outcome::Delivered, reason: None, may_be_repeated: false },
    }
}

struct Setup {
    server: Server,
    metrics: Arc<Metrics>,
    native: Arc<Native>,
    delivered: Arc<AtomicUsize>,
}

/// A server that knows one target and takes requests from `chat-1`, whose bodies name it.
async fn setup() -> Setup {
    let metrics = Arc::new(testing::metrics());
    let gate = Arc::new(Gate::new(&testing::settings(), Arc::clone(&metrics)));
    let native = Arc::new(Native::new(Duration::from_secs(20)));
    let delivered = Arc::new(AtomicUsize::new(0));
    let (own_metrics, own_native, count) = (Arc::clone(&metrics), Arc::clone(&native), Arc::clone(&delivered));
    let handler = async move |request: HttpRequest<axum::body::Body>| {
        let is_signed = request.headers().contains_key("webhook-signature");
        let verify = |body: &[u8]| {
            assert!(!body.is_empty(), "the raw body is what is signed");
            let server = ServerId::new("chat-1").filter(|_| is_signed);
            let signed = server.map(|server| Signed { server, id: "webhook-1".to_owned(), proof: "proof" });
            signed.ok_or_else(|| ApiError::unauthorized("the request is not signed"))
        };
        let admit = |proof: &str, target: &TargetName| {
            assert_eq!(proof, "proof");
            match target.as_str() {
                "nowhere" => Err(ApiError::unknown_target()),
                "others" => Err(ApiError::forbidden("this target is not for this server")),
                "busy" => Err(ApiError::too_many("too many", 9)),
                _ => Ok(|notification: Notification, _: Duration| {
                    count.fetch_add(1, Ordering::Relaxed);
                    async move { report(&notification) }
                }),
            }
        };
        send(&gate, &own_native, &own_metrics, CHAT_ONE, false, request.into_body(), verify, admit).await
    };
    let router = Router::new().route(NOTIFICATIONS, post(handler));
    Setup { server: Server::start(router).await, metrics, native, delivered }
}

impl Setup {
    async fn ask(&self, head: &str, body: &str) -> Reply {
        let length = body.len();
        let request =
            format!("POST {NOTIFICATIONS} HTTP/1.1\r\nhost: x\r\n{head}content-length: {length}\r\n\r\n{body}");
        self.server.ask(&request).await
    }

    async fn signed(&self, body: &str) -> Reply {
        self.ask("webhook-signature: right\r\n", body).await
    }

    fn bad_requests(&self) -> bool {
        self.metrics.render().lines().any(|line| line == "service_bad_request_total 1")
    }
}

fn to(target: &str, devices: &[&str]) -> String {
    json!({"id": "m-1", "target": target, "devices": devices, "kind": "alert", "body": "canary"}).to_string()
}

fn code(reply: &Reply) -> Value {
    serde_json::from_str::<Value>(&reply.body).unwrap()["error"]["code"].clone()
}

#[tokio::test]
async fn each_device_has_its_outcome_in_the_order_of_the_request_and_no_token_is_repeated() {
    let setup = setup().await;
    let reply = setup.signed(&to("apple_rn", &["canary-1", "dead", "canary-1"])).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
    let expected = json!({
        "id": "m-1",
        "results": [
            {"device": 0, "status": "delivered"},
            {"device": 1, "status": "unregistered", "reason": "Unregistered"},
            {"device": 2, "status": "delivered"},
        ],
        "counts": {"delivered": 2, "queued": 0, "unregistered": 1, "failed": 0},
    });
    assert_eq!(serde_json::from_str::<Value>(&reply.body).unwrap(), expected);
    assert_eq!(setup.delivered.load(Ordering::Relaxed), 2, "one that was named twice was sent to once");

    let reply = setup.signed(&to("apple_rn", &["wrong", "busy"])).await;
    let results = &serde_json::from_str::<Value>(&reply.body).unwrap()["results"];
    let expected = json!([
        {"device": 0, "status": "failed", "reason": "BadTopic", "message": "the topic is wrong", "retryable": false},
        {"device": 1, "status": "failed", "reason": "ServiceUnavailable", "message": "try again later",
         "retryable": true},
    ]);
    assert_eq!(results, &expected);
}

#[tokio::test]
async fn who_sends_is_asked_before_anything_is_said_about_the_body() {
    let setup = setup().await;
    for body in ["{", &to("nowhere", &[]), &to("apple_rn", &["a"])] {
        let reply = setup.ask("", body).await;
        assert_eq!((reply.status, code(&reply)), (401, json!("unauthorized")));
    }
    assert_eq!(setup.delivered.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn what_cannot_be_done_is_answered_with_the_one_shape_of_errors() {
    let large = format!("{{\"title\":\"{}\"}}", "x".repeat(MAX_BODY_BYTES));
    let table = [
        ("{".to_owned(), 400, "not_json", true),
        (to("apple_rn", &[]), 400, "invalid", true),
        (to("nowhere", &["a"]), 400, "invalid", true),
        (to("others", &["a"]), 403, "forbidden", false),
        (large, 413, "body_too_large", true),
        (to("busy", &["a"]), 429, "rate_limited", false),
    ];
    for (body, status, expected, is_bad_request) in table {
        let setup = setup().await;
        let reply = setup.signed(&body).await;
        assert_eq!((reply.status, code(&reply)), (status, json!(expected)), "{}", reply.body);
        assert_eq!(reply.header("retry-after"), (status == 429).then_some("9"));
        assert_eq!((setup.bad_requests(), reply.body.contains("canary")), (is_bad_request, false), "{expected}");
    }
}

#[tokio::test]
async fn the_rate_counts_devices_and_not_how_often_one_is_named() {
    let setup = setup().await;
    assert_eq!(setup.signed(&to("apple_rn", &["a", "b", "a", "b", "a"])).await.status, 200);
}

#[tokio::test]
async fn a_large_body_too_many_is_told_to_come_again_while_small_ones_go_through() {
    let setup = setup().await;
    let small = r#"{"target":"x","devices":["a"],"kind":"alert","body":"b"}"#;
    let large = format!("{small}{}", " ".repeat(testing::settings().max_body_bytes));
    let all = setup.native.large_bodies.acquire_many(u32::try_from(MAX_LARGE_BODIES).unwrap()).await.unwrap();
    let reply = setup.signed(&large).await;
    assert_eq!((reply.status, reply.header("retry-after"), code(&reply)), (503, Some("1"), json!("overloaded")));
    assert_eq!(setup.signed(small).await.status, 200);
    drop(all);
    assert_eq!(setup.signed(&large).await.status, 200);
}

#[tokio::test]
async fn a_server_with_too_many_requests_at_once_is_told_to_come_again() {
    let setup = setup().await;
    let lanes = setup.native.lanes.of(&ServerId::new("chat-1").unwrap());
    let mut running: Vec<_> = std::iter::from_fn(|| lanes.request()).collect();
    assert_eq!(running.len(), MAX_REQUESTS_PER_SERVER);
    let reply = setup.signed(&to("apple_rn", &["a"])).await;
    assert_eq!((reply.status, reply.header("retry-after"), code(&reply)), (429, Some("1"), json!("rate_limited")));
    running.pop();
    assert_eq!(setup.signed(&to("apple_rn", &["a"])).await.status, 200);
}

#[cfg(test)]
mod through_the_relay {
    //! The whole way: senders, TLS, HTTP/2, simulators. Only who sends is taken for granted.

    use std::fmt::Write as _;
    use std::num::NonZeroU32;

    use tempfile::TempDir;

    use super::*;
    use std::net::Ipv4Addr;

    use crate::admission::{Admission, AdmissionSettings, AuthMode, Caller};
    use crate::clock::Clock;
    use crate::config;
    use crate::relay::{Relay, RelaySettings, When};
    use crate::sender::Sender;
    use crate::sender::apns::KeysInUse;
    use crate::shutdown::Shutdown;
    use crate::simulator::{Credentials, Provider, Simulator, SimulatorSettings};

    struct Stage {
        simulator: Simulator,
        server: Server,
        metrics: Arc<Metrics>,
        _folder: TempDir,
    }

    /// The configuration of a relay in front of this simulator, beside the files that it names.
    fn configure(folder: &TempDir, credentials: &Credentials, simulator: &Simulator) -> config::Settings {
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("ca.pem", &credentials.authority_pem);
        write("AuthKey.p8", &credentials.p8_pem);
        let token_uri = format!("https://localhost:{}/token", simulator.fcm_address().port());
        write("service-account.json", &credentials.service_account_json(&token_uri));
        let mut text = "[auth]\nmode = \"off\"\n[delivery]\nfirst_pause = \"1ms\"\n".to_owned();
        let _ = writeln!(
            text,
            "[[target]]\nname = \"apple_rn\"\nprovider = \"apns\"\ntopic = \"{}\"\nkey_file = \"AuthKey.p8\"\n\
             key_id = \"{}\"\nteam_id = \"{}\"\nca_file = \"ca.pem\"\nendpoint = \"https://localhost:{}\"",
            credentials.topic,
            credentials.key_id,
            credentials.team_id,
            simulator.apns_address().port()
        );
        let _ = writeln!(
            text,
            "[[target]]\nname = \"android_rn\"\nprovider = \"fcm\"\nservice_account_file = \"service-account.json\"\n\
             ca_file = \"ca.pem\"\nendpoint = \"https://localhost:{}\"",
            simulator.fcm_address().port()
        );
        write("pushrelay.toml", &text);
        let file = folder.path().join("pushrelay.toml");
        config::load(Some(&file), std::iter::empty()).unwrap_or_else(|problems| panic!("{problems}")).settings
    }

    impl Stage {
        async fn set() -> Self {
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
            let credentials = Credentials::generate().unwrap();
            let simulator = Simulator::start(SimulatorSettings::new(&credentials)).await.unwrap();
            let folder = tempfile::tempdir().unwrap();
            let settings = configure(&folder, &credentials, &simulator);

            let (clock, metrics, mut keys) = (Clock::System, Arc::new(testing::metrics()), KeysInUse::default());
            let senders = settings
                .targets
                .iter()
                .map(|target| (target.name.clone(), Sender::new(target, &clock, &mut keys).unwrap()))
                .collect();
            let relay = Arc::new(Relay::new(
                senders,
                vec![],
                RelaySettings {
                    compatibility: settings.compatibility,
                    delivery: settings.delivery,
                    memory: settings.memory,
                    lifetimes: settings.lifetimes,
                    breaker: settings.breaker,
                    removal_guard: settings.removal_guard,
                },
                None,
                None,
                clock.clone(),
                Arc::clone(&metrics),
                Shutdown::new(),
            ));
            let open = AdmissionSettings {
                mode: AuthMode::Off,
                allow_unsigned_test: false,
                unsigned_tests_per_minute: NonZeroU32::MIN,
                device_rate: None,
                refusal_rate: None,
                servers: vec![],
            };
            let admission = Arc::new(Admission::new(open, clock));
            let gate = Arc::new(Gate::new(&settings.http, Arc::clone(&metrics)));
            let native = Arc::new(Native::new(relay.deadline()));
            let own_metrics = Arc::clone(&metrics);
            let caller = Caller { address: Ipv4Addr::LOCALHOST.into(), certificate: None };
            let handler = async move |request: HttpRequest<axum::body::Body>| {
                let verify = |_: &[u8]| {
                    Ok(Signed {
                        server: ServerId::new("chat-1").unwrap(),
                        id: uuid::Uuid::new_v4().to_string(),
                        proof: (),
                    })
                };
                let admit = |(), target: &TargetName| {
                    if !relay.knows(target) {
                        return Err(ApiError::unknown_target());
                    }
                    Ok(|notification, within| {
                        relay.report(
                            admission.admit(caller, notification, |_| false).expect("everybody is let in"),
                            When::Now(within),
                        )
                    })
                };
                send(&gate, &native, &own_metrics, CHAT_ONE, false, request.into_body(), verify, admit).await
            };
            let server = Server::start(Router::new().route(NOTIFICATIONS, post(handler))).await;
            Self { simulator, server, metrics, _folder: folder }
        }

        async fn ask(&self, body: &Value) -> Value {
            let reply = self.server.ask(&testing::post(NOTIFICATIONS, &body.to_string())).await;
            assert_eq!(reply.status, 200, "{}", reply.body);
            serde_json::from_str(&reply.body).unwrap()
        }
    }

    fn apple_token(number: usize) -> String {
        format!("a{number:063x}")
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn five_hundred_devices_are_reached_in_one_request() {
        let stage = Stage::set().await;
        for (target, provider) in [("apple_rn", Provider::Apns), ("android_rn", Provider::Fcm)] {
            let mut devices: Vec<_> = (0..500).map(apple_token).collect();
            devices[17] = if target == "apple_rn" { format!("dead0410{:056x}", 0) } else { "fcm-unregistered".into() };
            let answer = stage
                .ask(&json!({"target": target, "devices": devices, "kind": "alert", "title": "t", "body": "b"}))
                .await;
            assert_eq!(answer["counts"], json!({"delivered": 499, "queued": 0, "unregistered": 1, "failed": 0}));
            for (place, result) in answer["results"].as_array().unwrap().iter().enumerate() {
                let status = if place == 17 { "unregistered" } else { "delivered" };
                assert_eq!((&result["device"], &result["status"]), (&json!(place), &json!(status)));
            }
            let pushes = stage.simulator.ledger().accepted();
            let mut reached: Vec<_> =
                pushes.iter().filter(|push| push.provider == provider).map(|push| push.device_token.clone()).collect();
            devices.remove(17);
            devices.sort_unstable();
            reached.sort_unstable();
            assert!(reached == devices, "each device once");
        }
        let ids: std::collections::HashSet<_> =
            stage.simulator.ledger().accepted().iter().map(|push| push.id.clone()).collect();
        assert_eq!(ids.len(), 998, "each push has an id of its own");
        assert_eq!(stage.simulator.ledger().violations(), []);
        let counted = stage.metrics.render();
        let sample = r#"service_success_total{platform="apple",transport="",type="other"} 499"#;
        assert!(counted.lines().any(|line| line == sample), "{counted}");
        assert!(!counted.contains("service_success_with_ack_total{"), "a program asks for no receipt");
    }

    #[tokio::test]
    async fn every_kind_is_taken_by_both_providers() {
        let stage = Stage::set().await;
        let everything = json!({
            "id": "m-1", "title": "t", "body": "b", "badge": 1, "sound": "default", "thread_id": "th",
            "category": "c", "mutable": true, "data": {"k": "v"}, "collapse_id": "x", "ttl_s": 60,
            "priority": "normal", "apns": {"interruption-level": "time-sensitive"},
            "fcm": {"direct_boot_ok": true, "notification": {"channel_id": "messages"}},
        });
        let silent = json!({"data": {"k": "v"}, "ttl_s": 0, "collapse_id": "x"});
        for target in ["apple_rn", "android_rn"] {
            for (kind, fields) in [("alert", &everything), ("background", &silent), ("voip", &silent)] {
                let mut message = fields.clone();
                message["target"] = json!(target);
                message["id"] = json!(format!("{kind}-{target}"));
                message["kind"] = json!(kind);
                message["devices"] = json!([apple_token(1)]);
                let answer = stage.ask(&message).await;
                assert_eq!(answer["counts"]["delivered"], 1, "{kind} to {target}: {answer}");
            }
        }
        assert_eq!(stage.simulator.ledger().violations(), []);
        let pushes = stage.simulator.ledger().accepted();
        assert_eq!(pushes.len(), 6);
        assert_eq!(pushes[2].header("apns-push-type"), Some("voip"));
    }

    #[tokio::test]
    async fn trouble_is_told_with_the_providers_word_and_whether_another_try_may_help() {
        let stage = Stage::set().await;
        let told = async |target: &str, device: &str, text: String| {
            let answer = stage
                .ask(&json!({"target": target, "devices": [device], "kind": "background", "data": {"k": text}}))
                .await;
            let result = &answer["results"][0];
            [&result["status"], &result["reason"], &result["retryable"]].map(Value::clone)
        };
        let device = |beginning: &str| format!("{beginning}{:056x}", 0);
        let table = [
            ("apple_rn", device("dead0503"), json!(["failed", "ServiceUnavailable", true])),
            ("apple_rn", device("dead1410"), json!(["unregistered", "ExpiredToken", null])),
            ("android_rn", "fcm-invalid-argument".to_owned(), json!(["failed", "INVALID_ARGUMENT", false])),
            ("android_rn", "fcm-unavailable".to_owned(), json!(["failed", "UNAVAILABLE", true])),
            ("apple_rn", "a".repeat(1_025), json!(["failed", "token_too_long", false])),
        ];
        for (target, device, expected) in table {
            assert_eq!(json!(told(target, &device, "v".into()).await), expected, "{device}");
        }
        let asked = stage.simulator.ledger().counts().refused;
        for target in ["apple_rn", "android_rn"] {
            let large = told(target, &apple_token(1), "x".repeat(5_000)).await;
            assert_eq!(json!(large), json!(["failed", "payload_too_large", false]));
        }
        let counts = stage.simulator.ledger().counts();
        assert_eq!((counts.accepted, counts.refused), (0, asked), "what is too large is not sent");
        // The last one: nothing more is sent to a target whose topic is refused.
        let broken = told("apple_rn", &device("dead3400"), "v".into()).await;
        assert_eq!(json!(broken), json!(["failed", "BadTopic", false]));
    }
}
