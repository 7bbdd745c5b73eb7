//! What commands write into the directory of chat servers, and what they refuse to.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::admission::key::VerifyingKey;
use crate::admission::signing::SigningKey;
use crate::notification::ServerId;

struct Stage {
    folder: TempDir,
    key: VerifyingKey,
}

impl Stage {
    fn new() -> Self {
        let key = SigningKey::generate();
        let toml = format!("[[server]]\nname = \"fixed\"\nid = \"fixed-id\"\nkeys = [\"{}\"]\n", key.public_base64());
        Self { folder: directory(&toml), key: key.verifying_key() }
    }

    fn known(&self) -> KnownServers {
        let none: [(OsString, OsString); 0] = [];
        KnownServers::of_configuration(Some(&self.folder.path().join("pushrelay.toml")), none).unwrap()
    }

    fn add(&self, name: &str, id: &str) -> Result<std::path::PathBuf, ChangeError> {
        let id = ServerId::new(id).unwrap();
        self.known().add(&NewServer { name, id: &id, site: None, key: &self.key, about: &[] })
    }

    fn files(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.folder.path().join("servers.d")) else { return Vec::new() };
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn mode(&self, path: &str) -> u32 {
        fs::metadata(self.folder.path().join(path)).unwrap().permissions().mode() & 0o777
    }
}

#[test]
fn a_new_server_gets_a_file_that_the_relay_takes_and_others_can_read_no_better_than_the_directory() {
    for (around, directory, file) in [(0o700, 0o750, 0o640), (0o750, 0o750, 0o640), (0o755, 0o755, 0o644)] {
        let stage = Stage::new();
        fs::set_permissions(stage.folder.path(), fs::Permissions::from_mode(around)).unwrap();
        let path = stage.add("two", "chat-2").unwrap();
        assert_eq!(path, stage.folder.path().join("servers.d/two.toml"));
        assert_eq!(stage.files(), ["two.toml"], "nothing is left beside it");
        assert_eq!(stage.mode("servers.d/two.toml"), file, "{around:o}");
        // The umask may take more away.
        assert_eq!(stage.mode("servers.d") & !directory, 0, "{around:o}");
        let known = stage.known();
        let server = known.find("two").unwrap();
        assert_eq!((server.settings.id.as_str(), server.settings.disabled), ("chat-2", false));
        assert!(known.troubles.is_empty());
    }
}

#[test]
fn nobody_elses_file_name_or_id_is_taken() {
    let stage = Stage::new();
    stage.add("two", "chat-2").unwrap();
    fs::write(stage.folder.path().join("servers.d/half.toml"), "id = \n").unwrap();
    let before = fs::read_to_string(stage.folder.path().join("servers.d/two.toml")).unwrap();
    for (name, id, words) in [
        ("two", "chat-3", "the name `two` belongs to a server in"),
        ("fixed", "chat-3", "the name `fixed` belongs to a server in the configuration itself"),
        ("three", "chat-2", "the id `chat-2` belongs to a server in"),
        ("three", "fixed-id", "in the configuration itself already"),
        ("half", "chat-3", "half.toml is there already"),
        ("", "chat-3", "is no name"),
        (".three", "chat-3", "is no name"),
        ("../three", "chat-3", "is no name"),
        ("a b", "chat-3", "is no name"),
        (&"x".repeat(201), "chat-3", "is no name"),
    ] {
        let error = stage.add(name, id).unwrap_err().to_string();
        assert!(error.contains(words), "{name} {id}: {error}");
    }
    assert_eq!(stage.files(), ["half.toml", "two.toml"]);
    assert_eq!(fs::read_to_string(stage.folder.path().join("servers.d/two.toml")).unwrap(), before);
}

#[test]
fn a_file_is_changed_in_place_with_its_mode_and_through_a_link() {
    let stage = Stage::new();
    let path = stage.add("two", "chat-2").unwrap();
    let elsewhere = stage.folder.path().join("elsewhere.toml");
    fs::rename(&path, &elsewhere).unwrap();
    symlink(&elsewhere, &path).unwrap();
    fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o600)).unwrap();

    let known = stage.known();
    let server = known.find("chat-2").unwrap();
    assert!(known.change(&server, &Edit::Disabled(true)).unwrap().1);
    assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
    assert_eq!(stage.mode("elsewhere.toml"), 0o600);
    let known = stage.known();
    let server = known.find("two").unwrap();
    assert!(server.settings.disabled);
    assert!(!known.change(&server, &Edit::Disabled(true)).unwrap().1, "it is so already");

    let new = SigningKey::generate().verifying_key();
    let edit = Edit::Key { new: &new, until: 2_000_000_000, about: "why" };
    known.change(&server, &edit).unwrap();
    let known = stage.known();
    let keys: Vec<_> = known.find("two").unwrap().settings.keys.all().map(|(key, end)| (key.clone(), end)).collect();
    assert_eq!(keys, [(new, None), (stage.key.clone(), Some(2_000_000_000))]);
}

#[test]
fn what_would_not_be_right_is_not_written() {
    let stage = Stage::new();
    let path = stage.add("two", "chat-2").unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let known = stage.known();
    let server = known.find("two").unwrap();
    // Eight keys are the most.
    let key = SigningKey::generate().public_base64();
    let many = text.replace("keys = [", &format!("keys = [{}", format!("\"{key} until 2020-01-01\", ").repeat(7)));
    fs::write(&path, &many).unwrap();
    let new = SigningKey::generate().verifying_key();
    let error =
        known.change(&server, &Edit::Key { new: &new, until: 2_000_000_000, about: "" }).unwrap_err().to_string();
    assert!(error.contains("9 keys"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), many);

    // In the configuration itself, and nowhere at all.
    let fixed = known.find("fixed").unwrap();
    let error = known.change(&fixed, &Edit::Disabled(true)).unwrap_err().to_string();
    assert!(error.contains("stands in the configuration itself"), "{error}");
    let id = ServerId::new("x").unwrap();
    let new = NewServer { name: "x", id: &id, site: None, key: &stage.key, about: &[] };
    assert!(matches!(KnownServers::none().add(&new), Err(ChangeError::NoDirectory)));
}

#[test]
fn a_wrong_site_is_reported_with_its_key() {
    let toml = "[[server]]\nname = \"a\"\nid = \"a\"\nsite = \"ftp://canary\"\n";
    let text = said(toml, &[]);
    assert!(text.contains("pushrelay.toml:4: server[a].site: is not an address with https://"), "{text}");
    assert!(!text.contains("canary"), "{text}");
}
