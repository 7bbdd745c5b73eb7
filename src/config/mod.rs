//! Files and environment become validated settings, or a list of everything that is wrong with them.
//!
//! The way of a value: `document` reads the file, `environment` lays variables over it, `values` checks each section
//! against the table in `keys`, and this module, `servers` and `targets` build the settings that the other modules
//! define. No step stops at the first problem: `finding` collects them.
//!
//! Nothing here opens a socket, reads the process's environment or starts anything.

mod document;
mod edge;
mod effective;
mod environment;
mod files;
mod finding;
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

use document::Document;
pub use effective::{Effective, Wanted, effective};
use finding::Findings;
pub use finding::{Finding, Place, Problems};
use keys::Group;
pub use known::{ChangeError, KnownServer, KnownServers, authorities};
pub use manual::manual;
pub use migrate::{Migrated, migrate};
pub use probe::{ProbeAddress, probe_address};
pub use server_file::{Edit, EditError, NewServer};
use servers::Registered;
pub use servers_directory::{Reading, ServersDirectory, Trouble, WriteError};
use values::Values;

use crate::admission::ServerSettings;
use crate::delivery::DeliverySettings;
use crate::notification::Compatibility;
use crate::relay::memory::MemorySettings;
use crate::telemetry::log::{LogFileSettings, LogFormat, LogSettings};

/// How long a Mattermost server waits for the answer to a push before it gives up and loses it.
const MATTERMOST_WAITS: Duration = Duration::from_secs(30);

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
    /// How hard to try.
    pub delivery: crate::delivery::DeliverySettings,
    /// How far back repeats are known; without it they are sent again, as the reference does.
    pub memory: Option<crate::relay::memory::MemorySettings>,
    /// Where to. No two of the same name; empty only if [`Settings::tolerate_broken_targets`].
    pub targets: Vec<crate::sender::TargetSettings>,
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
    environment::apply(&mut document, environment, findings);
    if document.is_reference {
        reference::finish(&document, findings);
    }
    let directory = directory(file, &document);
    let settings = settings(&mut document, directory, findings);
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

fn read(file: Option<&Path>, findings: &mut Findings) -> Option<Document> {
    let Some(path) = file else { return Some(Document::empty(&Place::Nowhere)) };
    let name: Arc<str> = path.display().to_string().into();
    let place = Place::File(name.clone());
    let remedy = "give the path of a file that the relay may read, or configure it with variables alone";
    let text = text(files::read(path), &place, remedy, findings)?;
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
    let delivery = delivery(document, directory, shutdown_deadline, findings);
    let http = edge::http(document, directory, listen, findings);
    let memory = memory(document, directory, findings);
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
        delivery,
        memory,
        targets,
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

fn delivery(
    document: &mut Document,
    directory: &Path,
    shutdown_deadline: Duration,
    findings: &mut Findings,
) -> DeliverySettings {
    let delivery = Values::check(document.section(&keys::DELIVERY), directory, findings);
    let settings = DeliverySettings {
        deadline: delivery.duration("deadline"),
        attempt_timeout: delivery.duration("attempt_timeout"),
        max_attempts: delivery.number("max_attempts"),
        first_pause: delivery.duration("first_pause"),
    };
    // The one that was given is the one to be told.
    let told = |name| if delivery.was_given(name) { name } else { "deadline" };
    let wrong = delivery.is_wrong("deadline") || delivery.is_wrong("attempt_timeout");
    if !wrong && settings.attempt_timeout > settings.deadline {
        let what = "one attempt (attempt_timeout) may take longer than the whole delivery (deadline)";
        delivery.problem(findings, told("attempt_timeout"), what, "lower attempt_timeout or raise deadline");
    }
    if settings.deadline >= MATTERMOST_WAITS {
        let what = "is not below the 30 s that Mattermost waits: later answers are lost, and with them dead tokens";
        delivery.warning(findings, "deadline", what, "stay a few seconds below 30s");
    }
    if shutdown_deadline < settings.deadline {
        let what = "is longer than shutdown_deadline: a stop may cut deliveries off";
        delivery.warning(findings, "deadline", what, "raise shutdown_deadline, or lower delivery.deadline");
    }
    settings
}

fn memory(document: &mut Document, directory: &Path, findings: &mut Findings) -> Option<MemorySettings> {
    let memory = Values::check(document.section(&keys::MEMORY), directory, findings);
    memory
        .flag("enabled")
        .then(|| MemorySettings { window: memory.duration("window"), entries: memory.number("entries") })
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
