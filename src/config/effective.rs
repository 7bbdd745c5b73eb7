//! What a configuration comes to: every key with the value that holds and where it comes from, for `pushrelay config print`.
//! Secrets do not get as far as this module's types: only that one is set.
//!
//! It reads what `load` reads, once more where `load` keeps settings only (the servers directory). `written` prints it.

mod written;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::document::{Document, Entry, Given, Section, Wording};
use super::finding::{Findings, Place, Problems, seems_secret};
use super::keys::{self, Key, Otherwise};
use super::kind::{Kind, Value, show_size};
use super::servers_directory::{MOST_ENTRIES, is_a_servers};
use super::values::Values;
use super::{Settings, build, directory, files, reference, text};
use crate::sender::network::ProxySettings;

/// All keys of a configuration that can be used.
#[derive(Debug)]
pub struct Effective {
    tables: Vec<Table>,
}

/// Which of them are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All.
    All,
    /// Those that somebody gave.
    Changed,
    /// Those that nobody gave.
    Defaults,
}

/// One table of the file, `[http]`, or one of several, `[[target]]`.
#[derive(Debug)]
struct Table {
    name: &'static str,
    repeated: bool,
    /// For people, above it.
    remark: Option<String>,
    settings: Vec<Setting>,
}

#[derive(Debug)]
struct Setting {
    key: String,
    value: Shown,
    origin: Origin,
}

/// A value as it may be shown.
#[derive(Debug)]
enum Shown {
    /// Nothing; what that means.
    Absent(&'static str),
    /// It would be a mistake to write it into one file with the rest; why.
    Aside(String, &'static str),
    Text(String),
    Number(u64),
    Flag(bool),
    List(Vec<String>),
}

/// Who says so.
#[derive(Debug)]
enum Origin {
    Default,
    /// A file with its line, or a variable.
    Given(String),
}

/// What stands for a secret.
const MASK: &str = "(set)";

/// Reads and checks everything as `load` does. Relative paths become absolute, counted from `working_directory` where they
/// are relative to that: what is printed means the same wherever it is put.
///
/// # Errors
/// As of `load`.
pub fn effective(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    working_directory: &Path,
) -> Result<Effective, Problems> {
    let mut findings = Findings::default();
    let file = file.map(reference::find);
    let built = build(file.as_deref(), environment, &mut findings);
    findings.finish()?;
    let (document, settings) = built.expect("whoever builds nothing reports why");
    let base = directory(file.as_deref(), &document);
    let reference_text = file
        .as_deref()
        .filter(|_| document.is_reference)
        .and_then(|file| String::from_utf8(files::read(file).ok()?).ok())
        .unwrap_or_default();
    let reader = Reader { document: &document, settings: &settings, reference_text, working_directory };
    let mut tables: Vec<_> = document.all().map(|section| reader.table(section, base)).collect();
    if let Some(servers) = &settings.servers_directory {
        let mut findings = Findings::default();
        tables.extend(reader.servers(servers.path(), &mut findings));
        findings.finish()?;
    }
    // As the documentation orders them; those of one name stay in the order of the file.
    tables.sort_by_key(|table| keys::GROUPS.iter().position(|group| group.name == table.name));
    Ok(Effective { tables })
}

struct Reader<'a> {
    document: &'a Document,
    settings: &'a Settings,
    /// The file of mattermost-push-proxy; empty if it is none.
    reference_text: String,
    working_directory: &'a Path,
}

impl Reader<'_> {
    /// Those of the servers directory, which `load` has found right.
    fn servers(&self, path: &Path, findings: &mut Findings) -> Vec<Table> {
        let names = files::list(path, MOST_ENTRIES).unwrap_or_default();
        let mut tables = Vec::new();
        for name in names.iter().filter(|name| is_a_servers(name)) {
            let file = path.join(name);
            let shown: Arc<str> = file.display().to_string().into();
            let place = Place::File(shown.clone());
            let section = text(files::read(&file), &place, "make it readable", findings)
                .and_then(|text| Section::of_file(&text, &shown, &keys::SERVER, findings));
            let Some(mut section) = section else { continue };
            let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            section.entries.entry("name".to_owned()).or_insert(Entry { place, given: Given::Text(stem) });
            let mut table = self.table(&section, path);
            table.remark = Some(format!("From {shown}."));
            tables.push(table);
        }
        tables
    }

