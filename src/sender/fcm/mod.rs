//! Firebase Cloud Messaging, HTTP v1: one attempt at a time, from access token to verdict.
//!
//! Firebase is moving from registration tokens to installation ids (`fid` beside `token`): that is a matter of
//! [`payload`] and of `Notification::device`, not of this.

mod account;
mod client;
mod grant;
mod native;
mod oauth;
pub mod payload;
#[cfg(test)]
mod tests;
mod trouble;
mod verdict;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, header};
use tokio::time::{Instant, timeout};
use url::Url;

pub use account::{ServiceAccount, ServiceAccountError};

use self::client::{Peer, PeerError};
use self::oauth::{AccessToken, AccessTokens};
use super::transport::{NoWay, Patience, Response, Trouble};
use super::{SetupError, TargetSettings};
use crate::clock::Clock;
use crate::notification::{Compatibility, Content, Notification};
use crate::outcome::{Attempt, FcmMessageId, ProviderId, Reason, Scope, Verdict};

/// Google's own address.
const ENDPOINT: &str = "https://fcm.googleapis.com";

/// A message that Google checks and does not send, to a device token that cannot be one: none holds spaces.
const FOR_NOBODY: &[u8] = br#"{"validate_only":true,"message":{"token":"not a registration token"}}"#;

/// What an FCM target needs.
#[derive(Clone, Debug)]
pub struct FcmSettings {
    /// Who sends.
    pub account: ServiceAccount,
}

/// Sends to one project.
pub struct Fcm {
    compatibility: Compatibility,
    clock: Clock,
    project: String,
    endpoint: Peer,
    tokens: Arc<AccessTokens>,
}

/// The body of a send, or why there is none. Private: it holds the device token and the text.
pub struct Prepared(Result<Bytes, Reason>);

impl Prepared {
    /// Why there is nothing to send.
    pub(super) fn unfit(&self) -> Option<Reason> {
        self.0.as_ref().err().copied()
    }
}

impl Fcm {
    /// Sets a project up. Opens no connection and asks for no token yet.
    pub fn new(target: &TargetSettings, settings: &FcmSettings, clock: &Clock) -> Result<Self, SetupError> {
        let failed = |problem: String| SetupError { target: target.name.clone(), problem };
        let account = settings.account.clone();
        let network = &target.network;
        let url = send_url(network.endpoint.as_ref(), account.project_id()).ok_or_else(|| {
            failed("`endpoint` must be an https address without a path (http only for a loopback address)".to_owned())
        })?;
        let peers = network.tls_config(None).map_err(PeerError::from).and_then(|tls| {
            let tokens = Peer::new(account.token_uri().clone(), network, &tls, 1)?;
            Ok((Peer::new(url, network, &tls, network.connections.max(1))?, tokens))
        });
        let (endpoint, tokens) = peers.map_err(|error: PeerError| failed(error.to_string()))?;
        Ok(Self {
            compatibility: target.compatibility,
            clock: clock.clone(),
            project: account.project_id().to_owned(),
            endpoint,
            tokens: AccessTokens::new(account, tokens, clock.clone()),
        })
    }

    /// Builds the body. `remaining` is as in [`super::Sender::prepare`].
    pub fn prepare(&self, notification: &Notification, remaining: Option<Duration>) -> Prepared {
        Prepared(match &notification.content {
            Content::Mattermost(content) => Ok(payload::build(notification, content, self.compatibility, remaining)),
            Content::Native(message) => native::build(message, &notification.device, remaining),
        })
    }

    /// A message that reaches no phone, to see what Google says to whoever sends it.
    pub(super) fn prepare_for_nobody() -> Prepared {
        Prepared(Ok(Bytes::from_static(FOR_NOBODY)))
    }

    /// Makes one attempt. Google asks for at least 10 s until the answer.
    pub async fn attempt(&self, prepared: &Prepared, patience: Patience, no_way: NoWay) -> Attempt {
        let body = match &prepared.0 {
            Ok(body) => body,
            Err(reason) => return Attempt::unanswered(Verdict::Rejected { reason }),
        };
        let started = Instant::now();
        let token = match timeout(patience.to_send, self.tokens.get()).await {
            Ok(Ok(token)) => token,
            Ok(Err(failure)) => return Attempt::unanswered(failure.verdict),
            Err(_) => return Attempt::unanswered(retry(trouble::token_reason(Trouble::Timeout), true)),
        };
        let attempt = self.send(body, &token, patience.after(started.elapsed()), no_way).await;
        if matches!(attempt.verdict, Verdict::NewCredential { .. }) {
            self.tokens.discard(&token);
        }
        attempt
    }

    /// What the OAuth endpoint last refused the account for, until it grants a token again.
    pub fn credential_problem(&self) -> Option<String> {
        self.tokens.problem()
    }

    async fn send(&self, body: &Bytes, token: &AccessToken, patience: Patience, no_way: NoWay) -> Attempt {
        let answered = self.endpoint.post(Some(&token.header), "application/json", body, patience, no_way).await;
        let Response { status, headers, body } = match answered {
            Ok(response) => response,
            Err(error) => return Attempt::unanswered(retry(error.reason.as_str(), error.unprocessed)),
        };
        let retry_after =
            headers.get(header::RETRY_AFTER).and_then(|text| verdict::retry_after(text, self.clock.unix_seconds()));
        let is_json =
            headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        let name = body.as_deref().ok().filter(|_| status == StatusCode::OK).and_then(verdict::message_name);
        let id = name.and_then(FcmMessageId::of_name).map(ProviderId::Fcm);
        Attempt::answered(judge(status, body, is_json, retry_after)).under(id)
    }
}

/// What an answer means whose body may not have come whole.
fn judge(status: StatusCode, body: Result<Bytes, Trouble>, is_json: bool, retry_after: Option<Duration>) -> Verdict {
    match body {
        // Google's, by its kind: to send it again would wake the phone twice.
        Err(_) if status == StatusCode::OK && is_json => Verdict::Delivered,
        Ok(body) => verdict::classify(status, &body, retry_after),
        // Of these the body decides, and half a one could tell the wrong thing about a phone or a target.
        Err(trouble) if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
            retry(trouble.as_str(), false)
        }
        Err(_) => verdict::classify(status, &[], retry_after),
    }
}

fn retry(reason: Reason, unprocessed: bool) -> Verdict {
    Verdict::Retry { reason, after: None, scope: Scope::Target, unprocessed }
}

/// `None` if the endpoint cannot be used.
pub(super) fn send_url(endpoint: Option<&Url>, project: &str) -> Option<Url> {
    let mut url = match endpoint {
        Some(endpoint) => endpoint.clone(),
        None => Url::parse(ENDPOINT).ok()?,
    };
    let bare = url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if !bare || !account::is_safe(&url) {
        return None;
    }
    url.set_path(&format!("/v1/projects/{project}/messages:send"));
    Some(url)
}

impl fmt::Debug for Fcm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fcm").field("project", &self.project).finish_non_exhaustive()
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Ok(body) => write!(f, "Prepared([private], {} bytes)", body.len()),
            Err(reason) => write!(f, "Prepared({reason})"),
        }
    }
}
