//! Puts a backup in place: everything is read and checked before anything is written, all of it is written beside its place
//! and synced, and only then given its names, the configuration last.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::archive::{Backup, ReadError};
use super::manifest::{Area, DataDir, Manifest, Member, Name};
use crate::queue::{self, OpenError};

/// The directory below the configuration's for files that were elsewhere on the machine.
const OUTSIDE: &str = "outside";

/// The most files named in one error.
const MAX_TOLD: usize = 5;

/// Where to.
#[derive(Clone, Debug)]
pub struct Destination {
    /// The directory of the configuration.
    pub directory: PathBuf,
    /// The relay's `data_dir`; without it, where it was beside the configuration.
    pub data_dir: Option<PathBuf>,
    /// Whether files that are there are replaced.
    pub force: bool,
    /// Whether what waited on disk is left out.
    pub without_queue: bool,
}

/// What was done.
#[derive(Debug)]
pub struct Restored {
    /// The configuration.
    pub configuration: Option<PathBuf>,
    /// Where the state is, if there was any.
    pub data_dir: Option<PathBuf>,
    /// Files that were elsewhere on the machine: where they are now, and where they were.
    pub outside: Vec<(PathBuf, PathBuf)>,
    /// How many files.
    pub files: usize,
}

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It is not known where the state belongs.
    #[error(
        "the relay kept its state in {0}, which is not below its configuration: say --data-dir {0} to restore it there, or \
         another directory, to be named in the configuration or by PUSHRELAY_DATA_DIR; nothing was written"
    )]
    NoDataDir(String),
    /// Something is there.
    #[error("{} there already: {}; nothing was written. --force replaces", if *.more == 0 { "these are" } else { "files are" }, told(.paths, *.more))]
    Exists {
        /// The first of them.
        paths: Vec<PathBuf>,
        /// How many more.
        more: usize,
    },
    /// Two files for one place.
    #[error("two files of the backup belong to {0}; nothing was written")]
    Clash(PathBuf),
    /// A link or a file where a directory should be.
    #[error("{0} is a link or no directory, and nothing is written through it; remove it, or restore elsewhere")]
    NotADirectory(PathBuf),
    /// A relay.
    #[error("stop the relay first: {0}")]
    Running(OpenError),
    /// The disk.
    #[error("{path} cannot be written: {source}; {so_far}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
        /// What was done.
        so_far: SoFar,
    },
}

/// What an error has left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SoFar {
    /// As it was.
    Nothing,
    /// Some files were replaced, and others not.
    Part,
}

impl std::fmt::Display for SoFar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing was put in place",
            Self::Part => "some files were replaced and others not: restore again before a relay is started",
        })
    }
}

fn told(paths: &[PathBuf], more: usize) -> String {
    let mut text = paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text += &format!(" and {more} more");
    }
    text
}

/// One file and its place.
struct Placing {
    /// Staged there.
    staged: PathBuf,
    place: PathBuf,
    mode: u32,
}

/// Puts all of it in place, or nothing. Only a disk that fails while files are given their names leaves a part, and that only
/// if others are replaced.
pub fn restore(backup: &mut Backup, to: &Destination) -> Result<Restored, RestoreError> {
    let manifest = backup.manifest.clone();
    let wanted = |name: &Name| !(to.without_queue && *name == Name::queue());
    let members: Vec<&Member> = manifest.files.iter().filter(|member| wanted(&member.name)).collect();
    let data_dir = data_dir(&manifest, to)?;
    let has_data = members.iter().any(|member| member.name.area == Area::Data);
    let place = |name: &Name| match (name.area, &data_dir) {
        (Area::Data, Some(directory)) => directory.join(name.path.as_path()),
        (Area::Outside, _) => to.directory.join(OUTSIDE).join(name.path.as_path()),
        (Area::Config, _) | (Area::Data, None) => to.directory.join(name.path.as_path()),
    };
    let places: Vec<PathBuf> = members.iter().map(|member| place(&member.name)).collect();
    // What `SQLite` keeps beside its file belongs to the old one, and would be read into the new one.
    let has_queue = members.iter().any(|member| member.name == Name::queue());
    let leftovers: Vec<PathBuf> =
        data_dir.iter().filter(|_| has_queue).flat_map(|directory| queue::companions(directory)).collect();
    look(&places, &leftovers, to)?;

    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| RestoreError::Write { path, source, so_far: SoFar::Nothing }
    };
    make_directory(&to.directory, 0o750).map_err(io(&to.directory))?;
    let mut lock = None;
    if let Some(directory) = data_dir.as_deref().filter(|_| has_data) {
        make_directory(directory, 0o700).map_err(io(directory))?;
        lock = Some(queue::hold(directory).map_err(|error| match error {
            OpenError::Io { path, source } => RestoreError::Write { path, source, so_far: SoFar::Nothing },
            error => RestoreError::Running(error),
        })?);
    }
    let stage = |directory: &Path| {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".restore-").tempdir_in(directory).map_err(io(directory))
    };
    let beside = stage(&to.directory)?;
    let data: Option<TempDir> = match data_dir.as_deref().filter(|_| has_data) {
        Some(directory) => Some(stage(directory)?),
        None => None,
    };
    let mut placings: BTreeMap<&Name, Placing> = BTreeMap::new();
    for (number, (member, place)) in members.iter().zip(&places).enumerate() {
        let stage = match (member.name.area, &data) {
            (Area::Data, Some(data)) => data.path(),
            _ => beside.path(),
        };
        // Never more than its user may write, nor more than others could read.
        let mode = if member.name.area == Area::Data { 0o600 } else { member.mode & 0o644 | 0o600 };
        placings.insert(&member.name, Placing { staged: stage.join(number.to_string()), place: place.clone(), mode });
    }
    let mut failed = None;
    backup
        .each(&mut |member, content| {
            let Some(placing) = placings.get(&member.name) else { return Ok(()) };
            let written = write(placing, content);
            written.inspect_err(|error| failed = Some((placing.place.clone(), error.kind())))
        })
        .map_err(|error| match failed {
            Some((path, kind)) => RestoreError::Write { path, source: kind.into(), so_far: SoFar::Nothing },
            None => error.into(),
        })?;
    let configuration = manifest.configuration.as_ref();
    let mut in_order: Vec<(&Name, Placing)> = placings.into_iter().collect();
    // A relay cannot be started on half of it.
    in_order.sort_by_key(|(name, _)| (Some(*name) == configuration, name.area != Area::Data));
    settle(&in_order, &leftovers, to)?;
    drop(lock);
    let outside = members.iter().filter(|member| member.name.area == Area::Outside);
    Ok(Restored {
        configuration: configuration.map(place),
        outside: outside.map(|member| (place(&member.name), member.name.absolute())).collect(),
        data_dir: data_dir.filter(|_| has_data),
        files: members.len(),
    })
}

