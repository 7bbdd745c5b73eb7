//! `pushrelay trace`: what happened to one notification, from the journal that the relay keeps.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use clap::Args;
use serde_json::{Value, json};

use super::Failure;
use super::output::{print, remark, say};
use super::table::table;
use crate::clock::Clock;
use crate::config::KnownServers;
use crate::journal::{self, JournalSettings, Line, ReadError};
use crate::queue::OpenError;
use crate::queue::inspect::{Inspector, Shown, State};

/// Entries of the queue that are told of: one a device of the same id is usual, one in all more so.
const MOST_WAITING: usize = 20;

/// See what happened to one notification.
#[derive(Debug, Args)]
#[command(after_help = "\
Reads the journal that a relay with `data_dir` keeps for a day (journal.keep), while it runs or not,
and tells what of it waits on disk.
The id is the `ack_id` that the chat server gave the notification, or the `webhook-id` or `id` of a
program's message; log lines have it, too.

The provider's id is what Apple and Google know it by: Apple's Push Notifications Console finds a
push by its apns-id. Exit code 1 if nothing is known of the notification.

Examples:
  pushrelay trace k4hs7dn3qp8fmw --config /etc/pushrelay/pushrelay.toml
  pushrelay trace k4hs7dn3qp8fmw --data-dir /var/lib/pushrelay --json

What it prints:
  TIME (UTC)                WHAT HAPPENED                            WHY
  2027-01-15T08:00:00.120Z  attempt 1 failed after 104 ms            ServiceUnavailable
  2027-01-15T08:00:01.380Z  delivered at attempt 2, 1364 ms in all
  2027-01-15T08:00:02.061Z  received by the phone, 681 ms later")]
pub(super) struct Trace {
    /// The notification's id.
    #[arg(value_name = "ACK_ID")]
    ack_id: String,
    /// The relay's configuration, which says where its journal is.
    #[arg(long, short, value_name = "FILE", env = "PUSHRELAY_CONFIG")]
    config: Option<PathBuf>,
    /// The relay's `data_dir`, instead of the one that the configuration names.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
}

impl Trace {
    pub(super) fn run(self) -> Result<(), Failure> {
        if self.ack_id.is_empty() {
            return Err(Failure::running(
                "the id is empty: a notification that was sent without an `ack_id` is not in the journal",
            ));
        }
        let data_dir = self.data_dir()?;
        let directory = data_dir.join(JournalSettings::DIRECTORY);
        let waiting = self.in_the_queue(&data_dir);
        let lines = match journal::read(&directory, &self.ack_id) {
            Err(ReadError::Missing(_)) if !waiting.is_empty() => Vec::new(),
            read => read.map_err(Failure::running)?,
        };
        if lines.is_empty() && waiting.is_empty() {
            return Err(Failure::running(format!(
                "nothing is known of {:?} in {}. It may be that\n\
                 \x20 - it is older than the journal reaches back (journal.keep, 24h unless set; journal.max_size)\n\
                 \x20 - another relay took it, if several share the work: each keeps a journal of its own\n\
                 \x20 - it never came to the relay, or was refused before its id could be read: see the log\n\
                 \x20 - it came within the last second, and is not written yet\n\
                 \x20 - the relay was killed before it was written, or was restored without --with-journal\n\
                 \x20 - journal.enabled is false, or data_dir was not set when it came\n\
                 \x20 - the journal could not be written: see pushrelay_journal_lines_dropped_total in the metrics",
                self.ack_id,
                directory.display()
            )));
        }
        if self.json {
            let lines = lines.iter().map(|line| json!(line));
            let all: Vec<_> = lines.chain(waiting.iter().map(|entry| as_json(entry, Clock::System.unix()))).collect();
            return say(format_args!("{:#}", Value::Array(all)));
        }
        if lines.is_empty() {
            say(
                "The journal knows nothing of it: the relay was killed before it was written, or was restored without \
                 --with-journal, or it is older than the journal reaches back.",
            )?;
        } else {
            print(timeline(&lines))?;
        }
        for entry in &waiting {
            say(in_words(entry))?;
        }
        if lines.len() == journal::MOST_LINES {
            say(format_args!("Only the last {} lines are shown.", journal::MOST_LINES))?;
        }
        Ok(())
    }

    /// What still waits, oldest first: the journal may have missed how it got there. Where there is no queue, nothing does.
    fn in_the_queue(&self, data_dir: &Path) -> Vec<Shown> {
        let looked = match Inspector::open(data_dir, Clock::System) {
            Ok(inspector) => inspector.named(&self.ack_id, MOST_WAITING).map_err(|error| error.to_string()),
            Err(OpenError::Missing { .. }) => Ok(Vec::new()),
            Err(error) => Err(error.to_string()),
        };
        looked.unwrap_or_else(|problem| {
            remark(format_args!("pushrelay: whether it waits on disk is not known: {problem}"));
            Vec::new()
        })
    }

