//! What is said, word for word: these texts are what an operator has at three in the morning.

use super::*;

const NO_SERVER: &str = "pushrelay.toml: server: there is none, and auth.mode is \"required\": nobody could send anything\n    \
     → add [[server]] with name, id and keys for each chat server, or set auth.mode to \"observe\" for a while\n";
const NO_TARGET: &str = "pushrelay.toml: target: there is none\n    \
     → add [[target]] with name and provider for each app; config/pushrelay.toml shows one of each kind\n";

/// Asserts that exactly `expected` is said, beside what every file without targets and servers is told.
fn assert_said(toml: &str, environment: &[(&str, &str)], expected: &str) {
    let text = said(toml, environment).replace(NO_SERVER, "").replace(NO_TARGET, "");
    let (text, count) = text.rsplit_once('\n').unwrap();
    assert!(count.ends_with("; nothing was started."), "{count}");
    assert_eq!(text, expected.trim());
}

#[test]
fn a_file_without_targets_and_servers_is_told_so() {
    assert_eq!(said("", &[]), format!("{NO_SERVER}{NO_TARGET}2 problems; nothing was started."));
}

#[test]
fn everything_is_said_in_one_run_in_the_order_of_the_file_and_then_of_the_variables() {
    assert_said(
        r#"
listen = ":8066"
[http]
max_bodi = 1
colour = 2
max_body = 64
header_timeout = "10"
body_timeout = "1h"
max_in_flight = -1
[htpp]
[[target]]
"#,
        &[
            ("PUSHRELAY_WHATEVER", ""),
            ("PUSHRELAY_HTTP_MAX_BODY", "1KiB"),
            ("PUSHRELAY_COMPATIBILITY", "Strict"),
            ("PUSHRELAY_AUTH__MODE", "maybe"),
        ],
        r#"
pushrelay.toml:2: listen: `:8066` is not an IP address and a port
    → write "0.0.0.0:8066" for every address of this machine, "127.0.0.1:8066" for itself only
pushrelay.toml:4: http.max_bodi: is not a known key
    → did you mean max_body?
pushrelay.toml:5: http.colour: is not a known key
    → known here: max_body, header_timeout, body_timeout, idle_timeout, max_in_flight, max_connections
pushrelay.toml:6: http.max_body: must be text in quotes, not a number
    → write a size from "4KiB" to "16MiB"
pushrelay.toml:7: http.header_timeout: `10` is not a time with a unit (ms, s, m, h)
    → write a time from "100ms" to "5m"
pushrelay.toml:8: http.body_timeout: `1h` is out of range
    → choose a time from "100ms" to "5m"
pushrelay.toml:9: http.max_in_flight: `-1` is out of range
    → choose a whole number from 1 to 1000000
pushrelay.toml:10: htpp: is not a known table
    → did you mean [http]?
pushrelay.toml:11: target[#1].name: is missing: What chat servers call the app, without a version: `apple_rn`, `android_rn`
    → add `name = …`, a text in quotes
pushrelay.toml:11: target[#1].provider: is missing: Apple or Google
    → add `provider = …`, one of "apns", "fcm"
PUSHRELAY_AUTH__MODE: `maybe` is not one of "required", "observe", "off"
    → write one of them
PUSHRELAY_COMPATIBILITY: `Strict` is not one of "improved", "strict"
    → did you mean "strict"?
PUSHRELAY_HTTP_MAX_BODY: sets no known key
    → did you mean PUSHRELAY_HTTP__MAX_BODY?
PUSHRELAY_WHATEVER: sets no known key
    → unset it, or name a key: PUSHRELAY_LISTEN, PUSHRELAY_HTTP__MAX_BODY, PUSHRELAY_TARGET__<NAME>__TOPIC
"#,
    );
}

#[test]
fn every_slip_in_the_syntax_is_said_and_nothing_is_guessed_behind_it() {
    assert_said(
        "[http]\nmax_body = \"1MiB\"\nmax_body = \"1KiB\"\n[auth\nmode = \"x\n",
        &[("PUSHRELAY_LISTN", "x")],
        "
pushrelay.toml:3: is not TOML: duplicate key
    → mend this first; the values are looked at when the whole file can be read
pushrelay.toml:4: is not TOML: unclosed table, expected `]`
    → mend this first; the values are looked at when the whole file can be read
PUSHRELAY_LISTN: sets no known key
    → did you mean PUSHRELAY_LISTEN?
",
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let missing = tempfile::tempdir().unwrap().path().join("no.toml");
    let text = load(Some(&missing), Vec::new()).unwrap_err().to_string();
    assert!(text.contains("no.toml: cannot be read: no such file\n    → give the path"), "{text}");

    let directory = tempfile::tempdir().unwrap();
    let text = load(Some(directory.path()), Vec::new()).unwrap_err().to_string();
    assert!(text.contains("cannot be read: it is a directory"), "{text}");

    fs::write(directory.path().join("pushrelay.toml"), [0xff, 0xfe]).unwrap();
    let text = load_from(directory.path(), &[]).unwrap_err().to_string();
    assert!(text.contains("pushrelay.toml: is not text (UTF-8)"), "{text}");

    fs::write(directory.path().join("pushrelay.toml"), vec![b'\n'; 1 + (1 << 20)]).unwrap();
    let text = load_from(directory.path(), &[]).unwrap_err().to_string();
    assert!(text.contains("pushrelay.toml: cannot be read: it is larger than 1 MiB"), "{text}");
}

#[test]
fn one_bracket_too_few_or_too_many_is_told_and_not_reported_as_missing() {
    assert_eq!(
        said("[target]\nname = \"x\"\n[server.x]\n[[log]]\n", &[]),
        "\
pushrelay.toml:1: target: is not a list of tables
    → write [[target]] on a line of its own above each of them, and its keys below
pushrelay.toml:3: server: is not a list of tables
    → write [[server]] on a line of its own above each of them, and its keys below
pushrelay.toml:4: log: is not a single table
    → write [log] on a line of its own, and its keys below
3 problems; nothing was started."
    );
    assert_said(
        "target = [1]\nserver = 2\n[else]\nx = 1\n",
        &[],
        "
pushrelay.toml:1: target: is a list of something else than tables
    → write [[target]] on a line of its own above each of them, and its keys below
pushrelay.toml:2: server: is not a list of tables
    → write [[server]] on a line of its own above each of them, and its keys below
pushrelay.toml:3: else: is not a known table
    → there are [http], [tls], [throttle], [client_ip], [ops], [status], [auth], [server], [delivery], [ttl], [breaker], [removal_guard], [queue], [memory], [journal], [traces], [log], [target]
",
    );
}

#[test]
fn a_first_pause_above_the_longest_is_told_where_it_was_given() {
    let said_of = |toml: &str| said(&format!("[breaker]\n{toml}"), &[]);
    let text = said_of("first_pause = \"20s\"\nlongest_pause = \"10s\"\n");
    assert!(text.contains("pushrelay.toml:2: breaker.first_pause: the first pause (first_pause) is longer"), "{text}");
    let text = said_of("longest_pause = \"1s\"\n");
    assert!(!text.contains("breaker."), "as long as the first: {text}");
    let text = said_of("first_pause = \"1h\"\nlongest_pause = \"10s\"\n");
    assert_eq!(text.matches("breaker.").count(), 1, "a wrong one is not compared: {text}");
}

#[test]
fn a_target_is_told_what_does_not_go_together() {
    assert_said(
        r#"
[[target]]
name = "apple_rn-v2"
provider = "apns"
topic = "com.example.voip"
key_file = "keys/AuthKey.p8"
certificate_file = "x"
service_account_file = "y"
sandbox = true
endpoint = "https://host"
"#,
        &[],
        r#"
pushrelay.toml:3: target[apple_rn-v2].name: `apple_rn-v2` can never be reached: names end at the first `-v`, where the app's version begins
    → leave the version out, as in apple_rn
pushrelay.toml:5: target[apple_rn-v2].topic: ends in .voip
    → write the app's bundle id; the relay adds .voip to calls
pushrelay.toml:7: target[apple_rn-v2].certificate_file: cannot be combined with key_file: a target has a key or a certificate
    → keep key_file, key_id and team_id, or certificate_file and certificate_password
pushrelay.toml:8: target[apple_rn-v2].service_account_file: belongs to targets with provider = "fcm"
    → take it out, or change the provider
pushrelay.toml:9: target[apple_rn-v2].sandbox: cannot be combined with endpoint, which says host and port already
    → keep one of them
"#,
    );
}

#[test]
fn a_target_is_told_what_its_provider_needs() {
    assert_said(
        r#"
[[target]]
name = "none"
provider = "apns"
[[target]]
name = "half"
provider = "apns"
topic = "a"
key_id = "a"
[[target]]
name = "password"
provider = "apns"
topic = "a"
certificate_password = "x"
[[target]]
name = "android"
provider = "fcm"
key_id = "x"
port = 80
[[target]]
name = "unknown"
provider = "gcm"
port = 80
"#,
        &[],
        r#"
pushrelay.toml:2: target[none]: has neither a key nor a certificate
    → add key_file, key_id and team_id (the .p8 key that Apple let you download), or certificate_file
pushrelay.toml:2: target[none].topic: is missing: The app's bundle id
    → add `topic = …`, a text in quotes
pushrelay.toml:5: target[half].key_file: is missing: key_file, key_id and team_id belong together
    → add `key_file = …`, the path of the .p8 file that Apple let you download
pushrelay.toml:5: target[half].team_id: is missing: key_file, key_id and team_id belong together
    → add `team_id = …`, the ten characters that Apple shows as Team ID under Membership
pushrelay.toml:10: target[password].certificate_file: is missing: a password alone is no certificate
    → add `certificate_file = …`, the path of the certificate
pushrelay.toml:15: target[android].service_account_file: is missing: The JSON key of a Firebase service account
    → add `service_account_file = …`, the path of a file in quotes
pushrelay.toml:18: target[android].key_id: belongs to targets with provider = "apns"
    → take it out, or change the provider
pushrelay.toml:19: target[android].port: belongs to targets with provider = "apns"
    → take it out, or change the provider
pushrelay.toml:22: target[unknown].provider: `gcm` is not one of "apns", "fcm"
    → did you mean "fcm"?
pushrelay.toml:23: target[unknown].port: `80` is not possible here
    → write 443 or 2197
"#,
    );
}

#[test]
fn files_that_cannot_be_read_are_named_with_where_they_were_looked_for() {
    let directory = directory(
        "[[target]]\nname = \"x\"\nprovider = \"apns\"\ntopic = \"t\"\nkey_file = \"keys/k.p8\"\nkey_id = \"k\"\nteam_id = \"t\"\n\
         ca_file = \"empty.pem\"\nproxy_file = \"latin1\"\n",
    );
    fs::write(directory.path().join("empty.pem"), "no certificate").unwrap();
    fs::write(directory.path().join("latin1"), [b'h', 0xe4]).unwrap();
    let text = load_from(directory.path(), &[]).unwrap_err().to_string();
    let looked = directory.path().join("keys/k.p8");
    for expected in [
        &format!(
            "pushrelay.toml:5: target[x].key_file: cannot read `keys/k.p8` (as `{}`): no such file\n    \
             → give the path of a file that the relay may read, absolute or relative to the directory of the configuration file",
            looked.display()
        ),
        "pushrelay.toml:8: target[x].ca_file: names a file without readable certificates",
        "pushrelay.toml:9: target[x].proxy_file: names a file that is not text (UTF-8)",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
}

#[test]
fn a_secret_given_both_ways_is_given_once_too_often() {
    let toml = "[[target]]\nname = \"x\"\nprovider = \"apns\"\ntopic = \"t\"\ncertificate_file = \"no\"\n\
                certificate_password = \"canary\"\ncertificate_password_file = \"no\"\n";
    let text = said(toml, &[]);
    assert!(
        text.contains(
            "pushrelay.toml:7: target[x].certificate_password_file: is given twice: here and as certificate_password"
        ),
        "{text}"
    );
}

#[test]
fn names_and_ids_are_given_once() {
    assert_said(
        r#"
[[server]]
name = "a"
id = "1"
[[server]]
name = "b"
id = "1"
keys = []
[[server]]
name = "b"
id = "2"
keys = [1]
key_files = []
"#,
        &[("PUSHRELAY_SERVER__A__ID", "2")],
        r#"
pushrelay.toml:2: server[a].keys: is missing: nothing the server signs could be checked
    → add `keys = …`, ["…"] with the server's AsymmetricSigningPublicKey
pushrelay.toml:8: server[b].keys: is missing: nothing the server signs could be checked
    → add `keys = …`, ["…"] with the server's AsymmetricSigningPublicKey
pushrelay.toml:10: server[b].name: is the name of another server already, in line 6
    → give each server its own
pushrelay.toml:11: server[b].id: is the id of another server already, in PUSHRELAY_SERVER__A__ID
    → give each server its own
pushrelay.toml:12: server[b].keys: holds something else than texts in quotes
    → write a list of texts, ["…", "…"]
"#,
    );
}

#[test]
fn a_variable_that_fits_two_targets_is_refused() {
    let toml = "[[target]]\nname = \"a-b\"\n[[target]]\nname = \"a_b\"\n";
    let text = said(toml, &[("PUSHRELAY_TARGET__A_B__PROVIDER", "fcm")]);
    assert!(
        text.contains(
            "PUSHRELAY_TARGET__A_B__PROVIDER: fits more than one target of the file\n    \
             → give them names that differ in letters or digits, or use the file only"
        ),
        "{text}"
    );
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_text_is_named() {
    use std::os::unix::ffi::OsStringExt;
    let environment = [("PUSHRELAY_LISTEN".into(), OsString::from_vec(vec![0xff]))];
    let text = load(None, environment).unwrap_err().to_string();
    assert!(text.contains("PUSHRELAY_LISTEN: is not text (UTF-8)"), "{text}");
}

#[test]
fn the_addresses_and_the_deadlines_must_fit_each_other() {
    for (listen, ops, overlapping) in [
        ("0.0.0.0:1", "127.0.0.1:1", true),
        ("127.0.0.1:1", "127.0.0.1:1", true),
        ("127.0.0.1:1", "127.0.0.2:1", false),
        ("127.0.0.1:1", "127.0.0.1:2", false),
        ("127.0.0.1:0", "127.0.0.1:0", false),
    ] {
        assert_eq!(edge::overlap(listen.parse().unwrap(), ops.parse().unwrap()), overlapping, "{listen} {ops}");
    }
    assert_said(
        "[ops]\nlisten = \"127.0.0.1:8066\"\n[delivery]\ndeadline = \"5s\"\n",
        &[],
        "
pushrelay.toml:2: ops.listen: is the address of chat servers as well (listen)
    → choose another port, or take it out to have health and metrics on `listen`
pushrelay.toml:4: delivery.deadline: one attempt (attempt_timeout) may take longer than the whole delivery (deadline)
    → lower attempt_timeout or raise deadline
",
    );
}

#[test]
fn a_wrong_value_is_reported_once_and_not_compared_with_others() {
    assert_eq!(
        said(
            "listen = \":1\"\n[ops]\nlisten = \"127.0.0.1:8066\"\n[delivery]\ndeadline = \"5s\"\nattempt_timeout = \"1 parsec\"\n\
             [auth]\nmode = \"maybe\"\n[[target]]\nname = 1\nprovider = \"fcm\"\nservice_account_file = \"no\"\n",
            &[]
        )
        .lines()
        .filter(|line| !line.starts_with("    "))
        .map(|line| line.split(" (as ").next().unwrap())
        .collect::<Vec<_>>(),
        [
            "pushrelay.toml:1: listen: `:1` is not an IP address and a port",
            "pushrelay.toml:6: delivery.attempt_timeout: `1 parsec` is not a time with a unit (ms, s, m, h)",
            "pushrelay.toml:8: auth.mode: `maybe` is not one of \"required\", \"observe\", \"off\"",
            "pushrelay.toml:10: target[#1].name: must be text in quotes, not a number",
            "pushrelay.toml:12: target[#1].service_account_file: cannot read `no`",
            "5 problems; nothing was started.",
        ]
    );
}

#[test]
fn a_key_pasted_in_place_of_its_path_is_not_shown() {
    let pasted = format!("MIGHAgEAMBMGByqGSM49AgEG{}", "canary".repeat(16));
    for content in [&pasted, "-----BEGIN EC PRIVATE KEY-----canary", "{ canary"] {
        let text = load(
            None,
            variables(&[
                ("PUSHRELAY_TARGET__X__PROVIDER", "fcm"),
                ("PUSHRELAY_TARGET__X__SERVICE_ACCOUNT_FILE", content),
            ]),
        )
        .unwrap_err()
        .to_string();
        assert!(text.contains("SERVICE_ACCOUNT_FILE: holds the content of a file instead of its path"), "{text}");
        assert!(!text.contains("canary"), "{text}");
    }
}
