//! A server that is registered and asked again: the same key, or another one, which is a rotation or a take-over.

use super::{Consent, has_key, remember_site};
use crate::admission::site::Site;
use crate::cli::Failure;
use crate::cli::output::say;
use crate::clock::{Clock, rfc3339};
use crate::config::{Edit, KnownServer, KnownServers};
use crate::enrolment::Publication;

/// Says whether anything has changed, and writes a new key after a confirmation.
pub(in crate::cli) fn renew(
    known: &KnownServers,
    server: &KnownServer<'_>,
    site: &Site,
    publication: &Publication,
    consent: &Consent,
) -> Result<(), Failure> {
    let name = &server.settings.name;
    if server.settings.site.as_ref() != Some(site) {
        match &server.settings.site {
            Some(registered) => say(format_args!("{name} is registered from another address, {registered}."))?,
            None => say(format_args!("{name} is registered without an address."))?,
        }
        // Only the address that it was registered from can speak for a server whose key it does not have.
        if !has_key(server, publication) {
            return Err(Failure::running(format!(
                "{site} calls itself {id} and has another key than {id} is registered with: this is how somebody who takes \
                 a server's name looks. Nothing was changed. If it is the server's address, set `site` in its file to \
                 \"{site}\" and ask again",
                id = publication.id
            )));
        }
    }
    if has_key(server, publication) {
        say(format_args!("{name} is registered with this key: nothing has changed."))?;
        return remember_site(known, server, site);
    }
    say(format_args!("{name} is registered with another key:"))?;
    for (key, until) in server.settings.keys.all() {
        let until = until.map(|until| format!(" (until {})", rfc3339(until))).unwrap_or_default();
        say(format_args!("  registered   {}{until}", key.fingerprint()))?;
    }
    say(format_args!("  published    {}", publication.key.fingerprint()))?;
    say(format_args!(
        "\nFrom here two things look alike:\n\
         \x20 a rotation   the server has made a new key: it was set up anew, or its database was\n\
         \x20 a take-over  somebody else answers at this address now\n\
         Ask the server's people for the fingerprint of its key, by another way than this server, and\n\
         go on only if it is the published one.\n"
    ))?;
    let now = Clock::System.unix_seconds();
    let until = now.saturating_add(consent.grace.as_secs());
    consent.obtain(&format!("Write the new key, and let the old one count until {}?", rfc3339(until)))?;
    let about = format!("{}: a new key, from what {site} published; the old one has an end now.", rfc3339(now));
    let edit = Edit::Key { new: &publication.key, until, about: &about };
    let (file, _) = known.change(server, &edit).map_err(Failure::running)?;
    say(format_args!("The new key is in {}; the old one counts until {}.", file.display(), rfc3339(until)))?;
    Ok(())
}
