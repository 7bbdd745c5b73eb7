//! `pushrelay queue`: what waits on disk, looked at and touched beside a relay that may be running.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Failure;
use super::output::{print, remark, say};
use super::table::table;
use crate::clock::{Clock, rfc3339};
use crate::config::KnownServers;
use crate::journal::{self, Event, JournalSettings};
use crate::notification::PushKind;
use crate::queue::inspect::{Filter, Inspector, MAX_LISTED, MAX_NAMED, Shown, State, Which};
use crate::queue::{EntryId, Slice, TargetStats};
use crate::telemetry::log::Subject;

/// Entries listed when nobody says how many: a few screens.
const LISTED: &str = "100";

/// How often a command that takes its time says how far it is. A million entries take some minutes.
const SPEAK_EVERY: Duration = Duration::from_secs(5);

/// See and change what waits on disk for Apple and Google.
#[derive(Debug, Args)]
#[command(after_help = "\
Works on the file of a relay with `data_dir`, while it runs or not. A running relay takes a change
within a second. No device token and no text is shown.

Examples:
  pushrelay queue stats --config /etc/pushrelay/pushrelay.toml
  pushrelay queue list --target apple_rn
  pushrelay queue show 17
  pushrelay queue retry --all-buried
  pushrelay queue drop 17")]
pub(super) struct Queue {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(List),
    Show(Show),
    Retry(Retry),
    Drop(Drop),
    Stats(Stats),
}

/// Where the queue is.
#[derive(Debug, Args)]
struct Where {
    /// The relay's configuration, which says where its queue is.
    #[arg(long, short, value_name = "FILE", env = "PUSHRELAY_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    /// The relay's `data_dir`, instead of the one that the configuration names.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Which entries.
#[derive(Debug, Args)]
struct Wanted {
    /// Only those of this target.
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// Only those of the chat server with this id.
    #[arg(long, value_name = "ID")]
    server: Option<String>,
}

/// List what waits, the oldest first.
#[derive(Debug, Args)]
#[command(after_help = "\
A state is `waiting` (for its next attempt), `ready` (due), `leased` (an attempt is under way) or
`buried` (the provider will never take it; kept a week to be looked at). The same eight digits under
DEVICE mean the same phone, and say nothing else about it.

Examples:
  pushrelay queue list --config /etc/pushrelay/pushrelay.toml
  pushrelay queue list --buried
  pushrelay queue list --target apple_rn --server dqgjzjy4ebf6fxzmjn9ojrfz6e --limit 1000
  pushrelay queue list --state ready --json")]
struct List {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    wanted: Wanted,
    /// Only those that are given up and kept to be looked at.
    #[arg(long, conflicts_with = "state")]
    buried: bool,
    /// Only those in this state.
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Option<State>,
    /// The most entries listed, up to 10000.
    #[arg(long, value_name = "COUNT", default_value = LISTED, value_parser = limit)]
    limit: usize,
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// Show everything about one entry.
#[derive(Debug, Args)]
#[command(after_help = "\
Everything but what is private: no device token and no text. `pushrelay trace` with its ack id tells
what happened to it before. Exit code 1 if there is no such entry.

Examples:
  pushrelay queue show 17 --config /etc/pushrelay/pushrelay.toml
  pushrelay queue show 17 --json")]
struct Show {
    /// Its number, as `pushrelay queue list` shows it.
    #[arg(value_name = "ID", value_parser = id)]
    id: EntryId,
    #[command(flatten)]
    place: Where,
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// Make entries due now, buried or not.
#[derive(Debug, Args)]
#[command(after_help = "\
A running relay looks within a second, and tries them as soon as the target's breaker allows; one
that is stopped tries them when it starts. An entry whose time is over is left alone, since trying
it would be too late; so is one that is being tried at this moment.

Examples:
  pushrelay queue retry 17 18 --config /etc/pushrelay/pushrelay.toml
  pushrelay queue retry --all-buried
  pushrelay queue retry --target apple_rn")]
struct Retry {
    /// Their numbers.
    #[arg(value_name = "ID", value_parser = id, required_unless_present_any = ["all_buried", "target", "server"],
          conflicts_with_all = ["all_buried", "target", "server"])]
    ids: Vec<EntryId>,
    /// All that are buried.
    #[arg(long)]
    all_buried: bool,
    #[command(flatten)]
    wanted: Wanted,
    #[command(flatten)]
    place: Where,
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// Remove entries: they are not delivered.
#[derive(Debug, Args)]
#[command(after_help = "\
Without --yes, more than entries named one by one are only counted, and the command ends with 1. An
entry that is being tried at this moment may still arrive. What is dropped cannot be had back;
`pushrelay trace` says of it that an operator dropped it.

Examples:
  pushrelay queue drop 17 --config /etc/pushrelay/pushrelay.toml
  pushrelay queue drop --all-buried --yes
  pushrelay queue drop --target apple_rn --server dqgjzjy4ebf6fxzmjn9ojrfz6e --yes")]
struct Drop {
    /// Their numbers.
    #[arg(value_name = "ID", value_parser = id, required_unless_present_any = ["all_buried", "target", "server"],
          conflicts_with_all = ["all_buried", "target", "server"])]
    ids: Vec<EntryId>,
    /// All that are buried.
    #[arg(long)]
    all_buried: bool,
    #[command(flatten)]
    wanted: Wanted,
    /// Do it, however many there are.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    place: Where,
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// Count what waits for each target.
#[derive(Debug, Args)]
#[command(after_help = "\
WAITING counts what is to be delivered, BURIED what is kept to be looked at; OLDEST is how long the
oldest of those to be delivered has waited. A running relay has the same figures in its metrics.

Examples:
  pushrelay queue stats --config /etc/pushrelay/pushrelay.toml
  pushrelay queue stats --data-dir /var/lib/pushrelay --json")]
struct Stats {
    #[command(flatten)]
    place: Where,
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
}

fn state(word: &str) -> Result<State, String> {
    State::of(word).ok_or_else(|| format!("there are {}", State::ALL.map(State::as_str).join(", ")))
}

fn limit(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(limit) if (1..=MAX_LISTED).contains(&limit) => Ok(limit),
        _ => Err(format!("is not a number from 1 to {MAX_LISTED}")),
    }
}