    fn data_dir(&self) -> Result<PathBuf, Failure> {
        if let Some(directory) = &self.data_dir {
            return Ok(directory.clone());
        }
        let known = KnownServers::of_configuration(self.config.as_deref(), std::env::vars_os())
            .map_err(Failure::configuration)?;
        known.data_dir.ok_or_else(|| {
            Failure::running(match &self.config {
                Some(file) => format!(
                    "{} has no `data_dir`, so this relay keeps no journal; --data-dir DIR names that of another",
                    file.display()
                ),
                None => "it is not known where the journal is: name the configuration (--config FILE or \
                         PUSHRELAY_CONFIG) or the relay's data directory (--data-dir DIR)"
                    .to_owned(),
            })
        })
    }
}

/// What the queue has of it, in a sentence.
fn in_words(entry: &Shown) -> String {
    let milliseconds = |at: Duration| u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
    let Shown { id, attempts, .. } = entry;
    let reason = entry.reason.as_deref().map(|reason| format!(", {reason:?} at last")).unwrap_or_default();
    let tries = if *attempts == 1 { "1 attempt".to_owned() } else { format!("{attempts} attempts") };
    let then = match (entry.state, entry.wakes_at) {
        (State::Buried, _) => "given up, and kept to be looked at".to_owned(),
        (State::Leased, _) => "an attempt is under way".to_owned(),
        (State::Waiting, Some(at)) => format!("due {}", time(milliseconds(at))),
        (State::Waiting | State::Ready, _) => "due now".to_owned(),
    };
    let until = time(milliseconds(entry.expires_at));
    let target = entry.target.as_str();
    format!(
        "In the queue it is entry {id} for {target}: {tries}{reason}; {then}; its time is over {until}. `pushrelay queue \
         show {id}` shows more."
    )
}

/// As a line of the journal would be, with what the queue knows besides.
fn as_json(entry: &Shown, now: Duration) -> Value {
    let milliseconds = |at: Duration| u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
    json!({
        "id": entry.ack_id,
        "at": milliseconds(now),
        "event": "in_queue",
        "server": entry.server,
        "target": entry.target.as_str(),
        "kind": entry.kind,
        "reason": entry.reason,
        "attempts": entry.attempts,
        "expires_at": milliseconds(entry.expires_at),
        "entry": entry.id.number(),
        "state": entry.state.as_str(),
        "wakes_at": entry.wakes_at.map(milliseconds),
    })
}

