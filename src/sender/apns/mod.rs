//! Apple Push Notification service: one attempt at delivering one notification, and what came of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::time::Instant;
use url::Url;

use super::transport::{NoWay, Patience, Pool, Response, Target, Tuning};
use super::{SetupError, TargetSettings};
use crate::clock::Clock;
use crate::notification::{Compatibility, Content, DeviceToken, Notification};
use crate::outcome::{Attempt, ProviderId, Reason, Scope, Verdict};
use credential::{ClientCertificate, Credential};
use payload::PushType;
pub use provider_token::KeysInUse;
use provider_token::{ProviderToken, ProviderTokens, Refusal};
use request::{Addressing, Wishes};

pub mod credential;
mod native;
pub mod payload;
mod provider_token;
mod request;
mod verdict;

#[cfg(test)]
mod test_notification;
#[cfg(test)]
mod tests;

const PRODUCTION: &str = "api.push.apple.com";
const SANDBOX: &str = "api.sandbox.push.apple.com";

/// The device token is longer than Apple's can be. Not a REMOVE: Apple has not said so.
const TOKEN_TOO_LONG: Reason = "token_too_long";

/// The payload of a program's message is larger than Apple takes. Mattermost's are shortened instead.
const PAYLOAD_TOO_LARGE: Reason = "payload_too_large";

/// Our certificate has expired or is not valid yet, so Apple need not be asked.
const CERTIFICATE_OUT_OF_DATE: Reason = "certificate_out_of_date";

/// The signing key signed when it was read and does not sign now.
const CANNOT_SIGN: Reason = "cannot_sign";

/// By which Apple's answers name the push.
const APNS_ID: &str = "apns-id";

/// A device token as Apple writes them, which no phone has: it answers `BadDeviceToken`.
const NOBODY: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What an APNs target needs.
#[derive(Clone, Debug)]
pub struct ApnsSettings {
    /// The app's bundle id.
    pub topic: String,
    /// Apple's sandbox instead of production.
    pub sandbox: bool,
    /// Port 443 or 2197.
    pub port: u16,
    /// A signing key or a certificate.
    pub credential: credential::Credential,
}

/// Sends to one app through APNs.
pub struct Apns {
    addressing: Addressing,
    compatibility: Compatibility,
    identity: Identity,
    pool: Pool,
    clock: Clock,
}

/// How requests prove who sends them.
#[derive(Debug)]
enum Identity {
    /// Each by a header.
    Tokens(Arc<ProviderTokens>),
    /// By the connection they arrive on.
    Certificate(ClientCertificate),
}

/// A notification as APNs will read it: built once, sent as often as it takes, under one `apns-id`.
#[derive(Debug)]
pub struct Prepared(Result<request::Prepared, Reason>);

impl Prepared {
    /// Why there is nothing to send.
    pub(super) fn unfit(&self) -> Option<Reason> {
        self.0.as_ref().err().copied()
    }
}

impl Apns {
    /// Sets the target up: reads the authorities, resolves the proxy. Opens no connection yet.
    pub fn new(
        target: &TargetSettings,
        settings: &ApnsSettings,
        clock: &Clock,
        keys: &mut KeysInUse,
    ) -> Result<Self, SetupError> {
        let failed = |problem: String| SetupError { target: target.name.clone(), problem };
        let network = &target.network;
        let endpoint = endpoint(network.endpoint.as_ref(), settings).map_err(failed)?;
        let (identity, certified) = match &settings.credential {
            Credential::Key(key) => (Identity::Tokens(keys.tokens(key, clock)), None),
            Credential::Certificate(certificate) => {
                (Identity::Certificate(certificate.clone()), Some(certificate.certified()))
            }
        };
        let tls = network.tls_config(certified).map_err(|error| failed(error.to_string()))?;
        let proxy = network.proxy.for_url(&endpoint).map_err(|error| failed(error.to_string()))?;
        let peer =
            Target::new(&endpoint, proxy, tls, network.connect_timeout).map_err(|error| failed(error.to_string()))?;
        let origin = endpoint.as_str().trim_end_matches('/').to_owned();
        let addressing = Addressing::new(origin, &settings.topic).ok_or_else(|| {
            failed("the topic is empty or cannot be sent in a header; it is the app's bundle id, such as `com.example.app`".to_owned())
        })?;
        Ok(Self {
            addressing,
            compatibility: target.compatibility,
            identity,
            pool: Pool::new(peer, Tuning::with_connections(network.connections)),
            clock: clock.clone(),
        })
    }

    /// Builds path, headers and payload. `remaining` is as in [`super::Sender::prepare`].
    pub fn prepare(&self, notification: &Notification, remaining: Option<Duration>) -> Prepared {
        Prepared(match &notification.content {
            Content::Mattermost(content) => {
                let push_type = PushType::of(notification, content, self.compatibility);
                // The reference tells Apple of no end.
                let remaining = remaining.filter(|_| self.compatibility == Compatibility::Improved);
                let expiration = remaining.map(|remaining| expiration(self.clock.unix(), remaining));
                let body = || payload::build(notification, content, self.compatibility);
                let prepared = self.addressing.prepare(&notification.device, push_type, expiration, None, body);
                prepared.map_err(|_too_long| TOKEN_TOO_LONG)
            }
            Content::Native(message) => {
                let expiration = message.keep(remaining).map(|keep| match keep {
                    Duration::ZERO => NOW_OR_NEVER,
                    keep => expiration(self.clock.unix(), keep),
                });
                native::prepare(&self.addressing, &notification.device, message, expiration)
            }
        })
    }

