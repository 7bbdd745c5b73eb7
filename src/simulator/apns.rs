//! Apple's checks, in an order, and its answers (Apple developer documentation, "Sending notification requests to
//! APNs" and "Handling notification responses from APNs").
//!
//! Decides about one request at a time; faults and connections are not its business. Where Apple is silent or
//! lenient, this is strict, and says so in `docs/simulator.md`.

use std::time::Duration;

use http::header::HeaderName;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};

use super::exchange::{Acceptable, Answer, Body, Refused, Request};
use super::provider_token::{ProviderTokens, TokenError};
use super::settings::{ApnsApp, ProviderKey};

/// Bytes of a payload.
const MAX_PAYLOAD: usize = 4_096;
/// Bytes of a payload with push type `voip`.
const MAX_VOIP_PAYLOAD: usize = 5_120;
/// Bytes of a collapse id.
const MAX_COLLAPSE_ID: usize = 64;
/// Hexadecimal characters of a device token. Apple fixes no length; today's tokens have 64, live activities' more.
const DEVICE_TOKEN: std::ops::RangeInclusive<usize> = 64..=200;
/// `apns-push-type` values.
const PUSH_TYPES: [&str; 10] = [
    "alert",
    "background",
    "voip",
    "location",
    "complication",
    "fileprovider",
    "mdm",
    "liveactivity",
    "pushtotalk",
    "widgets",
];
const APNS_ID: HeaderName = HeaderName::from_static("apns-id");
const PATH: &str = "/3/device/";

/// Who a connection belongs to by its client certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// No certificate: every request must carry a provider token.
    Unknown,
    /// A push certificate for this app.
    Certificate(String),
    /// A certificate that names no app.
    NotForPush,
}

/// Apple, as far as it decides about requests.
pub(super) struct Apns {
    apps: Vec<ApnsApp>,
    tokens: ProviderTokens,
}

type Complaint = (u16, &'static str, String);

fn complaint(status: u16, reason: &'static str, why: impl Into<String>) -> Complaint {
    (status, reason, why.into())
}

impl Apns {
    pub(super) fn new(apps: Vec<ApnsApp>, keys: Vec<ProviderKey>, interval: Duration) -> Self {
        Self { apps, tokens: ProviderTokens::new(keys, interval) }
    }

    /// The device token in a request's path, whatever it looks like.
    pub(super) fn device_token(path: &str) -> &str {
        path.strip_prefix(PATH).unwrap_or_default()
    }

    /// Whether the request proved who sends, and whether it is right in every respect.
    pub(super) fn check(
        &self,
        identity: &Identity,
        request: &Request,
        now: u64,
    ) -> (bool, Result<Acceptable, Refused>) {
        let mut authenticated = false;
        let given_id = text(&request.headers, "apns-id").filter(|id| is_lower_case_uuid(id));
        let id = given_id.map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned);
        let result = match self.complain(identity, request, now, &mut authenticated) {
            Ok(topic) => Ok(Acceptable {
                device_token: Self::device_token(&request.path).to_owned(),
                topic,
                dry_run: false,
                answer: Answer::empty(StatusCode::OK).with(APNS_ID, &id),
                id,
            }),
            Err((status, reason, why)) => Err(Refused {
                status,
                reason: reason.to_owned(),
                why,
                answer: refusal_answer(status, reason, &id, now.saturating_mul(1_000)),
            }),
        };
        (authenticated, result)
    }

    fn complain(
        &self,
        identity: &Identity,
        request: &Request,
        now: u64,
        authenticated: &mut bool,
    ) -> Result<String, Complaint> {
        if request.method != Method::POST {
            return Err(complaint(405, "MethodNotAllowed", format!("{} instead of POST", request.method)));
        }
        match request.path.strip_prefix(PATH) {
            Some("") => return Err(complaint(400, "MissingDeviceToken", "the path ends before the token")),
            Some(token) if !token.contains('/') => {}
            _ if request.path == "/3/device" => {
                return Err(complaint(400, "MissingDeviceToken", "the path ends before the token"));
            }
            _ => return Err(complaint(404, "BadPath", "the path is not /3/device/<token>")),
        }
        let headers = &request.headers;
        let team = self.authenticate(identity, headers, now)?;
        *authenticated = true;
        no_duplicates(headers)?;
        if text(headers, "apns-id").is_some_and(|id| !is_lower_case_uuid(id)) {
            return Err(complaint(400, "BadMessageId", "apns-id is not a lower-case UUID"));
        }
        let token = Self::device_token(&request.path);
        if !DEVICE_TOKEN.contains(&token.len()) || !token.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(complaint(400, "BadDeviceToken", "the token is not 64 to 200 hexadecimal characters"));
        }
        let topic = self.topic(headers, identity, team)?;
        let push_type = push_type(headers, &topic)?;
        priority(headers, push_type)?;
        if text(headers, "apns-expiration").is_some_and(|value| value.parse::<u64>().is_err()) {
            return Err(complaint(400, "BadExpirationDate", "apns-expiration is not a number of seconds"));
        }
        if headers.get("apns-collapse-id").is_some_and(|value| value.len() > MAX_COLLAPSE_ID) {
            return Err(complaint(400, "BadCollapseId", "apns-collapse-id is longer than 64 bytes"));
        }
        payload(&request.body, push_type)?;
        Ok(topic)
    }

    /// The team the request speaks for; `None` when a certificate says which app instead.
    fn authenticate(&self, identity: &Identity, headers: &HeaderMap, now: u64) -> Result<Option<&str>, Complaint> {
        match (text(headers, "authorization"), identity) {
            (None, Identity::Certificate(_)) => Ok(None),
            (None, Identity::NotForPush) => Err(complaint(403, "BadCertificate", "the certificate names no app (UID)")),
            (None, Identity::Unknown) => Err(complaint(403, "MissingProviderToken", "no authorization header")),
            (Some(value), _) => match self.tokens.check(value, now) {
                Ok(team) => Ok(Some(team)),
                Err(error) => Err(match error {
                    TokenError::Expired => complaint(403, "ExpiredProviderToken", error.to_string()),
                    TokenError::TooManyUpdates => complaint(429, "TooManyProviderTokenUpdates", error.to_string()),
                    TokenError::Invalid(_) => complaint(403, "InvalidProviderToken", error.to_string()),
                }),
            },
        }
    }

    fn topic(&self, headers: &HeaderMap, identity: &Identity, team: Option<&str>) -> Result<String, Complaint> {
        let Some(topic) = text(headers, "apns-topic") else {
            return Err(complaint(400, "MissingTopic", "no apns-topic header"));
        };
        let well_formed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
        if topic.is_empty() || !topic.bytes().all(well_formed) {
            return Err(complaint(400, "BadTopic", "apns-topic is not a bundle id"));
        }
        let base = topic.strip_suffix(".voip").unwrap_or(topic);
        let allowed = match (team, identity) {
            (Some(team), _) => self.apps.iter().any(|app| app.topic == base && app.team_id == team),
            (None, Identity::Certificate(own)) => own == base,
            (None, _) => false,
        };
        if allowed {
            Ok(topic.to_owned())
        } else {
            Err(complaint(400, "TopicDisallowed", format!("`{topic}` is not an app of this key or certificate")))
        }
    }
}

