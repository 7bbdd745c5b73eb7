//! Chat servers that come, change and go, and credentials that are replaced, while the real binary runs. Each step waits for the line that says so.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use pushrelay::admission::signing::SigningKey;
use pushrelay::simulator::ProviderKey;

use super::*;
use crate::support::Answer;

/// A chat server that is registered by a file.
pub struct Tenant {
    pub id: &'static str,
    pub key: SigningKey,
}

impl Tenant {
    pub fn new(id: &'static str) -> Self {
        Self { id, key: SigningKey::generate() }
    }

    pub fn toml(&self, more: &str) -> String {
        format!("id = \"{}\"\nkeys = [\"{}\"]\n{more}\n", self.id, self.key.public_base64())
    }

    async fn push(&self, relay: SocketAddr) -> (u16, String) {
        let push = Push::apple(&apple_token(1)).with("server_id", self.id);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://{relay}/api/v1/send_push");
        let answer = Answer::read(client.post(url).body(push.body(&self.key).to_string()).send().await.unwrap()).await;
        (answer.code, answer.error)
    }

    /// Whether it may send: the answer's status.
    pub async fn status(&self, relay: SocketAddr) -> u16 {
        self.push(relay).await.0
    }
}

/// As editors do it: written aside, then renamed.
fn put(path: PathBuf, text: &str) {
    let aside = path.with_extension("aside");
    fs::write(&aside, text).unwrap();
    fs::rename(aside, path).unwrap();
}

pub const ANEW: &str = "registered anew";

