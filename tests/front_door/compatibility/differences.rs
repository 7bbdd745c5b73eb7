//! Where the relay goes its own way even in strict mode, and why.

use pushrelay::simulator::{Action, Fault, Provider, Refuse};
use reqwest::Method;
use serde_json::{Value, json};

use super::case::{Answer, Body, Case, fail, remove, to_apple};

pub fn cases() -> Vec<Case> {
    let iphone = |name: &str| to_apple(name, &json!({}), &json!({}));
    let nothing = |status, content_type| Answer { status, content_type, body: Body::Exactly(String::new()) };
    let html = Some("text/html; charset=utf-8");
    vec![
        // The reference fails, again and again: it was written before Apple had a second word for a dead token.
        iphone("difference: 410 ExpiredToken gives the token up")
            .but(Fault::answer(410, "ExpiredToken").on(Provider::Apns))
            .refused(remove()),
        // The reference looks at the reason alone. Apple does not document these pairs, and a wrong REMOVE silences a
        // phone.
        iphone("difference: 400 Unregistered does not give the token up")
            .but(Fault::answer(400, "Unregistered").on(Provider::Apns))
            .refused(fail("unknown send response error")),
        // In the reference's library an answer that is no JSON counts as none, whoever stood in the way.
        iphone("difference: an answer in markup is an answer")
            .but(
                Fault::new(Action::Answer(Refuse {
                    status: 502,
                    body: Some("<html>".to_owned()),
                    ..Refuse::default()
                }))
                .on(Provider::Apns),
            )
            .refused(fail("unknown send response error")),
        // The reference's router answers HEAD with 405 where it answers GET. Probes ask with HEAD.
        Case { method: Method::HEAD, path: "/", answer: nothing(200, html), ..Case::push("difference: HEAD /", "") },
        Case {
            method: Method::HEAD,
            path: "/version",
            answer: nothing(200, Some("application/json")),
            ..Case::push("difference: HEAD /version", "")
        },
        // There it is redirected with a 301, upon which clients ask again with GET and hear 405.
        Case {
            path: "//api/v1/send_push",
            answer: Answer {
                status: 404,
                content_type: Some("text/plain; charset=utf-8"),
                body: Body::Exactly("404 page not found\n".to_owned()),
            },
            ..Case::push("difference: a slash too many", "{}")
        },
        // Go refuses to read an integer from it: it wants no fraction, not even an empty one.
        Case::push("difference: a negative zero with a fraction is a zero", hi(r#""badge":-0.0"#)).alert(said_hi()),
        // Go gives up at 10,000 levels, to protect its stack. Here nothing recurses, and the body's size is the bound.
        Case::push(
            "difference: 10,001 levels are skipped",
            hi(&format!("\"x\":{}{}", "[".repeat(10_001), "]".repeat(10_001))),
        )
        .alert(said_hi()),
    ]
}

fn hi(more: &str) -> String {
    format!(
        r#"{{"server_id":"server-1","device_id":"TOKEN","platform":"apple_rn","type":"message","message":"hi",{more}}}"#
    )
}

fn said_hi() -> Value {
    json!({
        "aps": {"alert": "hi", "badge": 0, "content-available": 1, "mutable-content": 1, "sound": "default"},
        "type": "message",
        "sub_type": "",
        "server_id": "server-1",
        "is_crt_enabled": false,
        "signature": "NO_SIGNATURE",
        "version": "",
    })
}
