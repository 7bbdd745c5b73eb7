//! Chat servers in files of their own: read at the start, and again while the relay runs.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;

use super::*;
use crate::admission::signing::SigningKey;

const FIXED: &str = "[[server]]\nname = \"fixed\"\nid = \"fixed-id\"\nkeys = [\"KEY\"]\n";

/// A configuration without targets, so that there are always problems, and its directory.
struct Stage {
    folder: TempDir,
    key: String,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("servers.d")).unwrap();
        Self { folder, key: SigningKey::generate().public_base64() }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join("servers.d").join(name)
    }

    /// Puts a file in place as editors do: under another name first.
    fn put(&self, name: &str, toml: &str) {
        let aside = self.path(".aside");
        fs::write(&aside, toml.replace("KEY", &self.key)).unwrap();
        fs::rename(&aside, self.path(name)).unwrap();
    }

    fn server(&self, name: &str, id: &str) {
        self.put(name, &format!("id = \"{id}\"\nkeys = [\"KEY\"]\n"));
    }

    fn open_with(&self, toml: &str) -> (ServersDirectory, Findings) {
        let toml = toml.replace("KEY", &self.key);
        let mut findings = Findings::default();
        let mut document = Document::parse(&toml, &"pushrelay.toml".into(), &mut findings).unwrap();
        let settings = settings(&mut document, self.folder.path(), &mut findings);
        (settings.servers_directory.unwrap(), findings)
    }

    fn open(&self) -> ServersDirectory {
        self.open_with(FIXED).0
    }

    /// Problems at the start that are not about targets, without the directory's name.
    fn problems(&self, toml: &str) -> Vec<String> {
        let (_, findings) = self.open_with(toml);
        self.shown(findings.finish().unwrap_err().list()).into_iter().filter(|p| !p.contains(" target: ")).collect()
    }

    fn shown(&self, findings: &[Finding]) -> Vec<String> {
        let folder = format!("{}/", self.folder.path().display());
        findings.iter().map(|finding| finding.to_string().replace(&folder, "")).collect()
    }
}

fn ids(servers: &[ServerSettings]) -> Vec<&str> {
    servers.iter().map(|server| server.id.as_str()).collect()
}

#[test]
fn each_file_is_a_server_named_after_it() {
    let stage = Stage::new();
    stage.put(
        "chat.example.com.toml",
        "id = \"a\"\nkeys = [\"KEY\", \"KEY until 2026-12-31\"]\ntargets = [\"apple_rn\"]\nper_second = 3\nburst = 7\n\
         daily_quota = 10\ndisabled = true\n",
    );
    stage.put("b.toml", "name = \"B\"\nid = \"b\"\nwebhook_keys = [\"whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD\"]\n");
    for ignored in ["b.toml~", ".b.toml.swp", ".c.toml", "4913", "README"] {
        fs::write(stage.path(ignored), "nonsense").unwrap();
    }
    let (directory, findings) = stage.open_with(FIXED);
    let servers = directory.servers();
    assert_eq!(ids(&servers), ["fixed-id", "b", "a"]);
    let [_, b, chat] = servers.as_slice() else { panic!("{servers:?}") };
    assert_eq!((b.name.as_str(), b.schemes.mattermost, b.schemes.webhook), ("B", false, true));
    assert_eq!((b.rate, b.daily_quota, b.disabled), (None, None, false));
    assert!(b.targets.is_none() && b.keys.is_empty());
    assert_eq!((chat.name.as_str(), chat.schemes.mattermost, chat.schemes.webhook), ("chat.example.com", true, false));
    assert_eq!(chat.targets.as_ref().unwrap().iter().map(ToString::to_string).collect::<Vec<_>>(), ["apple_rn"]);
    assert_eq!((chat.rate.unwrap().burst(), chat.daily_quota, chat.disabled), (7, Some(10), true));
    // 2026-12-31T23:59:59Z.
    let end = 1_798_761_599;
    assert_eq!((chat.keys.live(end).len(), chat.keys.live(end + 1).len()), (2, 1));
    let warnings = stage.shown(findings.warnings());
    assert!(
        warnings
            .iter()
            .any(|w| w
                .starts_with("servers.d/chat.example.com.toml:3: server[chat.example.com].targets: names `apple_rn`")),
        "{warnings:#?}"
    );
    assert!(
        warnings
            .iter()
            .any(|w| w.starts_with("servers.d/b.toml:3: server[B].webhook_keys: stands in a file that everybody")),
        "{warnings:#?}"
    );
}

