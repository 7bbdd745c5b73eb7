//! What `pushrelay config print` shows.

use super::whole::whole;
use super::*;

const TOML: &str = r#"
listen = "127.0.0.1:1"

[http]
max_body = "65536B"

[auth]
mode = "observe"

[[server]]
name = "example"
id = "abc"
key_files = ["server.pem"]
webhook_keys = ["whsec_Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5"]

[[target]]
name = "apple_rn"
provider = "apns"
topic = "com.example.chat"
certificate_file = "certificate.pem"
certificate_password = "canary"

[[target]]
name = "android_rn"
provider = "fcm"
service_account_file = "./account.json"
proxy = "http://me:canary@proxy.example:1"
"#;

fn printed(directory: &Path, file: &str, environment: &[(&str, &str)], wanted: Wanted) -> String {
    let file = directory.join(file);
    let effective = effective(Some(&file), variables(environment), Path::new("/here"));
    let text = effective.unwrap_or_else(|problems| panic!("{problems}")).toml(wanted);
    text.replace(&directory.display().to_string(), "/there")
}

#[test]
fn each_value_is_shown_with_who_says_so() {
    let directory = whole(TOML);
    let environment = [
        ("PUSHRELAY_DELIVERY__DEADLINE", "20s"),
        ("PUSHRELAY_TARGET__APPLE_RN__CA_FILE", &*directory.path().join("ca.pem").display().to_string()),
        ("PUSHRELAY_SERVER__EXAMPLE__TARGETS", "apple_rn, android_rn"),
        ("PUSHRELAY_LOG__CONSOLE", "true"),
        ("PUSHRELAY_MEMORY__ENTRIES", "5000"),
    ];
    let all = printed(directory.path(), "pushrelay.toml", &environment, Wanted::All);
    for line in [
        "listen = \"127.0.0.1:1\"  # file /there/pushrelay.toml:2",
        "# data_dir is not set: nothing is kept over a restart",
        "max_body = \"64KiB\"  # file /there/pushrelay.toml:5",
        "deadline = \"20s\"  # PUSHRELAY_DELIVERY__DEADLINE",
        "attempt_timeout = \"8s\"  # default",
        "entries = 5000  # PUSHRELAY_MEMORY__ENTRIES",
        "console = true  # PUSHRELAY_LOG__CONSOLE",
        "key_files = [\"/there/server.pem\"]  # file /there/pushrelay.toml:13",
        "targets = [\"apple_rn\", \"android_rn\"]  # PUSHRELAY_SERVER__EXAMPLE__TARGETS",
        "webhook_keys = [\"(set)\"]  # file /there/pushrelay.toml:14",
        "certificate_password = \"(set)\"  # file /there/pushrelay.toml:21",
        "service_account_file = \"/there/account.json\"  # file /there/pushrelay.toml:26",
        "proxy = \"(set)\"  # file /there/pushrelay.toml:27",
        "proxy = \"environment\"  # default",
        "sandbox = false  # default",
    ] {
        assert!(all.lines().any(|found| found == line), "{line}\n\n{all}");
    }
    assert!(!all.to_ascii_lowercase().contains("canary") && !all.contains("Y2FuYXJ5"), "{all}");
    let android = all.split("[[target]]").last().unwrap();
    assert!(!android.contains("topic"), "keys of the other provider are left out: {android}");
}

#[test]
fn what_is_printed_is_a_configuration_that_means_the_same() {
    let toml = TOML.replace("certificate_password = \"canary\"\n", "").replace("proxy = ", "# proxy = ");
    let toml = toml.lines().filter(|line| !line.starts_with("webhook_keys")).collect::<Vec<_>>().join("\n");
    let directory = whole(&toml);
    for wanted in [Wanted::All, Wanted::Changed] {
        let file = directory.path().join("pushrelay.toml");
        let print = |file: &Path| effective(Some(file), [], Path::new("/here")).unwrap_or_else(|p| panic!("{p}"));
        let first = print(&file).toml(wanted);
        let elsewhere = tempfile::tempdir().unwrap();
        let copy = elsewhere.path().join("copy.toml");
        fs::write(&copy, &first).unwrap();
        let second = print(&copy).toml(wanted);
        let values = |text: &str| text.parse::<toml::Table>().unwrap();
        assert_eq!(values(&first), values(&second), "{first}\n{second}");
    }
}

#[test]
fn what_was_given_and_what_was_not_are_two_halves_of_the_whole() {
    let directory = whole(TOML);
    let [all, changed, defaults] = [Wanted::All, Wanted::Changed, Wanted::Defaults]
        .map(|wanted| printed(directory.path(), "pushrelay.toml", &[], wanted));
    let keys = |text: &str| text.lines().filter(|line| line.contains(" = ") || line.contains("not set")).count();
    // The names of two targets and of a server are in each.
    assert_eq!(keys(&changed) + keys(&defaults), keys(&all) + 3);
    assert!(!changed.contains("# default") && !changed.contains("not set"), "{changed}");
    assert!(defaults.contains("max_attempts") && !defaults.contains("max_body"), "{defaults}");
}

