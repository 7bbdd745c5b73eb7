//! `[http]`, `[tls]`, `[throttle]`, `[client_ip]` and `[ops]`: addresses and limits of the HTTP side.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::Path;

use http::HeaderName;
use ipnet::IpNet;

use super::document::Document;
use super::files;
use super::finding::{Findings, Place, quote};
use super::keys;
use super::values::Values;
use crate::http::{
    ClientAddressSettings, ClientCertificates, HttpSettings, StatusSettings, ThrottleSettings, TlsFiles, TlsMaterial,
    TlsSettings, Vary,
};

/// Builds the settings of the edge. `listen` comes with its place unless it was wrong.
pub(super) fn http(
    document: &mut Document,
    directory: &Path,
    (listen, listen_place): (SocketAddr, Option<Place>),
    findings: &mut Findings,
) -> HttpSettings {
    let is_reference = document.is_reference;
    let ops = Values::check(document.section(&keys::OPS), directory, findings);
    let ops_listen = ops.optional_address("listen");
    match (ops_listen, listen_place) {
        (Some(ops_listen), Some(_)) if overlap(listen, ops_listen) => {
            let remedy = "choose another port, or take it out to have health and metrics on `listen`";
            ops.problem(findings, "listen", "is the address of chat servers as well (listen)", remedy);
        }
        // The reference has no other listener for them.
        (None, Some(_)) if is_reference => {}
        (None, Some(place)) if !listen.ip().is_loopback() && !ops.was_given("listen") => {
            let what = "health and metrics can be read by whoever reaches the address of chat servers";
            let remedy = "give them an address of their own, such as \"127.0.0.1:9066\"";
            findings.warning(&place, "ops.listen", what, remedy);
        }
        _ => {}
    }
    let serve_metrics = ops.flag("metrics");
    let status = Values::check(document.section(&keys::STATUS), directory, findings);
    let status = status_page(&status, ops_listen.unwrap_or(listen), findings);
    let client_ip = Values::check(document.section(&keys::CLIENT_IP), directory, findings);
    let client_address = client_address(&client_ip, findings);
    let throttle = Values::check(document.section(&keys::THROTTLE), directory, findings);
    let throttle = throttling(&throttle, &client_address, findings);
    let tls = Values::check(document.section(&keys::TLS), directory, findings);
    let tls = private(&tls, ops_listen.is_none(), findings);
    let http = Values::check(document.section(&keys::HTTP), directory, findings);
    HttpSettings {
        listen,
        tls,
        ops_listen,
        max_body_bytes: http.number("max_body"),
        header_timeout: http.duration("header_timeout"),
        body_timeout: http.duration("body_timeout"),
        idle_timeout: http.duration("idle_timeout"),
        max_in_flight: http.number("max_in_flight"),
        max_connections: http.number("max_connections"),
        serve_metrics,
        status,
        client_address,
        throttle,
    }
}

/// The page for people. `None` if it is not wanted, or is shown to strangers without anybody having asked for that.
fn status_page(status: &Values<'_>, address: SocketAddr, findings: &mut Findings) -> Option<StatusSettings> {
    let (user, password) = (status.text("user"), status.secret("password"));
    for (given, other, missing) in [("user", "password", password.is_none()), ("password", "user", user.is_none())] {
        let file = format!("{given}_file");
        let given = if status.was_given(&file) { file.as_str() } else { given };
        if status.was_given(given) && missing && !status.is_wrong(other) {
            let what = format!("has no meaning without `{other}`");
            status.problem(findings, given, what, status.how_to_give(other, "what goes with it"));
        }
    }
    if user.is_some_and(|user| user.contains(':')) {
        let what = "holds a colon, which ends the name where name and password are sent";
        status.problem(findings, "user", what, "choose a name without one");
    }
    let login = user.zip(password).map(|(user, password)| (user.to_owned(), password.clone()));
    let settings = StatusSettings { login, bearer_token: status.secret("bearer_token").cloned() };
    let is_open = settings.login.is_none() && settings.bearer_token.is_none();
    let is_wanted = status.was_given("enabled").then(|| !status.is_wrong("enabled") && status.flag("enabled"));
    let is_exposed = !address.ip().is_loopback() && is_open;
    if is_wanted == Some(true) && is_exposed {
        let what = "the status page, with the ids of chat servers, can be read by whoever reaches its address";
        let remedy = "give [status] a password or a bearer_token, or ops.listen an address such as \"127.0.0.1:9066\"";
        status.warning(findings, "enabled", what, remedy);
    }
    is_wanted.unwrap_or(!is_exposed).then_some(settings)
}

