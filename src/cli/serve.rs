//! `pushrelay serve`: runs the relay.

use std::path::PathBuf;

use clap::Args;

use super::{Failure, signals};
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
        let loaded = config::load(self.config.as_deref(), std::env::vars_os()).map_err(Failure::configuration)?;
        // Kept to the end: dropping it writes the last lines out.
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
        let settings = loaded.settings;
        let ran = super::block_on(async {
            let shutdown = Shutdown::new();
            let deadline = settings.shutdown_deadline;
            let listeners = Listeners::bind(&settings.http).await.map_err(Failure::running)?;
            let app = App::new(settings, &Clock::System, &shutdown, guard.dropped_lines()).map_err(|errors| {
                // A service manager tries 1 again, and not 78.
                if errors.may_pass() { Failure::running(errors) } else { Failure::configuration(errors) }
            })?;
            signals::watch_and_reload(&shutdown, deadline, app.reload())?;
            app.run(listeners).await;
            tracing::info!("stopped");
            Ok(())
        });
        if let Err(failure) = &ran {
            // Whoever reads only the log file must find it there.
            tracing::error!(error = failure.text, "not started");
        }
        ran
    }
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