#[tokio::test(flavor = "multi_thread")]
async fn servers_come_change_and_go_while_the_relay_runs() {
    let stage = Stage::set("").await;
    let directory = stage.folder.path().join("servers.d");
    let (two, three) = (Tenant::new("chat-2"), Tenant::new("chat-3"));
    let mut relay = stage.serve();
    let address = relay.address();
    assert_eq!(two.status(address).await, 401);

    // The directory itself comes while the relay runs.
    fs::create_dir(&directory).unwrap();
    put(directory.join("two.toml"), &two.toml(""));
    let line = relay.wait_for(ANEW);
    assert!(line.contains(r#""added":1,"added_names":"two","changed":0,"removed":0"#), "{line}");
    assert_eq!(two.status(address).await, 200);

    put(directory.join("two.toml"), &two.toml("disabled = true"));
    let line = relay.wait_for(ANEW);
    assert!(line.contains(r#""changed":1,"changed_names":"two""#), "{line}");
    let (status, text) = two.push(address).await;
    assert_eq!(status, 403, "{text}");
    assert!(text.contains("disabled"), "{text}");

    // A bad file: one line, and what it said before goes on to count. The good one beside it is taken.
    put(directory.join("two.toml"), "id = \n");
    let line = relay.wait_for("cannot be used: what it said before goes on to count");
    assert!(line.contains(r#""level":"error""#) && line.contains("two.toml:1") && line.contains("remedy"), "{line}");
    assert_eq!(two.status(address).await, 403);
    put(directory.join("three.toml"), &three.toml(""));
    relay.wait_for(ANEW);
    assert_eq!((two.status(address).await, three.status(address).await), (403, 200));

    put(directory.join("two.toml"), &two.toml(""));
    relay.wait_for(ANEW);
    fs::remove_file(directory.join("three.toml")).unwrap();
    let line = relay.wait_for(ANEW);
    assert!(line.contains(r#""removed":1,"removed_names":"three""#), "{line}");
    assert_eq!((two.status(address).await, three.status(address).await), (200, 401));
    stage.post(address, &Push::apple(&apple_token(1))).await.unwrap().expect_ok();

    // Whoever asks is answered, and nothing stops.
    relay.signal("HUP");
    relay.wait_for("nothing is different");
    assert_eq!(two.status(address).await, 200);

    relay.signal("TERM");
    let (status, output) = relay.end();
    assert_eq!(status.code(), Some(0), "{output}");
    assert_eq!(output.matches(r#""level":"error""#).count(), 1, "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_a_swapped_link_is_followed_to_each_new_place() {
    let (two, three) = (Tenant::new("chat-2"), Tenant::new("chat-3"));
    let stage = Stage::set("").await;
    let folder = stage.folder.path();
    let version = |name: &str, tenant: &Tenant| {
        let content = folder.join(name).join("servers.d");
        fs::create_dir_all(&content).unwrap();
        fs::write(content.join("chat.toml"), tenant.toml("")).unwrap();
        // What Kubernetes does with a volume of several directories.
        symlink(name, folder.join("..data_tmp")).unwrap();
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    };
    version("..2026_01", &two);
    symlink("..data/servers.d", folder.join("servers.d")).unwrap();
    let mut relay = stage.serve();
    let address = relay.address();
    assert_eq!((two.status(address).await, three.status(address).await), (200, 401));

    version("..2026_02", &three);
    let line = relay.wait_for(ANEW);
    assert!(line.contains(r#""added":1"#) && line.contains(r#""removed":1"#), "{line}");
    assert_eq!((two.status(address).await, three.status(address).await), (401, 200));

    // It is the new place that is watched now.
    put(folder.join("..2026_02/servers.d/two.toml"), &two.toml(""));
    relay.wait_for(ANEW);
    assert_eq!((two.status(address).await, three.status(address).await), (200, 200));

    // The directory goes: nobody goes with it, and it is told. It comes back as another.
    fs::remove_file(folder.join("servers.d")).unwrap();
    let line = relay.wait_for("cannot be used: what it said before goes on to count");
    assert!(line.contains("no such file"), "{line}");
    assert_eq!((two.status(address).await, three.status(address).await), (200, 200));
    fs::create_dir(folder.join("new")).unwrap();
    fs::write(folder.join("new/two.toml"), two.toml("")).unwrap();
    fs::rename(folder.join("new"), folder.join("servers.d")).unwrap();
    relay.wait_for(ANEW);
    assert_eq!((two.status(address).await, three.status(address).await), (200, 401));

    relay.signal("TERM");
    let (status, output) = relay.end();
    assert_eq!(status.code(), Some(0), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_has_sent_today_survives_a_reload() {
    let stage = Stage::set("").await;
    let directory = stage.folder.path().join("servers.d");
    let two = Tenant::new("chat-2");
    fs::create_dir(&directory).unwrap();
    put(directory.join("two.toml"), &two.toml("daily_quota = 2"));
    let mut relay = stage.serve();
    let address = relay.address();
    assert_eq!(two.status(address).await, 200);
    put(directory.join("two.toml"), &two.toml("daily_quota = 2\nname = \"renamed\""));
    relay.wait_for(ANEW);
    assert_eq!(two.status(address).await, 200);
    let (status, text) = two.push(address).await;
    assert_eq!(status, 429, "{text}");
    assert!(text.contains("00:00 UTC"), "{text}");
    put(directory.join("two.toml"), &two.toml("daily_quota = 3\nname = \"renamed\""));
    relay.wait_for(ANEW);
    assert_eq!((two.status(address).await, two.status(address).await), (200, 429));
    relay.signal("TERM");
    assert_eq!(relay.end().0.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_at_the_start_is_reported_with_the_rest_and_starts_nothing() {
    let stage = Stage::set("[log]\nformat = \"loud\"").await;
    let directory = stage.folder.path().join("servers.d");
    fs::create_dir(&directory).unwrap();
    put(directory.join("two.toml"), "id = \"two\"\n");
    let (status, output) = stage.serve().end();
    assert_eq!(status.code(), Some(78), "{output}");
    for words in ["log.format: `loud`", "servers.d/two.toml: server[two].keys: is missing", "2 problems"] {
        assert!(output.contains(words), "{words}\n{output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_has_credentials_read_again_and_the_log_says_what_became_of_them() {
    let (good, unknown) = [(); 2].map(|()| rcgen::KeyPair::generate().unwrap().serialize_pem()).into();
    let key = ProviderKey::from_p8("KEYNEW1234", "TEAM123456", &good).unwrap();
    let stage = Stage::set_with("", |simulator| simulator.keys.push(key)).await;
    let folder = stage.folder.path();
    let mut relay = stage.serve();
    let address = relay.address();
    stage.post(address, &Push::apple(&apple_token(1))).await.unwrap().expect_ok();
    relay.signal("HUP");
    let line = relay.wait_for("they are those in use");
    assert!(line.contains(r#""level":"info""#) && line.contains(r#""file":""#), "{line}");

    put(folder.join("AuthKey.p8"), "canary, and no key");
    relay.signal("HUP");
    let line = relay.wait_for("cannot be read again: those in use stay");
    for words in [r#""level":"error""#, r#""target":"apple_rn""#, "key_file", "pushrelay.toml:", "PEM"] {
        assert!(line.contains(words), "{words}: {line}");
    }

    let text = fs::read_to_string(folder.join("pushrelay.toml")).unwrap();
    put(folder.join("pushrelay.toml"), &text.replace("KEY1234567", "KEYNEW1234"));
    put(folder.join("AuthKey.p8"), &unknown);
    relay.signal("HUP");
    let line = relay.wait_for("new credentials are refused: those in use stay");
    for words in [r#""level":"error""#, r#""target":"apple_rn""#, "AuthKey.p8", "InvalidProviderToken", "remedy"] {
        assert!(line.contains(words), "{words}: {line}");
    }
    stage.post(address, &Push::apple(&apple_token(2))).await.unwrap().expect_ok();

    put(folder.join("AuthKey.p8"), &good);
    let more = text.replace("KEY1234567", "KEYNEW1234") + "\n[memory]\nenabled = false\n";
    put(folder.join("pushrelay.toml"), &more);
    relay.signal("HUP");
    relay.wait_for("takes effect after a restart");
    let line = relay.wait_for("they are in use from now on");
    assert!(line.contains(r#""target":"apple_rn""#) && line.contains("AuthKey.p8"), "{line}");
    stage.post(address, &Push::apple(&apple_token(3))).await.unwrap().expect_ok();

    relay.signal("TERM");
    let (status, output) = relay.end();
    assert_eq!(status.code(), Some(0), "{output}");
    let secret = good.lines().nth(1).unwrap();
    assert!(!output.contains("canary") && !output.contains(secret), "{output}");
}
