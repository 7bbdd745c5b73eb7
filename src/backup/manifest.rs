//! What a backup says about itself. Names in it are checked when they are read: one that could lead out of a directory
//! cannot be built.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::admission::learned;
use crate::journal::JournalSettings;
use crate::queue;

/// The form that this release writes, and the only one that it reads.
pub const FORMAT: u32 = 1;

/// Its name in the archive, and that of the file with its SHA-256 behind it.
pub(super) const NAME: &str = "manifest.json";
pub(super) const CHECKSUM_NAME: &str = "manifest.json.sha256";

/// The largest manifest, bytes: some 150 for each file.
pub(super) const MAX_BYTES: u64 = 32 << 20;

/// The longest name in the archive, bytes. Tar has 256 in one header, split at a slash.
const MAX_NAME: usize = 250;

/// The whole.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// The release that has written it.
    pub pushrelay: String,
    /// When, as RFC 3339.
    pub made_at: String,
    /// Which of the files is the configuration.
    pub configuration: Option<Name>,
    /// Where the relay kept its state.
    pub data_dir: Option<DataDir>,
    /// What waited on disk.
    pub queue: Option<QueueFigures>,
    /// Everything that is in the archive, in its order.
    pub files: Vec<Member>,
    /// The files that the configuration names, in it or not.
    pub named: Vec<Reference>,
    /// The variables that were laid over the configuration. Not their values.
    pub variables: Vec<String>,
}

/// Where the relay kept its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataDir {
    /// Below the directory of the configuration; empty if it is that directory.
    Beside(Relative),
    /// Somewhere else: an absolute path, for people.
    Elsewhere(String),
}

/// Entries of the queue in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueFigures {
    /// To be delivered.
    pub waiting: u64,
    /// Kept to be looked at.
    pub buried: u64,
}

/// One file of the archive.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub name: Name,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its content, hexadecimal.
    pub sha256: String,
    /// Who may read it, as `chmod` writes it.
    pub mode: u32,
}

/// A file that the configuration names.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reference {
    /// The key that names it.
    pub key: String,
    /// Where it was, an absolute path.
    pub path: String,
    /// Whether it is in the archive.
    pub is_inside: bool,
    /// SHA-256 of its content, hexadecimal. Absent if it could not be read, and for passwords: from their hash they could
    /// be guessed.
    pub sha256: Option<String>,
}

/// A relative path that stays below where it begins: parts that are names, with `/` between them. May be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Relative(String);

/// Where a file of the archive belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Area {
    /// Below the directory of the configuration.
    Config,
    /// Elsewhere on the machine: an absolute path without its first slash.
    Outside,
    /// The state of the relay, below its `data_dir`.
    Data,
}

/// A name in the archive: its area, a slash, and a path below that.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name {
    /// Where it belongs.
    pub area: Area,
    /// Below that; never empty.
    pub path: Relative,
}

/// Not a name that a backup may have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a name that a backup may hold")]
pub struct BadName(String);

impl Area {
    const ALL: [Self; 3] = [Self::Config, Self::Outside, Self::Data];

    fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Outside => "outside",
            Self::Data => "data",
        }
    }
}

impl Relative {
    /// As a path.
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }

    /// Of a relative path. Not for one that is not UTF-8.
    pub(super) fn of(path: &Path) -> Result<Self, BadName> {
        let bad = || BadName(path.display().to_string());
        let parts = path.components().map(|part| match part {
            Component::Normal(part) => part.to_str().ok_or_else(bad),
            _ => Err(bad()),
        });
        parts.collect::<Result<Vec<_>, _>>()?.join("/").try_into()
    }
}

impl TryFrom<String> for Relative {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        // Tar turns backslashes into slashes, and control characters have no business in a listing.
        let is_name = |part: &str| {
            !part.is_empty() && part != "." && part != ".." && !part.contains(|c: char| c.is_control() || c == '\\')
        };
        if text.len() <= MAX_NAME && (text.is_empty() || text.split('/').all(is_name)) {
            Ok(Self(text))
        } else {
            Err(BadName(text))
        }
    }
}

impl From<Relative> for String {
    fn from(path: Relative) -> Self {
        path.0
    }
}

impl Name {
    pub(super) fn new(area: Area, path: &Path) -> Result<Self, BadName> {
        format!("{}/{}", area.as_str(), Relative::of(path)?.0).try_into()
    }

    /// The relay's queue.
    pub(super) fn queue() -> Self {
        Self { area: Area::Data, path: Relative(queue::FILE_NAME.to_owned()) }
    }

    /// What was learned about chat servers.
    pub(super) fn learned() -> Self {
        Self { area: Area::Data, path: Relative(learned::FILE_NAME.to_owned()) }
    }

    /// Where a file outside was.
    pub(super) fn absolute(&self) -> PathBuf {
        Path::new("/").join(self.path.as_path())
    }
}

impl TryFrom<String> for Name {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        let bad = || BadName(text.clone());
        let (area, path) = text.split_once('/').ok_or_else(bad)?;
        let area = Area::ALL.into_iter().find(|known| known.as_str() == area).ok_or_else(bad)?;
        let path = Relative::try_from(path.to_owned()).map_err(|_| bad())?;
        let is_state = || match path.0.split_once('/') {
            None => [queue::FILE_NAME, learned::FILE_NAME].contains(&&*path.0),
            Some((directory, name)) => {
                let number = name.strip_suffix(".jsonl").unwrap_or_default();
                directory == JournalSettings::DIRECTORY
                    && !number.is_empty()
                    && number.bytes().all(|c| c.is_ascii_digit())
            }
        };
        if text.len() > MAX_NAME || path.0.is_empty() || (area == Area::Data && !is_state()) {
            return Err(bad());
        }
        Ok(Self { area, path })
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.to_string()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.area.as_str(), self.path.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_below_its_area_and_state_is_what_a_relay_keeps() {
        for (text, good) in [
            ("config/pushrelay.toml", true),
            ("config/servers.d/a b ä.toml", true),
            ("outside/etc/ssl/relay.pem", true),
            ("data/queue.sqlite3", true),
            ("data/learned.json", true),
            ("data/journal/1800000000.jsonl", true),
            ("data/queue.sqlite3-wal", false),
            ("data/other", false),
            ("data/journal/x.jsonl", false),
            ("data/journal/.jsonl", false),
            ("data/other/1.jsonl", false),
            ("data/journal/1/1.jsonl", false),
            ("config/../pushrelay.toml", false),
            ("config/a/../../b", false),
            ("config/./a", false),
            ("config//a", false),
            ("config/a/", false),
            ("config/", false),
            ("config", false),
            ("/etc/passwd", false),
            ("outside//etc/passwd", false),
            ("../a", false),
            ("other/a", false),
            ("config/a\\b", false),
            ("config/a\0b", false),
            ("config/a\nb", false),
            ("", false),
        ] {
            assert_eq!(Name::try_from(text.to_owned()).is_ok(), good, "{text:?}");
        }
        assert!(Name::try_from(format!("config/{}", "a".repeat(300))).is_err());
        for (path, good) in [("a/b", true), ("", true), ("a/./b", true), ("../a", false), ("/a", false)] {
            assert_eq!(Relative::of(Path::new(path)).is_ok(), good, "{path}");
        }
    }
}
