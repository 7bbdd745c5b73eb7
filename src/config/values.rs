//! A section against the table of its keys: types, ranges, unknown names, missing ones, defaults. What holds between
//! keys is decided where the settings are built.

mod typed;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::document::{Entry, Given, Section, Wording};
use super::files;
use super::finding::{Findings, Place, did_you_mean, quote};
use super::keys::{Key, Otherwise};
use super::kind::{Fault, Kind, Shape, Value};
use super::reference;
use crate::private::Private;
use crate::sender::network::ProxySettings;

/// The checked values of one section. Where a value was wrong, its default stands in, so that one run finds every
/// problem; nothing built from it is used then.
#[derive(Debug)]
pub(super) struct Values<'a> {
    section: &'a Section,
    /// Relative paths of the file are relative to this.
    directory: &'a Path,
    by_name: BTreeMap<&'static str, Value>,
    /// Keys whose values were wrong.
    wrong: Vec<&'static str>,
}

impl<'a> Values<'a> {
    /// Checks a section. Files are relative to `directory` if the file names them, to the working directory if a
    /// variable does.
    pub(super) fn check(section: &'a Section, directory: &'a Path, findings: &mut Findings) -> Self {
        let mut checked = Self { section, directory, by_name: BTreeMap::new(), wrong: Vec::new() };
        checked.report_unknown(findings);
        for key in section.group.keys {
            if !checked.is_for_this_provider(key) {
                checked.report_foreign(key, findings);
            } else if let Some(value) = checked.read(key, findings) {
                checked.by_name.insert(key.name, value);
            }
        }
        checked
    }

    /// A key of the other provider. With an unknown provider every key is looked at.
    fn is_for_this_provider(&self, key: &Key) -> bool {
        match (key.only, self.section.text("provider")) {
            (Some(only), Some(provider @ ("apns" | "fcm"))) => only == provider,
            _ => true,
        }
    }

    fn report_foreign(&self, key: &Key, findings: &mut Findings) {
        for name in [Some(key.name.to_owned()), key.file_name()].into_iter().flatten() {
            if self.section.entries.contains_key(&name) {
                let only = key.only.unwrap_or_default();
                let what = format!("belongs to targets with provider = \"{only}\"");
                self.problem(findings, &name, what, "take it out, or change the provider");
            }
        }
    }

    fn report_unknown(&self, findings: &mut Findings) {
        let known: Vec<String> = self.section.group.names().collect();
        for (name, entry) in &self.section.entries {
            if known.contains(name) {
                continue;
            }
            let remedy = match did_you_mean(name, known.iter().map(String::as_str)) {
                Some(meant) => format!("did you mean {meant}?"),
                None => format!("known here: {}", known.join(", ")),
            };
            let path = self.section.path(quote(name).trim_matches('`'));
            findings.problem(&entry.place, path, "is not a known key", remedy);
        }
    }

    fn read(&mut self, key: &'static Key, findings: &mut Findings) -> Option<Value> {
        let entries = &self.section.entries;
        let file_name = key.file_name();
        let from_file = file_name.as_ref().filter(|name| entries.contains_key(*name));
        let given = match (entries.get(key.name), from_file) {
            (Some(_), Some(name)) => {
                let what = format!("is given twice: here and as {}", key.name);
                self.problem(findings, name, what, "keep one of them");
                self.wrong.push(key.name);
                return self.fallback(key, findings);
            }
            (Some(entry), None) => Some((key.name, parse_entry(key.kind, entry))),
            (None, Some(name)) => Some((name.as_str(), self.parse_file(key.kind, name))),
            (None, None) => None,
        };
        match given {
            None => self.fallback(key, findings),
            Some((_, Ok(value))) => Some(value),
            Some((name, Err(fault))) => {
                self.problem(findings, name, fault.what, fault.remedy);
                self.wrong.push(key.name);
                // Not reported as missing on top.
                if let Otherwise::Default(_) = key.otherwise { self.fallback(key, findings) } else { None }
            }
        }
    }

    fn fallback(&self, key: &Key, findings: &mut Findings) -> Option<Value> {
        match key.otherwise {
            Otherwise::Default(text) => key.kind.parse(text).ok(),
            Otherwise::Absent(_) => None,
            Otherwise::Required => {
                // Which provider's keys are missing is only known once there is a provider.
                if key.only.is_none() || self.section.text("provider") == key.only {
                    let what = format!(
                        "is missing: {}",
                        key.about.split(". ").next().unwrap_or(key.about).trim_end_matches('.')
                    );
                    self.problem(findings, key.name, what, self.how_to_give(key.name, &key.kind.words()));
                }
                None
            }
        }
    }

