//! Files and environment become validated settings, or a list of everything that is wrong with them.
//!
//! The way of a value: `document` reads the file, `environment` lays variables over it, `values` checks each section
//! against the table in `keys`, and this module, `servers` and `targets` build the settings that the other modules
//! define. No step stops at the first problem: `finding` collects them.
//!
//! Nothing here opens a socket, reads the process's environment or starts anything.

mod credentials;
mod document;
mod edge;
mod effective;
mod effort;
mod environment;
mod files;
mod finding;
mod inventory;
mod keys;
mod kind;
mod known;
mod manual;
mod migrate;
mod probe;
mod proxy;
mod reference;
mod server_file;
mod servers;
mod servers_directory;
mod targets;
#[cfg(test)]
mod tests;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use credentials::{CredentialReading, CredentialSources, Remainder, Stamps, TargetReading};
use document::Document;
pub use effective::{Effective, Wanted, effective};
use finding::Findings;
pub use finding::{Finding, Place, Problems};
pub use inventory::inventory;
use keys::Group;
pub use known::{ChangeError, KnownServer, KnownServers, authorities};
pub use manual::manual;
pub use migrate::{Migrated, migrate};
pub use probe::{ProbeAddress, probe_address};
pub use server_file::{Edit, EditError, NewServer};
use servers::Registered;
pub use servers_directory::{Reading, ServersDirectory, Trouble, WriteError};
use url::Url;
use values::Values;

use crate::admission::ServerSettings;
use crate::journal::JournalSettings;
use crate::notification::Compatibility;
use crate::queue::QueueSettings;
use crate::relay::memory::MemorySettings;
use crate::telemetry::log::{LogFileSettings, LogFormat, LogSettings};
use crate::telemetry::traces::TraceSettings;

/// The directory with further chat servers, beside the configuration file, unless it names another.
const SERVERS_DIRECTORY: &str = "servers.d";

/// Everything that `serve` needs, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The edge.
    pub http: crate::http::HttpSettings,
    /// Who may send.
    pub admission: crate::admission::AdmissionSettings,
    /// Where further chat servers are read from while the relay runs; those that it holds now are among the settings of
    /// admission.
    pub servers_directory: Option<ServersDirectory>,
    /// Where to keep what is to be known after a restart; nothing is kept without it.
    pub data_dir: Option<PathBuf>,
    /// What happened to each notification is kept there; nowhere without it, and never without `data_dir`.
    pub journal: Option<crate::journal::JournalSettings>,
    /// Where spans go; there are none without it.
    pub traces: Option<crate::telemetry::traces::TraceSettings>,
    /// How hard to try.
    pub delivery: crate::delivery::DeliverySettings,
    /// What is used to keep notifications on disk; without it, none are.
    pub queue: Option<QueueUse>,
    /// How long notifications are of use.
    pub lifetimes: crate::delivery::lifetime::LifetimeSettings,
    /// When nothing is sent to a provider that does not work.
    pub breaker: crate::delivery::breaker::BreakerSettings,
    /// When a provider's word about dead tokens is not believed; without it, it always is, as in the reference.
    pub removal_guard: Option<crate::delivery::removal_guard::RemovalGuardSettings>,
    /// How far back repeats are known; without it they are sent again, as the reference does.
    pub memory: Option<crate::relay::memory::MemorySettings>,
    /// Where to. No two of the same name; empty only if [`Settings::tolerate_broken_targets`].
    pub targets: Vec<crate::sender::TargetSettings>,
    /// Where their credentials are read from again while the relay runs.
    pub credentials: CredentialSources,
    /// Targets that are configured and cannot be used; empty unless [`Settings::tolerate_broken_targets`].
    pub left_out: Vec<crate::sender::LeftOut>,
    /// Whether to serve without the targets that cannot be set up, as mattermost-push-proxy does: so for its files.
    pub tolerate_broken_targets: bool,
    /// Log lines.
    pub log: crate::telemetry::log::LogSettings,
    /// How closely the reference is followed.
    pub compatibility: crate::notification::Compatibility,
    /// How long running work may take after a request to stop.
    pub shutdown_deadline: Duration,
}

/// A queue on disk, and how much depends on it.
#[derive(Clone, Debug)]
pub struct QueueUse {
    /// Where it is and how large it may become.
    pub settings: crate::queue::QueueSettings,
    /// Whether the relay rather does not start than runs without it.
    pub is_required: bool,
}

