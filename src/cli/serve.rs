//! `pushrelay serve`: runs the relay.

use std::path::{Path, PathBuf};

use clap::Args;

use super::Failure;
use super::signals::Signals;
use crate::app::descriptors::Room;
use crate::app::{App, Listeners};
use crate::clock::Clock;
use crate::config::{self, Settings};
use crate::shutdown::Shutdown;
use crate::telemetry::log::{self, LogError, LogGuard, LogSettings};

/// Run the relay.
#[derive(Debug, Args)]
#[command(
    visible_alias = "start",
    after_help = "\
The file is TOML; config/pushrelay.toml in the source documents every key. Any key can be set or
overridden from the environment: PUSHRELAY_AUTH__MODE=observe sets `mode` in `[auth]`. All problems
of a configuration are reported at once, and nothing starts until there are none.

The JSON file of mattermost-push-proxy is read as well, and looked for in ./config and ../config
first. The relay then behaves as mattermost-push-proxy does: nobody is asked who they are, payloads
and answers are the same, and targets that cannot be set up are left out. `pushrelay migrate FILE`
turns it into TOML.

Signals: SIGTERM and SIGINT stop taking requests and finish those that run; a second one ends at
once. SIGHUP reads the directory of chat servers (servers_directory) and the credentials of targets
again. Both are noticed by themselves, too: docs/credentials.md says how a key or a certificate is
replaced without a restart.

Examples:
  pushrelay serve --config /etc/pushrelay/pushrelay.toml
  pushrelay serve --config mattermost-push-proxy.json"
)]
pub(super) struct Serve {
    /// The configuration file; without one, the environment says it all.
    #[arg(long, short, value_name = "FILE", env = "PUSHRELAY_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
}

impl Serve {
    pub(super) fn run(self) -> Result<(), Failure> {
        super::block_on(self.serve())
    }

    async fn serve(self) -> Result<(), Failure> {
        // Before anything is read or bound: a signal that comes meanwhile waits.
        let mut signals = Signals::noted()?;
        let Some(read) = unless_ended(&mut signals, move || read(self.config.as_deref())).await? else { return Ok(()) };
        // The guard is kept to the end: dropping it writes the last lines out.
        let (settings, guard) = read?;
        let ran = run(settings, &guard, signals).await;
        if let Err(failure) = &ran {
            // Whoever reads only the log file must find it there.
            tracing::error!(error = failure.text, "not started");
        }
        ran
    }
}

/// Does what a start does, which may hang with a disk, aside: a signal that asks for the end is obeyed at once, since nothing
/// has been taken yet. `None` if there was one.
async fn unless_ended<T: Send + 'static>(
    signals: &mut Signals,
    start: impl FnOnce() -> T + Send + 'static,
) -> Result<Option<T>, Failure> {
    #[allow(clippy::disallowed_methods, reason = "one at a time, while nothing else runs")]
    let started = tokio::task::spawn_blocking(start);
    tokio::select! {
        started = started => started.map(Some).map_err(Failure::running),
        signal = signals.end() => {
            tracing::info!(signal, "stopped before anything was taken");
            Ok(None)
        }
    }
}

/// Reads the configuration and begins the log.
fn read(config: Option<&Path>) -> Result<(Settings, LogGuard), Failure> {
    let loaded = config::load(config, std::env::vars_os()).map_err(Failure::configuration)?;
    let (guard, no_file) = start_log(&loaded.settings)?;
    if let Some(problem) = no_file {
        tracing::error!(%problem, "no log file is written; lines go to the standard output");
    }
    if let Some(file) = &loaded.file {
        tracing::info!(file = %file.display(), "configuration read");
    }
    for warning in &loaded.warnings {
        let place = warning.place.to_string();
        let place = place.trim_end_matches(": ");
        let config::Finding { key, what, remedy, .. } = warning;
        let key = (!key.is_empty()).then_some(key);
        tracing::warn!(key, place, what, remedy, "a setting to think about");
    }
    Ok((loaded.settings, guard))
}

async fn run(mut settings: Settings, guard: &LogGuard, mut signals: Signals) -> Result<(), Failure> {
    let room = Room::raised_for(&settings);
    if let Some((what, remedy)) = room.problem() {
        tracing::warn!(what, remedy, "too few file descriptors for this configuration");
    }
    settings.http.max_connections = room.connections();
    let (shutdown, deadline) = (Shutdown::new(), settings.shutdown_deadline);
    let listeners = Listeners::bind(&settings.http).map_err(Failure::running)?;
    let (of_app, dropped_lines) = (shutdown.clone(), guard.dropped_lines());
    let set_up = move || App::new(settings, &Clock::System, &of_app, dropped_lines);
    let Some(app) = unless_ended(&mut signals, set_up).await? else { return Ok(()) };
    let app = app.map_err(|errors| {
        // A service manager tries 1 again, and not 78.
        if errors.may_pass() { Failure::running(errors) } else { Failure::configuration(errors) }
    })?;
    signals.watch_and_reload(&shutdown, deadline, app.reload());
    app.run(listeners).await;
    tracing::info!("stopped");
    Ok(())
}

/// The reference starts without the log file that it is told to write, as it does without a target.
fn start_log(settings: &Settings) -> Result<(LogGuard, Option<LogError>), Failure> {
    match log::init(&settings.log) {
        Ok(guard) => Ok((guard, None)),
        Err(problem @ LogError::File { .. }) if settings.tolerate_broken_targets => {
            let on_the_console = LogSettings { console: true, file: None, ..settings.log.clone() };
            log::init(&on_the_console).map(|guard| (guard, Some(problem))).map_err(Failure::configuration)
        }
        Err(problem) => Err(Failure::configuration(problem)),
    }
}
