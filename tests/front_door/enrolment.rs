//! How chat servers are registered with the real binary: by what they publish, and by what was learned from their pushes.

use std::convert::Infallible;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::reload::{ANEW, Tenant};
use super::*;

/// A Mattermost server as far as everybody may ask it, over TLS.
struct ChatServer {
    address: SocketAddr,
    published: Arc<Mutex<Value>>,
}

impl ChatServer {
    /// Its certificate signs for itself, and is put into `ca`.
    async fn start(tenant: &Tenant, ca: &Path) -> Self {
        let signed = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let known = fs::read_to_string(ca).unwrap_or_default();
        fs::write(ca, known + &signed.cert.pem()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(signed.signing_key.serialize_pem().as_bytes()).unwrap();
        let tls = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![signed.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let published = Arc::new(Mutex::new(Value::Null));
        let serving = Arc::clone(&published);
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (acceptor, published) = (acceptor.clone(), Arc::clone(&serving));
                tokio::spawn(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else { return };
                    let service = service_fn(move |request: Request<Incoming>| {
                        assert_eq!(request.uri().path(), "/api/v4/config/client");
                        let body = Bytes::from(published.lock().unwrap().to_string());
                        async move { Ok::<_, Infallible>(Response::new(Full::new(body))) }
                    });
                    let _ =
                        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tls), service).await;
                });
            }
        });
        let server = Self { address, published };
        server.publish(tenant);
        server
    }

    fn publish(&self, tenant: &Tenant) {
        let key = tenant.key.public_base64();
        *self.published.lock().unwrap() = json!({"DiagnosticId": tenant.id, "AsymmetricSigningPublicKey": key});
    }

    fn site(&self) -> String {
        format!("https://{}", self.address)
    }
}

