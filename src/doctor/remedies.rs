//! What a failure means and what to do about it. Tables; no I/O, no state.

use std::time::Duration;

use crate::sender::{ConnectError, SecureError, Trouble, Unacceptable};

/// Who refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Apple,
    Google,
}

/// For a clock that is wrong.
pub(super) const CLOCK: &str = "set this machine's clock by NTP (timedatectl set-ntp true; in a container, on the host): Apple and Google \
                                refuse tokens of another time";

type Failure = (String, String);

fn failure(what: impl Into<String>, remedy: impl Into<String>) -> Failure {
    (what.into(), remedy.into())
}

pub(super) fn set_up(problem: String) -> Failure {
    failure(problem, "correct the target's `endpoint`, `proxy` or `ca_file`")
}

pub(super) fn too_late(limit: Duration) -> Failure {
    failure(
        format!("no answer within {}", humantime::format_duration(limit)),
        "let a firewall through that swallows packets; if the network is only slow, ask with a longer --timeout",
    )
}

/// Name, connection, proxy.
pub(super) fn connect(error: ConnectError) -> Failure {
    let remedy = match error.trouble {
        Trouble::Dns => {
            "check the spelling of the target's `endpoint` and this machine's name servers (getent hosts NAME); where only a \
             proxy may look names up, set the target's `proxy`"
        }
        Trouble::ConnectRefused => {
            "nobody listens there: check the port of the target's `endpoint`, and whether a firewall refuses the way out"
        }
        Trouble::ConnectFailed | Trouble::ConnectTimeout => {
            "allow the way out in the firewall: to api.push.apple.com port 443 or 2197, to fcm.googleapis.com and \
             oauth2.googleapis.com port 443; or set the target's `proxy`"
        }
        Trouble::ProxyAuth => {
            "put the proxy's user and password into the target's `proxy` (http://user:password@host:port) or into HTTPS_PROXY"
        }
        Trouble::Proxy => {
            "check the target's `proxy` (or HTTPS_PROXY), and whether the proxy runs and allows CONNECT to the provider's host \
             and port"
        }
        _ => "try again; if it stays, see what stands between this machine and the provider",
    };
    failure(error.detail, remedy)
}

pub(super) fn tls(error: &SecureError) -> Failure {
    match error {
        SecureError::Certificate { why, detail } => {
            let remedy = match why {
                Unacceptable::Expired | Unacceptable::NotYetValid => {
                    "check this machine's clock first; if it is right, the certificate at the other end is at fault: Apple and \
                     Google renew theirs, so whoever answered is neither"
                }
                Unacceptable::UnknownAuthority => {
                    "install the system's CA certificates (package ca-certificates); where a proxy opens TLS, give its \
                     authority as the target's `ca_file`, or better have the provider's hosts left alone by it"
                }
                Unacceptable::OtherName => {
                    "somebody else answers at this address: check the target's `endpoint`, the name servers, and whether a \
                     proxy opens TLS"
                }
                Unacceptable::Other => {
                    "see what stands between this machine and the provider: its certificate cannot be used"
                }
            };
            failure(detail.clone(), remedy)
        }
        SecureError::Tls { detail } => failure(
            format!("no TLS: {detail}"),
            "check the port of the target's `endpoint`, and whether a proxy or firewall breaks TLS; with a client certificate, \
             whether it is Apple's",
        ),
    }
}

pub(super) fn no_http2() -> Failure {
    failure(
        "the other side does not choose HTTP/2 (ALPN `h2`)",
        "have the provider's hosts left alone by whatever opens TLS in between: it speaks HTTP/1.1 only, and APNs needs HTTP/2",
    )
}

pub(super) fn http2((trouble, detail): (Trouble, String)) -> Failure {
    let remedy = match trouble {
        Trouble::Tls => {
            "the other side takes no TLS connection of ours after all: with a client certificate, give Apple's own"
        }
        _ => "see what stands between this machine and the provider: it breaks HTTP/2",
    };
    failure(format!("no HTTP/2: {detail}"), remedy)
}

pub(super) fn token_of_another_process() -> Failure {
    failure(
        "Apple knows the key, but has seen another token of it within 20 minutes (TooManyProviderTokenUpdates): of a relay that \
         runs, or of an earlier check",
        "nothing if a relay runs; check again 20 minutes after the last process that used this key has ended",
    )
}

/// No access token from Google. `problem` is what the sender makes of a refusal.
pub(super) fn no_access_token(reason: &str, refused: bool, problem: Option<String>) -> Failure {
    if refused {
        let what = problem.map(|problem| format!(": {problem}")).unwrap_or_default();
        return failure(
            format!("Google grants no access token ({reason}){what}"),
            "check this machine's clock, then make a new key for the service account (Firebase console, Project settings, \
             Service accounts) and put it in the place of `service_account_file`",
        );
    }
    failure(
        format!("no access token could be had from Google ({reason})"),
        "try again; if it stays, check `token_uri` in the service account's file, the proxy and the firewall",
    )
}

