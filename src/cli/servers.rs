//! `pushrelay servers`: who may send, and who has been seen sending.

mod learned;
mod listing;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Failure;
use super::enroll::{Asking, Consent, renew, show};
use crate::cli::output::{print, remark, say};
use crate::clock::Clock;
use crate::config::{Edit, KnownServers};

/// See and change which chat servers may send.
#[derive(Debug, Args)]
#[command(after_help = "\
Servers with a file of their own in the servers directory can be changed here; a running relay
takes the change within a second. Those in the configuration itself are shown, and changed by hand.

Examples:
  pushrelay servers list --config /etc/pushrelay/pushrelay.toml
  pushrelay servers show chat.example.com --json
  pushrelay servers disable chat.example.com      it may send nothing for the time being
  pushrelay servers rotate chat.example.com       take the new key that it publishes
  pushrelay servers learned                       who was seen sending in observe mode
  pushrelay servers adopt dqgjzjy4ebf6fxzmjn9ojrfz6e --name chat.example.com")]
pub(super) struct Servers {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(List),
    Show(Show),
    Disable(Disable),
    Enable(Enable),
    Rotate(Rotate),
    Learned(learned::Learned),
    Adopt(learned::Adopt),
}

/// Where the servers are written.
#[derive(Debug, Args)]
pub(super) struct Where {
    /// The relay's configuration, which says where its chat servers are.
    #[arg(long, short, value_name = "FILE", env = "PUSHRELAY_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    /// The directory of chat servers, instead of the one that the configuration names.
    #[arg(long, value_name = "DIR")]
    servers_directory: Option<PathBuf>,
}

/// List all servers, one a line.
#[derive(Debug, Args)]
#[command(after_help = "\
Those of the configuration and those with files of their own, with how each may sign, and what is
worth knowing: that it is disabled, or that a key has ended. Entries that cannot be used are said
beside the list.

Examples:
  pushrelay servers list --config /etc/pushrelay/pushrelay.toml
  pushrelay servers list --servers-directory /etc/pushrelay/servers.d --json")]
struct List {
    #[command(flatten)]
    place: Where,
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// Show everything about one server.
#[derive(Debug, Args)]
#[command(after_help = "\
Its id, its keys by their fingerprints, its limits, and the file that says so. Nothing secret is
shown.

Example:
  pushrelay servers show chat.example.com --config /etc/pushrelay/pushrelay.toml")]
struct Show {
    /// Its name or id.
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    place: Where,
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// Let a server send nothing for the time being.
#[derive(Debug, Args)]
#[command(after_help = "\
Its pushes are answered with 403 from then on, and its keys, limits and counts stay. (With
auth.mode = \"observe\" this is only observed.) `pushrelay servers enable NAME` takes it back.

Example:
  pushrelay servers disable chat.example.com --config /etc/pushrelay/pushrelay.toml")]
struct Disable {
    /// Its name or id.
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    place: Where,
}

/// Let a disabled server send again.
#[derive(Debug, Args)]
#[command(after_help = "\
Takes back what `pushrelay servers disable` did: its keys, limits and counts are as they were.

Example:
  pushrelay servers enable chat.example.com --config /etc/pushrelay/pushrelay.toml")]
struct Enable {
    /// Its name or id.
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    place: Where,
}

/// Take the new key that a server publishes.
#[derive(Debug, Args)]
#[command(after_help = "\
Asks at the site that is registered for the server. A key that differs is shown beside the old one,
and after a confirmation both count: the new one from now on, the old one for a while (--grace).

Example:
  pushrelay servers rotate chat.example.com --grace 1d")]
struct Rotate {
    /// Its name or id.
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    asking: Asking,
    #[command(flatten)]
    consent: Consent,
}

impl Servers {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::List(list) => list.run(),
            Command::Show(show) => show.run(),
            Command::Disable(Disable { name, place }) => set_disabled(&place, &name, true),
            Command::Enable(Enable { name, place }) => set_disabled(&place, &name, false),
            Command::Rotate(rotate) => rotate.run(),
            Command::Learned(learned) => learned.run(),
            Command::Adopt(adopt) => adopt.run(),
        }
    }
}

impl Where {
    /// Reads what is registered; what cannot be used is said, and the rest goes on.
    pub(super) fn read(&self) -> Result<KnownServers, Failure> {
        let known = match &self.servers_directory {
            Some(directory) => KnownServers::of_directory(directory.clone()),
            None => KnownServers::of_configuration(self.config.as_deref(), std::env::vars_os())
                .map_err(Failure::configuration)?,
        };
        if self.config.is_none() && known.directory().is_none() && known.servers().next().is_none() {
            return Err(Failure::running(
                "it is not known where chat servers are registered: name the configuration (--config FILE or \
                 PUSHRELAY_CONFIG) or their directory (--servers-directory DIR)",
            ));
        }
        for trouble in &known.troubles {
            remark(format_args!("warning: {trouble}"));
        }
        Ok(known)
    }
}

impl List {
    fn run(self) -> Result<(), Failure> {
        let known = self.place.read()?;
        let now = Clock::System.unix_seconds();
        if self.json {
            say(format_args!(
                "{:#}",
                known.servers().map(|server| listing::json(&server, now)).collect::<serde_json::Value>()
            ))?;
        } else {
            print(format_args!("{}", listing::list(&known, now)))?;
        }
        Ok(())
    }
}

impl Show {
    fn run(self) -> Result<(), Failure> {
        let known = self.place.read()?;
        let now = Clock::System.unix_seconds();
        let server = known.find(&self.name).map_err(Failure::running)?;
        if self.json {
            say(format_args!("{:#}", listing::json(&server, now)))?;
        } else {
            print(format_args!("{}", listing::show(&server, now)))?;
        }
        Ok(())
    }
}

fn set_disabled(place: &Where, name: &str, disabled: bool) -> Result<(), Failure> {
    let known = place.read()?;
    let server = known.find(name).map_err(Failure::running)?;
    let (name, word) = (&server.settings.name, if disabled { "disabled" } else { "enabled" });
    if server.settings.disabled == disabled {
        say(format_args!("{name} is {word} already."))?;
        return Ok(());
    }
    let (file, _) = known.change(&server, &Edit::Disabled(disabled)).map_err(Failure::running)?;
    say(format_args!("{name} is {word}, in {}. A running relay takes it within a second.", file.display()))?;
    Ok(())
}

impl Rotate {
    fn run(self) -> Result<(), Failure> {
        let known = self.place.read()?;
        let server = known.find(&self.name).map_err(Failure::running)?;
        let Some(site) = &server.settings.site else {
            return Err(Failure::running(format!(
                "no `site` is registered for {}: `pushrelay enroll https://…` asks at an address that you give",
                server.settings.name
            )));
        };
        let publication = self.asking.ask(site)?;
        show(site, &publication)?;
        if publication.id != server.settings.id {
            return Err(Failure::running(format!(
                "{site} calls itself {} now, and is registered as {}: the server was set up anew, or another one answers \
                 there. Nothing was changed. If it is yours, `pushrelay enroll {site} --name …` registers the new id",
                publication.id, server.settings.id
            )));
        }
        renew(&known, &server, site, &publication, &self.consent)
    }
}