/// Where the state belongs; nowhere if there was none.
fn data_dir(manifest: &Manifest, to: &Destination) -> Result<Option<PathBuf>, RestoreError> {
    match (&to.data_dir, &manifest.data_dir) {
        (Some(directory), _) => Ok(Some(directory.clone())),
        (None, None) => Ok(None),
        (None, Some(DataDir::Beside(below))) => Ok(Some(to.directory.join(below.as_path()))),
        (None, Some(DataDir::Elsewhere(path))) => Err(RestoreError::NoDataDir(path.escape_debug().to_string())),
    }
}

/// Everything that speaks against it, before anything is written.
fn look(places: &[PathBuf], leftovers: &[PathBuf], to: &Destination) -> Result<(), RestoreError> {
    let mut all: BTreeSet<&Path> = BTreeSet::new();
    if let Some(twice) = places.iter().find(|place| !all.insert(place)) {
        return Err(RestoreError::Clash(twice.clone()));
    }
    let mut there = Vec::new();
    for place in places {
        // Only what the operator has named may be a link.
        let named = to.data_dir.as_ref().filter(|directory| place.starts_with(directory));
        let root = named.unwrap_or(&to.directory);
        for above in place.ancestors().skip(1).take_while(|above| *above != root) {
            if above.symlink_metadata().is_ok_and(|found| !found.is_dir()) {
                return Err(RestoreError::NotADirectory(above.to_owned()));
            }
            if all.contains(above) {
                return Err(RestoreError::Clash(above.to_owned()));
            }
        }
        match place.symlink_metadata() {
            Ok(found) if found.is_dir() => return Err(RestoreError::NotADirectory(place.clone())),
            Ok(_) => there.push(place.clone()),
            Err(_) => {}
        }
    }
    there.extend(leftovers.iter().filter(|path| path.symlink_metadata().is_ok()).cloned());
    if to.force || there.is_empty() {
        return Ok(());
    }
    let more = there.len().saturating_sub(MAX_TOLD);
    there.truncate(MAX_TOLD);
    Err(RestoreError::Exists { paths: there, more })
}

fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(path)
}

fn write(placing: &Placing, content: &mut dyn io::Read) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(placing.mode).open(&placing.staged)?;
    io::copy(content, &mut file)?;
    file.sync_all()
}

/// Gives everything its name. What was new is taken back if the disk fails.
fn settle(placings: &[(&Name, Placing)], leftovers: &[PathBuf], to: &Destination) -> Result<(), RestoreError> {
    let mut new = Vec::new();
    let mut replaced = false;
    let mut directories = BTreeSet::new();
    for path in leftovers {
        match fs::remove_file(path) {
            Ok(()) => replaced = true,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(source) => return Err(RestoreError::Write { path: path.clone(), source, so_far: SoFar::Nothing }),
        }
    }
    for (name, Placing { staged, place, .. }) in placings {
        let mode = if name.area == Area::Data { 0o700 } else { 0o750 };
        let above = place.parent().unwrap_or(&to.directory);
        let was_there = place.symlink_metadata().is_ok();
        let placed = make_directory(above, mode).and_then(|()| fs::rename(staged, place));
        if let Err(source) = placed {
            for path in &new {
                // The error that began it is the one to tell.
                let _ = fs::remove_file(path);
            }
            let so_far = if replaced { SoFar::Part } else { SoFar::Nothing };
            return Err(RestoreError::Write { path: place.clone(), source, so_far });
        }
        directories.insert(above);
        if was_there {
            replaced = true;
        } else {
            new.push(place);
        }
    }
    for directory in directories {
        let synced = File::open(directory).and_then(|directory| directory.sync_all());
        synced.map_err(|source| RestoreError::Write { path: directory.to_owned(), source, so_far: SoFar::Part })?;
    }
    Ok(())
}
