//! What the body of a request may say. Strict where Mattermost's decoder is lenient: whoever calls this route can read an
//! answer and correct a program, so nothing is guessed, cut or ignored.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::{Map, Value};

use super::error::ApiError;
use super::problem::{Path, Problems};
use super::tree;
use crate::message::{Alert, Kind, Message, Priority, Push};
use crate::notification::{DeviceToken, TargetName, one_spelling};
use crate::private::Private;

/// The most devices in one request.
const MAX_DEVICES: usize = 500;

/// The longest device token, bytes: what Google allows, and far more than Apple's have.
const MAX_DEVICE: usize = 4_096;

/// The longest id, bytes.
const MAX_ID: usize = 128;

/// The longest name of a target, bytes: more than anybody configures.
const MAX_TARGET: usize = 128;

/// The longest title, bytes. No phone shows as much of one.
const MAX_TITLE: usize = 1_024;

/// The longest body, bytes: a provider's limit for the whole payload.
const MAX_BODY: usize = 4_096;

/// The longest of the short texts that apps and files are named by, bytes.
const MAX_NAME: usize = 256;

/// The longest collapse id, bytes (Apple, `apns-collapse-id`).
const MAX_COLLAPSE_ID: usize = 64;

/// Four weeks, in seconds, the longest that Google keeps a message (Firebase, `AndroidConfig.ttl`).
const MAX_TTL: u32 = 2_419_200;

/// The largest badge: what fits into FCM's `notification_count`.
const MAX_BADGE: u32 = 0x7fff_ffff;

/// The longest name in `data`, bytes.
const MAX_DATA_NAME: usize = 128;

/// Names that `data` cannot have: Apple's dictionary, what Google keeps for itself, and those by which Mattermost's app knows
/// which server speaks to it.
const RESERVED: [&str; 6] = ["aps", "from", "message_type", "server_id", "signature", "ack_id"];
const RESERVED_BEGINNINGS: [&str; 2] = ["google.", "gcm."];

/// The largest `apns` or `fcm`, bytes of JSON: a push has 4 KiB at most, a call 5.
const MAX_EXTRAS: usize = 5_120;

/// Every field there is, in the published description's order.
const FIELDS: [&str; 17] = [
    "id",
    "target",
    "devices",
    "kind",
    "title",
    "body",
    "badge",
    "sound",
    "thread_id",
    "category",
    "mutable",
    "data",
    "collapse_id",
    "ttl_s",
    "priority",
    "apns",
    "fcm",
];

/// The fields that only something shown may have.
const ALERT_FIELDS: [&str; 7] = ["title", "body", "badge", "sound", "thread_id", "category", "mutable"];

/// Members of `aps` that would make a background push something else; Apple refuses or throttles such.
const NOT_IN_BACKGROUND: [&str; 4] = ["alert", "badge", "sound", "content-available"];

/// Members of `android` that have a field of their own, and that field.
const HAVE_FIELDS: [(&str, &str); 5] = [
    ("data", "data"),
    ("priority", "priority"),
    ("ttl", "ttl_s"),
    ("collapse_key", "collapse_id"),
    ("collapseKey", "collapse_id"),
];

/// A request that can be carried out.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) target: TargetName,
    pub(super) message: Message,
    pub(super) devices: Devices,
}

/// Where to: each device once, and for each place in the request which of them it names.
#[derive(Debug)]
pub(super) struct Devices {
    pub(super) distinct: Vec<DeviceToken>,
    pub(super) places: Vec<usize>,
}

/// Reads the body, or says everything that is wrong with it.
pub(super) fn decode(body: &[u8]) -> Result<Request, ApiError> {
    let mut problems = Problems::default();
    let members = tree::read(body, &mut problems)?;
    let mut fields = Fields { members, problems };
    let decoded = request(&mut fields);
    let problems = fields.end();
    match decoded {
        Some(request) if problems.count() == 0 => Ok(request),
        _ => Err(ApiError::invalid(problems)),
    }
}

/// `None` if a required field is missing or wrong, which then is among the problems.
fn request(fields: &mut Fields) -> Option<Request> {
    let id = fields.visible("id", MAX_ID);
    let target = fields.required("target", |fields| fields.text("target", MAX_TARGET));
    let devices = fields.required("devices", Fields::devices);
    let kind = fields.required("kind", |fields| fields.word("kind", &Kind::ALL, Kind::as_str));
    let apns = fields.object("apns");
    let fcm = fields.object("fcm");
    let push = push(fields, kind, &apns, &fcm);
    fields.check_extras(kind, &apns, &fcm);
    let data = fields.data();
    let collapse_id = fields.visible("collapse_id", MAX_COLLAPSE_ID);
    let ttl_seconds = fields.whole("ttl_s", MAX_TTL);
    let priority = fields.word("priority", &[Priority::High, Priority::Normal], |priority| match priority {
        Priority::High => "high",
        Priority::Normal => "normal",
    });
    let default = if kind == Some(Kind::Background) { Priority::Normal } else { Priority::High };
    let message = Message {
        id: id.unwrap_or_default(),
        push: push?,
        data,
        collapse_id,
        ttl_seconds,
        priority: priority.unwrap_or(default),
        apns,
        fcm,
    };
    Some(Request { target: TargetName::new(&target?), message, devices: devices? })
}