/// Runs a command to its end: the exit code, and what it has printed.
fn run(stage: &Stage, arguments: &[&str]) -> (Option<i32>, String) {
    let arguments = [arguments, &["--config", "pushrelay.toml"]].concat();
    let (status, output) = Process::start(&arguments, stage.folder.path()).end();
    (status.code(), output)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_enrolled_by_what_it_publishes_and_may_send_until_it_is_disabled() {
    let stage = Stage::set("").await;
    let folder = stage.folder.path();
    let file = folder.join("servers.d/two.toml");
    let two = Tenant::new("chat-2");
    let chat = ChatServer::start(&two, &folder.join("chat-ca.pem")).await;
    let site = chat.site();
    let mut relay = stage.serve();
    let address = relay.address();
    assert_eq!(two.status(address).await, 401);

    // Nobody to ask, another id than the one that is meant, an authority that nobody knows: nothing is written.
    let enroll = ["enroll", site.as_str(), "--ca-file", "chat-ca.pem", "--name", "two"];
    for (more, words) in [(&[][..], "say --yes"), (&["--yes", "--id", "chat-3"][..], "calls itself chat-2")] {
        let (code, output) = run(&stage, &[&enroll[..], more].concat());
        assert_eq!((code, file.exists()), (Some(1), false), "{output}");
        assert!(output.contains(words) && output.contains(&two.key.verifying_key().fingerprint()), "{output}");
    }
    let (code, output) = run(&stage, &["enroll", &site, "--yes"]);
    assert_eq!((code, file.exists()), (Some(1), false), "{output}");
    assert!(output.contains("certificate is not trusted"), "{output}");
    let plain = site.replace("https", "http");
    let (code, output) = run(&stage, &["enroll", &plain, "--yes"]);
    assert!(code == Some(1) && output.contains("--insecure-http"), "{output}");

    let (code, output) = run(&stage, &[&enroll[..], &["--yes", "--id", "chat-2"]].concat());
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("servers.d/two.toml"), "{output}");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("# Registered 2") && text.contains(&format!("site = \"{site}\"")), "{text}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o022, 0, "others may not change it");
    relay.wait_for(ANEW);
    assert_eq!(two.status(address).await, 200);

    // Again: nothing to do. Nor is there anything that differs.
    let (code, output) = run(&stage, &enroll);
    assert!(code == Some(0) && output.contains("nothing has changed"), "{output}");
    let (code, output) = run(&stage, &["enroll", "--check", "--ca-file", "chat-ca.pem"]);
    assert!(code == Some(0) && output.contains("same"), "{output}");
    assert_eq!(fs::read_to_string(&file).unwrap(), text);

    // Disabled and enabled in place, with what people have written kept.
    fs::write(&file, format!("{text}# by hand\n")).unwrap();
    let (code, output) = run(&stage, &["servers", "disable", "two"]);
    assert_eq!(code, Some(0), "{output}");
    relay.wait_for(ANEW);
    assert_eq!(two.status(address).await, 403);
    let (code, output) = run(&stage, &["servers", "disable", "chat-2"]);
    assert!(code == Some(0) && output.contains("already"), "{output}");
    run(&stage, &["servers", "enable", "two"]);
    relay.wait_for(ANEW);
    assert_eq!(two.status(address).await, 200);
    assert!(fs::read_to_string(&file).unwrap().contains("# by hand\n"));

    relay.signal("TERM");
    assert_eq!(relay.end().0.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_is_shown_beside_the_old_one_and_written_only_after_a_confirmation() {
    let stage = Stage::set("").await;
    let folder = stage.folder.path();
    let file = folder.join("servers.d/two.toml");
    let (old, new, stranger) = (Tenant::new("chat-2"), Tenant::new("chat-2"), Tenant::new("chat-2"));
    let chat = ChatServer::start(&old, &folder.join("chat-ca.pem")).await;
    let site = chat.site();
    let ca = ["--ca-file", "chat-ca.pem"];
    let (code, output) = run(&stage, &[&["enroll", &site, "--name", "two", "--yes"][..], &ca].concat());
    assert_eq!(code, Some(0), "{output}");
    let text = fs::read_to_string(&file).unwrap();
    let mut relay = stage.serve();
    let address = relay.address();
    assert_eq!((old.status(address).await, new.status(address).await), (200, 401));

    // Somebody who calls himself the same, elsewhere: no confirmation helps.
    let other = ChatServer::start(&stranger, &folder.join("chat-ca.pem")).await;
    let (code, output) = run(&stage, &[&["enroll", &other.site(), "--yes"][..], &ca].concat());
    assert!(code == Some(1) && output.contains("takes a server's name"), "{output}");

    chat.publish(&new);
    let (code, output) = run(&stage, &[&["enroll", "--check"][..], &ca].concat());
    assert!(code == Some(1) && output.contains("DIFFERS: publishes the key"), "{output}");
    for command in [&["enroll", &site][..], &["servers", "rotate", "two"]] {
        let (code, output) = run(&stage, &[command, &ca].concat());
        assert_eq!(code, Some(1), "{output}");
        for tenant in [&old, &new] {
            assert!(output.contains(&tenant.key.verifying_key().fingerprint()), "{output}");
        }
        assert!(output.contains("a take-over") && output.contains("say --yes"), "{output}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), text, "nothing was changed by any of them");

    let (code, output) = run(&stage, &[&["servers", "rotate", "two", "--yes", "--grace", "1h"][..], &ca].concat());
    assert_eq!(code, Some(0), "{output}");
    relay.wait_for(ANEW);
    assert_eq!((old.status(address).await, new.status(address).await), (200, 200));
    let (_, output) = run(&stage, &["servers", "show", "two", "--json"]);
    let shown: Value = serde_json::from_str(&output).unwrap();
    assert_eq!(shown["keys"][0]["fingerprint"], new.key.verifying_key().fingerprint());
    assert_eq!((&shown["keys"][0]["until"], shown["keys"][1]["ended"].as_bool()), (&Value::Null, Some(false)));

    // At the same address, another server.
    chat.publish(&Tenant::new("chat-9"));
    let (code, output) = run(&stage, &[&["servers", "rotate", "two", "--yes"][..], &ca].concat());
    assert!(code == Some(1) && output.contains("calls itself chat-9 now"), "{output}");
    let (code, output) = run(&stage, &[&["enroll", "--check", &site][..], &ca].concat());
    assert!(code == Some(1) && output.contains("DIFFERS: calls itself chat-9"), "{output}");

    relay.signal("TERM");
    assert_eq!(relay.end().0.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_gives_no_key_to_a_server_that_is_registered_without_one() {
    let stage = Stage::set("").await;
    let folder = stage.folder.path();
    let file = folder.join("servers.d/two.toml");
    let (registered, stranger) = (Tenant::new("chat-2"), Tenant::new("chat-2"));
    let ca = ["--ca-file", "chat-ca.pem"];
    let chat = ChatServer::start(&registered, &folder.join("chat-ca.pem")).await;
    run(&stage, &[&["enroll", &chat.site(), "--name", "two", "--yes"][..], &ca].concat());
    // As it stands after `servers adopt`, or written by hand.
    let text = fs::read_to_string(&file).unwrap();
    let text =
        text.lines().filter(|line| !line.starts_with("site")).fold(String::new(), |text, line| text + line + "\n");
    fs::write(&file, &text).unwrap();

    chat.publish(&stranger);
    let (code, output) = run(&stage, &[&["enroll", &chat.site(), "--yes"][..], &ca].concat());
    assert!(code == Some(1) && output.contains("takes a server's name"), "{output}");
    assert_eq!(fs::read_to_string(&file).unwrap(), text);

    // With the registered key the address is believed, and noted.
    chat.publish(&registered);
    let (code, output) = run(&stage, &[&["enroll", &chat.site(), "--yes"][..], &ca].concat());
    assert_eq!(code, Some(0), "{output}");
    assert!(fs::read_to_string(&file).unwrap().contains(&chat.site()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_learned_in_observe_mode_is_adopted_and_then_required() {
    let stage = Stage::set("").await;
    let folder = stage.folder.path();
    let file = folder.join("pushrelay.toml");
    let required = format!("data_dir = \"data\"\n{}", fs::read_to_string(&file).unwrap());
    fs::write(&file, required.replace("\"required\"", "\"observe\"")).unwrap();
    let (two, three, stranger) = (Tenant::new("chat-2"), Tenant::new("chat-3"), Tenant::new("chat-3"));
    let mut relay = stage.serve();
    let address = relay.address();
    for tenant in [&two, &two, &three, &three, &stranger] {
        assert_eq!(tenant.status(address).await, 200);
    }
    let line = relay.wait_for("signed by another key than this chat server signed with before");
    assert!(line.contains(r#""server":"chat-3""#), "{line}");
    // Who is registered needs no learning.
    stage.post(address, &Push::apple(&apple_token(1))).await.unwrap().expect_ok();
    let metrics = reqwest::get(format!("http://{address}/metrics")).await.unwrap().text().await.unwrap();
    for (event, count) in [("new_server", 2), ("key_learned", 2), ("possible_spoof", 1)] {
        let sample = format!("pushrelay_learned_events_total{{event=\"{event}\"}} {count}\n");
        assert!(metrics.contains(&sample), "{sample}{metrics}");
    }
    relay.signal("TERM");
    assert_eq!(relay.end().0.code(), Some(0));

    let (code, output) = run(&stage, &["servers", "learned"]);
    assert_eq!(code, Some(0), "{output}");
    let line = |id: &str| output.lines().find(|line| line.starts_with(id)).unwrap_or_else(|| panic!("{output}"));
    let fingerprint = two.key.verifying_key().fingerprint();
    assert!(line("chat-2").contains("adoptable") && line("chat-2").contains(&fingerprint), "{output}");
    assert!(line("chat-3").contains("contested: 1 by other keys"), "{output}");
    assert_eq!(output.lines().count(), 3, "{output}");

    let (code, output) = run(&stage, &["servers", "adopt", "chat-3"]);
    assert!(code == Some(1) && output.contains("another key has signed"), "{output}");
    let (code, output) = run(&stage, &["servers", "adopt", "chat-4"]);
    assert!(code == Some(1) && output.contains("no push with this server id"), "{output}");
    let (code, output) = run(&stage, &["servers", "adopt", "chat-2", "--name", "two"]);
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains(&fingerprint) && output.contains("It does not show that it is the server"), "{output}");

    // The server's own publication confirms it, and its address is noted.
    let chat = ChatServer::start(&two, &folder.join("chat-ca.pem")).await;
    let (code, output) = run(&stage, &["enroll", &chat.site(), "--ca-file", "chat-ca.pem"]);
    assert!(
        code == Some(0) && output.contains("nothing has changed") && output.contains("address was noted"),
        "{output}"
    );

    fs::write(&file, &required).unwrap();
    let mut relay = stage.serve();
    let address = relay.address();
    assert_eq!((two.status(address).await, three.status(address).await), (200, 401));
    relay.signal("TERM");
    assert_eq!(relay.end().0.code(), Some(0));

    // The next time that it observes, it forgets who is registered.
    fs::write(&file, required.replace("\"required\"", "\"observe\"")).unwrap();
    let mut relay = stage.serve();
    relay.address();
    relay.signal("TERM");
    assert_eq!(relay.end().0.code(), Some(0));
    let (_, output) = run(&stage, &["servers", "learned", "--json"]);
    let learned: Value = serde_json::from_str(&output).unwrap();
    let ids: Vec<_> = learned["servers"].as_array().unwrap().iter().map(|server| server["id"].clone()).collect();
    assert_eq!(ids, ["chat-3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_are_listed_whatever_else_is_wrong_and_the_configuration_is_left_to_people() {
    let stage = Stage::set("").await;
    let folder = stage.folder.path();
    // A key that this user may not read, and a file that is not finished.
    fs::remove_file(folder.join("AuthKey.p8")).unwrap();
    fs::create_dir(folder.join("servers.d")).unwrap();
    let two = Tenant::new("chat-2");
    fs::write(folder.join("servers.d/two.toml"), two.toml("per_second = 3\ndaily_quota = 9")).unwrap();
    fs::write(folder.join("servers.d/half.toml"), "id = \n").unwrap();

    let (code, output) = run(&stage, &["servers", "list"]);
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("half.toml:1") && output.contains("is not TOML"), "{output}");
    let line = output.lines().find(|line| line.starts_with("two")).unwrap();
    for words in
        ["chat-2", "yes", "mattermost", &two.key.verifying_key().fingerprint()[..19], "all", "3/s (burst 3), 9/day"]
    {
        assert!(line.contains(words), "{words}: {output}");
    }
    let (code, output) = run(&stage, &["servers", "disable", "Chat One"]);
    assert!(code == Some(1) && output.contains("stands in the configuration itself"), "{output}");
    let (code, output) = run(&stage, &["servers", "show", "tow"]);
    assert!(code == Some(1) && output.contains("did you mean `two`?"), "{output}");
    let (code, output) = run(&stage, &["servers", "rotate", "two"]);
    assert!(code == Some(1) && output.contains("no `site` is registered"), "{output}");
    let (code, output) = run(&stage, &["servers", "learned"]);
    assert!(code == Some(1) && output.contains("data_dir"), "{output}");
    let (code, output) = run(&stage, &["enroll", "--check"]);
    assert!(code == Some(1) && output.contains("nothing was compared"), "{output}");
    let (code, output) = run(&stage, &["enroll", "ftp://chat.example.com"]);
    assert!(code == Some(2) && output.contains("is not an address with https://"), "{output}");

    let (status, output) = Process::start(&["servers", "list"], folder).end();
    assert!(status.code() == Some(1) && output.contains("--config FILE"), "{output}");
    let (status, output) =
        Process::start(&["servers", "list", "--servers-directory", "servers.d", "--json"], folder).end();
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(output.contains(r#""name": "two""#), "{output}");
}