    fn table(&self, section: &Section, base: &Path) -> Table {
        // What it finds has been said.
        let values = Values::check(section, base, &mut Findings::default());
        let provider = section.text("provider");
        let is_for_it = |key: &&Key| key.only.is_none() || key.only == provider;
        let settings = section.group.keys.iter().filter(is_for_it).map(|key| self.setting(key, section, &values));
        let left_out = self.settings.left_out.iter().filter(|_| section.group.name == keys::TARGET.name);
        let left_out = left_out.into_iter().find(|left| section.text("name") == Some(left.name.as_str()));
        Table {
            name: section.group.name,
            repeated: section.group.repeated,
            remark: left_out.map(|left| format!("Left out, as it cannot be used: {}", left.problem)),
            settings: settings.collect(),
        }
    }

    fn setting(&self, key: &Key, section: &Section, values: &Values<'_>) -> Setting {
        // A secret that stands in a file of its own is named by it.
        if let Some(name) = key.file_name().filter(|name| section.entries.contains_key(name)) {
            let path = section.text(&name).unwrap_or_default();
            let value = Shown::Text(self.absolute(&values.resolve(&values.place(&name), path)));
            return Setting { value, origin: self.origin(section, &name), key: name };
        }
        let origin =
            if section.entries.contains_key(key.name) { self.origin(section, key.name) } else { Origin::Default };
        let value = match (values.get(key.name), key.otherwise) {
            (Some(value), _) => self.shown(key, value, values),
            (None, Otherwise::Absent(meaning)) => Shown::Absent(meaning),
            (None, _) => Shown::Absent("it is not given"),
        };
        Setting { key: key.name.to_owned(), value, origin }
    }

    fn shown(&self, key: &Key, value: &Value, values: &Values<'_>) -> Shown {
        let path = |path: &str| self.absolute(&values.resolve(&values.place(key.name), path));
        match value {
            // Its servers are printed below, and would be registered twice.
            Value::Text(text) if key.name == "servers_directory" => Shown::Aside(path(text), "its servers stand below"),
            // Without an authority it is an error to give it.
            Value::Text(text) if key.name == "client_certificates" && !values.was_given("client_ca_file") => {
                Shown::Aside(text.clone(), "it counts with client_ca_file")
            }
            Value::Text(text) if matches!(key.kind, Kind::File) => Shown::Text(path(text)),
            Value::Text(text) => Shown::Text(masked(text)),
            Value::Secret(_) | Value::Proxy(ProxySettings::Fixed(_)) => Shown::Text(MASK.to_owned()),
            Value::Flag(flag) => Shown::Flag(*flag),
            Value::Number(bytes) if matches!(key.kind, Kind::Size(..)) => Shown::Text(show_size(*bytes)),
            Value::Number(number) => Shown::Number(*number),
            Value::Duration(duration) => Shown::Text(humantime::format_duration(*duration).to_string()),
            Value::Address(address) => Shown::Text(address.to_string()),
            Value::Texts(paths) if matches!(key.kind, Kind::Files) => {
                Shown::List(paths.iter().map(|text| path(text)).collect())
            }
            Value::Texts(texts) => Shown::List(texts.iter().map(|text| masked(text)).collect()),
            Value::Secrets(secrets) => Shown::List(secrets.iter().map(|_| MASK.to_owned()).collect()),
            Value::Endpoint(url) => Shown::Text(url.as_str().trim_end_matches('/').to_owned()),
            Value::Proxy(ProxySettings::Environment) => Shown::Text("environment".to_owned()),
            Value::Proxy(ProxySettings::Direct) => Shown::Text("none".to_owned()),
        }
    }

    fn absolute(&self, path: &Path) -> String {
        // By components: `./keys/key.p8` reads better without the dot.
        self.working_directory.join(path).components().collect::<PathBuf>().display().to_string()
    }

    fn origin(&self, section: &Section, key: &str) -> Origin {
        let Some(entry) = section.entries.get(key) else { return Origin::Default };
        Origin::Given(match &entry.place {
            Place::Line(file, line) => format!("file {file}:{line}"),
            Place::Variable(name) => name.clone(),
            Place::Nowhere => return Origin::Default,
            Place::File(file) if !self.document.is_reference || section.wording == Wording::Ours => {
                format!("file {file}")
            }
            Place::File(file) => {
                let word = reference::word(section.group.name, key);
                let says_so =
                    word.is_some_and(|word| section.group.repeated || reference::says(&self.reference_text, word));
                match (says_so, section.group.repeated) {
                    (true, _) => format!("file {file}: {}", section.path(key)),
                    (false, true) => format!("file {file}: {}", section.path("")),
                    (false, false) => format!("file {file}, as mattermost-push-proxy means it"),
                }
            }
        })
    }
}

/// A text that nobody declared a secret, unless it looks like one.
fn masked(text: &str) -> String {
    if seems_secret(text) { MASK.to_owned() } else { text.to_owned() }
}
