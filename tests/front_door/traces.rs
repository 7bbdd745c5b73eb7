//! Traces, seen by a collector that takes OTLP over HTTP.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use pushrelay::admission::webhook::signing::{WebhookSigningKey, sign};
use pushrelay::clock::Clock;
use pushrelay::simulator::{Fault, Provider};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::support::push::apple_token;
use crate::support::{Plan, Push, Scene};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// Takes spans, and answers with this status.
struct Collector {
    address: SocketAddr,
    spans: mpsc::UnboundedReceiver<(String, Span)>,
}

impl Collector {
    async fn start(status: StatusCode) -> Self {
        let (sender, spans) = mpsc::unbounded_channel();
        let take = move |State(sender): State<mpsc::UnboundedSender<(String, Span)>>,
                         headers: HeaderMap,
                         body: Bytes| async move {
            assert_eq!(headers["content-type"], "application/x-protobuf");
            for of in ExportTraceServiceRequest::decode(body).unwrap().resource_spans {
                let resource = of.resource.unwrap();
                let service = text(&resource.attributes, "service.name").unwrap();
                for span in of.scope_spans.into_iter().flat_map(|of| of.spans) {
                    let _ = sender.send((service.clone(), span));
                }
            }
            (status, ExportTraceServiceResponse::default().encode_to_vec())
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/v1/traces", post(take)).with_state(sender);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, spans }
    }

    fn table(&self, more: &str) -> String {
        format!("[traces]\nendpoint = \"http://{}/v1/traces\"\n{more}\n", self.address)
    }

    /// The next so many.
    async fn take(&mut self, count: usize) -> Vec<Span> {
        let mut spans = Vec::new();
        while spans.len() < count {
            let (service, span) = self.spans.recv().await.unwrap();
            assert_eq!(service, "relay-under-test");
            spans.push(span);
        }
        spans
    }
}

fn text(attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{key}: {other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

async fn post_under(scene: &Scene, push: &Push, traceparent: Option<String>) {
    let headers: Vec<_> = traceparent.into_iter().map(|value| ("traceparent", value)).collect();
    let (status, answer) = scene.post_with("/api/v1/send_push", &push.body(&scene.key).to_string(), &headers).await;
    assert_eq!((status, answer["status"].as_str()), (200, Some("OK")), "{answer}");
}

const NAMED: &str = "service_name = \"relay-under-test\"";

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_is_a_span_in_its_callers_trace_with_its_attempts_below_it_and_no_secret_in_it() {
    let mut collector = Collector::start(StatusCode::OK).await;
    let scene = Scene::new(Plan { tables: collector.table(NAMED), ..Plan::default() }).await;
    scene.simulator.faults().add(Fault::answer(503, "ServiceUnavailable").on(Provider::Apns).times(1)).unwrap();
    let device = apple_token(1);
    let push = Push::apple(&device).with("message", "canary text");
    post_under(&scene, &push, Some(format!("00-{TRACE}-{CALLER}-01"))).await;

    let spans = collector.take(3).await;
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE), "{spans:#?}");
    let (entry, attempts): (Vec<_>, Vec<_>) = spans.iter().partition(|span| span.name == "notification");
    let ([entry], [first, second]) = (entry.as_slice(), attempts.as_slice()) else { panic!("{spans:#?}") };
    assert_eq!(hex(&entry.parent_span_id), CALLER);
    for (span, number, verdict, reason) in
        [(first, "1", "retry", Some("ServiceUnavailable")), (second, "2", "delivered", None)]
    {
        assert_eq!((span.name.as_str(), &span.parent_span_id), ("attempt", &entry.span_id));
        let of = |key| text(&span.attributes, key);
        assert_eq!(of("pushrelay.attempt").as_deref(), Some(number));
        assert_eq!(of("pushrelay.verdict").as_deref(), Some(verdict));
        assert_eq!(of("pushrelay.reason").as_deref(), reason);
        assert_eq!(of("pushrelay.provider_id"), Some(scene.simulator.ledger().accepted()[0].id.clone()));
    }
    for (key, value) in [("server", "chat-1"), ("target", "apple_rn"), ("kind", "message"), ("outcome", "delivered")] {
        assert_eq!(text(&entry.attributes, &format!("pushrelay.{key}")).as_deref(), Some(value), "{key}");
    }
    let all = format!("{spans:?}");
    assert!(!all.contains("canary") && !all.contains(&device), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_caller_the_trace_is_the_relays_own_and_a_caller_that_is_not_traced_is_left_alone() {
    let mut collector = Collector::start(StatusCode::OK).await;
    let scene = Scene::new(Plan { tables: collector.table(NAMED), ..Plan::default() }).await;
    post_under(&scene, &Push::apple(&apple_token(1)), Some(format!("00-{TRACE}-{CALLER}-00"))).await;
    post_under(&scene, &Push::android("android-1"), Some("nonsense".to_owned())).await;
    let spans = collector.take(2).await;
    let entry = spans.iter().find(|span| span.name == "notification").unwrap();
    assert_eq!(text(&entry.attributes, "pushrelay.target").as_deref(), Some("android_rn"));
    assert!(entry.parent_span_id.is_empty() && hex(&entry.trace_id) != TRACE);
    assert!(entry.trace_id.iter().any(|byte| *byte != 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_still_waits_is_sent_when_the_relay_ends() {
    let mut collector = Collector::start(StatusCode::OK).await;
    let mut scene = Scene::new(Plan { tables: collector.table(NAMED), ..Plan::default() }).await;
    post_under(&scene, &Push::apple(&apple_token(1)), None).await;
    scene.stop().await;
    let mut names: Vec<_> = collector.take(2).await.into_iter().map(|span| span.name).collect();
    names.sort();
    assert_eq!(names, ["attempt", "notification"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_takes_nothing_costs_spans_which_are_counted_and_no_push() {
    let collector = Collector::start(StatusCode::BAD_REQUEST).await;
    let scene = Scene::new(Plan { tables: collector.table(NAMED), ..Plan::default() }).await;
    post_under(&scene, &Push::apple(&apple_token(1)), None).await;
    scene.wait_for_metric("pushrelay_trace_spans_dropped_total", 2.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_device_of_a_programs_message_is_a_span_in_its_trace() {
    let mut collector = Collector::start(StatusCode::OK).await;
    let key = WebhookSigningKey::generate_symmetric();
    let server = format!(
        "[[server]]\nid = \"bot-1\"\nname = \"Bot\"\nwebhook_keys = [\"{}\"]\n{}",
        key.relay_text().expose(),
        collector.table(NAMED)
    );
    let scene = Scene::new(Plan { tables: server, ..Plan::default() }).await;
    let devices: Vec<_> = (0..3).map(apple_token).collect();
    let body = json!({"target": "apple_rn", "devices": devices, "kind": "alert", "title": "t"}).to_string();
    let signed = sign(&[key], "m-1", Clock::System.unix_seconds(), body.as_bytes()).unwrap();
    let sent = signed.as_sent();
    let headers = [
        ("pushrelay-server", "bot-1".to_owned()),
        ("webhook-id", sent.id.to_owned()),
        ("webhook-timestamp", sent.timestamp.to_owned()),
        ("webhook-signature", sent.signature.to_owned()),
        ("traceparent", format!("00-{TRACE}-{CALLER}-01")),
    ];
    let (status, answer) = scene.post_with("/v1/notifications", &body, &headers).await;
    assert_eq!((status, &answer["counts"]["delivered"]), (200, &json!(3)), "{answer}");
    let spans = collector.take(6).await;
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE), "{spans:#?}");
    let entries: Vec<_> = spans.iter().filter(|span| span.name == "notification").collect();
    assert_eq!(entries.len(), 3);
    assert!(entries.iter().all(|span| hex(&span.parent_span_id) == CALLER));
    let mut below: Vec<_> =
        spans.iter().filter(|span| span.name == "attempt").map(|span| &span.parent_span_id).collect();
    below.sort();
    let mut ids: Vec<_> = entries.iter().map(|span| &span.span_id).collect();
    ids.sort();
    assert_eq!(below, ids, "each attempt is below its own notification");
}
