//! What a person would see of a push on the phone: derived from the payload, for the inbox page.

use serde::Serialize;
use serde_json::Value;

use super::faults::Provider;
use super::ledger::Push;

/// A push as a lock screen shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Card {
    pub(super) kind: Kind,
    pub(super) title: String,
    pub(super) body: String,
    pub(super) badge: Option<i64>,
}

/// How it appears.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// A banner.
    Alert,
    /// Wakes the app; the screen stays dark.
    Silent,
    /// Rings.
    Call,
}

/// The card of an accepted push.
pub(super) fn card(push: &Push) -> Card {
    let payload = push.payload();
    match push.provider {
        Provider::Apns => apns_card(&payload, push.header("apns-push-type") == Some("voip")),
        Provider::Fcm | Provider::OAuth => fcm_card(&payload["message"]),
    }
}

fn apns_card(payload: &Value, is_call: bool) -> Card {
    let aps = &payload["aps"];
    let (title, body) = match &aps["alert"] {
        Value::String(body) => (String::new(), body.clone()),
        alert => (text(&alert["title"]), text(&alert["body"])),
    };
    let title = [title, text(&payload["channel_name"])].into_iter().find(|text| !text.is_empty()).unwrap_or_default();
    let badge = aps["badge"].as_i64();
    if is_call {
        let caller = text(&payload["sender_name"]);
        return Card { kind: Kind::Call, title: caller, body: text(&payload["channel_name"]), badge };
    }
    let kind = if body.is_empty() && aps["alert"]["title"].is_null() { Kind::Silent } else { Kind::Alert };
    silent_or(kind, title, body, badge, &payload["type"])
}

fn fcm_card(message: &Value) -> Card {
    let (data, shown) = (&message["data"], &message["notification"]);
    let badge = data["badge"].as_str().and_then(|text| text.parse().ok());
    let title = first([&shown["title"], &data["channel_name"], &data["sender_name"]]);
    let body = first([&shown["body"], &data["message"]]);
    if data["sub_type"] == "calls" && !body.is_empty() {
        return Card {
            kind: Kind::Call,
            title: first([&data["sender_name"]]),
            body: text(&data["channel_name"]),
            badge,
        };
    }
    let wakes_only = matches!(data["type"].as_str(), Some("clear" | "update_badge" | "test"));
    let kind = if body.is_empty() || wakes_only { Kind::Silent } else { Kind::Alert };
    silent_or(kind, title, body, badge, &data["type"])
}

fn silent_or(kind: Kind, title: String, body: String, badge: Option<i64>, push_type: &Value) -> Card {
    match kind {
        // Nothing shows on the phone, so the card says what the push was for.
        Kind::Silent => Card { kind, title: text(push_type), body: String::new(), badge },
        Kind::Alert | Kind::Call => Card { kind, title, body, badge },
    }
}

fn first<const N: usize>(values: [&Value; N]) -> String {
    values.into_iter().map(text).find(|text| !text.is_empty()).unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
