//! Backups: everything that a new machine needs to serve again, in one file, taken while the relay runs.
//!
//! The file is a tar archive of regular files: `manifest.json`, its SHA-256, then what the manifest lists, in its order. With a
//! passphrase the whole archive is sealed (`seal`). Keys, certificates and service accounts are only named, with a
//! fingerprint to recognise them by, unless they are asked for; the queue's device tokens and texts are always in it.
//!
//! `manifest` is what a backup says about itself, `seal` the sealed form, `archive` reads and checks, `restore` puts in place.

mod archive;
mod manifest;
mod restore;
mod seal;

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};

pub use archive::{Backup, ReadError, looks_like_one};
pub use manifest::{Area, DataDir, FORMAT, Manifest, Member, Name, QueueFigures, Reference, Relative};
pub use restore::{Destination, RestoreError, Restored, restore};
pub use seal::{MAX_PASSPHRASE, MIN_PASSPHRASE, SealError};

use crate::admission::learned;
use crate::clock::{Clock, rfc3339};
use crate::journal::JournalSettings;
use crate::named_file;
use crate::private::Private;
use crate::queue::inspect::Inspector;
use crate::queue::{self, InspectError, OpenError};
use manifest::BadName;
use seal::{Key, Sealer};

/// The largest configuration, server file, key or certificate, bytes: what a configuration may name at all.
const MAX_SMALL: u64 = 1 << 20;

/// What all of those may have together, bytes: they are held in memory, so that what is hashed is what is written.
const MAX_SMALL_TOGETHER: u64 = 256 << 20;

/// The most files in a backup: the most servers there may be in files, and some.
const MAX_FILES: usize = 110_000;

/// The copy of the queue while a backup is made, in a directory of its own in `data_dir`: the clear text of a sealed backup
/// is nowhere where the queue is not.
const COPY: &str = "backup.tmp";

/// Held while a backup is made.
const LOCK: &str = "backup.lock";

/// What there is to be backed up.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// The configuration file.
    pub file: Option<PathBuf>,
    /// The files of chat servers.
    pub server_files: Vec<PathBuf>,
    /// Where the relay keeps its state.
    pub data_dir: Option<PathBuf>,
    /// The files that the configuration and those of chat servers name.
    pub named: Vec<Named>,
    /// The names of the variables that are laid over the configuration.
    pub variables: Vec<String>,
}

/// A file that a configuration names.
#[derive(Clone, Debug)]
pub struct Named {
    /// The key that names it.
    pub key: String,
    /// Where it is.
    pub path: PathBuf,
    /// What is in it.
    pub kind: NamedKind,
}

/// What is in a file that a configuration names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedKind {
    /// Nothing secret: authorities, public keys.
    Public,
    /// A key, or a certificate that may have its key with it.
    Key,
    /// A password or the like: short enough to be guessed from its hash.
    Password,
}

