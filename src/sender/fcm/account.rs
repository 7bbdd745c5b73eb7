//! The service account that sends, read once from the key file Google hands out. Makes no requests.
//!
//! The private key never leaves this module: others get signed assertions.

use std::fmt;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use serde_json::Value;
use url::{Host, Url};

/// Where Google exchanges assertions for access tokens, for a key file that does not say.
const DEFAULT_TOKEN_URI: &str = "https://oauth2.googleapis.com/token";

/// What the access token may be used for: sending messages, and nothing else of the project.
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";

/// How long an assertion is valid, in seconds: the most Google allows
/// ("Using OAuth 2.0 for Server to Server Applications").
const ASSERTION_LIFE: u64 = 3_600;

/// A service account's key file.
#[derive(Clone)]
pub struct ServiceAccount {
    project_id: String,
    client_email: String,
    /// Which of the account's keys signs. Google tries them all when it is not told.
    key_id: Option<String>,
    key: EncodingKey,
    token_uri: Url,
}

/// What is wrong with a key file, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceAccountError {
    /// Not a JSON object.
    #[error("the file is not a JSON object; {REMEDY}")]
    NotJson,
    /// The Android app's configuration.
    #[error("this is google-services.json, which belongs into the Android app and holds no key; {REMEDY}")]
    AppConfiguration,
    /// An OAuth client's identity, which needs a person to log in.
    #[error("this is an OAuth client file (`installed` or `web`), which needs a person to log in; {REMEDY}")]
    OauthClient,
    /// Credentials of another kind.
    #[error("field `type` must be \"service_account\"; {REMEDY}")]
    WrongType,
    /// A field is absent, empty or not a text.
    #[error("field `{0}` is missing, empty or not a text; {REMEDY}")]
    Missing(&'static str),
    /// `project_id` cannot be part of an address.
    #[error(
        "field `project_id` holds characters that no project id has; copy it from the Firebase console, \
         Project settings, General"
    )]
    ProjectId,
    /// `token_uri` cannot be used.
    #[error(
        "field `token_uri` must be an https address (http only for a loopback address); Google's is {DEFAULT_TOKEN_URI}"
    )]
    TokenUri,
    /// `private_key` went through a shell or an environment variable.
    #[error("field `private_key` holds `\\n` as two characters where lines should end; use the key file as downloaded")]
    EscapedKey,
    /// `private_key` is encrypted.
    #[error("field `private_key` is encrypted, which Google's key files never are; {REMEDY}")]
    EncryptedKey,
    /// `private_key` is no private key in PEM.
    #[error("field `private_key` is not a private key in PEM (\"-----BEGIN PRIVATE KEY-----\"); {REMEDY}")]
    UnreadableKey,
    /// `private_key` is of another algorithm.
    #[error("field `private_key` is not an RSA key, the only kind Google takes for service accounts; {REMEDY}")]
    NotRsa,
    /// `private_key` is RSA but signs nothing.
    #[error("field `private_key` cannot sign (RSA keys must have at least 2048 bits); {REMEDY}")]
    UnusableKey,
}

/// What to do about most of it.
const REMEDY: &str = "create a key in the Firebase console, Project settings, Service accounts, \"Generate new private \
                      key\", and use that file unchanged";

/// What the assertion says (RFC 7523).
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    scope: &'static str,
    aud: &'a str,
    iat: u64,
    exp: u64,
}

impl ServiceAccount {
    /// Reads a key file and tries its key once.
    pub fn from_json(json: &[u8]) -> Result<Self, ServiceAccountError> {
        // Some editors put a byte order mark in front, which JSON does not know.
        let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
        let Ok(Value::Object(file)) = serde_json::from_slice(json) else { return Err(ServiceAccountError::NotJson) };
        if file.contains_key("project_info") {
            return Err(ServiceAccountError::AppConfiguration);
        }
        if file.contains_key("installed") || file.contains_key("web") {
            return Err(ServiceAccountError::OauthClient);
        }
        let optional = |name| file.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let required = |name| optional(name).ok_or(ServiceAccountError::Missing(name));
        if required("type")? != "service_account" {
            return Err(ServiceAccountError::WrongType);
        }
        let account = Self {
            project_id: project_id(required("project_id")?)?,
            client_email: required("client_email")?.to_owned(),
            key_id: optional("private_key_id").map(str::to_owned),
            key: signing_key(required("private_key")?)?,
            token_uri: match file.get("token_uri") {
                None => token_uri(DEFAULT_TOKEN_URI)?,
                Some(uri) => token_uri(uri.as_str().unwrap_or_default())?,
            },
        };
        account.assertion(0).ok_or(ServiceAccountError::UnusableKey)?;
        Ok(account)
    }

