//! `pushrelay keygen`: makes the keys of a chat server, and says what each end does with them.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use url::Url;

use super::{Failure, demo};
use crate::admission::signing::SigningKey;
use crate::admission::webhook::signing::WebhookSigningKey;
use crate::cli::output::print;
use crate::private::Private;

/// Longest server id, characters. Mattermost's have 26, UUIDs 36.
const MAX_SERVER_ID: usize = 128;

/// The relay's side, in the folder.
const SERVER_FILE: &str = "server.toml";

/// The example, in the folder.
const EXAMPLE_FILE: &str = "send.py";

/// Make keys for a chat server, and show what to configure at both ends.
#[derive(Debug, Args)]
#[command(after_help = "\
Kinds:
  webhook
      A shared secret (whsec_…). Requests are signed with HMAC-SHA256 as Standard Webhooks
      describe (standardwebhooks.com), and libraries exist for most languages. Both ends hold the
      secret, so the relay's configuration has to be kept as carefully as the server's.
  webhook-ed25519
      A pair: the chat server signs with whsk_… and keeps it to itself; the relay holds whpk_…,
      which is no secret. Better when different people run the two; fewer libraries know it.
  mattermost
      A P-256 pair, as Mattermost signs its pushes: for `pushrelay send --key`, and for servers that
      speak Mattermost's protocol. A Mattermost server has made its own pair; register its public
      half, AsymmetricSigningPublicKey in <site>/api/v4/config/client?format=old.

Without --out everything is printed, the private half too, and stays wherever the terminal's
contents go. With --out it goes into files that only you can read, and nothing secret is printed.

Examples:
  pushrelay keygen --server-id chat-1 --out chat-1
  pushrelay keygen --kind webhook-ed25519
  pushrelay keygen --kind mattermost --out try      for pushrelay send --key try/server.pem

To rotate a key: make one, add it to the server's list in the relay's configuration, let the chat
server sign with the new one, and take the old one out of the list.")]
pub(super) struct Keygen {
    /// What the chat server signs with.
    #[arg(long, value_enum, default_value_t = Kind::Webhook)]
    kind: Kind,
    /// What the chat server calls itself: letters, digits, `-`, `_`, `.`
    #[arg(long, value_name = "ID", default_value = "my-chat", value_parser = server_id)]
    server_id: String,
    /// Where the relay will be reached, for the example.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8066", value_parser = super::http_url)]
    url: Url,
    /// Write files (mode 0600) into this directory instead of printing; existing files are never overwritten.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Webhook,
    WebhookEd25519,
    Mattermost,
}

/// A name that can stand in a header, in TOML and in a script as it is.
fn server_id(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() || text.len() > MAX_SERVER_ID || !text.chars().all(is_plain) {
        return Err(format!("1 to {MAX_SERVER_ID} letters, digits, `-`, `_` or `.` are allowed"));
    }
    Ok(text.to_owned())
}

impl Keygen {
    pub(super) fn run(self) -> Result<(), Failure> {
        let made = Made::new(self.kind);
        match &self.out {
            None => print(format_args!("{}", self.everything(&made).expose()))?,
            Some(folder) => {
                self.write(&made, folder)?;
                print(format_args!("{}", self.where_it_is(&made, folder)))?;
            }
        }
        Ok(())
    }

    /// `[[server]]`, for the relay.
    fn server(&self, made: &Made) -> Private {
        let key = made.relay.expose();
        Private::new(format!(
            "[[server]]\nid = \"{id}\"\nname = \"{id}\"\n{list} = [\"{key}\"]\n",
            id = self.server_id,
            list = self.kind.list()
        ))
    }

    /// The script that sends one notification. `key` is the Python expression that gives the key.
    fn example(&self, key: &str) -> Option<Private> {
        let script = match self.kind {
            Kind::Webhook => include_str!("keygen/send_hmac.py.in"),
            Kind::WebhookEd25519 => include_str!("keygen/send_ed25519.py.in"),
            Kind::Mattermost => return None,
        };
        let script = script
            .replace("@RELAY@", self.url.as_str().trim_end_matches('/'))
            .replace("@SERVER_ID@", &self.server_id)
            .replace("@DEVICE@", demo::DEVICES[0].1)
            .replace("@KEY@", key);
        Some(Private::new(script))
    }

