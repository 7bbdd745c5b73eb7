//! `pushrelay send`: plays the chat server for one push.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use url::{Host, Url};

use super::Failure;
use crate::admission::signing::SigningKey;
use crate::admission::webhook::signing::{WebhookSigningKey, sign};
use crate::cli::output::say;
use crate::clock::Clock;
use crate::named_file;
use crate::notification::DeviceToken;
use crate::private::Private;

/// The longest wait for the relay's answer: a little above the 30 s that a chat server waits.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);

/// Send one push to a relay, as a chat server would.
#[derive(Debug, Args)]
#[command(after_help = "\
Without a key the push is not signed, which a relay with auth.mode = \"required\" refuses. With
--key it is signed as Mattermost signs: the push's id and device, in the body. With
--webhook-key-file the whole request is signed, as Standard Webhooks ask, in headers. `pushrelay
keygen` makes keys of every kind, and says what the relay needs to know of them.

Examples:
  pushrelay send --platform apple_rn-v2 --token TOKEN --server-id ID --key server.pem
  pushrelay send --platform android_rn-v2 --token TOKEN --server-id ID --type clear --badge 0
  pushrelay send --platform apple_rn-v2 --token TOKEN --server-id ID \\
    --webhook-key-file webhook.secret --message 'Hello'

Exit code 0 only if the relay answers OK.")]
pub(super) struct Send {
    /// The relay's address.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8066", value_parser = super::http_url)]
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
    /// The chat server's private key (P-256, PKCS#8 PEM) to sign with, as Mattermost does.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["webhook_key", "webhook_key_file"])]
    key: Option<PathBuf>,
    /// A file with the key to sign the whole request with: whsec_… or whsk_…
    #[arg(long, value_name = "FILE")]
    webhook_key_file: Option<PathBuf>,
    /// The same key itself; other users of this machine can see it while the command runs.
    #[arg(long, value_name = "KEY", value_parser = private, conflicts_with = "webhook_key_file")]
    webhook_key: Option<Private>,
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
        let webhook_key = webhook_key(self.webhook_key.as_ref(), self.webhook_key_file.as_deref())?;
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
        let signer = webhook_key.as_ref().map(|key| WholeSigner { key, server_id: &self.server_id });
        let answer = super::block_on(post(&self.url, &push.body(key.as_ref()), signer))?;
        say(format_args!("{answer}"))?;
        if answer.is_ok() {
            Ok(())
        } else if answer.status == "REMOVE" {
            Err(Failure::running("the provider says that this device token is dead; the relay's log has its reason"))
        } else {
            Err(Failure::running("the push was not accepted"))
        }
    }
}

fn read_key(path: &Path) -> Result<SigningKey, Failure> {
    let shown = path.display();
    let text = text_of(path).map_err(|error| Failure::running(format!("--key: cannot read {shown}: {error}")))?;
    SigningKey::from_pem(&text).map_err(|error| Failure::running(format!("--key: {shown} {error}")))
}

/// A file of the command line, which may be a pipe.
fn text_of(path: &Path) -> std::io::Result<String> {
    let content = named_file::read_once(path, named_file::LARGEST)?;
    String::from_utf8(content).map_err(|_| std::io::Error::other("it is not text (UTF-8)"))
}

/// Any text: what is wrong with it is said later, because the argument parser's errors repeat the value.
#[allow(clippy::unnecessary_wraps, reason = "the argument parser asks for a result")]
fn private(text: &str) -> Result<Private, std::convert::Infallible> {
    Ok(Private::new(text))
}

/// The key to sign whole requests with, from one of two arguments.
fn webhook_key(given: Option<&Private>, file: Option<&Path>) -> Result<Option<WebhookSigningKey>, Failure> {
    let (text, argument) = match (given, file) {
        (None, None) => return Ok(None),
        (Some(text), _) => (text.clone(), "--webhook-key".to_owned()),
        (None, Some(path)) => {
            let argument = format!("--webhook-key-file: {}", path.display());
            let text =
                text_of(path).map_err(|error| Failure::running(format!("{argument} cannot be read: {error}")))?;
            (Private::new(text), argument)
        }
    };
    let key = WebhookSigningKey::from_text(text.expose());
    key.map(Some).map_err(|error| Failure::running(format!("{argument}: {error}")))
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

/// Who signs a request as a whole.
#[derive(Clone, Copy)]
pub(super) struct WholeSigner<'a> {
    key: &'a WebhookSigningKey,
    server_id: &'a str,
}

impl WholeSigner<'_> {
    /// The headers that go with this body, signed now.
    fn headers(self, body: &[u8]) -> Result<[(&'static str, String); 4], Failure> {
        let id = format!("msg_{}", uuid::Uuid::new_v4().simple());
        let signed = sign(std::slice::from_ref(self.key), &id, Clock::System.unix_seconds(), body)
            .map_err(|error| Failure::running(format!("cannot sign: {error}")))?;
        let sent = signed.as_sent();
        Ok([
            ("pushrelay-server", self.server_id.to_owned()),
            ("webhook-id", sent.id.to_owned()),
            ("webhook-timestamp", sent.timestamp.to_owned()),
            ("webhook-signature", sent.signature.to_owned()),
        ])
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
pub(super) async fn post(relay: &Url, body: &Value, signer: Option<WholeSigner<'_>>) -> Result<Answer, Failure> {
    let url = address(relay).map_err(|error| Failure::running(format!("--url: {error}")))?;
    let mut client = reqwest::Client::builder().timeout(ANSWER_TIMEOUT);
    if is_this_machine(&url) {
        // A proxy that the environment names would look for the relay on its own machine.
        client = client.no_proxy();
    }
    let client = client.build().map_err(|error| Failure::running(format!("cannot set up HTTP: {error}")))?;
    // The signature covers exactly the bytes that are sent.
    let body = body.to_string();
    let mut request = client.post(url.clone()).header("content-type", "application/json");
    if let Some(signer) = signer {
        for (name, value) in signer.headers(body.as_bytes())? {
            request = request.header(name, value);
        }
    }
    let started = Instant::now();
    let response = request
        .body(body)
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
pub(super) fn causes(error: &dyn std::error::Error) -> String {
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

pub(super) fn is_this_machine(url: &Url) -> bool {
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
    fn a_wrong_webhook_key_is_told_without_repeating_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        for (text, words) in [
            ("canary", "neither whsec_ nor whsk_"),
            ("whpk_canary", "the public half"),
            ("whsec_canary!", "--webhook-key"),
            ("whsk_Y2FuYXJ5", "no Ed25519 private key"),
        ] {
            std::fs::write(&file, text).unwrap();
            for (given, path) in [(Some(Private::new(text)), None), (None, Some(file.as_path()))] {
                let failure = webhook_key(given.as_ref(), path).err().unwrap();
                assert!(failure.text.starts_with("--webhook-key") && failure.text.contains(words), "{failure:?}");
                assert!(!failure.text.contains("canary") && !failure.text.contains("Y2Fu"), "{failure:?}");
            }
        }
        let missing = webhook_key(None, Some(&folder.path().join("none"))).err().unwrap();
        assert!(missing.text.contains("cannot be read"), "{missing:?}");
        assert!(webhook_key(None, None).unwrap().is_none());
        let key = WebhookSigningKey::generate_ed25519();
        std::fs::write(&file, format!("{}\n", key.text().expose())).unwrap();
        assert!(webhook_key(None, Some(&file)).unwrap().is_some());
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