/// A configuration that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What to run with.
    pub settings: Settings,
    /// What works and is worth knowing, in the order of the file and then of the variables.
    pub warnings: Vec<Finding>,
    /// The file that was read, where it was found.
    pub file: Option<PathBuf>,
}

/// Reads a file, if there is one, lays the environment over it (pass `std::env::vars_os()`), and checks everything.
///
/// Relative paths in the file are relative to its directory; those in variables, and in files of mattermost-push-proxy, to
/// the working directory.
///
/// # Errors
/// Everything that is wrong, each with its place and a remedy. Values of secret keys are not in it.
pub fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Loaded, Problems> {
    let mut findings = Findings::default();
    let file = file.map(reference::find);
    let built = build(file.as_deref(), environment, &mut findings);
    let warnings = findings.finish()?;
    let (_, settings) = built.expect("whoever builds nothing reports why");
    Ok(Loaded { settings, warnings, file })
}

fn build(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    findings: &mut Findings,
) -> Option<(Document, Settings)> {
    let Some(mut document) = read(file, findings) else {
        // The variables can be checked all the same.
        environment::apply(&mut Document::empty(&Place::Nowhere), environment, findings);
        return None;
    };
    let environment: Vec<_> = environment.into_iter().collect();
    environment::apply(&mut document, environment.iter().cloned(), findings);
    if document.is_reference {
        reference::finish(&document, findings);
    }
    let directory = directory(file, &document);
    let mut settings = settings(&mut document, directory, findings);
    settings.credentials = settings.credentials.read_from(file, environment);
    if let Some(file) = file {
        warn_of_open_secrets(file, &document, directory, findings);
    }
    Some((document, settings))
}

/// What a file holds, without a byte order mark. `remedy` is for one that cannot be read.
fn text(
    content: Result<Vec<u8>, String>,
    place: &Place,
    remedy: &'static str,
    findings: &mut Findings,
) -> Option<String> {
    let content = match content {
        Ok(content) => content,
        Err(problem) => {
            findings.problem(place, "", format!("cannot be read: {problem}"), remedy);
            return None;
        }
    };
    let Ok(text) = String::from_utf8(content) else {
        findings.problem(place, "", "is not text (UTF-8)", "save it as UTF-8");
        return None;
    };
    Some(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// The configuration when a command begins: from a pipe, too.
fn read(file: Option<&Path>, findings: &mut Findings) -> Option<Document> {
    read_with(files::read_once, file, findings)
}

fn read_with(
    read: fn(&Path) -> Result<Vec<u8>, String>,
    file: Option<&Path>,
    findings: &mut Findings,
) -> Option<Document> {
    let Some(path) = file else { return Some(Document::empty(&Place::Nowhere)) };
    let name: Arc<str> = path.display().to_string().into();
    let place = Place::File(name.clone());
    let remedy = "give the path of a file that the relay may read, or configure it with variables alone";
    let text = text(read(path), &place, remedy, findings)?;
    let text = text.as_str();
    let named_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    if named_json || text.trim_start().starts_with('{') {
        reference::parse(text, &name, findings)
    } else {
        Document::parse(text, &name, findings)
    }
}

/// What relative paths of the file are relative to: its directory. The reference's count from the working directory.
fn directory<'a>(file: Option<&'a Path>, document: &Document) -> &'a Path {
    file.filter(|_| !document.is_reference).and_then(Path::parent).unwrap_or(Path::new(""))
}

