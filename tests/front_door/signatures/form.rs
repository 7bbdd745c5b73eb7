//! The compact serialization (RFC 7515 § 7.1): three segments of unpadded base64url and nothing around them.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE};

use super::forge::{HEADER, base64url, segments, sign};
use super::{Case, Expected, KEY, MALFORMED, MISSING, signature};

/// Longest signature that is read, bytes.
const LONGEST: usize = 8 * 1024;

pub fn cases() -> Vec<Case> {
    [number_of_segments(), around_them(), alphabets(), lengths()].into_iter().flatten().collect()
}

fn number_of_segments() -> Vec<Case> {
    let rearranged =
        |name, rearrange: fn([&str; 3]) -> String| signature(name, move |f| rearrange(segments(&f.right())), MALFORMED);
    vec![
        signature("an empty signature", |_| String::new(), MISSING),
        signature("the word that the phone is sent without one", |_| "NO_SIGNATURE".into(), MALFORMED),
        rearranged("only the header", |[h, _, _]| h.into()),
        rearranged("header and claims alone", |[h, c, _]| format!("{h}.{c}")),
        rearranged("header and signature alone", |[h, _, s]| format!("{h}.{s}")),
        rearranged("claims and signature alone", |[_, c, s]| format!("{c}.{s}")),
        rearranged("the signature twice", |[h, c, s]| format!("{h}.{c}.{s}.{s}")),
        rearranged("the claims twice", |[h, c, s]| format!("{h}.{c}.{c}.{s}")),
        rearranged("the header twice", |[h, c, s]| format!("{h}.{h}.{c}.{s}")),
        rearranged("the whole twice", |[h, c, s]| format!("{h}.{c}.{s}.{h}.{c}.{s}")),
        rearranged("five segments, as encrypted tokens have", |[h, c, s]| format!("{h}.{c}.{c}.{s}.{s}")),
        rearranged("an empty header", |[_, c, s]| format!(".{c}.{s}")),
        rearranged("empty claims", |[h, _, s]| format!("{h}..{s}")),
        rearranged("an empty third segment", |[h, c, _]| format!("{h}.{c}.")),
        rearranged("an empty segment before them", |[h, c, s]| format!(".{h}.{c}.{s}")),
        rearranged("an empty segment behind them", |[h, c, s]| format!("{h}.{c}.{s}.")),
        rearranged("full stops alone", |_| "..".into()),
        rearranged("a thousand full stops", |_| ".".repeat(1_000)),
        rearranged("header and claims in each other's place", |[h, c, s]| format!("{c}.{h}.{s}")),
        rearranged("the signature first", |[h, c, s]| format!("{s}.{h}.{c}")),
        rearranged("commas between them", |[h, c, s]| format!("{h},{c},{s}")),
        rearranged("full-width full stops between them", |[h, c, s]| format!("{h}\u{ff0e}{c}\u{ff0e}{s}")),
        rearranged("full stops in percent encoding", |[h, c, s]| format!("{h}%2E{c}%2E{s}")),
        rearranged("the JSON serialization", |[h, c, s]| {
            format!(r#"{{"protected":"{h}","payload":"{c}","signature":"{s}"}}"#)
        }),
        signature(
            "signed with a third part of the claims' own",
            |f| sign(f.key, &format!("{}.{}", f.input(), base64url("{}"))),
            MALFORMED,
        ),
        signature("a token within the claims", |f| f.signed(HEADER, f.right()), MALFORMED),
    ]
}

fn around_them() -> Vec<Case> {
    let wrapped = |name, before: &'static str, behind: &'static str| {
        signature(name, move |f| format!("{before}{}{behind}", f.right()), MALFORMED)
    };
    vec![
        signature("a space alone", |_| " ".into(), MALFORMED),
        wrapped("a space before it", " ", ""),
        wrapped("a space behind it", "", " "),
        wrapped("a tab behind it", "", "\t"),
        wrapped("a line's end behind it", "", "\n"),
        wrapped("CR and LF behind it", "", "\r\n"),
        wrapped("a NUL behind it", "", "\0"),
        wrapped("a zero-width space before it", "\u{200b}", ""),
        wrapped("a byte order mark before it", "\u{feff}", ""),
        wrapped("quotes around it", "\"", "\""),
        wrapped("the word Bearer before it", "Bearer ", ""),
        signature("a line's end within the signature", |f| inserted(&f.right(), 2, "\n"), MALFORMED),
        signature("a line's end within the claims", |f| inserted(&f.right(), 1, "\n"), MALFORMED),
        signature("a space within the header", |f| inserted(&f.right(), 0, " "), MALFORMED),
    ]
}

fn alphabets() -> Vec<Case> {
    vec![
        signature("a padded signature", |f| format!("{}.{}", f.input(), URL_SAFE.encode(f.bytes())), MALFORMED),
        signature(
            "padded claims, signed so",
            |f| sign(f.key, &format!("{}.{}", base64url(HEADER), URL_SAFE.encode(unaligned(f)))),
            MALFORMED,
        ),
        signature(
            "padded claims, signed without the padding",
            |f| {
                let [header, claims, signature] = segments_of(&f.signed(HEADER, unaligned(f)));
                format!("{header}.{claims}{}.{signature}", "=".repeat(4 - claims.len() % 4))
            },
            MALFORMED,
        ),
        signature("a padding sign where none belongs", |f| format!("{}=", f.right()), MALFORMED),
        signature(
            "the signature in the standard alphabet",
            |f| {
                // One whose two writings differ: each has 86 characters, of which one in 32 would.
                let other = (0..10_000).map(|_| f.bytes()).find(|b| STANDARD_NO_PAD.encode(b) != base64url(b));
                format!("{}.{}", f.input(), STANDARD_NO_PAD.encode(other.expect("one in two hundred is the same")))
            },
            MALFORMED,
        ),
        signature(
            "the claims in the standard alphabet, signed so",
            |f| sign(f.key, &format!("{}.{}", base64url(HEADER), standard(f))),
            MALFORMED,
        ),
        signature(
            "the claims in the standard alphabet, signed in the right one",
            |f| {
                let signature = f.key.sign(format!("{}.{}", base64url(HEADER), base64url(slashes(f))).as_bytes());
                format!("{}.{}.{}", base64url(HEADER), standard(f), base64url(signature))
            },
            MALFORMED,
        ),
        signature(
            "the claims in the right alphabet, signed in the standard one",
            |f| {
                let signature = f.key.sign(format!("{}.{}", base64url(HEADER), standard(f)).as_bytes());
                format!("{}.{}.{}", base64url(HEADER), base64url(slashes(f)), base64url(signature))
            },
            KEY,
        ),
        signature(
            "claims with such characters in the right alphabet",
            |f| f.signed(HEADER, slashes(f)),
            Expected::Sent,
        ),
        signature(
            "a last character whose spare bits are not zero",
            |f| {
                let mut jws = f.right();
                let last = jws.pop().unwrap();
                jws.push(char::from(u8::try_from(last).unwrap() + 1));
                jws
            },
            MALFORMED,
        ),
        signature(
            "claims that are not encoded",
            |f| sign(f.key, &format!("{}.{}", base64url(HEADER), f.claims())),
            MALFORMED,
        ),
        signature(
            "a header that is not encoded",
            |f| sign(f.key, &format!("{HEADER}.{}", base64url(f.claims()))),
            MALFORMED,
        ),
        signature("claims that are encoded twice", |f| f.signed(HEADER, base64url(f.claims())), MALFORMED),
        signature(
            "the signature in hexadecimal digits",
            |f| {
                let hex: Vec<_> = f.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
                format!("{}.{}", f.input(), hex.concat())
            },
            MALFORMED,
        ),
        signature("all in capitals", |f| f.right().to_uppercase(), MALFORMED),
        signature("all in small letters", |f| f.right().to_lowercase(), MALFORMED),
    ]
}

fn lengths() -> Vec<Case> {
    vec![
        signature("2,500 bytes", |f| of_length(f, 2_500), Expected::Sent),
        // Read and found right; no provider takes so much beside it.
        signature("as long as is read", |f| of_length(f, LONGEST), Expected::Undeliverable("PayloadTooLarge")),
        signature("one byte longer than is read", |f| of_length(f, LONGEST + 1), MALFORMED),
        signature("20,000 bytes of claims", |f| of_length(f, 20_000), MALFORMED),
        signature("20,000 bytes behind it", |f| format!("{}{}", f.right(), "A".repeat(20_000)), MALFORMED),
        signature("20,000 bytes of nothing", |_| "A".repeat(20_000), MALFORMED),
    ]
}

fn inserted(jws: &str, segment: usize, what: &str) -> String {
    let mut all = segments(jws).map(str::to_owned);
    all[segment].insert_str(10, what);
    all.join(".")
}

fn segments_of(jws: &str) -> [String; 3] {
    segments(jws).map(str::to_owned)
}

/// Claims whose length asks for padding.
fn unaligned(f: &super::Forge<'_>) -> String {
    let mut claims = f.claims();
    while claims.len().is_multiple_of(3) {
        claims.push(' ');
    }
    claims
}

/// Claims that the two alphabets write differently.
fn slashes(f: &super::Forge<'_>) -> String {
    f.filled(r#"{"x":"???>>>???>>>","ack_id":"ACK","device_id":"DEVICE"}"#)
}

fn standard(f: &super::Forge<'_>) -> String {
    let text = STANDARD_NO_PAD.encode(slashes(f));
    assert!(text.contains(['+', '/']), "they should differ");
    text
}

/// A right signature of this many bytes; its claims are long.
fn of_length(f: &super::Forge<'_>, length: usize) -> String {
    let made = |header_spaces: usize, fill: usize| {
        let header = format!("{HEADER}{}", " ".repeat(header_spaces));
        f.signed(header, f.filled(&format!(r#"{{"x":"{}","ack_id":"ACK","device_id":"DEVICE"}}"#, "x".repeat(fill))))
    };
    // Four characters are three bytes, and one of each four lengths cannot be: hence two segments to choose from.
    let near = (length - made(0, 0).len()) * 3 / 4;
    let tries = (0..3).flat_map(|spaces| (near.saturating_sub(8)..near + 8).map(move |fill| (spaces, fill)));
    let mut jws = tries.map(|(spaces, fill)| made(spaces, fill));
    jws.find(|jws| jws.len() == length).expect("some combination has this length")
}
