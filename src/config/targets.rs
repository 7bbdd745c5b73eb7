//! `[[target]]`: one app at one provider, with its credentials read from their files.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::credentials::{self, TargetReading};
use super::document::Document;
use super::finding::{Finding, Findings, quote};
use super::keys;
use super::values::Values;
use crate::notification::{Compatibility, Platform, TargetName};
use crate::sender::apns::ApnsSettings;
use crate::sender::apns::credential::{ClientCertificate, Credential, SigningKey};
use crate::sender::fcm::{FcmSettings, ServiceAccount};
use crate::sender::network::NetworkSettings;
use crate::sender::{LeftOut, ProviderSettings, TargetSettings};

/// The longest name, bytes: names are labels of metrics and parts of log lines.
const LONGEST_NAME: usize = 64;

/// The remedy of an error that names it itself, as those of credential files do.
const SAID: &str = "";

/// Builds one target. `None` if anything about it is wrong; what, is among the findings then.
fn target(values: &Values<'_>, compatibility: Compatibility, findings: &mut Findings) -> Option<TargetSettings> {
    let name = name(values, findings);
    let network = network(values, findings);
    let provider = match values.text("provider") {
        Some("apns") => apns(values, findings),
        Some("fcm") => fcm(values, findings),
        _ => None,
    };
    Some(TargetSettings { name: name?, compatibility, network: network?, provider: provider? })
}

/// Builds every target. One of the reference's that cannot be used is left out and the others serve, as there; of ours,
/// it is a problem like any other.
pub(super) fn all(
    document: &Document,
    directory: &Path,
    compatibility: Compatibility,
    findings: &mut Findings,
) -> (Vec<TargetSettings>, Vec<LeftOut>) {
    let (mut targets, mut left_out) = (Vec::new(), Vec::new());
    for section in document.sections(&keys::TARGET) {
        if !document.is_reference {
            targets.extend(target(&Values::check(section, directory, findings), compatibility, findings));
            continue;
        }
        let mut own = Findings::default();
        let built = target(&Values::check(section, directory, &mut own), compatibility, &mut own);
        match own.finish() {
            Ok(warnings) => {
                targets.extend(built);
                findings.add_warnings(warnings);
            }
            Err(problems) => left_out.push(LeftOut {
                name: TargetName::new(section.text("name").unwrap_or(&section.path(""))),
                platform: if section.text("provider") == Some("apns") { Platform::Apple } else { Platform::Android },
                problem: problems.list().iter().map(Finding::on_one_line).collect::<Vec<_>>().join("; "),
            }),
        }
    }
    (targets, left_out)
}

/// Every target by itself, to see what its credential is now. The relay that runs has everything else from its start.
pub(super) fn each(document: &Document, directory: &Path) -> Vec<TargetReading> {
    let read = |section| {
        let mut findings = Findings::default();
        let values = Values::check(section, directory, &mut findings);
        let built = target(&values, Compatibility::Improved, &mut findings);
        TargetReading {
            name: TargetName::new(section.text("name").unwrap_or_default()),
            files: values.named_files(&credentials::FILES),
            settings: findings.finish().map(|_warnings| built.expect("whoever builds nothing reports why")),
        }
    };
    document.sections(&keys::TARGET).map(read).collect()
}

fn name(values: &Values<'_>, findings: &mut Findings) -> Option<TargetName> {
    let name = values.text("name")?;
    let (what, remedy) = if name.len() > LONGEST_NAME {
        ("is longer than 64 bytes".to_owned(), "choose a shorter name; chat servers send it as `platform`")
    } else if name.contains(|c: char| c.is_whitespace() || c.is_control() || c == ':') {
        (format!("{} holds a space, a control character or a colon", quote(name)), "write it as chat servers send it")
    } else if name.contains("-v") {
        // Chat servers send `apple_rn-v2` for version 2 of `apple_rn`.
        (
            format!(
                "{} can never be reached: names end at the first `-v`, where the app's version begins",
                quote(name)
            ),
            "leave the version out, as in apple_rn",
        )
    } else {
        return Some(TargetName::new(name));
    };
    values.problem(findings, "name", what, remedy);
    None
}

fn network(values: &Values<'_>, findings: &mut Findings) -> Option<NetworkSettings> {
    let endpoint = values.endpoint("endpoint").cloned();
    if endpoint.is_some() {
        for name in ["sandbox", "port"].into_iter().filter(|name| values.was_given(name)) {
            let what = "cannot be combined with endpoint, which says host and port already";
            values.problem(findings, name, what, "keep one of them");
        }
        let what = "takes the place of the provider's own address: notifications go there";
        values.warning(findings, "endpoint", what, "take it out unless this is a test or a gateway of yours");
    }
    let extra_authorities = match values.text("ca_file") {
        None => Some(Vec::new()),
        Some(_) => values.file("ca_file", findings).and_then(|pem| authorities(values, &pem, findings)),
    };
    Some(NetworkSettings {
        endpoint,
        extra_authorities: extra_authorities?,
        proxy: values.proxy("proxy"),
        connections: values.number("connections"),
        connect_timeout: values.duration("connect_timeout"),
    })
}

