//! What is wrong with a configuration, where, and what to do about it. Nothing is read or decided here.
//!
//! A finding is read by people who may not know the secret it is about, on screens and in logs that are kept: values of
//! secret keys never enter one, and other values only through [`quote`].

use std::fmt;
use std::sync::Arc;

/// The most findings shown at once: more than anybody mends in one go. The rest is counted.
const MOST_SHOWN: usize = 100;

/// The most characters of a value shown in a finding.
const LONGEST_QUOTE: usize = 60;

/// Where a value was given. The order is the order in which findings are shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Somewhere in the configuration file, or missing from it.
    File(Arc<str>),
    /// A line of the configuration file, counted from 1.
    Line(Arc<str>, usize),
    /// An environment variable, by name.
    Variable(String),
    /// Nobody gave it.
    Nowhere,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => write!(f, "{file}: "),
            Self::Line(file, line) => write!(f, "{file}:{line}: "),
            Self::Variable(name) => write!(f, "{name}: "),
            Self::Nowhere => Ok(()),
        }
    }
}

/// One thing that is wrong (or, among warnings, worth knowing).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Where it was given.
    pub place: Place,
    /// The key, such as `target[apple_rn].key_file`; empty where the place says it all.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it; empty where `what` says so already.
    pub remedy: String,
}

impl Finding {
    /// Without the place, for a log line.
    pub(super) fn on_one_line(&self) -> String {
        let colon = if self.key.is_empty() { "" } else { ": " };
        let remedy = if self.remedy.is_empty() { String::new() } else { format!("; {}", self.remedy) };
        format!("{}{colon}{}{remedy}", self.key, self.what)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let colon = if self.key.is_empty() { "" } else { ": " };
        write!(f, "{}{}{colon}{}", self.place, self.key, self.what)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "\n    → {}", self.remedy) }
    }
}

/// Everything that keeps a configuration from being used, in the order of the file and then of the variables.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems(Vec<Finding>);

impl Problems {
    /// The problems; never empty.
    pub fn list(&self) -> &[Finding] {
        &self.0
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in self.0.iter().take(MOST_SHOWN) {
            writeln!(f, "{problem}")?;
        }
        if self.0.len() > MOST_SHOWN {
            writeln!(f, "… and {} more", self.0.len() - MOST_SHOWN)?;
        }
        let plural = if self.0.len() == 1 { "" } else { "s" };
        write!(f, "{} problem{plural}; nothing was started.", self.0.len())
    }
}

/// Collects while a configuration is read. Bounded by what is read: at most a few findings a line.
#[derive(Debug, Default)]
pub(super) struct Findings {
    problems: Vec<Finding>,
    warnings: Vec<Finding>,
}

impl Findings {
    /// Something that must be mended.
    pub(super) fn problem(
        &mut self,
        place: &Place,
        key: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.problems.push(Finding { place: place.clone(), key: key.into(), what: what.into(), remedy: remedy.into() });
    }

    /// Something that works and is worth knowing.
    pub(super) fn warning(
        &mut self,
        place: &Place,
        key: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.warnings.push(Finding { place: place.clone(), key: key.into(), what: what.into(), remedy: remedy.into() });
    }

    /// Forgets warnings about keys that this is true of.
    pub(super) fn forget_warnings(&mut self, about: impl Fn(&str) -> bool) {
        self.warnings.retain(|warning| !about(&warning.key));
    }

    /// Adds what was collected apart and must be mended.
    pub(super) fn add_problems(&mut self, problems: Vec<Finding>) {
        self.problems.extend(problems);
    }

    /// Adds what was collected apart.
    pub(super) fn add_warnings(&mut self, warnings: Vec<Finding>) {
        self.warnings.extend(warnings);
    }

    /// What was collected, for tests that have nothing to start.
    #[cfg(test)]
    pub(super) fn warnings(&self) -> &[Finding] {
        &self.warnings
    }

    /// The warnings, or the problems if there are any.
    pub(super) fn finish(mut self) -> Result<Vec<Finding>, Problems> {
        if self.problems.is_empty() {
            self.warnings.sort();
            Ok(self.warnings)
        } else {
            self.problems.sort();
            self.problems.dedup();
            Err(Problems(self.problems))
        }
    }
}

/// Whether a text looks like a key or an address with a password, whatever it was given for.
pub(super) fn seems_secret(text: &str) -> bool {
    text.contains("PRIVATE KEY") || text.contains("private_key") || (text.contains("://") && text.contains('@'))
}

/// A value as it may be shown: short, on one line, and not at all if it looks like a key or an address with a password.
pub(super) fn quote(text: &str) -> String {
    if seems_secret(text) {
        return "the value (not shown: it seems to hold a secret)".to_owned();
    }
    let mut shown: String = text.chars().take(LONGEST_QUOTE).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST_QUOTE).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// The known word that was probably meant, if one is close: about one slip in three letters.
pub(super) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (word.len() / 3).clamp(1, 4);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_is_short_on_one_line_and_never_a_secret() {
        for (text, shown) in [
            ("maybe", "`maybe`"),
            ("two\nlines", "`two\\nlines`"),
            ("-----BEGIN PRIVATE KEY-----canary", "the value (not shown: it seems to hold a secret)"),
            ("https://user:canary@proxy", "the value (not shown: it seems to hold a secret)"),
        ] {
            assert_eq!(quote(text), shown);
        }
        assert_eq!(quote(&"ä".repeat(61)), format!("`{}…`", "ä".repeat(60)));
    }

    #[test]
    fn a_near_miss_is_recognised_and_a_stranger_is_not() {
        let known = ["max_body", "body_timeout", "header_timeout"];
        for (word, meant) in [
            ("max_bodi", Some("max_body")),
            ("maxbody", Some("max_body")),
            ("header_timout", Some("header_timeout")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(did_you_mean(word, known), meant, "{word}");
        }
    }

    #[test]
    fn a_flood_of_problems_is_counted_rather_than_shown() {
        let mut findings = Findings::default();
        for i in 0..MOST_SHOWN + 7 {
            findings.problem(&Place::Line("f".into(), i), "k", "is wrong", "mend it");
        }
        let text = findings.finish().unwrap_err().to_string();
        assert!(text.ends_with("… and 7 more\n107 problems; nothing was started."), "{text}");
        assert_eq!(text.matches("mend it").count(), MOST_SHOWN);
    }
}
