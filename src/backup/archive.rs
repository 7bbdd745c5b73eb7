//! The archive: written in one go, and read from its begin to its end with everything checked that it says of itself.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use tar::{Archive, Builder, Entry, EntryType, Header};

use super::manifest::{CHECKSUM_NAME, MAX_BYTES, Manifest, Member, NAME};
use super::seal::{Key, MAGIC, Opener};
use super::{BackupError, Content, FORMAT, MAX_FILES, Part, hash, hexadecimal};
use crate::private::Private;

/// Why a backup is not believed. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file.
    #[error("{path} cannot be read: {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says, or what of the seal is wrong.
        source: io::Error,
    },
    /// Something else.
    #[error("{0} is not a backup of pushrelay")]
    Foreign(PathBuf),
    /// Sealed, and no passphrase.
    #[error("{0} is sealed: name its passphrase with --passphrase-file FILE or PUSHRELAY_BACKUP_PASSPHRASE")]
    Sealed(PathBuf),
    /// Of a later release.
    #[error("{path} has format {format}, which a later release has written; this one knows format {FORMAT} only")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// Not what was written.
    #[error("{path} is damaged or was not written by pushrelay: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// Writes everything, the manifest first.
pub(super) fn write<W: Write>(output: W, manifest: &Manifest, parts: &mut [Part]) -> Result<W, BackupError> {
    let mut builder = Builder::new(output);
    let text = serde_json::to_vec_pretty(manifest).map_err(|error| BackupError::Write(error.into()))?;
    append(&mut builder, NAME, 0o600, text.len() as u64, &*text).map_err(BackupError::Write)?;
    let checksum = format!("{}  {NAME}\n", hash(&text));
    append(&mut builder, CHECKSUM_NAME, 0o600, checksum.len() as u64, checksum.as_bytes())
        .map_err(BackupError::Write)?;
    for part in parts {
        let Member { name, bytes, mode, .. } = &part.member;
        match &mut part.content {
            Content::Read(content) => append(&mut builder, &name.to_string(), *mode, *bytes, &**content),
            Content::Open(file) => {
                let mut hashing = Hashing::new(file.take(*bytes));
                let appended = append(&mut builder, &name.to_string(), *mode, *bytes, &mut hashing);
                if appended.is_ok() && !hashing.was(&part.member) {
                    return Err(BackupError::Changed { path: part.path.clone() });
                }
                appended
            }
        }
        .map_err(BackupError::Write)?;
    }
    builder.into_inner().map_err(BackupError::Write)
}

fn append(builder: &mut Builder<impl Write>, name: &str, mode: u32, bytes: u64, content: impl Read) -> io::Result<()> {
    let mut header = Header::new_ustar();
    header.set_path(name)?;
    header.set_mode(mode);
    header.set_size(bytes);
    header.set_entry_type(EntryType::Regular);
    header.set_cksum();
    builder.append(&header, content)
}

/// Hashes what is read through it.
struct Hashing<R> {
    input: R,
    context: Context,
    bytes: u64,
}

impl<R> Hashing<R> {
    fn new(input: R) -> Self {
        Self { input, context: Context::new(&SHA256), bytes: 0 }
    }

    /// Whether it was this and no more.
    fn was(self, member: &Member) -> bool {
        self.bytes == member.bytes && hexadecimal(self.context) == member.sha256
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.input.read(into)?;
        self.context.update(&into[..length]);
        self.bytes += length as u64;
        Ok(length)
    }
}

/// Whether a file begins as a backup does; not whether it is one.
pub fn looks_like_one(path: &Path) -> io::Result<bool> {
    let mut begin = Vec::new();
    File::open(path)?.take(NAME.len() as u64 + 1).read_to_end(&mut begin)?;
    Ok(begin.starts_with(&MAGIC) || begin == [NAME.as_bytes(), b"\0"].concat())
}

/// A backup that was read to its end and found whole.
#[derive(Debug)]
pub struct Backup {
    path: PathBuf,
    file: File,
    /// Of a sealed one.
    key: Option<Key>,
    /// What it says of itself.
    pub manifest: Manifest,
}

