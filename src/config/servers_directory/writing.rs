//! The writing side, for commands: a server's file is added, or changed in place, and never half. What would not be taken by
//! a relay that reads it is not written.

use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Said, ServersDirectory};
use crate::admission::ServerSettings;
use crate::admission::registry::ServerKeys;
use crate::config::files;
use crate::config::finding::{Finding, Findings, Problems};
use crate::config::server_file::{Edit, EditError, NewServer, edited};
use crate::named_file;

/// The longest name of a file that is made, bytes, without `.toml`: file systems allow 255.
const MAX_NAME: usize = 200;

/// Why a file was not written. Nothing has changed then. `Display` says what to do.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// No name for a file.
    #[error(
        "`{0}` is no name for a server's file: 1 to {MAX_NAME} letters, digits, `-`, `_` or `.`, and no `.` at the start"
    )]
    Name(String),
    /// Somebody else has the name or the id.
    #[error("the {what} `{value}` belongs to a server in {place} already{}", if *.what == "name" { ": choose another with --name" } else { "" })]
    Taken {
        /// `name` or `id`.
        what: &'static str,
        /// It.
        value: String,
        /// Where.
        place: String,
    },
    /// There is a file of that name, of whatever server.
    #[error("{} is there already and is not written over: choose another name with --name", .0.display())]
    Exists(PathBuf),
    /// The relay would not take the file.
    #[error("{} would not be right, so it was not written:\n{problems}", .path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What the relay would say.
        problems: Problems,
    },
    /// The change is one for people.
    #[error("{}: {problem}", .path.display())]
    Edit {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: EditError,
    },
    /// The change would have changed something else, too.
    #[error("{} cannot be changed by a program without changing more than was asked for: edit it by hand", .0.display())]
    MoreThanAsked(PathBuf),
    /// The disk.
    #[error("{} cannot be written: {source}", .path.display())]
    Disk {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

fn disk(path: &Path) -> impl FnOnce(io::Error) -> WriteError + use<> {
    let path = path.to_owned();
    move |source| WriteError::Disk { path, source }
}

impl ServersDirectory {
    /// What is there, with what is wrong with it; for commands, which go on with the rest. It need not be there.
    pub(in crate::config) fn look(path: PathBuf, fixed: Vec<ServerSettings>) -> (Self, Vec<Finding>) {
        let mut findings = Findings::default();
        // Without the names of targets: what is said about those is dropped with all that is no problem.
        let directory = Self::open(path, None, fixed, std::collections::BTreeSet::new(), &mut findings);
        let problems = findings.finish().err().map(|problems| problems.list().to_vec()).unwrap_or_default();
        (directory, problems)
    }

    /// The servers that have a file here, each with its file.
    pub(in crate::config) fn in_files(&self) -> impl Iterator<Item = (PathBuf, &ServerSettings)> {
        self.servers.iter().map(|(file, server)| (self.path.join(file), server))
    }

    /// Writes the file of a server that is not registered yet. Makes the directory if it is not there.
    pub(in crate::config) fn add(&self, new: &NewServer<'_>) -> Result<PathBuf, WriteError> {
        if !is_name(new.name) {
            return Err(WriteError::Name(new.name.chars().take(MAX_NAME).flat_map(char::escape_debug).collect()));
        }
        let path = self.path.join(format!("{}.toml", new.name));
        let known = self.in_files().map(|(file, server)| (file.display().to_string(), server));
        let fixed = self.fixed.iter().map(|server| ("the configuration itself".to_owned(), server));
        for (place, server) in fixed.chain(known) {
            if server.id == *new.id {
                return Err(WriteError::Taken { what: "id", value: new.id.to_string(), place });
            }
            if server.name == new.name {
                return Err(WriteError::Taken { what: "name", value: new.name.to_owned(), place });
            }
        }
        // Also where the file cannot be read, or is another's by its content.
        if !files::is_gone(&path) {
            return Err(WriteError::Exists(path));
        }
        let text = new.toml();
        self.understood(&text, &path)?;
        self.make()?;
        let directory = self.path.metadata().map_err(disk(&self.path))?;
        put(&path, &text, &directory, true)?;
        Ok(path)
    }

    /// Changes the file of a registered server in place. Whether anything is different now.
    pub(in crate::config) fn change(&self, file: &Path, edit: &Edit<'_>) -> Result<bool, WriteError> {
        // A link stays one: what it leads to is changed.
        let path = fs::canonicalize(file).map_err(disk(file))?;
        let bytes = named_file::read(&path, named_file::LARGEST).map_err(disk(&path))?;
        let text = String::from_utf8(bytes)
            .map_err(|_| WriteError::Edit { path: path.clone(), problem: EditError::Form("text (UTF-8)") })?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let before = self.understood(text, file)?;
        let changed = edited(text, edit).map_err(|problem| WriteError::Edit { path: path.clone(), problem })?;
        let after = self.understood(&changed, file)?;
        if !is_what_was_asked(&before, &after, edit) {
            return Err(WriteError::MoreThanAsked(path));
        }
        if changed == text {
            return Ok(false);
        }
        let old = path.metadata().map_err(disk(&path))?;
        put(&path, &changed, &old, false)?;
        Ok(true)
    }

    /// What a relay would read.
    fn understood(&self, text: &str, path: &Path) -> Result<ServerSettings, WriteError> {
        let mut findings = Findings::default();
        let shown: Arc<str> = path.display().to_string().into();
        let said = self.parse(Ok(text.as_bytes().to_vec()), None, path, &shown, &mut findings);
        match (said, findings.finish()) {
            (Some(Said { server, .. }), Ok(_)) => Ok(server),
            (_, Err(problems)) => Err(WriteError::Wrong { path: path.to_owned(), problems }),
            (None, Ok(_)) => unreachable!("whoever reads nothing reports why"),
        }
    }

    fn make(&self) -> Result<(), WriteError> {
        if !files::is_gone(&self.path) {
            return Ok(());
        }
        let parent = self.path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
        let around = parent.metadata().map_err(disk(parent))?;
        // Whoever may look around there may look in here.
        let mode = 0o750 | (around.mode() & 0o005);
        DirBuilder::new().mode(mode).create(&self.path).map_err(disk(&self.path))?;
        let _ = chown(&self.path, None, Some(around.gid()));
        Ok(())
    }
}

fn is_what_was_asked(before: &ServerSettings, after: &ServerSettings, edit: &Edit<'_>) -> bool {
    let expected = match edit {
        Edit::Disabled(disabled) => ServerSettings { disabled: *disabled, ..before.clone() },
        Edit::Site(site) => ServerSettings { site: Some((*site).clone()), ..before.clone() },
        Edit::Key { new, until, .. } => {
            let mut expected = before.clone();
            expected.keys = ServerKeys::default();
            expected.keys.add((*new).clone(), None);
            for (key, end) in before.keys.all().filter(|(key, _)| *key != *new) {
                expected.keys.add(key.clone(), end.or(Some(*until)));
            }
            // A server that has signed webhooks only gets the scheme with its first key.
            expected.schemes = after.schemes;
            // Keys with the same end may come in another order.
            let all_there = expected.keys.len() == after.keys.len()
                && expected.keys.all().all(|key| after.keys.all().any(|other| other == key));
            if all_there {
                expected.keys = after.keys.clone();
            }
            expected
        }
    };
    expected == *after
}

fn is_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=MAX_NAME).contains(&name.len()) && !name.starts_with('.') && name.chars().all(is_plain)
}