    /// How to add a key where this section came from.
    pub(super) fn how_to_give(&self, name: &str, words: &str) -> String {
        match (&self.section.place, self.section.wording) {
            (Place::Variable(_) | Place::Nowhere, _) => format!("set {} to {words}", self.section.variable(name)),
            (_, Wording::Reference(_)) => {
                let word = reference::word(self.section.group.name, name).unwrap_or(name);
                format!("add \"{word}\": …, {words}")
            }
            _ => format!("add `{name} = …`, {words}"),
        }
    }

    /// The content of a file that holds a secret, without the line end that editors add.
    fn parse_file(&self, kind: Kind, name: &str) -> Result<Value, Fault> {
        let entry = &self.section.entries[name];
        let Value::Text(path) = parse_entry(Kind::File, entry)? else { unreachable!("a path is read as text") };
        let content = self.open(&entry.place, &path)?;
        let remedy = "put nothing but the value into the file";
        let text =
            String::from_utf8(content).map_err(|_| Fault::new("names a file that is not text (UTF-8)", remedy))?;
        kind.parse(text.trim_end_matches(['\r', '\n'])).map_err(|fault| Fault::new(fault.what, remedy))
    }

    fn open(&self, place: &Place, path: &str) -> Result<Vec<u8>, Fault> {
        if is_content(path) {
            return Err(Fault::new(
                "holds the content of a file instead of its path",
                "save it as a file of its own, readable to the relay only, and give the path; \
                 if the configuration was shared, replace the key",
            ));
        }
        let resolved = self.resolve(place, path);
        files::read(&resolved).map_err(|problem| {
            let looked = if resolved == Path::new(path) {
                String::new()
            } else {
                format!(" (as `{}`)", resolved.display().to_string().escape_debug())
            };
            let relative = match place {
                Place::Variable(_) => "relative to the working directory",
                _ if self.directory == Path::new("") => "relative to the working directory",
                _ => "relative to the directory of the configuration file",
            };
            Fault::new(
                format!("cannot read {}{looked}: {problem}", quote(path)),
                format!("give the path of a file that the relay may read, absolute or {relative}"),
            )
        })
    }

    /// A path that was given there, relative to the working directory if it is relative at all.
    pub(super) fn resolve(&self, place: &Place, path: &str) -> PathBuf {
        match place {
            Place::Variable(_) => PathBuf::from(path),
            _ => self.directory.join(path),
        }
    }

    /// The same in the words of whoever wrote the file: `ours`, or `theirs` for a file of mattermost-push-proxy.
    pub(super) fn in_words<'t>(&self, ours: &'t str, theirs: &'t str) -> &'t str {
        if self.section.wording == Wording::Ours { ours } else { theirs }
    }

