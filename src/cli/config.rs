//! `pushrelay config`: what a configuration comes to.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Failure;
use super::output::{print, say};
use crate::config::{self, Wanted};

/// See what a configuration comes to.
#[derive(Debug, Args)]
#[command(after_help = "\
A setting comes from the file, from a variable that beats it, or from the default. `pushrelay config
print` shows for every key which of them holds.

Examples:
  pushrelay config print --config pushrelay.toml
  pushrelay config print --changed")]
pub(super) struct Config {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Print(Print),
}

/// Print every setting with its value and who says so.
#[derive(Debug, Args)]
#[command(after_help = "\
Reads and checks what `pushrelay serve` would read, starts nothing, and prints TOML that can be read
again. Nothing secret is in it: where \"(set)\" stands, a value was given and is not shown.

Behind each value stands where it comes from: a file with its line, a variable, or `default`. Chat
servers with files of their own are among them, each with its file. Relative paths are printed as
absolute ones. A JSON file of mattermost-push-proxy is shown as what it means.

If the configuration is wrong, all its problems are printed instead, as `pushrelay check` does, and
the exit code is 78.

Examples:
  pushrelay config print --config pushrelay.toml
  pushrelay config print --config pushrelay.toml --changed
  pushrelay config print --json")]
struct Print {
    /// The relay's configuration; without one, the environment says it all.
    #[arg(long, short, value_name = "FILE", env = "PUSHRELAY_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
    /// Only what the file or a variable says.
    #[arg(long, conflicts_with = "defaults")]
    changed: bool,
    /// Only what holds because nobody says anything else.
    #[arg(long)]
    defaults: bool,
}

impl Config {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Command::Print(print) = self.command;
        print.run()
    }
}

impl Print {
    fn run(self) -> Result<(), Failure> {
        let wanted = match (self.changed, self.defaults) {
            (true, _) => Wanted::Changed,
            (_, true) => Wanted::Defaults,
            _ => Wanted::All,
        };
        let directory = std::env::current_dir()
            .map_err(|error| Failure::running(format!("cannot tell the working directory: {error}")))?;
        let effective = config::effective(self.config.as_deref(), std::env::vars_os(), &directory)
            .map_err(Failure::configuration)?;
        if self.json { say(format_args!("{:#}", effective.json(wanted))) } else { print(effective.toml(wanted)) }
    }
}
