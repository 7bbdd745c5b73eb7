//! What is learned about chat servers, from one run to the next: read at the start, saved now and then and at the end.
//!
//! Nothing here keeps the relay from serving. Without a file that can be read, or a disk that can be written, phones still
//! get their pushes, and the log says what is lost.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::admission::AuthMode;
use crate::admission::learned::{Learned, Limits, LoadError};
use crate::clock::Clock;
use crate::shutdown::Shutdown;

/// Between two savings: what a relay that is killed forgets. The file has 25 MB at worst.
const SAVE_EVERY: Duration = Duration::from_secs(30);

/// What the last run has saved; nothing if this one is not to learn, or cannot.
pub(super) fn load(mode: AuthMode, data_dir: Option<&Path>) -> Option<Arc<Learned>> {
    let directory = data_dir.filter(|_| mode == AuthMode::Observe)?;
    // Files in it say who sends how much: not for everybody.
    if let Err(error) = DirBuilder::new().recursive(true).mode(0o750).create(directory) {
        tracing::error!(
            directory = %directory.display(),
            %error,
            "the directory that data_dir names cannot be made: nothing is learned about chat servers"
        );
        return None;
    }
    let loaded = Learned::load(directory, Limits::default()).or_else(|error| match error {
        LoadError::SetAside { .. } => {
            tracing::error!(%error, "what was learned about chat servers is lost: learning begins anew");
            Learned::load(directory, Limits::default())
        }
        other => Err(other),
    });
    match loaded {
        Ok(learned) => Some(Arc::new(learned)),
        Err(error) => {
            tracing::error!(%error, "nothing is learned about chat servers, and the file stays as it is");
            None
        }
    }
}

/// Saves what changes until the relay stops.
pub(super) async fn save_regularly(learned: Arc<Learned>, clock: Clock, shutdown: Shutdown) {
    let mut failing = false;
    loop {
        tokio::select! {
            () = clock.sleep(SAVE_EVERY) => {}
            () = shutdown.begun() => return,
        }
        failing = save(&learned, failing).await;
    }
}

/// Saves once. Whether it failed; that is said unless it failed before.
pub(super) async fn save(learned: &Arc<Learned>, failed_before: bool) -> bool {
    let learned = Arc::clone(learned);
    #[allow(
        clippy::disallowed_methods,
        reason = "one at a time: the disk is waited for, and a second one waits for a lock"
    )]
    let saved = tokio::task::spawn_blocking(move || learned.save()).await;
    match saved {
        Ok(Ok(_)) => {
            if failed_before {
                tracing::info!("what is learned about chat servers can be saved again");
            }
            false
        }
        Ok(Err(error)) => {
            if !failed_before {
                tracing::error!(%error, "what is learned about chat servers cannot be saved; it is tried again");
            }
            true
        }
        // A panic, which has been logged by now.
        Err(_) => failed_before,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::admission::learned::{Event, FILE_NAME, Sent};
    use crate::notification::ServerId;

    fn seen(learned: &Learned) -> Option<Event> {
        learned.observe(&ServerId::new("chat-1").unwrap(), Sent::Unsigned, 1_800_000_000).server
    }

    #[tokio::test]
    async fn what_was_learned_is_there_after_a_restart_and_only_where_it_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        // It need not be there yet.
        let directory = folder.path().join("state/pushrelay");
        for mode in [AuthMode::Required, AuthMode::Off] {
            assert!(load(mode, Some(&directory)).is_none() && !directory.exists());
        }
        assert!(load(AuthMode::Observe, None).is_none());

        let learned = load(AuthMode::Observe, Some(&directory)).unwrap();
        assert_eq!(seen(&learned), Some(Event::NewServer));
        assert!(!save(&learned, false).await);
        assert_eq!(seen(&load(AuthMode::Observe, Some(&directory)).unwrap()), None);
    }

    #[tokio::test]
    async fn it_is_saved_when_the_time_has_come() {
        let folder = tempfile::tempdir().unwrap();
        let learned = load(AuthMode::Observe, Some(folder.path())).unwrap();
        seen(&learned);
        let (clock, shutdown) = (Clock::manual(0), Shutdown::new());
        let saving = save_regularly(learned, clock.clone(), shutdown.clone());
        tokio::pin!(saving);
        assert!(futures_util::poll!(&mut saving).is_pending());
        let file = folder.path().join(FILE_NAME);
        clock.advance(SAVE_EVERY.checked_sub(Duration::from_millis(1)).unwrap());
        assert!(futures_util::poll!(&mut saving).is_pending() && !file.exists());
        clock.advance(Duration::from_millis(1));
        while !file.exists() {
            assert!(futures_util::poll!(&mut saving).is_pending());
            tokio::task::yield_now().await;
        }
        shutdown.begin();
        saving.await;
    }

    #[test]
    fn a_damaged_file_is_kept_aside_and_one_of_a_later_release_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE_NAME);
        fs::write(&file, "{ half").unwrap();
        assert!(load(AuthMode::Observe, Some(folder.path())).is_some());
        let aside = folder.path().join(format!("{FILE_NAME}.damaged-1"));
        assert_eq!(fs::read_to_string(aside).unwrap(), "{ half");

        fs::write(&file, r#"{"version": 99}"#).unwrap();
        assert!(load(AuthMode::Observe, Some(folder.path())).is_none());
        assert_eq!(fs::read_to_string(&file).unwrap(), r#"{"version": 99}"#);
    }

    #[test]
    fn a_directory_that_cannot_be_made_stops_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(load(AuthMode::Observe, Some(&file.join("below"))).is_none());
    }
}
