//! `pushrelay backup`: everything that a new machine needs, in one file, while the relay runs.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use clap::Args;

use super::Failure;
use super::output::{remark, say};
use crate::backup::{self, Form, MAX_PASSPHRASE, MIN_PASSPHRASE, Manifest};
use crate::clock::Clock;
use crate::config;
use crate::private::Private;

/// The variable with the passphrase.
const VARIABLE: &str = "PUSHRELAY_BACKUP_PASSPHRASE";

/// Write everything that a new machine needs into one file.
#[derive(Debug, Args)]
#[command(after_help = "\
The configuration, the files of chat servers, public keys and authorities, what was learned, and the
queue as it is at one moment; the relay goes on meanwhile. Keys, certificates and service accounts
are not in it: they are listed with their SHA-256, and restore says which are missing.

The queue holds device tokens and texts, and a configuration may hold passwords: keep the file as
secret as the relay's disk. With a passphrase all of it is sealed (AES-256-GCM), with --seal-keys
the keys are in it, too. A passphrase that is lost cannot be recovered.

It is written beside FILE, synced, and then given its name, for its user alone (0600). An earlier
backup of that name is replaced; another file never is. docs/disaster-recovery.md says the rest.

Examples:
  pushrelay backup relay.backup --config /etc/pushrelay/pushrelay.toml
  pushrelay backup relay.sealed --passphrase-file /etc/pushrelay/backup.passphrase --seal-keys
  pushrelay backup - --passphrase-file /etc/pushrelay/backup.passphrase > relay.sealed")]
pub(super) struct Backup {
    /// The file to write; - for the standard output.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The relay's configuration; without one, the environment says it all.
    #[arg(long, short, value_name = "FILE", env = "PUSHRELAY_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    #[command(flatten)]
    passphrase: Passphrase,
    /// Put keys, certificates and service accounts into it as well; needs a passphrase.
    #[arg(long)]
    seal_keys: bool,
    /// Put in what `pushrelay trace` reads: up to `journal.max_size` more.
    #[arg(long)]
    with_journal: bool,
}

/// Where the passphrase is. Never an argument: those can be seen by everybody on the machine.
#[derive(Debug, Args)]
pub(super) struct Passphrase {
    /// A file with the passphrase in its first line, instead of `PUSHRELAY_BACKUP_PASSPHRASE`.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl Passphrase {
    pub(super) fn read(&self) -> Result<Option<Private>, Failure> {
        let (text, whence) = match &self.passphrase_file {
            Some(path) => {
                let shown = path.display();
                let mut text = String::new();
                File::open(path)
                    .and_then(|file| file.take(MAX_PASSPHRASE as u64 + 2).read_to_string(&mut text))
                    .map_err(|error| Failure::running(format!("the passphrase in {shown} cannot be read: {error}")))?;
                (text, shown.to_string())
            }
            None => match std::env::var(VARIABLE) {
                Ok(text) if !text.is_empty() => (text, VARIABLE.to_owned()),
                Ok(_) | Err(std::env::VarError::NotPresent) => return Ok(None),
                Err(_) => return Err(Failure::running(format!("{VARIABLE} is not UTF-8"))),
            },
        };
        let passphrase = text.lines().next().unwrap_or_default();
        if !(MIN_PASSPHRASE..=MAX_PASSPHRASE).contains(&passphrase.len()) {
            return Err(Failure::running(format!(
                "the passphrase of {whence} must have {MIN_PASSPHRASE} to {MAX_PASSPHRASE} bytes in one line; \
                 `openssl rand -base64 24` makes one"
            )));
        }
        Ok(Some(Private::new(passphrase)))
    }
}

