//! The body of `messages:send` as Google checks it: no field it does not know, no value of another type, no payload
//! beyond the limit (Firebase, "REST Resource: projects.messages").
//!
//! Only what reaches Android and what decides about acceptance is checked in depth; `apns` and `webpush` are taken
//! as objects.

use serde_json::{Map, Value, json};

use super::google::error_body;

/// Bytes of all keys and values of `data` together.
const MAX_DATA: usize = 4_096;
const REQUEST: &[&str] = &["message", "validate_only", "validateOnly"];
const MESSAGE: &[&str] = &[
    "name",
    "data",
    "notification",
    "android",
    "webpush",
    "apns",
    "fcm_options",
    "fcmOptions",
    "token",
    "fid",
    "topic",
    "condition",
];
const ANDROID: &[&str] = &[
    "collapse_key",
    "collapseKey",
    "priority",
    "ttl",
    "restricted_package_name",
    "restrictedPackageName",
    "data",
    "notification",
    "fcm_options",
    "fcmOptions",
    "direct_boot_ok",
    "directBootOk",
    "bandwidth_constrained_ok",
    "bandwidthConstrainedOk",
    "restricted_satellite_ok",
    "restrictedSatelliteOk",
];
const NOTIFICATION: &[&str] = &["title", "body", "image"];
const TARGETS: [&str; 4] = ["token", "fid", "topic", "condition"];

/// A message that may be sent.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) device_token: String,
    /// To be checked and not sent.
    pub(super) validate_only: bool,
}

/// What is wrong with a body.
#[derive(Debug, Default)]
pub(super) struct Complaint {
    /// The device token, if the body had got that far.
    pub(super) device_token: String,
    /// Google's sentence.
    pub(super) message: String,
    /// Where, such as `message.data[0].value`; empty for an error of FCM itself.
    field: String,
}

impl Complaint {
    fn at(field: &str, message: String) -> Self {
        Self { device_token: String::new(), message, field: field.to_owned() }
    }

    /// The error as Google writes it.
    pub(super) fn to_json(&self) -> Value {
        let mut details = Vec::new();
        if self.field.is_empty() {
            let kind = "type.googleapis.com/google.firebase.fcm.v1.FcmError";
            details.push(json!({"@type": kind, "errorCode": "INVALID_ARGUMENT"}));
        } else {
            let violation = json!({"field": self.field, "description": self.message});
            let kind = "type.googleapis.com/google.rpc.BadRequest";
            details.push(json!({"@type": kind, "fieldViolations": [violation]}));
        }
        error_body(400, &self.message, &details)
    }
}

/// Checks a request's body.
pub(super) fn check(body: &[u8]) -> Result<Message, Complaint> {
    let request: Value = serde_json::from_slice(body)
        .map_err(|_| Complaint::at("body", "Invalid JSON payload received. Unable to parse the body.".into()))?;
    let request = object(&request, "body")?;
    only(request, REQUEST, "")?;
    if let Some((name, value)) = request.iter().find(|(name, value)| *name != "message" && !value.is_boolean()) {
        return Err(wrong_type(name, "TYPE_BOOL", value));
    }
    let Some(message) = request.get("message") else {
        return Err(Complaint::at("message", "The message is not set.".into()));
    };
    let message = object(message, "message")?;
    let device_token = ["token", "fid"].iter().find_map(|name| message.get(*name)?.as_str()).unwrap_or_default();
    check_message(message).map_err(|complaint| Complaint { device_token: device_token.to_owned(), ..complaint })?;
    let validate_only = request.iter().any(|(name, value)| name != "message" && value == &Value::Bool(true));
    Ok(Message { device_token: device_token.to_owned(), validate_only })
}