/// TLS on `listen`. `None` without it, and if anything about it is wrong; what, is among the findings then.
fn private(tls: &Values<'_>, probes_on_listen: bool, findings: &mut Findings) -> Option<TlsSettings> {
    let given = keys::TLS.keys.iter().map(|key| key.name).find(|name| tls.was_given(name))?;
    for (name, what) in
        [("certificate_file", "the path of the certificate"), ("key_file", "the path of its private key")]
    {
        if !tls.was_given(name) {
            let missing = format!("is missing, and {given} is given: TLS needs certificate_file and key_file");
            tls.problem(findings, name, missing, tls.how_to_give(name, what));
        }
    }
    let client_certificates = match tls.choice("client_certificates") {
        "required" => ClientCertificates::Required,
        _ => ClientCertificates::Optional,
    };
    if !tls.was_given("client_ca_file") && tls.was_given("client_certificates") {
        let what = "has no meaning without client_ca_file: nobody is asked for a certificate";
        tls.problem(findings, "client_certificates", what, "name the authority of the clients, or take it out");
    } else if client_certificates == ClientCertificates::Required && probes_on_listen {
        let what = "asks probes and scrapers for certificates too: health and metrics are on the same address";
        tls.warning(findings, "client_certificates", what, "give them their own with ops.listen");
    }
    let key_file = tls.path("key_file");
    if key_file.as_deref().is_some_and(files::is_world_readable) {
        let what = "names a private key that everybody on this machine may read";
        tls.warning(findings, "key_file", what, "chmod o-r the file; if others use this machine, replace the key");
    }
    // All are read before the first missing one ends this, so that each is reported.
    let [certificate, key] = ["certificate_file", "key_file"].map(|name| tls.file(name, findings));
    let client_ca = tls.file("client_ca_file", findings);
    if tls.was_given("client_ca_file") && client_ca.is_none() {
        return None;
    }
    let contents = TlsFiles { certificate_file: certificate?, key_file: key?, client_ca_file: client_ca };
    let files = TlsFiles {
        certificate_file: tls.path("certificate_file")?,
        key_file: key_file?,
        client_ca_file: tls.path("client_ca_file"),
    };
    match TlsMaterial::from_pem(&contents, client_certificates) {
        Ok(material) => Some(TlsSettings { files, client_certificates, material }),
        Err(faults) => {
            for fault in faults {
                tls.problem(findings, fault.key, fault.what, fault.remedy);
            }
            None
        }
    }
}

/// Whether both cannot be bound at once. (Port 0 asks for any free port.)
pub(super) fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let any = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && (any || one.ip() == other.ip())
}

fn client_address(values: &Values<'_>, findings: &mut Findings) -> ClientAddressSettings {
    let mut trusted_proxies = Vec::new();
    for text in values.texts("trusted_proxies") {
        if let Some(network) = network(text) {
            trusted_proxies.push(network);
        } else {
            let what = format!("{} is neither an address nor a network", quote(text));
            let remedy = "write for example \"10.0.0.0/8\", \"192.0.2.7\" or \"::1\"";
            values.problem(findings, "trusted_proxies", what, remedy);
        }
    }
    if trusted_proxies.iter().any(|network| network.prefix_len() == 0) {
        let what = "trusts every address: anybody can say to be anybody";
        values.warning(findings, "trusted_proxies", what, "name your own reverse proxies only");
    }
    let header = header_name(values, "header", values.choice("header"), findings);
    let header = header.unwrap_or(ClientAddressSettings::default().header);
    if header == http::header::FORWARDED {
        let remedy = "have your proxy write X-Forwarded-For or X-Real-IP, and name that";
        values.problem(findings, "header", "is RFC 7239's header, whose form is not read", remedy);
    }
    ClientAddressSettings { trusted_proxies, header }
}

/// An address is a network of one. IPv4 addresses in IPv6's clothes are IPv4: so are the peers they are compared with.
fn network(text: &str) -> Option<IpNet> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(IpNet::from(address.to_canonical()));
    }
    let network = text.parse::<IpNet>().ok()?.trunc();
    let IpAddr::V4(mapped) = network.network().to_canonical() else { return Some(network) };
    let prefix =
        if network.max_prefix_len() == 128 { network.prefix_len().checked_sub(96)? } else { network.prefix_len() };
    IpNet::new(mapped.into(), prefix).ok()
}

fn throttling(
    values: &Values<'_>,
    client: &ClientAddressSettings,
    findings: &mut Findings,
) -> Option<ThrottleSettings> {
    let vary = if values.was_given("vary_by_headers") {
        let names = values.texts("vary_by_headers");
        Vary::Headers(names.iter().filter_map(|name| header_name(values, "vary_by_headers", name, findings)).collect())
    } else {
        Vary::ClientAddress
    };
    let per_second = NonZeroU32::new(values.optional_number("per_second")?)?;
    if matches!(&vary, Vary::Headers(names) if !names.is_empty()) && client.trusted_proxies.is_empty() {
        let what = "names headers that nobody is trusted to set: each address is a caller";
        values.warning(findings, "vary_by_headers", what, "name your reverse proxies in client_ip.trusted_proxies");
    }
    Some(ThrottleSettings { per_second, burst: per_second, vary, max_keys: values.number("max_callers") })
}

fn header_name(values: &Values<'_>, key: &str, text: &str, findings: &mut Findings) -> Option<HeaderName> {
    let name = HeaderName::try_from(text).ok();
    if name.is_none() {
        let what = format!("{} is not the name of a header", quote(text));
        values.problem(findings, key, what, "write for example \"x-forwarded-for\"");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_may_be_written_in_any_form() {
        for (text, expected) in [
            ("10.0.0.0/8", Some("10.0.0.0/8")),
            ("10.1.2.3/8", Some("10.0.0.0/8")),
            ("192.0.2.7", Some("192.0.2.7/32")),
            ("::1", Some("::1/128")),
            ("::ffff:10.0.0.1", Some("10.0.0.1/32")),
            ("::ffff:10.0.0.0/104", Some("10.0.0.0/8")),
            ("fc00::/7", Some("fc00::/7")),
            ("0.0.0.0/0", Some("0.0.0.0/0")),
            ("10.0.0.0/33", None),
            ("proxy.example", None),
            ("", None),
        ] {
            assert_eq!(network(text).map(|network| network.to_string()).as_deref(), expected, "{text}");
        }
    }
}