impl Backup {
    pub(super) fn run(self) -> Result<(), Failure> {
        let form = match (self.passphrase.read()?, self.seal_keys) {
            (Some(passphrase), with_keys) => Form::Sealed { passphrase, with_keys },
            (None, false) => Form::Clear,
            (None, true) => {
                return Err(Failure::running(format!(
                    "--seal-keys needs a passphrase: name a file with --passphrase-file FILE, or set {VARIABLE}"
                )));
            }
        };
        let inventory =
            config::inventory(self.config.as_deref(), std::env::vars_os()).map_err(Failure::configuration)?;
        if inventory.file.is_none() && inventory.data_dir.is_none() {
            return Err(Failure::running(
                "it is not known what to back up: name the configuration (--config FILE or PUSHRELAY_CONFIG)",
            ));
        }
        let write = |output: &mut dyn Write| {
            backup::write(&inventory, &form, self.with_journal, output, &Clock::System).map_err(Failure::running)
        };
        let tell: fn(String) -> Result<(), Failure>;
        let manifest = if self.file.as_os_str() == "-" {
            let mut output = io::stdout().lock();
            if output.is_terminal() {
                return Err(Failure::running("a backup is nothing for a terminal: write it into a file or a pipe"));
            }
            tell = |line| {
                remark(line);
                Ok(())
            };
            let manifest = write(&mut output)?;
            output.flush().map_err(|error| Failure::running(format!("the backup cannot be written: {error}")))?;
            manifest
        } else {
            tell = |line| say(line);
            into_file(&self.file, write)?
        };
        for line in summary(&manifest, &form) {
            tell(line)?;
        }
        Ok(())
    }
}

/// Written beside, synced, renamed: there is the old file or the new one, and never half of one.
fn into_file(
    file: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<Manifest, Failure>,
) -> Result<Manifest, Failure> {
    let shown = file.display();
    let cannot = |error: io::Error| Failure::running(format!("{shown} cannot be written: {error}"));
    let name = file.file_name().ok_or_else(|| Failure::running(format!("{shown} is no name for a file")))?;
    // A slip must not cost the configuration.
    if file.symlink_metadata().is_ok() && !backup::looks_like_one(file).unwrap_or(false) {
        return Err(Failure::running(format!("{shown} is there already and no backup: choose another name")));
    }
    let mut partial = name.to_owned();
    partial.push(".partial");
    let partial = file.with_file_name(partial);
    let written = (|| {
        // What a backup that was killed has left is written over.
        let mut options = OpenOptions::new();
        let mut output = options.write(true).create(true).truncate(true).mode(0o600).open(&partial).map_err(cannot)?;
        output.set_permissions(fs::Permissions::from_mode(0o600)).map_err(cannot)?;
        let mut buffered = BufWriter::new(&mut output);
        let manifest = write(&mut buffered)?;
        buffered.flush().map_err(cannot)?;
        drop(buffered);
        output.sync_all().map_err(cannot)?;
        fs::rename(&partial, file).map_err(cannot)?;
        let above = file.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(above).and_then(|above| above.sync_all()).map_err(cannot)?;
        Ok(manifest)
    })();
    if written.is_err() {
        // The error is the one to tell.
        let _ = fs::remove_file(&partial);
    }
    written
}

fn summary(manifest: &Manifest, form: &Form) -> Vec<String> {
    let bytes: u64 = manifest.files.iter().map(|member| member.bytes).sum();
    let sealed = if matches!(form, Form::Sealed { .. }) { ", sealed" } else { "" };
    let mut lines = vec![format!("Backed up: {} files, {bytes} bytes{sealed}.", manifest.files.len())];
    lines.push(match manifest.queue {
        Some(queue) => format!("Queue: {} to be delivered, {} buried.", queue.waiting, queue.buried),
        None => "There is no queue.".to_owned(),
    });
    if matches!(form, Form::Clear) && manifest.queue.is_some() {
        lines.push("Device tokens and texts are in it: keep it as secret as the relay's disk.".to_owned());
    }
    let missing: Vec<_> = manifest.named.iter().filter(|reference| !reference.is_inside).collect();
    if !missing.is_empty() {
        lines.push("Not in it, and needed to serve again:".to_owned());
        lines.extend(missing.iter().map(|reference| format!("  {} ({})", reference.path, reference.key)));
    }
    lines
}
