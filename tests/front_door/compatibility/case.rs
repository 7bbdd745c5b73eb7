//! What a case is made of, and the usual push that most cases differ from by a key or two.

use pushrelay::simulator::Fault;
use reqwest::Method;
use serde_json::{Value, json};

/// A request, the answer to it, and what the provider gets because of it.
#[derive(Clone)]
pub struct Case {
    pub name: String,
    pub method: Method,
    pub path: &'static str,
    pub content_type: Option<&'static str>,
    /// `TOKEN` stands for a device token that no other case uses.
    pub body: Vec<u8>,
    /// What goes wrong at the provider for this device token.
    pub faults: Vec<Fault>,
    pub answer: Answer,
    pub reaches: Reaches,
}

/// What the chat server hears, to the byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub content_type: Option<&'static str>,
    pub body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Exactly(String),
    /// A FAIL whose text begins so, and goes on in other words than the reference's.
    FailureThatBegins(&'static str),
}

/// Who gets exactly one push because of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Reaches {
    Nobody,
    /// With these `apns-…` headers and no others, but for `apns-id`.
    Apple {
        headers: Value,
        payload: Value,
    },
    /// The `data` of the message. What is around it is the same for all.
    Google {
        data: Value,
    },
}

/// A Go program that sets no content type has one guessed for it, and flat JSON looks like text.
const TEXT: Option<&str> = Some("text/plain; charset=utf-8");

impl Case {
    /// A body posted to `/api/v1/send_push` that is answered with OK and reaches nobody, until said otherwise.
    pub fn push(name: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self {
            name: name.into(),
            method: Method::POST,
            path: "/api/v1/send_push",
            content_type: None,
            body: body.into(),
            faults: Vec::new(),
            answer: ok(),
            reaches: Reaches::Nobody,
        }
    }

    /// The same, posted to `/api/v1/ack`.
    pub fn ack(name: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self { path: "/api/v1/ack", ..Self::push(name, body) }
    }

    pub fn alert(self, payload: Value) -> Self {
        let headers = json!({"apns-topic": "com.example.chat", "apns-push-type": "alert", "apns-priority": "10"});
        Self { reaches: Reaches::Apple { headers, payload }, ..self }
    }

    pub fn voip(self, payload: Value) -> Self {
        let headers = json!({"apns-topic": "com.example.chat.voip", "apns-push-type": "voip", "apns-priority": "10"});
        Self { reaches: Reaches::Apple { headers, payload }, ..self }
    }

    pub fn message(self, data: Value) -> Self {
        Self { reaches: Reaches::Google { data }, ..self }
    }

    pub fn but(self, fault: Fault) -> Self {
        Self { faults: [self.faults, vec![fault]].concat(), ..self }
    }

    /// Says what is answered, and with that that nobody is reached.
    pub fn refused(self, answer: Answer) -> Self {
        Self { answer, reaches: Reaches::Nobody, ..self }
    }
}

pub fn ok() -> Answer {
    Answer { status: 200, content_type: TEXT, body: Body::Exactly("{\"status\":\"OK\"}\n".into()) }
}

pub fn remove() -> Answer {
    Answer { status: 200, content_type: TEXT, body: Body::Exactly("{\"status\":\"REMOVE\"}\n".into()) }
}

/// The text is given as it stands in the JSON, with its escapes.
pub fn fail(text: &str) -> Answer {
    let body = Body::Exactly(format!("{{\"error\":\"{text}\",\"status\":\"FAIL\"}}\n"));
    Answer { status: 200, content_type: TEXT, body }
}

impl Body {
    pub fn is(&self, got: &str) -> bool {
        match self {
            Self::Exactly(body) => body == got,
            Self::FailureThatBegins(words) => {
                got.starts_with(&format!("{{\"error\":\"{words}")) && got.ends_with("\",\"status\":\"FAIL\"}\n")
            }
        }
    }
}

