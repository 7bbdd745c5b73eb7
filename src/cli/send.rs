//! `pushrelay send`: plays the chat server for one push.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use url::{Host, Url};

use super::Failure;
use crate::admission::signing::SigningKey;
use crate::notification::DeviceToken;

/// The longest wait for the relay's answer: a little above the 30 s that a chat server waits.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);

/// Send one push to a relay, as a chat server would.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pushrelay send --platform apple_rn-v2 --token TOKEN --server-id ID --key server.pem --message 'Hello'
  pushrelay send --platform android_rn-v2 --token TOKEN --server-id ID --type clear --badge 0

Without --key the push is not signed, which a relay with auth.mode = \"required\" refuses. A key is made with
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out server.pem
and its public half, for [[server]] keys in the relay's configuration, with
  openssl pkey -in server.pem -pubout

Exit code 0 only if the relay answers OK.")]
pub(super) struct Send {
    /// The relay's address.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8066")]
    url: Url,
    /// Target and app version, such as apple_rn-v2 or android_rn-v2.
    #[arg(long, value_name = "NAME")]
    platform: String,
    /// The device token.
    #[arg(long, value_name = "TOKEN")]
    token: String,
    /// The chat server's id, as registered with the relay.
    #[arg(long, value_name = "ID", default_value = "pushrelay-send")]
    server_id: String,
    /// The chat server's private key (P-256, PKCS#8 PEM) to sign with.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// What it is about: message, clear, `update_badge`, session or test.
    #[arg(long = "type", value_name = "TYPE", default_value = "message")]
    kind: String,
    /// The text.
    #[arg(long, value_name = "TEXT", default_value = "Hello from pushrelay :wave:")]
    message: String,
    /// The channel's name, shown as the title.
    #[arg(long, value_name = "NAME", default_value = "Town Square")]
    channel_name: String,
    /// The badge; -1 leaves it alone.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, allow_negative_numbers = true)]
    badge: i64,
    /// Ring as a call (APNs targets only).
    #[arg(long)]
    voip: bool,
    /// The push's id, which the signature covers; a fresh one if absent.
    #[arg(long, value_name = "ID")]
    ack_id: Option<String>,
}

impl Send {
    #[allow(clippy::print_stdout, reason = "the answer is what the person asked for")]
    pub(super) fn run(self) -> Result<(), Failure> {
        if !self.token.is_ascii() {
            return Err(Failure::running(
                "--token holds characters no device token has: is a part of it cut off as “…”?",
            ));
        }
        let device = DeviceToken::new(self.token).ok_or_else(|| Failure::running("--token is empty"))?;
        let key = match &self.key {
            Some(path) => Some(read_key(path)?),
            None => None,
        };
        let push = Push {
            platform: &self.platform,
            device: &device,
            server_id: &self.server_id,
            ack_id: &self.ack_id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
            kind: &self.kind,
            message: &self.message,
            channel_name: &self.channel_name,
            badge: self.badge,
            voip: self.voip,
        };
        let answer = super::block_on(post(&self.url, &push.body(key.as_ref())))?;
        println!("{answer}");
        if answer.is_ok() {
            Ok(())
        } else if answer.status == "REMOVE" {
            Err(Failure::running("the provider says that this device token is dead; the relay's log has its reason"))
        } else {
            Err(Failure::running("the push was not accepted"))
        }
    }
}

fn read_key(path: &std::path::Path) -> Result<SigningKey, Failure> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::running(format!("--key: cannot read {shown}: {error}")))?;
    SigningKey::from_pem(&text).map_err(|error| Failure::running(format!("--key: {shown} {error}")))
}

/// One push as a chat server words it.
pub(super) struct Push<'a> {
    pub(super) platform: &'a str,
    pub(super) device: &'a DeviceToken,
    pub(super) server_id: &'a str,
    pub(super) ack_id: &'a str,
    pub(super) kind: &'a str,
    pub(super) message: &'a str,
    pub(super) channel_name: &'a str,
    pub(super) badge: i64,
    pub(super) voip: bool,
}

