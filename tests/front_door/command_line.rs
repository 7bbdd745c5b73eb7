//! The command line as its users and their scripts meet it: what is printed where, and how commands end.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use pushrelay::simulator::{Credentials, Simulator, SimulatorSettings};

use crate::support::{Plan, Scene, configuration, use_crypto, write_credentials};

fn command(arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pushrelay"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PUSHRELAY_") || name.to_string_lossy().ends_with("_PROXY") {
            command.env_remove(name);
        }
    }
    command
}

/// The exit code, the standard output and the standard error.
fn ended(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn run(arguments: &[&str], folder: &Path) -> (Option<i32>, String, String) {
    ended(&command(arguments, folder).output().unwrap())
}

/// Answers every connection with these bytes; with none, it ends them.
fn stranger(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn what_strangers_wrote_does_not_act_on_the_terminal_of_whoever_looks() {
    const EVIL: &str = "\u{1b}[2J\u{7f}\u{9b}\u{202e}\u{200b}";
    let folder = folder_with_a_canary().await;
    let name = format!("evil {EVIL}{}", "n".repeat(70_000));
    let json_name = serde_json::to_string(&name).unwrap();
    let key = "whsec_MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY=";
    let server = format!("[[server]]\nid = \"evil\"\nname = {json_name}\nwebhook_keys = [\"{key}\"]\n");
    let toml = server.replace('\u{7f}', "\\u007f");
    let file = folder.path().join("pushrelay.toml");
    fs::write(&file, fs::read_to_string(&file).unwrap() + &toml).unwrap();
    // JSON has no need to escape the latter two.
    let relay = stranger(
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"status\":\"FAIL\",\"error\":\"\\u001b[2J\u{7f}\u{9b}\u{202e}\"}",
    );
    let send = format!("send --url http://{relay} --platform apple_rn-v2 --token 00");
    for arguments in [
        "servers list --config pushrelay.toml",
        "servers list --json --config pushrelay.toml",
        "config print --json --config pushrelay.toml",
        "servers show evil --config pushrelay.toml",
        "servers show evil --json --config pushrelay.toml",
        "config print --config pushrelay.toml",
        &send,
    ] {
        let (code, out, err) = run(&arguments.split(' ').collect::<Vec<_>>(), folder.path());
        assert!(matches!(code, Some(0 | 1)), "{arguments}: {code:?} {err}");
        let acted_on = |c: &char| c.is_control() && *c != '\n' || matches!(c, '\u{200b}' | '\u{202e}');
        assert_eq!(out.chars().chain(err.chars()).find(acted_on), None, "{arguments}");
        assert!(out.contains("[2J"), "{arguments} does not show it: {out:.300} {err:.300}");
        if arguments.starts_with("servers") && arguments.contains("--json") {
            let json: serde_json::Value = serde_json::from_str(&out).unwrap();
            let servers = json.as_array().cloned().unwrap_or_else(|| vec![json]);
            assert!(servers.iter().any(|server| server["name"] == name.as_str()), "{arguments}: another name as JSON");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_well_is_healthy_wherever_its_configuration_puts_it() {
    let scene = Scene::usual().await;
    let folder = tempfile::tempdir().unwrap();
    let port = scene.relay.port();
    let write = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
    write("open.toml", format!("listen = \"0.0.0.0:{port}\"\n"));
    write("ops.toml", format!("listen = \"127.0.0.1:1\"\n[ops]\nlisten = \"0.0.0.0:{port}\"\n"));
    write("proxy.json", format!("{{\"ListenAddress\": \"localhost:{port}\"}}"));
    let at_url = format!("--url http://{}", scene.relay);
    for (how, page) in [
        (at_url.clone(), "/healthz: ok"),
        (format!("{at_url} --ready"), "/readyz: ready"),
        ("--config open.toml".to_owned(), "/healthz: ok"),
        ("--config ops.toml --ready".to_owned(), "/readyz: ready"),
        ("--config proxy.json".to_owned(), "/healthz: ok"),
    ] {
        // The relay has threads of its own meanwhile.
        let arguments: Vec<_> = std::iter::once("health").chain(how.split(' ')).collect();
        let (code, output, errors) = run(&arguments, folder.path());
        assert_eq!((code, errors.as_str()), (Some(0), ""), "{how}: {output}");
        assert!(output.starts_with(&format!("http://{}{page}", scene.relay)), "{how}: {output}");
        assert_eq!(output.lines().count(), 1, "{output}");
    }
    let mut by_variables = command(&["health"], folder.path());
    by_variables.env("PUSHRELAY_LISTEN", "127.0.0.1:1").env("PUSHRELAY_OPS__LISTEN", scene.relay.to_string());
    let output = by_variables.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_with_tls_is_asked_at_loopback_whatever_its_certificate_is_made_out_to() {
    let certified = rcgen::generate_simple_self_signed(vec!["push.example.com".to_owned()]).unwrap();
    let (certificate, key) = (certified.cert.pem(), certified.signing_key.serialize_pem());
    let scene = Scene::new(Plan {
        tables: "[tls]\ncertificate_file = \"relay.pem\"\nkey_file = \"relay.key\"\n".to_owned(),
        files: Some(Box::new(move |folder, _| {
            fs::write(folder.join("relay.pem"), certificate).unwrap();
            fs::write(folder.join("relay.key"), key).unwrap();
        })),
        ..Plan::default()
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let text = format!("listen = \"{}\"\n[tls]\ncertificate_file = \"not-looked-at.pem\"\n", scene.relay);
    fs::write(folder.path().join("relay.toml"), text).unwrap();
    let (code, output, errors) = run(&["health", "--config", "relay.toml"], folder.path());
    assert_eq!(code, Some(0), "{errors}");
    assert!(output.starts_with("https://127.0.0.1:"), "{output}");
    // By a name, a certificate of somebody unknown counts for nothing.
    let url = format!("https://localhost:{}", scene.relay.port());
    let (code, output, errors) = run(&["health", "--url", &url], folder.path());
    assert_eq!((code, output.as_str()), (Some(1), ""), "{errors}");
    assert!(errors.contains("certificate"), "{errors}");
}

#[test]
fn whatever_is_not_a_healthy_relay_is_exit_code_one_and_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let draining = "HTTP/1.1 503 x\r\nContent-Length: 35\r\n\r\n{\"status\":\"draining\",\"targets\":[ ]}";
    let web_site = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>";
    let elsewhere = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    // Takes connections and never answers: nobody accepts them.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    fs::write(folder.path().join("wrong.toml"), "listen = \"nowhere\"\n").unwrap();
    fs::write(folder.path().join("any.toml"), "listen = \"127.0.0.1:0\"\n").unwrap();
    for (how, words) in [
        (format!("--url http://{}", stranger(draining)), "draining (HTTP 503)"),
        (format!("--url http://{}", stranger(web_site)), "something that no relay says"),
        (format!("--url http://{}", stranger(elsewhere)), "HTTP 302"),
        (format!("--url http://{}", stranger("")), "no answer"),
        (format!("--timeout 50ms --url http://{}", silent.local_addr().unwrap()), "has not answered within 50ms"),
        ("--config wrong.toml".to_owned(), "`nowhere` is not an IP address and a port"),
        ("--config nowhere.toml".to_owned(), "no such file"),
        ("--config any.toml".to_owned(), "any free port"),
    ] {
        let arguments: Vec<_> = std::iter::once("health").chain(how.split(' ')).collect();
        let (code, output, errors) = run(&arguments, folder.path());
        assert_eq!((code, output.as_str()), (Some(1), ""), "{how}: {errors}");
        assert!(errors.contains(words) && errors.lines().count() == 1, "{how}: {errors}");
    }
}

/// A folder with a `pushrelay.toml` that can be used, in which a secret stands.
async fn folder_with_a_canary() -> tempfile::TempDir {
    use_crypto();
    let credentials = Credentials::generate().unwrap();
    let simulator = Simulator::start(SimulatorSettings::new(&credentials)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    write_credentials(folder.path(), &credentials, &simulator);
    let key = pushrelay::admission::signing::SigningKey::generate();
    let proxy = "proxy = \"http://me:canary@127.0.0.1:1\"";
    let tables =
        "[[server]]\nid = \"b\"\nname = \"b\"\nwebhook_keys = [\"whsec_Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5\"]";
    let text = configuration("", "", proxy, proxy, tables, &credentials, &simulator, &key);
    fs::write(folder.path().join("pushrelay.toml"), text).unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_configuration_comes_to_is_printed_without_its_secrets() {
    let folder = folder_with_a_canary().await;
    for more in [&[][..], &["--changed"], &["--defaults"], &["--json"], &["--json", "--changed"]] {
        let arguments = [&["config", "print", "--config", "pushrelay.toml"], more].concat();
        let (code, output, errors) = run(&arguments, folder.path());
        assert_eq!((code, errors.as_str()), (Some(0), ""), "{more:?}");
        assert!(!output.contains("canary") && !output.contains("Y2FuYXJ5"), "{more:?}: {output}");
        assert_eq!(output.contains("(set)"), !more.contains(&"--defaults"), "{more:?}: {output}");
        if more.contains(&"--json") {
            assert!(serde_json::from_str::<serde_json::Value>(&output).is_ok(), "{output}");
        } else {
            assert!(output.parse::<toml::Table>().is_ok(), "{output}");
        }
    }
    let mut by_variable = command(&["config", "print"], folder.path());
    by_variable.env("PUSHRELAY_CONFIG", "pushrelay.toml").env("PUSHRELAY_HTTP__MAX_BODY", "1MiB");
    let (_, output, _) = ended(&by_variable.output().unwrap());
    assert!(output.contains("max_body = \"1MiB\"  # PUSHRELAY_HTTP__MAX_BODY\n"), "{output}");
    assert!(output.contains("listen = \"127.0.0.1:0\"  # file pushrelay.toml:2\n"), "{output}");

    let file = folder.path().join("pushrelay.toml");
    let wrong = format!("lisden = \"canary\"\n{}", fs::read_to_string(&file).unwrap());
    fs::write(&file, wrong).unwrap();
    let (code, output, errors) = run(&["config", "print", "--config", "pushrelay.toml"], folder.path());
    assert_eq!((code, output.as_str()), (Some(78), ""), "{errors}");
    assert!(errors.contains("did you mean listen?") && !errors.contains("canary"), "{errors}");
}

#[test]
fn an_empty_variable_names_no_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let mut by_variables = command(&["health"], folder.path());
    by_variables.env("PUSHRELAY_CONFIG", "").env("PUSHRELAY_LISTEN", "127.0.0.1:1");
    let (code, _, errors) = ended(&by_variables.output().unwrap());
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("http://127.0.0.1:1/healthz: no answer"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_has_gone_is_no_failure_and_nothing_is_said_about_it() {
    let folder = folder_with_a_canary().await;
    for arguments in [
        &["config", "print", "--config", "pushrelay.toml"][..],
        &["check", "--offline", "--config", "pushrelay.toml"],
        &["servers", "list", "--config", "pushrelay.toml"],
        &["keygen"],
        &["completions", "bash"],
        &["man"],
        &["--help"],
        &["--version"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command(arguments, folder.path()).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        let (code, _, errors) = ended(&output);
        assert_eq!((code, errors.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = command(&["completions", "bash"], folder.path()).stdout(full).stderr(Stdio::piped()).output().unwrap();
    let (code, _, errors) = ended(&output);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.starts_with("pushrelay: cannot write to the standard output"), "{errors}");
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let (_, help, _) = run(&["--help"], folder.path());
    let listed = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names: Vec<_> = listed.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert!(names.contains(&"health") && names.contains(&"completions"), "{names:?}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, script, errors) = run(&["completions", shell], folder.path());
        assert_eq!((code, errors.as_str()), (Some(0), ""), "{shell}");
        for name in &names {
            assert!(script.contains(name), "{shell} does not complete {name}");
        }
    }
    let (code, _, errors) = run(&["man", "--out", "a/man1"], folder.path());
    assert_eq!(code, Some(0), "{errors}");
    for name in names.iter().copied().chain(["config-print", "servers-list"]) {
        let page = fs::read_to_string(folder.path().join(format!("a/man1/pushrelay-{name}.1"))).unwrap();
        assert!(page.contains(".TH pushrelay") && page.contains("Example"), "{name}: {page}");
    }
    let (code, page, _) = run(&["man"], folder.path());
    assert_eq!(code, Some(0));
    assert_eq!(page, fs::read_to_string(folder.path().join("a/man1/pushrelay.1")).unwrap());
}

#[test]
fn a_slip_of_the_pen_is_told_what_was_meant() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, meant) in [
        (&["serv"][..], "serve"),
        (&["config", "pritn"], "print"),
        (&["health", "--redy"], "--ready"),
        (&["servers", "lists"], "list"),
        (&["completions", "bsh"], "bash"),
    ] {
        let (code, output, errors) = run(arguments, folder.path());
        assert_eq!((code, output.as_str()), (Some(2), ""), "{arguments:?}: {errors}");
        assert!(errors.contains("similar") && errors.contains(meant), "{arguments:?}: {errors}");
    }
}

#[test]
fn no_color_means_none_even_where_colours_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["--help"][..], &["serv"]] {
        let forced =
            command(arguments, folder.path()).env_remove("NO_COLOR").env("CLICOLOR_FORCE", "1").output().unwrap();
        let (_, output, errors) = ended(&forced);
        assert!(format!("{output}{errors}").contains('\u{1b}'), "there are colours to leave out: {output}{errors}");
        let plain = command(arguments, folder.path()).env("NO_COLOR", "1").env("CLICOLOR_FORCE", "1").output().unwrap();
        let (_, output, errors) = ended(&plain);
        assert!(!format!("{output}{errors}").contains('\u{1b}'), "{output}{errors}");
    }
}
