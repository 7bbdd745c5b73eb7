//! The keys of the edge: what `config::edge` reads.

use super::Otherwise::{Absent, Default};
use super::{Group, Kind, key};

/// The edge.
pub(in crate::config) static HTTP: Group = Group {
    name: "http",
    repeated: false,
    about: "Limits of the HTTP side.",
    keys: &[
        // A Mattermost server sends the whole post: 16,383 characters, each up to 12 bytes where JSON escapes it, are 192 KiB.
        key(
            "max_body",
            Kind::Size(4 << 10, 16 << 20),
            Default("256KiB"),
            "The largest request body. A Mattermost post takes up to 192 KiB; what does not fit on a phone is cut here.",
        ),
        key(
            "header_timeout",
            Kind::Duration(100, 300_000),
            Default("10s"),
            "The longest wait for a request's headers.",
        ),
        key("body_timeout", Kind::Duration(100, 300_000), Default("10s"), "The longest wait for a request's body."),
        // Go's HTTP client, which Mattermost uses, keeps a connection 90 s, nginx 60 s: so it is the caller who hangs up.
        key(
            "idle_timeout",
            Kind::Duration(1_000, 3_600_000),
            Default("120s"),
            "How long a connection is kept without a request, over HTTP/1.1 and HTTP/2. Keep it longer than your callers do \
             (Mattermost: 90s, nginx's `keepalive_timeout` towards the relay: 60s): a request that meets a closing \
             connection may be lost.",
        ),
        // A provider answers in about 0.1 s, so this many at once means 100,000 a second, or a provider that hangs. A
        // request holds a few KiB: tens of MiB in all; `max_body` times this, 2.5 GiB, if every body is of the largest.
        key(
            "max_in_flight",
            Kind::Count(1, 1_000_000),
            Default("10000"),
            "The most requests worked on at once; more are answered with 503. Memory: a few KiB each, `max_body` at worst.",
        ),
        // A Mattermost node keeps up to 8 connections per core. Each costs a file descriptor and some 10 KiB, 22 over TLS.
        key(
            "max_connections",
            Kind::Count(1, 1_000_000),
            Default("16384"),
            "The most open connections of chat servers. Each needs a file descriptor (`LimitNOFILE`, `ulimit -n`); where there are \
             too few, 192 and 32 more than its `connections` for each target are kept back, and a start and `check` say so.",
        ),
    ],
};

/// Privacy of the connections of chat servers.
pub(in crate::config) static TLS: Group = Group {
    name: "tls",
    repeated: false,
    about: "TLS on `listen`. Without it connections are plain: then keep a reverse proxy before the relay, or a network of \
            your own. `ops.listen` is always plain. All files are PEM and are read again every minute: see [tls.md](tls.md).",
    keys: &[
        key(
            "certificate_file",
            Kind::File,
            Absent("connections are plain"),
            "The certificate, followed by those between it and an authority that chat servers know.",
        ),
        key(
            "key_file",
            Kind::File,
            Absent("connections are plain"),
            "The certificate's private key, without a password.",
        ),
        key(
            "client_ca_file",
            Kind::File,
            Absent("clients are not asked for certificates"),
            "Authorities whose certificates say who a client is.",
        ),
        key(
            "client_certificates",
            Kind::Choice(&["optional", "required"]),
            Default("optional"),
            "With `client_ca_file`: `optional` serves clients without a certificate too, `required` does not. One that \
             is expired or from elsewhere is refused in both cases.",
        ),
    ],
};

/// How often one caller may ask.
pub(in crate::config) static THROTTLE: Group = Group {
    name: "throttle",
    repeated: false,
    about: "How often one caller may ask. More is answered with 429 and `Retry-After`, before anything is looked at, on every path but `/healthz` and `/readyz`.",
    keys: &[
        key(
            "per_second",
            Kind::Count(1, 1_000_000),
            Absent("nobody is slowed down"),
            "Requests per second of one caller; as many may come at once. A chat server at its limit loses notifications, so \
             leave room above its busiest second.",
        ),
        key(
            "vary_by_headers",
            Kind::Texts,
            Absent("each client address is a caller"),
            "Who is one caller: requests with the same values of these headers. They are believed only from \
             `client_ip.trusted_proxies`. An empty list makes all requests one caller.",
        ),
        // An entry takes some 40 bytes: a few MiB in all.
        key(
            "max_callers",
            Kind::Count(1_000, 10_000_000),
            Default("50000"),
            "How many callers are remembered at once. Beyond it those are forgotten that have not asked for longest.",
        ),
    ],
};

/// Whom a request comes from.
pub(in crate::config) static CLIENT_IP: Group = Group {
    name: "client_ip",
    repeated: false,
    about: "How the relay knows whom a request comes from.",
    keys: &[
        key(
            "trusted_proxies",
            Kind::Texts,
            Absent("none: the address of the connection counts"),
            "Addresses and networks (`10.0.0.0/8`, `::1`) of your own reverse proxies. Only what they say in `header` is \
             believed.",
        ),
        key(
            "header",
            Kind::Text,
            Default("x-forwarded-for"),
            "The header in which your proxies name the client. It is read from the right, past your own proxies.",
        ),
    ],
};

/// The operators' side.
pub(in crate::config) static OPS: Group = Group {
    name: "ops",
    repeated: false,
    about: "What operators look at.",
    keys: &[
        key(
            "listen",
            Kind::Address,
            Absent("on the same address as chat servers"),
            "A separate address for health, metrics and the status page.",
        ),
        key("metrics", Kind::Flag, Default("true"), "Whether `/metrics` is there."),
    ],
};

/// The page for people.
pub(in crate::config) static STATUS: Group = Group {
    name: "status",
    repeated: false,
    about: "The page for people at `/status`, on the address of `[ops]`: see [status-page.md](status-page.md). It shows ids of \
            chat servers, and no device token and no text. With a password or a token, it wants either.",
    keys: &[
        key(
            "enabled",
            Kind::Flag,
            Absent("it is there if nobody but this machine reaches its address, or if it wants a password or a token"),
            "Whether the page is there. `true` shows it on any address, to whoever reaches that.",
        ),
        key("user", Kind::Text, Absent("no password opens it"), "The name that goes with `password` (HTTP Basic)."),
        key(
            "password",
            Kind::Secret,
            Absent("no password opens it"),
            "The password. It goes over the wire as it is: put a reverse proxy with TLS before the page unless both ends are on \
             one machine.",
        ),
        key(
            "bearer_token",
            Kind::Secret,
            Absent("no token opens it"),
            "A token, for a program or a proxy that sends `Authorization: Bearer …`.",
        ),
    ],
};
