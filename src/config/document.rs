//! The configuration file as text becomes sections of entries, each of which knows its line. What the entries mean is
//! decided elsewhere.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::finding::{Findings, Place, did_you_mean, quote};
use super::keys::{self, Group};
use super::reference;

/// What the file and, later, the environment say.
#[derive(Debug)]
pub(super) struct Document {
    /// One of every group that is not repeated; empty where nothing was said.
    single: Vec<Section>,
    /// The named ones, in the order of the file.
    pub(super) repeated: Vec<Section>,
    /// Groups that were given in the wrong form, which has been reported: they are not reported as missing on top.
    misshapen: Vec<&'static str>,
    /// Whether it is a file of mattermost-push-proxy.
    pub(super) is_reference: bool,
}

/// One table.
#[derive(Debug)]
pub(super) struct Section {
    /// Which.
    pub(super) group: &'static Group,
    /// Where it begins.
    pub(super) place: Place,
    /// For a repeated group: how the environment names it, see [`variable_word`]; empty if it has no name.
    pub(super) alias: String,
    /// How many of its group come before it.
    pub(super) index: usize,
    /// In whose words keys are shown to people.
    pub(super) wording: Wording,
    /// What it says.
    pub(super) entries: BTreeMap<String, Entry>,
}

/// In whose words keys are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wording {
    /// As `keys` declares them.
    Ours,
    /// As in a file of mattermost-push-proxy; for a target, which of its lists it is in.
    Reference(&'static str),
}

/// One value that was given.
#[derive(Debug)]
pub(super) struct Entry {
    /// Where.
    pub(super) place: Place,
    /// What.
    pub(super) given: Given,
}

/// A value as written.
#[derive(Debug)]
pub(super) enum Given {
    Text(String),
    Integer(String),
    Boolean(bool),
    Array(Vec<Given>),
    /// Of a type that no key has; the type's name.
    Other(&'static str),
    /// From a variable, which has no types.
    Untyped(String),
}

impl Given {
    /// For "must be …, not a …".
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Untyped(_) => "text in quotes",
            Self::Integer(_) => "number",
            Self::Boolean(_) => "true or false",
            Self::Array(_) => "list",
            Self::Other(name) => name,
        }
    }
}

impl Section {
    fn new(group: &'static Group, place: Place, index: usize) -> Self {
        Self { group, place, alias: String::new(), index, wording: Wording::Ours, entries: BTreeMap::new() }
    }

    /// The text of an entry that is one.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match &self.entries.get(name)?.given {
            Given::Text(text) | Given::Untyped(text) => Some(text),
            _ => None,
        }
    }

    /// How people find a key: `listen`, `http.max_body`, `target[apple_rn].topic`, `target[#2].topic`.
    pub(super) fn path(&self, key: &str) -> String {
        let Group { name, repeated, .. } = *self.group;
        let (name, key) = match (self.wording, reference::word(name, key)) {
            (Wording::Reference(list), Some(word)) => (list, word),
            (Wording::Reference(list), None) if key.is_empty() => (list, ""),
            _ => (name, key),
        };
        let dot = if key.is_empty() || name.is_empty() { "" } else { "." };
        if !repeated {
            return format!("{name}{dot}{key}");
        }
        match self.text("name") {
            Some(own) if !own.is_empty() => format!("{name}[{}]{dot}{key}", quote(own).trim_matches('`')),
            _ => format!("{name}[#{}]{dot}{key}", self.index + 1),
        }
    }

    /// The variable that sets a key.
    pub(super) fn variable(&self, key: &str) -> String {
        super::environment::variable(self.group, &self.alias, key)
    }
}

impl Document {
    /// Says nothing. `place` is the file, if there is one.
    pub(super) fn empty(place: &Place) -> Self {
        let single = keys::GROUPS.into_iter().filter(|group| !group.repeated);
        Self {
            single: single.map(|group| Section::new(group, place.clone(), 0)).collect(),
            repeated: Vec::new(),
            misshapen: Vec::new(),
            is_reference: false,
        }
    }

    /// Says what `mattermost-push-proxy` is told by a file in which nothing stands.
    pub(super) fn of_reference(place: &Place) -> Self {
        let mut document = Self::empty(place);
        document.is_reference = true;
        for section in &mut document.single {
            section.wording = Wording::Reference("");
        }
        document
    }

    /// Every section, those of repeated groups last, each in the order of the documentation or of the file.
    pub(super) fn all(&self) -> impl Iterator<Item = &Section> {
        self.single.iter().chain(&self.repeated)
    }

    /// The section of a group that is not repeated.
    pub(super) fn section(&mut self, group: &Group) -> &mut Section {
        let found = self.single.iter_mut().find(|section| section.group.name == group.name);
        found.expect("`empty` makes one of every group that is not repeated")
    }

    /// The sections of a repeated group.
    pub(super) fn sections<'a>(&'a self, group: &'a Group) -> impl Iterator<Item = &'a Section> {
        self.repeated.iter().filter(|section| section.group.name == group.name)
    }

    /// Whether nothing was said of a repeated group, not even in the wrong form.
    pub(super) fn lacks(&self, group: &Group) -> bool {
        self.sections(group).next().is_none() && !self.misshapen.contains(&group.name)
    }

    /// Adds a section to a repeated group.
    pub(super) fn add(&mut self, group: &'static Group, place: Place) -> &mut Section {
        let index = self.sections(group).count();
        self.repeated.push(Section::new(group, place, index));
        self.repeated.last_mut().expect("was just added")
    }