    /// What the chat server has to do.
    fn instructions(&self) -> String {
        let version = match self.kind {
            Kind::Webhook => "v1,<base64 of HMAC-SHA256, keyed with the bytes behind whsec_, over the same>",
            Kind::WebhookEd25519 => "v1a,<base64 of the Ed25519 signature over the same>",
            Kind::Mattermost => {
                return "It signs ack_id and device_id of each push (a JWS, ES256) and sends that as `signature`.\n"
                    .into();
            }
        };
        format!(
            "It sends these headers with every request, and signs {{webhook-id}}.{{webhook-timestamp}}.{{body}}:\n\
             \n\
             \x20 pushrelay-server   {}\n\
             \x20 webhook-id         an id of the message, without a full stop; the same when it is sent again\n\
             \x20 webhook-timestamp  the time of this attempt, Unix seconds; at most 5 minutes from the relay's clock\n\
             \x20 webhook-signature  {version}\n",
            self.server_id
        )
    }

    /// How to send one push with a key in this file.
    fn send_command(&self, key: &Path) -> String {
        format!(
            "pushrelay send --url {} --platform apple_rn-v2 --token {} --server-id {} --key {}\n",
            self.url,
            demo::DEVICES[0].1,
            self.server_id,
            key.display()
        )
    }

    /// All of it, on one page.
    fn everything(&self, made: &Made) -> Private {
        let private = made.private.expose().trim_end();
        let what = self.kind.private_half();
        let file = self.kind.private_file();
        let example = match self.example(&format!("\"{private}\"")) {
            Some(script) => format!(
                "## An example: save it as {EXAMPLE_FILE}, then `python3 {EXAMPLE_FILE}`\n\n{}",
                script.expose()
            ),
            None => format!("## An example\n\n{}", self.send_command(Path::new(file))),
        };
        Private::new(format!(
            "## The relay: into pushrelay.toml, and restart it; or into a file of servers.d, which needs no restart\n\n{}\n## The chat server: {what}, to be kept as {file} (mode 0600)\n\n\
             {private}\n\n{}\n{example}",
            self.server(made).expose(),
            self.instructions(),
        ))
    }

    /// The same in files.
    fn write(&self, made: &Made, folder: &Path) -> Result<(), Failure> {
        let private_file = self.kind.private_file();
        let mut files = vec![
            (private_file, Private::new(format!("{}\n", made.private.expose().trim_end()))),
            (SERVER_FILE, self.server(made)),
        ];
        // The script's folder is the first entry of its search path.
        let key = format!("open(sys.path[0] + \"/{private_file}\").read().strip()");
        files.extend(self.example(&key).map(|script| (EXAMPLE_FILE, script)));
        write_files(folder, &files)
    }