fn id(text: &str) -> Result<EntryId, String> {
    match text.parse() {
        Ok(id) if id > 0 => Ok(EntryId::of(id)),
        _ => Err("is not the number of an entry: `pushrelay queue list` shows them".to_owned()),
    }
}

impl Queue {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::List(list) => list.run(),
            Command::Show(show) => show.run(),
            Command::Retry(retry) => retry.run(),
            Command::Drop(drop) => drop.run(),
            Command::Stats(stats) => stats.run(),
        }
    }
}

impl Where {
    fn open(&self) -> Result<Inspector, Failure> {
        self.open_with_journal().map(|(inspector, _)| inspector)
    }

    /// And where what is changed is to be noted.
    fn open_with_journal(&self) -> Result<(Inspector, PathBuf), Failure> {
        let directory = if let Some(directory) = &self.data_dir {
            directory.clone()
        } else {
            let known = KnownServers::of_configuration(self.config.as_deref(), std::env::vars_os())
                .map_err(Failure::configuration)?;
            known.data_dir.ok_or_else(|| {
                Failure::running(match &self.config {
                    Some(file) => format!(
                        "{} has no `data_dir`, so this relay has no queue; --data-dir DIR names that of another",
                        file.display()
                    ),
                    None => "it is not known where the queue is: name the configuration (--config FILE or \
                             PUSHRELAY_CONFIG) or the relay's data directory (--data-dir DIR)"
                        .to_owned(),
                })
            })?
        };
        let inspector = Inspector::open(&directory, Clock::System).map_err(Failure::running)?;
        Ok((inspector, directory.join(JournalSettings::DIRECTORY)))
    }
}

/// Tells what a command does, slice by slice: the journal, and the person who waits for it.
struct Teller {
    journal: PathBuf,
    event: fn(u32) -> Event<'static>,
    named: u64,
    /// Whether the journal could be written so far.
    is_noted: bool,
    spoke_at: Instant,
}