    /// Reads a file's text. After a syntax error the rest is not looked at: what follows would be guesses.
    pub(super) fn parse(text: &str, file: &Arc<str>, findings: &mut Findings) -> Option<Self> {
        let lines = Lines { file, text };
        let table = parse_table(&lines, findings)?;
        let mut document = Self::empty(&Place::File(file.clone()));
        for (name, value) in table {
            document.read_top(name.get_ref(), &name.span(), value, &lines, findings);
        }
        // Tables come sorted by name. Only the order of an array's tables matters, and that is kept.
        Some(document)
    }

    fn read_top(
        &mut self,
        name: &str,
        at: &Range<usize>,
        value: Spanned<DeValue<'_>>,
        lines: &Lines<'_>,
        findings: &mut Findings,
    ) {
        let place = lines.place(at);
        let group = keys::group(name).filter(|group| !group.name.is_empty());
        match (group, value.into_inner()) {
            (Some(group), DeValue::Table(table)) if !group.repeated => {
                let section = self.section(group);
                section.place = place;
                section.read(table, lines);
            }
            (Some(group), DeValue::Array(tables)) if group.repeated => {
                for table in tables {
                    let place = lines.place(&table.span());
                    if let DeValue::Table(table) = table.into_inner() {
                        let section = self.add(group, place);
                        section.read(table, lines);
                        section.alias = section.text("name").map(variable_word).unwrap_or_default();
                    } else {
                        self.misshapen.push(group.name);
                        findings.problem(&place, name, "is a list of something else than tables", brackets(group));
                    }
                }
            }
            (Some(group), _) => {
                self.misshapen.push(group.name);
                let what = if group.repeated { "is not a list of tables" } else { "is not a single table" };
                findings.problem(&place, name, what, brackets(group));
            }
            (None, DeValue::Table(_) | DeValue::Array(_)) if !keys::TOP.knows(name) => {
                let groups = keys::GROUPS.into_iter().map(|group| group.name).filter(|name| !name.is_empty());
                let remedy = match did_you_mean(name, groups.clone()).and_then(keys::group) {
                    Some(meant) => format!("did you mean {}?", brackets_of(meant)),
                    None => format!("there are {}", groups.map(|g| format!("[{g}]")).collect::<Vec<_>>().join(", ")),
                };
                findings.problem(&place, quote(name).trim_matches('`'), "is not a known table", remedy);
            }
            (None, other) => {
                let entry = Entry { place, given: given(other) };
                self.section(&keys::TOP).entries.insert(name.to_owned(), entry);
            }
        }
    }
}

impl Section {
    /// Reads a file that is one section of a repeated group: see [`only_section`].
    pub(super) fn of_file(text: &str, file: &Arc<str>, group: &'static Group, findings: &mut Findings) -> Option<Self> {
        let lines = Lines { file, text };
        let table = only_section(parse_table(&lines, findings)?, group.name);
        let mut section = Self::new(group, Place::File(file.clone()), 0);
        section.read(table, &lines);
        Some(section)
    }

    fn read(&mut self, table: DeTable<'_>, lines: &Lines<'_>) {
        for (key, value) in table {
            let entry = Entry { place: lines.place(&key.span()), given: given(value.into_inner()) };
            self.entries.insert(key.into_inner().into_owned(), entry);
        }
    }
}

/// What a file says that is one section of a repeated group: its keys stand at the top, or below the group's name in double
/// brackets, as in a whole configuration, if that is there once and nothing stands beside it.
pub(super) fn only_section<'t>(mut table: DeTable<'t>, group: &str) -> DeTable<'t> {
    let is_alone = table.len() == 1;
    let found = table.iter_mut().find(|(name, _)| is_alone && name.get_ref() == group);
    if let Some((_, sections)) = found
        && let DeValue::Array(sections) = sections.get_mut()
        && sections.len() == 1
        && let Some(section) = sections.iter_mut().next()
        && let DeValue::Table(section) = section.get_mut()
    {
        return std::mem::take(section);
    }
    table
}

fn parse_table<'t>(lines: &Lines<'t>, findings: &mut Findings) -> Option<DeTable<'t>> {
    let (table, errors) = DeTable::parse_recoverable(lines.text);
    for error in &errors {
        let place = error.span().map_or(Place::File(lines.file.clone()), |span| lines.place(&span));
        let remedy = "mend this first; the values are looked at when the whole file can be read";
        findings.problem(&place, "", format!("is not TOML: {}", error.message()), remedy);
    }
    errors.is_empty().then(|| table.into_inner())
}

fn given(value: DeValue<'_>) -> Given {
    match value {
        DeValue::String(text) => Given::Text(text.into_owned()),
        DeValue::Boolean(flag) => Given::Boolean(flag),
        // What is beyond 128 bits stays as written, and out of every range.
        DeValue::Integer(number) => Given::Integer(
            i128::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| number.to_string(), |number| number.to_string()),
        ),
        DeValue::Array(values) => Given::Array(values.into_iter().map(|value| given(value.into_inner())).collect()),
        DeValue::Float(_) => Given::Other("number with a point"),
        DeValue::Datetime(_) => Given::Other("date"),
        DeValue::Table(_) => Given::Other("table"),
    }
}

fn brackets_of(group: &Group) -> String {
    if group.repeated { format!("[[{}]]", group.name) } else { format!("[{}]", group.name) }
}

fn brackets(group: &Group) -> String {
    let each = if group.repeated { " above each of them" } else { "" };
    format!("write {} on a line of its own{each}, and its keys below", brackets_of(group))
}

/// A name as part of a variable's name: capitals, digits, and `_` for everything else.
pub(super) fn variable_word(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

struct Lines<'a> {
    file: &'a Arc<str>,
    text: &'a str,
}

impl Lines<'_> {
    fn place(&self, span: &Range<usize>) -> Place {
        // A span begins at a character; a text that is cut elsewhere has no line to name.
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = 1 + before.matches('\n').count();
        Place::Line(self.file.clone(), line)
    }
}