fn push(fields: &mut Fields, kind: Option<Kind>, apns: &Map<String, Value>, fcm: &Map<String, Value>) -> Option<Push> {
    let has_text = fields.has("title") || fields.has("body") || apns.contains_key("alert");
    if kind == Some(Kind::Alert) && !has_text && !fields.has("badge") && !fcm.contains_key("notification") {
        fields.problems.add(Path::field("kind"), "is `alert`, but there is neither `title` nor `body` nor `badge`");
    }
    if let Some(kind) = kind.filter(|kind| *kind != Kind::Alert) {
        for name in ALERT_FIELDS {
            if fields.has(name) {
                fields.problem(name, format!("is only for kind `alert`, and this is `{}`", kind.as_str()));
            }
        }
    }
    let alert = Alert {
        title: Private::new(fields.text("title", MAX_TITLE).unwrap_or_default()),
        body: Private::new(fields.text("body", MAX_BODY).unwrap_or_default()),
        badge: fields.whole("badge", MAX_BADGE),
        sound: fields.text("sound", MAX_NAME),
        thread_id: fields.text("thread_id", MAX_NAME),
        category: fields.text("category", MAX_NAME),
        mutable: fields.flag("mutable").unwrap_or_default(),
    };
    Some(match kind? {
        Kind::Alert => Push::Alert(alert),
        Kind::Background => Push::Background,
        Kind::Voip => Push::Voip,
    })
}

/// The members of the body that were not read yet, and what is wrong with those that were. A `null` is as good as nothing.
struct Fields {
    members: Map<String, Value>,
    problems: Problems,
}

impl Fields {
    fn has(&self, name: &str) -> bool {
        self.members.get(name).is_some_and(|value| !value.is_null())
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        debug_assert!(FIELDS.contains(&name), "{name} is read and not listed");
        self.members.remove(name).filter(|value| !value.is_null())
    }

    fn problem(&mut self, name: &str, problem: impl Into<Cow<'static, str>>) {
        self.problems.add(Path::field(name), problem);
    }