/// One row a line, in their order.
fn timeline(lines: &[Line<'_>]) -> String {
    let mut delivered = None;
    let rows = lines.iter().map(|line| {
        let what = what(line, delivered);
        if line.outcome.as_deref() == Some("delivered") {
            delivered = Some(line.at);
        }
        let text = |text: &Option<Cow<'_, str>>| text.as_deref().unwrap_or_default().to_owned();
        let Line { server, target, kind, .. } = line;
        let push = if target.is_empty() { String::new() } else { format!("{server} → {target}, {kind}") };
        [time(line.at), what, text(&line.reason), text(&line.provider_id), push]
    });
    table(["TIME (UTC)", "WHAT HAPPENED", "WHY", "PROVIDER'S ID", "PUSH"], rows)
}

/// In words. `delivered` is when the provider took it, milliseconds since the Unix epoch.
fn what(line: &Line<'_>, delivered: Option<u64>) -> String {
    let (attempts, ms) = (line.attempts.unwrap_or_default(), line.ms.unwrap_or_default());
    let after = match attempts {
        0 => "without an attempt".to_owned(),
        1 => "after 1 attempt".to_owned(),
        more => format!("after {more} attempts"),
    };
    match (&*line.event, line.outcome.as_deref()) {
        ("ended", Some("delivered")) if attempts <= 1 => format!("delivered at the first attempt, in {ms} ms"),
        ("ended", Some("delivered")) => format!("delivered at attempt {attempts}, {ms} ms in all"),
        ("ended", Some("removed")) => format!("the token is dead, and the server was told so {after}, {ms} ms"),
        ("ended", Some("failed")) => format!("given up {after}, {ms} ms"),
        ("attempt", _) => format!("attempt {attempts} failed after {ms} ms"),
        ("queued", _) => format!("queued {after}, to be tried until {}", time(line.expires_at.unwrap_or_default())),
        ("superseded", _) => "a later one took its place in the queue".to_owned(),
        ("expired", _) => format!("its time was over {after}"),
        ("removed_late", _) if attempts == 0 => {
            "its device token was found dead while it waited: the server is told at its next push to it".to_owned()
        }
        ("removed_late", _) => {
            format!("the token is dead, {after}, {ms} ms: the server is told at its next push to it")
        }
        ("buried", _) => format!("left the queue undelivered {after}, and is kept to be looked at"),
        ("dropped", _) => format!("an operator dropped it {after}"),
        ("retried", _) => format!("an operator asked for another try {after}"),
        ("receipt", _) => match delivered.and_then(|delivered| line.at.checked_sub(delivered)) {
            Some(later) => format!("received by the phone, {later} ms later"),
            None => "received by the phone".to_owned(),
        },
        ("repeat", _) => "came again; answered without waking the phone".to_owned(),
        ("refused", _) => "refused: not admitted".to_owned(),
        ("withheld", _) => "the token is dead, but too many were: the server was not told".to_owned(),
        ("allowed", _) => "an operator had let such removals through".to_owned(),
        // Of a later release.
        (event, outcome) => [Some(event), outcome].into_iter().flatten().collect::<Vec<_>>().join(" "),
    }
}

/// `2027-01-15T08:00:00.120Z`. Years have four digits.
fn time(unix_milliseconds: u64) -> String {
    /// 9999-12-31T23:59:59.999Z, the last time that RFC 3339 can write.
    const LAST: u64 = 253_402_300_799_999;
    let at = UNIX_EPOCH + Duration::from_millis(unix_milliseconds.min(LAST));
    humantime::format_rfc3339_millis(at).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2027-01-15T08:00:00Z, milliseconds.
    const NOW: u64 = 1_800_000_000_000;

    fn line(text: &str) -> Line<'static> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_timeline_is_read_from_top_to_bottom_and_a_receipt_counts_from_the_delivery() {
        let push = r#""server":"chat-1","target":"apple_rn","kind":"message""#;
        let lines = [
            format!(
                r#"{{"id":"a","at":{},"event":"attempt",{push},"reason":"ServiceUnavailable","attempts":1,"ms":104}}"#,
                NOW + 120
            ),
            format!(
                r#"{{"id":"a","at":{},"event":"ended",{push},"outcome":"delivered","provider_id":"5e5d","attempts":2,"ms":1364}}"#,
                NOW + 1_380
            ),
            format!(r#"{{"id":"a","at":{},"event":"receipt"}}"#, NOW + 2_061),
        ];
        let lines: Vec<_> = lines.iter().map(|text| line(text)).collect();
        let expected = "\
TIME (UTC)                WHAT HAPPENED                           WHY                 PROVIDER'S ID  PUSH
2027-01-15T08:00:00.120Z  attempt 1 failed after 104 ms           ServiceUnavailable                 chat-1 → apple_rn, message
2027-01-15T08:00:01.380Z  delivered at attempt 2, 1364 ms in all                      5e5d           chat-1 → apple_rn, message
2027-01-15T08:00:02.061Z  received by the phone, 681 ms later
";
        assert_eq!(timeline(&lines), expected);
    }

    #[test]
    fn every_event_is_said_in_words_and_one_of_a_later_release_by_its_name() {
        for (members, expected) in [
            (
                r#""event":"ended","outcome":"delivered","attempts":1,"ms":12"#,
                "delivered at the first attempt, in 12 ms",
            ),
            (
                r#""event":"ended","outcome":"removed","attempts":1,"ms":9"#,
                "the token is dead, and the server was told so after 1 attempt, 9 ms",
            ),
            (r#""event":"ended","outcome":"failed","attempts":0,"ms":0"#, "given up without an attempt, 0 ms"),
            (
                r#""event":"queued","attempts":3,"expires_at":1800003600000"#,
                "queued after 3 attempts, to be tried until 2027-01-15T09:00:00.000Z",
            ),
            (r#""event":"superseded""#, "a later one took its place in the queue"),
            (r#""event":"expired","attempts":1"#, "its time was over after 1 attempt"),
            (
                r#""event":"removed_late","attempts":2,"ms":1364"#,
                "the token is dead, after 2 attempts, 1364 ms: the server is told at its next push to it",
            ),
            (
                r#""event":"removed_late""#,
                "its device token was found dead while it waited: the server is told at its next push to it",
            ),
            (
                r#""event":"buried","attempts":2"#,
                "left the queue undelivered after 2 attempts, and is kept to be looked at",
            ),
            (r#""event":"dropped","attempts":7"#, "an operator dropped it after 7 attempts"),
            (r#""event":"retried","attempts":1"#, "an operator asked for another try after 1 attempt"),
            (r#""event":"receipt""#, "received by the phone"),
            (r#""event":"repeat""#, "came again; answered without waking the phone"),
            (r#""event":"refused""#, "refused: not admitted"),
            (r#""event":"withheld""#, "the token is dead, but too many were: the server was not told"),
            (r#""event":"allowed""#, "an operator had let such removals through"),
            (r#""event":"teleported","outcome":"elsewhere""#, "teleported elsewhere"),
        ] {
            let line = line(&format!(r#"{{"id":"a","at":{NOW},{members}}}"#));
            assert_eq!(what(&line, None), expected);
        }
    }

    #[test]
    fn what_a_caller_wrote_does_not_move_the_cursor() {
        let line = line(&format!(
            r#"{{"id":"a","at":{NOW},"event":"repeat","server":"\u001b[2J","target":"t","kind":"message"}}"#
        ));
        assert!(!timeline(&[line]).contains('\u{1b}'));
    }
}
