//! Reads files that somebody named: in the configuration, in a chat server's file, as a credential. Whatever the name leads
//! to, reading it ends: only regular files are opened, and no more of them is read than was said.
//!
//! It knows nothing of what a file holds. Not for what the relay keeps itself (queue, journal, log).

use std::fs::{File, FileType, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// The largest configuration, key or certificate, bytes. They are a few KiB; this stops at wrong paths.
pub const LARGEST: u64 = 1 << 20;

/// The whole of a regular file of at most `largest` bytes.
///
/// # Errors
/// It is another kind of file, it is larger, or the system does not give it.
pub fn read(path: &Path, largest: u64) -> io::Result<Vec<u8>> {
    all_of(open(path)?, largest)
}

/// A regular file, opened to be read. Waits for nobody.
///
/// # Errors
/// It is another kind of file, or the system does not give it.
pub fn open(path: &Path) -> io::Result<File> {
    // Not even opened: opening a device can do something.
    regular(path.metadata()?.file_type())?;
    // What was put in its place since is not waited for either.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    regular(file.metadata()?.file_type())?;
    Ok(file)
}

/// The same of whatever there is, once: for what a person names on the command line, which may be a pipe (`<(…)`,
/// `/dev/stdin`) whose other end this waits for.
///
/// # Errors
/// It is larger, or the system does not give it.
pub fn read_once(path: &Path, largest: u64) -> io::Result<Vec<u8>> {
    all_of(File::open(path)?, largest)
}

fn all_of(file: File, largest: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.take(largest + 1).read_to_end(&mut content)?;
    if content.len() as u64 > largest {
        let size = if largest == LARGEST { "1 MiB".to_owned() } else { format!("{largest} bytes") };
        return Err(io::Error::other(format!("it is larger than {size}")));
    }
    Ok(content)
}

fn regular(kind: FileType) -> io::Result<()> {
    let other = match kind {
        kind if kind.is_file() => return Ok(()),
        kind if kind.is_dir() => return Err(ErrorKind::IsADirectory.into()),
        kind if kind.is_fifo() => "it is a pipe (FIFO)",
        kind if kind.is_socket() => "it is a socket",
        _ => "it is a device",
    };
    Err(io::Error::other(format!("{other}, and only regular files are read here")))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    fn problem(path: &Path) -> String {
        read(path, LARGEST).unwrap_err().to_string()
    }

    #[test]
    fn whatever_is_no_regular_file_is_named_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        mkfifoat(CWD, at("pipe"), Mode::RUSR | Mode::WUSR).unwrap();
        std::os::unix::fs::symlink(at("pipe"), at("link")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for (path, words) in [
            (at("pipe"), "it is a pipe (FIFO)"),
            (at("link"), "it is a pipe (FIFO)"),
            (at("socket"), "it is a socket"),
            ("/dev/null".into(), "it is a device"),
            ("/dev/zero".into(), "it is a device"),
        ] {
            assert!(problem(&path).starts_with(words), "{}: {}", path.display(), problem(&path));
        }
        assert_eq!(read(folder.path(), LARGEST).unwrap_err().kind(), ErrorKind::IsADirectory);
        assert_eq!(read(&at("missing"), LARGEST).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_file_is_read_up_to_its_bound_and_never_further() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "12345678").unwrap();
        assert_eq!(read(&path, 8).unwrap(), b"12345678");
        assert_eq!(read(&path, 7).unwrap_err().to_string(), "it is larger than 7 bytes");
        // As large as no memory: nothing of it is on the disk.
        fs::File::options().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(problem(&path), "it is larger than 1 MiB");
        assert_eq!(read_once(Path::new("/dev/zero"), LARGEST).unwrap_err().to_string(), "it is larger than 1 MiB");
    }
}
