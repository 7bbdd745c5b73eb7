//! The directory with a file for each chat server: read once with the rest of the configuration, and again whenever
//! somebody has changed it. Who notices that, and who is told what has changed, is decided elsewhere.
//!
//! **A file in trouble harms nobody else.** At the start everything must be right. Later a file that cannot be used is
//! reported, its server keeps the settings that it had, and the other files count. A file that is gone takes its server
//! with it; a directory that is gone takes nobody: that is how a mount looks that has failed.
//!
//! **What is read again.** Files that look unchanged (by inode, size and times) are not opened, so that one change among
//! 10,000 files costs 10,000 `stat`s; and opening that many would be told to whoever watches the directory as that many
//! events. Files that name others (`key_files`) or were wrong are always read. A file that is written twice within a tick of
//! the kernel's clock, a few milliseconds, in between of which it was read, and keeps its size, looks unchanged until
//! somebody asks for everything.

mod writing;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::document::{Entry, Given, Section};
use super::files::Stamp;
use super::finding::{Finding, Findings, Place};
use super::values::Values;
use super::{files, keys, servers};
use crate::admission::ServerSettings;
use crate::notification::ServerId;
pub use writing::WriteError;

/// The most entries of the directory: a slip, such as a directory of something else, must not take all memory.
pub(super) const MOST_ENTRIES: usize = 100_000;

/// The directory and what its files last said.
#[derive(Clone, Debug)]
pub struct ServersDirectory {
    path: PathBuf,
    /// The servers of the configuration file, which stay what they are.
    fixed: Vec<ServerSettings>,
    /// The names of all targets.
    targets: BTreeSet<String>,
    /// By file name, what each file said when it was last right.
    servers: BTreeMap<OsString, ServerSettings>,
    /// By file name, how those looked that are right and name no other files.
    stamps: BTreeMap<OsString, Stamp>,
    /// By file name, what was wrong when they were last read; under an empty name, with the directory.
    troubles: BTreeMap<OsString, Vec<Finding>>,
}

/// What a reading has found.
#[derive(Debug)]
pub struct Reading {
    /// All servers, those of the configuration file included.
    pub servers: Vec<ServerSettings>,
    /// Files that cannot be used, but for those of which the same was said before.
    pub troubles: Vec<Trouble>,
}

/// A file that cannot be used, or the directory itself.
#[derive(Debug)]
pub struct Trouble {
    /// What is wrong; never empty.
    pub problems: Vec<Finding>,
    /// Whether a server, or all of them, go on with the settings that they had.
    pub is_kept: bool,
}

/// What a file says.
struct Said {
    server: ServerSettings,
    /// How the file looked before it was read; nothing if it names others.
    stamp: Option<Stamp>,
    id: Place,
    name: Place,
}

type SaidByFile = BTreeMap<OsString, Result<Said, Vec<Finding>>>;

/// Which ids and names are given away, and where.
#[derive(Default)]
struct Taken {
    ids: HashMap<ServerId, String>,
    names: HashMap<String, String>,
}

