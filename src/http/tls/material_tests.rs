//! What operators put into the files.

use super::*;
use crate::http::tls::Standing;
use crate::http::tls::testing::{Authority, Leaf};

fn read(certificate: &str, key: &str, clients: Option<&str>) -> Result<Material, Vec<Fault>> {
    let files = Files {
        certificate_file: certificate.as_bytes().to_vec(),
        key_file: key.as_bytes().to_vec(),
        client_ca_file: clients.map(|pem| pem.as_bytes().to_vec()),
    };
    Material::from_pem(&files, ClientCertificates::Optional)
}

/// Which key is at fault, and a part of what is said.
fn faults(certificate: &str, key: &str, clients: Option<&str>) -> Vec<(&'static str, String)> {
    let faults = read(certificate, key, clients).unwrap_err();
    faults.into_iter().map(|fault| (fault.key, format!("{}; {}", fault.what, fault.remedy))).collect()
}

#[test]
fn a_certificate_with_its_chain_and_its_key_are_taken() {
    let root = Authority::new("root");
    let middle = root.middle("middle");
    let Leaf { certificate, key } = middle.issue("relay.example", (2025, 2027));
    let material = read(&format!("{certificate}{}{}", middle.pem(), root.pem()), &key, Some(&root.pem())).unwrap();
    assert_eq!(material.certified.cert.len(), 3);
    assert_eq!((material.not_before, material.not_after), (1_735_689_600, 1_798_761_600));
    assert!(material.clients.is_some());
    assert!(read(&certificate, &key, None).unwrap().clients.is_none());
    let shown = format!("{material:?}");
    assert!(shown.contains("[private]"), "{shown}");
}

/// Made with `openssl genpkey`, `openssl ec`, `openssl rsa -traditional`; with certificates of their own.
#[test]
fn keys_of_every_form_are_taken() {
    for (form, pem) in [
        ("PKCS#8, RSA", include_str!("../../../tests/fixtures/tls/rsa_pkcs8.pem")),
        ("PKCS#1", include_str!("../../../tests/fixtures/tls/rsa_pkcs1.pem")),
        ("SEC1", include_str!("../../../tests/fixtures/tls/ec_sec1.pem")),
        ("PKCS#8, Ed25519", include_str!("../../../tests/fixtures/tls/ed25519_pkcs8.pem")),
    ] {
        // Certificate and key in one file serve as both.
        assert!(read(pem, pem, None).is_ok(), "{form}");
    }
}

#[test]
fn every_way_the_files_can_be_wrong_is_told_with_its_key_and_a_remedy() {
    let root = Authority::new("root");
    let middle = root.middle("middle");
    let Leaf { certificate, key } = middle.issue("relay.example", (2025, 2027));
    let other = root.issue("other.example", (2025, 2027));
    let (middle, root) = (middle.pem(), root.pem());
    let damaged = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    let unusable = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let legacy = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMAA=\n-----END RSA PRIVATE KEY-----\n";
    let twice = format!("{key}{key}");
    for (files, expected) in [
        ((certificate.clone(), other.key.clone()), ("key_file", "does not belong to the certificate")),
        ((format!("{middle}{certificate}"), key.clone()), ("certificate_file", "was not issued by number 2")),
        ((middle.clone() + &root, key.clone()), ("key_file", "does not belong")),
        (
            (format!("{certificate}{root}{middle}"), key.clone()),
            ("certificate_file", "number 1 was not issued by number 2"),
        ),
        (
            (format!("{certificate}{certificate}"), key.clone()),
            ("certificate_file", "write the server's own certificate first"),
        ),
        ((String::new(), key.clone()), ("certificate_file", "holds no readable certificate")),
        ((key.clone(), key.clone()), ("certificate_file", "-----BEGIN CERTIFICATE-----")),
        ((damaged.to_owned(), key.clone()), ("certificate_file", "damaged certificate (number 1)")),
        ((format!("{certificate}{damaged}"), key.clone()), ("certificate_file", "damaged certificate (number 2)")),
        ((certificate.clone(), String::new()), ("key_file", "holds no readable private key")),
        ((certificate.clone(), certificate.clone()), ("key_file", "-----BEGIN PRIVATE KEY-----")),
        ((certificate.clone(), unusable.to_owned()), ("key_file", "damaged or of a kind")),
        ((certificate.clone(), encrypted.to_owned()), ("key_file", "openssl pkey")),
        ((certificate.clone(), legacy.to_owned()), ("key_file", "openssl pkey")),
        ((certificate.clone(), twice), ("key_file", "more than one key")),
    ] {
        let (certificate, key) = files;
        let found = faults(&certificate, &key, None);
        assert!(
            found.len() == 1 && found[0].0 == expected.0 && found[0].1.contains(expected.1),
            "{expected:?}: {found:?}"
        );
    }
    for clients in ["", damaged, &key] {
        assert_eq!(faults(&certificate, &key, Some(clients))[0].0, "client_ca_file");
    }
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let keys: Vec<_> = faults("", "", Some("")).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["certificate_file", "key_file", "client_ca_file"]);
}

#[test]
fn a_problem_names_the_file_and_never_shows_what_is_in_it() {
    let fault = Fault { key: "key_file", what: "holds no key".into(), remedy: "put one there".into() };
    let problem = Problem(vec![("/etc/relay.key".into(), fault)]);
    assert_eq!(problem.to_string(), "tls.key_file (`/etc/relay.key`) holds no key; put one there");
    let secret = faults("-----BEGIN CANARY-----", "-----BEGIN PRIVATE KEY-----\nCANARY\n", Some("CANARY"));
    assert!(secret.iter().all(|(_, text)| !text.contains("CANARY")), "{secret:?}");
}

#[test]
fn how_a_certificate_stands_is_said_in_days() {
    let Leaf { certificate, key } = Authority::new("root").issue("relay.example", (2025, 2027));
    let material = read(&certificate, &key, None).unwrap();
    let day = 24 * 60 * 60;
    for (now, standing) in [
        (material.not_before - 1, Standing::Refused("is not valid yet")),
        (material.not_before, Standing::Good(730)),
        (material.not_after - 30 * day, Standing::Good(30)),
        (material.not_after - 30 * day + 1, Standing::EndsSoon(29)),
        (material.not_after, Standing::EndsSoon(0)),
        (material.not_after + 1, Standing::Refused("has expired")),
    ] {
        assert_eq!(material.standing(now), standing, "{now}");
    }
    assert_eq!(material.ends(), "2027-01-01T00:00:00Z");
}