fn check_message(message: &Map<String, Value>) -> Result<(), Complaint> {
    only(message, MESSAGE, "message")?;
    for target in TARGETS {
        if let Some(value) = message.get(target).filter(|value| !value.is_string()) {
            return Err(wrong_type(&format!("message.{target}"), "TYPE_STRING", value));
        }
    }
    for part in ["webpush", "apns", "fcm_options", "fcmOptions"] {
        if let Some(value) = message.get(part) {
            object(value, &format!("message.{part}"))?;
        }
    }
    if let Some(notification) = message.get("notification") {
        strings(object(notification, "message.notification")?, NOTIFICATION, "message.notification")?;
    }
    if let Some(android) = message.get("android") {
        check_android(object(android, "message.android")?)?;
    }
    if let Some(data) = message.get("data") {
        check_data(object(data, "message.data")?, "message.data")?;
    }
    let targets = TARGETS.iter().filter_map(|target| message.get(*target)?.as_str());
    match targets.collect::<Vec<_>>().as_slice() {
        [] => Err(fcm("Recipient of the message is not set.")),
        [_] if is_never_a_token(message) => Err(fcm("The registration token is not a valid FCM registration token")),
        [_] => Ok(()),
        _ => Err(fcm("Exactly one of token, fid, topic or condition is required")),
    }
}

/// Google's tokens are letters, digits, `-`, `_` and `:`. Made-up ones may be a little more than that here.
fn is_never_a_token(message: &Map<String, Value>) -> bool {
    let token = message.get("token").and_then(Value::as_str);
    token.is_some_and(|token| token.is_empty() || token.contains(char::is_whitespace))
}

fn check_android(android: &Map<String, Value>) -> Result<(), Complaint> {
    only(android, ANDROID, "message.android")?;
    if let Some(value) = android.get("priority") {
        let known = value.as_str().is_some_and(|text| ["high", "normal"].contains(&text.to_ascii_lowercase().as_str()));
        if !known {
            let kind = "type.googleapis.com/google.firebase.fcm.v1.AndroidMessagePriority";
            return Err(wrong_type("message.android.priority", kind, value));
        }
    }
    if let Some(value) = android.get("ttl") {
        let seconds = value.as_str().and_then(|text| text.strip_suffix('s'));
        if !seconds.is_some_and(|text| text.parse::<f64>().is_ok_and(|seconds| seconds >= 0.0)) {
            return Err(wrong_type("message.android.ttl", "type.googleapis.com/google.protobuf.Duration", value));
        }
    }
    for part in ["notification", "fcm_options", "fcmOptions"] {
        if let Some(value) = android.get(part) {
            object(value, &format!("message.android.{part}"))?;
        }
    }
    match android.get("data") {
        Some(data) => check_data(object(data, "message.android.data")?, "message.android.data"),
        None => Ok(()),
    }
}

fn check_data(data: &Map<String, Value>, place: &str) -> Result<(), Complaint> {
    let mut size = 0;
    for (index, (key, value)) in data.iter().enumerate() {
        let Some(text) = value.as_str() else {
            return Err(wrong_type(&format!("{place}[{index}].value"), "TYPE_STRING", value));
        };
        if key == "from" || key == "message_type" || key.starts_with("gcm.") || key.starts_with("google.") {
            return Err(fcm(&format!("Invalid data payload key: {key}")));
        }
        size += key.len() + text.len();
    }
    if size > MAX_DATA { Err(fcm("Android message is too big")) } else { Ok(()) }
}

fn only(object: &Map<String, Value>, known: &[&str], place: &str) -> Result<(), Complaint> {
    let Some(unknown) = object.keys().find(|key| !known.contains(&key.as_str())) else { return Ok(()) };
    let at = if place.is_empty() { String::new() } else { format!(" at '{place}'") };
    let message = format!("Invalid JSON payload received. Unknown name \"{unknown}\"{at}: Cannot find field.");
    Err(Complaint::at(if place.is_empty() { unknown } else { place }, message))
}

fn strings(object: &Map<String, Value>, known: &[&str], place: &str) -> Result<(), Complaint> {
    only(object, known, place)?;
    match object.iter().find(|(_, value)| !value.is_string()) {
        Some((key, value)) => Err(wrong_type(&format!("{place}.{key}"), "TYPE_STRING", value)),
        None => Ok(()),
    }
}

fn object<'a>(value: &'a Value, place: &str) -> Result<&'a Map<String, Value>, Complaint> {
    value.as_object().ok_or_else(|| wrong_type(place, "an object", value))
}

/// Google shows the value; this shows only its kind, because texts do not belong into errors.
fn wrong_type(place: &str, wanted: &str, value: &Value) -> Complaint {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "another text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    Complaint::at(place, format!("Invalid value at '{place}' ({wanted}), it is {kind}"))
}

fn fcm(message: &str) -> Complaint {
    Complaint { message: message.to_owned(), ..Complaint::default() }
}