impl ServersDirectory {
    /// Reads the directory for the first time. It need not be there unless `asked_for` says where it was asked for.
    pub(super) fn open(
        path: PathBuf,
        asked_for: Option<&Values<'_>>,
        fixed: Vec<ServerSettings>,
        targets: BTreeSet<String>,
        findings: &mut Findings,
    ) -> Self {
        let mut directory =
            Self { path, fixed, targets, servers: BTreeMap::new(), stamps: BTreeMap::new(), troubles: BTreeMap::new() };
        if asked_for.is_none() && files::is_gone(&directory.path) {
            return directory;
        }
        match directory.read(true, findings) {
            Ok(said) => {
                for problems in directory.settle(said).into_values() {
                    findings.add_problems(problems);
                }
            }
            Err(problem) => {
                let place = asked_for.map_or(Place::Nowhere, |top| top.place("servers_directory"));
                findings.add_problems(vec![directory.trouble(place, &problem)]);
            }
        }
        directory
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is there.
    pub(super) fn is_there(&self) -> bool {
        self.path.is_dir()
    }

    /// All servers as they are known, those of the configuration file first.
    pub fn servers(&self) -> Vec<ServerSettings> {
        self.fixed.iter().chain(self.servers.values()).cloned().collect()
    }

    /// Reads the directory anew, which takes a while: not for a thread that serves. With `everything`, files that look
    /// unchanged are opened all the same, and troubles that were told before are told again.
    pub fn read_again(&mut self, everything: bool) -> Reading {
        let was_empty = self.servers.is_empty();
        let troubles = match self.read(everything, &mut Findings::default()) {
            Ok(said) => self.settle(said),
            // It need not be there before there is somebody in it.
            Err(_) if was_empty && files::is_gone(&self.path) => BTreeMap::new(),
            Err(problem) => {
                let place = Place::Nowhere;
                BTreeMap::from([(OsString::new(), vec![self.trouble(place, &problem)])])
            }
        };
        let told = std::mem::replace(&mut self.troubles, troubles);
        let untold = self.troubles.iter().filter(|(file, problems)| everything || told.get(*file) != Some(*problems));
        let troubles = untold.map(|(file, problems)| Trouble {
            problems: problems.clone(),
            is_kept: if file.is_empty() { !self.servers.is_empty() } else { self.servers.contains_key(file) },
        });
        Reading { troubles: troubles.collect(), servers: self.servers() }
    }

    fn trouble(&self, place: Place, problem: &str) -> Finding {
        Finding {
            place,
            key: "servers_directory".to_owned(),
            what: format!("cannot read `{}`: {problem}", self.path.display().to_string().escape_debug()),
            remedy: "give the path of a directory that the relay may read".to_owned(),
        }
    }

    /// Every file as it stands.
    fn read(&self, everything: bool, findings: &mut Findings) -> Result<SaidByFile, String> {
        let mut said = BTreeMap::new();
        for name in files::list(&self.path, MOST_ENTRIES)? {
            if !is_a_servers(&name) {
                continue;
            }
            let unchanged = if everything { None } else { self.unchanged(&name) };
            if let Some(file) = unchanged.map(Ok).or_else(|| self.read_file(&name, findings)) {
                said.insert(name, file);
            }
        }
        Ok(said)
    }

    /// What a file said, if it looks as it did then.
    fn unchanged(&self, name: &OsStr) -> Option<Said> {
        let path = self.path.join(name);
        let stamp = *self.stamps.get(name)?;
        if files::stamp(&path) != Some(stamp) {
            return None;
        }
        let server = self.servers.get(name)?.clone();
        let place = Place::File(path.display().to_string().into());
        Some(Said { server, stamp: Some(stamp), id: place.clone(), name: place })
    }

    /// `None` for a file that has gone since the directory was listed.
    fn read_file(&self, name: &OsStr, warnings: &mut Findings) -> Option<Result<Said, Vec<Finding>>> {
        let path = self.path.join(name);
        let shown: Arc<str> = path.display().to_string().into();
        let mut findings = Findings::default();
        let stamp = files::stamp(&path);
        let content = match files::read(&path) {
            Err(_) if files::is_gone(&path) => return None,
            other => other,
        };
        let said = self.parse(content, stamp, &path, &shown, &mut findings);
        Some(match findings.finish() {
            Ok(found) => {
                warnings.add_warnings(found);
                Ok(said.expect("whoever reads nothing reports why"))
            }
            Err(problems) => Err(problems.list().to_vec()),
        })
    }

    fn parse(
        &self,
        content: Result<Vec<u8>, String>,
        stamp: Option<Stamp>,
        path: &Path,
        shown: &Arc<str>,
        findings: &mut Findings,
    ) -> Option<Said> {
        let place = Place::File(shown.clone());
        let remedy = "make it readable to the relay, or take it out of the directory";
        let text = super::text(content, &place, remedy, findings)?;
        let mut section = Section::of_file(&text, shown, &keys::SERVER, findings)?;
        if let Some(table) = section.entries.get("server") {
            let remedy = "give each server a file of its own, with its keys at the top or below [[server]] and nothing above that";
            findings.problem(
                &table.place,
                "server",
                "is not the only thing in the file, or stands there twice",
                remedy,
            );
            return None;
        }
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let named_after_file = Entry { place: place.clone(), given: Given::Text(stem) };
        section.entries.entry("name".to_owned()).or_insert(named_after_file);
        let values = Values::check(&section, &self.path, findings);
        let server = servers::server(&values, &self.targets, findings);
        for (name, secret) in values.secrets_in_file().filter(|_| files::is_world_readable(path)) {
            let what = "stands in a file that everybody on this machine may read";
            findings.warning(&secret, section.path(name), what, "chmod o-r the file");
        }
        let names_others = ["key_files", "webhook_keys_file"].into_iter().any(|key| values.was_given(key));
        let stamp = stamp.filter(|_| !names_others);
        Some(Said { server: server?, stamp, id: values.place("id"), name: values.place("name") })
    }

    /// Decides what counts from now on, and says what is wrong with which file. No two servers share an id or a name:
    /// whoever had it keeps it, and otherwise the first file by name has it.
    fn settle(&mut self, said: SaidByFile) -> BTreeMap<OsString, Vec<Finding>> {
        let mut taken = Taken::default();
        for server in &self.fixed {
            taken.insert(server, "a [[server]] of the configuration");
        }
        let (mut servers, mut stamps, mut troubles) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let is_as_before = |file: &OsString, said: &Result<Said, _>| match (self.servers.get(file), said) {
            (Some(before), Ok(said)) => before.id == said.server.id && before.name == said.server.name,
            (before, Err(_)) => before.is_some(),
            (None, Ok(_)) => false,
        };
        let (as_before, others): (SaidByFile, SaidByFile) =
            said.into_iter().partition(|(file, said)| is_as_before(file, said));
        for (file, said) in as_before.into_iter().chain(others) {
            let shown = self.path.join(&file).display().to_string();
            let accepted = said.and_then(|said| match taken.objection(&said) {
                None => {
                    stamps.extend(said.stamp.map(|stamp| (file.clone(), stamp)));
                    Ok(said.server)
                }
                Some(finding) => Err(vec![finding]),
            });
            let server = match accepted {
                Ok(server) => Some(server),
                Err(problems) => {
                    troubles.insert(file.clone(), problems);
                    self.servers.get(&file).filter(|before| taken.has_room_for(before)).cloned()
                }
            };
            if let Some(server) = server {
                // The same keys read again are not kept twice: the registry holds on to what it has.
                let server = self.servers.get(&file).filter(|before| **before == server).cloned().unwrap_or(server);
                taken.insert(&server, &shown);
                servers.insert(file, server);
            }
        }
        (self.servers, self.stamps) = (servers, stamps);
        troubles
    }
}

impl Taken {
    fn insert(&mut self, server: &ServerSettings, shown: &str) {
        self.ids.insert(server.id.clone(), shown.to_owned());
        self.names.insert(server.name.clone(), shown.to_owned());
    }

    fn has_room_for(&self, server: &ServerSettings) -> bool {
        !self.ids.contains_key(&server.id) && !self.names.contains_key(&server.name)
    }

    fn objection(&self, said: &Said) -> Option<Finding> {
        let Said { server, id, name, .. } = said;
        let (place, key, other) = match (self.ids.get(&server.id), self.names.get(&server.name)) {
            (Some(other), _) => (id, "id", other),
            (None, Some(other)) => (name, "name", other),
            (None, None) => return None,
        };
        Some(Finding {
            place: place.clone(),
            key: key.to_owned(),
            what: format!("is the {key} of another server already, in {other}"),
            remedy: "give each server its own".to_owned(),
        })
    }
}

/// Not what editors leave lying about, nor the directories that Kubernetes puts beside its links.
pub(super) fn is_a_servers(name: &OsStr) -> bool {
    let path = Path::new(name);
    !name.as_encoded_bytes().starts_with(b".") && path.extension().is_some_and(|extension| extension == "toml")
}
