//! What an operator does to a large queue beside a running relay hurts nobody.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pushrelay::queue::FILE_NAME;

use crate::disk::with_a_data_dir;
use crate::stand::outage;
use crate::support::Push;
use crate::support::process::Stage;
use crate::support::push::apple_token;

/// Copies the first entry of a queue, for other phones. `server` is an expression of SQL, and `n` counts from 1.
pub fn copy_the_first(data: &Path, count: u32, server: &str) {
    let file = rusqlite::Connection::open(data.join(FILE_NAME)).unwrap();
    file.busy_timeout(Duration::from_secs(10)).unwrap();
    file.execute_batch(&format!(
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})
         INSERT INTO entries SELECT NULL, target, {server}, ack_id || n, kind, urgency, NULL, randomblob(16), channel, thread, crt,
             collapse_id, accepted_at, expires_at, state, wake_at, buried_at, superseded, attempts, reason, content
             FROM entries, numbers WHERE id = (SELECT min(id) FROM entries)"
    ))
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_push_waits_long_or_fails_while_an_operator_retries_and_drops_forty_thousand() {
    const MANY: u32 = 40_000;
    let stage = Stage::set("[breaker]\nfailures = 1\nfirst_pause = \"1m\"\n").await;
    let data = with_a_data_dir(&stage);
    for fault in outage() {
        stage.simulator.faults().add(fault).unwrap();
    }
    let mut relay = stage.serve();
    let address = relay.address();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut phone = 0;
    let mut post = async || {
        phone += 1;
        let body = Push::apple(&apple_token(phone)).body(&stage.key).to_string();
        let url = format!("http://{address}/api/v1/send_push");
        let began = Instant::now();
        crate::support::Answer::read(client.post(url).body(body).send().await.unwrap()).await.expect_ok();
        began.elapsed()
    };
    post().await;
    copy_the_first(&data, MANY, "server");
    for arguments in [&["retry", "--target", "apple_rn"][..], &["drop", "--target", "apple_rn", "--yes"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pushrelay"))
            .arg("queue")
            .args(arguments)
            .args(["--config", "pushrelay.toml"])
            .current_dir(stage.folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut took = Vec::new();
        while command.try_wait().unwrap().is_none() {
            took.push(post().await);
        }
        took.sort_unstable();
        let slowest = took.last().unwrap();
        // Far below the 4 s after which a push fails, and far above what is measured: other tests run beside this one.
        assert!(*slowest < Duration::from_secs(1), "{arguments:?}: {slowest:?} of {} pushes", took.len());
        let output = command.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let changed: u32 = said.split(' ').next().unwrap().parse().unwrap();
        assert!(changed >= MANY, "{said}");
    }
    relay.signal("TERM");
    let (status, output) = relay.end();
    assert_eq!(status.code(), Some(0), "{output}");
}