/// Puts a file in place as a whole: complete and on the disk under another name first, which the relay passes by. `like` is
/// the file that it takes the place of, or the directory that it is new in.
fn put(path: &Path, text: &str, like: &Metadata, is_new: bool) -> Result<(), WriteError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut aside = tempfile::Builder::new()
        .prefix(".pushrelay-")
        .suffix(".tmp")
        .tempfile_in(directory)
        .map_err(disk(directory))?;
    let file = aside.as_file_mut();
    // A public key is no secret: whoever may look into the directory may read it, the relay's user among them.
    let mode = if is_new { 0o640 | (like.mode() & 0o004) } else { like.mode() & 0o777 };
    // Not everybody may give a file away; then it stays with whoever runs the command, readable as before.
    if is_new || fchown(&*file, Some(like.uid()), Some(like.gid())).is_err() {
        let _ = fchown(&*file, None, Some(like.gid()));
    }
    file.write_all(text.as_bytes())
        .and_then(|()| file.set_permissions(fs::Permissions::from_mode(mode)))
        .and_then(|()| file.sync_all())
        .map_err(disk(path))?;
    let placed = if is_new { aside.persist_noclobber(path) } else { aside.persist(path) };
    placed.map_err(|failed| match failed.error.kind() {
        io::ErrorKind::AlreadyExists => WriteError::Exists(path.to_owned()),
        _ => disk(path)(failed.error),
    })?;
    // The new name must reach the disk as well.
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(disk(directory))
}
