//! The stage: a simulator, a relay in front of it, and a chat server that posts to the relay.

pub mod gate;
pub mod leaver;
pub mod process;
pub mod proxy;
pub mod push;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pushrelay::admission::signing::SigningKey;
use pushrelay::app::{App, Listeners, Reload};
use pushrelay::clock::Clock;
use pushrelay::config;
use pushrelay::shutdown::Shutdown;
use pushrelay::simulator::{Credentials, Simulator, SimulatorSettings};
use pushrelay::telemetry::log::DroppedLines;
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;

pub use push::{Answer, Push};

/// The longest wait for what should be there at once: generous, since it only ends a test that has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The server that every scene registers.
pub const SERVER: &str = "chat-1";

/// How a scene differs from the usual one.
#[derive(Default)]
pub struct Plan {
    /// The relay stands in mattermost-push-proxy's place, with its file: only this, `simulator`, `clock`, `files` and `settings`
    /// count then.
    pub reference: Option<Reference>,
    /// Lines above the first table.
    pub top: &'static str,
    /// `auth.mode`; `required` if empty.
    pub auth: &'static str,
    /// Further lines for `[auth]`.
    pub auth_keys: &'static str,
    /// Further lines for the APNs target, instead of its signing key if they name a certificate.
    pub apple: String,
    /// Further lines for the FCM target.
    pub android: String,
    /// Names of further APNs targets, set up as the usual one.
    pub apple_names: &'static [&'static str],
    /// Names of further FCM targets, set up as the usual one.
    pub android_names: &'static [&'static str],
    /// Further tables.
    pub tables: String,
    /// What the simulator does differently.
    pub simulator: Option<ChangeSimulator>,
    /// The relay's clock; the system's if absent. The simulator follows it.
    pub clock: Option<Clock>,
    /// Puts further files beside the configuration.
    pub files: Option<PutFiles>,
    /// Changes what was made of the configuration.
    pub settings: Option<ChangeSettings>,
}

