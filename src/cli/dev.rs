//! `pushrelay dev`: the newcomer's command. Simulator and relay in one process, a first push to each target, and
//! everything needed to send more.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::Args;
use url::Url;

use super::send::{Push, post};
use super::signals::Signals;
use super::{Failure, demo};
use crate::app::{App, Listeners, Reload};
use crate::cli::output::say;
use crate::clock::Clock;
use crate::config;
use crate::notification::DeviceToken;
use crate::shutdown::Shutdown;
use crate::simulator::{Credentials, Simulator, SimulatorSettings};
use crate::telemetry::log::{self, LogFormat, LogSettings};

/// How long running work may take after Ctrl-C: a person is waiting.
const STOP_DEADLINE: Duration = Duration::from_secs(2);

/// What the first push to each target is called.
const FIRST: &str = "dev-first";

/// See a push arrive: relay and simulators in one process, no account and no file needed.
#[derive(Debug, Args)]
#[command(after_help = "\
Everything runs on this machine, with credentials made up for this run and removed at its end. Open
the printed inbox address in a browser to see what phones would show. Press Ctrl-C to stop.

Examples:
  pushrelay dev
  pushrelay dev --listen 127.0.0.1:0 --inbox 127.0.0.1:0      on any free ports")]
pub(super) struct Dev {
    /// Where the relay listens.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8066")]
    listen: SocketAddr,
    /// Where the inbox page is.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8069")]
    inbox: SocketAddr,
}

impl Dev {
    pub(super) fn run(self) -> Result<(), Failure> {
        // The screen is for the walk-through; only what goes wrong is logged between its lines.
        let (format, filter) = (LogFormat::Human, "warn".to_owned());
        let guard = log::init(&LogSettings { console: true, file: None, format, filter }).map_err(Failure::running)?;
        super::block_on(self.show(guard.dropped_lines()))
    }

    async fn show(self, dropped_lines: log::DroppedLines) -> Result<(), Failure> {
        let started = Instant::now();
        let shutdown = Shutdown::new();
        let reload = Reload::default();
        Signals::noted()?.watch_and_reload_at_a_terminal(&shutdown, STOP_DEADLINE, reload.clone());

        let credentials = Credentials::generate().map_err(Failure::running)?;
        let mut settings = SimulatorSettings::new(&credentials);
        settings.inbox_listen = self.inbox;
        let simulator = Simulator::start(settings).await.map_err(|error| {
            Failure::running(format!("the simulator cannot start: {error}; try --inbox 127.0.0.1:0"))
        })?;
        let senders = demo::Senders::generate();
        let server = &senders.server;
        let folder = tempfile::Builder::new()
            .prefix("pushrelay-dev-")
            .tempdir()
            .map_err(|error| Failure::running(format!("cannot make a temporary folder: {error}")))?;
        demo::write(folder.path(), &credentials, &simulator, &senders, self.listen, false)?;

        let file = folder.path().join(demo::CONFIGURATION);
        // Not from the environment: the demonstration is the same for everybody.
        let loaded = config::load(Some(&file), std::iter::empty()).map_err(Failure::configuration)?;
        let listeners = Listeners::bind(&loaded.settings.http).map_err(|error| {
            Failure::running(format!("{error}\nTry another address: pushrelay dev --listen 127.0.0.1:0"))
        })?;
        let address = listeners.ingest.local_addr().map_err(Failure::running)?;
        let app =
            App::new(loaded.settings, &Clock::System, &shutdown, dropped_lines).map_err(Failure::configuration)?;
        let app = app.reloaded_by(reload);
        let relay = tokio::spawn(app.run(listeners));

        let reach = if address.ip().is_loopback() { " on this machine only" } else { "" };
        say(format_args!("pushrelay {} is running{reach}.\n", env!("CARGO_PKG_VERSION")))?;
        say(format_args!("  relay          http://{address}"))?;
        say(format_args!("  inbox          http://{}/", simulator.inbox_address()))?;
        say(format_args!("  status         http://{address}/status"))?;
        say(format_args!("  configuration  {}\n", file.display()))?;
        let url = Url::parse(&format!("http://{address}")).map_err(Failure::running)?;
        for (target, token) in demo::DEVICES {
            let device = DeviceToken::new(token).ok_or_else(|| Failure::running("an empty demonstration token"))?;
            let answer = post(&url, &push(target, &device, FIRST).body(Some(server)), None).await?;
            say(format_args!("A signed push to {target}: {answer}"))?;
        }
        say(format_args!("First pushes in the inbox {} ms after start.\n", started.elapsed().as_millis()))?;
        let (target, token) = demo::DEVICES[0];
        let device = DeviceToken::new(token).ok_or_else(|| Failure::running("an empty demonstration token"))?;
        let body = push(target, &device, "dev-curl").body(Some(server));
        say(format_args!(
            "Send another, signed for this device and ack_id. The relay sends it once: a repeat wakes no phone again.\n"
        ))?;
        say(format_args!("curl http://{address}/api/v1/send_push -d '{body}'\n"))?;
        say(format_args!("Or sign your own:\n"))?;
        say(format_args!(
            "pushrelay send --url http://{address} --platform {target}-v2 --token {token} --server-id {} --key {}\n",
            demo::SERVER_ID,
            folder.path().join("server.pem").display()
        ))?;
        say(format_args!("Or send as a program does, with what docs/api.md describes; from the source's folder:\n"))?;
        say(format_args!(
            "RELAY_URL=http://{address} WEBHOOK_SECRET={} SERVER={} TARGET={target} DEVICE={token} docs/examples/notify.sh\n",
            senders.program.text().expose(),
            demo::PROGRAM_ID
        ))?;
        say(format_args!("What became of the first, and what waits for a provider:\n"))?;
        say(format_args!("pushrelay trace {FIRST} --config {}", file.display()))?;
        say(format_args!("pushrelay queue list --config {}\n", file.display()))?;
        say("Ctrl-C stops everything and removes the made-up credentials.")?;

        shutdown.begun().await;
        // Its own stop waits for what runs, up to the deadline that the signals set.
        let _ = relay.await;
        tokio::select! {
            () = simulator.stop() => {}
            () = shutdown.forced() => {}
        }
        Ok(())
    }
}

/// The demonstration push. No apostrophe in it: the body stands between apostrophes in a shell command.
fn push<'a>(target: &'a str, device: &'a DeviceToken, ack_id: &'a str) -> Push<'a> {
    Push {
        platform: target,
        device,
        server_id: demo::SERVER_ID,
        ack_id,
        kind: "message",
        message: "Ada: the relay works :tada:",
        channel_name: "Town Square",
        badge: 1,
        voip: false,
    }
}