    /// What was written, and what to do with it. Nothing of it is secret.
    fn where_it_is(&self, made: &Made, folder: &Path) -> String {
        let path = |file: &str| folder.join(file).display().to_string();
        let private = path(self.kind.private_file());
        let secret_too = if self.kind == Kind::Webhook { "; it holds the secret, too" } else { "" };
        let mut lines = vec![
            (path(SERVER_FILE), format!("for the relay{secret_too}")),
            (private.clone(), format!("for the chat server: {}", self.kind.private_half())),
        ];
        let example = if self.kind == Kind::Mattermost {
            self.send_command(Path::new(&private))
        } else {
            lines.push((path(EXAMPLE_FILE), "an example".to_owned()));
            format!("python3 {}\n", path(EXAMPLE_FILE))
        };
        let width = lines.iter().map(|(file, _)| file.chars().count()).max().unwrap_or_default();
        let lines: String =
            lines.iter().map(|(file, what)| format!("  {file:<width$}  {what}\n")).collect::<Vec<_>>().concat();
        let public = match self.kind {
            Kind::Webhook => String::new(),
            Kind::WebhookEd25519 | Kind::Mattermost => format!("\nPublic half: {}\n", made.relay.expose()),
        };
        format!(
            "Written, for your eyes only:\n{lines}{public}\n{instructions}\nNext:\n\
             \x20 1. Append {server} to the relay's pushrelay.toml and restart the relay. Or copy it\n\
             \x20    into the directory of chat servers, which needs no restart, as a file that the relay may read:\n\
             \x20      cp {server} /etc/pushrelay/servers.d/{id}.toml\n\
             \x20 2. Send one, to a phone of `pushrelay dev` or `pushrelay simulate`{other}:\n\
             \x20      {example}",
            instructions = self.instructions(),
            server = path(SERVER_FILE),
            id = self.server_id,
            other = if self.kind == Kind::Mattermost {
                "; --token names another"
            } else {
                "; RELAY_URL, TARGET\n     and DEVICE in the environment name others"
            },
        )
    }
}

impl Kind {
    /// The relay's key that lists such keys.
    fn list(self) -> &'static str {
        match self {
            Self::Webhook | Self::WebhookEd25519 => "webhook_keys",
            Self::Mattermost => "keys",
        }
    }

    fn private_file(self) -> &'static str {
        match self {
            Self::Webhook => "webhook.secret",
            Self::WebhookEd25519 => "webhook.private",
            Self::Mattermost => "server.pem",
        }
    }

    fn private_half(self) -> &'static str {
        match self {
            Self::Webhook => "the secret that it shares with the relay",
            Self::WebhookEd25519 | Self::Mattermost => "the private half, which nobody else may have",
        }
    }
}

/// Fresh keys.
struct Made {
    /// For the chat server.
    private: Private,
    /// For the relay.
    relay: Private,
}

impl Made {
    fn new(kind: Kind) -> Self {
        let webhook = |key: WebhookSigningKey| Self { private: key.text().clone(), relay: key.relay_text() };
        match kind {
            Kind::Webhook => webhook(WebhookSigningKey::generate_symmetric()),
            Kind::WebhookEd25519 => webhook(WebhookSigningKey::generate_ed25519()),
            Kind::Mattermost => {
                let key = SigningKey::generate();
                Self { private: Private::new(key.to_pem()), relay: Private::new(key.public_base64()) }
            }
        }
    }
}

