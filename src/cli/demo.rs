//! A complete demonstration set: generated credentials, a registered chat server, and the relay's configuration for a
//! simulator. Everything in it is made up and worth nothing outside that simulator.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::Failure;
use crate::admission::signing::SigningKey;
use crate::simulator::{Credentials, Simulator};

/// The demonstration chat server's id.
pub(super) const SERVER_ID: &str = "demo-server";

/// The relay's configuration, in the folder.
pub(super) const CONFIGURATION: &str = "pushrelay.toml";

/// A device token for each target that the simulator takes. Apple's are hexadecimal.
pub(super) const DEVICES: [(&str, &str); 2] = [
    ("apple_rn", "00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee"),
    ("android_rn", "demo-android-phone"),
];

/// Writes the set. Files that exist are left alone, and that is an error, unless `overwrite` is set.
pub(super) fn write(
    folder: &Path,
    credentials: &Credentials,
    simulator: &Simulator,
    server: &SigningKey,
    listen: SocketAddr,
    overwrite: bool,
) -> Result<(), Failure> {
    fs::create_dir_all(folder)
        .map_err(|error| Failure::running(format!("cannot make the folder {}: {error}", folder.display())))?;
    let configuration = configuration(credentials, simulator, server, listen);
    let files = [
        ("ca.pem", &credentials.authority_pem),
        ("AuthKey.p8", &credentials.p8_pem),
        ("client.pem", &credentials.client_certificate_pem),
        ("service-account.json", &credentials.service_account_json(simulator.token_uri())),
        ("server.pem", &server.to_pem()),
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

fn configuration(credentials: &Credentials, simulator: &Simulator, server: &SigningKey, listen: SocketAddr) -> String {
    format!(
        r#"# A relay in front of `pushrelay simulate`. Every credential beside this file is made up.
listen = "{listen}"

[[server]]
id = "{SERVER_ID}"
name = "Demonstration chat server"
keys = ["{public_key}"]

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
        public_key = server.public_base64(),
        topic = credentials.topic,
        key_id = credentials.key_id,
        team_id = credentials.team_id,
        apns = simulator.apns_address().port(),
        fcm = simulator.fcm_address().port(),
    )
}