    /// The path that a key gives, relative to the working directory if it is relative at all. Nothing is opened.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        Some(self.resolve(&self.place(name), self.text(name)?))
    }

    /// Where the files are that these keys name, of those that were given.
    pub(super) fn named_files(&self, names: &[&str]) -> Vec<PathBuf> {
        let entries = names.iter().filter_map(|name| Some((self.section.text(name)?, self.place(name))));
        entries.filter(|(path, _)| !is_content(path)).map(|(path, place)| self.resolve(&place, path)).collect()
    }

    /// The files that one key names, be it one or a list of them. Contents that were pasted name none.
    pub(super) fn all_named_files(&self, name: &str, is_list: bool) -> Vec<PathBuf> {
        let Some(entry) = self.section.entries.get(name) else { return Vec::new() };
        let texts: Vec<&str> = match &entry.given {
            // From a variable: several are divided by commas, as `parse_entry` does.
            Given::Untyped(text) if is_list => text.split(',').map(str::trim).collect(),
            Given::Text(text) | Given::Untyped(text) => vec![text],
            Given::Array(items) => items
                .iter()
                .filter_map(|item| if let Given::Text(text) = item { Some(&**text) } else { None })
                .collect(),
            _ => Vec::new(),
        };
        let paths = texts.into_iter().filter(|path| !path.is_empty() && !is_content(path));
        paths.map(|path| self.resolve(&entry.place, path)).collect()
    }

    /// The value that holds, given or not.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.by_name.get(name)
    }

    /// The content of the file that a key names. Reports what keeps it from being read.
    pub(super) fn file(&self, name: &str, findings: &mut Findings) -> Option<Vec<u8>> {
        let path = self.text(name)?;
        self.content(name, path, findings)
    }

    /// The contents of the files that a key lists, those that can be read.
    pub(super) fn files(&self, name: &str, findings: &mut Findings) -> Vec<Vec<u8>> {
        self.texts(name).iter().filter_map(|path| self.content(name, path, findings)).collect()
    }

    fn content(&self, name: &str, path: &str, findings: &mut Findings) -> Option<Vec<u8>> {
        match self.open(&self.place(name), path) {
            Ok(content) => Some(content),
            Err(fault) => {
                self.problem(findings, name, fault.what, fault.remedy);
                None
            }
        }
    }

    /// Something is wrong with a key, given or not.
    pub(super) fn problem(
        &self,
        findings: &mut Findings,
        name: &str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        findings.problem(&self.place(name), self.shown_path(name), what, remedy);
    }

    /// A key is worth a word.
    pub(super) fn warning(
        &self,
        findings: &mut Findings,
        name: &str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        findings.warning(&self.place(name), self.shown_path(name), what, remedy);
    }

    /// Empty where the place is a variable, whose name says it already.
    fn shown_path(&self, name: &str) -> String {
        match self.place(name) {
            Place::Variable(variable) if variable == self.section.variable(name) => String::new(),
            _ => self.section.path(name),
        }
    }

    /// Where a key was given; where its section begins if it was not.
    pub(super) fn place(&self, name: &str) -> Place {
        self.section.entries.get(name).map_or(&self.section.place, |entry| &entry.place).clone()
    }

    /// Whether a key was given, rightly or not.
    pub(super) fn was_given(&self, name: &str) -> bool {
        self.section.entries.contains_key(name)
    }

    /// Whether a key was given, but not rightly.
    pub(super) fn is_wrong(&self, name: &str) -> bool {
        self.wrong.contains(&name)
    }

    /// Where in the file, if anywhere, a secret stands openly.
    pub(super) fn secrets_in_file(&self) -> impl Iterator<Item = (&'static str, Place)> {
        self.by_name.iter().filter_map(|(name, value)| {
            let secret = match value {
                Value::Secret(_) => true,
                Value::Secrets(secrets) => !secrets.is_empty(),
                Value::Proxy(ProxySettings::Fixed(proxy)) => proxy.authorization.is_some(),
                _ => false,
            };
            let place = &self.section.entries.get(*name)?.place;
            (secret && !matches!(place, Place::Variable(_))).then(|| (*name, place.clone()))
        })
    }
}

/// Whether somebody pasted a key where its path belongs: PEM, JSON, or the bare base64 of a key. (Base64 of the smallest
/// is longer than 100 characters; a path of that length has a dot, a dash or an underscore somewhere.)
pub(super) fn is_content(path: &str) -> bool {
    let base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
    path.contains("-----BEGIN") || path.contains(['\n', '{']) || (path.len() > 100 && path.chars().all(base64))
}

fn several(kind: Kind, texts: Vec<String>) -> Value {
    match kind {
        Kind::Secrets => Value::Secrets(texts.into_iter().map(Private::new).collect()),
        _ => Value::Texts(texts),
    }
}

/// The value that was given, of the right type and in range.
fn parse_entry(kind: Kind, entry: &Entry) -> Result<Value, Fault> {
    match (&entry.given, kind.shape()) {
        (Given::Untyped(text), Shape::Array) => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Ok(several(kind, parts.map(str::to_owned).collect()))
        }
        (Given::Text(text), Shape::Text) | (Given::Integer(text), Shape::Integer) | (Given::Untyped(text), _) => {
            kind.parse(text)
        }
        (Given::Boolean(flag), Shape::Boolean) => Ok(Value::Flag(*flag)),
        (Given::Array(items), Shape::Array) => {
            let texts = items.iter().map(|item| match item {
                Given::Text(text) if !text.is_empty() => Ok(text.clone()),
                _ => Err(Fault::new("holds something else than texts in quotes", format!("write {}", kind.words()))),
            });
            texts.collect::<Result<_, _>>().map(|texts| several(kind, texts))
        }
        (given, shape) => {
            let wanted = match shape {
                Shape::Text => "text in quotes",
                Shape::Integer => "a whole number",
                Shape::Boolean => "true or false",
                Shape::Array => "a list",
            };
            let given = match given {
                Given::Boolean(_) => "true or false".to_owned(),
                other => format!("a {}", other.type_name()),
            };
            Err(Fault::new(format!("must be {wanted}, not {given}"), format!("write {}", kind.words())))
        }
    }
}
