//! The inbox: a page that shows every push as a phone would, the same as JSON and as events, and the control API.
//!
//! Plain HTTP for the machine it runs on. It shows texts and tokens on purpose; that is why it does not listen
//! elsewhere unasked, answers no other site's scripts, and never writes a log.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::middleware::{self, Next};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::stream::{self, Stream, StreamExt};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::card::{Card, card};
use super::exchange::Core;
use super::faults::{Fault, Provider};
use super::ledger::{Counts, Event, Push, Refusal};

/// Pushes and refusals the page and its JSON show; the ledger keeps more.
const SHOWN: usize = 200;
/// Pages that may listen for events at once.
const MAX_PAGES: usize = 32;
/// Bytes of a control request.
const MAX_CONTROL_BODY: usize = 64 * 1024;

/// Nothing but this origin's own files; no inline script or style.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(Clone)]
struct Inbox {
    core: Arc<Core>,
    pages: Arc<Semaphore>,
    stop: CancellationToken,
}

/// The routes of the inbox.
pub(super) fn router(core: Arc<Core>, stop: CancellationToken, allow_remote: bool) -> Router {
    let inbox = Inbox { core, pages: Arc::new(Semaphore::new(MAX_PAGES)), stop };
    let router = Router::new()
        .route("/", get(|| file("text/html; charset=utf-8", include_str!("assets/inbox.html"))))
        .route("/inbox.css", get(|| file("text/css; charset=utf-8", include_str!("assets/inbox.css"))))
        .route("/inbox.js", get(|| file("text/javascript; charset=utf-8", include_str!("assets/inbox.js"))))
        // As the relay has it, for `pushrelay health`: all doors are open before this one answers.
        .route("/healthz", get(|| ready(Json(json!({"status": "ok"})))))
        .route("/pushes", get(pushes).delete(clear))
        .route("/counts", get(counts))
        .route("/events", get(events))
        .route("/control/faults", get(list_faults).post(add_fault).delete(clear_faults))
        .layer(DefaultBodyLimit::max(MAX_CONTROL_BODY))
        .layer(middleware::map_response(guard_response));
    let router = if allow_remote { router } else { router.layer(middleware::from_fn(only_this_machine)) };
    router.with_state(inbox)
}

fn file(kind: &'static str, text: &'static str) -> Ready<([(HeaderName, &'static str); 1], &'static str)> {
    ready(([(CONTENT_TYPE, kind)], text))
}

async fn guard_response(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Refuses requests under another name, by which a foreign site could reach loopback (DNS rebinding).
async fn only_this_machine(request: Request, next: Next) -> Response {
    let host = request.headers().get(HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = host
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
        .map_or(host, |(name, _)| name);
    if matches!(name, "localhost" | "[::1]") || name.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback()) {
        next.run(request).await
    } else {
        let text = "this inbox answers to localhost only; start the simulator with allow_remote to change that";
        (StatusCode::FORBIDDEN, Json(json!({"error": text}))).into_response()
    }
}

/// An accepted push as the page gets it.
#[derive(Serialize)]
struct Shown<'a> {
    number: u64,
    provider: Provider,
    at_ms: u64,
    connection: u64,
    stream: u32,
    id: &'a str,
    device_token: &'a str,
    topic: &'a str,
    repeat: bool,
    headers: BTreeMap<&'a str, &'a str>,
    payload: Value,
    card: Card,
}

fn shown(push: &Push) -> Shown<'_> {
    Shown {
        number: push.number,
        provider: push.provider,
        at_ms: push.at_ms,
        connection: push.connection,
        stream: push.stream,
        id: &push.id,
        device_token: &push.device_token,
        topic: &push.topic,
        repeat: push.repeat,
        headers: push.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
        payload: push.payload(),
        card: card(push),
    }
}

async fn pushes(State(inbox): State<Inbox>) -> Json<Value> {
    let ledger = &inbox.core.ledger;
    let (accepted, refused) = (ledger.accepted(), ledger.refused());
    let accepted: Vec<Shown<'_>> = accepted.iter().rev().take(SHOWN).map(|push| shown(push)).collect();
    let refused: Vec<&Refusal> = refused.iter().rev().take(SHOWN).map(|refusal| &**refusal).collect();
    Json(json!({
        "now_ms": inbox.core.now_ms(),
        "pushes": accepted,
        "refused": refused,
        "violations": ledger.violations(),
        "counts": ledger.counts(),
    }))
}

async fn counts(State(inbox): State<Inbox>) -> Json<Counts> {
    Json(inbox.core.ledger.counts())
}

async fn clear(State(inbox): State<Inbox>) -> StatusCode {
    inbox.core.ledger.clear();
    StatusCode::NO_CONTENT
}

async fn events(State(inbox): State<Inbox>) -> Response {
    let Ok(page) = Arc::clone(&inbox.pages).try_acquire_owned() else {
        let text = format!("{MAX_PAGES} pages are open already; close one");
        return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"error": text}))).into_response();
    };
    let events = listen(inbox.core.ledger.subscribe(), page).take_until(inbox.stop.cancelled_owned());
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

/// Events for one page. The first says that it is heard; one that lags is told to load everything anew.
fn listen(events: Receiver<Event>, page: OwnedSemaphorePermit) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    let hello = stream::once(ready(Ok(sse::Event::default().event("hello").data("{}"))));
    let later = stream::unfold((events, page), |(mut events, page)| async move {
        let event = match events.recv().await {
            Ok(Event::Accepted(push)) => json_event("accepted", &shown(&push)),
            Ok(Event::Refused(refusal)) => json_event("refused", &*refusal),
            Ok(Event::Cleared) | Err(RecvError::Lagged(_)) => sse::Event::default().event("reload").data("{}"),
            Err(RecvError::Closed) => return None,
        };
        Some((Ok(event), (events, page)))
    });
    hello.chain(later)
}

fn json_event(name: &str, value: &impl Serialize) -> sse::Event {
    let data = serde_json::to_string(value).unwrap_or_default();
    sse::Event::default().event(name).data(data)
}

async fn list_faults(State(inbox): State<Inbox>) -> Json<Value> {
    Json(json!({"faults": inbox.core.faults.list()}))
}

async fn add_fault(State(inbox): State<Inbox>, mut request: Request) -> Response {
    // `curl -d` calls everything a form. A page of another site could do that, too, but its browser would say who asks.
    if !request.headers().contains_key(ORIGIN) && !request.headers().contains_key("sec-fetch-site") {
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    let fault: Result<Json<Fault>, JsonRejection> = Json::from_request(request, &()).await;
    let refuse = |status: StatusCode, text: String| (status, Json(json!({"error": text}))).into_response();
    match fault {
        Err(rejection) => refuse(rejection.status(), rejection.body_text()),
        Ok(Json(fault)) => match inbox.core.faults.add(fault) {
            Err(error) => refuse(StatusCode::CONFLICT, error.to_string()),
            Ok(()) => (StatusCode::CREATED, Json(json!({"faults": inbox.core.faults.list()}))).into_response(),
        },
    }
}

async fn clear_faults(State(inbox): State<Inbox>) -> StatusCode {
    inbox.core.faults.clear();
    StatusCode::NO_CONTENT
}
