//! One request and what becomes of it, whichever provider it was for and whichever HTTP version it came in.
//!
//! Checks first, then faults asked for through the control API, then what the device token asks for by its name.
//! Carries nothing out: the connection does, and only it writes to the ledger.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, DATE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Method, StatusCode};

use super::apns::{Apns, Identity};
use super::faults::{Action, Faults, GoAway, Plan, Provider, Refuse, Reset, Stall};
use super::google::Google;
use super::ledger::{Accepted, Ledger, Refusal};
use super::settings::Now;
use super::tokens::{APNS_TOKENS, FCM_TOKENS, documented};

/// Bytes of a request's body that are read. Far above every provider's limit, so that the check sees what is too
/// large, far below what would hurt.
pub(super) const MAX_BODY: usize = 64 * 1024;

/// Everything the listeners share.
pub(super) struct Core {
    pub(super) ledger: Ledger,
    pub(super) faults: Faults,
    pub(super) apns: Apns,
    pub(super) google: Google,
    pub(super) now: Now,
}

/// What a connection speaks for.
#[derive(Clone, Debug)]
pub(super) enum Service {
    /// Apple, to a client with this certificate or none.
    Apns(Identity),
    /// FCM and OAuth.
    Google,
}

/// A request, read completely.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
}

/// A request's body.
pub(super) enum Body {
    Complete(Bytes),
    /// More than [`MAX_BODY`].
    TooLarge,
}

/// A push that passed every check.
pub(super) struct Acceptable {
    pub(super) id: String,
    pub(super) device_token: String,
    pub(super) topic: String,
    /// To be checked only: no phone gets it.
    pub(super) dry_run: bool,
    pub(super) answer: Answer,
}

/// A request that did not, and what to say.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) reason: String,
    pub(super) why: String,
    pub(super) answer: Answer,
}

pub(super) type Checked = Result<Acceptable, Refused>;

/// A response.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn json(status: u16, body: &serde_json::Value) -> Self {
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            headers: vec![(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"))],
            body: body.to_string().into(),
        }
    }

    pub(super) fn empty(status: StatusCode) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new() }
    }

    #[must_use]
    pub(super) fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }
}

/// What the connection is to do with one request.
pub(super) struct Decision {
    /// What the ledger learns if the request counts as processed.
    pub(super) record: Record,
    pub(super) device_token: String,
    pub(super) answer: Answer,
    /// The request carried valid proof of who sends.
    pub(super) authenticated: bool,
    pub(super) disturbance: Option<Disturbance>,
}

/// A fault that concerns the wire instead of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disturbance {
    Reset(Reset),
    GoAway(GoAway),
    Stall(Stall),
}

pub(super) enum Record {
    Accepted(Accepted),
    Refused(Refusal),
    /// A token was granted: counted already, not a push.
    Nothing,
}

impl Core {
    pub(super) fn now_ms(&self) -> u64 {
        (self.now)()
    }

    pub(super) fn commit(&self, record: Record) {
        match record {
            Record::Accepted(push) => self.ledger.accept(push, self.now_ms()),
            Record::Refused(refusal) => self.ledger.refuse(refusal),
            Record::Nothing => {}
        }
    }

    /// Checks a request and decides what becomes of it, after the latency that was asked for. Google dates its answers.
    pub(super) async fn decide(&self, service: &Service, request: Request, connection: u64, stream: u32) -> Decision {
        let mut decision = self.decide_undated(service, request, connection, stream).await;
        if matches!(service, Service::Google) {
            let now = UNIX_EPOCH + Duration::from_millis(self.now_ms());
            decision.answer = decision.answer.with(DATE, &httpdate::fmt_http_date(now));
        }
        decision
    }

    async fn decide_undated(&self, service: &Service, request: Request, connection: u64, stream: u32) -> Decision {
        let at_ms = self.now_ms();
        let (provider, authenticated, device_token, checked) = self.check(service, &request, at_ms / 1_000);
        let place = Place { provider, connection, stream, at_ms };
        let acceptable = match checked {
            Ok(acceptable) => acceptable,
            Err(refused) => return place.refuse(refused, device_token, authenticated),
        };
        let mut removals = self.faults.removals();
        let Plan { latency, action } = self.plan(provider, &device_token, at_ms / 1_000);
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        if action == Some(Action::Hold) {
            self.ledger.count(|counts| counts.held += 1);
            // Ends with the faults; their sender lives as long as `self`.
            let _ = removals.changed().await;
        }
        let (refuse, disturbance) = match action {
            Some(Action::Answer(refuse)) => (Some(refuse), None),
            Some(Action::RateLimit(_)) => (Some(rate_limited(provider)), None),
            Some(Action::Reset(reset)) => (None, Some(Disturbance::Reset(reset))),
            Some(Action::GoAway(goaway)) => (None, Some(Disturbance::GoAway(goaway))),
            Some(Action::Stall(stall)) => (None, Some(Disturbance::Stall(stall))),
            Some(Action::Latency(_) | Action::Hold) | None => (None, None),
        };
        let refused = refuse.map(|refuse| refused_on_demand(provider, &acceptable.id, &refuse, at_ms));
        match refused {
            Some(refused) if refused.status >= 300 => place.refuse(refused, device_token, authenticated),
            // An odd answer with a status of success is still an acceptance.
            odd => {
                let (record, usual) = place.accept(acceptable, request);
                let answer = odd.map_or(usual, |odd| odd.answer);
                Decision { record, device_token, answer, authenticated, disturbance }
            }
        }
    }