impl Teller {
    fn of(journal: PathBuf, event: fn(u32) -> Event<'static>) -> Self {
        Self { journal, event, named: 0, is_noted: true, spoke_at: Instant::now() }
    }

    fn tell(&mut self, slice: &Slice<'_>) {
        self.note(slice.named);
        if self.spoke_at.elapsed() >= SPEAK_EVERY {
            self.spoke_at = Instant::now();
            remark(format_args!("pushrelay: {} so far", entries(slice.changed)));
        }
    }

    /// For `pushrelay trace`. What is done is done: where it cannot be noted, the person at the terminal is told, once.
    fn note(&mut self, named: &[Shown]) {
        self.named += named.len() as u64;
        let notes = named.iter().map(|entry| {
            let subject = Subject {
                ack_id: &entry.ack_id,
                server: &entry.server,
                target: entry.target.as_str(),
                kind: PushKind::of_word(&entry.kind).word(),
            };
            (subject, (self.event)(entry.attempts))
        });
        if let Err(error) = journal::note_beside(&self.journal, &Clock::System, notes)
            && self.is_noted
        {
            self.is_noted = false;
            let journal = self.journal.display();
            remark(format_args!("pushrelay: done, but `pushrelay trace` will not know of it: {journal}: {error}"));
        }
    }

    fn end(&self, changed: u64) {
        if changed > self.named {
            remark(format_args!("pushrelay: `pushrelay trace` will know of the first {MAX_NAMED} only"));
        }
    }
}

impl Wanted {
    fn filter(&self, state: Option<State>) -> Filter {
        Filter { target: self.target.clone(), server: self.server.clone(), state }
    }

    /// What is said where nothing is listed.
    fn nothing(&self, state: Option<State>) -> String {
        let Self { target, server } = self;
        if target.is_none() && server.is_none() && state.is_none() {
            return "Nothing waits.".to_owned();
        }
        let mut which = state.map(|state| format!(" in the state {}", state.as_str())).unwrap_or_default();
        if let Some(target) = target {
            which += &format!(" for a target {target:?}");
        }
        if let Some(server) = server {
            which += &format!(" from a server {server:?}");
        }
        format!("There are no entries{which}.")
    }

    /// Which entries are to be changed.
    fn which(&self, ids: Vec<EntryId>, all_buried: bool) -> Which {
        if ids.is_empty() { Which::Matching(self.filter(all_buried.then_some(State::Buried))) } else { Which::Ids(ids) }
    }
}

impl List {
    fn run(self) -> Result<(), Failure> {
        let inspector = self.place.open()?;
        let filter = self.wanted.filter(if self.buried { Some(State::Buried) } else { self.state });
        let entries = inspector.list(&filter, self.limit).map_err(Failure::running)?;
        if self.json {
            return say(format_args!("{:#}", Value::Array(entries.iter().map(as_json).collect())));
        }
        if entries.is_empty() {
            return say(format_args!("{}", self.wanted.nothing(filter.state)));
        }
        print(listing(&entries, Clock::System.unix()))?;
        if entries.len() == self.limit {
            say(format_args!("The first {} are shown; --limit {MAX_LISTED} shows more.", self.limit))?;
        }
        Ok(())
    }
}

impl Show {
    fn run(self) -> Result<(), Failure> {
        let entry = self.place.open()?.show(self.id).map_err(Failure::running)?;
        let entry = entry.ok_or_else(|| {
            Failure::running(format!(
                "there is no entry {}: it was delivered, its time was over, or it was dropped; `pushrelay trace` with its \
                 ack id tells",
                self.id
            ))
        })?;
        if self.json {
            return say(format_args!("{:#}", as_json(&entry)));
        }
        print(details(&entry))
    }
}

