//! The real binary as an operator meets it: started, signalled, misconfigured, and listened to.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use pushrelay::admission::signing::SigningKey;
use pushrelay::simulator::{Action, Credentials, Fault, Provider, Simulator, SimulatorSettings};

use crate::support::push::apple_token;
use crate::support::{Answer, Push, configuration, use_crypto, write_credentials};

/// The longest wait for anything a process should do at once: generous, since it only ends a test that has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running `pushrelay`. Its output is collected; it is killed when dropped.
struct Process {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    fn start(arguments: &[&str], folder: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_pushrelay"))
            .args(arguments)
            .current_dir(folder)
            .env_remove("HTTPS_PROXY")
            .env_remove("HTTP_PROXY")
            .env_remove("ALL_PROXY")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        let streams: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        let readers = streams
            .into_iter()
            .map(|stream| {
                let sender = sender.clone();
                std::thread::spawn(move || {
                    for line in BufReader::new(stream).lines().map_while(Result::ok) {
                        if sender.send(line).is_err() {
                            break;
                        }
                    }
                })
            })
            .collect();
        Self { child, lines, seen: Vec::new(), readers }
    }

    /// Waits for a line with these words.
    fn wait_for(&mut self, words: &str) -> String {
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                panic!("no line says {words:?}; there were: {:#?}", self.seen)
            };
            self.seen.push(line.clone());
            if line.contains(words) {
                return line;
            }
        }
    }

    /// Where it serves, read from its own log line.
    fn address(&mut self) -> SocketAddr {
        let line = self.wait_for("listening");
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        value["address"].as_str().unwrap().parse().unwrap()
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the end, and gives the exit status and everything that was printed.
    fn end(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        self.seen.extend(self.lines.try_iter());
        (status, self.seen.join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A simulator and a folder with a configuration for the binary.
struct Stage {
    simulator: Simulator,
    credentials: Credentials,
    key: SigningKey,
    folder: tempfile::TempDir,
}

impl Stage {
    async fn set(tables: &str) -> Self {
        use_crypto();
        let credentials = Credentials::generate().unwrap();
        let simulator = Simulator::start(SimulatorSettings::new(&credentials)).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let key = SigningKey::generate();
        write_credentials(folder.path(), &credentials, &simulator);
        let text = configuration("", "", "", "", tables, &credentials, &simulator, &key);
        std::fs::write(folder.path().join("pushrelay.toml"), text).unwrap();
        Self { simulator, credentials, key, folder }
    }

    fn serve(&self) -> Process {
        Process::start(&["serve", "--config", "pushrelay.toml"], self.folder.path())
    }

    async fn post(&self, relay: SocketAddr, push: &Push) -> Result<Answer, reqwest::Error> {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://{relay}/api/v1/send_push");
        Ok(Answer::read(client.post(url).body(push.body(&self.key).to_string()).send().await?).await)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_run_prints_no_token_no_text_and_no_key() {
    // The most talkative setting there is.
    let stage = Stage::set("[log]\nfilter = \"trace\"\nformat = \"json\"").await;
    let mut relay = stage.serve();
    let address = relay.address();

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
    stage.post(address, &Push::android(android)).await.unwrap().expect_fail(200, "INTERNAL");

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

    dev.signal("INT");
    let (status, _) = dev.end();
    assert_eq!(status.code(), Some(0));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was left behind");
}

#[path = "reload.rs"]
mod reload;
