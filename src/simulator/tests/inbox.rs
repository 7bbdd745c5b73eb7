//! The page, its JSON and events, and the control API.

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::{Push, Stage, device, http1, soon};
use crate::simulator::card::{Kind, card};
use crate::simulator::{Provider, Push as Taken};

async fn ask(stage: &Stage, method: &str, path: &str, body: &str) -> (String, String) {
    let stream = TcpStream::connect(stage.simulator.inbox_address()).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    http1(stream, &request).await
}

async fn get(stage: &Stage, path: &str) -> Value {
    let (head, body) = ask(stage, "GET", path, "").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test]
async fn the_page_forbids_everything_but_its_own_files() {
    let stage = Stage::set().await;
    for (path, kind) in [("/", "text/html"), ("/inbox.css", "text/css"), ("/inbox.js", "text/javascript")] {
        let (head, body) = ask(&stage, "GET", path, "").await;
        assert!(head.starts_with("HTTP/1.1 200") && head.contains(kind), "{head}");
        assert!(head.contains("content-security-policy: default-src 'none'; script-src 'self'; style-src 'self';"));
        assert!(!head.contains("unsafe-inline"), "{head}");
        assert!(head.contains("x-content-type-options: nosniff"), "{head}");
        assert!(!body.is_empty());
    }
    let (_, page) = ask(&stage, "GET", "/", "").await;
    assert!(!page.contains("<style") && !page.contains(" style=") && !page.contains(" onclick="), "CSP forbids inline");
    assert!(!page.contains("http://") && !page.contains("https://"), "nothing comes from elsewhere");
}

#[tokio::test]
async fn a_health_check_hears_that_all_is_well() {
    let stage = Stage::set().await;
    assert_eq!(get(&stage, "/healthz").await, json!({"status": "ok"}));
}

