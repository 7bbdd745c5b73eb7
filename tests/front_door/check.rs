//! `pushrelay check`: the real binary says where the way to each provider ends, and why.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use pushrelay::simulator::{Credentials, Fault, FcmAccount, Provider, SimulatorSettings, system_time};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::process::reference_file;
use crate::support::process::{Process, Stage};
use crate::support::proxy::ForwardProxy;

/// What a check printed, and how it ended.
struct Checked {
    code: Option<i32>,
    output: String,
    errors: String,
}

impl Checked {
    fn json(&self) -> Value {
        serde_json::from_str(&self.output).unwrap_or_else(|_| panic!("no JSON: {}\n{}", self.output, self.errors))
    }

    /// The status, text and remedy of one step; an empty target is this machine.
    fn step(&self, target: &str, step: &str) -> (String, String, String) {
        let report = self.json();
        let target = if target.is_empty() { Value::Null } else { target.into() };
        let found: Vec<_> = report["findings"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|finding| finding["target"] == target && finding["step"] == step)
            .collect();
        assert_eq!(found.len(), 1, "{target} {step}: {report:#}");
        let text = |name: &str| found[0][name].as_str().unwrap_or_default().to_owned();
        (text("status"), text("what"), text("remedy"))
    }

    /// This step failed for this reason and says what to do; the next ones are skipped.
    fn expect_failure(&self, target: &str, step: &str, words: &str, remedy: &str, skipped: &[&str]) {
        assert_eq!(self.code, Some(1), "{}\n{}", self.output, self.errors);
        let (status, what, told) = self.step(target, step);
        assert_eq!(status, "fail", "{what}");
        assert!(what.contains(words), "{words:?} is not in: {what}");
        assert!(told.contains(remedy), "{remedy:?} is not in: {told}");
        for step in skipped {
            assert_eq!(self.step(target, step).0, "skipped", "{step}");
        }
        assert!(self.errors.contains(&format!("{target} {step}")), "{}", self.errors);
    }

    fn expect(&self, target: &str, step: &str, status: &str) {
        let (found, what, _) = self.step(target, step);
        assert_eq!(found, status, "{step}: {what}");
    }
}

fn check_with(folder: &Path, arguments: &[&str], variables: &[(&str, String)]) -> Checked {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pushrelay"));
    command.args(["check", "--config", "pushrelay.toml"]).args(arguments).current_dir(folder);
    for name in ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy", "PUSHRELAY_CONFIG"] {
        command.env_remove(name);
    }
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Checked { code: output.status.code(), output: text(output.stdout), errors: text(output.stderr) }
}

fn check(stage: &Stage) -> Checked {
    check_with(stage.folder.path(), &["--json"], &[])
}

/// Writes another configuration in the place of a line that begins so, in the part for one target.
fn change(stage: &Stage, target: &str, from: &str, to: &str) {
    let file = stage.folder.path().join("pushrelay.toml");
    let text = fs::read_to_string(&file).unwrap();
    let start = text.find(&format!("name = \"{target}\"")).unwrap();
    let at = start + text[start..].find(from).unwrap();
    let end = at + text[at..].find('\n').unwrap();
    fs::write(&file, format!("{}{to}{}", &text[..at], &text[end..])).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_delivers_is_proven_step_by_step_and_wakes_no_phone() {
    let stage = Stage::set("").await;
    let file = stage.folder.path().join("pushrelay.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("data_dir = \"data\"\n{text}")).unwrap();
    let checked = check(&stage);
    assert_eq!(checked.code, Some(0), "{}\n{}", checked.output, checked.errors);
    let report = checked.json();
    assert_eq!((&report["result"], &report["targets"], &report["servers"]), (&"ok".into(), &2.into(), &1.into()));
    for step in ["data_dir", "queue", "listen"] {
        checked.expect("", step, "ok");
    }
    for target in ["apple_rn", "android_rn"] {
        for step in ["dns", "tcp", "tls", "http2", "credentials"] {
            checked.expect(target, step, "ok");
        }
        assert!(checked.step(target, "tls").1.contains("TLS 1.3"));
    }
    checked.expect("android_rn", "oauth", "ok");
    checked.expect("android_rn", "clock", "ok");
    // Apple's stand-in gives no date, as Apple need not.
    checked.expect("apple_rn", "clock", "skipped");
    assert!(stage.simulator.ledger().accepted().is_empty());
    assert!(!stage.folder.path().join("data").exists(), "it only looks");

    // Again, with another provider token within 20 minutes.
    let again = check_with(stage.folder.path(), &[], &[]);
    assert_eq!(again.code, Some(0), "{}\n{}", again.output, again.errors);
    assert!(again.output.contains("TooManyProviderTokenUpdates"), "{}", again.output);
    assert!(again.output.contains("The configuration is right. Targets: 2, servers: 1."), "{}", again.output);
}

