//! Chat servers that come and go while the relay runs: notices that their directory has changed, has it read, puts the
//! result in place and says what is different.
//!
//! Noticed are changes in the directory itself, and that another directory has taken its place (a new one of its name, or
//! the swapped link of a Kubernetes volume, `..data`, beside it). Not noticed are changes of files that lie elsewhere and
//! are only linked to or named in it, and links swapped further up: for those there is SIGHUP.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use crate::admission::Admission;
use crate::admission::registry::Changes;
use crate::config::{Reading, ServersDirectory, Trouble};
use crate::shutdown::Shutdown;

/// How long a change is let settle before the directory is read: editors and deployments touch several files at once.
/// Also the shortest time between two readings, so that whoever writes all the time costs a bounded share of a core.
const SETTLE: Duration = Duration::from_millis(200);

/// Asks for the chat servers to be read again. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Reload(Arc<Wish>);

/// What has been asked for since the last reading.
#[derive(Debug, Default)]
struct Wish {
    woken: Notify,
    /// Somebody has asked for it, and wants to be answered.
    asked: AtomicBool,
    /// Something in the directory has changed.
    changed: AtomicBool,
    /// The directory may be another one.
    moved: AtomicBool,
}

impl Reload {
    /// Reads everything again soon, and says so in the log even if nothing is different.
    pub(super) fn ask(&self) {
        self.set(&self.0.asked);
    }

    fn set(&self, what: &AtomicBool) {
        what.store(true, Ordering::Release);
        self.0.woken.notify_one();
    }
}

/// Keeps the registered servers as the directory says until the relay stops.
pub(super) async fn follow(
    directory: Option<ServersDirectory>,
    admission: Arc<Admission>,
    reload: Reload,
    shutdown: Shutdown,
) {
    let mut watched = directory.map(|directory| Watched::new(directory, reload.clone()));
    // Whatever has changed since the start read it.
    reload.set(&reload.0.changed);
    loop {
        tokio::select! {
            () = reload.0.woken.notified() => {}
            () = shutdown.begun() => return,
        }
        tokio::select! {
            () = tokio::time::sleep(SETTLE) => {}
            () = shutdown.begun() => return,
        }
        // What woke it meanwhile is part of what is read now.
        let _ = reload.0.woken.notified().now_or_never();
        let Some(mut at_work) = watched.take() else {
            if reload.0.asked.swap(false, Ordering::AcqRel) {
                tracing::info!("nothing to read again: there is no directory of chat servers (servers_directory)");
            }
            continue;
        };
        let admission = Arc::clone(&admission);
        // Ten thousand servers take a few milliseconds to put in place, not only to read.
        #[allow(clippy::disallowed_methods, reason = "one at a time")]
        let work = tokio::task::spawn_blocking(move || {
            if let Some((reading, asked)) = at_work.read() {
                apply(&admission, reading, asked);
            }
            at_work
        });
        // A panic has been logged by now.
        let Ok(back) = work.await else {
            tracing::error!("chat servers are not followed any more: changes count after a restart of the relay");
            return;
        };
        watched = Some(back);
    }
}

fn apply(admission: &Admission, reading: Reading, asked: bool) {
    for trouble in &reading.troubles {
        say_trouble(trouble);
    }
    let servers = reading.servers.len();
    let changes = admission.replace_servers(reading.servers);
    if !changes.is_empty() {
        let Changes { added, changed, removed } = &changes;
        tracing::info!(
            servers,
            added = added.count,
            added_names = given(added.count, added),
            changed = changed.count,
            changed_names = given(changed.count, changed),
            removed = removed.count,
            removed_names = given(removed.count, removed),
            "chat servers were registered anew"
        );
    } else if asked {
        tracing::info!(servers, "chat servers were read again: nothing is different");
    }
}

/// Left out of the line if there are none.
fn given(count: usize, names: &impl ToString) -> Option<String> {
    (count > 0).then(|| names.to_string())
}

