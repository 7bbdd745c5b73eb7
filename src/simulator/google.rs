//! Google's two endpoints: who holds which access token, and the way to the message check and the token grant.
//!
//! Owns the access tokens and Google's error form (Firebase, "FCM error codes"; Google AIP-193). Bodies are checked
//! in `fcm_message`, assertions in `assertion`.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use http::Method;
use http::header::HeaderName;
use serde_json::{Value, json};

use super::assertion;
use super::exchange::{Acceptable, Answer, Body, Refused, Request};
use super::fcm_message;
use super::settings::FcmAccount;

/// Seconds an access token is good for, as Google says it in `expires_in`.
const TOKEN_LIFE: u64 = 3_599;
/// Access tokens kept. Each lives an hour; a relay asks for one an hour and account.
const MAX_TOKENS: usize = 10_000;

struct Granted {
    project_id: String,
    expires_at: u64,
}

/// Google, as far as it decides about requests.
pub(super) struct Google {
    accounts: Vec<FcmAccount>,
    audiences: Vec<String>,
    tokens: Mutex<HashMap<String, Granted>>,
}

impl Google {
    /// `audiences`: the addresses of the token endpoint, one of which an assertion must name.
    pub(super) fn new(accounts: Vec<FcmAccount>, audiences: Vec<String>) -> Self {
        Self { accounts, audiences, tokens: Mutex::default() }
    }

    /// `POST /token`: an assertion for an access token (RFC 7523).
    pub(super) fn grant(&self, request: &Request, now: u64) -> Result<Acceptable, Refused> {
        let body = match &request.body {
            Body::Complete(body) if request.method == Method::POST => body,
            _ => return Err(oauth_refusal("invalid_request", "POST a form of a few kilobytes")),
        };
        let account = assertion::check(&self.accounts, &self.audiences, body, now)
            .map_err(|refused| oauth_refusal(refused.error, refused.description))?;
        let token = format!("ya29.simulated-{}", uuid::Uuid::new_v4().simple());
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= MAX_TOKENS {
            tokens.retain(|_, granted| granted.expires_at > now);
            if tokens.len() >= MAX_TOKENS {
                return Err(oauth_refusal("temporarily_unavailable", "10,000 access tokens are alive"));
            }
        }
        let granted = Granted { project_id: account.project_id.clone(), expires_at: now.saturating_add(TOKEN_LIFE) };
        tokens.insert(token.clone(), granted);
        let answer = json!({"access_token": token, "expires_in": TOKEN_LIFE, "token_type": "Bearer"});
        Ok(Acceptable {
            id: String::new(),
            device_token: String::new(),
            topic: account.project_id.clone(),
            dry_run: false,
            answer: Answer::json(200, &answer),
        })
    }

    /// Forgets every access token: the next message hears 401.
    pub(super) fn revoke_tokens(&self) {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// `POST /v1/projects/{project}/messages:send`: the device token as far as there is one, and the verdict.
    pub(super) fn check(&self, request: &Request, now: u64) -> (String, Result<Acceptable, Refused>) {
        let project = request
            .path
            .strip_prefix("/v1/projects/")
            .and_then(|rest| rest.strip_suffix("/messages:send"))
            .filter(|project| !project.is_empty() && !project.contains('/'));
        let Some(project) = project.filter(|_| request.method == Method::POST) else {
            return (String::new(), Err(not_found("no such method: POST /v1/projects/<project>/messages:send")));
        };
        if let Err(refused) = self.authorize(request, project, now) {
            return (String::new(), Err(refused));
        }
        let Body::Complete(body) = &request.body else {
            return (String::new(), Err(refusal(400, "", "Request payload size exceeds the limit.")));
        };
        match fcm_message::check(body) {
            Ok(message) => {
                let name = if message.validate_only {
                    // What Google writes in a message's place that it has not sent.
                    format!("projects/{project}/messages/fake_message_id")
                } else {
                    format!("projects/{project}/messages/0:{}", uuid::Uuid::new_v4().simple())
                };
                let acceptable = Acceptable {
                    answer: Answer::json(200, &json!({"name": name})),
                    id: name,
                    device_token: message.device_token.clone(),
                    topic: project.to_owned(),
                    dry_run: message.validate_only,
                };
                (message.device_token, Ok(acceptable))
            }
            Err(complaint) => {
                let answer = Answer::json(400, &complaint.to_json());
                let (device_token, why) = (complaint.device_token, complaint.message);
                (device_token, Err(Refused { status: 400, reason: "INVALID_ARGUMENT".into(), why, answer }))
            }
        }
    }

    fn authorize(&self, request: &Request, project: &str, now: u64) -> Result<(), Refused> {
        let value = request.headers.get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = match value.and_then(|value| value.split_once(' ')) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token,
            _ => return Err(unauthenticated("Request is missing required authentication credential.")),
        };
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(granted) = tokens.get(token).filter(|granted| granted.expires_at > now) else {
            return Err(unauthenticated("Request had invalid authentication credentials."));
        };
        if granted.project_id == project {
            return Ok(());
        }
        if self.accounts.iter().any(|account| account.project_id == project) {
            Err(refusal(403, "", &format!("Permission 'cloudmessaging.messages.create' denied on project {project}.")))
        } else {
            Err(not_found(&format!("Project {project} was not found.")))
        }
    }
}

/// Google's word for an HTTP status (`google.rpc.Code`).
pub(super) fn status_word(status: u16) -> &'static str {
    match status {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        500 => "INTERNAL",
        503 => "UNAVAILABLE",
        _ => "UNKNOWN",
    }
}

/// Google's error form; `code` is FCM's own word for it, or empty for an error of the layers before FCM.
pub(super) fn error_answer(status: u16, code: &str, message: &str) -> Answer {
    let mut details = Vec::new();
    if !code.is_empty() {
        details.push(json!({"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code}));
    }
    Answer::json(status, &error_body(status, message, &details))
}

pub(super) fn error_body(status: u16, message: &str, details: &[Value]) -> Value {
    let mut error = json!({"code": status, "message": message, "status": status_word(status)});
    if !details.is_empty() {
        error["details"] = details.into();
    }
    json!({"error": error})
}

fn refusal(status: u16, code: &str, message: &str) -> Refused {
    let reason = if code.is_empty() { status_word(status) } else { code };
    Refused { status, reason: reason.to_owned(), why: message.to_owned(), answer: error_answer(status, code, message) }
}

fn not_found(message: &str) -> Refused {
    refusal(404, "", message)
}

fn unauthenticated(message: &str) -> Refused {
    let mut refused = refusal(401, "", message);
    let challenge = "Bearer realm=\"https://accounts.google.com/\"";
    refused.answer = refused.answer.with(HeaderName::from_static("www-authenticate"), challenge);
    refused
}

fn oauth_refusal(error: &'static str, description: &'static str) -> Refused {
    Refused {
        status: 400,
        reason: error.to_owned(),
        why: description.to_owned(),
        answer: Answer::json(400, &json!({"error": error, "error_description": description})),
    }
}
