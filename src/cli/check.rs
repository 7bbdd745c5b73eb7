//! `pushrelay check`: is this configuration right? Reads everything that `serve` would read and starts nothing.

use std::path::PathBuf;

use clap::Args;

use super::Failure;
use crate::cli::output::say;
use crate::clock::Clock;
use crate::config;
use crate::http::Standing;
use crate::sender::Sender;
use crate::sender::apns::KeysInUse;

/// Check a configuration without starting anything.
#[derive(Debug, Args)]
#[command(after_help = "\
Reports every problem at once, with its place and a remedy, and exits with 78 if there is one. Keys,
certificates and service accounts are read and tried. No provider is asked: a key that Apple has
revoked still looks right here.

Example:
  pushrelay check --config /etc/pushrelay/pushrelay.toml")]
pub(super) struct Check {
    /// The configuration file; without one, the environment says it all.
    #[arg(long, short, value_name = "FILE", env = "PUSHRELAY_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
}

impl Check {
    pub(super) fn run(self) -> Result<(), Failure> {
        let loaded = config::load(self.config.as_deref(), std::env::vars_os()).map_err(Failure::configuration)?;
        let left_out = loaded.settings.left_out.iter();
        let mut problems: Vec<_> =
            left_out.map(|left| format!("target `{}` would be left out: {}", left.name, left.problem)).collect();
        let mut lines = Vec::new();
        let mut keys = KeysInUse::default();
        for target in &loaded.settings.targets {
            match Sender::new(target, &Clock::System, &mut keys) {
                // `serve` starts with it, for the sake of the other targets; whoever asks wants to know.
                Ok(sender) => match sender.credential_problem() {
                    Some(problem) => problems.push(format!("target `{}`: {problem}", target.name)),
                    None => {
                        lines.push(format!(
                            "target {} ({}): credentials read",
                            target.name,
                            sender.platform().as_str()
                        ));
                    }
                },
                Err(error) => problems.push(error.to_string()),
            }
        }
        for warning in &loaded.warnings {
            say(format_args!("warning: {warning}"))?;
        }
        if let Some(tls) = &loaded.settings.http.tls {
            match tls.standing(Clock::System.unix_seconds()) {
                Standing::Good(_) => lines.push(format!("TLS: the certificate ends on {}", tls.ends())),
                Standing::EndsSoon(_) => {
                    say(format_args!("warning: TLS: the certificate ends soon, on {}", tls.ends()))?;
                }
                Standing::Refused(why) => {
                    say(format_args!(
                        "warning: TLS: the certificate {why}: chat servers refuse it (it ends on {})",
                        tls.ends()
                    ))?;
                }
            }
        }
        for line in lines {
            say(format_args!("{line}"))?;
        }
        if !problems.is_empty() {
            return Err(Failure::configuration(problems.join("\n")));
        }
        let servers = loaded.settings.admission.servers.len();
        say(format_args!(
            "The configuration is right. Targets: {}, servers: {servers}.",
            loaded.settings.targets.len()
        ))?;
        Ok(())
    }
}