fn say_trouble(trouble: &Trouble) {
    let Some(first) = trouble.problems.first() else { return };
    let place = first.place.to_string();
    let further = Some(trouble.problems.len() - 1).filter(|further| *further > 0);
    tracing::error!(
        place = place.trim_end_matches(": "),
        key = first.key,
        what = first.what,
        remedy = first.remedy,
        further_problems = further,
        "{}",
        if trouble.is_kept {
            "a chat server's file cannot be used: what it said before goes on to count"
        } else {
            "a chat server's file cannot be used: the server is not registered"
        }
    );
}

/// The directory, and who says that it changes.
struct Watched {
    directory: ServersDirectory,
    /// Absolute, as events name it.
    path: PathBuf,
    reload: Reload,
    /// Without one only SIGHUP helps; the log has said so.
    watcher: Option<RecommendedWatcher>,
    /// Device and inode of the directory that is watched now; nothing if it is not there.
    identity: Option<(u64, u64)>,
}

impl Watched {
    fn new(directory: ServersDirectory, reload: Reload) -> Self {
        let path = std::path::absolute(directory.path()).unwrap_or_else(|_| directory.path().to_owned());
        let watcher = watcher(&path, reload.clone()).map_err(|error| say_blind(&path, &error)).ok();
        let mut this = Self { directory, path, reload, watcher, identity: None };
        this.watch();
        this
    }

    /// What there is now, and whether somebody asked for it; nothing if only something beside the directory has changed.
    fn read(&mut self) -> Option<(Reading, bool)> {
        let wish = &self.reload.0;
        let [asked, mut changed, moved] =
            [&wish.asked, &wish.changed, &wish.moved].map(|flag| flag.swap(false, Ordering::AcqRel));
        if moved || asked || identity(&self.path) != self.identity {
            // Before it is read: what changes after the reading is then noticed.
            changed |= identity(&self.path) != self.identity || moved;
            self.watch();
        }
        (asked || changed).then(|| (self.directory.read_again(asked), asked))
    }

    fn watch(&mut self) {
        self.identity = identity(&self.path);
        let Some(watcher) = &mut self.watcher else { return };
        // Fails if the directory that was watched is gone, and the watch with it.
        let _ = watcher.unwatch(&self.path);
        if self.identity.is_some()
            && let Err(error) = watcher.watch(&self.path, RecursiveMode::NonRecursive)
        {
            say_blind(&self.path, &error);
        }
    }
}

/// Watches what is beside the directory, in case another takes its place, and soon the directory.
fn watcher(path: &Path, reload: Reload) -> notify::Result<RecommendedWatcher> {
    let directory = path.to_owned();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| match event {
        Ok(event) => notice(&directory, &event, &reload),
        // Events may have been lost.
        Err(_) => reload.set(&reload.0.changed),
    })?;
    if let Some(parent) = path.parent()
        && let Err(error) = watcher.watch(parent, RecursiveMode::NonRecursive)
    {
        tracing::warn!(
            directory = %parent.display(),
            %error,
            "if another directory of chat servers takes the place of this one, it is not noticed: send SIGHUP then"
        );
    }
    Ok(watcher)
}

fn notice(directory: &Path, event: &Event, reload: &Reload) {
    let is_content = match event.kind {
        // Our own readings among them.
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    };
    let is_name = matches!(
        event.kind,
        EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) | EventKind::Any
    );
    let within = |path: &PathBuf| path.parent() == Some(directory);
    if event.need_rescan() || (is_content && event.paths.iter().any(within)) {
        reload.set(&reload.0.changed);
    } else if is_content && event.paths.iter().any(|path| path == directory) {
        reload.set(&reload.0.moved);
    } else if is_name {
        // Something beside it, that it may be reached through: worth a look whether it is still the same.
        reload.0.woken.notify_one();
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

fn say_blind(path: &Path, error: &notify::Error) {
    tracing::warn!(
        directory = %path.display(),
        %error,
        "changes of the directory of chat servers are not noticed: send SIGHUP after each"
    );
}