/// Writes files that only their owner can read. None is written if one of them is there already.
fn write_files(folder: &Path, files: &[(&str, Private)]) -> Result<(), Failure> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| Failure::running(format!("--out: cannot make the folder {}: {error}", folder.display())))?;
    for (name, _) in files {
        let path = folder.join(name);
        if path.symlink_metadata().is_ok() {
            return Err(Failure::running(format!(
                "--out: {} is there already and may be in use: choose another folder",
                path.display()
            )));
        }
    }
    for (name, text) in files {
        let path = folder.join(name);
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let written = options.open(&path).and_then(|mut file| file.write_all(text.expose().as_bytes()));
        written.map_err(|error| Failure::running(format!("--out: cannot write {}: {error}", path.display())))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::http_url;
    use super::*;
    use crate::admission::key::VerifyingKey;
    use crate::admission::webhook::{WebhookKey, check, signing::sign};

    const KINDS: [Kind; 3] = [Kind::Webhook, Kind::WebhookEd25519, Kind::Mattermost];

    fn keygen(kind: Kind) -> Keygen {
        let url = Url::parse("https://push.example.com").unwrap();
        Keygen { kind, server_id: "chat-1".to_owned(), url, out: None }
    }

    /// Whether the relay's key, out of its configuration, verifies what the private half signs.
    fn fit(kind: Kind, toml: &str, private: &str) -> bool {
        let table: toml::Table = toml.parse().unwrap();
        let server = &table["server"][0];
        assert_eq!((server["id"].as_str(), server["name"].as_str()), (Some("chat-1"), Some("chat-1")));
        let key = server[kind.list()][0].as_str().unwrap();
        if kind == Kind::Mattermost {
            let signature = SigningKey::from_pem(private).unwrap().sign(b"message");
            return VerifyingKey::from_text(key).unwrap().verifies(b"message", &signature);
        }
        let made = sign(&[WebhookSigningKey::from_text(private).unwrap()], "id", 1_000, b"{}").unwrap();
        check(made.as_sent(), b"{}", &[WebhookKey::from_text(key).unwrap()], 1_000).is_ok()
    }

    #[test]
    fn the_page_holds_both_halves_and_they_fit() {
        for kind in KINDS {
            let keygen = keygen(kind);
            let made = Made::new(kind);
            assert!(fit(kind, keygen.server(&made).expose(), made.private.expose()), "{kind:?}");
            let page = keygen.everything(&made);
            assert!(page.expose().contains(keygen.server(&made).expose()), "{kind:?}");
            assert!(page.expose().contains(made.private.expose().trim_end()), "{kind:?}");
            assert!(page.expose().contains("https://push.example.com"), "{kind:?}");
            assert!(!page.expose().contains('@'), "something was not filled in: {kind:?}");
            assert!(page.expose().contains(demo::DEVICES[0].1), "it can be tried as it is: {kind:?}");
        }
    }

    #[test]
    fn files_are_for_their_owner_only_and_nothing_secret_is_printed() {
        for kind in KINDS {
            let keygen = keygen(kind);
            let made = Made::new(kind);
            let parent = tempfile::tempdir().unwrap();
            let folder = parent.path().join("keys");
            keygen.write(&made, &folder).unwrap();

            let printed = keygen.where_it_is(&made, &folder);
            let secret = made.private.expose().lines().find(|line| !line.starts_with('-')).unwrap();
            assert!(!printed.contains(secret), "{kind:?}");
            let steps =
                ["pushrelay.toml and restart", "servers.d/chat-1.toml", "Send one"].map(|step| printed.find(step));
            assert!(steps.is_sorted() && steps[0].is_some(), "{printed}");
            assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
            let mut files = 0;
            for entry in fs::read_dir(&folder).unwrap() {
                let entry = entry.unwrap();
                assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
                assert!(printed.contains(entry.file_name().to_str().unwrap()), "{entry:?}");
                files += 1;
            }
            assert_eq!(files, if kind == Kind::Mattermost { 2 } else { 3 });
            let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
            assert!(fit(kind, &read(SERVER_FILE), &read(kind.private_file())), "{kind:?}");
        }
    }

    #[test]
    fn a_key_that_is_there_already_stays() {
        for there in ["webhook.secret", SERVER_FILE, EXAMPLE_FILE] {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(there), "precious").unwrap();
            let failure = keygen(Kind::Webhook).write(&Made::new(Kind::Webhook), folder.path()).unwrap_err();
            assert!(failure.text.contains(there) && failure.text.contains("choose another folder"), "{failure:?}");
            assert_eq!(fs::read_to_string(folder.path().join(there)).unwrap(), "precious");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no half of a set is left behind");
        }
    }

    #[test]
    fn what_would_break_out_of_a_header_a_file_or_a_script_is_refused() {
        for id in ["chat-1", "kq5tbp4f5jdmtqwhqp9u3s4b9a", "chat.example.com", "A_b"] {
            assert_eq!(server_id(id).as_deref(), Ok(id));
        }
        for id in ["", "a b", "a\"b", "a\\b", "a\nb", "ä", &"x".repeat(129)] {
            assert!(server_id(id).is_err(), "{id:?}");
        }
        for url in ["http://127.0.0.1:8066", "https://push.example.com/relay?\"", "http://[::1]/\"\\"] {
            assert!(!http_url(url).unwrap().as_str().contains(['"', '\\']), "{url}");
        }
        for url in ["x:\"", "push.example.com", "file:///tmp", ""] {
            assert!(http_url(url).is_err(), "{url}");
        }
    }
}