fn settings(document: &mut Document, directory: &Path, findings: &mut Findings) -> Settings {
    for (group, key) in [(&keys::TARGET, "name"), (&keys::SERVER, "name"), (&keys::SERVER, "id")] {
        report_duplicates(document, group, key, findings);
    }
    let top = Values::check(document.section(&keys::TOP), directory, findings);
    let compatibility = match top.choice("compatibility") {
        "strict" => Compatibility::Strict,
        _ => Compatibility::Improved,
    };
    let shutdown_deadline = top.duration("shutdown_deadline");
    let data_dir = top.path("data_dir");
    // A wrong address is among the findings already; its default is not compared with others.
    let listen = (top.address("listen"), (!top.is_wrong("listen")).then(|| top.place("listen")));
    if document.lacks(&keys::TARGET) && document.is_reference {
        let place = document.section(&keys::TOP).place.clone();
        let remedy = "add one to ApplePushSettings or AndroidPushSettings for each app";
        findings.warning(&place, "", "names no target: no push can arrive", remedy);
    } else if document.lacks(&keys::TARGET) {
        let place = document.section(&keys::TOP).place.clone();
        let remedy = match place {
            Place::Nowhere => {
                "name a configuration file, or set PUSHRELAY_TARGET__<NAME>__PROVIDER and what belongs to it"
            }
            _ => "add [[target]] with name and provider for each app; config/pushrelay.toml shows one of each kind",
        };
        findings.problem(&place, "target", "there is none", remedy);
    }
    let delivery = effort::delivery(document, directory, shutdown_deadline, findings);
    let lifetimes = effort::lifetimes(document, directory, findings);
    let breaker = effort::breaker(document, directory, findings);
    let removal_guard = effort::removal_guard(document, directory, findings);
    let http = edge::http(document, directory, listen, findings);
    let queue = queue(document, directory, data_dir.as_deref(), findings);
    let memory = memory(document, directory, findings);
    let journal = journal(document, directory, data_dir.as_deref(), findings);
    let traces = traces(document, directory, findings);
    let log = log(document, directory, findings);
    let target_names: BTreeSet<String> =
        document.sections(&keys::TARGET).filter_map(|section| section.text("name").map(str::to_owned)).collect();
    let mut servers = Vec::new();
    for section in document.sections(&keys::SERVER) {
        let values = Values::check(section, directory, findings);
        servers.extend(servers::server(&values, &target_names, findings));
    }
    let servers_directory = servers_directory(document, directory, &servers, target_names, findings);
    let (targets, left_out) = targets::all(document, directory, compatibility, findings);
    let no_server = document.lacks(&keys::SERVER);
    let auth = Values::check(document.section(&keys::AUTH), directory, findings);
    let registered = match &servers_directory {
        None if no_server => Registered::Nobody,
        Some(directory) if no_server && directory.servers().is_empty() => {
            if directory.is_there() {
                Registered::NobodyYet
            } else {
                Registered::Nobody
            }
        }
        _ => Registered::Somebody,
    };
    let servers = servers_directory.as_ref().map_or(servers, ServersDirectory::servers);
    let admission = servers::admission(&auth, servers, registered, findings);
    Settings {
        http,
        admission,
        servers_directory,
        data_dir,
        journal,
        traces,
        delivery,
        queue,
        lifetimes,
        breaker,
        removal_guard,
        memory,
        targets,
        credentials: CredentialSources::of(document),
        left_out,
        tolerate_broken_targets: document.is_reference,
        log,
        compatibility,
        shutdown_deadline,
    }
}

/// The directory that is named, or the usual one beside the file, there or not: it may come later.
fn servers_directory(
    document: &mut Document,
    directory: &Path,
    servers: &[ServerSettings],
    targets: BTreeSet<String>,
    findings: &mut Findings,
) -> Option<ServersDirectory> {
    let is_reference = document.is_reference;
    // Checked a second time only for this; what it finds has been said.
    let top = Values::check(document.section(&keys::TOP), directory, &mut Findings::default());
    let (path, asked_for) = match top.path("servers_directory") {
        Some(path) => (path, Some(&top)),
        None if is_reference || top.is_wrong("servers_directory") || top.place("") == Place::Nowhere => return None,
        None => (directory.join(SERVERS_DIRECTORY), None),
    };
    Some(ServersDirectory::open(path, asked_for, servers.to_vec(), targets, findings))
}

fn queue(
    document: &mut Document,
    directory: &Path,
    data_dir: Option<&Path>,
    findings: &mut Findings,
) -> Option<QueueUse> {
    let queue = Values::check(document.section(&keys::QUEUE), directory, findings);
    let (max_entries, max_bytes) = (queue.number("max_entries"), queue.number("max_size"));
    let is_required = queue.choice("when_unusable") != "continue";
    let Some(data_dir) = data_dir else {
        if queue.was_given("enabled") && queue.flag("enabled") {
            let what = "has no place on disk: what a provider does not take at once is lost";
            queue.warning(findings, "enabled", what, "set data_dir to a directory that the relay may write to");
        }
        return None;
    };
    let settings = QueueSettings { directory: data_dir.to_owned(), max_entries, max_bytes: Some(max_bytes) };
    queue.flag("enabled").then_some(QueueUse { settings, is_required })
}

