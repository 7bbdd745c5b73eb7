//! The credentials of targets, read again while the relay runs: from the same file and the same variables as at the start.
//!
//! Reads and compares. When to look, and what becomes of what was read, is decided elsewhere.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};

use super::document::Document;
use super::files::{self, Stamp};
use super::finding::{Findings, Problems};
use super::{environment, keys, targets};
use crate::notification::TargetName;
use crate::sender::TargetSettings;

/// The keys of a target that say who it is to the provider.
const CREDENTIAL: [&str; 7] = [
    "key_file",
    "key_id",
    "team_id",
    "certificate_file",
    "certificate_password",
    "certificate_password_file",
    "service_account_file",
];

/// Those among them that name a file.
pub(super) const FILES: [&str; 4] =
    ["key_file", "certificate_file", "certificate_password_file", "service_account_file"];

/// Where the credentials came from, to read them again.
#[derive(Clone)]
pub struct CredentialSources {
    file: Option<PathBuf>,
    /// As it was at the start; a process's own environment does not change. Holds secrets.
    environment: Vec<(OsString, OsString)>,
    remainder: Remainder,
}

/// Tells whether a configuration is another one, its credentials apart. Not printed: it is made of secrets as well.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Remainder([u8; 32]);

/// What the credentials are now.
#[derive(Debug)]
pub struct CredentialReading {
    /// Every target that the configuration names, whether it did at the start or not.
    pub targets: Vec<TargetReading>,
    /// Everything else in the configuration.
    pub remainder: Remainder,
}

/// One target's credential.
#[derive(Clone, Debug)]
pub struct TargetReading {
    /// What chat servers call it.
    pub name: TargetName,
    /// What the credential is read from; empty if the configuration holds all of it.
    pub files: Vec<PathBuf>,
    /// The target as it is configured now, or what is wrong with it.
    pub settings: Result<TargetSettings, Problems>,
}

/// The state of files without opening them: two that are equal stand for the same contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamps(BTreeMap<PathBuf, Option<Stamp>>);

impl CredentialSources {
    /// Of this configuration; where it was read from is said by [`CredentialSources::read_from`].
    pub(super) fn of(document: &Document) -> Self {
        Self { file: None, environment: Vec::new(), remainder: Remainder::of(document) }
    }

    /// The configuration came from there. Variables of others are not kept.
    pub(super) fn read_from(self, file: Option<&Path>, environment: Vec<(OsString, OsString)>) -> Self {
        let ours = environment.into_iter().filter(|(name, _)| environment::is_ours(name));
        Self { file: file.map(Path::to_owned), environment: ours.collect(), ..self }
    }

    /// What the configuration said at the start besides credentials.
    pub fn remainder(&self) -> Remainder {
        self.remainder
    }

    /// Reads configuration and credential files. One bad target does not keep the others from being read.
    ///
    /// # Errors
    /// The configuration as a whole cannot be read.
    pub fn read(&self) -> Result<CredentialReading, Problems> {
        let mut findings = Findings::default();
        let mut reading = None;
        if let Some(mut document) = super::read_with(files::read, self.file.as_deref(), &mut findings) {
            environment::apply(&mut document, self.environment.iter().cloned(), &mut findings);
            super::report_duplicates(&document, &keys::TARGET, "name", &mut findings);
            let directory = super::directory(self.file.as_deref(), &document);
            reading = Some(CredentialReading {
                targets: targets::each(&document, directory),
                remainder: Remainder::of(&document),
            });
        }
        findings.finish()?;
        Ok(reading.expect("whoever reads nothing reports why"))
    }

    /// The state of the configuration file and of those that these targets were read from.
    pub fn stamps(&self, targets: &[TargetReading]) -> Stamps {
        let of_targets = targets.iter().flat_map(|target| &target.files);
        Stamps(self.file.iter().chain(of_targets).map(|path| (path.clone(), files::stamp(path))).collect())
    }
}

impl fmt::Debug for CredentialSources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variables: Vec<_> = self.environment.iter().map(|(name, _)| name).collect();
        f.debug_struct("CredentialSources")
            .field("file", &self.file)
            .field("variables", &variables)
            .finish_non_exhaustive()
    }
}

impl Remainder {
    /// Places do not count: whoever adds a comment has changed nothing.
    fn of(document: &Document) -> Self {
        let mut context = Context::new(&SHA256);
        let mut add = |text: &str| {
            context.update(&text.len().to_le_bytes());
            context.update(text.as_bytes());
        };
        for section in document.all() {
            add(section.group.name);
            let is_target = section.group.name == keys::TARGET.name;
            for (name, entry) in &section.entries {
                if !(is_target && CREDENTIAL.contains(&name.as_str())) {
                    add(name);
                    add(&format!("{:?}", entry.given));
                }
            }
        }
        Self(context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

impl fmt::Debug for Remainder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remainder([private])")
    }
}
