//! `pushrelay enroll`: registers a chat server by what it publishes about itself, and shows when that has changed.

mod check;
mod renewal;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::Failure;
use super::servers::Where;
use crate::admission::ServerSettings;
use crate::admission::site::Site;
use crate::cli::output::{print, remark, say};
use crate::clock::{Clock, rfc3339};
use crate::config::{self, Edit, KnownServer, KnownServers, NewServer};
use crate::enrolment::{FetchSettings, PATIENCE, Publication, fetch};
use crate::notification::ServerId;
use crate::sender::network::ProxySettings;
pub(super) use renewal::renew;

/// The longest time that an old key may go on to count: longer is no rotation.
const LONGEST_GRACE: Duration = Duration::from_secs(366 * 24 * 3600);

/// Register a chat server by what it publishes about itself.
#[derive(Debug, Args)]
#[command(after_help = "\
A Mattermost server shows its id and the public key that it signs pushes with to everybody, at
<site>/api/v4/config/client?format=old. This reads them over TLS, shows the key's fingerprint, asks,
and writes a file into the servers directory. A running relay takes it within a second.

Asked again, it says whether anything has changed. A key that differs is a rotation or a take-over:
both fingerprints are shown, and only after a confirmation the new key is written beside the old
one, which goes on to count for a while (--grace).

Examples:
  pushrelay enroll https://chat.example.com --config /etc/pushrelay/pushrelay.toml
  pushrelay enroll https://example.com/chat --name team --servers-directory servers.d
  pushrelay enroll https://chat.example.com --id dqgjzjy4ebf6fxzmjn9ojrfz6e --yes
  pushrelay enroll --check                    do all servers still publish what is registered?

Without a terminal it needs --yes; then give --id as well, so that only the server that you mean is
registered. It goes out as the relay does: HTTPS_PROXY, HTTP_PROXY and NO_PROXY count.

Exit codes: 0 registered, or unchanged; with --check: all the same. 1 not registered, refused, or
unreachable; with --check: something differs or cannot be reached.")]
pub(super) struct Enroll {
    /// The chat server's address as in its `SiteURL`, with the path if there is one.
    #[arg(value_name = "SITE", value_parser = site, required_unless_present = "check")]
    site: Option<Site>,
    /// What to call the server and its file; the site's host if absent.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    asking: Asking,
    /// Compare what is registered with what each server publishes now, and change nothing. With SITE only that one.
    #[arg(long, conflicts_with_all = ["name", "yes", "id"])]
    check: bool,
    /// Refuse a server that calls itself something else.
    #[arg(long, value_name = "ID", value_parser = server_id)]
    id: Option<ServerId>,
    #[command(flatten)]
    consent: Consent,
}

/// How a chat server is asked.
#[derive(Debug, Args)]
pub(super) struct Asking {
    /// Also ask over plain HTTP, where everybody on the way can put another key in.
    #[arg(long)]
    insecure_http: bool,
    /// Certificates (PEM) of authorities that are trusted as well.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// What may be done without asking.
#[derive(Debug, Args)]
pub(super) struct Consent {
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    /// How long an old key goes on to count beside its successor.
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = grace)]
    grace: Duration,
}

fn site(text: &str) -> Result<Site, String> {
    Site::parse(text).map_err(|error| error.to_string())
}

fn server_id(text: &str) -> Result<ServerId, String> {
    ServerId::new(text).ok_or_else(|| "is empty".to_owned())
}

fn grace(text: &str) -> Result<Duration, String> {
    let grace = humantime::parse_duration(text).map_err(|error| format!("{error}; write 7d or 12h"))?;
    if grace > LONGEST_GRACE { Err("is longer than a year".to_owned()) } else { Ok(grace) }
}

impl Enroll {
    pub(super) fn run(self) -> Result<(), Failure> {
        let known = self.place.read()?;
        if self.check {
            return check::run(&known, self.site.as_ref(), &self.asking);
        }
        let Some(site) = self.site else { return Err(Failure::running("the chat server's address is missing")) };
        let publication = self.asking.ask(&site)?;
        show(&site, &publication)?;
        if let Some(expected) = self.id.filter(|expected| *expected != publication.id) {
            return Err(Failure::running(format!(
                "{site} calls itself {}, and not {expected} as --id says: nothing was changed",
                publication.id
            )));
        }
        match known.by_id(&publication.id) {
            Some(server) => renew(&known, &server, &site, &publication, &self.consent),
            None => register(&known, &site, &publication, self.name, &self.consent),
        }
    }
}

