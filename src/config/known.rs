//! The registered chat servers, for the commands that show and change them: read leniently, since a key of Apple's that this
//! user may not read, or a target that is half written, is no reason to keep an operator from disabling a server.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::document::Document;
use super::finding::{Finding, Findings, Place, Problems, did_you_mean, quote};
use super::server_file::{Edit, NewServer};
use super::servers_directory::{ServersDirectory, WriteError};
use super::values::Values;
use super::{SERVERS_DIRECTORY, directory, environment, files, keys, read, reference, servers};
use crate::admission::ServerSettings;
use crate::notification::ServerId;

/// All registered servers and where they are written.
#[derive(Debug)]
pub struct KnownServers {
    /// Those of the configuration itself.
    fixed: Vec<ServerSettings>,
    directory: Option<ServersDirectory>,
    /// Where the relay keeps what it learns.
    pub data_dir: Option<PathBuf>,
    /// Entries that cannot be used, and why.
    pub troubles: Vec<Finding>,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct KnownServer<'a> {
    /// What is said about it.
    pub settings: &'a ServerSettings,
    /// Its file; nothing if it stands in the configuration itself.
    pub file: Option<PathBuf>,
}

/// Why nothing was changed. `Display` says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Nowhere to write to.
    #[error(
        "it is not known where to write: name the configuration (--config FILE) or the directory of chat servers \
         (--servers-directory DIR)"
    )]
    NoDirectory,
    /// A server without a file of its own.
    #[error(
        "`{0}` stands in the configuration itself, which is not changed by a program: edit its [[server]] there and restart \
         the relay, or move it into a file of the servers directory"
    )]
    InConfiguration(String),
    /// The file.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl KnownServers {
    /// Nobody, nowhere.
    pub fn none() -> Self {
        Self { fixed: Vec::new(), directory: None, data_dir: None, troubles: Vec::new() }
    }

    /// Those of one directory.
    pub fn of_directory(path: PathBuf) -> Self {
        let (directory, troubles) = ServersDirectory::look(path, Vec::new());
        Self { fixed: Vec::new(), directory: Some(directory), data_dir: None, troubles }
    }

    /// Those of a configuration, with variables laid over it as `serve` does.
    ///
    /// # Errors
    /// The file cannot be read at all.
    pub fn of_configuration(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, Problems> {
        let file = file.map(reference::find);
        let mut findings = Findings::default();
        let Some(mut document) = read(file.as_deref(), &mut findings) else {
            return Err(findings.finish().expect_err("whoever reads nothing reports why"));
        };
        // What is wrong with anything else is for `check` to say.
        environment::apply(&mut document, environment, &mut Findings::default());
        let base = directory(file.as_deref(), &document);
        let mut troubles = Vec::new();
        let mut fixed = Vec::new();
        for section in document.sections(&keys::SERVER) {
            let mut findings = Findings::default();
            let values = Values::check(section, base, &mut findings);
            fixed.extend(servers::server(&values, &std::collections::BTreeSet::new(), &mut findings));
            troubles.extend(findings.finish().err().iter().flat_map(Problems::list).cloned());
        }
        let (path, data_dir) = places(&mut document, base);
        let directory = path.map(|path| {
            let (directory, found) = ServersDirectory::look(path, fixed.clone());
            troubles.extend(found);
            directory
        });
        Ok(Self { fixed, directory, data_dir, troubles })
    }

    /// The directory that servers are written to.
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_ref().map(ServersDirectory::path)
    }

    /// All of them, those of the configuration itself first.
    pub fn servers(&self) -> impl Iterator<Item = KnownServer<'_>> {
        let fixed = self.fixed.iter().map(|settings| KnownServer { settings, file: None });
        let in_files = self.directory.iter().flat_map(ServersDirectory::in_files);
        fixed.chain(in_files.map(|(file, settings)| KnownServer { settings, file: Some(file) }))
    }

    /// The one of that id.
    pub fn by_id(&self, id: &ServerId) -> Option<KnownServer<'_>> {
        self.servers().find(|server| server.settings.id == *id)
    }

    /// The one of that name, or of that id.
    ///
    /// # Errors
    /// There is none; the text says what may have been meant.
    pub fn find(&self, name: &str) -> Result<KnownServer<'_>, String> {
        let named = |of: fn(&ServerSettings) -> &str| self.servers().find(|server| of(server.settings) == name);
        named(|server| &server.name).or_else(|| named(|server| server.id.as_str())).ok_or_else(|| {
            let meant = did_you_mean(name, self.servers().map(|server| server.settings.name.as_str()));
            let hint = match meant {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "`pushrelay servers list` shows all".to_owned(),
            };
            format!("no registered server is called {}: {hint}", quote(name))
        })
    }

    /// Writes the file of a server that is not registered yet.
    pub fn add(&self, new: &NewServer<'_>) -> Result<PathBuf, ChangeError> {
        Ok(self.directory.as_ref().ok_or(ChangeError::NoDirectory)?.add(new)?)
    }

    /// Changes the file of a server. The file, and whether anything is different now.
    pub fn change(&self, server: &KnownServer<'_>, edit: &Edit<'_>) -> Result<(PathBuf, bool), ChangeError> {
        let (Some(file), Some(directory)) = (&server.file, &self.directory) else {
            return Err(ChangeError::InConfiguration(server.settings.name.clone()));
        };
        let changed = directory.change(file, edit)?;
        Ok((file.clone(), changed))
    }
}

/// The directory of chat servers, there or not, and that of the relay's memory.
fn places(document: &mut Document, base: &Path) -> (Option<PathBuf>, Option<PathBuf>) {
    let is_reference = document.is_reference;
    let top = Values::check(document.section(&keys::TOP), base, &mut Findings::default());
    let usual = || {
        let has_one = !is_reference && top.place("") != Place::Nowhere && !top.is_wrong("servers_directory");
        has_one.then(|| base.join(SERVERS_DIRECTORY))
    };
    (top.path("servers_directory").or_else(usual), top.path("data_dir"))
}

/// The certificates of a file, PEM, for `--ca-file`.
///
/// # Errors
/// What is wrong with the file.
pub fn authorities(path: &Path) -> Result<Vec<rustls::pki_types::CertificateDer<'static>>, String> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let shown = path.display();
    let content = files::read(path).map_err(|problem| format!("cannot read {shown}: {problem}"))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
    certificates
        .ok()
        .filter(|certificates| !certificates.is_empty())
        .ok_or_else(|| format!("{shown} holds no certificates in PEM (-----BEGIN CERTIFICATE-----)"))
}
