//! The real binary in a process of its own, and a simulator and a folder with a configuration for it.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use pushrelay::admission::signing::SigningKey;
use pushrelay::simulator::{Credentials, Simulator, SimulatorSettings};

use super::{Answer, Push, configuration, use_crypto, write_credentials};

/// The longest wait for anything a process should do at once: generous, since it only ends a test that has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running `pushrelay`. Its output is collected; it is killed when dropped.
pub struct Process {
    child: Child,
    lines: mpsc::Receiver<String>,
    /// The lines waited for and those before them.
    pub seen: Vec<String>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    pub fn start(arguments: &[&str], folder: &Path) -> Self {
        Self::start_with(arguments, &[], folder)
    }

    pub fn start_with(arguments: &[&str], variables: &[(&str, String)], folder: &Path) -> Self {
        Self::spawn(Command::new(env!("CARGO_BIN_EXE_pushrelay")).args(arguments), variables, folder)
    }

    /// Under a limit of the system, as `ulimit` takes it: `-n 256`.
    pub fn start_limited(limit: &str, arguments: &[&str], folder: &Path) -> Self {
        let script = format!("ulimit {limit} && exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", script.as_str(), env!("CARGO_BIN_EXE_pushrelay")]).args(arguments);
        Self::spawn(&mut command, &[], folder)
    }

    fn spawn(command: &mut Command, variables: &[(&str, String)], folder: &Path) -> Self {
        let mut child = command
            .envs(variables.iter().map(|(name, value)| (name, value)))
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
    pub fn wait_for(&mut self, words: &str) -> String {
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
    pub fn address(&mut self) -> SocketAddr {
        let line = self.wait_for("listening");
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        value["address"].as_str().unwrap().parse().unwrap()
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the end.
    pub fn wait(&mut self) {
        let _ = self.child.wait();
    }

    /// Waits for the end, and gives the exit status and everything that was printed.
    pub fn end(mut self) -> (ExitStatus, String) {
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
pub struct Stage {
    pub simulator: Simulator,
    pub credentials: Credentials,
    pub key: SigningKey,
    pub folder: tempfile::TempDir,
}

impl Stage {
    pub async fn set(tables: &str) -> Self {
        Self::set_with(tables, |_| {}).await
    }

    pub async fn set_with(tables: &str, change: impl FnOnce(&mut SimulatorSettings)) -> Self {
        use_crypto();
        let credentials = Credentials::generate().unwrap();
        let mut settings = SimulatorSettings::new(&credentials);
        change(&mut settings);
        let simulator = Simulator::start(settings).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let key = SigningKey::generate();
        write_credentials(folder.path(), &credentials, &simulator);
        let text = configuration("", "", "", "", tables, &credentials, &simulator, &key);
        std::fs::write(folder.path().join("pushrelay.toml"), text).unwrap();
        Self { simulator, credentials, key, folder }
    }

    pub fn serve(&self) -> Process {
        Process::start(&["serve", "--config", "pushrelay.toml"], self.folder.path())
    }

    pub async fn post(&self, relay: SocketAddr, push: &Push) -> Result<Answer, reqwest::Error> {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://{relay}/api/v1/send_push");
        Ok(Answer::read(client.post(url).body(push.body(&self.key).to_string()).send().await?).await)
    }
}