impl Asking {
    /// Asks one server, and warns of what makes its answer worth less.
    pub(super) fn ask(&self, site: &Site) -> Result<Publication, Failure> {
        self.permit(site)?;
        let settings = self.settings()?;
        super::block_on(async {
            fetch(site, &settings).await.map_err(|error| Failure::running(format!("{site}: {error}")))
        })
    }

    fn permit(&self, site: &Site) -> Result<(), Failure> {
        if site.is_private() {
            return Ok(());
        }
        if !self.insecure_http {
            return Err(Failure::running(format!(
                "{site} is plain HTTP: everybody on the way could put another key in. Give the address with https://, or \
                 say --insecure-http if there is nobody on the way"
            )));
        }
        remark(format_args!(
            "WARNING: {site} is asked over plain HTTP. Whoever is on the way can have put a key of his own in: compare the \
             fingerprint with the server's people before you trust it."
        ));
        Ok(())
    }

    fn settings(&self) -> Result<FetchSettings, Failure> {
        let extra_authorities = match &self.ca_file {
            Some(path) => {
                config::authorities(path).map_err(|problem| Failure::running(format!("--ca-file: {problem}")))?
            }
            None => Vec::new(),
        };
        Ok(FetchSettings { extra_authorities, proxy: ProxySettings::Environment, patience: PATIENCE })
    }
}

impl Consent {
    /// Asks at the terminal.
    fn obtain(&self, question: &str) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        if !std::io::stdin().is_terminal() {
            return Err(Failure::running(
                "nothing was changed: there is no terminal to ask at. If the above is right, say --yes",
            ));
        }
        print(format_args!("{question} [y/N] "))?;
        let _ = std::io::stdout().flush();
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        if read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
            return Ok(());
        }
        Err(Failure::running("nothing was changed"))
    }
}

pub(super) fn show(site: &Site, publication: &Publication) -> Result<(), Failure> {
    say(format_args!("{site} publishes"))?;
    say(format_args!("  server id    {}", publication.id))?;
    say(format_args!("  key          {}", publication.key.fingerprint()))?;
    if let Some(version) = &publication.version {
        say(format_args!("  version      {version}"))?;
    }
    say("")
}

fn register(
    known: &KnownServers,
    site: &Site,
    publication: &Publication,
    name: Option<String>,
    consent: &Consent,
) -> Result<(), Failure> {
    say("Not registered yet.")?;
    for server in known.servers() {
        let ServerSettings { name, id, .. } = server.settings;
        if server.settings.site.as_ref() == Some(site) {
            say(format_args!(
                "But {name} is registered from this address, as {id}: was the server set up anew, or is it another?"
            ))?;
        } else if has_key(&server, publication) {
            say(format_args!("But {name} ({id}) is registered with the same key: is one a copy of the other?"))?;
        }
    }
    consent.obtain(&format!("Register {}?", publication.id))?;
    let name = name.unwrap_or_else(|| site.name());
    let now = Clock::System.unix_seconds();
    let about = [
        format!("Registered {} from what {site} published.", rfc3339(now)),
        format!("Fingerprint of the key: {}", publication.key.fingerprint()),
    ];
    let new = NewServer { name: &name, id: &publication.id, site: Some(site), key: &publication.key, about: &about };
    let file = known.add(&new).map_err(Failure::running)?;
    say(format_args!("Registered in {}. A running relay takes it within a second.", file.display()))?;
    Ok(())
}

/// Whether the key counts for this server, and without an end.
fn has_key(server: &KnownServer<'_>, publication: &Publication) -> bool {
    server.settings.keys.all().any(|(key, until)| until.is_none() && *key == publication.key)
}

/// Notes where a server is, if its file does not say so yet.
fn remember_site(known: &KnownServers, server: &KnownServer<'_>, site: &Site) -> Result<(), Failure> {
    if server.settings.site.is_some() {
        return Ok(());
    }
    if server.file.is_none() {
        say(format_args!(
            "Add `site = \"{site}\"` to its [[server]], so that `pushrelay enroll --check` can ask there."
        ))?;
        return Ok(());
    }
    let (file, _) = known.change(server, &Edit::Site(site)).map_err(Failure::running)?;
    say(format_args!("Its address was noted in {}.", file.display()))?;
    Ok(())
}
