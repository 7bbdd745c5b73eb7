//! Reads the files a configuration names. (`servers_directory::writing` writes them.)

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::Path;

use crate::named_file::{self, LARGEST};

/// The whole file, a regular one of at most 1 MiB, or what keeps it from being read, in words that follow a colon.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    named_file::read(path, LARGEST).map_err(|error| words(&error))
}

/// The same of the configuration that was named on the command line, which may be a pipe: `--config <(…)`, `/dev/stdin`. What
/// comes out of one is gone, so that it is read when a command begins and never again.
pub(super) fn read_once(path: &Path) -> Result<Vec<u8>, String> {
    named_file::read_once(path, LARGEST).map_err(|error| words(&error))
}

/// The names of the entries of a directory, at most `most`, or what keeps it from being read.
pub(super) fn list(directory: &Path, most: usize) -> Result<Vec<OsString>, String> {
    let mut names = Vec::new();
    for entry in directory.read_dir().map_err(|error| words(&error))? {
        if names.len() == most {
            return Err(format!("it has more than {most} entries"));
        }
        names.push(entry.map_err(|error| words(&error))?.file_name());
    }
    names.sort();
    Ok(names)
}

/// Tells one state of a file from the next without opening it: where it is stored, its size, and when it was last changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp([u64; 3], [i64; 4]);

/// The stamp of a file, of its target if it is a link.
#[cfg(unix)]
pub(super) fn stamp(path: &Path) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt;
    let file = path.metadata().ok()?;
    let times = [file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()];
    Some(Stamp([file.dev(), file.ino(), file.size()], times))
}

/// The stamp of a file; not known here.
#[cfg(not(unix))]
pub(super) fn stamp(_: &Path) -> Option<Stamp> {
    None
}

/// Whether there is nothing of that name, not even a link that leads nowhere.
pub(super) fn is_gone(path: &Path) -> bool {
    path.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

fn words(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "no such file".to_owned(),
        ErrorKind::PermissionDenied => "the relay's user may not read it".to_owned(),
        ErrorKind::IsADirectory => "it is a directory".to_owned(),
        ErrorKind::NotADirectory => "it is not a directory".to_owned(),
        _ => error.to_string(),
    }
}

/// Whether everybody on the machine may read it.
#[cfg(unix)]
pub(super) fn is_world_readable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

/// Whether everybody on the machine may read it; not known here.
#[cfg(not(unix))]
pub(super) fn is_world_readable(_: &Path) -> bool {
    false
}
