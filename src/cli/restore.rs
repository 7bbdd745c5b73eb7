//! `pushrelay restore`: a backup is looked through, put in place, and what is still to do is said.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Failure;
use super::backup::Passphrase;
use super::output::say;
use crate::backup::{self, Destination, Manifest, Restored};
use crate::config;
use crate::named_file;

/// The largest file that a configuration names, bytes; no larger one is compared.
const LARGEST: u64 = 1 << 20;

/// Put a backup in place, or only look whether it is whole.
#[derive(Debug, Args)]
#[command(after_help = "\
Everything is read and checked before anything is written: hashes, names, the seal. What is there
already is not replaced without --force, and never while a relay runs on it. Files are written
beside their places and then renamed, the configuration last. At the end it says what is still to
do, such as keys that are not in the backup.

Nothing is written outside of --to and --data-dir. A relay that kept its state elsewhere than below
its configuration needs --data-dir; files from elsewhere are put into DIR/outside.

What waited in the queue is delivered when the relay starts. What was delivered after the backup was
made is delivered again, if its time is not over: --without-queue leaves it out. Two relays that are
started from one backup both deliver.

Examples:
  pushrelay restore relay.backup --check
  pushrelay restore relay.backup --to /etc/pushrelay --data-dir /var/lib/pushrelay
  pushrelay restore relay.sealed --to ./rehearsal --passphrase-file /etc/pushrelay/backup.passphrase
  pushrelay restore relay.backup --to ./rehearsal --data-dir ./rehearsal/data --without-queue")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct Restore {
    /// The backup.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The directory for the configuration and what lies beside it; made if it is not there.
    #[arg(long, value_name = "DIR", required_unless_present = "check")]
    to: Option<PathBuf>,
    /// The directory for the relay's state, where that is not below --to.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    passphrase: Passphrase,
    /// Write nothing: only look whether it is whole.
    #[arg(long, conflicts_with_all = ["to", "data_dir", "force", "without_queue"])]
    check: bool,
    /// With --check, print all that the backup says of itself as JSON.
    #[arg(long, requires = "check")]
    json: bool,
    /// Replace files that are there.
    #[arg(long)]
    force: bool,
    /// Leave out what waited to be delivered.
    #[arg(long)]
    without_queue: bool,
}

impl Restore {
    pub(super) fn run(self) -> Result<(), Failure> {
        let passphrase = self.passphrase.read()?;
        let mut backup = backup::Backup::open(&self.file, passphrase.as_ref()).map_err(Failure::running)?;
        let Some(directory) = self.to else {
            if self.json {
                let text = serde_json::to_string_pretty(&backup.manifest).map_err(Failure::running)?;
                return say(text);
            }
            return say(about(&self.file, &backup.manifest, backup.is_sealed()));
        };
        let to =
            Destination { directory, data_dir: self.data_dir, force: self.force, without_queue: self.without_queue };
        let restored = backup::restore(&mut backup, &to).map_err(Failure::running)?;
        say(format_args!("Restored: {} files, from a backup of {}.", restored.files, shown(&backup.manifest.made_at)))?;
        let left = still_to_do(&backup.manifest, &restored, &to);
        if !left.is_empty() {
            say("Still to do:")?;
            for line in left {
                say(format_args!("  - {line}"))?;
            }
        }
        if let Some(queue) = backup.manifest.queue.filter(|queue| queue.waiting > 0 && !to.without_queue) {
            say(format_args!(
                "What waited ({} in the queue) is delivered when the relay starts, but for what is too late by then. What was \
                 delivered since the backup is delivered again. Start no second relay from it.",
                queue.waiting
            ))?;
        }
        match &restored.configuration {
            Some(file) => say(format_args!("Then: pushrelay check --config {}", file.display())),
            None => Ok(()),
        }
    }
}

/// A text of a backup moves no cursor.
fn shown(text: &str) -> String {
    text.escape_debug().to_string()
}

fn about(file: &Path, manifest: &Manifest, is_sealed: bool) -> String {
    let bytes: u64 = manifest.files.iter().map(|member| member.bytes).sum();
    let queue = match manifest.queue {
        Some(queue) => format!("queue: {} to be delivered, {} buried", queue.waiting, queue.buried),
        None => "no queue".to_owned(),
    };
    format!(
        "{} is whole{}: made {} by pushrelay {}, {} files, {bytes} bytes, {queue}.",
        file.display(),
        if is_sealed { " and sealed" } else { "" },
        shown(&manifest.made_at),
        shown(&manifest.pushrelay),
        manifest.files.len(),
    )
}

/// What the restored configuration names and is not there, and what else a person has to do.
fn still_to_do(manifest: &Manifest, restored: &Restored, to: &Destination) -> Vec<String> {
    let mut left = Vec::new();
    for (is, was) in &restored.outside {
        left.push(format!("move {} to {}, where it was", is.display(), was.display()));
    }
    if let Some(file) = &restored.configuration {
        match config::inventory(Some(file), std::env::vars_os()) {
            Ok(inventory) => {
                left.extend(files_to_put(manifest, &inventory.named));
                if let (Some(is), Some(looked_for)) = (&restored.data_dir, &inventory.data_dir)
                    && plain(is) != plain(looked_for)
                {
                    left.push(format!(
                        "the configuration keeps its state in {}, and it was restored into {}: set data_dir, or \
                         PUSHRELAY_DATA_DIR",
                        looked_for.display(),
                        is.display()
                    ));
                }
            }
            Err(problems) => left.push(format!("mend the configuration: {problems}")),
        }
    }
    let unset = manifest.variables.iter().filter(|name| std::env::var_os(name).is_none());
    let unset: Vec<_> = unset.map(|name| shown(name)).collect();
    if !unset.is_empty() {
        left.push(format!("set the variables that the relay had: {}", unset.join(", ")));
    }
    if rustix::process::geteuid().is_root() {
        let state = restored.data_dir.as_ref().map(|state| format!(" and write {}", state.display()));
        let state = state.unwrap_or_default();
        left.push(format!(
            "let the relay's user read {}{state} (systemd gives it a StateDirectory by itself)",
            to.directory.display()
        ));
    }
    left
}

/// By key, and in order where a key names several.
fn files_to_put(manifest: &Manifest, named: &[backup::Named]) -> Vec<String> {
    let mut recorded: BTreeMap<&str, Vec<&backup::Reference>> = BTreeMap::new();
    for reference in manifest.named.iter().rev() {
        recorded.entry(&reference.key).or_default().push(reference);
    }
    let mut left = Vec::new();
    for file in named {
        let reference = recorded.get_mut(&*file.key).and_then(Vec::pop);
        let wanted = reference.and_then(|reference| reference.sha256.as_deref());
        let path = file.path.display();
        match found(&file.path) {
            Err(_) => {
                let was = reference.map(|reference| format!("; it was {}", shown(&reference.path))).unwrap_or_default();
                let hash = wanted.map(|hash| format!(", SHA-256 {}", shown(hash))).unwrap_or_default();
                left.push(format!("put back {path} ({}){was}{hash}", file.key));
            }
            Ok(hash) if wanted.is_some_and(|wanted| wanted != hash) => left.push(format!(
                "{path} ({}) is another file than when the backup was made: look whether it was renewed since",
                file.key
            )),
            Ok(_) => {}
        }
    }
    left
}

fn found(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut content = Vec::new();
    named_file::open(path)?.take(LARGEST).read_to_end(&mut content)?;
    Ok(backup::hash(&content))
}

/// As far as it can be followed; as it is written where it cannot.
fn plain(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
