//! File descriptors: how many the system lets this process have, and how many of them chat servers' connections may take.
//! Without a spare one no name is looked up and no provider is reached, so that many callers would look like an outage.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Settings;

/// What is kept back, besides what targets need: 192. The address for operators takes up to 64; the rest is for look-ups of
/// names, the queue, the journal, the log, and files that are read again.
const KEPT_BACK: u64 = 192;

/// What a target needs besides its connections: as many attempts to connect as a name's addresses are tried beside each other
/// on a slow way.
const ATTEMPTS: usize = 32;

/// Of every four descriptors, those that are kept back at most where there are too few for everything.
const MOST_KEPT_BACK: (u64, u64) = (3, 4);

/// How far the system's limit goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Descriptors that this process may have; [`u64::MAX`] if there is no limit.
    limit: u64,
    /// Connections that the configuration allows.
    wanted: usize,
    /// Descriptors for everything else.
    kept_back: u64,
}

impl Room {
    /// For these settings, with the limit raised as far as the system lets anybody raise it (the soft one to the hard one),
    /// as Go's runtime does, too.
    pub fn raised_for(settings: &Settings) -> Self {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let limit = match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
            Ok(()) => maximum,
            // Some systems allow less than they say.
            Err(_) => current,
        };
        let of_providers: usize = settings.targets.iter().map(|target| target.network.connections + ATTEMPTS).sum();
        Self {
            limit: limit.unwrap_or(u64::MAX),
            wanted: settings.http.max_connections,
            kept_back: KEPT_BACK + of_providers as u64,
        }
    }

    /// Connections of chat servers that leave enough for everything else.
    pub fn connections(&self) -> usize {
        let (part, of) = MOST_KEPT_BACK;
        let kept_back = self.kept_back.min(self.limit / of * part);
        let left = usize::try_from(self.limit - kept_back).unwrap_or(usize::MAX);
        self.wanted.min(left.max(1))
    }

    /// What to say where there are too few, and what to do.
    pub fn problem(&self) -> Option<(String, String)> {
        let Self { limit, wanted, kept_back } = *self;
        let connections = self.connections();
        let needed = wanted as u64 + kept_back;
        (needed > limit).then(|| {
            (
                format!(
                    "this process may have {limit} file descriptors (ulimit -n), and http.max_connections = {wanted} asks for \
                     {needed}: {connections} connections are taken at once, the rest is kept for providers and files"
                ),
                format!(
                    "raise the hard limit to {needed} (LimitNOFILE= of a service, ulimits of a container), or lower \
                     http.max_connections"
                ),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_enough_for_everything_else_and_are_never_none() {
        for (limit, wanted, kept_back, connections, is_told) in [
            (u64::MAX, 16_384, 200, 16_384, false),
            (65_536, 16_384, 200, 16_384, false),
            (16_584, 16_384, 200, 16_384, false),
            (16_583, 16_384, 200, 16_383, true),
            (1_024, 16_384, 200, 824, true),
            (1_024, 800, 200, 800, false),
            (256, 16_384, 200, 64, true),
            (64, 16_384, 200, 16, true),
            (0, 16_384, 200, 1, true),
        ] {
            let room = Room { limit, wanted, kept_back };
            assert_eq!((room.connections(), room.problem().is_some()), (connections, is_told), "{room:?}");
        }
    }

    #[test]
    fn what_is_said_names_the_key_and_what_to_raise() {
        let (what, remedy) = Room { limit: 1_024, wanted: 16_384, kept_back: 200 }.problem().unwrap();
        assert!(
            what.contains("1024") && what.contains("http.max_connections = 16384") && what.contains("824"),
            "{what}"
        );
        assert!(remedy.contains("16584") && remedy.contains("LimitNOFILE"), "{remedy}");
    }
}
