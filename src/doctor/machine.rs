//! This machine: where the relay keeps what outlives it, and where it listens.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use super::{Finding, Standing, Step, failed, warning};
use crate::clock::Clock;
use crate::queue::OpenError;
use crate::queue::inspect::Inspector;

/// Whether what is to outlive the process has a place. `queue` is there if the relay keeps one: whether it does not start
/// without it. Touches no file of a relay that runs.
pub fn places(data_dir: &Path, queue: Option<bool>, clock: &Clock) -> Vec<Finding> {
    let directory = data_dir_finding(data_dir);
    let is_usable = !directory.is_failure();
    let mut findings = vec![directory];
    if let Some(is_required) = queue {
        findings.push(if is_usable {
            queue_finding(data_dir, is_required, clock)
        } else {
            Finding::new(Step::Queue, None, Standing::Skipped, "not looked at: data_dir cannot be used")
        });
    }
    findings
}

fn data_dir_finding(data_dir: &Path) -> Finding {
    let there = data_dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
    // Without a name, so that nothing of it stays, whatever happens now.
    let (standing, what) = match tempfile::tempfile_in(there) {
        Ok(_) if there == data_dir => (Standing::Well, format!("{} can be written to", data_dir.display())),
        Ok(_) => (Standing::Well, format!("{} is not there yet; the relay makes it", data_dir.display())),
        Err(error) => (failed(directory_remedy(&error)), format!("{} cannot be written to: {error}", there.display())),
    };
    Finding::new(Step::DataDir, None, standing, what)
}

fn directory_remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "give it to the user that runs the relay (chown), and run this check as that user: another one may be allowed \
             more or less"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make space on the disk",
        io::ErrorKind::ReadOnlyFilesystem => {
            "name a directory on a file system that can be written to; in a container, mount a volume there"
        }
        io::ErrorKind::NotADirectory => "a file is in its place: name a directory",
        _ => "name a directory on a local disk that the user who runs the relay may write to",
    }
}

fn queue_finding(data_dir: &Path, is_required: bool, clock: &Clock) -> Finding {
    let (standing, what) = match Inspector::open(data_dir, clock.clone()) {
        Ok(_) => (Standing::Well, "the queue's file opens".to_owned()),
        Err(OpenError::Missing { .. }) => (Standing::Well, "there is none yet; the relay makes it".to_owned()),
        // The relay itself brings it up to date when it starts.
        Err(OpenError::TooOld { version, .. }) => {
            (Standing::Well, format!("the queue's file has version {version}; the relay brings it up to date"))
        }
        Err(error) => {
            // Cause and remedy are one text there.
            let text = error.to_string();
            let (what, remedy) = text.split_once("; ").unwrap_or((&text, "see to the disk"));
            let standing = if is_required { failed(remedy) } else { warning(remedy) };
            (standing, what.to_owned())
        }
    };
    Finding::new(Step::Queue, None, standing, what)
}

/// Who has an address that the relay is to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Nobody: it could be bound.
    Free,
    /// A relay, which answers.
    ByARelay,
    /// Somebody, who does not answer as a relay does.
    BySomebody,
    /// It cannot be had.
    Never {
        /// What the system says.
        what: String,
        /// What to do.
        remedy: String,
    },
}

/// Whether the relay can listen there. `key` is what the configuration calls it.
pub fn listening(key: &str, address: SocketAddr, taken: &Taken) -> Finding {
    let (standing, what) = match taken {
        Taken::Free => (Standing::Well, format!("{address} (key `{key}`) is free")),
        Taken::ByARelay => (Standing::Well, format!("{address} (key `{key}`) is in use: a relay runs on this machine")),
        Taken::BySomebody => {
            let remedy = format!(
                "if that is not the relay (ss -ltnp | grep {}), end it or choose another address: a relay does not start \
                 beside it",
                address.port()
            );
            (warning(remedy), format!("{address} (key `{key}`) is in use, and no relay answers there"))
        }
        Taken::Never { what, remedy } => (failed(remedy), format!("{address} (key `{key}`): {what}")),
    };
    Finding::new(Step::Listen, None, standing, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_not_there_yet_is_made_where_it_can_be_and_nothing_is_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("a/b");
        let findings = places(&missing, Some(true), &Clock::System);
        assert!(findings.iter().all(|finding| finding.standing == Standing::Well), "{findings:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let findings = places(&file.join("below"), Some(true), &Clock::System);
        assert!(findings[0].is_failure(), "{findings:?}");
        assert_eq!(findings[1].standing, Standing::Skipped);
    }

    #[test]
    fn a_queue_that_is_no_queue_is_a_failure_only_where_the_relay_does_not_start_without_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("queue.sqlite3"), "no database, whatever its length may be").unwrap();
        for (is_required, word) in [(true, "fail"), (false, "warn")] {
            let findings = places(folder.path(), Some(is_required), &Clock::System);
            assert_eq!(findings[1].standing.as_str(), word, "{findings:?}");
        }
    }

    #[test]
    fn an_address_that_a_relay_has_is_no_failure() {
        let address = SocketAddr::from(([127, 0, 0, 1], 8066));
        let never = Taken::Never { what: "w".to_owned(), remedy: "r".to_owned() };
        for (taken, word) in
            [(Taken::Free, "ok"), (Taken::ByARelay, "ok"), (Taken::BySomebody, "warn"), (never, "fail")]
        {
            assert_eq!(listening("listen", address, &taken).standing.as_str(), word, "{taken:?}");
        }
    }
}
