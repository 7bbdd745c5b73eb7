//! What is claimed: which push, which device, and when it counts. Claims that are not known are passed over (RFC 7519 § 4):
//! Mattermost adds one with the user's id to some pushes.

use super::forge::{CLAIMS, HEADER, NOW};
use super::{ACK_ID, Case, DEVICE_ID, Expected, MALFORMED, TIME, claims, signature};
use Expected::Sent;

pub fn cases() -> Vec<Case> {
    [other_pushes(), types(), spellings(), unknown(), times()].into_iter().flatten().collect()
}

/// Rightly signed, for something else.
fn other_pushes() -> Vec<Case> {
    vec![
        claims("the claims of Mattermost", CLAIMS, Sent),
        claims("the device first", r#"{"device_id":"DEVICE","ack_id":"ACK"}"#, Sent),
        claims("another push", r#"{"ack_id":"another","device_id":"DEVICE"}"#, ACK_ID),
        claims("another device", r#"{"ack_id":"ACK","device_id":"another"}"#, DEVICE_ID),
        claims("another push to another device", r#"{"ack_id":"another","device_id":"another"}"#, ACK_ID),
        claims("the two swapped", r#"{"ack_id":"DEVICE","device_id":"ACK"}"#, ACK_ID),
        claims("an empty ack_id", r#"{"ack_id":"","device_id":"DEVICE"}"#, ACK_ID),
        claims("an empty device_id", r#"{"ack_id":"ACK","device_id":""}"#, DEVICE_ID),
        claims("any push", r#"{"ack_id":"*","device_id":"DEVICE"}"#, ACK_ID),
        claims("any device", r#"{"ack_id":"ACK","device_id":"*"}"#, DEVICE_ID),
        claims("an ack_id with a space behind it", r#"{"ack_id":"ACK ","device_id":"DEVICE"}"#, ACK_ID),
        claims("an ack_id with a NUL behind it", r#"{"ack_id":"ACK\u0000","device_id":"DEVICE"}"#, ACK_ID),
        claims("a device with its platform before it", r#"{"ack_id":"ACK","device_id":"apple_rn:DEVICE"}"#, DEVICE_ID),
        signature("an ack_id in capitals", |f| changed(f, str::to_uppercase, str::to_owned), ACK_ID),
        signature("a device in capitals", |f| changed(f, str::to_owned, str::to_uppercase), DEVICE_ID),
        signature("the beginning of an ack_id", |f| changed(f, |id| id[..3].to_owned(), str::to_owned), ACK_ID),
        signature("the beginning of a device", |f| changed(f, str::to_owned, |id| id[..63].to_owned()), DEVICE_ID),
        signature(
            "the right signature of another push of this server",
            |f| super::Forge::new(f.key, f.keys, 1_000_000).right(),
            ACK_ID,
        ),
    ]
}

fn changed(f: &super::Forge<'_>, ack_id: fn(&str) -> String, device: fn(&str) -> String) -> String {
    let claims = serde_json::json!({"ack_id": ack_id(&f.ack_id), "device_id": device(&f.device)});
    f.signed(HEADER, claims.to_string())
}

/// Something else than two texts in an object.
fn types() -> Vec<Case> {
    vec![
        claims("no claims", "{}", MALFORMED),
        claims("no ack_id", r#"{"device_id":"DEVICE"}"#, MALFORMED),
        claims("no device_id", r#"{"ack_id":"ACK"}"#, MALFORMED),
        claims("an ack_id of null", r#"{"ack_id":null,"device_id":"DEVICE"}"#, MALFORMED),
        claims("a device_id of null", r#"{"ack_id":"ACK","device_id":null}"#, MALFORMED),
        claims("an ack_id that is a number", r#"{"ack_id":1,"device_id":"DEVICE"}"#, MALFORMED),
        claims("a device_id that is a number", r#"{"ack_id":"ACK","device_id":1}"#, MALFORMED),
        claims("an ack_id that is true", r#"{"ack_id":true,"device_id":"DEVICE"}"#, MALFORMED),
        claims("an ack_id in a list", r#"{"ack_id":["ACK"],"device_id":"DEVICE"}"#, MALFORMED),
        claims("a device_id in a list", r#"{"ack_id":"ACK","device_id":["another","DEVICE"]}"#, MALFORMED),
        claims("an ack_id that is an object", r#"{"ack_id":{"ack_id":"ACK"},"device_id":"DEVICE"}"#, MALFORMED),
        claims("the claims within another one", r#"{"claims":{"ack_id":"ACK","device_id":"DEVICE"}}"#, MALFORMED),
        claims("claims in a list, in their order", r#"["ACK","DEVICE",null,null]"#, MALFORMED),
        claims("an object in a list", r#"[{"ack_id":"ACK","device_id":"DEVICE"}]"#, MALFORMED),
        claims("claims that are null", "null", MALFORMED),
        claims("claims that are a number", "1", MALFORMED),
        claims("claims that are a text of JSON", r#""{\"ack_id\":\"ACK\",\"device_id\":\"DEVICE\"}""#, MALFORMED),
        claims("claims that are no JSON", "ack_id=ACK&device_id=DEVICE", MALFORMED),
        claims("names in capitals", r#"{"ACK_ID":"ACK","DEVICE_ID":"DEVICE"}"#, MALFORMED),
        claims("names as some languages write them", r#"{"ackId":"ACK","deviceId":"DEVICE"}"#, MALFORMED),
    ]
}

/// How they are written.
fn spellings() -> Vec<Case> {
    let bytes = |name, before: &'static [u8], behind: &'static [u8], expected| {
        signature(name, move |f| f.signed(HEADER, [before, f.claims().as_bytes(), behind].concat()), expected)
    };
    vec![
        claims("ack_id twice, the right one first", r#"{"ack_id":"ACK","ack_id":"x","device_id":"DEVICE"}"#, MALFORMED),
        claims("ack_id twice, the right one last", r#"{"ack_id":"x","ack_id":"ACK","device_id":"DEVICE"}"#, MALFORMED),
        claims("ack_id twice, both right", r#"{"ack_id":"ACK","ack_id":"ACK","device_id":"DEVICE"}"#, MALFORMED),
        claims(
            "ack_id twice, once with an escape",
            r#"{"ack_id":"ACK","ack\u005fid":"x","device_id":"DEVICE"}"#,
            MALFORMED,
        ),
        claims(
            "device_id twice, the right one first",
            r#"{"ack_id":"ACK","device_id":"DEVICE","device_id":"x"}"#,
            MALFORMED,
        ),
        claims(
            "device_id twice, the right one last",
            r#"{"ack_id":"ACK","device_id":"x","device_id":"DEVICE"}"#,
            MALFORMED,
        ),
        claims("exp twice", r#"{"ack_id":"ACK","device_id":"DEVICE","exp":1,"exp":4102444800}"#, MALFORMED),
        claims("nbf twice", r#"{"ack_id":"ACK","device_id":"DEVICE","nbf":4102444800,"nbf":1}"#, MALFORMED),
        claims("an escape in a name", r#"{"ack\u005fid":"ACK","device_id":"DEVICE"}"#, Sent),
        signature(
            "escapes in a value",
            |f| {
                let escaped: Vec<_> = f.ack_id.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
                let escaped = escaped.concat();
                f.signed(HEADER, format!(r#"{{"ack_id":"{escaped}","device_id":"{}"}}"#, f.device))
            },
            Sent,
        ),
        bytes("white space around the claims", b" \r\n\t", b"\n", Sent),
        bytes("a second object behind the claims", b"", br#"{"ack_id":"x"}"#, MALFORMED),
        bytes("a comma behind the claims", b"", b",", MALFORMED),
        bytes("a NUL before the claims", b"\0", b"", MALFORMED),
        bytes("a NUL behind the claims", b"", b"\0", MALFORMED),
        bytes("a byte order mark before the claims", b"\xef\xbb\xbf", b"", MALFORMED),
        bytes("a comment behind the claims", b"", b"// right", MALFORMED),
        bytes("a no-break space before the claims", b"\xc2\xa0", b"", MALFORMED),
        claims("claims that are cut off", r#"{"ack_id":"ACK","device_id":"DEVICE""#, MALFORMED),
        claims("a comma too many", r#"{"ack_id":"ACK","device_id":"DEVICE",}"#, MALFORMED),
        claims("single quotes", "{'ack_id':'ACK','device_id':'DEVICE'}", MALFORMED),
        claims("a name without quotes", r#"{ack_id:"ACK","device_id":"DEVICE"}"#, MALFORMED),
        claims("a line's end within a text", "{\"ack_id\":\"ACK\n\",\"device_id\":\"DEVICE\"}", MALFORMED),
        claims("half a surrogate pair", r#"{"ack_id":"ACK\ud800","device_id":"DEVICE"}"#, MALFORMED),
        signature(
            "invalid UTF-8 in ack_id",
            |f| f.signed(HEADER, [b"{\"ack_id\":\"\xff\",\"device_id\":\"", f.device.as_bytes(), b"\"}"].concat()),
            MALFORMED,
        ),
        signature(
            "invalid UTF-8 in a claim that is not known",
            |f| f.signed(HEADER, [b"{\"x\":\"\xff\",", &f.claims().as_bytes()[1..]].concat()),
            MALFORMED,
        ),
        signature(
            "claims in UTF-16",
            |f| f.signed(HEADER, f.claims().encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>()),
            MALFORMED,
        ),
    ]
}

/// What else is claimed.
fn unknown() -> Vec<Case> {
    vec![
        claims("a user's id", r#"{"ack_id":"ACK","device_id":"DEVICE","user_id":"u"}"#, Sent),
        claims(
            "claims of RFC 7519",
            r#"{"iss":"i","sub":"s","aud":["a"],"jti":"j","ack_id":"ACK","device_id":"DEVICE"}"#,
            Sent,
        ),
        claims("a nested claim", r#"{"x":{"ack_id":"x","exp":1},"ack_id":"ACK","device_id":"DEVICE"}"#, Sent),
        claims(
            "names in capitals beside the right ones",
            r#"{"ACK_ID":"x","ack_id":"ACK","device_id":"DEVICE","EXP":1}"#,
            Sent,
        ),
        claims("an unknown claim twice", r#"{"x":1,"x":2,"ack_id":"ACK","device_id":"DEVICE"}"#, Sent),
        claims("an unknown number beyond all bounds", r#"{"x":1e999,"ack_id":"ACK","device_id":"DEVICE"}"#, Sent),
        signature(
            "a deeply nested claim",
            |f| {
                let nested = format!("{}1{}", "[".repeat(500), "]".repeat(500));
                f.signed(HEADER, f.filled(&format!(r#"{{"x":{nested},"ack_id":"ACK","device_id":"DEVICE"}}"#)))
            },
            Sent,
        ),
        signature(
            "a nested claim that never closes",
            |f| {
                f.signed(
                    HEADER,
                    f.filled(&format!(r#"{{"ack_id":"ACK","device_id":"DEVICE","x":{}"#, "{\"a\":".repeat(800))),
                )
            },
            MALFORMED,
        ),
        claims("iat long ago", r#"{"ack_id":"ACK","device_id":"DEVICE","iat":1}"#, Sent),
        claims("iat in the future", r#"{"ack_id":"ACK","device_id":"DEVICE","iat":4102444800}"#, Sent),
        claims("iat that is no time", r#"{"ack_id":"ACK","device_id":"DEVICE","iat":"yesterday"}"#, Sent),
    ]
}

/// When they count, a minute's leeway on either side.
fn times() -> Vec<Case> {
    let time = |name, claim: &'static str, seconds: i64, expected| {
        signature(
            name,
            move |f| {
                let at = i64::try_from(NOW).unwrap() + seconds;
                f.signed(HEADER, f.filled(&format!(r#"{{"ack_id":"ACK","device_id":"DEVICE","{claim}":{at}}}"#)))
            },
            expected,
        )
    };
    vec![
        time("exp to come", "exp", 3_600, Sent),
        time("exp now", "exp", 0, Sent),
        time("exp within the leeway", "exp", -59, Sent),
        time("exp at the end of the leeway", "exp", -60, TIME),
        time("exp an hour ago", "exp", -3_600, TIME),
        time("nbf past", "nbf", -3_600, Sent),
        time("nbf now", "nbf", 0, Sent),
        time("nbf at the end of the leeway", "nbf", 60, Sent),
        time("nbf behind the leeway", "nbf", 61, TIME),
        time("nbf in an hour", "nbf", 3_600, TIME),
        claims("exp zero", r#"{"ack_id":"ACK","device_id":"DEVICE","exp":0}"#, TIME),
        claims("exp minus zero", r#"{"ack_id":"ACK","device_id":"DEVICE","exp":-0.0}"#, TIME),
        claims("exp negative", r#"{"ack_id":"ACK","device_id":"DEVICE","exp":-1}"#, TIME),
        claims("exp below all numbers of 64 bits", r#"{"ack_id":"ACK","device_id":"DEVICE","exp":-1e300}"#, TIME),
        claims("exp with a fraction", r#"{"ack_id":"ACK","device_id":"DEVICE","exp":1800000000.5}"#, Sent),
        claims("exp with an exponent", r#"{"ack_id":"ACK","device_id":"DEVICE","exp":1.8e9}"#, Sent),
        claims("exp in milliseconds", r#"{"ack_id":"ACK","device_id":"DEVICE","exp":1800000000000}"#, Sent),
        claims(
            "exp above all numbers of 64 bits",
            r#"{"ack_id":"ACK","device_id":"DEVICE","exp":100000000000000000000}"#,
            Sent,
        ),
        claims("exp huge", r#"{"ack_id":"ACK","device_id":"DEVICE","exp":1e300}"#, Sent),
        claims("exp beyond all bounds", r#"{"ack_id":"ACK","device_id":"DEVICE","exp":1e999}"#, MALFORMED),
        claims("exp NaN", r#"{"ack_id":"ACK","device_id":"DEVICE","exp":NaN}"#, MALFORMED),
        claims("exp Infinity", r#"{"ack_id":"ACK","device_id":"DEVICE","exp":Infinity}"#, MALFORMED),
        claims("exp a text", r#"{"ack_id":"ACK","device_id":"DEVICE","exp":"4102444800"}"#, MALFORMED),
        claims("exp true", r#"{"ack_id":"ACK","device_id":"DEVICE","exp":true}"#, MALFORMED),
        claims("exp in a list", r#"{"ack_id":"ACK","device_id":"DEVICE","exp":[4102444800]}"#, MALFORMED),
        claims("exp in hexadecimal digits", r#"{"ack_id":"ACK","device_id":"DEVICE","exp":0xffffffff}"#, MALFORMED),
        claims("exp with a sign before it", r#"{"ack_id":"ACK","device_id":"DEVICE","exp":+4102444800}"#, MALFORMED),
        // As common libraries do: `null` is as good as absent.
        claims("exp null", r#"{"ack_id":"ACK","device_id":"DEVICE","exp":null}"#, Sent),
        claims("nbf negative", r#"{"ack_id":"ACK","device_id":"DEVICE","nbf":-1}"#, Sent),
        claims("nbf huge", r#"{"ack_id":"ACK","device_id":"DEVICE","nbf":1e300}"#, TIME),
        claims("nbf in milliseconds", r#"{"ack_id":"ACK","device_id":"DEVICE","nbf":1800000000000}"#, TIME),
        claims("nbf a text", r#"{"ack_id":"ACK","device_id":"DEVICE","nbf":"1"}"#, MALFORMED),
        claims("nbf NaN", r#"{"ack_id":"ACK","device_id":"DEVICE","nbf":NaN}"#, MALFORMED),
        claims("nbf behind exp", r#"{"ack_id":"ACK","device_id":"DEVICE","exp":1,"nbf":4102444800}"#, TIME),
    ]
}
