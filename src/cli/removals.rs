//! `pushrelay removals`: what is believed of dead device tokens, and an operator's word that more of them are really dead.
//! Beside a relay that may be running: it takes note within a second of the next one.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Failure;
use super::output::{print, say};
use super::table::table;
use crate::clock::{Clock, rfc3339};
use crate::config::KnownServers;
use crate::delivery::removal_guard::ledger::{self, ALLOWED_FOR_S, Grant, Ledger, MOST_ALLOWED, Record};

/// How many are let through when nobody says: a small fleet.
const ALLOWED: &str = "100";

/// See how many dead device tokens were believed, and let more through.
#[derive(Debug, Args)]
#[command(after_help = "\
Apple and Google answer a wrong certificate, topic or project as they answer a dead device token, so
a relay believes only so many (docs/delivery.md). Works on the files of a relay with `data_dir`,
while it runs or not.

Examples:
  pushrelay removals show --config /etc/pushrelay/pushrelay.toml
  pushrelay removals allow --target apple_rn --count 500")]
pub(super) struct Removals {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Show(Show),
    Allow(Allow),
}

/// Where the relay keeps it.
#[derive(Debug, Args)]
struct Where {
    /// The relay's configuration, which says where its data is.
    #[arg(long, short, value_name = "FILE", env = "PUSHRELAY_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    /// The relay's `data_dir`, instead of the one that the configuration names.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Show what was believed of each target's dead device tokens.
#[derive(Debug, Args)]
#[command(after_help = "\
SINCE DELIVERY counts those believed since a push last arrived, LAST DAY those of the last day,
DELIVERED what arrived in it (up to ten minutes old), ALLOWED what an operator lets through beyond.

Examples:
  pushrelay removals show --config /etc/pushrelay/pushrelay.toml
  pushrelay removals show --data-dir /var/lib/pushrelay --json")]
struct Show {
    #[command(flatten)]
    place: Where,
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// Let removals of device tokens through that the relay would not believe.
#[derive(Debug, Args)]
#[command(after_help = "\
For tokens that are really dead: an app was given up, and its phones moved to another one. If the
certificate, the topic or the project is wrong, each one that is let through silences a phone until
its app registers again. Holds for a day; a further one takes the place of the one before, and
--count 0 ends it. The relay's log tells when it takes note, and `pushrelay trace` of each push.

Examples:
  pushrelay removals allow --target apple_rn --config /etc/pushrelay/pushrelay.toml
  pushrelay removals allow --target apple_rn --count 500
  pushrelay removals allow --target apple_rn --count 0")]
struct Allow {
    /// The target.
    #[arg(long, value_name = "NAME")]
    target: String,
    /// How many, up to 100000.
    #[arg(long, value_name = "COUNT", default_value = ALLOWED, value_parser = count)]
    count: u64,
    #[command(flatten)]
    place: Where,
}

fn count(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(count) if count <= MOST_ALLOWED => Ok(count),
        _ => Err(format!("is not a number from 0 to {MOST_ALLOWED}")),
    }
}

impl Removals {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Show(show) => show.run(),
            Command::Allow(allow) => allow.run(),
        }
    }
}

impl Where {
    /// The directory, and what the relay has kept in it.
    fn read(&self) -> Result<(PathBuf, Ledger), Failure> {
        let directory = if let Some(directory) = &self.data_dir {
            directory.clone()
        } else {
            let known = KnownServers::of_configuration(self.config.as_deref(), std::env::vars_os())
                .map_err(Failure::configuration)?;
            known.data_dir.ok_or_else(|| {
                Failure::running(
                    "there is no `data_dir`, so nothing of this is kept: name the configuration of a relay that has one \
                     (--config FILE or PUSHRELAY_CONFIG) or its data directory (--data-dir DIR)",
                )
            })?
        };
        let ledger = ledger::read(&directory).map_err(Failure::running)?;
        if ledger.is_empty() {
            return Err(Failure::running(format!(
                "nothing is kept in {}: no relay with [removal_guard] has run there yet",
                directory.display()
            )));
        }
        Ok((directory, ledger))
    }
}

impl Show {
    fn run(self) -> Result<(), Failure> {
        let (directory, ledger) = self.place.read()?;
        let grants = ledger::read_grants(&directory).map_err(Failure::running)?;
        let now = Clock::System.unix_seconds();
        let rows = ledger.iter().map(|(name, record)| {
            // The relay has taken note of it, or will.
            let given = grants.get(name).copied().filter(|given| record.grant.is_none_or(|known| known.id != given.id));
            (name, record, given.or(record.grant).filter(|grant| grant.left > 0 && now < grant.until))
        });
        if self.json {
            let rows = rows.map(|(name, record, grant)| {
                json!({
                    "target": name,
                    "since_delivery": record.since_delivery,
                    "believed_last_day": of_the_day(&record.believed, now),
                    "delivered_last_day": of_the_day(&record.delivered, now),
                    "allowed": grant.map_or(0, |grant| grant.left),
                    "allowed_until": grant.map(|grant| grant.until),
                })
            });
            return say(format_args!("{:#}", Value::Array(rows.collect())));
        }
        let rows = rows.map(|(name, record, grant)| {
            let Record { since_delivery, believed, delivered, .. } = record;
            let allowed = grant.map(|grant| format!("{} until {}", grant.left, rfc3339(grant.until)));
            [
                name.clone(),
                since_delivery.to_string(),
                of_the_day(believed, now).to_string(),
                of_the_day(delivered, now).to_string(),
                allowed.unwrap_or_default(),
            ]
        });
        print(table(["TARGET", "SINCE DELIVERY", "LAST DAY", "DELIVERED", "ALLOWED"], rows))
    }
}

/// Of counts by the hour.
fn of_the_day(counted: &[(u64, u64)], now: u64) -> u64 {
    counted.iter().filter(|(hour, _)| (now / 3_600).saturating_sub(*hour) < 24).map(|(_, count)| count).sum()
}

impl Allow {
    fn run(self) -> Result<(), Failure> {
        let (directory, ledger) = self.place.read()?;
        let Self { target, count, .. } = self;
        if !ledger.contains_key(&target) {
            let names: Vec<_> = ledger.keys().map(String::as_str).collect();
            return Err(Failure::running(format!("there is no target {target:?}; there are {}", names.join(", "))));
        }
        let mut grants = ledger::read_grants(&directory).map_err(Failure::running)?;
        let now = Clock::System.unix();
        let until = now.as_secs() + ALLOWED_FOR_S;
        // Over ones make room: the file does not grow beyond the relay's targets.
        grants.retain(|name, grant| grant.until > now.as_secs() && ledger.contains_key(name));
        let id = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        grants.insert(target.clone(), Grant { id, left: count, until });
        ledger::write_grants(&directory, &grants).map_err(Failure::running)?;
        say(format_args!(
            "{count} device tokens of {target} that Apple or Google calls dead are told to chat servers, beyond what is \
             believed anyway, until {}.",
            rfc3339(until)
        ))
    }
}