#[test]
fn a_file_may_be_the_one_server_table_of_a_configuration() {
    let stage = Stage::new();
    stage.put(
        "a.toml",
        "# As `pushrelay keygen` writes it.\n[[server]]\nid = \"a-id\"\nname = \"A\"\nkeys = [\"KEY\"]\n",
    );
    assert_eq!(stage.problems(FIXED), Vec::<String>::new());
    for wrong in ["id = \"a\"\n[[server]]\nkeys = [\"KEY\"]\n", "[server]\nid = \"a\"\nkeys = [\"KEY\"]\n"] {
        stage.put("a.toml", wrong);
        let said = stage.problems(FIXED).join("\n");
        assert!(said.contains("server: is not the only thing in the file"), "{said}");
    }
    stage.put("a.toml", "[[server]]\nid = \"a-id\"\nkey = [\"KEY\"]\n");
    assert!(stage.problems(FIXED).join("\n").contains("servers.d/a.toml:3: server[a].key: is not a known key"));
}

#[test]
fn at_the_start_everything_wrong_is_told_at_once_with_file_line_key_and_remedy() {
    let stage = Stage::new();
    stage.put("a.toml", "id = \"fixed-id\"\nkeys = [\"KEY\"]\n");
    stage.put("b.toml", "id = \"b\"\nkey = [\"KEY\"]\n");
    stage.put("c.toml", "id = \n");
    stage.put("d.toml", "[[server]]\nid = \"d\"\nkeys = [\"KEY\"]\n[[server]]\nid = \"dd\"\nkeys = [\"KEY\"]\n");
    stage.put("e.toml", "id = \"e\"\nname = \"fixed\"\nkeys = [\"KEY\"]\n");
    stage.put("f.toml", "id = \"f\"\nkeys = [\"KEY until tomorrow\"]\ndaily_quota = 0\nburst = 3\n");
    stage.server("g.toml", "g");
    stage.server("h.toml", "g");
    fs::create_dir(stage.path("i.toml")).unwrap();
    symlink("nowhere", stage.path("j.toml")).unwrap();
    let said = stage.problems(FIXED).join("\n");
    assert_eq!(
        said,
        "\
servers.d/b.toml: server[b].keys: is missing: nothing the server signs could be checked
    → add `keys = …`, [\"…\"] with the server's AsymmetricSigningPublicKey
servers.d/i.toml: cannot be read: it is a directory
    → make it readable to the relay, or take it out of the directory
servers.d/j.toml: cannot be read: no such file
    → make it readable to the relay, or take it out of the directory
servers.d/a.toml:1: id: is the id of another server already, in a [[server]] of the configuration
    → give each server its own
servers.d/b.toml:2: server[b].key: is not a known key
    → did you mean keys?
servers.d/c.toml:1: is not TOML: string values must be quoted, expected literal string
    → mend this first; the values are looked at when the whole file can be read
servers.d/d.toml:1: server: is not the only thing in the file, or stands there twice
    → give each server a file of its own, with its keys at the top or below [[server]] and nothing above that
servers.d/e.toml:2: name: is the name of another server already, in a [[server]] of the configuration
    → give each server its own
servers.d/f.toml:2: server[f].keys: one of the keys has an end that is not a date
    → write MFkw… until 2026-12-31, or MFkw… until 2026-12-31T12:00:00Z
servers.d/f.toml:3: server[f].daily_quota: `0` is out of range
    → choose a whole number from 1 to 4294967295
servers.d/f.toml:4: server[f].burst: says how many may come at once, and per_second is missing
    → add `per_second = …`, a whole number, or take burst out
servers.d/h.toml:1: id: is the id of another server already, in servers.d/g.toml
    → give each server its own"
    );
}

#[test]
fn a_directory_that_was_asked_for_must_be_there_and_the_usual_one_need_not() {
    let stage = Stage::new();
    fs::remove_dir(stage.path("")).unwrap();
    assert_eq!(stage.problems(FIXED), Vec::<String>::new());
    let said = stage.problems(&format!("servers_directory = \"elsewhere\"\n{FIXED}"));
    assert_eq!(
        said,
        ["pushrelay.toml:1: servers_directory: cannot read `elsewhere`: no such file\n    \
          → give the path of a directory that the relay may read"]
    );
    let nobody = stage.problems("");
    assert!(nobody[0].starts_with("pushrelay.toml: server: there is none"), "{nobody:?}");
    // An empty one waits for somebody.
    fs::create_dir(stage.path("")).unwrap();
    assert_eq!(stage.problems(""), Vec::<String>::new());
}

#[test]
fn what_schemes_targets_and_rates_may_not_say_is_told() {
    for (line, expected) in [
        ("schemes = []", "server[s].schemes: is empty: the server could send nothing"),
        ("schemes = [\"jwt\"]", "server[s].schemes: `jwt` is no way to sign"),
        ("schemes = [\"webhook\"]", "server[s].schemes: names webhook, for which there are no keys"),
        ("targets = []", "server[s].targets: is empty: the server could push nowhere"),
        ("webhook_keys = [\"canary\"]", "server[s].webhook_keys: one of the keys cannot be used: "),
        ("webhook_keys = [1]", "server[s].webhook_keys: holds something else than texts in quotes"),
        ("disabled = 1", "server[s].disabled: must be true or false, not a number"),
        ("per_second = 0", "server[s].per_second: `0` is out of range"),
    ] {
        let stage = Stage::new();
        stage.put("s.toml", &format!("id = \"s\"\nkeys = [\"KEY\"]\n{line}\n"));
        let said = stage.problems(FIXED);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with(&format!("servers.d/s.toml:3: {expected}")), "{line}: {said:?}");
        assert!(!said[0].contains("canary"), "{said:?}");
    }
    let keys = ["\"KEY\""; 9].join(", ");
    let stage = Stage::new();
    stage.put("s.toml", &format!("id = \"s\"\nkeys = [{keys}]\n"));
    assert!(stage.problems(FIXED)[0].contains("server[s].keys: are 9 keys"), "{:?}", stage.problems(FIXED));
}

