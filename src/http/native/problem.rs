//! What is wrong with a request and where: the path of each place in its JSON, and a bounded list of problems. No problem
//! quotes a value: it could be a device token or a text.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

/// The most problems that an answer lists. Whoever has more of them has one mistake in a loop.
const MAX_LISTED: usize = 20;

/// The most of a member's name that a path shows, bytes.
const SHOWN_NAME_BYTES: usize = 64;

/// A place in a JSON text, as `devices[3]` or `data.channel`. Made of borrowed steps: most are never printed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Path<'a> {
    Root,
    Member(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl<'a> Path<'a> {
    /// A member of the whole.
    pub(super) fn field(name: &'a str) -> Self {
        Self::Member(&Path::Root, name)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Member(parent, name) => {
                if !matches!(parent, Self::Root) {
                    write!(f, "{parent}.")?;
                }
                let shown = &name[..name.floor_char_boundary(SHOWN_NAME_BYTES)];
                f.write_str(shown)?;
                if shown.len() < name.len() { f.write_str("…") } else { Ok(()) }
            }
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// One of them.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Problem {
    path: String,
    problem: Cow<'static, str>,
}

/// All of them, of which the first are listed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Problems {
    listed: Vec<Problem>,
    count: usize,
}

impl Problems {
    pub(super) fn add(&mut self, path: Path<'_>, problem: impl Into<Cow<'static, str>>) {
        self.count += 1;
        if self.listed.len() < MAX_LISTED {
            self.listed.push(Problem { path: path.to_string(), problem: problem.into() });
        }
    }

    pub(super) fn listed(&self) -> &[Problem] {
        &self.listed
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The sentence above the list.
    pub(super) fn summary(&self) -> String {
        match (self.count, self.listed.len()) {
            (1, _) => "the request has a problem".to_owned(),
            (count, listed) if listed < count => {
                format!("the request has {count} problems, of which the first {listed} are listed")
            }
            (count, _) => format!("the request has {count} problems"),
        }
    }
}

#[cfg(test)]
impl Problems {
    /// `path: problem` each.
    pub(super) fn lines(&self) -> Vec<String> {
        self.listed.iter().map(|Problem { path, problem }| format!("{path}: {problem}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_as_one_writes_it_in_a_program_and_is_bounded() {
        let devices = Path::field("devices");
        assert_eq!(Path::Item(&devices, 3).to_string(), "devices[3]");
        let fcm = Path::field("fcm");
        let notification = Path::Member(&fcm, "notification");
        assert_eq!(Path::Member(&notification, "color").to_string(), "fcm.notification.color");
        assert_eq!(Path::Root.to_string(), "");
        let long = "é".repeat(100);
        assert_eq!(Path::field(&long).to_string(), format!("{}…", "é".repeat(32)));
    }

    #[test]
    fn a_list_of_problems_is_bounded_and_says_so() {
        let mut problems = Problems::default();
        problems.add(Path::field("id"), "is empty");
        assert_eq!(problems.summary(), "the request has a problem");
        problems.add(Path::field("id"), "is empty");
        assert_eq!(problems.summary(), "the request has 2 problems");
        for _ in 2..500 {
            problems.add(Path::field("id"), "is empty");
        }
        assert_eq!(problems.summary(), "the request has 500 problems, of which the first 20 are listed");
        assert_eq!(problems.listed().len(), 20);
    }
}