    fn check(&self, service: &Service, request: &Request, now: u64) -> (Provider, bool, String, Checked) {
        match service {
            Service::Apns(identity) => {
                let (authenticated, checked) = self.apns.check(identity, request, now);
                (Provider::Apns, authenticated, Apns::device_token(&request.path).to_owned(), checked)
            }
            Service::Google if request.path == "/token" => {
                self.ledger.count(|counts| counts.token_requests += 1);
                (Provider::OAuth, true, String::new(), self.google.grant(request, now))
            }
            Service::Google => {
                let (device_token, checked) = self.google.check(request, now);
                (Provider::Fcm, true, device_token, checked)
            }
        }
    }

    fn plan(&self, provider: Provider, device_token: &str, now_seconds: u64) -> Plan {
        let asked = self.faults.decide(provider, device_token, now_seconds);
        if asked.action.is_some() {
            return asked;
        }
        let named = match provider {
            Provider::Apns => documented(APNS_TOKENS, device_token),
            Provider::Fcm => documented(FCM_TOKENS, device_token),
            Provider::OAuth => Plan::default(),
        };
        Plan { latency: asked.latency.saturating_add(named.latency), action: named.action }
    }
}

/// Where and when a request came.
#[derive(Clone, Copy)]
struct Place {
    provider: Provider,
    connection: u64,
    stream: u32,
    at_ms: u64,
}

impl Place {
    fn refuse(self, refused: Refused, device_token: String, authenticated: bool) -> Decision {
        let Refused { status, reason, why, answer } = refused;
        let Self { provider, connection, at_ms, .. } = self;
        let record = Record::Refused(Refusal {
            // The ledger counts.
            number: 0,
            provider,
            at_ms,
            connection,
            status,
            reason,
            why,
            device_token: device_token.clone(),
        });
        Decision { record, device_token, answer, authenticated, disturbance: None }
    }

    fn accept(self, acceptable: Acceptable, request: Request) -> (Record, Answer) {
        let Self { provider, connection, stream, .. } = self;
        let Acceptable { id, device_token, topic, dry_run, answer } = acceptable;
        let body = match request.body {
            Body::Complete(body) if provider != Provider::OAuth && !dry_run => body,
            // A grant is no push, nor is what was only to be checked, and too large a body never passes the checks.
            Body::Complete(_) | Body::TooLarge => return (Record::Nothing, answer),
        };
        let headers = request
            .headers
            .iter()
            .filter(|(name, _)| *name != http::header::AUTHORIZATION)
            .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        (Record::Accepted(Accepted { provider, connection, stream, id, device_token, topic, headers, body }), answer)
    }
}

fn rate_limited(provider: Provider) -> Refuse {
    let reason = match provider {
        Provider::Apns => "TooManyRequests",
        Provider::Fcm => "QUOTA_EXCEEDED",
        Provider::OAuth => "rate_limit_exceeded",
    };
    Refuse { status: 429, reason: reason.to_owned(), retry_after: None, body: None }
}

fn refused_on_demand(provider: Provider, id: &str, refuse: &Refuse, now_ms: u64) -> Refused {
    let mut answer = match provider {
        Provider::Apns => super::apns::refusal_answer(refuse.status, &refuse.reason, id, now_ms),
        Provider::Fcm => super::google::error_answer(refuse.status, &refuse.reason, "asked for by a fault"),
        Provider::OAuth => Answer::json(
            refuse.status,
            &serde_json::json!({"error": refuse.reason, "error_description": "asked for by a fault"}),
        ),
    };
    if let Some(retry_after) = &refuse.retry_after {
        answer = answer.with(RETRY_AFTER, retry_after);
    }
    if let Some(body) = &refuse.body {
        answer.body = Bytes::from(body.clone());
    }
    let reason = match provider {
        Provider::Fcm if refuse.reason.is_empty() => super::google::status_word(refuse.status).to_owned(),
        _ => refuse.reason.clone(),
    };
    Refused { status: refuse.status, reason, why: "asked for by a fault or by the device token".into(), answer }
}
