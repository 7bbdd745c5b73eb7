//! Which files a relay with this configuration reads and writes, for a backup: read leniently, since what is half written
//! should be saved as well.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use super::document::Section;
use super::environment;
use super::finding::{Findings, Place, Problems};
use super::keys::{self, Key};
use super::kind::Kind;
use super::servers_directory::{MOST_ENTRIES, is_a_servers};
use super::values::Values;
use super::{SERVERS_DIRECTORY, directory, files, read, reference, text};
use crate::backup::{Inventory, Named, NamedKind};

/// Directories, and what the relay writes itself.
const NOT_NAMED: [(&str, &str); 3] = [("", "servers_directory"), ("", "data_dir"), ("log", "file")];

/// Files with nothing secret in them.
const PUBLIC: [&str; 3] = ["ca_file", "client_ca_file", "key_files"];

/// Everything that belongs to a configuration, with variables laid over it as `serve` does.
///
/// # Errors
/// The file cannot be read at all.
pub fn inventory(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Inventory, Problems> {
    let file = file.map(reference::find);
    let mut findings = Findings::default();
    let Some(mut document) = read(file.as_deref(), &mut findings) else {
        return Err(findings.finish().expect_err("whoever reads nothing reports why"));
    };
    let ours: Vec<_> = environment.into_iter().filter(|(name, _)| environment::is_setting(name)).collect();
    let mut variables: Vec<_> = ours.iter().filter_map(|(name, _)| name.clone().into_string().ok()).collect();
    variables.sort();
    // What is wrong is for `check` to say.
    environment::apply(&mut document, ours, &mut Findings::default());
    let base = directory(file.as_deref(), &document);
    let mut named = Vec::new();
    for section in document.all() {
        named_in(section, base, &mut named);
    }
    let is_reference = document.is_reference;
    let top = Values::check(document.section(&keys::TOP), base, &mut Findings::default());
    let usual = || (file.is_some() && !is_reference).then(|| base.join(SERVERS_DIRECTORY));
    let servers = top.path("servers_directory").or_else(usual);
    let data_dir = top.path("data_dir");
    let mut server_files = Vec::new();
    if let Some(servers) = &servers {
        // One that cannot be listed is not there, or `check` says so.
        for name in files::list(servers, MOST_ENTRIES).unwrap_or_default() {
            if !is_a_servers(&name) {
                continue;
            }
            let path = servers.join(&name);
            named_by_server(&path, servers, &mut named);
            server_files.push(path);
        }
    }
    Ok(Inventory { file, server_files, data_dir, named, variables })
}

fn named_by_server(path: &Path, servers: &Path, named: &mut Vec<Named>) {
    let shown: Arc<str> = path.display().to_string().into();
    let (place, mut findings) = (Place::File(Arc::clone(&shown)), Findings::default());
    let section = text(files::read(path), &place, "", &mut findings)
        .and_then(|text| Section::of_file(&text, &shown, &keys::SERVER, &mut findings));
    if let Some(section) = section {
        named_in(&section, servers, named);
    }
}

fn named_in(section: &Section, base: &Path, named: &mut Vec<Named>) {
    let values = Values::check(section, base, &mut Findings::default());
    for key in section.group.keys {
        let Some((name, kind)) = naming(key) else { continue };
        if NOT_NAMED.contains(&(section.group.name, &*name)) {
            continue;
        }
        for path in values.all_named_files(&name, matches!(key.kind, Kind::Files)) {
            named.push(Named { key: section.path(&name), path, kind });
        }
    }
}

/// The name under which a key names a file, and what is in that.
fn naming(key: &Key) -> Option<(String, NamedKind)> {
    match key.kind {
        Kind::File | Kind::Files if PUBLIC.contains(&key.name) => Some((key.name.to_owned(), NamedKind::Public)),
        Kind::File | Kind::Files => Some((key.name.to_owned(), NamedKind::Key)),
        _ => Some((key.file_name()?, NamedKind::Password)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_a_configuration_names_is_found_with_what_is_in_it_and_however_it_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pushrelay.toml");
        let text = "data_dir = \"state\"\n[log]\nfile = \"log/pushrelay.log\"\n[tls]\ncertificate_file = \"relay.pem\"\n\
                    key_file = \"relay.key\"\n[[target]]\nname = \"a\"\nprovider = \"apns\"\n\
                    certificate_file = \"/etc/a.pem\"\ncertificate_password_file = \"a.password\"\nca_file = \"ca.pem\"\n\
                    [[server]]\nname = \"s\"\nid = \"s\"\nkey_files = [\"1.pem\", \"2.pem\"]\n";
        std::fs::write(&file, text).unwrap();
        std::fs::create_dir(folder.path().join("servers.d")).unwrap();
        std::fs::write(folder.path().join("servers.d/t.toml"), "id = \"t\"\nwebhook_keys_file = \"t.keys\"\n").unwrap();
        std::fs::write(folder.path().join("servers.d/t.toml~"), "").unwrap();
        let variables = [
            ("PUSHRELAY_TARGET__B__PROVIDER", "fcm"),
            ("PUSHRELAY_TARGET__B__SERVICE_ACCOUNT_FILE", "b,1.json"),
            ("PUSHRELAY_CONFIG", "other"),
            ("PUSHRELAY_BACKUP_PASSPHRASE", "canary"),
            ("HOME", "/root"),
        ];
        let found = inventory(Some(&file), variables.map(|(name, value)| (name.into(), value.into()))).unwrap();
        assert_eq!(found.data_dir, Some(folder.path().join("state")));
        assert_eq!(found.server_files, [folder.path().join("servers.d/t.toml")]);
        assert_eq!(found.variables, ["PUSHRELAY_TARGET__B__PROVIDER", "PUSHRELAY_TARGET__B__SERVICE_ACCOUNT_FILE"]);
        let relative = |path: &Path| path.strip_prefix(folder.path()).unwrap_or(path).display().to_string();
        let mut named: Vec<_> = found.named.iter().map(|named| (relative(&named.path), named.kind)).collect();
        named.sort_by(|one, other| one.0.cmp(&other.0));
        let expected = [
            ("/etc/a.pem", NamedKind::Key),
            ("1.pem", NamedKind::Public),
            ("2.pem", NamedKind::Public),
            ("a.password", NamedKind::Password),
            ("b,1.json", NamedKind::Key),
            ("ca.pem", NamedKind::Public),
            ("relay.key", NamedKind::Key),
            ("relay.pem", NamedKind::Key),
            ("servers.d/t.keys", NamedKind::Password),
        ];
        assert_eq!(named, expected.map(|(path, kind)| (path.to_owned(), kind)));
    }
}