fn authorities(values: &Values<'_>, pem: &[u8], findings: &mut Findings) -> Option<Vec<CertificateDer<'static>>> {
    match CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>() {
        Ok(certificates) if !certificates.is_empty() => Some(certificates),
        _ => {
            let what = "names a file without readable certificates";
            values.problem(findings, "ca_file", what, "save the authority as PEM, `-----BEGIN CERTIFICATE-----`");
            None
        }
    }
}

fn apns(values: &Values<'_>, findings: &mut Findings) -> Option<ProviderSettings> {
    let topic = values.text("topic").filter(|topic| {
        let voip = topic.rsplit('.').next() == Some("voip");
        if voip {
            values.problem(
                findings,
                "topic",
                "ends in .voip",
                "write the app's bundle id; the relay adds .voip to calls",
            );
        }
        !voip
    });
    let credential = credential(values, findings);
    let sandbox = values.flag("sandbox");
    if sandbox {
        let what = "reaches only builds that were installed from Xcode";
        values.warning(findings, "sandbox", what, "take it out for apps from the App Store or TestFlight");
    }
    Some(ProviderSettings::Apns(ApnsSettings {
        topic: topic?.to_owned(),
        sandbox,
        port: values.number("port"),
        credential: credential?,
    }))
}

/// A key or a certificate, never both: Apple takes what the connection offers first, and the other would seem to work.
fn credential(values: &Values<'_>, findings: &mut Findings) -> Option<Credential> {
    let given = |names: &[&'static str]| names.iter().copied().find(|name| values.was_given(name));
    let of_key = given(&["key_file", "key_id", "team_id"]);
    let of_certificate = given(&["certificate_file", "certificate_password", "certificate_password_file"]);
    match (of_key, of_certificate) {
        (Some(key), Some(certificate)) => {
            let what = format!("cannot be combined with {key}: a target has a key or a certificate");
            let remedy = "keep key_file, key_id and team_id, or certificate_file and certificate_password";
            values.problem(findings, certificate, what, remedy);
            None
        }
        (None, None) => {
            let what = "has neither a key nor a certificate";
            let remedy = values.in_words(
                "add key_file, key_id and team_id (the .p8 key that Apple let you download), or certificate_file",
                "give AppleAuthKeyFile, AppleAuthKeyID and AppleTeamID, or ApplePushCertPrivate",
            );
            values.problem(findings, "", what, remedy);
            None
        }
        (Some(_), None) => signing_key(values, findings).map(Credential::Key),
        (None, Some(_)) => certificate(values, findings).map(Credential::Certificate),
    }
}

fn signing_key(values: &Values<'_>, findings: &mut Findings) -> Option<SigningKey> {
    for (name, remedy) in [
        ("key_file", "the path of the .p8 file that Apple let you download"),
        ("key_id", "the ten characters in the key's file name, AuthKey_<key id>.p8"),
        ("team_id", "the ten characters that Apple shows as Team ID under Membership"),
    ] {
        if !values.was_given(name) {
            let what = values.in_words(
                "is missing: key_file, key_id and team_id belong together",
                "is missing: AppleAuthKeyFile, AppleAuthKeyID and AppleTeamID belong together",
            );
            values.problem(findings, name, what, values.how_to_give(name, remedy));
        }
    }
    let pem = values.file("key_file", findings);
    let (key_id, team_id) = (values.text("key_id"), values.text("team_id"));
    match SigningKey::from_p8(&pem?, key_id?, team_id?) {
        Ok(key) => Some(key),
        Err(error) => {
            values.problem(findings, "key_file", error.to_string(), SAID);
            None
        }
    }
}

fn certificate(values: &Values<'_>, findings: &mut Findings) -> Option<ClientCertificate> {
    if !values.was_given("certificate_file") {
        let what = "is missing: a password alone is no certificate";
        let remedy = values.how_to_give("certificate_file", "the path of the certificate");
        values.problem(findings, "certificate_file", what, remedy);
    }
    let content = values.file("certificate_file", findings)?;
    if values.is_wrong("certificate_password") {
        return None;
    }
    let password = values.secret("certificate_password");
    // By content, not by name: PEM says so in its first lines, PKCS#12 is binary.
    let is_pem = content.windows(10).any(|window| window == b"-----BEGIN");
    let read = if is_pem { ClientCertificate::from_pem } else { ClientCertificate::from_p12 };
    match read(&content, password) {
        Ok(certificate) => Some(certificate),
        Err(error) => {
            values.problem(findings, "certificate_file", error.to_string(), SAID);
            None
        }
    }
}

fn fcm(values: &Values<'_>, findings: &mut Findings) -> Option<ProviderSettings> {
    let json = values.file("service_account_file", findings)?;
    match ServiceAccount::from_json(&json) {
        Ok(account) => Some(ProviderSettings::Fcm(FcmSettings { account })),
        Err(error) => {
            values.problem(findings, "service_account_file", error.to_string(), SAID);
            None
        }
    }
}
