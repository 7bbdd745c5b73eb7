//! Log lines: where they go, and the few whose shape matters to others. What is logged at which level, and what never
//! is, stands in `docs/logging.md`.
//!
//! Lines go to the console, to a file, or to both; each has a thread of its own. Whoever reads our standard output slowly
//! loses lines, and the relay does not wait.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tracing_subscriber::EnvFilter;

use super::archive::Archive;
use super::file::LogFile;
pub use super::file::LogFileSettings;
use super::line::Line;
use super::sink::{Outputs, Sink, SinkGuard, write_to_console};
use crate::clock::Clock;
use crate::notification::Notification;
use crate::outcome::{Outcome, Reason};

/// Bytes of lines that wait for each output. With callers' texts cut at [`BOUND`] a line has some 300 bytes: at
/// 2,000 notifications a second they outlast a reader that stops for seven seconds.
const WAITING_BYTES: usize = 4 * 1024 * 1024;

/// The longest wait at the end, for a reader that has stopped or a compression that runs. What is cut off of the latter
/// is done at the next start.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// Bytes of a text from a caller that a line shows. Mattermost's ids have 26.
const BOUND: usize = 64;

/// The library that checks providers' certificates.
const ECHOING: &str = "rustls_platform_verifier";

/// How logs are written.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// Whether lines go to the standard output. They do in any case when there is no file.
    pub console: bool,
    /// The file that lines go to.
    pub file: Option<LogFileSettings>,
    /// JSON or human.
    pub format: LogFormat,
    /// A `tracing` filter such as `info` or `pushrelay=debug,info`.
    pub filter: String,
}

/// The shape of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For a terminal.
    Human,
}

/// Why logs cannot be written as asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter does not parse.
    #[error("`{filter}` is not a log filter ({problem}); try `info` or `pushrelay=debug,info`")]
    Filter {
        /// As configured.
        filter: String,
        /// What the parser says.
        problem: String,
    },
    /// The file cannot be opened or created.
    #[error("cannot write the log file `{}`: {problem}; {remedy}", path.display())]
    File {
        /// As configured.
        path: PathBuf,
        /// What the system says.
        problem: String,
        /// What may help.
        remedy: &'static str,
    },
    /// The system gives no thread.
    #[error("cannot start the thread that writes the log: {0}")]
    NoThread(io::Error),
    /// Somebody in this process was first.
    #[error("this process already writes logs")]
    AlreadyInstalled,
}

impl LogError {
    pub(super) fn file(path: &Path, error: &io::Error) -> Self {
        let remedy = match error.kind() {
            ErrorKind::PermissionDenied => {
                "let the user that the relay runs as create files in its directory, or choose another path"
            }
            ErrorKind::IsADirectory => "name a file, such as one in that directory",
            ErrorKind::NotADirectory => "a part of the path is a file; choose another path",
            ErrorKind::ReadOnlyFilesystem => "mount a volume that can be written to, or choose another path",
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "make room on the disk, or choose another path",
            _ => "choose another path, or log to the console only",
        };
        Self::File { path: path.to_owned(), problem: error.to_string(), remedy }
    }
}

/// Writes the lines that still wait when it is dropped (within a second): keep it until the end of `main`.
#[derive(Debug)]
pub struct LogGuard {
    outputs: Outputs,
    sinks: Vec<SinkGuard>,
    archive: Option<Archive>,
}

impl LogGuard {
    /// The count of lines lost so far, for the metrics.
    pub fn dropped_lines(&self) -> DroppedLines {
        DroppedLines(self.outputs.clone())
    }

    /// Whether, by then, every line was written and every rotated file compressed.
    fn finish(&self, until: Instant) -> bool {
        // All of them, before any is waited for.
        self.sinks.iter().for_each(SinkGuard::end);
        self.sinks.iter().all(|sink| sink.wait(until)) && self.archive.iter().all(|archive| archive.wait(until))
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        // Whether it is done or the time passed, there is nothing more to do.
        let _ = self.finish(Instant::now() + END_TIMEOUT);
    }
}

/// How many lines were lost because their reader was too slow, or because the file could not be written.
#[derive(Clone, Debug, Default)]
pub struct DroppedLines(Outputs);

impl DroppedLines {
    /// Since the start of the process. A line lost for the console and for the file counts twice.
    pub fn count(&self) -> u64 {
        self.0.dropped()
    }
}

/// Reads a filter.
pub fn parse_filter(filter: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::builder()
        .parse(filter)
        .map_err(|error| LogError::Filter { filter: filter.to_owned(), problem: error.to_string() })
}

/// What a library says of what we say better: it has an error line for each certificate that it does not trust, which the
/// failed attempt's own line names with its target. Written all the same if the filter names the library.
fn without_echoes(filter: EnvFilter, text: &str) -> EnvFilter {
    if text.contains(ECHOING) {
        return filter;
    }
    filter.add_directive(format!("{ECHOING}=off").parse().expect("a name and a level are a directive"))
}