#[test]
fn an_end_of_a_key_is_a_day_or_a_time() {
    for (end, last_second) in [
        ("1970-01-01", Some(86_399)),
        ("1970-01-01T12:00:00Z", Some(43_200)),
        ("1970-01-02T01:00:00+01:00", Some(86_400)),
        ("9999-12-31", Some(253_402_300_799)),
        ("1969-12-31", None),
        ("2026-02-29", None),
        ("2026-12-31T12:00:00", None),
        ("31.12.2026", None),
    ] {
        let stage = Stage::new();
        fs::write(stage.path("s.pem"), format!("{}\n until {end}\n", stage.key)).unwrap();
        stage.put("s.toml", "id = \"s\"\nkey_files = [\"s.pem\"]\n");
        let servers = stage.open().servers();
        let found = servers.iter().find(|server| server.id.as_str() == "s").map(|server| {
            let keys = &server.keys;
            keys.ended(u64::MAX - 1).next().unwrap().1
        });
        assert_eq!(found, last_second, "{end}");
    }
}

#[test]
fn files_come_change_and_go() {
    let stage = Stage::new();
    stage.server("a.toml", "a");
    let mut directory = stage.open();
    assert_eq!(ids(&directory.servers()), ["fixed-id", "a"]);
    stage.server("b.toml", "b");
    assert_eq!(ids(&directory.read_again(false).servers), ["fixed-id", "a", "b"]);
    stage.server("a.toml", "a2");
    assert_eq!(ids(&directory.read_again(false).servers), ["fixed-id", "a2", "b"]);
    // In place, with the same size, inode and all but the times.
    fs::write(stage.path("a.toml"), fs::read_to_string(stage.path("a.toml")).unwrap().replace("\"a2\"", "\"a3\""))
        .unwrap();
    assert_eq!(ids(&directory.read_again(true).servers), ["fixed-id", "a3", "b"]);
    // Another file with the same server.
    fs::rename(stage.path("a.toml"), stage.path("z.toml")).unwrap();
    let reading = directory.read_again(false);
    assert_eq!((ids(&reading.servers), reading.troubles.len()), (vec!["fixed-id", "b", "a3"], 0));
    fs::remove_file(stage.path("b.toml")).unwrap();
    assert_eq!(ids(&directory.read_again(false).servers), ["fixed-id", "a3"]);
}