impl Backup {
    /// Reads all of it and believes nothing that is not proven: hashes, lengths, names, and the seal if there is one.
    pub fn open(path: &Path, passphrase: Option<&Private>) -> Result<Self, ReadError> {
        let io = |source| ReadError::Open { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(io)?;
        if !looks_like_one(path).map_err(io)? {
            return Err(ReadError::Foreign(path.to_owned()));
        }
        let mut begin = [0; MAGIC.len()];
        file.read_exact(&mut begin).map_err(io)?;
        file.seek(SeekFrom::Start(0)).map_err(io)?;
        let key = match (begin == MAGIC, passphrase) {
            (false, _) => None,
            (true, None) => return Err(ReadError::Sealed(path.to_owned())),
            (true, Some(passphrase)) => Some(Key::of(passphrase, &mut file).map_err(io)?),
        };
        if let Some(key) = &key {
            // To its end: what opens is from whoever knows the passphrase, and all of it.
            io::copy(&mut Opener::new(key, BufReader::new(&file)), &mut io::sink()).map_err(io)?;
        }
        let damaged = |what| ReadError::Damaged { path: path.to_owned(), what };
        let begin = key.as_ref().map_or(0, Key::length);
        file.seek(SeekFrom::Start(begin)).map_err(io)?;
        let manifest = match &key {
            Some(key) => check(Opener::new(key, BufReader::new(&file))),
            None => check(BufReader::new(&file)),
        }
        .map_err(|error| match error {
            Wrong::Newer(format) => ReadError::Newer { path: path.to_owned(), format },
            Wrong::Damaged(what) => damaged(what),
        })?;
        Ok(Self { path: path.to_owned(), file, key, manifest })
    }

    /// Whether it is sealed.
    pub fn is_sealed(&self) -> bool {
        self.key.is_some()
    }

    /// Hands out every file, in the order of the manifest, and checks all of it again.
    pub(super) fn each(
        &mut self,
        take: &mut dyn FnMut(&Member, &mut dyn Read) -> io::Result<()>,
    ) -> Result<(), ReadError> {
        let io = |source| ReadError::Open { path: self.path.clone(), source };
        self.file.seek(SeekFrom::Start(self.key.as_ref().map_or(0, Key::length))).map_err(io)?;
        let walked = match &self.key {
            Some(key) => walk(Opener::new(key, BufReader::new(&self.file)), take),
            None => walk(BufReader::new(&self.file), take),
        };
        walked.map(drop).map_err(|error| match error {
            Wrong::Newer(format) => ReadError::Newer { path: self.path.clone(), format },
            Wrong::Damaged(what) => ReadError::Damaged { path: self.path.clone(), what },
        })
    }
}

enum Wrong {
    Newer(u32),
    Damaged(String),
}

impl Wrong {
    fn with(what: impl Into<String>) -> Self {
        Self::Damaged(what.into())
    }
}

impl From<io::Error> for Wrong {
    fn from(error: io::Error) -> Self {
        Self::Damaged(error.to_string())
    }
}

fn check(input: impl Read) -> Result<Manifest, Wrong> {
    walk(input, &mut |_, content| io::copy(content, &mut io::sink()).map(drop))
}

fn walk(input: impl Read, take: &mut dyn FnMut(&Member, &mut dyn Read) -> io::Result<()>) -> Result<Manifest, Wrong> {
    let mut archive = Archive::new(input);
    // Raw: extensions of tar, such as names of any length, are entries of their own, and refused as such.
    {
        let mut entries = archive.entries()?.raw(true);
        let mut next = |name: &str, most: u64| -> Result<Entry<'_, _>, Wrong> {
            let entry = entries.next().ok_or_else(|| Wrong::with(format!("it ends before {name}")))??;
            regular(&entry, name)?;
            if entry.size() > most {
                return Err(Wrong::with(format!("{name} is larger than it may be")));
            }
            Ok(entry)
        };
        let mut text = Vec::new();
        next(NAME, MAX_BYTES)?.read_to_end(&mut text)?;
        let mut checksum = String::new();
        next(CHECKSUM_NAME, 256)?.read_to_string(&mut checksum)?;
        if checksum != format!("{}  {NAME}\n", hash(&text)) {
            return Err(Wrong::with(format!("{NAME} is not what was written")));
        }
        let manifest = parse(&text)?;
        for member in &manifest.files {
            let name = member.name.to_string();
            let entry = next(&name, member.bytes)?;
            let mut hashing = Hashing::new(entry);
            take(member, &mut hashing)?;
            // Whatever was not asked for counts, too.
            io::copy(&mut hashing, &mut io::sink())?;
            if !hashing.was(member) {
                return Err(Wrong::with(format!("{name} is not what was written, or was cut short")));
            }
        }
        if entries.next().is_some() {
            return Err(Wrong::with("it holds more than it says"));
        }
        Ok(manifest)
    }
}

/// Only regular files of the name that is due: no links, no devices, nothing that leads elsewhere.
fn regular(entry: &Entry<'_, impl Read>, name: &str) -> Result<(), Wrong> {
    let found = entry.path_bytes();
    let found = String::from_utf8_lossy(&found);
    if entry.header().entry_type() != EntryType::Regular {
        return Err(Wrong::with(format!("{:?} is not a regular file", found.escape_debug().to_string())));
    }
    if found != name {
        return Err(Wrong::with(format!("{:?} stands where {name:?} should", found.escape_debug().to_string())));
    }
    Ok(())
}

fn parse(text: &[u8]) -> Result<Manifest, Wrong> {
    #[derive(serde::Deserialize)]
    struct Front {
        format: u32,
    }
    let wrong = |error: serde_json::Error| Wrong::with(format!("its manifest: {error}"));
    let Front { format } = serde_json::from_slice(text).map_err(wrong)?;
    if format != FORMAT {
        return Err(Wrong::Newer(format));
    }
    let manifest: Manifest = serde_json::from_slice(text).map_err(wrong)?;
    if manifest.files.len() > MAX_FILES {
        return Err(Wrong::with("it lists more files than a backup holds"));
    }
    let mut names = BTreeSet::new();
    if let Some(twice) = manifest.files.iter().find(|member| !names.insert(&member.name)) {
        return Err(Wrong::with(format!("{} is in it twice", twice.name)));
    }
    if manifest.configuration.as_ref().is_some_and(|name| !names.contains(name)) {
        return Err(Wrong::with("the configuration that it names is not in it"));
    }
    Ok(manifest)
}
