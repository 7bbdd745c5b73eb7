//! Where a running relay answers probes, as its configuration says: for `pushrelay health`, which asks every few seconds.
//! So only the addresses are looked at. No credential is opened and no chat server read, and what is wrong with anything
//! else is for `check` to say.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use super::document::Document;
use super::finding::{Findings, Place, Problems};
use super::values::Values;
use super::{directory, environment, keys, read, reference};

/// Where to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeAddress {
    /// As it can be connected to from this machine: never an unspecified address. Port 0 if the configuration asks for any
    /// free one.
    pub address: SocketAddr,
    /// Whether TLS is spoken there.
    pub tls: bool,
}

/// Reads a file, if there is one, and lays the environment over it, as `serve` does.
///
/// # Errors
/// The file cannot be read at all, or the address is wrong.
pub fn probe_address(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<ProbeAddress, Problems> {
    let file = file.map(reference::find);
    let mut findings = Findings::default();
    let Some(mut document) = read(file.as_deref(), &mut findings) else {
        return Err(findings.finish().expect_err("whoever reads nothing reports why"));
    };
    environment::apply(&mut document, environment, &mut Findings::default());
    let base = directory(file.as_deref(), &document);
    look(&mut document, base)
}

fn look(document: &mut Document, base: &Path) -> Result<ProbeAddress, Problems> {
    let has_tls = document.section(&keys::TLS).entries.keys().any(|key| keys::TLS.knows(key));
    let mut found = Findings::default();
    let ops = Values::check(document.section(&keys::OPS), base, &mut found);
    if ops.is_wrong("listen") {
        return Err(wrong(found));
    }
    if let Some(address) = ops.optional_address("listen") {
        return Ok(ProbeAddress { address: reachable(address), tls: false });
    }
    let mut found = Findings::default();
    let top = Values::check(document.section(&keys::TOP), base, &mut found);
    if top.is_wrong("listen") {
        return Err(wrong(found));
    }
    Ok(ProbeAddress { address: reachable(top.address("listen")), tls: has_tls })
}

/// Only what is said about the address: the first line of a whole list would be about something else.
fn wrong(found: Findings) -> Problems {
    let problems = found.finish().expect_err("a wrong value was reported");
    let about_it = problems.list().iter().filter(|problem| {
        problem.key.to_ascii_lowercase().ends_with("listen")
            || problem.key == "ListenAddress"
            || matches!(&problem.place, Place::Variable(name) if name.ends_with("LISTEN"))
    });
    let mut only = Findings::default();
    only.add_problems(about_it.cloned().collect());
    only.finish().err().unwrap_or(problems)
}

/// "Every address of this machine" as one of them. `[::]` is every address of IPv4 too, and containers often have no `::1`.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(toml: &str, variables: &[(&str, &str)]) -> Result<String, String> {
        let mut findings = Findings::default();
        let mut document = Document::parse(toml, &"f.toml".into(), &mut findings).unwrap();
        let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        environment::apply(&mut document, variables, &mut findings);
        match look(&mut document, Path::new("")) {
            Ok(found) => Ok(format!("{}{}", if found.tls { "https " } else { "" }, found.address)),
            Err(problems) => Err(problems.list()[0].to_string()),
        }
    }

    #[test]
    fn probes_are_asked_where_the_configuration_has_them() {
        for (toml, variables, expected) in [
            ("", vec![], "127.0.0.1:8066"),
            ("listen = \"[::]:1\"", vec![], "127.0.0.1:1"),
            ("listen = \"[::1]:1\"", vec![], "[::1]:1"),
            ("listen = \"10.0.0.1:1\"", vec![], "10.0.0.1:1"),
            ("listen = \"0.0.0.0:1\"\n[ops]\nlisten = \"0.0.0.0:2\"", vec![], "127.0.0.1:2"),
            ("listen = \"0.0.0.0:1\"", vec![("PUSHRELAY_LISTEN", "127.0.0.1:3")], "127.0.0.1:3"),
            ("", vec![("PUSHRELAY_OPS__LISTEN", "[::]:4")], "127.0.0.1:4"),
            ("[tls]\ncertificate_file = \"none.pem\"", vec![], "https 127.0.0.1:8066"),
            ("[tls]\nkey_file = \"none.pem\"\n[ops]\nlisten = \"127.0.0.1:2\"", vec![], "127.0.0.1:2"),
            // Everything else may be wrong.
            ("lisden = 1\n[ops]\nmetrics = 7\n[[target]]\nname = 3", vec![], "127.0.0.1:8066"),
        ] {
            assert_eq!(found(toml, &variables).as_deref(), Ok(expected), "{toml} {variables:?}");
        }
    }

    #[test]
    fn a_wrong_address_is_told_and_nothing_else() {
        for (toml, variables, expected) in [
            ("a = 1\nlisten = \"x\"", vec![], "f.toml:2: listen: `x` is not an IP address and a port"),
            ("[ops]\na = 1\nlisten = 1", vec![], "f.toml:3: ops.listen: must be text in quotes, not a number"),
            ("a = 1", vec![("PUSHRELAY_LISTEN", "x")], "PUSHRELAY_LISTEN: `x` is not an IP address and a port"),
        ] {
            let told = found(toml, &variables).unwrap_err();
            assert_eq!(told.lines().next(), Some(expected));
        }
    }
}