/// What else a file of mattermost-push-proxy says, and what variables say beside it.
#[derive(Default)]
pub struct Reference {
    pub keys: Vec<(&'static str, Value)>,
    pub variables: Vec<(&'static str, String)>,
}

type ChangeSimulator = Box<dyn FnOnce(&mut SimulatorSettings)>;
type ChangeSettings = Box<dyn FnOnce(&mut config::Settings)>;
type PutFiles = Box<dyn FnOnce(&Path, &Credentials)>;

/// Everything on stage. Dropping it stops the relay at once.
pub struct Scene {
    pub simulator: Simulator,
    pub relay: SocketAddr,
    pub key: SigningKey,
    client: reqwest::Client,
    clock: Clock,
    running: Running,
    /// What SIGHUP does to a process.
    pub reload: Reload,
    /// With the configuration, `pushrelay.toml`, and the credentials that it names.
    pub folder: TempDir,
}

/// One crypto provider for the whole process; installing it twice is fine.
pub fn use_crypto() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

impl Scene {
    /// The usual scene: signatures required, one APNs target `apple_rn`, one FCM target `android_rn`.
    pub async fn usual() -> Self {
        Self::new(Plan::default()).await
    }

    pub async fn new(plan: Plan) -> Self {
        use_crypto();
        let credentials = Credentials::generate().unwrap();
        let clock = plan.clock.clone().unwrap_or(Clock::System);
        let mut settings = SimulatorSettings::new(&credentials);
        let simulator_clock = clock.clone();
        settings.now = Arc::new(move || u64::try_from(simulator_clock.unix().as_millis()).unwrap());
        if let Some(change) = plan.simulator {
            change(&mut settings);
        }
        let simulator = Simulator::start(settings).await.unwrap();

        let folder = tempfile::tempdir().unwrap();
        let key = SigningKey::generate();
        write_credentials(folder.path(), &credentials, &simulator);
        if let Some(files) = plan.files {
            files(folder.path(), &credentials);
        }
        let usual = configuration(
            plan.auth,
            plan.auth_keys,
            &plan.apple,
            &plan.android,
            &plan.tables,
            &credentials,
            &simulator,
            &key,
        );
        let apple = plan.apple_names.iter().map(|name| apns_target(name, &plan.apple, &credentials, &simulator));
        let android = plan.android_names.iter().map(|name| fcm_target(name, &plan.android, &simulator));
        let text = format!("{}{usual}{}", plan.top, apple.chain(android).collect::<String>());
        let file = folder.path().join("pushrelay.toml");
        std::fs::write(&file, &text).unwrap();

        let started = match plan.reference {
            None => start(&file, &clock, plan.settings).await,
            Some(reference) => {
                let json = folder.path().join("mattermost-push-proxy.json");
                let file = reference_file(folder.path(), &credentials, &reference.keys);
                std::fs::write(&json, file.to_string()).unwrap();
                let variables = reference_variables(folder.path(), &simulator, reference.variables);
                start_with(&json, variables, &clock, plan.settings).await
            }
        };
        Self {
            simulator,
            relay: started.relay,
            key,
            client: client(),
            clock,
            running: started.running,
            reload: started.reload,
            folder,
        }
    }

    /// What SIGTERM does to a process.
    pub fn begin_shutdown(&self) {
        self.running.shutdown.begin();
    }

    /// Ends the relay as SIGTERM does, and waits for its end.
    pub async fn stop(&mut self) {
        self.running.shutdown.begin();
        (&mut self.running.task).await.unwrap();
    }

    /// Starts a relay that has ended again, with the same files, at a new address.
    pub async fn start_again(&mut self) {
        let file = self.folder.path().join("pushrelay.toml");
        let started = start(&file, &self.clock, None).await;
        (self.relay, self.running, self.reload) = (started.relay, started.running, started.reload);
        // Connections to the old address are of no use.
        self.client = client();
    }

    /// Posts a push, signed by the registered server unless the push says otherwise.
    pub async fn post(&self, push: &Push) -> Answer {
        self.post_body(push.body(&self.key).to_string()).await
    }

    /// Posts any body.
    pub async fn post_body(&self, body: impl Into<reqwest::Body>) -> Answer {
        let url = format!("http://{}/api/v1/send_push", self.relay);
        Answer::read(self.client.post(url).body(body).send().await.unwrap()).await
    }

    /// Posts JSON anywhere.
    pub async fn post_to(&self, path: &str, body: &Value) -> (u16, String) {
        let url = format!("http://{}{path}", self.relay);
        let response = self.client.post(url).body(body.to_string()).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// Posts a body with headers, and reads the JSON of the answer.
    pub async fn post_with(&self, path: &str, body: &str, headers: &[(&'static str, String)]) -> (u16, Value) {
        let mut request = self.client.post(format!("http://{}{path}", self.relay)).body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let response = request.send().await.unwrap();
        let code = response.status().as_u16();
        let text = response.text().await.unwrap();
        (
            code,
            serde_json::from_str(&text).unwrap_or_else(|_| panic!("HTTP {code} with a body that is no JSON: {text}")),
        )
    }

    /// Waits until a sample has this value.
    pub async fn wait_for_metric(&self, sample: &str, value: f64) {
        let reached = async {
            while (self.metric(sample).await - value).abs() > f64::EPSILON {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("{sample} never was {value}"));
    }

    pub async fn expect_metric(&self, sample: &str, value: f64) {
        let found = self.metric(sample).await;
        assert!((found - value).abs() < 1e-6, "{sample} is {found}, not {value}");
    }

    pub async fn get(&self, path: &str) -> (u16, String) {
        let response = self.client.get(format!("http://{}{path}", self.relay)).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// One sample of the metrics, 0 if it is not there.
    pub async fn metric(&self, sample: &str) -> f64 {
        let (_, text) = self.get("/metrics").await;
        let line = text.lines().find(|line| line.rsplit_once(' ').is_some_and(|(name, _)| name == sample));
        line.map_or(0.0, |line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
    }

    pub async fn ready(&self) -> (u16, Value) {
        let (status, text) = self.get("/readyz").await;
        (status, serde_json::from_str(&text).unwrap())
    }
}

/// A relay at work. Dropping it stops it at once.
struct Running {
    shutdown: Shutdown,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.force();
    }
}

struct Started {
    relay: SocketAddr,
    running: Running,
    reload: Reload,
}

async fn start(file: &Path, clock: &Clock, change: Option<ChangeSettings>) -> Started {
    start_with(file, Vec::new(), clock, change).await
}

#[allow(clippy::unused_async, reason = "binds on the runtime that the relay runs on")]
async fn start_with(
    file: &Path,
    variables: Vec<(String, String)>,
    clock: &Clock,
    change: Option<ChangeSettings>,
) -> Started {
    let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
    let mut loaded = config::load(Some(file), variables)
        .unwrap_or_else(|problems| panic!("{problems}\n{}", std::fs::read_to_string(file).unwrap_or_default()));
    if let Some(change) = change {
        change(&mut loaded.settings);
    }
    let shutdown = Shutdown::new();
    let listeners = Listeners::bind(&loaded.settings.http).unwrap();
    let relay = listeners.ingest.local_addr().unwrap();
    let app = App::new(loaded.settings, clock, &shutdown, DroppedLines::default()).unwrap();
    let reload = app.reload();
    let task = tokio::spawn(app.run(listeners));
    Started { relay, running: Running { shutdown, task }, reload }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// Puts the files beside the configuration that the usual targets name.
pub fn write_credentials(folder: &Path, credentials: &Credentials, simulator: &Simulator) {
    std::fs::write(folder.join("ca.pem"), &credentials.authority_pem).unwrap();
    std::fs::write(folder.join("AuthKey.p8"), &credentials.p8_pem).unwrap();
    std::fs::write(folder.join("client.pem"), &credentials.client_certificate_pem).unwrap();
    let token_uri = format!("https://localhost:{}/token", simulator.fcm_address().port());
    std::fs::write(folder.join("service-account.json"), credentials.service_account_json(&token_uri)).unwrap();
}

/// A file of mattermost-push-proxy for the usual targets.
fn reference_file(folder: &Path, credentials: &Credentials, keys: &[(&'static str, Value)]) -> Value {
    let path = |name: &str| folder.join(name).display().to_string();
    let mut file = serde_json::json!({
        "ListenAddress": "localhost:0",
        "EnableMetrics": true,
        "ApplePushSettings": [
            { "Type": "apple_rn", "ApplePushTopic": credentials.topic, "AppleAuthKeyFile": path("AuthKey.p8"),
              "AppleAuthKeyID": credentials.key_id, "AppleTeamID": credentials.team_id },
        ],
        "AndroidPushSettings": [{ "Type": "android_rn", "ServiceFileLocation": path("service-account.json") }],
    });
    for (key, value) in keys {
        file[*key] = value.clone();
    }
    file
}

/// The simulator instead of Apple and Google: the file has no word for it.
fn reference_variables(
    folder: &Path,
    simulator: &Simulator,
    further: Vec<(&'static str, String)>,
) -> Vec<(String, String)> {
    let ca = folder.join("ca.pem").display().to_string();
    let endpoint = |address: SocketAddr| format!("https://localhost:{}", address.port());
    let usual = [
        ("PUSHRELAY_TARGET__APPLE_RN__ENDPOINT", endpoint(simulator.apns_address())),
        ("PUSHRELAY_TARGET__APPLE_RN__CA_FILE", ca.clone()),
        ("PUSHRELAY_TARGET__ANDROID_RN__ENDPOINT", endpoint(simulator.fcm_address())),
        ("PUSHRELAY_TARGET__ANDROID_RN__CA_FILE", ca),
    ];
    let is_replaced = |name: &str| further.iter().any(|(given, _)| *given == name);
    let usual = usual.into_iter().filter(|(name, _)| !is_replaced(name)).collect::<Vec<_>>();
    usual.into_iter().chain(further).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The configuration of a relay in front of this simulator.
#[allow(clippy::too_many_arguments, reason = "the parts of one text")]
pub fn configuration(
    auth: &str,
    auth_keys: &str,
    apple: &str,
    android: &str,
    tables: &str,
    credentials: &Credentials,
    simulator: &Simulator,
    key: &SigningKey,
) -> String {
    let mode = if auth.is_empty() { "required" } else { auth };
    let mut text = format!(
        r#"
listen = "127.0.0.1:0"
[auth]
mode = "{mode}"
{auth_keys}
[[server]]
id = "{SERVER}"
name = "Chat One"
keys = ["{public}"]
"#,
        public = key.public_base64(),
    );
    text += &apns_target("apple_rn", apple, credentials, simulator);
    text += &fcm_target("android_rn", android, simulator);
    let _ = writeln!(text, "{tables}");
    if !tables.contains("[delivery]") {
        // A retry need not wait in a test.
        text.push_str("[delivery]\nfirst_pause = \"1ms\"\n");
    }
    text
}

/// One `[[target]]` of the simulator's app at Apple.
fn apns_target(name: &str, keys: &str, credentials: &Credentials, simulator: &Simulator) -> String {
    let mut text = format!(
        r#"
[[target]]
name = "{name}"
provider = "apns"
topic = "{topic}"
ca_file = "ca.pem"
{keys}
"#,
        topic = credentials.topic,
    );
    if !keys.contains("endpoint") {
        let _ = writeln!(text, "endpoint = \"https://localhost:{}\"", simulator.apns_address().port());
    }
    if !keys.contains("certificate_file") {
        let _ = writeln!(
            text,
            "key_file = \"AuthKey.p8\"\nkey_id = \"{}\"\nteam_id = \"{}\"",
            credentials.key_id, credentials.team_id
        );
    }
    text
}

/// One `[[target]]` of the simulator's project at Google.
fn fcm_target(name: &str, keys: &str, simulator: &Simulator) -> String {
    let mut text = format!(
        r#"
[[target]]
name = "{name}"
provider = "fcm"
service_account_file = "service-account.json"
ca_file = "ca.pem"
{keys}
"#
    );
    if !keys.contains("endpoint") {
        let _ = writeln!(text, "endpoint = \"https://localhost:{}\"", simulator.fcm_address().port());
    }
    text
}