#[tokio::test(flavor = "multi_thread")]
async fn offline_nobody_is_asked() {
    let stage = Stage::set("").await;
    let checked = check_with(stage.folder.path(), &["--offline", "--json"], &[]);
    assert_eq!(checked.code, Some(0), "{}", checked.errors);
    assert_eq!(checked.json()["findings"], Value::Array(Vec::new()));
    let counts = stage.simulator.ledger().counts();
    assert_eq!((counts.apns_connections, counts.fcm_connections), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_configuration_is_told_as_json_as_well_and_nobody_is_asked() {
    let stage = Stage::set("").await;
    change(&stage, "apple_rn", "provider = ", "provider = \"canary\"");
    let checked = check(&stage);
    assert_eq!(checked.code, Some(78));
    let report = checked.json();
    assert_eq!(report["result"], "configuration_error");
    assert!(report["problems"][0].as_str().unwrap().contains("provider"), "{report}");
    assert_eq!(stage.simulator.ledger().counts().fcm_connections, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_topic_is_refused_by_apple() {
    let stage = Stage::set("").await;
    change(&stage, "apple_rn", "topic = ", "topic = \"com.example.other\"");
    let checked = check(&stage);
    let (_, what, _) = checked.step("apple_rn", "credentials");
    let word = if what.contains("TopicDisallowed") { "TopicDisallowed" } else { "BadTopic" };
    checked.expect_failure("apple_rn", "credentials", word, "bundle id", &[]);
    // One target's trouble is no other's.
    checked.expect("android_rn", "credentials", "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_apple_does_not_know_is_refused_and_never_shown() {
    let stage = Stage::set_with("", |simulator| simulator.keys.clear()).await;
    let checked = check(&stage);
    checked.expect_failure("apple_rn", "credentials", "InvalidProviderToken", "key_id", &[]);
    let key = fs::read_to_string(stage.folder.path().join("AuthKey.p8")).unwrap();
    let line = key.lines().nth(1).unwrap();
    assert!(!checked.output.contains(line) && !checked.errors.contains(line));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_is_proven_and_its_end_is_told() {
    let stage = Stage::set("").await;
    change(&stage, "apple_rn", "key_file = ", "certificate_file = \"client.pem\"");
    change(&stage, "apple_rn", "key_id = ", "");
    change(&stage, "apple_rn", "team_id = ", "");
    let checked = check(&stage);
    assert_eq!(checked.code, Some(0), "{}\n{}", checked.output, checked.errors);
    // The simulator's certificates end in the year 4096.
    checked.expect("apple_rn", "certificate", "ok");
    checked.expect("apple_rn", "credentials", "ok");
}

/// A server's chain, made out to localhost, that ends in this year; and its authority.
fn chain(last_year: i32) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>, String) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = authority.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(authority, key);
    let mut server = CertificateParams::new(["localhost".to_owned()]).unwrap();
    server.not_after = rcgen::date_time_ymd(last_year, 12, 31);
    let key = KeyPair::generate().unwrap();
    let leaf = server.signed_by(&key, &issuer).unwrap().der().clone();
    (vec![leaf], PrivateKeyDer::Pkcs8(key.serialize_der().into()), pem)
}

async fn stage_showing(last_year: i32, trusted: bool) -> Stage {
    let (chain, key, authority) = chain(last_year);
    let stage = Stage::set_with("", |simulator| {
        simulator.server_chain = chain;
        simulator.server_key = Arc::new(key);
    })
    .await;
    if trusted {
        fs::write(stage.folder.path().join("ca.pem"), authority).unwrap();
    }
    stage
}

#[tokio::test(flavor = "multi_thread")]
async fn a_providers_certificate_that_has_ended_is_told_from_one_of_an_unknown_authority() {
    let behind = ["http2", "clock", "credentials"];
    let expired = check(&stage_showing(2020, true).await);
    expired.expect_failure("apple_rn", "tls", "expired", "clock first", &behind);
    expired.expect("apple_rn", "tcp", "ok");
    let unknown = check(&stage_showing(2090, false).await);
    unknown.expect_failure("apple_rn", "tls", "UnknownIssuer", "ca_file", &behind);
    unknown.expect_failure("android_rn", "tls", "UnknownIssuer", "ca_file", &["oauth"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_leads_through_the_proxy_which_is_named_without_its_password() {
    let stage = Stage::set("").await;
    let proxy = ForwardProxy::start(Some("canary-user:right")).await;
    let through = |password: &str| [("HTTPS_PROXY", format!("http://canary-user:{password}@{}", proxy.address))];
    let good = check_with(stage.folder.path(), &["--json"], &through("right"));
    assert_eq!(good.code, Some(0), "{}\n{}", good.output, good.errors);
    let (_, what, _) = good.step("apple_rn", "tcp");
    assert!(what.contains(&format!("through the proxy http://{}", proxy.address)), "{what}");
    let bad = check_with(stage.folder.path(), &["--json"], &through("canary-wrong"));
    for target in ["apple_rn", "android_rn"] {
        bad.expect_failure(target, "tcp", "407", "http://user:password@host:port", &["tls", "credentials"]);
    }
    for checked in [good, bad] {
        assert!(!checked.output.contains("canary") && !checked.errors.contains("canary"), "{}", checked.output);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_nobody_knows_and_a_port_where_nobody_listens_are_told_apart() {
    let stage = Stage::set("").await;
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    change(&stage, "apple_rn", "endpoint = ", "endpoint = \"https://host.invalid:443\"");
    change(&stage, "android_rn", "endpoint = ", &format!("endpoint = \"https://127.0.0.1:{port}\""));
    let checked = check(&stage);
    checked.expect_failure("apple_rn", "dns", "", "name servers", &["tcp", "tls", "http2", "clock", "credentials"]);
    checked.expect("android_rn", "dns", "ok");
    checked.expect_failure("android_rn", "tcp", "refused", "nobody listens", &["tls", "oauth", "credentials"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_the_connection_and_stays_silent_is_given_up_in_time() {
    let stage = Stage::set("").await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    change(&stage, "apple_rn", "endpoint = ", &format!("endpoint = \"https://{address}\""));
    let checked = check_with(stage.folder.path(), &["--json", "--timeout", "300ms"], &[]);
    checked.expect_failure("apple_rn", "tls", "no answer within 300ms", "--timeout", &["http2", "credentials"]);
}

/// TLS with the simulator's kind of certificate, for HTTP/1.1 alone; answers nothing.
async fn speaks_no_http2(stage: &Stage) -> SocketAddr {
    let (chain, key, authority) = chain(2090);
    fs::write(stage.folder.path().join("old.pem"), authority).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_middlebox_without_http2_is_named_as_the_cause() {
    let stage = Stage::set("").await;
    let address = speaks_no_http2(&stage).await;
    change(&stage, "apple_rn", "endpoint = ", &format!("endpoint = \"https://localhost:{}\"", address.port()));
    change(&stage, "apple_rn", "ca_file = ", "ca_file = \"old.pem\"");
    let checked = check(&stage);
    checked.expect("apple_rn", "tls", "ok");
    checked.expect_failure("apple_rn", "http2", "ALPN", "HTTP/1.1 only", &["clock", "credentials"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_endpoint_that_is_down_is_told_from_one_that_refuses() {
    let stage = Stage::set("").await;
    stage.simulator.faults().add(Fault::answer(503, "unavailable").on(Provider::OAuth)).unwrap();
    check(&stage).expect_failure("android_rn", "oauth", "unavailable", "try again", &["credentials"]);

    let refusing = Stage::set_with("", |simulator| simulator.accounts.clear()).await;
    check(&refusing).expect_failure("android_rn", "oauth", "invalid_grant", "new key", &["credentials"]);

    let gone = Stage::set("").await;
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("https://{}/token", free.local_addr().unwrap());
    drop(free);
    fs::write(gone.folder.path().join("service-account.json"), gone.credentials.service_account_json(&uri)).unwrap();
    check(&gone).expect_failure("android_rn", "oauth", "refused", "nobody listens", &["credentials"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_of_another_project_is_refused() {
    let mut file = String::new();
    let stage = Stage::set_with("", |simulator: &mut SimulatorSettings| {
        let other = Credentials::generate_for("com.example.chat", "TEAM123456", "another-project").unwrap();
        file = other.service_account_json("TOKEN_URI");
        simulator.accounts.push(FcmAccount::from_json(&file).unwrap());
    })
    .await;
    // Its key is taken, and the project that is named is not its own.
    let uri = format!("https://localhost:{}/token", stage.simulator.fcm_address().port());
    let mut account: Value = serde_json::from_str(&file.replace("TOKEN_URI", &uri)).unwrap();
    account["project_id"] = "example-chat".into();
    fs::write(stage.folder.path().join("service-account.json"), account.to_string()).unwrap();
    let checked = check(&stage);
    checked.expect("android_rn", "oauth", "ok");
    checked.expect_failure("android_rn", "credentials", "PERMISSION_DENIED", "service account of the project", &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_wrong_is_a_warning_with_both_readings() {
    let stage = Stage::set_with("", |simulator| {
        let right = system_time();
        // Within what Google and Apple take.
        simulator.now = Arc::new(move || right() + 90_000);
    })
    .await;
    let checked = check(&stage);
    let (status, what, remedy) = checked.step("android_rn", "clock");
    assert_eq!(status, "warn");
    assert!(what.contains("behind the provider's"), "{what}");
    assert!(remedy.contains("NTP"), "{remedy}");
    assert_eq!(checked.code, Some(0), "{}", checked.output);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_runs_is_left_alone_and_its_address_is_no_failure() {
    let stage = Stage::set("").await;
    let file = stage.folder.path().join("pushrelay.toml");
    let text = format!("data_dir = \"data\"\n{}", fs::read_to_string(&file).unwrap());
    fs::write(&file, &text).unwrap();
    let mut relay = stage.serve();
    let address = relay.address();
    fs::write(&file, text.replace("127.0.0.1:0", &address.to_string())).unwrap();
    let checked = check(&stage);
    assert_eq!(checked.code, Some(0), "{}\n{}", checked.output, checked.errors);
    checked.expect("", "queue", "ok");
    let (status, what, _) = checked.step("", "listen");
    assert!(status == "ok" && what.contains("a relay runs"), "{what}");

    relay.signal("TERM");
    assert!(relay.end().0.success());
    // Somebody else in its place keeps a relay from starting.
    let _other = TcpListener::bind(address).await.unwrap();
    check(&stage).expect("", "listen", "warn");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_of_mattermost_push_proxy_is_proven_as_well() {
    let stage = Stage::set("").await;
    let folder = stage.folder.path();
    let old = reference_file(&stage);
    fs::write(folder.join("old.json"), old.to_string()).unwrap();
    let ca = folder.join("ca.pem").display().to_string();
    let endpoint = |address: SocketAddr| format!("https://localhost:{}", address.port());
    let variables = [
        ("PUSHRELAY_TARGET__APPLE_RN__ENDPOINT", endpoint(stage.simulator.apns_address())),
        ("PUSHRELAY_TARGET__APPLE_RN__CA_FILE", ca.clone()),
        ("PUSHRELAY_TARGET__ANDROID_RN__ENDPOINT", endpoint(stage.simulator.fcm_address())),
        ("PUSHRELAY_TARGET__ANDROID_RN__CA_FILE", ca),
    ];
    // With its own spelling of the argument. One of the file's targets has no credential: the others are looked at.
    let (status, printed) = Process::start_with(&["check", "-config", "old.json"], &variables, folder).end();
    assert_eq!(status.code(), Some(78), "{printed}");
    assert!(printed.contains("target `apple` would be left out"), "{printed}");
    assert_eq!(printed.matches("ok      credentials  ").count(), 2, "{printed}");
    assert!(!printed.contains("FAIL") && !printed.contains("canary"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_endpoint_on_this_machine_needs_no_tls_and_is_asked_all_the_same() {
    let stage = Stage::set("").await;
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/token", free.local_addr().unwrap());
    drop(free);
    fs::write(stage.folder.path().join("service-account.json"), stage.credentials.service_account_json(&uri)).unwrap();
    check(&stage).expect_failure("android_rn", "oauth", "(connect)", "token_uri", &["credentials"]);
}