#[test]
fn a_file_that_goes_bad_keeps_its_server_and_is_told_once() {
    let stage = Stage::new();
    stage.server("a.toml", "a");
    let mut directory = stage.open();
    stage.put("a.toml", "id = \"a\"\n");
    stage.put("new.toml", "id = \n");
    stage.server("b.toml", "b");
    let reading = directory.read_again(false);
    assert_eq!(ids(&reading.servers), ["fixed-id", "a", "b"]);
    assert_eq!(reading.servers[1].keys.len(), 1, "its old key");
    let kept: Vec<_> = reading.troubles.iter().map(|t| (stage.shown(&t.problems).remove(0), t.is_kept)).collect();
    assert!(kept[0].0.starts_with("servers.d/a.toml: server[a].keys: is missing") && kept[0].1, "{kept:?}");
    assert!(kept[1].0.starts_with("servers.d/new.toml:1: is not TOML") && !kept[1].1, "{kept:?}");
    assert_eq!(kept.len(), 2);
    assert!(directory.read_again(false).troubles.is_empty(), "was told");
    assert_eq!(directory.read_again(true).troubles.len(), 2, "to whoever asks");
    stage.put("a.toml", "id = \"a\"\nkeys = [\"other\"]\n");
    assert_eq!(directory.read_again(false).troubles.len(), 1, "it is wrong in another way");
    stage.server("a.toml", "a");
    stage.put("a.toml", "id = \"a\"\nkeys = [\"KEY\"]\ndisabled = true\n");
    let reading = directory.read_again(false);
    assert!(reading.troubles.is_empty() && reading.servers[1].disabled);
}

#[test]
fn nobody_takes_an_id_away_from_whoever_has_it() {
    let stage = Stage::new();
    stage.server("m.toml", "m");
    let mut directory = stage.open();
    stage.server("a.toml", "m");
    stage.put("b.toml", "id = \"b\"\nname = \"m\"\nkeys = [\"KEY\"]\n");
    stage.server("c.toml", "fixed-id");
    let reading = directory.read_again(false);
    assert_eq!(ids(&reading.servers), ["fixed-id", "m"]);
    let told: BTreeSet<_> = reading.troubles.iter().map(|t| t.problems[0].key.clone()).collect();
    assert_eq!((reading.troubles.len(), told), (3, BTreeSet::from(["id".to_owned(), "name".to_owned()])));
    // Once it is free, it can be had.
    fs::remove_file(stage.path("m.toml")).unwrap();
    fs::remove_file(stage.path("b.toml")).unwrap();
    let servers = directory.read_again(false).servers;
    assert_eq!(
        servers.iter().map(|s| (s.name.as_str(), s.id.as_str())).collect::<Vec<_>>(),
        [("fixed", "fixed-id"), ("a", "m")]
    );
    // Two that change places do.
    stage.server("n.toml", "n");
    directory.read_again(false);
    stage.server("a.toml", "n");
    stage.server("n.toml", "m");
    let reading = directory.read_again(false);
    assert!(reading.troubles.iter().all(|t| t.problems[0].what.contains("configuration")), "{:?}", reading.troubles);
    assert_eq!(ids(&reading.servers), ["fixed-id", "n", "m"]);
}