#[test]
fn servers_with_files_of_their_own_are_among_them() {
    let directory = whole(TOML);
    let path = directory.path().join("servers.d");
    fs::create_dir(&path).unwrap();
    let key = fs::read_to_string(directory.path().join("server.pem")).unwrap();
    fs::write(path.join("chat.toml"), format!("\nid = \"def\"\nkeys = [{}]\n", serde_json::Value::from(key))).unwrap();
    fs::write(path.join("notes.txt"), "nothing").unwrap();
    let environment = [("PUSHRELAY_SERVERS_DIRECTORY", &*path.display().to_string())];
    let all = printed(directory.path(), "pushrelay.toml", &environment, Wanted::Changed);
    assert!(
        all.contains("# servers_directory = \"/there/servers.d\"  # PUSHRELAY_SERVERS_DIRECTORY; its servers"),
        "{all}"
    );
    let own = all.split("# From /there/servers.d/chat.toml.\n[[server]]\n").nth(1).unwrap_or_else(|| panic!("{all}"));
    assert!(own.contains("name = \"chat\"  # file /there/servers.d/chat.toml\n"), "{own}");
    assert!(own.contains("id = \"def\"  # file /there/servers.d/chat.toml:2\n"), "{own}");
    let table: toml::Table = all.parse().unwrap();
    assert_eq!(table["server"].as_array().unwrap().len(), 2);
}

#[test]
fn a_secret_in_a_file_is_named_by_it() {
    let toml = TOML.replace("certificate_password = \"canary\"", "certificate_password_file = \"password\"");
    let directory = whole(&toml);
    fs::write(directory.path().join("password"), "canary\n").unwrap();
    let all = printed(directory.path(), "pushrelay.toml", &[], Wanted::All);
    assert!(
        all.contains("\ncertificate_password_file = \"/there/password\"  # file /there/pushrelay.toml:21\n"),
        "{all}"
    );
    assert!(!all.contains("canary"), "{all}");
}

#[test]
fn a_file_of_the_reference_is_named_in_its_own_words() {
    let directory = whole("");
    let account = directory.path().join("account.json").display().to_string();
    let json = serde_json::json!({
        "listenaddress": ":8066",
        "ThrottlePerSec": 300,
        "ThrottleMemoryStoreSize": 60_000,
        "EnableMetrics": null,
        "AndroidPushSettings": [{ "Type": "android_rn", "ServiceFileLocation": account }],
        "ApplePushSettings": [{ "Type": "apple_rn", "ApplePushTopic": "com.example", "ApplePushCertPassword": "canary" }],
    });
    fs::write(directory.path().join("proxy.json"), json.to_string()).unwrap();
    let all = printed(directory.path(), "proxy.json", &[], Wanted::All);
    for line in [
        "listen = \"[::]:8066\"  # file /there/proxy.json: ListenAddress",
        "max_callers = 60000  # file /there/proxy.json: ThrottleMemoryStoreSize",
        "metrics = false  # file /there/proxy.json, as mattermost-push-proxy means it",
        "mode = \"off\"  # file /there/proxy.json, as mattermost-push-proxy means it",
        "service_account_file = \"/there/account.json\"  # file /there/proxy.json: AndroidPushSettings[android_rn].ServiceFileLocation",
        "provider = \"fcm\"  # file /there/proxy.json: AndroidPushSettings[android_rn]",
        "max_in_flight = 10000  # default",
    ] {
        assert!(all.lines().any(|found| found == line), "{line}\n\n{all}");
    }
    assert!(all.contains("# Left out, as it cannot be used: "), "{all}");
    assert!(!all.contains("canary"), "{all}");
    assert!(all.parse::<toml::Table>().is_ok(), "{all}");
}

#[test]
fn json_says_the_same_with_null_for_what_is_not_set() {
    let directory = whole(TOML);
    let file = directory.path().join("pushrelay.toml");
    let json = effective(Some(&file), [], Path::new("/here")).unwrap().json(Wanted::All);
    assert_eq!(json["listen"]["value"], "127.0.0.1:1");
    assert_eq!(json["listen"]["from"], format!("file {}:2", file.display()));
    assert_eq!(json["data_dir"], serde_json::json!({ "value": null, "from": "default" }));
    assert_eq!(json["http"]["max_in_flight"]["from"], "default");
    assert_eq!(json["target"][0]["certificate_password"]["value"], "(set)");
    assert_eq!(json["target"].as_array().unwrap().len(), 2);
    assert!(!json.to_string().contains("canary"), "{json}");
}

#[test]
fn a_configuration_that_cannot_be_used_is_not_printed() {
    let directory = whole("lisden = 1\n");
    let problems = effective(Some(&directory.path().join("pushrelay.toml")), [], Path::new("/here")).unwrap_err();
    assert!(problems.to_string().contains("did you mean listen?"), "{problems}");
}
