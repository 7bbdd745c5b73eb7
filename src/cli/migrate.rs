//! `pushrelay migrate`: the reference's configuration as one of ours.

use std::path::PathBuf;

use clap::Args;

use super::Failure;
use crate::cli::output::{print, remark};
use crate::config;

/// Turn a configuration of mattermost-push-proxy into a pushrelay.toml.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints the TOML that means the same, with comments on what can be switched on now: signatures,
limits, a listener for metrics. Run it in the directory that mattermost-push-proxy is started in, so
that relative paths are understood. Passwords that stand in the file stand in the result too.

Examples:
  pushrelay migrate config/mattermost-push-proxy.json > pushrelay.toml
  pushrelay check --config pushrelay.toml

It is not needed to change over: `pushrelay serve --config mattermost-push-proxy.json` runs with
the file as it is.")]
pub(super) struct Migrate {
    /// The JSON file; `config/FILE` and `../config/FILE` are looked at first, as mattermost-push-proxy does.
    #[arg(value_name = "FILE", default_value = super::reference::FILE)]
    file: PathBuf,
}

impl Migrate {
    pub(super) fn run(self) -> Result<(), Failure> {
        let directory = std::env::current_dir()
            .map_err(|error| Failure::running(format!("cannot tell the working directory: {error}")))?;
        let migrated = config::migrate(&self.file, &directory).map_err(Failure::configuration)?;
        print(format_args!("{}", migrated.toml))?;
        for warning in &migrated.warnings {
            remark(format_args!("warning: {warning}"));
        }
        if migrated.holds_a_secret {
            remark("pushrelay: a password is in what was printed: keep it readable to the relay only (chmod 600)");
        }
        Ok(())
    }
}