#[test]
fn a_directory_that_is_gone_takes_nobody_with_it() {
    let stage = Stage::new();
    stage.server("a.toml", "a");
    let mut directory = stage.open();
    fs::rename(stage.path(""), stage.folder.path().join("elsewhere")).unwrap();
    let reading = directory.read_again(false);
    assert_eq!(ids(&reading.servers), ["fixed-id", "a"]);
    assert!(reading.troubles[0].is_kept && reading.troubles[0].problems[0].what.ends_with("no such file"));
    fs::rename(stage.folder.path().join("elsewhere"), stage.path("")).unwrap();
    fs::remove_file(stage.path("a.toml")).unwrap();
    let reading = directory.read_again(false);
    assert!(reading.troubles.is_empty());
    assert_eq!(ids(&reading.servers), ["fixed-id"]);
}

#[test]
fn a_directory_as_kubernetes_mounts_it_changes_with_its_link() {
    let stage = Stage::new();
    let version = |name: &str, id: &str| {
        fs::create_dir(stage.path(name)).unwrap();
        fs::write(stage.path(name).join("chat.toml"), format!("id = \"{id}\"\nkeys = [\"{}\"]\n", stage.key)).unwrap();
        symlink(name, stage.path("..data_tmp")).unwrap();
        fs::rename(stage.path("..data_tmp"), stage.path("..data")).unwrap();
    };
    version("..2026_01", "one");
    symlink("..data/chat.toml", stage.path("chat.toml")).unwrap();
    let mut directory = stage.open();
    assert_eq!(ids(&directory.servers()), ["fixed-id", "one"]);
    version("..2026_02", "two");
    assert_eq!(ids(&directory.read_again(false).servers), ["fixed-id", "two"]);
}

#[test]
fn a_key_file_that_has_changed_is_noticed() {
    let stage = Stage::new();
    fs::write(stage.path("a.pem"), &stage.key).unwrap();
    stage.put("a.toml", "id = \"a\"\nkey_files = [\"a.pem\"]\n");
    let mut directory = stage.open();
    let before = directory.servers();
    assert_eq!(directory.read_again(false).servers, before);
    fs::write(stage.path("a.pem"), SigningKey::generate().public_base64()).unwrap();
    assert_ne!(directory.read_again(false).servers, before);
}

proptest! {
    #[test]
    fn whatever_stands_in_the_files_no_two_servers_share_an_id_or_a_name(
        rounds in prop::collection::vec(prop::collection::vec((0..4usize, 0..5usize, 0..4usize), 0..6), 1..4),
    ) {
        let stage = Stage::new();
        let mut directory = stage.open();
        for round in rounds {
            for (file, id, name) in round {
                match id {
                    4 => stage.put(&format!("{file}.toml"), "nonsense"),
                    3 => drop(fs::remove_file(stage.path(&format!("{file}.toml")))),
                    id => stage.put(
                        &format!("{file}.toml"),
                        &format!("id = \"{id}\"\nname = \"{name}\"\nkeys = [\"KEY\"]\n"),
                    ),
                }
            }
            let servers = directory.read_again(false).servers;
            let ids: BTreeSet<_> = servers.iter().map(|server| server.id.as_str()).collect();
            let names: BTreeSet<_> = servers.iter().map(|server| server.name.as_str()).collect();
            prop_assert_eq!((ids.len(), names.len()), (servers.len(), servers.len()));
            prop_assert!(ids.contains("fixed-id"));
        }
    }
}