impl Retry {
    fn run(self) -> Result<(), Failure> {
        let which = self.wanted.which(self.ids, self.all_buried);
        let (mut inspector, journal) = self.place.open_with_journal()?;
        let mut teller = Teller::of(journal, |attempts| Event::Retried { attempts });
        let retried = inspector.retry(&which, &mut |slice| teller.tell(&slice)).map_err(Failure::running)?;
        teller.end(retried.due);
        if self.json {
            say(format_args!(
                "{:#}",
                json!({ "due": retried.due, "under_way": retried.under_way, "expired": retried.expired,
                        "missing": retried.missing })
            ))?;
        } else {
            say(format_args!("{} due now.", entries(retried.due)))?;
            for (count, what) in [
                (retried.under_way, "being tried at this moment, and left alone"),
                (retried.expired, "left alone: their time is over"),
            ] {
                if count > 0 {
                    say(format_args!("{} {what}.", entries(count)))?;
                }
            }
        }
        missing(retried.missing)
    }
}

impl Drop {
    fn run(self) -> Result<(), Failure> {
        let named = self.ids.len() as u64;
        let which = self.wanted.which(self.ids, self.all_buried);
        let (mut inspector, journal) = self.place.open_with_journal()?;
        if named == 0 && !self.yes {
            let count = inspector.count(&which).map_err(Failure::running)?;
            return Err(Failure::running(format!(
                "{} would be dropped and never delivered; nothing was dropped. Say --yes to do it",
                entries(count)
            )));
        }
        let mut teller = Teller::of(journal, |attempts| Event::Dropped { attempts });
        let dropped = inspector.drop(&which, &mut |slice| teller.tell(&slice)).map_err(Failure::running)?;
        teller.end(dropped);
        if self.json {
            say(format_args!("{:#}", json!({ "dropped": dropped })))?;
        } else {
            say(format_args!("{} dropped.", entries(dropped)))?;
        }
        missing(named.saturating_sub(dropped))
    }
}

/// Whoever names an entry that is not there may have meant another.
fn missing(count: u64) -> Result<(), Failure> {
    match count {
        0 => Ok(()),
        count => Err(Failure::running(format!("{} not there: delivered, expired or dropped before", entries(count)))),
    }
}

fn entries(count: u64) -> String {
    if count == 1 { "1 entry".to_owned() } else { format!("{count} entries") }
}

impl Stats {
    fn run(self) -> Result<(), Failure> {
        let inspector = self.place.open()?;
        let targets = inspector.stats().map_err(Failure::running)?;
        let late = inspector.late_verdicts().map_err(Failure::running)?;
        let bytes = inspector.file_bytes();
        if self.json {
            let targets = targets.iter().map(|target| {
                json!({
                    "target": target.target.as_str(),
                    "waiting": target.waiting,
                    "buried": target.buried,
                    "oldest_accepted_at": target.oldest_accepted_at.map(time),
                })
            });
            let all = json!({ "targets": targets.collect::<Vec<_>>(), "late_verdicts": late, "file_bytes": bytes });
            return say(format_args!("{all:#}"));
        }
        let now = Clock::System.unix();
        let row = |target: &TargetStats| {
            let oldest = target.oldest_accepted_at.map(|at| span(now.saturating_sub(at))).unwrap_or_default();
            [target.target.as_str().to_owned(), target.waiting.to_string(), target.buried.to_string(), oldest]
        };
        if targets.is_empty() {
            say("The queue is empty.")?;
        } else {
            print(table(["TARGET", "WAITING", "BURIED", "OLDEST"], targets.iter().map(row)))?;
        }
        say(format_args!("{late} late verdicts are yet to be told; the file has {bytes} bytes."))
    }
}

/// One row an entry. Times are relative: how long is what an operator wants to know.
fn listing(entries: &[Shown], now: Duration) -> String {
    let row = |entry: &Shown| {
        [
            entry.id.to_string(),
            how(entry).to_owned(),
            entry.target.as_str().to_owned(),
            entry.server.clone(),
            entry.kind.clone(),
            entry.urgency.as_str().to_owned(),
            entry.device.clone(),
            span(now.saturating_sub(entry.accepted_at)),
            left(entry, now),
            entry.attempts.to_string(),
            entry.reason.clone().unwrap_or_default(),
            entry.ack_id.clone(),
        ]
    };
    let heads = [
        "ID",
        "STATE",
        "TARGET",
        "SERVER",
        "KIND",
        "URGENCY",
        "DEVICE",
        "AGE",
        "TIME LEFT",
        "ATTEMPTS",
        "REASON",
        "ACK ID",
    ];
    table(heads, entries.iter().map(row))
}