    /// A push that reaches no phone, to see what Apple says to whoever sends it. If there were such a phone, it would show
    /// nothing, and only if it were on at this moment.
    pub(super) fn prepare_for_nobody(&self) -> Prepared {
        let wishes = Some(Box::new(Wishes { is_normal: true, collapse_id: None }));
        let body = || Bytes::from_static(br#"{"aps":{"content-available":1}}"#);
        let nobody = DeviceToken::new(NOBODY).expect("not empty");
        let prepared = self.addressing.prepare(&nobody, PushType::Background, Some(NOW_OR_NEVER), wishes, body);
        Prepared(prepared.map_err(|_too_long| TOKEN_TOO_LONG))
    }

    /// Makes one attempt. What Apple certainly has not looked at is repeated within it.
    pub async fn attempt(&self, prepared: &Prepared, patience: Patience, no_way: NoWay) -> Attempt {
        let prepared = match &prepared.0 {
            Ok(prepared) => prepared,
            Err(reason) => return Attempt::unanswered(Verdict::Rejected { reason }),
        };
        let token = match self.proof() {
            Ok(token) => token,
            Err(reason) => return Attempt::unanswered(Verdict::TargetBroken { reason }),
        };
        let started = self.clock.now();
        let id = Some(ProviderId::Apns(prepared.id));
        let head = || prepared.head(token.as_deref().map(ProviderToken::header));
        let (reason, unprocessed) = match self.pool.request(head, &prepared.body, patience, no_way).await {
            Ok(Response { status, headers, body }) => match body {
                Ok(body) => {
                    return Attempt::answered(self.judge(status, &headers, &body, token.as_ref(), started)).under(id);
                }
                // A 200 of Apple's is its word, whatever happens to what follows it. Of anything else the body decides.
                Err(_) if status == StatusCode::OK && is_apples(&headers, b"") => {
                    return Attempt::answered(Verdict::Delivered).under(id);
                }
                Err(trouble) => (trouble.as_str(), false),
            },
            Err(error) => (error.reason.as_str(), error.unprocessed),
        };
        Attempt::unanswered(Verdict::Retry { reason, after: None, scope: Scope::Target, unprocessed }).under(id)
    }

    /// The token to send, or `None` if the connection is the proof.
    fn proof(&self) -> Result<Option<Arc<ProviderToken>>, Reason> {
        match &self.identity {
            Identity::Tokens(tokens) => tokens.current().map(Some).map_err(|_| CANNOT_SIGN),
            Identity::Certificate(certificate) if certificate.problem(self.clock.unix_seconds()).is_some() => {
                Err(CERTIFICATE_OUT_OF_DATE)
            }
            Identity::Certificate(_) => Ok(None),
        }
    }

    fn judge(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &Bytes,
        token: Option<&Arc<ProviderToken>>,
        started: Instant,
    ) -> Verdict {
        let reason = verdict::reason_of(body);
        let after =
            headers.get(RETRY_AFTER).and_then(|value| verdict::retry_after(value.as_bytes(), self.clock.unix()));
        let verdict = verdict::classify(status.as_u16(), &reason, is_apples(headers, body), after);
        let Verdict::NewCredential { reason } = verdict else { return verdict };
        match (&self.identity, token) {
            (Identity::Tokens(tokens), Some(token)) if tokens.refused(token, started) == Refusal::TryAgain => {
                Verdict::NewCredential { reason }
            }
            // A young token refused again, or no token of ours at all.
            _ => Verdict::TargetBroken { reason },
        }
    }

    /// What is wrong with the certificate now, if anything. A key has no dates: only Apple can say that it is revoked.
    pub fn credential_problem(&self) -> Option<String> {
        match &self.identity {
            Identity::Tokens(_) => None,
            Identity::Certificate(certificate) => certificate.problem(self.clock.unix_seconds()),
        }
    }

    /// The certificate's last moment, in seconds after the Unix epoch.
    pub fn credential_expires_at(&self) -> Option<u64> {
        match &self.identity {
            Identity::Tokens(_) => None,
            Identity::Certificate(certificate) => Some(certificate.expires_at()),
        }
    }
}

/// Whether a 200 with these can be Apple's.
fn is_apples(headers: &HeaderMap, body: &[u8]) -> bool {
    verdict::is_apples(headers.contains_key(APNS_ID), headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes), body)
}

/// The `apns-expiration` of what Apple is to try once.
const NOW_OR_NEVER: u64 = 0;

/// The `apns-expiration` of a notification that is worth something for so much longer: seconds after the Unix epoch,
/// rounded down, since late is worse than never. Not now or before, which Apple could read as "try once".
fn expiration(now: Duration, remaining: Duration) -> u64 {
    now.saturating_add(remaining).as_secs().max(now.as_secs().saturating_add(1))
}

/// `https://host[:port]`, nothing behind it.
pub(super) fn endpoint(configured: Option<&Url>, settings: &ApnsSettings) -> Result<Url, String> {
    let host = if settings.sandbox { SANDBOX } else { PRODUCTION };
    let url = match configured {
        Some(url) => url.clone(),
        None => Url::parse(&format!("https://{host}:{}", settings.port)).map_err(|error| error.to_string())?,
    };
    let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if is_bare && url.username().is_empty() && url.password().is_none() {
        Ok(url)
    } else {
        // Not quoted: it may hold a password.
        Err("the endpoint must be `https://host:port` and nothing more; the path is Apple's".to_owned())
    }
}

impl fmt::Debug for Apns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Apns")
            .field("addressing", &self.addressing)
            .field("identity", &self.identity)
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}
