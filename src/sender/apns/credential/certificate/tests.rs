use super::*;

/// What encrypts the fixtures that are encrypted.
const PASSWORD: &str = "correct horse";

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/fixtures/apns/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[allow(clippy::unnecessary_wraps, reason = "as the functions under test take it")]
fn password(text: &str) -> Option<Private> {
    Some(Private::new(text))
}

fn pem(name: &str, password: Option<&Private>) -> Result<ClientCertificate, CredentialError> {
    ClientCertificate::from_pem(&fixture(name), password)
}

#[test]
fn every_form_that_openssl_writes_is_read() {
    for name in ["sec1.pem", "pkcs1.pem", "pkcs8.pem", "leaf-second.pem"] {
        pem(name, None).unwrap_or_else(|error| panic!("{name}: {error}"));
        pem(name, password("not needed").as_ref()).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    for name in [
        "pbes2-aes256.pem",
        "pbes2-3des-sha1.pem",
        "legacy-aes128.pem",
        "legacy-aes256.pem",
        "legacy-des3.pem",
        "legacy-ec-aes192.pem",
    ] {
        pem(name, password(PASSWORD).as_ref()).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn a_wrong_and_a_missing_password_are_told_apart() {
    for name in
        ["pbes2-aes256.pem", "pbes2-3des-sha1.pem", "legacy-aes256.pem", "legacy-des3.pem", "legacy-ec-aes192.pem"]
    {
        let error = pem(name, password("incorrect horse").as_ref()).unwrap_err().to_string();
        assert!(error.contains("password is wrong"), "{name}: {error}");
        for missing in [None, password("")] {
            let error = pem(name, missing.as_ref()).unwrap_err().to_string();
            assert!(error.contains("no password is configured"), "{name}: {error}");
        }
    }
}

#[test]
fn what_cannot_be_used_says_why() {
    let key_only = crate::sender::apns::credential::test_keys::p8();
    let certificate_only = rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap().cert.pem();
    let two_keys = [fixture("sec1.pem"), key_only.clone().into_bytes()].concat();
    let cases = [
        (Vec::new(), "empty"),
        (fixture("modern.p12"), "not a PEM file"),
        (key_only.into_bytes(), "no certificate"),
        (certificate_only.into_bytes(), "no private key"),
        (two_keys, "more than one private key"),
        (fixture("mismatch.pem"), "do not belong together"),
    ];
    for (file, expected) in cases {
        let error = ClientCertificate::from_pem(&file, None).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let error = pem("pbes1.pem", password(PASSWORD).as_ref()).unwrap_err().to_string();
    assert!(error.contains("not supported") && error.contains("openssl pkcs8"), "{error}");
}

#[test]
fn of_several_certificates_of_one_key_the_newest_that_is_valid_is_shown() {
    let key = rcgen::KeyPair::generate().unwrap();
    let issued = |from: i32, to: i32| {
        let mut parameters = rcgen::CertificateParams::new(["push".to_owned()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(from, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(to, 1, 1);
        parameters.self_signed(&key).unwrap().pem()
    };
    let (ended, valid, future) = (issued(2001, 2002), issued(2010, 2999), issued(3000, 3001));
    for order in [[&ended, &valid, &future], [&future, &ended, &valid], [&valid, &future, &ended]] {
        let file = order.map(String::as_str).concat() + &key.serialize_pem();
        let certificate = ClientCertificate::from_pem(file.as_bytes(), None).unwrap();
        assert!(format!("{certificate:?}").contains("valid from 2010-01-01"), "{certificate:?}");
    }
    let only_old = ended.clone() + &issued(2001, 2003) + &key.serialize_pem();
    let certificate = ClientCertificate::from_pem(only_old.as_bytes(), None).unwrap();
    assert!(format!("{certificate:?}").contains("to 2003-01-01"), "{certificate:?}");
}

#[test]
fn a_certificate_of_version_1_is_told_so_and_not_that_it_does_not_fit() {
    let error = pem("x509-v1.pem", None).unwrap_err().to_string();
    assert!(error.contains("X.509 version 1"), "{error}");
}

#[test]
fn the_certificate_of_the_key_leads_the_chain_wherever_it_stood_in_the_file() {
    let chain = &pem("leaf-second.pem", None).unwrap().certified.cert;
    let leaf = &pem("pkcs1.pem", None).unwrap().certified.cert[0];
    assert_eq!(chain.len(), 2);
    assert_eq!(&chain[0], leaf);
}

fn made(from: (i32, u8, u8), to: (i32, u8, u8)) -> ClientCertificate {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(["push".to_owned()]).unwrap();
    parameters.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
    parameters.not_after = rcgen::date_time_ymd(to.0, to.1, to.2);
    let certificate = parameters.self_signed(&key).unwrap().pem();
    ClientCertificate::from_pem(format!("{certificate}{}", key.serialize_pem()).as_bytes(), None).unwrap()
}

#[test]
fn a_certificate_out_of_its_time_is_a_problem_with_a_date_and_a_remedy() {
    let certificate = made((2026, 1, 1), (2027, 1, 1));
    assert_eq!(certificate.expires_at(), 1_798_761_600);
    assert_eq!(certificate.problem(1_798_761_600), None);
    let expired = certificate.problem(1_798_761_601).unwrap();
    assert!(expired.contains("expired on 2027-01-01T00:00:00Z") && expired.contains("create a new one"), "{expired}");
    let early = certificate.problem(1_700_000_000).unwrap();
    assert!(early.contains("2026-01-01T00:00:00Z") && early.contains("clock"), "{early}");
}

#[test]
fn a_debug_print_shows_the_dates_and_no_key() {
    let printed = format!("{:?}", made((2026, 1, 1), (2027, 1, 1)));
    assert_eq!(
        printed,
        "ClientCertificate(1 in chain, valid from 2026-01-01T00:00:00Z to 2027-01-01T00:00:00Z, key: [private])"
    );
}

#[cfg(feature = "p12")]
#[test]
fn pkcs12_is_read_in_its_modern_and_its_older_forms() {
    for name in ["modern.p12", "legacy-rc2.p12", "legacy-3des.p12"] {
        let file = fixture(name);
        ClientCertificate::from_p12(&file, password(PASSWORD).as_ref())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let error = ClientCertificate::from_p12(&file, password("wrong").as_ref()).unwrap_err().to_string();
        assert!(error.contains("password is wrong"), "{name}: {error}");
        let error = ClientCertificate::from_p12(&file, None).unwrap_err().to_string();
        assert!(error.contains("no password is configured"), "{name}: {error}");
    }
    ClientCertificate::from_p12(&fixture("empty-password.p12"), None).unwrap();
    pem("wrapped.p12", password(PASSWORD).as_ref()).unwrap();
}

#[cfg(feature = "p12")]
#[test]
fn a_pkcs12_file_that_cannot_be_used_says_why() {
    let cases = [
        (Vec::new(), "empty"),
        (fixture("no-key.p12"), "no private key"),
        (fixture("sec1.pem"), "not a PKCS#12 file"),
        (fixture("modern.p12")[..500].to_vec(), "damaged"),
        ([&[0x30, 0x80][..], &fixture("modern.p12")[4..], &[0, 0]].concat(), "BER with indefinite lengths"),
    ];
    for (file, expected) in cases {
        let error = ClientCertificate::from_p12(&file, password(PASSWORD).as_ref()).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[cfg(not(feature = "p12"))]
#[test]
fn without_the_feature_pkcs12_says_how_to_convert_it() {
    let error = ClientCertificate::from_p12(&fixture("modern.p12"), None).unwrap_err().to_string();
    assert!(error.contains("openssl pkcs12"), "{error}");
}

proptest::proptest! {
    #[test]
    fn no_file_whatever_panics(file: Vec<u8>, damage in 0_usize..3_000, byte: u8) {
        let _ = ClientCertificate::from_pem(&file, None);
        let _ = ClientCertificate::from_p12(&file, None);
        let mut file = fixture("legacy-ec-aes192.pem");
        let at = damage % file.len();
        file[at] = byte;
        let _ = ClientCertificate::from_pem(&file, password(PASSWORD).as_ref());
    }
}
