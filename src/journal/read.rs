//! Finding the lines of one notification, whether the relay runs or not.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::line::{self, Line};
use super::segments;

/// The most lines that are given for one ack id. A usual one has two; a server that repeats a request for ever has many.
pub const MOST_LINES: usize = 1_000;

/// Bytes of a line that are looked at. The longest, all of whose texts are escaped, has 2,000; what is longer is damage.
const MOST_BYTES: u64 = 8 * 1024;

/// Bytes read at once.
const BUFFER: usize = 256 * 1024;

/// Why the journal could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is none.
    #[error("there is no journal in {}: it is written by a relay whose `data_dir` is set and whose `journal.enabled` is not false", .0.display())]
    Missing(PathBuf),
    /// There is one.
    #[error("the journal cannot be read: {}: {error}; only the user that the relay runs as may read it", path.display())]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// What was noted of this ack id, in the order in which it was written: the last [`MOST_LINES`] of it. Ids that begin with
/// the same 64 bytes are the same.
///
/// A line that breaks off is passed over: the relay may be writing it, or was killed when it did.
///
/// # Errors
/// There is no journal, or it may not be read.
pub fn read(directory: &Path, ack_id: &str) -> Result<Vec<Line<'static>>, ReadError> {
    let segments = segments::list(directory).map_err(|error| match error.kind() {
        ErrorKind::NotFound => ReadError::Missing(directory.to_owned()),
        _ => ReadError::Unreadable { path: directory.to_owned(), error },
    })?;
    let beginning = line::beginning(ack_id);
    let mut found = VecDeque::new();
    for segment in segments {
        let searched = match File::open(&segment.path) {
            Ok(file) => search(BufReader::with_capacity(BUFFER, file), &beginning, &mut found),
            // The relay has deleted it meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        searched.map_err(|error| ReadError::Unreadable { path: segment.path, error })?;
    }
    Ok(found.into())
}

fn search(mut file: impl BufRead, beginning: &[u8], found: &mut VecDeque<Line<'static>>) -> io::Result<()> {
    let mut text = Vec::new();
    let mut is_rest = false;
    loop {
        text.clear();
        if file.by_ref().take(MOST_BYTES).read_until(b'\n', &mut text)? == 0 {
            return Ok(());
        }
        let is_whole = text.ends_with(b"\n");
        if is_whole && !is_rest && text.starts_with(beginning) {
            // What another release wrote, or a damaged disk, may be no line of ours.
            if let Ok(line) = serde_json::from_slice(&text) {
                if found.len() == MOST_LINES {
                    found.pop_front();
                }
                found.push_back(line);
            }
        }
        is_rest = !is_whole;
    }
}
