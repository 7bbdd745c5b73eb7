//! The header: which algorithm it names, what else it says, and how it is written.
//!
//! Parameters that name a key (`kid`, `jku`, `jwk`, `x5u`, `x5c`) are the sender's word and are passed over, as RFC 7515
//! § 4.1 allows: which key counts is decided by the registered server alone, and nothing is ever fetched.

use pushrelay::admission::signing::SigningKey;

use super::forge::{base64url, sign};
use super::{ALGORITHM, Case, Expected, KEY, MALFORMED, header, signature};
use Expected::Sent;

pub fn cases() -> Vec<Case> {
    [names(), confusions(), parameters(), spellings()].into_iter().flatten().collect()
}

/// Rightly signed with ES256, and said to be something else.
fn names() -> Vec<Case> {
    vec![
        header("alg none", r#"{"alg":"none"}"#, ALGORITHM),
        header("alg None", r#"{"alg":"None"}"#, ALGORITHM),
        header("alg NONE", r#"{"alg":"NONE"}"#, ALGORITHM),
        header("alg nOnE", r#"{"alg":"nOnE"}"#, ALGORITHM),
        header("alg HS256", r#"{"alg":"HS256"}"#, ALGORITHM),
        header("alg HS512", r#"{"alg":"HS512"}"#, ALGORITHM),
        header("alg RS256", r#"{"alg":"RS256"}"#, ALGORITHM),
        header("alg PS256", r#"{"alg":"PS256"}"#, ALGORITHM),
        header("alg ES384", r#"{"alg":"ES384"}"#, ALGORITHM),
        header("alg ES512", r#"{"alg":"ES512"}"#, ALGORITHM),
        header("alg ES256K", r#"{"alg":"ES256K"}"#, ALGORITHM),
        header("alg EdDSA", r#"{"alg":"EdDSA"}"#, ALGORITHM),
        header("alg ESP256, its name of RFC 9864, which Mattermost does not use", r#"{"alg":"ESP256"}"#, ALGORITHM),
        header("alg es256", r#"{"alg":"es256"}"#, ALGORITHM),
        header("alg Es256", r#"{"alg":"Es256"}"#, ALGORITHM),
        header("alg with a space behind it", r#"{"alg":"ES256 "}"#, ALGORITHM),
        header("alg with a NUL behind it", r#"{"alg":"ES256\u0000"}"#, ALGORITHM),
        header("alg with a full-width letter", "{\"alg\":\"\u{ff25}S256\"}", ALGORITHM),
        header("an empty alg", r#"{"alg":""}"#, ALGORITHM),
        header("a curve for an alg", r#"{"alg":"P-256"}"#, ALGORITHM),
        header("no alg", r#"{"typ":"JWT"}"#, MALFORMED),
        header("an empty header object", "{}", MALFORMED),
        header("alg null", r#"{"alg":null}"#, MALFORMED),
        header("alg a number", r#"{"alg":256}"#, MALFORMED),
        header("alg a list", r#"{"alg":["ES256"]}"#, MALFORMED),
        header("alg an object", r#"{"alg":{"ES256":true}}"#, MALFORMED),
        header("ALG in capitals", r#"{"ALG":"ES256"}"#, MALFORMED),
        header("alg with a space in its name", r#"{"alg ":"ES256"}"#, MALFORMED),
    ]
}

/// Signed by what the header says, with what a stranger knows.
fn confusions() -> Vec<Case> {
    vec![
        signature(
            "alg none without a signature",
            |f| format!("{}.{}.", base64url(r#"{"alg":"none"}"#), base64url(f.claims())),
            ALGORITHM,
        ),
        signature("HS256 with the public key's base64", |f| f.hmac(f.key.public_base64().as_bytes()), ALGORITHM),
        signature("HS256 with the public key's DER", |f| f.hmac(f.key.verifying_key().spki_der()), ALGORITHM),
        signature("HS256 with the public key's point", |f| f.hmac(&f.key.verifying_key().spki_der()[26..]), ALGORITHM),
        signature(
            "HS256 with the public key's PEM",
            |f| {
                let base64 = f.key.public_base64();
                f.hmac(format!("-----BEGIN PUBLIC KEY-----\n{base64}\n-----END PUBLIC KEY-----\n").as_bytes())
            },
            ALGORITHM,
        ),
        signature("HS256 with an empty secret", |f| f.hmac(b""), ALGORITHM),
    ]
}

/// What else a header says.
fn parameters() -> Vec<Case> {
    vec![
        header("the header of Mattermost", super::forge::HEADER, Sent),
        header("no typ", r#"{"alg":"ES256"}"#, Sent),
        header("typ of another kind", r#"{"alg":"ES256","typ":"at+jwt"}"#, Sent),
        header("typ a number", r#"{"alg":"ES256","typ":1}"#, Sent),
        header("alg behind typ", r#"{"typ":"JWT","alg":"ES256"}"#, Sent),
        header("alg with an escape in its value", r#"{"alg":"ES25\u0036"}"#, Sent),
        header("alg with an escape in its name", r#"{"\u0061lg":"ES256"}"#, Sent),
        header("white space in the header", "\n{ \"alg\" :\t\"ES256\" }\r\n", Sent),
        header("a kid", r#"{"alg":"ES256","kid":"1"}"#, Sent),
        header("a kid that is a path", r#"{"alg":"ES256","kid":"../../../../dev/null"}"#, Sent),
        header("a kid that is a query", r#"{"alg":"ES256","kid":"' OR 1=1 --"}"#, Sent),
        header("kid twice", r#"{"alg":"ES256","kid":"1","kid":"2"}"#, Sent),
        header("a jku", r#"{"alg":"ES256","jku":"https://127.0.0.1:1/keys"}"#, Sent),
        header("an x5u", r#"{"alg":"ES256","x5u":"https://127.0.0.1:1/chain"}"#, Sent),
        header("a nested parameter", r#"{"alg":"ES256","x":{"alg":"none","crit":["exp"]}}"#, Sent),
        header("ALG beside alg", r#"{"alg":"ES256","ALG":"none"}"#, Sent),
        // RFC 7797 § 6: `b64` counts only if `crit` names it.
        header("b64 that is not critical", r#"{"alg":"ES256","b64":false}"#, Sent),
        signature(
            "a stranger's jwk",
            |f| {
                let stranger = SigningKey::generate();
                let point = stranger.verifying_key().spki_der()[27..].to_vec();
                let (x, y) = (base64url(&point[..32]), base64url(&point[32..]));
                let jwk = format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}"#);
                let header = format!(r#"{{"alg":"ES256","jwk":{jwk}}}"#);
                sign(&stranger, &super::forge::joined(header, f.claims()))
            },
            KEY,
        ),
        signature(
            "a stranger's key named by the right kid",
            |f| {
                let header = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, f.key.verifying_key().fingerprint());
                sign(&SigningKey::generate(), &super::forge::joined(header, f.claims()))
            },
            KEY,
        ),
        header("a critical b64", r#"{"alg":"ES256","crit":["b64"],"b64":false}"#, ALGORITHM),
        header("a critical exp", r#"{"alg":"ES256","crit":["exp"],"exp":4102444800}"#, ALGORITHM),
        header("an unknown critical extension", r#"{"alg":"ES256","crit":["x"],"x":1}"#, ALGORITHM),
        header("an empty crit", r#"{"alg":"ES256","crit":[]}"#, ALGORITHM),
        header("a crit that is no list", r#"{"alg":"ES256","crit":"b64"}"#, ALGORITHM),
        header("a crit of null", r#"{"alg":"ES256","crit":null}"#, ALGORITHM),
        header("a crit with an escape in its name", r#"{"alg":"ES256","cri\u0074":["b64"]}"#, ALGORITHM),
    ]
}

/// How a header is written.
fn spellings() -> Vec<Case> {
    vec![
        header("alg twice, the right one first", r#"{"alg":"ES256","alg":"none"}"#, MALFORMED),
        header("alg twice, the right one last", r#"{"alg":"none","alg":"ES256"}"#, MALFORMED),
        header("alg twice, both right", r#"{"alg":"ES256","alg":"ES256"}"#, MALFORMED),
        header("alg twice, once with an escape", r#"{"alg":"none","\u0061lg":"ES256"}"#, MALFORMED),
        header("crit twice", r#"{"alg":"ES256","crit":null,"crit":["b64"]}"#, MALFORMED),
        header("a header that is a list", r#"["ES256",null]"#, MALFORMED),
        header("a header that is a text", r#""ES256""#, MALFORMED),
        header("a header that is null", "null", MALFORMED),
        header("a header that is no JSON", "ES256", MALFORMED),
        header("a header that is cut off", r#"{"alg":"ES256""#, MALFORMED),
        header("a header with a second object behind it", r#"{"alg":"ES256"}{"alg":"none"}"#, MALFORMED),
        header("a header with a comma too many", r#"{"alg":"ES256",}"#, MALFORMED),
        header("a header with a comment", r#"{"alg":"ES256"/**/}"#, MALFORMED),
        header("a header in single quotes", "{'alg':'ES256'}", MALFORMED),
        header("a header behind a byte order mark", "\u{feff}{\"alg\":\"ES256\"}", MALFORMED),
        header("a header with a NUL behind it", "{\"alg\":\"ES256\"}\0", MALFORMED),
        signature(
            "invalid UTF-8 in a parameter that is not known",
            |f| f.signed(b"{\"alg\":\"ES256\",\"x\":\"\xff\"}", f.claims()),
            MALFORMED,
        ),
        signature("invalid UTF-8 in alg", |f| f.signed(b"{\"alg\":\"ES256\xff\"}", f.claims()), MALFORMED),
        signature(
            "a header in UTF-16",
            |f| {
                f.signed(r#"{"alg":"ES256"}"#.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>(), f.claims())
            },
            MALFORMED,
        ),
        signature(
            "a deeply nested parameter",
            |f| {
                let nested = format!("{}{}", "[".repeat(500), "]".repeat(500));
                f.signed(format!(r#"{{"alg":"ES256","x":{nested}}}"#), f.claims())
            },
            Sent,
        ),
        signature(
            "a nesting that never closes",
            |f| f.signed(format!(r#"{{"alg":"ES256","x":{}"#, "[".repeat(4_000)), f.claims()),
            MALFORMED,
        ),
        signature(
            "a header of 20,000 bytes",
            |f| f.signed(format!(r#"{{"alg":"ES256","x":"{}"}}"#, "x".repeat(20_000)), f.claims()),
            MALFORMED,
        ),
    ]
}