#[tokio::test]
async fn another_host_name_is_turned_away() {
    let stage = Stage::set().await;
    let ask = async |host: &str| {
        let stream = TcpStream::connect(stage.simulator.inbox_address()).await.unwrap();
        let request = format!("GET /pushes HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        http1(stream, &request).await.0[9..12].to_owned()
    };
    for host in ["localhost", "localhost:8080", "127.0.0.1:1", "[::1]:80", "[::1]"] {
        assert_eq!(ask(host).await, "200", "{host}");
    }
    for host in ["evil.example", "evil.example:80", "localhost.evil.example", "10.0.0.1"] {
        assert_eq!(ask(host).await, "403", "{host}");
    }
}

/// What a browser lets a page of any site do is to post a form's types without asking, and to ask for everything else.
#[tokio::test]
async fn a_page_of_another_site_can_change_nothing_and_read_nothing() {
    let stage = Stage::set().await;
    let ask = async |line: &str, header: &str, body: &str| {
        let stream = TcpStream::connect(stage.simulator.inbox_address()).await.unwrap();
        let request = format!(
            "{line} HTTP/1.1\r\nhost: localhost\r\n{header}\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        http1(stream, &request).await.0
    };
    let fault = r#"{"action": {"stall": "stream"}}"#;
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        for site in ["origin: https://evil.example", "origin: null", "sec-fetch-site: cross-site"] {
            let head = ask("POST /control/faults", &format!("{site}\r\ncontent-type: {kind}"), fault).await;
            assert!(head.starts_with("HTTP/1.1 415"), "{site} {kind}: {head}");
        }
    }
    for path in ["/pushes", "/control/faults"] {
        let head = ask(
            &format!("OPTIONS {path}"),
            "origin: https://evil.example\r\naccess-control-request-method: DELETE",
            "",
        )
        .await;
        assert!(head.starts_with("HTTP/1.1 405") && !head.contains("access-control-allow"), "{head}");
        let head = ask(&format!("GET {path}"), "origin: https://evil.example\r\naccept: */*", "").await;
        assert!(head.starts_with("HTTP/1.1 200") && !head.contains("access-control-allow"), "{head}");
    }
    assert_eq!(get(&stage, "/control/faults").await["faults"], json!([]));
}

#[tokio::test]
async fn pushes_are_listed_newest_first_and_can_be_cleared() {
    let stage = Stage::set().await;
    let mut client = stage.apns().await;
    for number in 1..=2 {
        client.push(Push::to(&device(number))).await;
    }
    client.push(Push::to(&device(3)).without("apns-topic")).await;
    let listed = get(&stage, "/pushes").await;
    assert_eq!(listed["pushes"][0]["device_token"], device(2));
    assert_eq!(listed["pushes"][1]["device_token"], device(1));
    assert_eq!(listed["pushes"][0]["card"]["body"], "hello");
    assert_eq!(listed["pushes"][0]["payload"], json!({"aps": {"alert": "hello"}}));
    assert_eq!(listed["pushes"][0]["headers"]["apns-push-type"], "alert");
    assert_eq!(listed["refused"][0]["reason"], "MissingTopic");
    assert_eq!(listed["counts"]["accepted"], 2);

    assert!(ask(&stage, "DELETE", "/pushes", "").await.0.starts_with("HTTP/1.1 204"));
    assert_eq!(get(&stage, "/pushes").await["pushes"], json!([]));
}

#[tokio::test]
async fn events_tell_of_pushes_as_they_come() {
    let stage = Stage::set().await;
    let mut stream = BufReader::new(TcpStream::connect(stage.simulator.inbox_address()).await.unwrap());
    stream.write_all(b"GET /events HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut next = async |wanted: &str| loop {
        let mut line = String::new();
        assert_ne!(soon(stream.read_line(&mut line)).await.unwrap(), 0, "the stream ended before {wanted}");
        if line.contains(wanted) {
            return line;
        }
    };
    next("event: hello").await;
    let mut client = stage.apns().await;
    client.push(Push::to(&device(1))).await;
    next("event: accepted").await;
    let data = next("data: ").await;
    let event: Value = serde_json::from_str(data.trim_start_matches("data: ")).unwrap();
    assert_eq!(event["device_token"], device(1));
    client.push(Push::to(&device(1)).without("apns-topic")).await;
    next("event: refused").await;
    stage.simulator.ledger().clear();
    next("event: reload").await;
    soon(stage.simulator.stop()).await;
}

#[tokio::test]
async fn faults_are_set_read_and_removed_over_http() {
    let stage = Stage::set().await;
    let fault = json!({"provider": "apns", "times": 1, "action": {"status": 500, "reason": "InternalServerError"}});
    let (head, _) = ask(&stage, "POST", "/control/faults", &fault.to_string()).await;
    assert!(head.starts_with("HTTP/1.1 201"), "{head}");
    assert_eq!(get(&stage, "/control/faults").await["faults"][0]["action"]["status"], 500);
    assert_eq!(stage.apns().await.push(Push::to(&device(1))).await.status, 500);
    assert_eq!(get(&stage, "/control/faults").await["faults"], json!([]));

    ask(&stage, "POST", "/control/faults", r#"{"action": {"stall": "stream"}}"#).await;
    assert!(ask(&stage, "DELETE", "/control/faults", "").await.0.starts_with("HTTP/1.1 204"));
    assert_eq!(stage.apns().await.push(Push::to(&device(1))).await.status, 200);

    let (head, body) = ask(&stage, "POST", "/control/faults", r#"{"action": {}}"#).await;
    assert!(head.starts_with("HTTP/1.1 422") && body.contains("exactly one of"), "{head} {body}");

    // As `curl -d` sends it.
    for kind in ["", "content-type: application/x-www-form-urlencoded\r\n"] {
        let stream = TcpStream::connect(stage.simulator.inbox_address()).await.unwrap();
        let fault = fault.to_string();
        let request = format!(
            "POST /control/faults HTTP/1.1\r\nhost: localhost\r\n{kind}connection: close\r\ncontent-length: {}\r\n\r\n{fault}",
            fault.len()
        );
        let (head, _) = http1(stream, &request).await;
        assert!(head.starts_with("HTTP/1.1 201"), "{kind}: {head}");
    }
}

fn taken(provider: Provider, push_type: &str, body: &Value) -> Taken {
    Taken {
        number: 1,
        provider,
        at_ms: 0,
        connection: 1,
        stream: 1,
        id: String::new(),
        device_token: String::new(),
        topic: String::new(),
        headers: vec![("apns-push-type".into(), push_type.into())],
        body: body.to_string().into(),
        repeat: false,
    }
}

#[test]
fn a_card_shows_what_the_phone_would() {
    let apns = |push_type: &str, body: Value| card(&taken(Provider::Apns, push_type, &body));
    let fcm = |data: Value| card(&taken(Provider::Fcm, "", &json!({"message": {"token": "t", "data": data}})));
    let cases = [
        (apns("alert", json!({"aps": {"alert": "hi", "badge": 3}, "channel_name": "Town"})), Kind::Alert, "Town", "hi"),
        (apns("alert", json!({"aps": {"alert": {"title": "Town", "body": "hi"}}})), Kind::Alert, "Town", "hi"),
        (apns("background", json!({"aps": {"content-available": 1}, "type": "clear"})), Kind::Silent, "clear", ""),
        (apns("voip", json!({"aps": {}, "sender_name": "ada", "channel_name": "Town"})), Kind::Call, "ada", "Town"),
        (fcm(json!({"type": "message", "channel_name": "Town", "message": "hi"})), Kind::Alert, "Town", "hi"),
        (fcm(json!({"type": "message", "sender_name": "Someone", "message": "hi"})), Kind::Alert, "Someone", "hi"),
        (fcm(json!({"type": "clear", "channel_name": "Town"})), Kind::Silent, "clear", ""),
        (fcm(json!({"sub_type": "calls", "message": "m", "sender_name": "ada"})), Kind::Call, "ada", ""),
    ];
    for (card, kind, title, body) in cases {
        assert_eq!((card.kind, card.title.as_str(), card.body.as_str()), (kind, title, body));
    }
    assert_eq!(apns("alert", json!({"aps": {"badge": 3}})).badge, Some(3));
    assert_eq!(fcm(json!({"badge": "4"})).badge, Some(4));
}
