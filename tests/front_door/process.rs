//! The real binary as an operator meets it: started, signalled, misconfigured, and listened to.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use pushrelay::simulator::{Action, Fault, Provider};

use crate::support::process::{Process, Stage};
use crate::support::push::apple_token;
use crate::support::{Push, use_crypto};

#[tokio::test(flavor = "multi_thread")]
async fn a_full_run_prints_no_token_no_text_and_no_key() {
    // The most talkative setting there is.
    let stage = Stage::set("[log]\nfilter = \"trace\"\nformat = \"json\"").await;
    let mut relay = stage.serve();
    let address = relay.address();
    let page = relay.wait_for("there is a status page");
    assert!(page.contains(&format!("http://{address}/status")), "{page}");

    let apple = apple_token(0xcafe_f00d);
    let android = "canary-android-token";
    stage.post(address, &Push::apple(&apple)).await.unwrap().expect_ok();
    stage.post(address, &Push::android(android)).await.unwrap().expect_ok();
    let wrong = Push::apple(&apple).signed_as("canary-signature.a.b");
    stage.post(address, &wrong).await.unwrap().expect_fail(401, "signature");
    let wrong_type = Push::apple(&apple).with("badge", "canary-badge");
    stage.post(address, &wrong_type).await.unwrap().expect_fail(200, "Failed to read message body");
    // An answer that Apple gives for a token, and one for a relay without any connection.
    stage.simulator.faults().add(Fault::answer(410, "Unregistered").on(Provider::Apns).times(1)).unwrap();
    stage.post(address, &Push::apple(&apple)).await.unwrap().expect_remove();
    stage.simulator.faults().add(Fault::answer(500, "INTERNAL").on(Provider::Fcm).times(3)).unwrap();
    stage.post(address, &Push::android(android)).await.unwrap().expect_ok();
    stage.simulator.faults().add(Fault::answer(400, "INVALID_ARGUMENT").on(Provider::Fcm).times(1)).unwrap();
    stage.post(address, &Push::android(android)).await.unwrap().expect_fail(200, "INVALID_ARGUMENT");

    relay.signal("TERM");
    let (status, output) = relay.end();
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(output.lines().count() > 10, "the run was logged:\n{output}");
    let p8_body = stage.credentials.p8_pem.lines().nth(1).unwrap();
    for canary in ["canary", apple.as_str(), p8_body, "PRIVATE KEY", "Bearer ", "bearer ", "eyJ"] {
        let found: Vec<_> = output.lines().filter(|line| line.contains(canary)).collect();
        assert!(found.is_empty(), "{canary:?} was printed: {found:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_a_running_push_finish_and_then_ends_well() {
    let stage = Stage::set("").await;
    let mut relay = stage.serve();
    let address = relay.address();
    stage.simulator.faults().add(Fault::new(Action::Hold).on(Provider::Apns)).unwrap();

    let push = Push::apple(&apple_token(1));
    let answer = stage.post(address, &push);
    let stop = async {
        stage.simulator.ledger().wait_until(|counts| counts.held == 1).await;
        relay.signal("TERM");
        relay.wait_for("stopping");
        stage.simulator.faults().clear();
    };
    let (answer, ()) = tokio::join!(answer, stop);
    answer.unwrap().expect_ok();

    let (status, output) = relay.end();
    assert_eq!(status.code(), Some(0), "{output}");
    assert_eq!(stage.simulator.ledger().accepted().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_at_once() {
    let stage = Stage::set("").await;
    let mut relay = stage.serve();
    let address = relay.address();
    stage.simulator.faults().add(Fault::new(Action::Hold).on(Provider::Apns)).unwrap();

    let push = Push::apple(&apple_token(1));
    let answer = stage.post(address, &push);
    let stop = async {
        stage.simulator.ledger().wait_until(|counts| counts.held == 1).await;
        relay.signal("TERM");
        relay.wait_for("stopping");
        relay.signal("INT");
        relay.wait_for("ending at once");
    };
    let (answer, ()) = tokio::join!(answer, stop);
    assert!(answer.is_err(), "the running push was dropped: {answer:?}");
    let (status, output) = relay.end();
    assert_eq!(status.code(), Some(0), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_an_error_at_start() {
    let stage = Stage::set("").await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let file = stage.folder.path().join("pushrelay.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    std::fs::write(&file, text.replace("127.0.0.1:0", &address)).unwrap();

    let (status, output) = stage.serve().end();
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains(&format!("cannot listen on {address}")), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_whose_certificate_is_not_trusted_is_told_in_one_line_unless_the_filter_names_the_library() {
    for (filter, echoes) in [("info", false), ("info,rustls_platform_verifier=error", true)] {
        let stage = Stage::set(&format!("[log]\nfilter = \"{filter}\"\n")).await;
        let file = stage.folder.path().join("pushrelay.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        // The system knows nothing of the simulator's authority.
        let without: Vec<_> = text.lines().filter(|line| !line.starts_with("ca_file")).collect();
        assert!(without.len() < text.lines().count());
        std::fs::write(&file, without.join("\n")).unwrap();

        let mut relay = stage.serve();
        let address = relay.address();
        stage.post(address, &Push::apple(&apple_token(1))).await.unwrap().expect_fail(200, "APNs");
        relay.signal("TERM");
        let (_, output) = relay.end();
        let ours = output.lines().filter(|line| line.contains(r#""outcome":"failed""#)).count();
        assert_eq!(ours, 1, "{output}");
        assert_eq!(output.contains("failed to verify TLS certificate"), echoes, "{output}");
    }
}

#[test]
fn a_wrong_configuration_is_reported_whole_and_starts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let text = "\
listen = \"nowhere\"
lisden = \"127.0.0.1:1\"
[auth]
mode = \"maybe\"
[[target]]
name = \"apple_rn\"
provider = \"apns\"
key_file = \"missing.p8\"
";
    std::fs::write(folder.path().join("pushrelay.toml"), text).unwrap();
    let (status, output) = Process::start(&["serve", "--config", "pushrelay.toml"], folder.path()).end();
    assert_eq!(status.code(), Some(78), "{output}");
    for words in ["listen", "lisden", "auth.mode", "missing.p8", "topic", "key_id", "team_id", "pushrelay.toml"] {
        assert!(output.contains(words), "{words:?} is not reported:\n{output}");
    }
}

#[test]
fn a_missing_configuration_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (status, output) = Process::start(&["serve", "--config", "nowhere.toml"], folder.path()).end();
    assert_eq!(status.code(), Some(78), "{output}");
    assert!(output.contains("nowhere.toml"), "{output}");
}

#[test]
fn help_teaches_and_a_wrong_argument_is_exit_code_two() {
    let folder = tempfile::tempdir().unwrap();
    let (status, output) = Process::start(&["--help"], folder.path()).end();
    assert!(status.success());
    for word in ["serve", "dev", "send", "simulate", "Examples", "Exit codes"] {
        assert!(output.contains(word), "{word} is not in\n{output}");
    }
    let (status, _) = Process::start(&["serve", "--nonsense"], folder.path()).end();
    assert_eq!(status.code(), Some(2));
}

/// `pushrelay dev` on free ports: a newcomer sees a push to each target arrive, and can send more.
#[tokio::test(flavor = "multi_thread")]
async fn dev_sends_a_push_to_each_target_and_prints_a_curl_that_works() {
    use_crypto();
    let folder = tempfile::tempdir().unwrap();
    let mut dev = Process::start(&["dev", "--listen", "127.0.0.1:0", "--inbox", "127.0.0.1:0"], folder.path());
    dev.wait_for("apple_rn: OK");
    dev.wait_for("android_rn: OK");
    let inbox = dev.seen.iter().find(|line| line.contains("inbox")).unwrap();
    let inbox = inbox.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
    let pushes = reqwest::get(format!("{}/pushes", inbox.trim_end_matches('/'))).await.unwrap().text().await.unwrap();
    assert_eq!(pushes.matches("Town Square").count().min(2), 2, "{pushes}");

    dev.wait_for("curl ");
    let curl = dev.seen.last().unwrap().clone();
    let output = Command::new("sh").arg("-c").arg(format!("{curl} --silent")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), r#"{"status":"OK"}"#, "{curl}");

    // It is no end of it.
    dev.wait_for("removes the made-up credentials");
    dev.signal("HUP");
    dev.wait_for("SIGHUP: chat servers and credentials are read again");
    let lines = dev.seen.clone();
    let said = |words: &str| lines.iter().find(|line| line.contains(words)).unwrap().clone();
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("sh").arg("-c").arg(said("notify.sh")).current_dir(source).output().unwrap();
    let answer = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && answer.contains(r#""status":"delivered""#), "{output:?}");
    let program = |line: String| line.replacen("pushrelay", env!("CARGO_BIN_EXE_pushrelay"), 1);
    let output = Command::new("sh").arg("-c").arg(program(said("queue list"))).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "Nothing waits.\n", "{output:?}");

    dev.signal("INT");
    let (status, _) = dev.end();
    assert_eq!(status.code(), Some(0));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was left behind");
}

/// A file of mattermost-push-proxy as its users have it: in `config`, with a target that was never filled in.
pub fn reference_file(stage: &Stage) -> serde_json::Value {
    serde_json::json!({
        "ListenAddress": "localhost:0",
        "ThrottlePerSec": 1,
        "ThrottleMemoryStoreSize": 50_000,
        "ThrottleVaryByHeader": "X-Forwarded-For",
        "EnableMetrics": true,
        "SendTimeoutSec": 20,
        "RetryTimeoutSec": 8,
        "ApplePushSettings": [
            { "Type": "apple", "ApplePushUseDevelopment": false, "ApplePushCertPrivate": "", "ApplePushCertPassword": "",
              "ApplePushTopic": "com.mattermost.Mattermost" },
            { "Type": "apple_rn", "ApplePushUseDevelopment": false, "ApplePushTopic": stage.credentials.topic,
              "AppleAuthKeyFile": "./AuthKey.p8", "AppleAuthKeyID": stage.credentials.key_id,
              "AppleTeamID": stage.credentials.team_id },
        ],
        "AndroidPushSettings": [{ "Type": "android_rn", "AndroidApiKey": "canary", "ServiceFileLocation": "service-account.json" }],
        "EnableConsoleLog": true,
        "EnableFileLog": true,
        "LogFileLocation": "./logs/push_proxy.log",
        "LogFormat": "json",
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn it_takes_the_place_of_mattermost_push_proxy_with_its_file_and_its_arguments() {
    let stage = Stage::set("").await;
    std::fs::create_dir(stage.folder.path().join("config")).unwrap();
    let file = stage.folder.path().join("config/mattermost-push-proxy.json");
    std::fs::write(file, reference_file(&stage).to_string()).unwrap();
    // The simulator instead of Apple and Google: the file has no word for it.
    let ca = stage.folder.path().join("ca.pem").display().to_string();
    let endpoint = |address: SocketAddr| format!("https://localhost:{}", address.port());
    let variables = [
        ("PUSHRELAY_TARGET__APPLE_RN__ENDPOINT", endpoint(stage.simulator.apns_address())),
        ("PUSHRELAY_TARGET__APPLE_RN__CA_FILE", ca.clone()),
        ("PUSHRELAY_TARGET__ANDROID_RN__ENDPOINT", endpoint(stage.simulator.fcm_address())),
        ("PUSHRELAY_TARGET__ANDROID_RN__CA_FILE", ca),
    ];
    let arguments = ["-config", "mattermost-push-proxy.json"];
    let mut relay = Process::start_with(&arguments, &variables, stage.folder.path());
    relay.wait_for("is not enforced");
    relay.wait_for("auth.mode");
    let left_out = relay.wait_for("has neither a key nor a certificate");
    assert!(left_out.contains(r#""level":"error""#) && left_out.contains(r#""target":"apple""#), "{left_out}");
    let address = relay.address();

    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let post = async |push: &Push, from: &'static str| {
        let url = format!("http://{address}/api/v1/send_push");
        let body = push.clone().unsigned().body(&stage.key).to_string();
        client.post(url).header("x-forwarded-for", from).body(body).send().await.unwrap()
    };
    for (push, from) in [(Push::apple(&apple_token(1)), "203.0.113.1"), (Push::android("android-1"), "203.0.113.4")] {
        let answer = post(&push, from).await;
        assert_eq!((answer.status().as_u16(), answer.text().await.unwrap()), (200, "{\"status\":\"OK\"}\n".to_owned()));
    }
    let get = async |path: &str| {
        let answer = client.get(format!("http://{address}{path}")).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, ready) = get("/readyz").await;
    assert!(status == 503 && ready.contains("a target could not be set up"), "{ready}");
    assert!(
        get("/metrics").await.1.contains(r#"service_success_total{platform="apple",transport="",type="message"} 1"#)
    );

    // However often one client asks: the file says one a second, and the reference lets all through.
    for phone in 2..22 {
        assert_eq!(post(&Push::apple(&apple_token(phone)), "203.0.113.2").await.status(), 200);
    }

    relay.signal("TERM");
    let (status, printed) = relay.end();
    assert!(status.success(), "{printed}");
    assert!(!printed.contains("canary"), "{printed}");
    let logged = std::fs::read_to_string(stage.folder.path().join("logs/push_proxy.log")).unwrap();
    assert!(logged.contains("listening") && logged.contains("stopped"), "{logged}");
}

#[test]
fn the_arguments_of_mattermost_push_proxy_ask_for_the_version() {
    for argument in ["-version", "--version"] {
        let folder = tempfile::tempdir().unwrap();
        let (status, printed) = Process::start(&[argument], folder.path()).end();
        assert!(status.success() && printed.contains(env!("CARGO_PKG_VERSION")), "{printed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_migrate_prints_is_a_configuration_that_check_takes() {
    let stage = Stage::set("").await;
    let folder = stage.folder.path();
    std::fs::write(folder.join("old.json"), reference_file(&stage).to_string()).unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_pushrelay")).args(["migrate", "old.json"]).current_dir(folder).output();
    std::fs::write(folder.join("new.toml"), output.unwrap().stdout).unwrap();
    let (status, printed) = Process::start(&["check", "--offline", "--config", "new.toml"], folder).end();
    assert!(status.success(), "{printed}");
    assert!(printed.contains("Targets: 2, servers: 0."), "{printed}");
}

#[path = "reload.rs"]
pub mod reload;

#[path = "enrolment.rs"]
mod enrolment;

#[path = "trace.rs"]
mod trace;
