//! `platform`: which target it names and which version of the app, and what becomes of one that nobody configured.

use serde_json::json;

use super::case::{Case, changed, fail, to_android, to_apple, usual_request};

/// Targets beside `apple_rn`.
pub const APPLE: &[&str] = &["apple", "apple_rnbeta", "my-app", "my", "Apple_RN", "app.example_2", "grün"];

/// Targets beside `android_rn`.
pub const ANDROID: &[&str] = &["android", "android_rnbeta", "droid", "apple_but_google"];

/// A badge of 0 in a clear push shows which version was read: it becomes 1 above version 1.
const VERSIONS: &[(&str, i64)] = &[
    ("apple_rn", 0),
    ("apple_rn-v1", 0),
    ("apple_rn-v2", 1),
    ("apple_rn-v3", 1),
    ("apple_rn-v10", 1),
    ("apple_rn-v0", 0),
    ("apple_rn-v-1", 0),
    ("apple_rn-v-2", 0),
    ("apple_rn-v02", 1),
    ("apple_rn-v+2", 1),
    ("apple_rn-v", 0),
    ("apple_rn-vX", 0),
    ("apple_rn-v2x", 0),
    ("apple_rn-v 2", 0),
    ("apple_rn-v2 ", 0),
    ("apple_rn-v2.5", 0),
    ("apple_rn-v2-v3", 0),
    ("apple_rn-v-v2", 0),
    ("apple_rn-v0x2", 0),
    ("apple_rn-v1_000", 0),
    ("apple_rn-v٣", 0),
    ("apple_rn-v4294967296", 1),
    ("apple_rn-v9223372036854775807", 1),
    ("apple_rn-v9223372036854775808", 0),
    ("apple_rn-v99999999999999999999", 0),
];

/// Platforms that lead to a target of Apple's.
const APPLE_PLATFORMS: &[&str] = &[
    "apple_rn",
    "apple",
    "apple-v2",
    "apple_rnbeta-v2",
    "my-app",
    "my-app-v2",
    // The first `-v` ends the name, wherever it stands.
    "my-very-own-app",
    "Apple_RN",
    "app.example_2-v2",
    "grün-v2",
];

const ANDROID_PLATFORMS: &[&str] =
    &["android_rn", "android", "android-v2", "android_rnbeta-v2", "droid-vX", "apple_but_google-v2"];

/// Platforms that lead nowhere, and the name that is read from each, as it stands in the answer's JSON.
const UNKNOWN: &[(&str, &str)] = &[
    ("windows", "windows"),
    ("windows-v2", "windows"),
    ("-v2", ""),
    ("-v", ""),
    ("APPLE_RN", "APPLE_RN"),
    ("apple_rn-V2", "apple_rn-V2"),
    ("apple_rn_v2", "apple_rn_v2"),
    (" apple_rn", " apple_rn"),
    ("apple_rn ", "apple_rn "),
    ("apple_rn:v2", "apple_rn:v2"),
    ("gru\u{308}n", "gru\u{308}n"),
    ("<b>&\"\\", r#"\u003cb\u003e\u0026\"\\"#),
    ("a\nb\tc\u{1}d\u{2028}e", r"a\nb\tc\u0001d\u2028e"),
];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (platform, badge) in VERSIONS {
        cases.push(to_apple(
            format!("the app's version in {platform:?}"),
            &json!({"platform": platform, "type": "clear", "badge": 0}),
            &json!({
                "aps": {"badge": badge, "alert": null, "category": null, "mutable-content": null, "sound": null},
                "type": "clear", "version": null, "channel_name": null,
            }),
        ));
    }
    for platform in APPLE_PLATFORMS {
        cases.push(to_apple(
            format!("platform {platform:?} leads to Apple"),
            &json!({"platform": platform}),
            &json!({}),
        ));
    }
    for platform in ANDROID_PLATFORMS {
        cases.push(to_android(
            format!("platform {platform:?} leads to Google"),
            &json!({"platform": platform}),
            &json!({}),
        ));
    }
    for (platform, name) in UNKNOWN {
        let body = changed(usual_request(), &json!({"platform": platform})).to_string();
        cases.push(Case::push(format!("platform {platform:?} leads nowhere"), body).refused(fail(&format!(
            "Did not send message because of missing platform property type={name} serverId=server-1"
        ))));
    }
    let nowhere = fail("Did not send message because of missing platform property type= serverId=server-1");
    for (name, platform) in [("absent", ""), ("null", r#","platform":null"#), ("empty", r#","platform":"""#)] {
        let body = format!(r#"{{"server_id":"server-1","device_id":"TOKEN"{platform}}}"#);
        cases.push(Case::push(format!("the platform is {name}"), body).refused(nowhere.clone()));
    }
    cases
}