/// What the provider thinks of our credentials, other than well: refused, or nobody knows.
pub(super) fn credentials(peer: Peer, reason: &str, refused: bool) -> Failure {
    let name = match peer {
        Peer::Apple => "Apple",
        Peer::Google => "Google",
    };
    if !refused {
        return failure(
            format!("{name}'s answer says nothing about the credentials: {reason}"),
            "try again in a minute; a provider that stays like that is in trouble itself, or something stands in between",
        );
    }
    let known = REFUSALS.iter().find(|(of, word, _, _)| *of == peer && *word == reason);
    let (what, remedy) = known.map_or(
        (
            "it takes no push from us",
            "see what the provider's documentation says about this word, and docs/credentials.md",
        ),
        |(_, _, what, remedy)| (*what, *remedy),
    );
    failure(format!("{name} refuses them ({reason}): {what}"), remedy)
}

const OWN_FILES: &str = "give `key_file`, `key_id` and `team_id` that belong together (Apple's developer account, Keys: the id is in the \
                         file's name), and see there whether the key was revoked";
const ENVIRONMENT: &str =
    "set `sandbox` of the target as the credential is meant, or make a credential for the other environment";
const TOPIC: &str =
    "set `topic` to the app's bundle id, and use a key of the team that owns the app (or the app's own certificate)";
const ROLE: &str = "use a service account of the project that the app is built with, let it have the role \"Firebase Cloud \
                    Messaging API Admin\", and enable the Firebase Cloud Messaging API in the Google Cloud console";

/// Who refuses, the word, what it means, what to do.
const REFUSALS: &[(Peer, &str, &str, &str)] = &[
    (Peer::Apple, "InvalidProviderToken", "the key is not known for this team, or the clock is wrong", OWN_FILES),
    (Peer::Apple, "ExpiredProviderToken", "a token made just now counts as old", CLOCK),
    (
        Peer::Apple,
        "MissingProviderToken",
        "no token has reached it",
        "see whether a gateway in between removes headers",
    ),
    (Peer::Apple, "UnrelatedKeyIdInToken", "the key id is of another key", OWN_FILES),
    (Peer::Apple, "BadEnvironmentKeyIdInToken", "the key is for the other environment", ENVIRONMENT),
    (Peer::Apple, "BadEnvironmentKeyInToken", "the key is for the other environment", ENVIRONMENT),
    (Peer::Apple, "BadCertificateEnvironment", "the certificate is for the other environment", ENVIRONMENT),
    (
        Peer::Apple,
        "BadCertificate",
        "the certificate is no push certificate, or is revoked",
        "create a new push certificate in Apple's developer account, or better a signing key",
    ),
    (
        Peer::Apple,
        "Forbidden",
        "the key or the team may not send",
        "see in Apple's developer account whether the membership has ended and the key may send pushes",
    ),
    (Peer::Apple, "other_403", "the reason is a word that is new to this release", OWN_FILES),
    (Peer::Apple, "BadTopic", "there is no such topic", TOPIC),
    (Peer::Apple, "MissingTopic", "the certificate covers several topics and none was named", TOPIC),
    (Peer::Apple, "TopicDisallowed", "the credential may not send to this topic", TOPIC),
    (
        Peer::Apple,
        "certificate_out_of_date",
        "the certificate has ended or has not begun",
        "create a new push certificate in Apple's developer account, or better a signing key",
    ),
    (
        Peer::Apple,
        "cannot_sign",
        "the signing key signs nothing",
        "put Apple's own .p8 file in the place of `key_file`",
    ),
    (Peer::Google, "PERMISSION_DENIED", "the service account may not send for this project", ROLE),
    (Peer::Google, "UNAUTHENTICATED", "a fresh access token is not taken", ROLE),
    (
        Peer::Google,
        "NOT_FOUND",
        "there is no such project",
        "put the service account's file of the project in place as Google gave it: its `project_id` names none",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_that_a_sender_knows_has_a_meaning_and_a_remedy() {
        // The words under which Proof says that credentials are refused: those of the verdict tables.
        let apple = [
            "BadCertificate",
            "BadCertificateEnvironment",
            "BadEnvironmentKeyIdInToken",
            "BadEnvironmentKeyInToken",
            "Forbidden",
            "InvalidProviderToken",
            "MissingProviderToken",
            "UnrelatedKeyIdInToken",
            "ExpiredProviderToken",
            "BadTopic",
            "MissingTopic",
            "TopicDisallowed",
            "other_403",
            "certificate_out_of_date",
            "cannot_sign",
        ];
        let google = ["PERMISSION_DENIED", "UNAUTHENTICATED", "NOT_FOUND"];
        for (peer, words) in [(Peer::Apple, &apple[..]), (Peer::Google, &google[..])] {
            for word in words {
                assert!(REFUSALS.iter().any(|row| (row.0, row.1) == (peer, *word)), "{word}");
                assert!(credentials(peer, word, true).0.contains(word));
            }
        }
        assert!(credentials(Peer::Google, "something new", true).1.contains("documentation"));
        assert!(credentials(Peer::Apple, "timeout", false).0.contains("says nothing"));
        assert!(credentials(Peer::Google, "not_googles_answer", false).1.contains("in between"));
    }
}