/// How to write it.
#[derive(Clone, Debug)]
pub enum Form {
    /// Keys by reference; anybody who has the file reads the rest.
    Clear,
    /// Only for those who know the passphrase.
    Sealed {
        /// At least [`MIN_PASSPHRASE`] bytes.
        passphrase: Private,
        /// Whether the keys are in it.
        with_keys: bool,
    },
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file that should be in it.
    #[error("{path} cannot be read: {source}; a backup without it would not be whole, so none was made")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file beyond its bound.
    #[error("{path} is larger than {most} bytes, which no file of its kind is; no backup was made")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The bound.
        most: u64,
    },
    /// More than fits.
    #[error("there are more files than a backup holds ({MAX_FILES}, or {MAX_SMALL_TOGETHER} bytes of small ones)")]
    TooMany,
    /// A name that a backup cannot hold.
    #[error("{path}: {source}; rename it to letters and digits of at most 200 bytes")]
    Name {
        /// The file.
        path: PathBuf,
        /// Why.
        source: BadName,
    },
    /// A file that was changed under way.
    #[error("{path} was changed while it was read; no backup was made: try again")]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// Two at once.
    #[error("another backup of this relay is being made ({path} is held)")]
    Busy {
        /// The lock.
        path: PathBuf,
    },
    /// The queue.
    #[error(transparent)]
    Queue(#[from] OpenError),
    /// The copy of the queue.
    #[error(transparent)]
    Copy(#[from] InspectError),
    /// What is written.
    #[error("the backup cannot be written: {0}")]
    Write(io::Error),
}

impl BackupError {
    fn read(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Read { path, source }
    }
}

/// Writes a backup, and says what is in it. The output is whole only if there is no error; syncing is the caller's.
///
/// Each part is as it was at one moment: the queue in one transaction, other files read once. Takes no lock that a running
/// relay waits for.
pub fn write(
    inventory: &Inventory,
    form: &Form,
    with_journal: bool,
    output: impl Write,
    clock: &Clock,
) -> Result<Manifest, BackupError> {
    let with_keys = matches!(form, Form::Sealed { with_keys: true, .. });
    let mut parts = Parts::default();
    let base = inventory.file.as_deref().map(parent).transpose()?;
    let place = |path: &Path| name(base.as_deref(), path);
    let mut configuration = None;
    if let Some(file) = &inventory.file {
        configuration = Some(place(file)?);
        parts.small(place(file)?, file)?;
    }
    for file in &inventory.server_files {
        parts.small(place(file)?, file)?;
    }
    let mut references = Vec::new();
    for named in &inventory.named {
        references.push(parts.named(named, place(&named.path)?, with_keys)?);
    }
    let mut data_dir = None;
    let (mut copy, mut figures) = (None, None);
    if let Some(directory) = &inventory.data_dir {
        data_dir = Some(data_place(base.as_deref(), directory)?);
        copy = Copy::of(directory, clock)?;
        if let Some(copy) = &copy {
            figures = Some(copy.figures);
            parts.large(Name::queue(), &copy.file())?;
        }
        let learned = directory.join(learned::FILE_NAME);
        if learned.exists() {
            parts.large(Name::learned(), &learned)?;
        }
        if with_journal {
            parts.journal(&directory.join(JournalSettings::DIRECTORY))?;
        }
    }
    let manifest = Manifest {
        format: FORMAT,
        pushrelay: env!("CARGO_PKG_VERSION").to_owned(),
        made_at: rfc3339(clock.unix().as_secs()),
        configuration,
        data_dir,
        queue: figures,
        files: parts.list.iter().map(|part| part.member.clone()).collect(),
        named: references,
        variables: inventory.variables.clone(),
    };
    match form {
        Form::Clear => archive::write(output, &manifest, &mut parts.list).map(drop)?,
        Form::Sealed { passphrase, .. } => {
            let sealer = Sealer::new(Key::new(passphrase), output).map_err(BackupError::Write)?;
            archive::write(sealer, &manifest, &mut parts.list)?.finish().map_err(BackupError::Write)?;
        }
    }
    drop(copy);
    Ok(manifest)
}

/// A file that goes into a backup.
struct Part {
    member: Member,
    path: PathBuf,
    content: Content,
}

enum Content {
    Read(Vec<u8>),
    /// Positioned at its begin.
    Open(File),
}

#[derive(Default)]
struct Parts {
    list: Vec<Part>,
    names: BTreeSet<Name>,
    /// Bytes held in memory.
    held: u64,
}

impl Parts {
    fn add(&mut self, name: Name, path: &Path, mode: u32, content: Content, hashed: (u64, String)) {
        let member = Member { name, bytes: hashed.0, sha256: hashed.1, mode };
        self.names.insert(member.name.clone());
        self.list.push(Part { member, path: path.to_owned(), content });
    }

    /// A file that is held in memory until it is written.
    fn small(&mut self, name: Name, path: &Path) -> Result<(), BackupError> {
        let (content, mode) = read_small(path)?;
        self.held += content.len() as u64;
        if self.list.len() >= MAX_FILES || self.held > MAX_SMALL_TOGETHER {
            return Err(BackupError::TooMany);
        }
        let hashed = (content.len() as u64, hash(&content));
        self.add(name, path, mode, Content::Read(content), hashed);
        Ok(())
    }

    /// What a configuration names. One that cannot be read is for `pushrelay check` to complain about, unless it should be in
    /// the backup.
    fn named(&mut self, named: &Named, name: Name, with_keys: bool) -> Result<Reference, BackupError> {
        let is_inside = with_keys || named.kind == NamedKind::Public;
        if is_inside && !self.names.contains(&name) {
            self.small(name, &named.path)?;
        }
        let sha256 = match named.kind {
            NamedKind::Password => None,
            _ => read_small(&named.path).ok().map(|(content, _)| hash(&content)),
        };
        let path = absolute(&named.path)?.display().to_string();
        Ok(Reference { key: named.key.clone(), path, is_inside, sha256 })
    }

    /// A file of any size, as long as it is now.
    fn large(&mut self, name: Name, path: &Path) -> Result<(), BackupError> {
        let mut file = named_file::open(path).map_err(BackupError::read(path))?;
        let length = file.metadata().map_err(BackupError::read(path))?.len();
        let (bytes, sha256) = hash_of((&mut file).take(length), io::sink()).map_err(BackupError::read(path))?;
        file.seek(SeekFrom::Start(0)).map_err(BackupError::read(path))?;
        self.add(name, path, 0o600, Content::Open(file), (bytes, sha256));
        Ok(())
    }

    /// Every segment. One that is deleted under way was too old to be kept.
    fn journal(&mut self, directory: &Path) -> Result<(), BackupError> {
        let listed = match fs::read_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            listed => listed.map_err(BackupError::read(directory))?,
        };
        let mut names: Vec<_> = listed
            .map(|entry| Ok(entry?.file_name()))
            .collect::<io::Result<_>>()
            .map_err(BackupError::read(directory))?;
        names.sort();
        for file in names {
            let below = Path::new(JournalSettings::DIRECTORY).join(&file);
            // Whatever else somebody has put there is not the journal.
            let Ok(name) = Name::new(Area::Data, &below) else { continue };
            match self.large(name, &directory.join(file)) {
                Err(BackupError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(())
    }
}

/// A copy of the queue, gone when dropped.
struct Copy {
    directory: PathBuf,
    figures: QueueFigures,
    /// Dropped last.
    _lock: File,
}

impl Copy {
    /// `None` if there is no queue.
    fn of(data_dir: &Path, clock: &Clock) -> Result<Option<Self>, BackupError> {
        let queue = match Inspector::open(data_dir, clock.clone()) {
            Err(OpenError::Missing { .. }) => return Ok(None),
            opened => opened?,
        };
        let lock = hold(&data_dir.join(LOCK))?;
        let directory = data_dir.join(COPY);
        // What a backup that was killed has left: nobody else holds the lock.
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(BackupError::read(&directory)(error)),
            _ => {}
        }
        DirBuilder::new().mode(0o700).create(&directory).map_err(BackupError::read(&directory))?;
        let mut copy = Self { directory, figures: QueueFigures { waiting: 0, buried: 0 }, _lock: lock };
        queue.snapshot(&copy.file())?;
        for target in Inspector::open(&copy.directory, clock.clone())?.stats()? {
            copy.figures.waiting += target.waiting;
            copy.figures.buried += target.buried;
        }
        Ok(Some(copy))
    }

    fn file(&self) -> PathBuf {
        self.directory.join(queue::FILE_NAME)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // The next backup removes what cannot be removed now.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn hold(path: &Path) -> Result<File, BackupError> {
    let mut options = OpenOptions::new();
    let lock =
        options.write(true).create(true).truncate(false).mode(0o600).open(path).map_err(BackupError::read(path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(BackupError::Busy { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(BackupError::read(path)(error)),
    }
}

fn absolute(path: &Path) -> Result<PathBuf, BackupError> {
    std::path::absolute(path).map_err(BackupError::read(path))
}

/// The directory of a file, absolute.
fn parent(file: &Path) -> Result<PathBuf, BackupError> {
    Ok(absolute(file)?.parent().map(Path::to_owned).unwrap_or_default())
}

/// What a file is called in the archive. `..` in a path is followed as it is written: links are not looked through.
fn name(base: Option<&Path>, path: &Path) -> Result<Name, BackupError> {
    let absolute = without_dots(&absolute(path)?);
    let below = base.and_then(|base| absolute.strip_prefix(without_dots(base)).ok().map(Path::to_owned));
    let named = match below {
        Some(below) => Name::new(Area::Config, &below),
        None => Name::new(Area::Outside, absolute.strip_prefix("/").unwrap_or(&absolute)),
    };
    named.map_err(|source| BackupError::Name { path: path.to_owned(), source })
}

fn data_place(base: Option<&Path>, directory: &Path) -> Result<DataDir, BackupError> {
    let absolute = without_dots(&absolute(directory)?);
    let below = base.and_then(|base| absolute.strip_prefix(without_dots(base)).ok().map(Path::to_owned));
    match below {
        Some(below) => Relative::of(&below)
            .map(DataDir::Beside)
            .map_err(|source| BackupError::Name { path: directory.to_owned(), source }),
        None => Ok(DataDir::Elsewhere(absolute.display().to_string())),
    }
}

/// `/a/../b` is `/b`.
fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
}

fn read_small(path: &Path) -> Result<(Vec<u8>, u32), BackupError> {
    let file = named_file::open(path).map_err(BackupError::read(path))?;
    let mode = file.metadata().map_err(BackupError::read(path))?.permissions().mode() & 0o777;
    let mut content = Vec::new();
    file.take(MAX_SMALL + 1).read_to_end(&mut content).map_err(BackupError::read(path))?;
    if content.len() as u64 > MAX_SMALL {
        return Err(BackupError::TooLarge { path: path.to_owned(), most: MAX_SMALL });
    }
    Ok((content, mode))
}

/// SHA-256, hexadecimal.
pub fn hash(content: &[u8]) -> String {
    let mut hashing = Context::new(&SHA256);
    hashing.update(content);
    hexadecimal(hashing)
}

/// Copies, and says how many bytes there were and their SHA-256.
fn hash_of(mut input: impl Read, mut output: impl Write) -> io::Result<(u64, String)> {
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 64 * 1024];
    let mut bytes = 0;
    loop {
        let length = match input.read(&mut buffer) {
            Ok(0) => return Ok((bytes, hexadecimal(context))),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        context.update(&buffer[..length]);
        output.write_all(&buffer[..length])?;
        bytes += length as u64;
    }
}

fn hexadecimal(context: Context) -> String {
    context.finish().as_ref().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