/// A body that Go's decoder does not take. `what` is "message" or "ack"; the words are Go's.
pub fn unreadable(what: &str, words: &str) -> Answer {
    fail(&format!("Failed to read {what} body: {words}"))
}

/// The reference passes on Google's message, which can quote the notification's values. The relay has words of its own,
/// behind Google's code.
pub fn google_fails(code: &'static str) -> Answer {
    Answer { body: Body::FailureThatBegins(code), ..fail("") }
}

/// `base` with these keys changed; `null` takes a key out (JSON Merge Patch, RFC 7396).
pub fn changed(mut base: Value, changes: &Value) -> Value {
    let (Some(object), Some(changes)) = (base.as_object_mut(), changes.as_object()) else { return changes.clone() };
    for (key, change) in changes {
        let before = object.remove(key);
        match (change, before) {
            (Value::Null, _) => {}
            (Value::Object(_), before) => {
                object
                    .insert(key.clone(), changed(before.filter(Value::is_object).unwrap_or_else(|| json!({})), change));
            }
            (other, _) => {
                object.insert(key.clone(), other.clone());
            }
        }
    }
    base
}

/// A message as a Mattermost server sends it.
pub fn usual_request() -> Value {
    json!({
        "ack_id": "ack-1",
        "platform": "apple_rn-v2",
        "server_id": "server-1",
        "device_id": "TOKEN",
        "post_id": "post-1",
        "category": "CAN_REPLY",
        "sound": "default",
        "message": "ship it",
        "badge": 3,
        "cont_ava": 1,
        "team_id": "team-1",
        "channel_id": "channel-1",
        "channel_name": "Town Square",
        "type": "message",
        "sender_id": "user-1",
        "sender_name": "@ann",
        "version": "v2",
        "is_crt_enabled": false,
        "is_id_loaded": false,
        "signature": "header.claims.signature",
    })
}

/// What Apple gets of it.
pub fn usual_payload() -> Value {
    json!({
        "aps": {
            "alert": {"title": "Town Square", "body": "ship it"},
            "badge": 3,
            "category": "CAN_REPLY",
            "content-available": 1,
            "mutable-content": 1,
            "sound": "default",
            "thread-id": "channel-1",
        },
        "type": "message",
        "sub_type": "",
        "server_id": "server-1",
        "is_crt_enabled": false,
        "signature": "header.claims.signature",
        "version": "v2",
        "channel_name": "Town Square",
        "ack_id": "ack-1",
        "channel_id": "channel-1",
        "team_id": "team-1",
        "sender_id": "user-1",
        "sender_name": "@ann",
        "post_id": "post-1",
    })
}

/// What Google gets of it for an Android phone.
pub fn usual_data() -> Value {
    json!({
        "ack_id": "ack-1",
        "type": "message",
        "sub_type": "",
        "version": "v2",
        "channel_id": "channel-1",
        "is_crt_enabled": "false",
        "server_id": "server-1",
        "category": "CAN_REPLY",
        "signature": "header.claims.signature",
        "badge": "3",
        "team_id": "team-1",
        "sender_id": "user-1",
        "sender_name": "@ann",
        "message": "ship it",
        "channel_name": "Town Square",
        "post_id": "post-1",
        "override_username": "",
        "override_icon_url": "",
        "from_webhook": "",
    })
}

/// The usual push to an iPhone with these changes, and what they change about the payload.
pub fn to_apple(name: impl Into<String>, request: &Value, payload: &Value) -> Case {
    Case::push(name, changed(usual_request(), request).to_string()).alert(changed(usual_payload(), payload))
}

/// The usual push to an Android phone with these changes, and what they change about the data.
pub fn to_android(name: impl Into<String>, request: &Value, data: &Value) -> Case {
    let usual = changed(usual_request(), &json!({"platform": "android_rn-v2"}));
    Case::push(name, changed(usual, request).to_string()).message(changed(usual_data(), data))
}
