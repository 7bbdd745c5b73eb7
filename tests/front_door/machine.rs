//! What a machine does to the process: signals at any moment, limits of the system, connections that nobody uses.

use std::time::Duration;

use pushrelay::admission::signing::SigningKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::process::{Process, Stage};
use crate::support::push::apple_token;
use crate::support::{Answer, PATIENCE, Plan, Push, Scene};

const SERVE: [&str; 3] = ["serve", "--config", "pushrelay.toml"];

/// The signals that a process has taken over, by `/proc/ID/status`: one bit for each, the first for signal 1.
fn caught(relay: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", relay.id())).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_comes_while_the_relay_starts_is_kept_for_when_it_runs() {
    let stage = Stage::set("").await;
    let mut relay = stage.serve();
    // Nothing is bound yet, and no credential is read.
    relay.wait_for("configuration read");
    for (number, name) in [(1, "SIGHUP"), (2, "SIGINT"), (15, "SIGTERM"), (25, "SIGXFSZ")] {
        assert!(caught(&relay) & (1 << (number - 1)) != 0, "{name} would end the process");
    }
    relay.signal("HUP");
    let address = relay.address();
    // It does what it asks for.
    relay.wait_for("chat servers were read again");
    stage.post(address, &Push::apple(&apple_token(1))).await.unwrap().expect_ok();
    relay.signal("TERM");
    let (status, output) = relay.end();
    assert_eq!(status.code(), Some(0), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_told_to_stop_while_it_starts_stops_well() {
    let stage = Stage::set("").await;
    let mut relay = stage.serve();
    relay.wait_for("configuration read");
    relay.signal("TERM");
    let (status, output) = relay.end();
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(output.contains("stop"), "{output}");
}

/// Fewer descriptors than callers want; `http.max_connections` asks for far more.
const DESCRIPTORS: &str = "-n 256";

#[tokio::test(flavor = "multi_thread")]
async fn callers_cannot_take_the_descriptors_that_providers_need() {
    let stage = Stage::set("").await;
    let mut relay = Process::start_limited(DESCRIPTORS, &SERVE, stage.folder.path());
    let warning = relay.wait_for("too few file descriptors");
    assert!(warning.contains("http.max_connections = 16384") && warning.contains("LimitNOFILE"), "{warning}");
    let address = relay.address();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let get = async |path: &str| {
        let response = client.get(format!("http://{address}{path}")).send().await.unwrap();
        response.text().await.unwrap()
    };
    assert!(get("/healthz").await.contains("ok"));

    let silent: Vec<_> = (0..400).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    // As many as it takes are open: each quarter of its descriptors.
    let open = r#"pushrelay_connections{listener="ingest"} 64"#;
    let full = async {
        while !get("/metrics").await.lines().any(|line| line == open) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, full).await.expect("it takes as many as it may");

    // No connection to a provider is open yet, and no name was looked up.
    for push in [Push::apple(&apple_token(1)), Push::android("phone-1")] {
        let url = format!("http://{address}/api/v1/send_push");
        let response = client.post(url).body(body(&push, &stage.key)).send().await.unwrap();
        Answer::read(response).await.expect_ok();
    }
    drop(silent);
}

fn body(push: &Push, key: &SigningKey) -> String {
    push.body(key).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_that_a_process_may_not_open_as_many_files_as_the_configuration_asks_for() {
    let stage = Stage::set("").await;
    for (limit, is_told) in [(DESCRIPTORS, true), ("-S -n 256", false)] {
        let arguments = ["check", "--offline", "--config", "pushrelay.toml"];
        let (status, output) = Process::start_limited(limit, &arguments, stage.folder.path()).end();
        assert!(status.success(), "{output}");
        assert_eq!(output.contains("file descriptors (ulimit -n)"), is_told, "{limit}: {output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_requests_is_closed_when_the_configured_time_is_over() {
    let scene = Scene::new(Plan { tables: "[http]\nidle_timeout = \"1s\"\n".into(), ..Plan::default() }).await;
    // Shorter than the 120 seconds that hold otherwise, longer than any machine needs.
    let closes = async |stream: &mut TcpStream| {
        let mut rest = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the relay hangs up").unwrap();
        String::from_utf8(rest).unwrap()
    };
    let mut silent = TcpStream::connect(scene.relay).await.unwrap();
    assert_eq!(closes(&mut silent).await, "");
    let mut asked = TcpStream::connect(scene.relay).await.unwrap();
    asked.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(closes(&mut asked).await.starts_with("HTTP/1.1 200"));

    let (requests, connection) = h2::client::handshake(TcpStream::connect(scene.relay).await.unwrap()).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut requests = requests.ready().await.unwrap();
    let request = http::Request::get("http://x/healthz").body(()).unwrap();
    assert_eq!(requests.send_request(request, true).unwrap().0.await.unwrap().status(), 200);
    // An orderly end, by GOAWAY.
    tokio::time::timeout(PATIENCE, connection).await.expect("the relay hangs up").unwrap().unwrap();
}

/// One more than there are places for operators, of each kind of caller that keeps a place and asks nothing.
const KEPT_PLACES: usize = 65;

#[tokio::test(flavor = "multi_thread")]
async fn watchers_and_sockets_that_ask_nothing_leave_probes_a_place_on_the_operators_address() {
    let stage = Stage::set("[ops]\nlisten = \"127.0.0.1:0\"\n").await;
    let mut relay = stage.serve();
    let line: serde_json::Value = serde_json::from_str(&relay.wait_for("listening")).unwrap();
    let ops: std::net::SocketAddr = line["ops"].as_str().unwrap().parse().unwrap();
    let opened = async |words: &str| {
        let mut stream = TcpStream::connect(ops).await.unwrap();
        stream.write_all(words.as_bytes()).await.unwrap();
        stream
    };
    let watch = "GET /status/events HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
    let mut watchers = Vec::new();
    for _ in 0..32 {
        let mut watcher = opened(watch).await;
        let mut begin = [0; 12];
        watcher.read_exact(&mut begin).await.unwrap();
        assert_eq!(&begin, b"HTTP/1.1 200");
        watchers.push(watcher);
    }
    let mut kept = Vec::new();
    for words in ["", "GET /hea", "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        for _ in 0..KEPT_PLACES {
            kept.push(opened(words).await);
        }
        for path in ["/healthz", "/readyz", "/metrics"] {
            let mut probe = opened(&format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
            let mut answer = String::new();
            let read = tokio::time::timeout(PATIENCE, probe.read_to_string(&mut answer)).await;
            read.unwrap_or_else(|_| panic!("{path} finds no place beside those that said {words:?}")).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
    }
    // None of the watchers had to leave.
    for watcher in &mut watchers {
        let mut events = String::new();
        let more = async {
            let mut part = [0; 8 * 1024];
            while events.matches("event:").count() < 2 {
                let read = watcher.read(&mut part).await.unwrap();
                assert!(read > 0, "a watcher was cut off");
                events.push_str(&String::from_utf8_lossy(&part[..read]));
            }
        };
        tokio::time::timeout(PATIENCE, more).await.expect("events go on");
    }
}
