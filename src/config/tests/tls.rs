//! `[tls]`.

use super::*;
use crate::http::ClientCertificates;

/// A self-signed certificate and its key in `relay.pem` and `relay.key`, and what is said about them.
fn with_files(toml: &str) -> (TempDir, Option<crate::http::TlsSettings>, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["relay.example".to_owned()]).unwrap();
    fs::write(directory.path().join("relay.pem"), made.cert.pem()).unwrap();
    fs::write(directory.path().join("relay.key"), made.signing_key.serialize_pem()).unwrap();
    let (tls, said) = read(directory.path(), toml);
    (directory, tls, said)
}

fn read(directory: &Path, toml: &str) -> (Option<crate::http::TlsSettings>, Vec<String>) {
    let mut findings = Findings::default();
    let mut document = Document::parse(toml, &"pushrelay.toml".into(), &mut findings).unwrap();
    let settings = settings(&mut document, directory, &mut findings);
    // There are always others: no target is configured.
    let problems = findings.finish().unwrap_err();
    (settings.http.tls, problems.list().iter().map(ToString::to_string).filter(|line| line.contains("tls")).collect())
}

const PAIR: &str = "[tls]\ncertificate_file = \"relay.pem\"\nkey_file = \"relay.key\"\n";

#[test]
fn certificate_and_key_switch_tls_on_and_nothing_does_not() {
    let (directory, tls, said) = with_files(PAIR);
    assert_eq!(said, Vec::<String>::new());
    let tls = tls.unwrap();
    assert_eq!(tls.files.certificate_file, directory.path().join("relay.pem"));
    assert_eq!((tls.files.client_ca_file, tls.client_certificates), (None, ClientCertificates::Optional));
    assert!(with_files("").1.is_none());
}

#[test]
fn clients_are_asked_for_certificates_where_an_authority_is_named() {
    let toml = format!("{PAIR}client_ca_file = \"relay.pem\"\n");
    let (directory, tls, _) = with_files(&toml);
    let tls = tls.unwrap();
    assert_eq!(tls.client_certificates, ClientCertificates::Optional);
    assert_eq!(tls.files.client_ca_file, Some(directory.path().join("relay.pem")));
    let required = format!("{toml}client_certificates = \"required\"\n[ops]\nlisten = \"127.0.0.1:0\"\n");
    assert_eq!(with_files(&required).1.unwrap().client_certificates, ClientCertificates::Required);
}

#[test]
fn what_is_wrong_is_told_with_its_key() {
    for (toml, expected) in [
        ("[tls]\ncertificate_file = \"relay.pem\"\n".to_owned(), "tls.key_file: is missing"),
        ("[tls]\nclient_ca_file = \"relay.pem\"\n".to_owned(), "tls.certificate_file: is missing"),
        (format!("{PAIR}client_certificates = \"required\"\n"), "tls.client_certificates: has no meaning"),
        (format!("{PAIR}client_ca_file = \"relay.key\"\n"), "tls.client_ca_file: holds no readable certificate"),
        (format!("{PAIR}client_ca_file = \"none.pem\"\n"), "tls.client_ca_file: cannot read `none.pem`"),
        (PAIR.replace("relay.key", "relay.pem"), "tls.key_file: holds no readable private key"),
    ] {
        let (_, tls, said) = with_files(&toml);
        assert!(said.iter().any(|line| line.contains(expected)), "{expected}: {said:?}");
        assert!(tls.is_none() || expected.contains("has no meaning"), "{expected}");
    }
}

/// What is worth a word, for a configuration that lacks nothing.
fn warnings(toml: &str, mode: u32) -> String {
    use std::os::unix::fs::PermissionsExt;
    let (directory, ..) = with_files("");
    fs::set_permissions(directory.path().join("relay.key"), fs::Permissions::from_mode(mode)).unwrap();
    let mut findings = Findings::default();
    let mut document = Document::parse(toml, &"pushrelay.toml".into(), &mut findings).unwrap();
    document.is_reference = true;
    let _ = edge::http(&mut document, directory.path(), ("127.0.0.1:1".parse().unwrap(), None), &mut findings);
    findings.finish().unwrap().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_key_that_everybody_may_read_and_probes_without_certificates_are_worth_a_word() {
    assert!(warnings(PAIR, 0o644).contains("tls.key_file: names a private key that everybody"));
    assert_eq!(warnings(PAIR, 0o640), "");
    let required = format!("{PAIR}client_ca_file = \"relay.pem\"\nclient_certificates = \"required\"\n");
    assert!(warnings(&required, 0o600).contains("asks probes and scrapers for certificates too"));
    assert_eq!(warnings(&format!("{required}[ops]\nlisten = \"127.0.0.1:2\"\n"), 0o600), "");
}