/// Opens the outputs that are asked for.
fn open(
    settings: &LogSettings,
    clock: Clock,
    mut console: impl Write + Send + 'static,
    stderr: impl Write + Send + 'static,
) -> Result<LogGuard, LogError> {
    let (mut sinks, mut guards, mut archive) = (Vec::new(), Vec::new(), None);
    let mut start = |(sink, guard)| {
        sinks.push(sink);
        guards.push(guard);
    };
    if let Some(settings) = &settings.file {
        let (mut file, keeps) = LogFile::open(settings, clock, stderr)?;
        archive = Some(keeps);
        let write = move |lines: &[u8]| file.write(lines);
        start(Sink::start("log-file", WAITING_BYTES, write).map_err(LogError::NoThread)?);
    }
    if settings.console || settings.file.is_none() {
        let write = move |lines: &[u8]| write_to_console(&mut console, lines);
        start(Sink::start("log-console", WAITING_BYTES, write).map_err(LogError::NoThread)?);
    }
    Ok(LogGuard { outputs: Outputs::new(sinks), sinks: guards, archive })
}

/// From here the process logs, panics included.
pub fn init(settings: &LogSettings) -> Result<LogGuard, LogError> {
    let filter = without_echoes(parse_filter(&settings.filter)?, &settings.filter);
    let guard = open(settings, Clock::System, io::stdout(), io::stderr())?;
    tracing_subscriber::fmt()
        .event_format(Line(settings.format))
        .with_env_filter(filter)
        .with_writer(guard.outputs.clone())
        .try_init()
        .map_err(|_| LogError::AlreadyInstalled)?;
    // The text of a panic can quote what was being worked on (slicing a message within a character does), so a line says
    // where it was and no more.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a bug: the relay panicked here; please report it");
    }));
    Ok(guard)
}

/// The beginning of a caller's text, as much of it as a line shows. The line's format escapes it.
pub fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(BOUND)]
}

/// What a line says a notification is: never its token and never its text.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The caller's name for it.
    pub ack_id: &'a str,
    /// Who says that it sends.
    pub server: &'a str,
    /// Where to.
    pub target: &'a str,
    /// What it is about; a fixed word.
    pub kind: &'static str,
}

impl<'a> Subject<'a> {
    /// Of this notification.
    pub fn of(notification: &'a Notification) -> Self {
        Self {
            ack_id: &notification.ack_id,
            server: notification.server_id.as_str(),
            target: notification.target.as_str(),
            kind: notification.kind.word(),
        }
    }
}

impl fmt::Debug for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subject({}, {})", bounded(self.target), self.kind)
    }
}

/// How a notification ended.
#[derive(Clone, Copy, Debug)]
pub struct Ending<'a> {
    /// What the caller is told.
    pub outcome: &'a Outcome,
    /// The provider's word, unless delivered.
    pub reason: Option<Reason>,
    /// What the request would have been refused for, were signatures required; only set in observe mode.
    pub observed: Option<&'static str>,
    /// How many times it was tried; 0 if it never got that far.
    pub attempts: u32,
    /// From admission to here.
    pub took: Duration,
}

/// The one line of a notification that was admitted: `info` if a provider decided, `warn` if it did not arrive.
pub fn notification_line(subject: &Subject<'_>, ending: &Ending<'_>) {
    let (ack_id, server, target) = (bounded(subject.ack_id), bounded(subject.server), bounded(subject.target));
    let Subject { kind, .. } = subject;
    let Ending { reason, observed, attempts, .. } = ending;
    let ms = u64::try_from(ending.took.as_millis()).unwrap_or(u64::MAX);
    // What is `None` is left out of the line.
    let decided = |outcome: &'static str| {
        tracing::info!(ack_id, server, target, kind, outcome, reason, observed, attempts, ms, "notification");
    };
    match ending.outcome {
        Outcome::Delivered => decided("delivered"),
        Outcome::Queued => decided("queued"),
        Outcome::Remove => decided("removed"),
        Outcome::Failed { text } => {
            let (outcome, error) = ("failed", text.as_ref());
            tracing::warn!(
                ack_id,
                server,
                target,
                kind,
                outcome,
                reason,
                observed,
                attempts,
                ms,
                error,
                "notification"
            );
        }
    }
}

/// The second line of one that waited on disk until a later one made it needless. `reason` is why its last attempt failed.
pub fn superseded_line(subject: &Subject<'_>, attempts: u32, reason: Option<Reason>, took: Duration) {
    let (ack_id, server, target) = (bounded(subject.ack_id), bounded(subject.server), bounded(subject.target));
    let (kind, outcome) = (subject.kind, "superseded");
    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    tracing::info!(ack_id, server, target, kind, outcome, reason, attempts, ms, "notification");
}

/// The one line of a request that came before: `answer` says in a fixed word where the answer came from.
pub fn repeat_line(subject: &Subject<'_>, answer: &'static str) {
    let (ack_id, server, target) = (bounded(subject.ack_id), bounded(subject.server), bounded(subject.target));
    let (kind, outcome) = (subject.kind, "repeated");
    tracing::info!(ack_id, server, target, kind, outcome, answer, "notification");
}

/// The one line of a notification that was not admitted, and the address that it came from.
pub fn refusal_line(subject: &Subject<'_>, client: IpAddr, reason: &'static str) {
    let (ack_id, server, target) = (bounded(subject.ack_id), bounded(subject.server), bounded(subject.target));
    let kind = subject.kind;
    tracing::warn!(ack_id, server, target, kind, outcome = "refused", reason, client = %client, "notification");
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
