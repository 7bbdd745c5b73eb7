//! A complete demonstration set: generated credentials, a registered chat server and a registered program, and the relay's configuration for a
//! simulator. Everything in it is made up and worth nothing outside that simulator.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::Failure;
use crate::admission::signing::SigningKey;
use crate::admission::webhook::signing::WebhookSigningKey;
use crate::simulator::{Credentials, Simulator};

/// The demonstration chat server's id.
pub(super) const SERVER_ID: &str = "demo-server";

/// The demonstration program's id: it signs as Standard Webhooks say.
pub(super) const PROGRAM_ID: &str = "demo-program";

/// The program's secret, in the folder.
pub(super) const PROGRAM_SECRET: &str = "webhook.secret";

/// The relay's configuration, in the folder.
pub(super) const CONFIGURATION: &str = "pushrelay.toml";

/// A device token for each target that the simulator takes. Apple's are hexadecimal.
pub(super) const DEVICES: [(&str, &str); 2] = [
    ("apple_rn", "00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee"),
    ("android_rn", "demo-android-phone"),
];

/// The two that may send.
pub(super) struct Senders {
    /// Signs as Mattermost does.
    pub(super) server: SigningKey,
    /// Signs requests as a whole.
    pub(super) program: WebhookSigningKey,
}

impl Senders {
    /// With keys of their own.
    pub(super) fn generate() -> Self {
        Self { server: SigningKey::generate(), program: WebhookSigningKey::generate_symmetric() }
    }
}

/// Writes the set. Files that exist are left alone, and that is an error, unless `overwrite` is set.
pub(super) fn write(
    folder: &Path,
    credentials: &Credentials,
    simulator: &Simulator,
    senders: &Senders,
    listen: SocketAddr,
    overwrite: bool,
) -> Result<(), Failure> {
    fs::create_dir_all(folder)
        .map_err(|error| Failure::running(format!("cannot make the folder {}: {error}", folder.display())))?;
    let configuration = configuration(credentials, simulator, senders, listen);
    let files = [
        ("ca.pem", &credentials.authority_pem),
        ("AuthKey.p8", &credentials.p8_pem),
        ("client.pem", &credentials.client_certificate_pem),
        ("service-account.json", &credentials.service_account_json(simulator.token_uri())),
        ("server.pem", &senders.server.to_pem()),
        (PROGRAM_SECRET, &format!("{}\n", senders.program.text().expose())),
        (CONFIGURATION, &configuration),
    ];
    for (name, text) in files {
        let path = folder.join(name);
        let mut options = fs::OpenOptions::new();
        // Keys are for their owner's eyes, made-up ones too: people copy what they see.
        options.write(true).mode(0o600);
        if overwrite {
            options.create(true).truncate(true)
        } else {
            options.create_new(true)
        };
        options.open(&path).and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| {
            Failure::running(format!(
                "cannot write {}: {error}; choose another --folder, or --overwrite what is there",
                path.display()
            ))
        })?;
    }
    Ok(())
}

fn configuration(credentials: &Credentials, simulator: &Simulator, senders: &Senders, listen: SocketAddr) -> String {
    format!(
        r#"# A relay in front of `pushrelay simulate`. Every credential beside this file is made up.
listen = "{listen}"
# The queue and what `pushrelay trace` tells.
data_dir = "data"

[[server]]
id = "{SERVER_ID}"
name = "Demonstration chat server"
keys = ["{public_key}"]

[[server]]
id = "{PROGRAM_ID}"
name = "Demonstration program"
webhook_keys = ["{program_key}"]

[[target]]
name = "apple_rn"
provider = "apns"
topic = "{topic}"
key_file = "AuthKey.p8"
key_id = "{key_id}"
team_id = "{team_id}"
endpoint = "https://localhost:{apns}"
ca_file = "ca.pem"
proxy = "none"

[[target]]
name = "android_rn"
provider = "fcm"
service_account_file = "service-account.json"
endpoint = "https://localhost:{fcm}"
ca_file = "ca.pem"
proxy = "none"
"#,
        public_key = senders.server.public_base64(),
        program_key = senders.program.relay_text().expose(),
        topic = credentials.topic,
        key_id = credentials.key_id,
        team_id = credentials.team_id,
        apns = simulator.apns_address().port(),
        fcm = simulator.fcm_address().port(),
    )
}