impl Push<'_> {
    /// The JSON body of `POST /api/v1/send_push`, signed if there is a key.
    pub(super) fn body(&self, key: Option<&SigningKey>) -> Value {
        let signature = key.map(|key| key.sign_push(self.ack_id, self.device)).unwrap_or_default();
        json!({
            "ack_id": self.ack_id,
            "platform": self.platform,
            "server_id": self.server_id,
            "device_id": self.device.expose(),
            "type": self.kind,
            "sub_type": if self.voip { "calls" } else { "" },
            "transport": if self.voip { "voip" } else { "" },
            "version": "v2",
            "badge": self.badge,
            "category": "CAN_REPLY",
            "message": self.message,
            "channel_id": "town-square",
            "channel_name": self.channel_name,
            "sender_id": "pushrelay-send",
            "sender_name": "pushrelay",
            "signature": signature,
        })
    }
}

/// What a relay said.
#[derive(Debug)]
pub(super) struct Answer {
    /// The HTTP status.
    code: u16,
    /// `OK`, `REMOVE` or `FAIL`.
    status: String,
    error: Option<String>,
    took: Duration,
}

impl Answer {
    pub(super) fn is_ok(&self) -> bool {
        self.code == 200 && self.status == "OK"
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let error = self.error.as_deref().map(|error| format!(": {error}")).unwrap_or_default();
        write!(f, "{}{error} (HTTP {}, {:.1} ms)", self.status, self.code, self.took.as_secs_f64() * 1_000.0)
    }
}

/// Posts one push and waits for the answer.
pub(super) async fn post(relay: &Url, body: &Value) -> Result<Answer, Failure> {
    let url = address(relay).map_err(|error| Failure::running(format!("--url: {error}")))?;
    let mut client = reqwest::Client::builder().timeout(ANSWER_TIMEOUT);
    if is_this_machine(&url) {
        // A proxy that the environment names would look for the relay on its own machine.
        client = client.no_proxy();
    }
    let client = client.build().map_err(|error| Failure::running(format!("cannot set up HTTP: {error}")))?;
    let started = Instant::now();
    let response = client
        .post(url.clone())
        .json(body)
        .send()
        .await
        .map_err(|error| Failure::running(format!("no answer from {url}: {}", causes(&error))))?;
    let code = response.status().as_u16();
    let bytes =
        response.bytes().await.map_err(|error| Failure::running(format!("broken answer: {}", causes(&error))))?;
    let took = started.elapsed();
    let value: Value = serde_json::from_slice(&bytes).map_err(|_| {
        Failure::running(format!("{url} answered HTTP {code} with something that is not JSON: no relay?"))
    })?;
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    let status = text("status")
        .ok_or_else(|| Failure::running(format!("{url} answered HTTP {code} without a `status`: no relay?")))?;
    Ok(Answer { code, status, error: text("error"), took })
}

/// An error with what caused it: `reqwest` alone says little more than "error sending request".
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Where a relay at this address takes pushes: behind its path, if it has one, as chat servers append it.
fn address(relay: &Url) -> Result<Url, url::ParseError> {
    let mut base = relay.clone();
    base.set_path(&format!("{}/", relay.path().trim_end_matches('/')));
    base.join("api/v1/send_push")
}

fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback() || address.is_unspecified(),
        Some(Host::Ipv6(address)) => address.is_loopback() || address.is_unspecified(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_behind_a_path_is_posted_to_behind_it() {
        for (relay, expected) in [
            ("http://relay:8066", "http://relay:8066/api/v1/send_push"),
            ("https://example.com/push", "https://example.com/push/api/v1/send_push"),
            ("https://example.com/push/", "https://example.com/push/api/v1/send_push"),
        ] {
            assert_eq!(address(&Url::parse(relay).unwrap()).unwrap().as_str(), expected);
        }
    }

    #[test]
    fn only_addresses_of_this_machine_are_reached_past_the_proxy() {
        for (relay, here) in [
            ("http://127.0.0.1:8066", true),
            ("http://0.0.0.0:8066", true),
            ("http://[::1]:8066", true),
            ("http://localhost:8066", true),
            ("http://10.0.0.1:8066", false),
            ("http://relay.example.com", false),
        ] {
            assert_eq!(is_this_machine(&Url::parse(relay).unwrap()), here, "{relay}");
        }
    }
}
