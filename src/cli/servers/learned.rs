//! `pushrelay servers learned` and `adopt`: who was seen sending in observe mode, and the step from there to a registered
//! server. Only reads what the relay has saved; the relay alone writes it.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::Where;
use crate::admission::learned::{self, KeyStanding, NotAdoptable, Report, ServerReport};
use crate::cli::Failure;
use crate::cli::output::{print, say};
use crate::cli::table::table;
use crate::clock::{Clock, rfc3339};
use crate::config::{KnownServers, NewServer};
use crate::notification::ServerId;

/// Show who was seen sending, and the key each signs with.
#[derive(Debug, Args)]
#[command(after_help = "\
With auth.mode = \"observe\" and data_dir set, the relay learns from the pushes of servers that are
not registered: two signatures show the key that they are made with. It saves that every 30 s and
when it stops.

A learned key shows that one sender has signed all that was looked at, and not that it is the
server: whoever sends first in a server's name teaches his own key. `pushrelay enroll SITE` compares
with the server itself.

Examples:
  pushrelay servers learned --config /etc/pushrelay/pushrelay.toml
  pushrelay servers learned --data-dir /var/lib/pushrelay --json")]
pub(super) struct Learned {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    memory: Memory,
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// Register a server with the key that was learned from its pushes.
#[derive(Debug, Args)]
#[command(after_help = "\
For servers whose address this machine cannot reach; for others `pushrelay enroll SITE` is better,
since it asks the server itself. It is refused where anything speaks against the key: one signature
only, two signers, or another server with the same key.

Example:
  pushrelay servers adopt dqgjzjy4ebf6fxzmjn9ojrfz6e --name chat.example.com --config pushrelay.toml")]
pub(super) struct Adopt {
    /// The server's id, as `pushrelay servers learned` shows it.
    #[arg(value_name = "ID")]
    id: String,
    /// What to call the server and its file; its id if absent.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    memory: Memory,
}

#[derive(Debug, Args)]
struct Memory {
    /// Where the relay keeps what it learns, instead of the `data_dir` that the configuration names.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Memory {
    fn read(&self, known: &KnownServers) -> Result<Report, Failure> {
        let directory = self.data_dir.as_ref().or(known.data_dir.as_ref()).ok_or_else(|| {
            Failure::running(
                "nothing is kept of what is learned: set `data_dir` in the configuration, with auth.mode = \"observe\", or \
                 name it with --data-dir DIR",
            )
        })?;
        learned::Learned::read(directory).map_err(Failure::running)
    }
}

impl Learned {
    pub(super) fn run(self) -> Result<(), Failure> {
        // What was learned may be looked at without knowing who is registered.
        let known = match &self.memory.data_dir {
            Some(_) => self.place.read().ok(),
            None => Some(self.place.read()?),
        };
        let known = known.unwrap_or_else(KnownServers::none);
        let report = self.memory.read(&known)?;
        let is_registered = |server: &ServerReport| known.by_id(&server.id).is_some();
        if self.json {
            let servers = report.servers.iter().map(|server| json(server, is_registered(server)));
            let all = json!({
                "servers": servers.collect::<Vec<_>>(),
                "servers_forgotten_for_room": report.forgotten,
                "pushes_with_unusable_ids": report.unusable_ids,
            });
            say(format_args!("{all:#}"))?;
            return Ok(());
        }
        if report.servers.is_empty() {
            say(format_args!(
                "Nobody was seen yet. The relay learns with auth.mode = \"observe\", and saves every 30 s."
            ))?;
        } else {
            print(format_args!("{}", list(&report, is_registered)))?;
        }
        if report.forgotten > 0 {
            say(format_args!(
                "Besides, {} that hardly sent were forgotten to make room: somebody makes ids up, or more servers send than are \
                 remembered.",
                report.forgotten
            ))?;
        }
        if report.unusable_ids > 0 {
            say(format_args!("Besides, {} pushes with an id that is not kept.", report.unusable_ids))?;
        }
        Ok(())
    }
}

fn list(report: &Report, is_registered: impl Fn(&ServerReport) -> bool) -> String {
    let rows = report.servers.iter().map(|server| {
        [
            server.id.to_string(),
            if is_registered(server) { "yes" } else { "no" }.to_owned(),
            rfc3339(server.first_seen),
            rfc3339(server.last_seen),
            server.pushes.to_string(),
            format!("{:.1} %", unsigned_share(server) * 100.0),
            standing(server),
            key(server).unwrap_or_else(|| "-".to_owned()),
        ]
    });
    table(["ID", "REGISTERED", "FIRST SEEN", "LAST SEEN", "PUSHES", "UNSIGNED", "STANDING", "KEY"], rows)
}

fn json(server: &ServerReport, is_registered: bool) -> Value {
    json!({
        "id": server.id.as_str(),
        "registered": is_registered,
        "first_seen": rfc3339(server.first_seen),
        "last_seen": rfc3339(server.last_seen),
        "pushes": server.pushes,
        "signed": server.signed,
        "unsigned": server.unsigned,
        "unsigned_tests": server.unsigned_tests,
        "unusable": server.unusable,
        "unsigned_share": unsigned_share(server),
        "standing": standing(server),
        "adoptable": server.adoptable.is_ok(),
        "fingerprint": key(server),
        "mismatches": server.mismatches,
        "last_mismatch": server.last_mismatch.map(rfc3339),
        "possible_rotation": server.rotation.as_ref().map(|rotation| rotation.key.fingerprint()),
    })
}

/// Of the pushes that Mattermost would have signed: 0 to 1. Tests are left out, which it never signs.
fn unsigned_share(server: &ServerReport) -> f64 {
    let without = server.unsigned + server.unusable;
    let all = server.pushes.saturating_sub(server.unsigned_tests);
    if all == 0 { 0.0 } else { without as f64 / all as f64 }
}

fn standing(server: &ServerReport) -> String {
    let rotation = server.rotation.as_ref().map(|_| ", possibly a new key").unwrap_or_default();
    match server.adoptable {
        Ok(_) => "adoptable".to_owned(),
        Err(NotAdoptable::UnknownServer | NotAdoptable::NoSignature) => "no signature yet".to_owned(),
        Err(NotAdoptable::OneSignature) => "one signature: wait".to_owned(),
        Err(NotAdoptable::Contested) => format!("contested: {} by other keys{rotation}", server.mismatches),
        Err(NotAdoptable::Shared) => "same key as another id".to_owned(),
    }
}

fn key(server: &ServerReport) -> Option<String> {
    match &server.key {
        KeyStanding::Learned { key, .. } => Some(key.fingerprint()),
        KeyStanding::Unknown | KeyStanding::Narrowed { .. } => None,
    }
}

impl Adopt {
    pub(super) fn run(self) -> Result<(), Failure> {
        let known = self.place.read()?;
        let id = ServerId::new(&self.id).ok_or_else(|| Failure::running("the id is empty"))?;
        if let Some(server) = known.by_id(&id) {
            return Err(Failure::running(format!("{id} is registered already, as {}", server.settings.name)));
        }
        let report = self.memory.read(&known)?;
        let server = report.servers.into_iter().find(|server| server.id == id);
        let server = server.ok_or_else(|| {
            Failure::running(format!("{}; `pushrelay servers learned` shows who was", NotAdoptable::UnknownServer))
        })?;
        let key = server.adoptable.as_ref().map_err(|problem| Failure::running(format!("{id}: {problem}")))?;
        let signatures = match &server.key {
            KeyStanding::Learned { signatures, .. } => *signatures,
            KeyStanding::Unknown | KeyStanding::Narrowed { .. } => 0,
        };
        let (first, last) = (rfc3339(server.first_seen), rfc3339(server.last_seen));
        let about = [
            format!(
                "Registered {} from what was learned: {signatures} signatures looked at, between {first} and {last}.",
                rfc3339(Clock::System.unix_seconds())
            ),
            format!("Fingerprint of the key: {}", key.fingerprint()),
            "Nobody has asked the server itself: `pushrelay enroll https://…` does.".to_owned(),
        ];
        let name = self.name.unwrap_or_else(|| id.to_string());
        let new = NewServer { name: &name, id: &id, site: None, key, about: &about };
        let file = known.add(&new).map_err(Failure::running)?;
        say(format_args!("{id} is registered in {}, with the key", file.display()))?;
        say(format_args!("  {}", key.fingerprint()))?;
        say(format_args!(
            "This shows that whoever has sent under this id since {first} holds that key ({signatures} signatures were\n\
             looked at, none by another). It does not show that it is the server: `pushrelay enroll https://…`\n\
             with the server's address compares the key with the one that it publishes."
        ))?;
        Ok(())
    }
}
