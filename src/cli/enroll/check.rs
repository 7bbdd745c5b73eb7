//! `pushrelay enroll --check`: what is registered beside what each server publishes now. Changes nothing.

use futures_util::StreamExt;

use super::{Asking, has_key};
use crate::admission::site::Site;
use crate::cli::output::print;
use crate::cli::table::table;
use crate::cli::{self, Failure};
use crate::config::{KnownServer, KnownServers};
use crate::enrolment::{FetchError, Publication, fetch};

/// How many servers are asked at once: a thousand take a minute or two, and no proxy minds.
const AT_ONCE: usize = 16;

/// How a server compares.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Same,
    OtherKey(String),
    OtherId(String),
    Unreachable(String),
    NoSite,
}

impl Standing {
    fn of(server: &KnownServer<'_>, answer: &Result<Publication, FetchError>) -> Self {
        match answer {
            Err(error) => Self::Unreachable(error.to_string()),
            Ok(publication) if publication.id != server.settings.id => Self::OtherId(publication.id.to_string()),
            Ok(publication) if has_key(server, publication) => Self::Same,
            Ok(publication) => Self::OtherKey(publication.key.fingerprint()),
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Same => "same".to_owned(),
            Self::OtherKey(published) => format!("DIFFERS: publishes the key {published}"),
            Self::OtherId(published) => format!("DIFFERS: calls itself {published}"),
            Self::Unreachable(why) => format!("UNREACHABLE: {why}"),
            Self::NoSite => "not asked: no site is registered".to_owned(),
        }
    }
}

pub(super) fn run(known: &KnownServers, only: Option<&Site>, asking: &Asking) -> Result<(), Failure> {
    let servers: Vec<_> =
        known.servers().filter(|server| only.is_none_or(|only| server.settings.site.as_ref() == Some(only))).collect();
    if let Some(only) = only.filter(|_| servers.is_empty()) {
        return Err(Failure::running(format!(
            "no server is registered from {only}; `pushrelay enroll {only}` does it"
        )));
    }
    let settings = asking.settings()?;
    let standings = cli::block_on(async {
        let asked = futures_util::stream::iter(&servers).map(async |server| match &server.settings.site {
            // One that may not be asked does not keep the others from it.
            Some(site) => match asking.permit(site) {
                Ok(()) => Standing::of(server, &fetch(site, &settings).await),
                Err(failure) => Standing::Unreachable(failure.text),
            },
            None => Standing::NoSite,
        });
        Ok(asked.buffered(AT_ONCE).collect::<Vec<_>>().await)
    })?;
    let rows = servers.iter().zip(&standings).map(|(server, standing)| {
        let site = server.settings.site.as_ref().map(ToString::to_string).unwrap_or_default();
        [server.settings.name.clone(), site, standing.words()]
    });
    print(format_args!("{}", table(["NAME", "SITE", "RESULT"], rows)))?;
    let count = |is: fn(&Standing) -> bool| standings.iter().filter(|standing| is(standing)).count();
    let differ = count(|standing| matches!(standing, Standing::OtherKey(_) | Standing::OtherId(_)));
    let unreachable = count(|standing| matches!(standing, Standing::Unreachable(_)));
    let same = count(|standing| *standing == Standing::Same);
    if differ + unreachable > 0 {
        return Err(Failure::running(format!(
            "{differ} differ, {unreachable} cannot be reached, {same} are the same; for one that differs, \
             `pushrelay servers rotate NAME` shows both keys"
        )));
    }
    if same == 0 {
        return Err(Failure::running(
            "nothing was compared: no registered server has a `site`; `pushrelay enroll SITE` notes it",
        ));
    }
    Ok(())
}