fn how(entry: &Shown) -> &'static str {
    if entry.superseded { "superseded" } else { entry.state.as_str() }
}

fn left(entry: &Shown, now: Duration) -> String {
    entry.expires_at.checked_sub(now).map_or_else(|| "over".to_owned(), span)
}

/// To the second: `2h 5m 10s`.
fn span(duration: Duration) -> String {
    humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string()
}

fn time(at: Duration) -> String {
    rfc3339(at.as_secs())
}

fn details(entry: &Shown) -> String {
    let optional = |at: Option<Duration>| at.map(time).unwrap_or_default();
    let rows = [
        ("id", entry.id.to_string()),
        ("state", how(entry).to_owned()),
        ("target", entry.target.as_str().to_owned()),
        ("server", entry.server.clone()),
        ("ack id", entry.ack_id.clone()),
        ("kind", entry.kind.clone()),
        ("urgency", entry.urgency.as_str().to_owned()),
        ("device", entry.device.clone()),
        ("accepted", time(entry.accepted_at)),
        ("tried until", time(entry.expires_at)),
        ("next look", optional(entry.wakes_at)),
        ("buried", optional(entry.buried_at)),
        ("attempts", entry.attempts.to_string()),
        ("reason", entry.reason.clone().unwrap_or_default()),
        ("bytes", entry.bytes.to_string()),
    ];
    table(["WHAT", "VALUE"], rows.into_iter().map(|(what, value)| [what.to_owned(), value]))
}

fn as_json(entry: &Shown) -> Value {
    json!({
        "id": entry.id.number(),
        "state": entry.state.as_str(),
        "superseded": entry.superseded,
        "target": entry.target.as_str(),
        "server": entry.server,
        "ack_id": entry.ack_id,
        "kind": entry.kind,
        "urgency": entry.urgency.as_str(),
        "device": entry.device,
        "accepted_at": time(entry.accepted_at),
        "expires_at": time(entry.expires_at),
        "wakes_at": entry.wakes_at.map(time),
        "buried_at": entry.buried_at.map(time),
        "attempts": entry.attempts,
        "reason": entry.reason,
        "bytes": entry.bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notification::{TargetName, Urgency};

    fn entry() -> Shown {
        Shown {
            id: EntryId::of(17),
            target: TargetName::new("apple_rn"),
            server: "chat-1".to_owned(),
            ack_id: "a\u{1b}[2J".to_owned(),
            kind: "message".to_owned(),
            urgency: Urgency::Call,
            device: "01234567".to_owned(),
            state: State::Buried,
            accepted_at: Duration::from_secs(1_800_000_000),
            expires_at: Duration::from_secs(1_800_014_400),
            wakes_at: None,
            buried_at: Some(Duration::from_secs(1_800_000_001)),
            superseded: false,
            attempts: 1,
            reason: Some("PayloadTooLarge".to_owned()),
            bytes: 812,
        }
    }

    #[test]
    fn a_row_tells_how_long_it_has_waited_and_what_is_left_and_nothing_moves_the_cursor() {
        let listed = listing(&[entry()], Duration::from_millis(1_800_000_061_500));
        let row = listed.lines().nth(1).unwrap();
        let cells: Vec<_> = row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        let expected = [
            "17",
            "buried",
            "apple_rn",
            "chat-1",
            "message",
            "call",
            "01234567",
            "1m 1s",
            "3h 58m 58s",
            "1",
            "PayloadTooLarge",
            "a\\u{1b}[2J",
        ];
        assert_eq!(cells, expected, "{listed}");
        assert!(listing(&[entry()], Duration::from_secs(1_800_014_401)).contains("over"));
    }

    #[test]
    fn a_limit_has_a_bound_and_an_id_is_a_number() {
        for (text, right) in [("1", true), ("10000", true), ("0", false), ("10001", false), ("-1", false), ("x", false)]
        {
            assert_eq!(limit(text).is_ok(), right, "{text}");
        }
        for (text, right) in [("1", true), ("0", false), ("-1", false), ("17x", false), ("", false)] {
            assert_eq!(id(text).is_ok(), right, "{text}");
        }
    }
}