fn memory(document: &mut Document, directory: &Path, findings: &mut Findings) -> Option<MemorySettings> {
    let memory = Values::check(document.section(&keys::MEMORY), directory, findings);
    memory
        .flag("enabled")
        .then(|| MemorySettings { window: memory.duration("window"), entries: memory.number("entries") })
}

fn traces(document: &mut Document, directory: &Path, findings: &mut Findings) -> Option<TraceSettings> {
    let traces = Values::check(document.section(&keys::TRACES), directory, findings);
    let endpoint = traces.text("endpoint")?;
    if !cfg!(feature = "otlp") {
        let what = "this program was built without traces";
        traces.problem(findings, "endpoint", what, "build it with `--features otlp`, or leave [traces] out");
        return None;
    }
    let endpoint = Url::parse(endpoint).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let Some(endpoint) = endpoint else {
        let remedy = "write it with its path: http://127.0.0.1:4318/v1/traces";
        traces.problem(findings, "endpoint", "is no address of a collector", remedy);
        return None;
    };
    let service_name = traces.text("service_name").unwrap_or_default().to_owned();
    Some(TraceSettings { endpoint, service_name, sample_percent: traces.number("sample_percent") })
}

fn journal(
    document: &mut Document,
    directory: &Path,
    data_dir: Option<&Path>,
    findings: &mut Findings,
) -> Option<JournalSettings> {
    let journal = Values::check(document.section(&keys::JOURNAL), directory, findings);
    if !journal.flag("enabled") {
        return None;
    }
    let Some(data_dir) = data_dir else {
        if let Some(given) = ["enabled", "keep", "max_size"].into_iter().find(|name| journal.was_given(name)) {
            let what = "is of no use without `data_dir`: no journal is kept, and `pushrelay trace` finds nothing";
            journal.warning(findings, given, what, "set data_dir, or leave [journal] out");
        }
        return None;
    };
    Some(JournalSettings {
        directory: data_dir.join(JournalSettings::DIRECTORY),
        keep: journal.duration("keep"),
        max_bytes: journal.number("max_size"),
    })
}

fn log(document: &mut Document, directory: &Path, findings: &mut Findings) -> LogSettings {
    let log = Values::check(document.section(&keys::LOG), directory, findings);
    let format = match log.choice("format") {
        "human" => LogFormat::Human,
        _ => LogFormat::Json,
    };
    let filter = log.choice("filter").to_owned();
    if ["debug", "trace"].iter().any(|level| filter.to_ascii_lowercase().contains(level)) {
        let what = "writes several lines for each notification, which costs time and disk";
        log.warning(findings, "filter", what, "set it back to \"info\" when you have seen enough");
    }
    let file = log.path("file").map(|path| LogFileSettings {
        path,
        max_bytes: log.number("file_size"),
        keep: log.number("file_keep"),
    });
    if file.is_none() && !log.flag("console") {
        let what = "is off, and no file is named: lines go to the standard output all the same";
        log.warning(findings, "console", what, "name a file, or leave it on");
    }
    LogSettings { console: log.flag("console"), file, format, filter }
}

fn report_duplicates(document: &Document, group: &Group, key: &str, findings: &mut Findings) {
    let mut first: BTreeMap<&str, &Place> = BTreeMap::new();
    for section in document.sections(group) {
        let Some(text) = section.text(key) else { continue };
        let Some(entry) = section.entries.get(key) else { continue };
        match first.get(text) {
            None => drop(first.insert(text, &entry.place)),
            Some(place) => {
                let place = match place {
                    Place::Line(_, line) => format!("line {line}"),
                    other => other.to_string().trim_end_matches(": ").to_owned(),
                };
                let what = format!("is the {key} of another {} already, in {place}", group.name);
                findings.problem(&entry.place, section.path(key), what, format!("give each {} its own", group.name));
            }
        }
    }
}

fn warn_of_open_secrets(file: &Path, document: &Document, directory: &Path, findings: &mut Findings) {
    if !files::is_world_readable(file) {
        return;
    }
    for section in document.sections(&keys::TARGET).chain(document.sections(&keys::SERVER)) {
        // Checked a second time only for this; what it finds has been said.
        for (name, place) in Values::check(section, directory, &mut Findings::default()).secrets_in_file() {
            let what = "stands in a file that everybody on this machine may read";
            let remedy = if document.is_reference {
                "chmod o-r the file".to_owned()
            } else {
                format!("chmod o-r the file, or move the value into a file of its own and name it with {name}_file")
            };
            findings.warning(&place, section.path(name), what, remedy);
        }
    }
}