    /// Whether Google takes both for the same account, proven by the same key.
    pub(in super::super) fn is_same(&self, other: &Self) -> bool {
        self.project_id == other.project_id
            && self.client_email == other.client_email
            && self.key_id == other.key_id
            && self.key.as_bytes() == other.key.as_bytes()
            && self.token_uri == other.token_uri
    }

    /// The project whose apps it sends to.
    pub fn project_id(&self) -> &str {
        &self.project_id
    }

    /// The account's name. Not a secret.
    pub fn client_email(&self) -> &str {
        &self.client_email
    }

    /// Where its assertions are exchanged for access tokens.
    pub fn token_uri(&self) -> &Url {
        &self.token_uri
    }

    /// Asks for an access token in the account's name, signed at `now` (seconds after the Unix epoch). `None` if the
    /// key does not sign, which [`ServiceAccount::from_json`] has ruled out. About a millisecond of RSA, once an hour.
    pub(super) fn assertion(&self, now: u64) -> Option<String> {
        let mut header = Header::new(Algorithm::RS256);
        header.kid.clone_from(&self.key_id);
        let claims = Claims {
            iss: &self.client_email,
            scope: SCOPE,
            aud: self.token_uri.as_str(),
            iat: now,
            exp: now.saturating_add(ASSERTION_LIFE),
        };
        jsonwebtoken::encode(&header, &claims, &self.key).ok()
    }
}

impl fmt::Debug for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccount")
            .field("project_id", &self.project_id)
            .field("client_email", &self.client_email)
            .field("key_id", &self.key_id)
            .field("token_uri", &self.token_uri.as_str())
            .finish_non_exhaustive()
    }
}

/// Whether requests may go there: encrypted, or to this very machine.
pub(super) fn is_safe(url: &Url) -> bool {
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => return false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && loopback)
}

/// It becomes a segment of the address that is posted to, so nothing may end the segment. Besides the usual form
/// (`chat-1a2b3`) there are older ones with a domain (`example.com:chat`).
fn project_id(text: &str) -> Result<String, ServiceAccountError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    let plain = text.bytes().all(allowed) && text.bytes().any(|byte| byte.is_ascii_alphanumeric());
    if plain { Ok(text.to_owned()) } else { Err(ServiceAccountError::ProjectId) }
}

fn token_uri(text: &str) -> Result<Url, ServiceAccountError> {
    Url::parse(text).ok().filter(is_safe).ok_or(ServiceAccountError::TokenUri)
}

