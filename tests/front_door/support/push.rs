//! A chat server's request and the relay's answer to it.

use pushrelay::admission::signing::SigningKey;
use pushrelay::notification::DeviceToken;
use serde_json::{Map, Value, json};

use super::SERVER;

/// A device token that the simulator of Apple takes: 64 hexadecimal digits.
pub fn apple_token(number: u32) -> String {
    format!("a{number:063x}")
}

/// A request as Mattermost sends it, changed at will before it is posted.
#[derive(Clone)]
pub struct Push {
    fields: Map<String, Value>,
    signature: Signature,
}

#[derive(Clone)]
enum Signature {
    Right,
    Given(String),
    None,
}

impl Push {
    /// A message to an iPhone.
    pub fn apple(token: &str) -> Self {
        Self::to("apple_rn-v2", token)
    }

    /// A message to an Android phone.
    pub fn android(token: &str) -> Self {
        Self::to("android_rn-v2", token)
    }

    fn to(platform: &str, token: &str) -> Self {
        let ack_id = uuid::Uuid::new_v4().to_string();
        let Value::Object(fields) = json!({
            "ack_id": ack_id, "platform": platform, "server_id": SERVER, "device_id": token,
            "type": "message", "version": "v2", "badge": 3, "category": "CAN_REPLY", "sound": "default",
            "message": "canary-text says hello", "channel_id": "channel-1", "channel_name": "canary-channel",
            "team_id": "team-1", "post_id": "post-1", "sender_id": "user-1", "sender_name": "canary-sender",
        }) else {
            unreachable!("a literal object")
        };
        Self { fields, signature: Signature::Right }
    }

    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(key.to_owned(), value.into());
        self
    }

    pub fn unsigned(mut self) -> Self {
        self.signature = Signature::None;
        self
    }

    pub fn signed_as(mut self, signature: impl Into<String>) -> Self {
        self.signature = Signature::Given(signature.into());
        self
    }

    pub fn text(&self, key: &str) -> &str {
        self.fields[key].as_str().unwrap()
    }

    /// The JSON, with the signature that `key` makes for it.
    pub fn body(&self, key: &SigningKey) -> Value {
        let mut fields = self.fields.clone();
        let signature = match &self.signature {
            Signature::Right => key.sign_push(self.text("ack_id"), &DeviceToken::new(self.text("device_id")).unwrap()),
            Signature::Given(text) => text.clone(),
            Signature::None => String::new(),
        };
        fields.insert("signature".to_owned(), signature.into());
        Value::Object(fields)
    }
}

/// What the relay said.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub code: u16,
    pub status: String,
    pub error: String,
}

impl Answer {
    pub async fn read(response: reqwest::Response) -> Self {
        let code = response.status().as_u16();
        let text = response.text().await.unwrap();
        let value: Value =
            serde_json::from_str(&text).unwrap_or_else(|_| panic!("HTTP {code} with a body that is no JSON: {text}"));
        let field = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        Self { code, status: field("status"), error: field("error") }
    }

    #[track_caller]
    pub fn expect_ok(&self) {
        assert_eq!((self.code, self.status.as_str()), (200, "OK"), "{self:?}");
    }

    #[track_caller]
    pub fn expect_remove(&self) {
        assert_eq!((self.code, self.status.as_str()), (200, "REMOVE"), "{self:?}");
    }

    /// A FAIL whose text holds these words.
    #[track_caller]
    pub fn expect_fail(&self, code: u16, words: &str) {
        assert_eq!((self.code, self.status.as_str()), (code, "FAIL"), "{self:?}");
        assert!(self.error.contains(words), "{self:?} does not say {words:?}");
    }
}
