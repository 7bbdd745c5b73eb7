//! What a configuration and the files of chat servers name, and is no file: nothing waits for it, and what it was is said.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::{CWD, Mode, mkfifoat};

use crate::process::reload::{ANEW, Tenant};
use crate::support::process::{Process, Stage};
use crate::support::push::apple_token;
use crate::support::{PATIENCE, Push};

const A_PIPE: &str = "it is a pipe (FIFO)";

/// A pipe that nobody will ever write into, in the place of whatever was there.
fn put_pipe(path: &Path) {
    let aside = path.with_extension("pipe");
    mkfifoat(CWD, &aside, Mode::RUSR | Mode::WUSR).unwrap();
    fs::rename(aside, path).unwrap();
}

fn config(stage: &Stage) -> PathBuf {
    stage.folder.path().join("pushrelay.toml")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_among_the_chat_servers_files_keeps_no_other_change_from_counting() {
    let stage = Stage::set("").await;
    let directory = stage.folder.path().join("servers.d");
    let two = Tenant::new("chat-2");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("two.toml"), two.toml("")).unwrap();
    let mut relay = stage.serve();
    let address = relay.address();
    assert_eq!(two.status(address).await, 200);

    put_pipe(&directory.join("x.toml"));
    let line = relay.wait_for("a chat server's file cannot be used");
    assert!(line.contains("x.toml") && line.contains(A_PIPE) && line.contains("remedy"), "{line}");
    fs::remove_file(directory.join("two.toml")).unwrap();
    relay.wait_for(ANEW);
    assert_eq!(two.status(address).await, 401);
    stage.post(address, &Push::apple(&apple_token(1))).await.unwrap().expect_ok();

    // The file of a server that is there already, and a file of keys that it names: what it said before goes on to count.
    fs::write(directory.join("two.toml"), two.toml("")).unwrap();
    relay.wait_for(ANEW);
    put_pipe(&directory.join("keys.pem"));
    fs::write(directory.join("two.toml"), "id = \"chat-2\"\nkey_files = [\"keys.pem\"]\n").unwrap();
    let line = relay.wait_for("what it said before goes on to count");
    assert!(line.contains("key_files") && line.contains("keys.pem") && line.contains(A_PIPE), "{line}");
    assert_eq!(two.status(address).await, 200);
    put_pipe(&directory.join("two.toml"));
    relay.signal("HUP");
    let line = relay.wait_for("two.toml");
    assert!(line.contains(A_PIPE), "{line}");
    assert_eq!(two.status(address).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_becomes_a_pipe_is_told_and_the_one_in_use_stays() {
    let stage = Stage::set("").await;
    let mut relay = stage.serve();
    let address = relay.address();
    put_pipe(&stage.folder.path().join("AuthKey.p8"));
    relay.signal("HUP");
    let line = relay.wait_for(A_PIPE);
    assert!(line.contains("AuthKey.p8") && line.contains(r#""level":"error""#), "{line}");
    stage.post(address, &Push::apple(&apple_token(1))).await.unwrap().expect_ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_names_each_key_that_leads_to_a_pipe_or_to_a_device_and_waits_for_none() {
    let stage = Stage::set("").await;
    let folder = stage.folder.path();
    for name in ["AuthKey.p8", "service-account.json", "tls.pem", "password"] {
        put_pipe(&folder.join(name));
    }
    fs::create_dir(folder.join("servers.d")).unwrap();
    put_pipe(&folder.join("servers.d/x.toml"));
    let text = fs::read_to_string(config(&stage)).unwrap().replacen("ca.pem", "/dev/zero", 1);
    let more = "[tls]\ncertificate_file = \"tls.pem\"\nkey_file = \"/dev/null\"\n\
                [status]\nuser = \"ops\"\npassword_file = \"password\"\n\
                [[server]]\nid = \"chat-2\"\nname = \"two\"\nkey_files = [\"/dev/urandom\"]\n";
    fs::write(config(&stage), format!("{text}{more}")).unwrap();
    for command in ["serve", "check"] {
        let mut process = Process::start(&[command, "--config", "pushrelay.toml"], folder);
        process.wait_for("nothing was started");
        let (status, output) = process.end();
        assert_eq!(status.code(), Some(78), "{output}");
        for (key, what) in [
            ("target[apple_rn].key_file", A_PIPE),
            ("target[apple_rn].ca_file", "it is a device"),
            ("target[android_rn].service_account_file", A_PIPE),
            ("tls.certificate_file", A_PIPE),
            ("tls.key_file", "it is a device"),
            ("status.password_file", A_PIPE),
            ("server[two].key_files", "it is a device"),
            ("servers.d/x.toml", A_PIPE),
        ] {
            let said = output.lines().any(|line| line.contains(key) && line.contains(what));
            assert!(said, "{command} does not say of {key} that {what}:\n{output}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_may_come_out_of_a_pipe_once() {
    let stage = Stage::set("").await;
    let mut text = fs::read_to_string(config(&stage)).unwrap();
    for name in ["ca.pem", "AuthKey.p8", "service-account.json"] {
        // Relative paths would count from `/dev`.
        text = text.replace(&format!("\"{name}\""), &format!("\"{}\"", stage.folder.path().join(name).display()));
    }
    let mut check = Command::new(env!("CARGO_BIN_EXE_pushrelay"))
        .args(["check", "--offline", "--config", "/dev/stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    check.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = tokio::time::timeout(PATIENCE, async {
        while check.try_wait().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        check.wait_with_output().unwrap()
    });
    let output = output.await.expect("it reads what there is");
    assert!(output.status.success(), "{output:?}");

    // A relay that is told to read it again says why it cannot, and goes on.
    let pipe = stage.folder.path().join("config.pipe");
    mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
    let mut relay = Process::start(&["serve", "--config", "config.pipe"], stage.folder.path());
    fs::write(&pipe, &text).unwrap();
    let address = relay.address();
    relay.signal("HUP");
    let line = relay.wait_for(A_PIPE);
    assert!(line.contains("config.pipe"), "{line}");
    stage.post(address, &Push::apple(&apple_token(1))).await.unwrap().expect_ok();
}