fn signing_key(pem: &str) -> Result<EncodingKey, ServiceAccountError> {
    if pem.contains("\\n") {
        return Err(ServiceAccountError::EscapedKey);
    }
    if pem.contains("ENCRYPTED") {
        return Err(ServiceAccountError::EncryptedKey);
    }
    // The reader below would take a public key for an RSA key like any other.
    if !pem.contains("PRIVATE KEY-----") {
        return Err(ServiceAccountError::UnreadableKey);
    }
    EncodingKey::from_rsa_pem(pem.as_bytes()).map_err(|_| {
        let other = EncodingKey::from_ec_pem(pem.as_bytes()).or_else(|_| EncodingKey::from_ed_pem(pem.as_bytes()));
        if other.is_ok() || pem.contains("BEGIN EC PRIVATE KEY") {
            ServiceAccountError::NotRsa
        } else {
            ServiceAccountError::UnreadableKey
        }
    })
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::LazyLock;

    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
    use aws_lc_rs::rsa::{KeyPair, KeySize};
    use aws_lc_rs::signature::KeyPair as _;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use jsonwebtoken::{DecodingKey, Validation};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// One key for all tests: making one takes a while.
    static KEY: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate(KeySize::Rsa2048).unwrap());

    fn private_pem() -> String {
        let der: Pkcs8V1Der<'_> = KEY.as_der().unwrap();
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der.as_ref()))
    }

    /// A key file as Google writes it.
    pub(in crate::sender::fcm) fn key_file(token_uri: &str) -> Value {
        json!({
            "type": "service_account",
            "project_id": "chat-1a2b3",
            "private_key_id": "0123456789abcdef",
            "private_key": private_pem(),
            "client_email": "push@chat-1a2b3.iam.gserviceaccount.com",
            "client_id": "100000000000000000000",
            "auth_uri": "https://accounts.google.com/o/oauth2/auth",
            "token_uri": token_uri,
            "universe_domain": "googleapis.com",
        })
    }

    /// Checks an assertion as Google does and hands its header and claims back.
    pub(in crate::sender::fcm) fn verified(assertion: &str) -> (Header, Value) {
        let spki: PublicKeyX509Der<'_> = KEY.public_key().as_der().unwrap();
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(spki.as_ref()));
        let mut validation = Validation::new(Algorithm::RS256);
        validation.validate_exp = false;
        validation.validate_aud = false;
        let token =
            jsonwebtoken::decode::<Value>(assertion, &DecodingKey::from_rsa_pem(pem.as_bytes()).unwrap(), &validation)
                .unwrap();
        (token.header, token.claims)
    }

    fn read(file: &Value) -> Result<ServiceAccount, ServiceAccountError> {
        ServiceAccount::from_json(file.to_string().as_bytes())
    }

    fn with(field: &str, value: &Value) -> Result<ServiceAccount, ServiceAccountError> {
        let mut file = key_file(DEFAULT_TOKEN_URI);
        file[field] = value.clone();
        read(&file)
    }

    fn without(field: &str) -> Result<ServiceAccount, ServiceAccountError> {
        let mut file = key_file(DEFAULT_TOKEN_URI);
        file.as_object_mut().unwrap().remove(field).unwrap();
        read(&file)
    }

    #[test]
    fn a_key_file_as_google_writes_it_is_read() {
        let account = read(&key_file("https://oauth.example/token")).unwrap();
        assert_eq!(account.project_id(), "chat-1a2b3");
        assert_eq!(account.client_email(), "push@chat-1a2b3.iam.gserviceaccount.com");
        assert_eq!(account.token_uri().as_str(), "https://oauth.example/token");
    }

    #[test]
    fn the_assertion_carries_what_google_asks_for_and_the_key_has_signed_it() {
        let account = read(&key_file("https://oauth.example/token")).unwrap();
        let (header, claims) = verified(&account.assertion(1_700_000_000).unwrap());
        assert_eq!(header.kid.as_deref(), Some("0123456789abcdef"));
        assert_eq!(
            claims,
            json!({
                "iss": "push@chat-1a2b3.iam.gserviceaccount.com",
                "scope": "https://www.googleapis.com/auth/firebase.messaging",
                "aud": "https://oauth.example/token",
                "iat": 1_700_000_000,
                "exp": 1_700_003_600,
            })
        );
    }

    #[test]
    fn a_missing_token_uri_is_googles_and_a_missing_key_id_is_left_out() {
        assert_eq!(without("token_uri").unwrap().token_uri().as_str(), DEFAULT_TOKEN_URI);
        let (header, _) = verified(&without("private_key_id").unwrap().assertion(1).unwrap());
        assert_eq!(header.kid, None);
    }

    #[test]
    fn a_missing_field_is_named() {
        for field in ["type", "project_id", "client_email", "private_key"] {
            assert_eq!(without(field).unwrap_err(), ServiceAccountError::Missing(field));
            assert_eq!(with(field, &json!("")).unwrap_err(), ServiceAccountError::Missing(field));
            assert_eq!(with(field, &json!(7)).unwrap_err(), ServiceAccountError::Missing(field));
            assert!(without(field).unwrap_err().to_string().contains(field));
        }
    }

    #[test]
    fn other_files_of_google_are_recognised() {
        let cases = [
            (json!({"project_info": {"project_id": "x"}, "client": []}), ServiceAccountError::AppConfiguration),
            (json!({"installed": {"client_id": "x"}}), ServiceAccountError::OauthClient),
            (json!({"web": {"client_id": "x"}}), ServiceAccountError::OauthClient),
            (json!({"type": "authorized_user", "refresh_token": "x"}), ServiceAccountError::WrongType),
            (json!([]), ServiceAccountError::NotJson),
        ];
        for (file, error) in cases {
            assert_eq!(read(&file).unwrap_err(), error, "{file}");
        }
        for text in [&b""[..], b"AAAAserver-key", b"-----BEGIN PRIVATE KEY-----", b"\xff\xfe"] {
            assert_eq!(ServiceAccount::from_json(text).unwrap_err(), ServiceAccountError::NotJson);
        }
    }

    #[test]
    fn a_byte_order_mark_does_no_harm() {
        let file = format!("\u{feff}{}", key_file(DEFAULT_TOKEN_URI));
        assert!(ServiceAccount::from_json(file.as_bytes()).is_ok());
    }

    #[test]
    fn a_key_that_google_would_not_take_is_told_apart_by_its_defect() {
        let elliptic = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let edwards = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
        let small = STANDARD.encode(rsa_outline());
        let cases = [
            (elliptic, ServiceAccountError::NotRsa),
            (edwards, ServiceAccountError::NotRsa),
            (private_pem().replace('\n', "\\n"), ServiceAccountError::EscapedKey),
            (private_pem().replace("PRIVATE", "ENCRYPTED PRIVATE"), ServiceAccountError::EncryptedKey),
            (private_pem().replace("PRIVATE", "PUBLIC"), ServiceAccountError::UnreadableKey),
            (private_pem().replace("MII", "MMM"), ServiceAccountError::UnreadableKey),
            ("canary".to_owned(), ServiceAccountError::UnreadableKey),
            (
                format!("-----BEGIN RSA PRIVATE KEY-----\n{small}\n-----END RSA PRIVATE KEY-----\n"),
                ServiceAccountError::UnusableKey,
            ),
        ];
        for (pem, error) in cases {
            assert_eq!(with("private_key", &json!(pem)).unwrap_err(), error);
        }
    }

    /// DER that has the outline of an RSA key and none of the numbers.
    fn rsa_outline() -> Vec<u8> {
        vec![0x30, 0x06, 0x02, 0x01, 0x00, 0x02, 0x01, 0x03]
    }

    #[test]
    fn a_project_id_cannot_lead_elsewhere() {
        for id in ["chat", "example.com:chat", "chat_1.2-3"] {
            assert!(with("project_id", &json!(id)).is_ok(), "{id}");
        }
        for id in ["../v2", "a/b", "a?b", "a#b", "a b", "a%2fb", "..", "a\nb", "ä"] {
            assert_eq!(with("project_id", &json!(id)).unwrap_err(), ServiceAccountError::ProjectId, "{id}");
        }
    }

    #[test]
    fn assertions_travel_encrypted_unless_they_stay_on_this_machine() {
        for uri in ["https://oauth.example/token", "http://127.0.0.1:1/t", "http://[::1]:1/t", "http://localhost/t"] {
            assert!(with("token_uri", &json!(uri)).is_ok(), "{uri}");
        }
        let refused =
            [json!("http://oauth.example/token"), json!("ftp://127.0.0.1/"), json!("token"), json!(""), json!(1)];
        for uri in refused {
            assert_eq!(with("token_uri", &uri).unwrap_err(), ServiceAccountError::TokenUri, "{uri}");
        }
    }

    #[test]
    fn a_debug_print_shows_no_key() {
        let account = read(&key_file(DEFAULT_TOKEN_URI)).unwrap();
        let printed = format!("{account:?}");
        assert!(printed.contains("chat-1a2b3"));
        let Value::String(pem) = &key_file(DEFAULT_TOKEN_URI)["private_key"] else { panic!("a text") };
        let middle = &pem[200..230];
        assert!(!printed.contains(middle) && !printed.contains("PRIVATE"), "{printed}");
    }

    proptest! {
        #[test]
        fn no_file_makes_it_panic(file in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = ServiceAccount::from_json(&file);
        }

        #[test]
        fn no_private_key_text_makes_it_panic_and_none_is_quoted(text in "[a-zA-Z0-9+/=]{24,80}") {
            let pem = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
            let error = with("private_key", &json!(pem)).unwrap_err();
            prop_assert!(!error.to_string().contains(&text));
        }
    }
}
