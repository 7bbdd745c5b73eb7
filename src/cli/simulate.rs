//! `pushrelay simulate`: stand-ins for Apple and Google, with an inbox page.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::signals::Signals;
use super::{Failure, demo};
use crate::cli::output::say;
use crate::shutdown::Shutdown;
use crate::simulator::{Credentials, Simulator, SimulatorSettings};

/// How long open connections may take to end.
const STOP_DEADLINE: Duration = Duration::from_secs(2);

/// Run stand-ins for APNs, FCM and Google's OAuth that check like the real ones.
#[derive(Debug, Args)]
#[command(after_help = "\
Writes made-up credentials and a relay configuration into --folder, so that a relay can be pointed
at the simulator.

Examples:
  pushrelay simulate --folder demo
  pushrelay serve --config demo/pushrelay.toml
  pushrelay send --platform apple_rn-v2 --server-id demo-server --key demo/server.pem \\
    --token 00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee

Device tokens ask for outcomes (one that begins with dead0410 is unregistered), and faults of every
kind are set over HTTP: docs/simulator.md lists them. Each start makes new credentials (--overwrite
replaces the last ones): restart the relay then, too.")]
pub(super) struct Simulate {
    /// Where the credentials and the relay's configuration are written.
    #[arg(long, value_name = "DIR", default_value = "simulator")]
    folder: PathBuf,
    /// Replace what an earlier run left in the folder.
    #[arg(long)]
    overwrite: bool,
    /// Where Apple's stand-in listens.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8067")]
    apns: SocketAddr,
    /// Where Google's stand-in listens, messages and OAuth.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8068")]
    fcm: SocketAddr,
    /// Where the inbox page and the control interface are.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8069")]
    inbox: SocketAddr,
    /// Allow addresses that other machines can reach. Whoever reaches the inbox reads every push.
    #[arg(long)]
    allow_remote: bool,
}

impl Simulate {
    pub(super) fn run(self) -> Result<(), Failure> {
        super::block_on(async move {
            let shutdown = Shutdown::new();
            Signals::noted()?.watch(&shutdown, STOP_DEADLINE);
            let credentials = Credentials::generate().map_err(Failure::running)?;
            let mut settings = SimulatorSettings::new(&credentials);
            settings.apns_listen = self.apns;
            settings.fcm_listen = self.fcm;
            settings.inbox_listen = self.inbox;
            settings.allow_remote = self.allow_remote;
            // A relay under development is restarted often, and each start mints a provider token.
            settings.provider_token_interval = Duration::ZERO;
            let simulator = Simulator::start(settings)
                .await
                .map_err(|error| Failure::running(format!("the simulator cannot start: {error}")))?;
            let senders = demo::Senders::generate();
            let relay = SocketAddr::from(([127, 0, 0, 1], 8066));
            demo::write(&self.folder, &credentials, &simulator, &senders, relay, self.overwrite)?;

            let folder = self.folder.display();
            let (target, token) = demo::DEVICES[0];
            say(format_args!("APNs        https://localhost:{}", simulator.apns_address().port()))?;
            say(format_args!("FCM, OAuth  https://localhost:{}", simulator.fcm_address().port()))?;
            say(format_args!("Inbox       http://{}/", simulator.inbox_address()))?;
            say(format_args!("\nNow run a relay in front of it, and send to it:\n"))?;
            say(format_args!("  pushrelay serve --config {folder}/{}", demo::CONFIGURATION))?;
            say(format_args!(
                "  pushrelay send --platform apple_rn-v2 --token {token} --server-id {} --key {folder}/server.pem",
                demo::SERVER_ID
            ))?;
            say(format_args!(
                "  RELAY_URL=http://{relay} WEBHOOK_SECRET=$(cat {folder}/{}) SERVER={} TARGET={target} DEVICE={token} \\\n    \
                 docs/examples/notify.sh",
                demo::PROGRAM_SECRET,
                demo::PROGRAM_ID
            ))?;
            say(format_args!("\nWhat became of one, and what waits:\n"))?;
            say(format_args!("  pushrelay trace ACK_ID --config {folder}/{}", demo::CONFIGURATION))?;
            say(format_args!("  pushrelay queue list --config {folder}/{}", demo::CONFIGURATION))?;
            say(format_args!("\nCtrl-C ends the simulator."))?;

            shutdown.begun().await;
            tokio::select! {
                () = simulator.stop() => {}
                () = shutdown.forced() => {}
            }
            Ok(())
        })
    }
}