    fn required<T>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        if !self.has(name) {
            self.problem(name, "is missing");
        }
        read(self)
    }

    /// Any text that says something.
    fn text(&mut self, name: &str, longest: usize) -> Option<String> {
        let value = self.take(name)?;
        match text(value, longest) {
            Ok(text) => Some(text),
            Err(problem) => {
                self.problem(name, problem);
                None
            }
        }
    }

    /// A text that can stand in a header and in a line of a log.
    fn visible(&mut self, name: &str, longest: usize) -> Option<String> {
        let text = self.text(name, longest)?;
        if text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Some(text);
        }
        self.problem(name, "may only hold visible ASCII characters");
        None
    }

    /// One of these.
    fn word<T: Copy>(&mut self, name: &str, all: &[T], word: fn(T) -> &'static str) -> Option<T> {
        let value = self.take(name)?;
        let known = value.as_str().and_then(|text| all.iter().copied().find(|one| word(*one) == text));
        if known.is_none() {
            let words: Vec<_> = all.iter().map(|one| format!("`{}`", word(*one))).collect();
            self.problem(name, format!("is none of {}", words.join(", ")));
        }
        known
    }

    fn whole(&mut self, name: &str, largest: u32) -> Option<u32> {
        let value = self.take(name)?;
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok()).filter(|number| *number <= largest);
        if number.is_none() {
            self.problem(name, format!("is not a whole number from 0 to {largest}"));
        }
        number
    }

    fn flag(&mut self, name: &str) -> Option<bool> {
        let value = self.take(name)?;
        let flag = value.as_bool();
        if flag.is_none() {
            self.problem(name, format!("is {}, not true or false", what(&value)));
        }
        flag
    }

    /// Empty if it is absent.
    fn object(&mut self, name: &str) -> Map<String, Value> {
        match self.take(name) {
            None => Map::new(),
            Some(Value::Object(members)) => members,
            Some(other) => {
                self.problem(name, format!("is {}, not an object", what(&other)));
                Map::new()
            }
        }
    }

    fn devices(&mut self) -> Option<Devices> {
        let list = match self.take("devices")? {
            Value::Array(list) => list,
            other => {
                self.problem("devices", format!("is {}, not a list of texts", what(&other)));
                return None;
            }
        };
        if list.is_empty() || list.len() > MAX_DEVICES {
            self.problem("devices", format!("holds {} devices; there must be 1 to {MAX_DEVICES}", list.len()));
            return None;
        }
        let list_path = Path::field("devices");
        let mut tokens = Vec::with_capacity(list.len());
        for (index, value) in list.into_iter().enumerate() {
            match text(value, MAX_DEVICE) {
                Ok(token) => tokens.push(token),
                Err(problem) => self.problems.add(Path::Item(&list_path, index), problem),
            }
        }
        Some(distinct(tokens))
    }

    /// Names and texts, in the order of the names.
    fn data(&mut self) -> Vec<(String, Private)> {
        let members = self.object("data");
        let data = Path::field("data");
        let mut texts = Vec::with_capacity(members.len());
        for (name, value) in members {
            let problem = if name.is_empty() || name.len() > MAX_DATA_NAME {
                Some(format!("has a name of {} bytes; it must have 1 to {MAX_DATA_NAME}", name.len()))
            } else if is_reserved(&name) {
                Some("has a name that is kept for Apple, Google or chat servers".to_owned())
            } else if !value.is_string() {
                Some(format!("is {}; FCM carries only texts, so write it as one", what(&value)))
            } else {
                None
            };
            match (problem, value) {
                (None, Value::String(text)) => texts.push((name, Private::new(text))),
                (problem, _) => self.problems.add(Path::Member(&data, &name), problem.unwrap_or_default()),
            }
        }
        texts
    }

    fn check_extras(&mut self, kind: Option<Kind>, apns: &Map<String, Value>, fcm: &Map<String, Value>) {
        let (apns_path, fcm_path) = (Path::field("apns"), Path::field("fcm"));
        for (path, extras) in
            [(&apns_path, apns), (&fcm_path, fcm)].into_iter().filter(|(_, extras)| !extras.is_empty())
        {
            // Written out, as the provider would get it. What is larger would only be held until the provider refuses it.
            let bytes = serde_json::to_vec(extras).map_or(usize::MAX, |text| text.len());
            if bytes > MAX_EXTRAS {
                self.problems.add(*path, format!("is larger than {MAX_EXTRAS} bytes, more than a push may have"));
            }
        }
        if kind == Some(Kind::Background) {
            for name in NOT_IN_BACKGROUND.into_iter().filter(|name| apns.contains_key(*name)) {
                self.problems.add(Path::Member(&apns_path, name), "cannot be set for kind `background`");
            }
        }
        for (name, field) in HAVE_FIELDS.into_iter().filter(|(name, _)| fcm.contains_key(*name)) {
            self.problems.add(Path::Member(&fcm_path, name), format!("is set by the field `{field}`"));
        }
        let Some(notification) = fcm.get("notification") else { return };
        let path = Path::Member(&fcm_path, "notification");
        match kind {
            _ if !notification.is_object() => {
                self.problems.add(path, format!("is {}, not an object", what(notification)));
            }
            Some(Kind::Background | Kind::Voip) => self.problems.add(path, "is only for kind `alert`"),
            Some(Kind::Alert) | None => {}
        }
    }

    /// Whatever was not read is unknown.
    fn end(self) -> Problems {
        let Self { members, mut problems } = self;
        for name in members.keys() {
            problems.add(Path::field(name), "is not a field of a notification");
        }
        problems
    }
}

fn distinct(tokens: Vec<String>) -> Devices {
    let mut known: HashMap<Cow<'_, str>, usize> = HashMap::with_capacity(tokens.len());
    let mut first_places = Vec::with_capacity(tokens.len());
    let mut places = Vec::with_capacity(tokens.len());
    for (index, token) in tokens.iter().enumerate() {
        let place = *known.entry(one_spelling(token)).or_insert_with(|| {
            first_places.push(index);
            first_places.len() - 1
        });
        places.push(place);
    }
    drop(known);
    let mut is_first = first_places.into_iter().peekable();
    let distinct = tokens
        .into_iter()
        .enumerate()
        .filter(|(index, _)| is_first.next_if_eq(index).is_some())
        .filter_map(|(_, token)| DeviceToken::new(token))
        .collect();
    Devices { distinct, places }
}

fn text(value: Value, longest: usize) -> Result<String, Cow<'static, str>> {
    match value {
        Value::String(text) if text.is_empty() => Err("is empty".into()),
        Value::String(text) if text.len() > longest => {
            Err(format!("is {} bytes long; the most is {longest}", text.len()).into())
        }
        Value::String(text) => Ok(text),
        other => Err(format!("is {}, not a text", what(&other)).into()),
    }
}

fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name) || RESERVED_BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
}

/// Its type, and never the value.
fn what(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod described;
#[cfg(test)]
mod tests;