fn no_duplicates(headers: &HeaderMap) -> Result<(), Complaint> {
    let twice = |name: &&HeaderName| name.as_str().starts_with("apns-") && headers.get_all(*name).iter().count() > 1;
    match headers.keys().find(twice) {
        Some(name) => Err(complaint(400, "DuplicateHeaders", format!("{name} stands there twice"))),
        None => Ok(()),
    }
}

fn push_type<'a>(headers: &'a HeaderMap, topic: &str) -> Result<&'a str, Complaint> {
    let invalid = |why: &str| Err(complaint(400, "InvalidPushType", why));
    let Some(push_type) = text(headers, "apns-push-type") else { return invalid("no apns-push-type header") };
    match (PUSH_TYPES.contains(&push_type), push_type == "voip", topic.strip_suffix(".voip").is_some()) {
        (false, ..) => invalid("apns-push-type is none of Apple's"),
        (true, true, false) => Err(complaint(400, "BadTopic", "push type voip needs a topic that ends in .voip")),
        (true, false, true) => invalid("a topic that ends in .voip needs push type voip"),
        _ => Ok(push_type),
    }
}

fn priority(headers: &HeaderMap, push_type: &str) -> Result<(), Complaint> {
    let priority = match headers.get("apns-priority") {
        None => "10",
        Some(value) => value.to_str().unwrap_or_default(),
    };
    match (priority, push_type) {
        ("10" | "1", "background") => {
            Err(complaint(400, "BadPriority", "background pushes need apns-priority 5 (absent means 10)"))
        }
        ("10" | "5" | "1", _) => Ok(()),
        _ => Err(complaint(400, "BadPriority", "apns-priority is neither 10, 5 nor 1")),
    }
}

fn payload(body: &Body, push_type: &str) -> Result<(), Complaint> {
    let limit = if push_type == "voip" { MAX_VOIP_PAYLOAD } else { MAX_PAYLOAD };
    let Body::Complete(body) = body else {
        return Err(complaint(413, "PayloadTooLarge", format!("far more than {limit} bytes")));
    };
    if body.is_empty() {
        return Err(complaint(400, "PayloadEmpty", "no body"));
    }
    if body.len() > limit {
        return Err(complaint(413, "PayloadTooLarge", format!("{} bytes, at most {limit}", body.len())));
    }
    match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(payload)) if payload.get("aps").is_some_and(Value::is_object) => Ok(()),
        Ok(_) => Err(complaint(400, "PayloadEmpty", "the body is not an object with an object `aps`")),
        Err(_) => Err(complaint(400, "PayloadEmpty", "the body is not JSON")),
    }
}

/// The answer Apple gives with a reason: also what a fault asks for.
pub(super) fn refusal_answer(status: u16, reason: &str, id: &str, now_ms: u64) -> Answer {
    let body = match status {
        // Since when the token is dead: an hour is long enough to be later than no registration of a test's phone.
        410 => json!({"reason": reason, "timestamp": now_ms.saturating_sub(3_600_000)}),
        _ => json!({"reason": reason}),
    };
    Answer::json(status, &body).with(APNS_ID, id)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}

fn is_lower_case_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}
