//! Methods and paths, as github.com/gorilla/mux routes them: 404 in Go's words, 405 without any.

use pushrelay::app::BUILD;
use reqwest::Method;
use serde_json::json;

use super::case::{Answer, Body, Case, to_apple};

const SEND_PUSH: &str = "/api/v1/send_push";
const ACK: &str = "/api/v1/ack";

fn not_found() -> Answer {
    Answer {
        status: 404,
        content_type: Some("text/plain; charset=utf-8"),
        body: Body::Exactly("404 page not found\n".into()),
    }
}

fn not_allowed() -> Answer {
    Answer { status: 405, content_type: None, body: Body::Exactly(String::new()) }
}

const NOT_FOUND: &[(&str, &str)] = &[
    ("GET", "/nonsense"),
    ("POST", "/nonsense"),
    ("PUT", "/nonsense"),
    ("GET", "/favicon.ico"),
    ("GET", "/api"),
    ("GET", "/api/v1"),
    ("GET", "/api/v1/"),
    ("POST", "/api/v1"),
    ("POST", "/api/v1/nonsense"),
    ("GET", "/api/v1/nonsense"),
    ("POST", "/api/v2/send_push"),
    ("POST", "/send_push"),
    ("POST", "/ack"),
    ("POST", "/api/v1/send_push/"),
    ("GET", "/api/v1/send_push/"),
    ("POST", "/api/v1/ack/"),
    ("POST", "/api/v1/send_push/more"),
    ("POST", "/api/v1/Send_Push"),
    ("POST", "/API/V1/SEND_PUSH"),
    ("POST", "/api/v1/send-push"),
    ("GET", "/version/"),
    ("GET", "/Version"),
    ("GET", "/index.html"),
];

const NOT_ALLOWED: &[(&str, &str)] = &[
    ("GET", SEND_PUSH),
    ("GET", "/api/v1/send_push?device_id=1"),
    ("HEAD", SEND_PUSH),
    ("PUT", SEND_PUSH),
    ("PATCH", SEND_PUSH),
    ("DELETE", SEND_PUSH),
    ("OPTIONS", SEND_PUSH),
    ("PROPFIND", SEND_PUSH),
    ("GET", ACK),
    ("HEAD", ACK),
    ("PUT", ACK),
    ("DELETE", ACK),
    ("OPTIONS", ACK),
    ("POST", "/"),
    ("PUT", "/"),
    ("DELETE", "/"),
    ("OPTIONS", "/"),
    ("POST", "/version"),
    ("PUT", "/version"),
    ("DELETE", "/version"),
    ("OPTIONS", "/version"),
];

/// A request with a body that would be sent where it belongs.
fn request(method: &str, path: &'static str, answer: Answer) -> Case {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let name = format!("{method} {path}");
    Case { method, path, answer, ..to_apple(name, &json!({}), &json!({})) }.unheard()
}

impl Case {
    fn unheard(self) -> Self {
        let answer = self.answer.clone();
        self.refused(answer)
    }
}

pub fn cases() -> Vec<Case> {
    let page = Answer {
        status: 200,
        content_type: Some("text/html; charset=utf-8"),
        body: Body::Exactly("<html><body>Mattermost Push Proxy</body></html>".into()),
    };
    let version = Answer {
        status: 200,
        content_type: Some("application/json"),
        body: Body::Exactly(format!("{{\"hash\":\"{}\",\"version\":\"{}\"}}\n", BUILD.hash, BUILD.version)),
    };
    let mut cases = vec![
        request("GET", "/", page.clone()),
        request("GET", "/?probe=1", page),
        request("GET", "/version", version.clone()),
        request("GET", "/version?x", version),
        Case {
            path: "/api/v1/send_push?a=b&c",
            ..to_apple("POST /api/v1/send_push with a query", &json!({}), &json!({}))
        },
        Case {
            path: "/api/v1/ack?a=b",
            ..Case::ack("POST /api/v1/ack with a query", r#"{"id":"a","platform":"ios","type":"message"}"#)
        },
    ];
    cases.extend(NOT_FOUND.iter().map(|(method, path)| request(method, path, not_found())));
    cases.extend(NOT_ALLOWED.iter().map(|(method, path)| request(method, path, not_allowed())));
    cases
}
