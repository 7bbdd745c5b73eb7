//! Emoji codes, as github.com/kyokomi/emoji v2.2.4 reads them: one trailing space behind each, but none behind `flag-xx`.

use serde_json::json;

use super::case::{Case, to_android, to_apple};

/// A message, and what is shown.
const TEXTS: &[(&str, &str)] = &[
    (":rocket:", "🚀 "),
    (":+1:", "👍 "),
    (":-1:", "👎 "),
    (":100:", "💯 "),
    (":8ball:", "🎱 "),
    (":heart:", "❤️ "),
    // Other names of the same.
    (":thumbsup:", "👍 "),
    (":satisfied:", "😆 "),
    (":laughing:", "😆 "),
    (":e-mail:", "📧 "),
    (":white_check_mark:", "✅ "),
    (":slightly_smiling_face:", "🙂 "),
    // Where it stands.
    (":rocket: at the start", "🚀  at the start"),
    ("at the end :rocket:", "at the end 🚀 "),
    ("in the :rocket: middle", "in the 🚀  middle"),
    ("close:rocket:by", "close🚀 by"),
    ("a line\n:rocket:\nof its own", "a line\n🚀 \nof its own"),
    (":rocket: ", "🚀  "),
    (":rocket:.", "🚀 ."),
    // Several.
    (":rocket::tada:", "🚀 🎉 "),
    (":rocket: :tada:", "🚀  🎉 "),
    (":rocket::rocket::rocket:", "🚀 🚀 🚀 "),
    // Unknown names stay, and use their closing colon up.
    (":mattermost:", ":mattermost:"),
    (":no_such_code::rocket:", ":no_such_code:🚀 "),
    (":unknown:smile:", ":unknown:smile:"),
    (":simple_smile:", ":simple_smile:"),
    (":Rocket:", ":Rocket:"),
    (":ROCKET:", ":ROCKET:"),
    // Colons that are no code.
    (":", ":"),
    ("::", "::"),
    ("a : b", "a : b"),
    ("at 10:30", "at 10:30"),
    (":rocket", ":rocket"),
    ("rocket:", "rocket:"),
    ("::rocket:", ":🚀 "),
    (":rocket::", "🚀 :"),
    (": rocket:", ": rocket:"),
    (":not a code:rocket:", ":not a code🚀 "),
    ("https://chat.example:8065/a", "https://chat.example:8065/a"),
    // Skin tones: a code of their own, or part of the name.
    (":wave_tone3:", "👋🏽 "),
    (":wave_tone6:", ":wave_tone6:"),
    (":+1::skin-tone-2:", "👍 🏻 "),
    (":wave::skin-tone-3:", "👋 🏼 "),
    // Flags.
    (":de:", "🇩🇪 "),
    (":flag_de:", "🇩🇪 "),
    (":flag-de:", "🇩🇪"),
    (":flag-zz:", "🇿🇿"),
    // Several characters that are shown as one.
    (":male-technologist:", "👨\u{200d}💻 "),
    (":family_mwgb:", "👨\u{200d}👩\u{200d}👧\u{200d}👦 "),
    (":keycap_star:", "*️⃣ "),
    // What is no code already.
    ("😄 é 日本", "😄 é 日本"),
];

pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = TEXTS
        .iter()
        .map(|(text, shown)| {
            let name = format!("iPhone: emoji in {text:?}");
            to_apple(name, &json!({"message": text}), &json!({"aps": {"alert": {"body": shown}}}))
        })
        .collect();
    cases.extend(TEXTS.iter().take(3).map(|(text, shown)| {
        to_android(format!("Android: emoji in {text:?}"), &json!({"message": text}), &json!({"message": shown}))
    }));
    cases.extend([
        to_apple(
            "iPhone: emoji in a session push",
            &json!({"type": "session", "message": ":rocket:"}),
            &json!({"type": "session", "aps": {"alert": {"body": "🚀 "}, "content-available": null}}),
        ),
        to_apple(
            "iPhone: emoji where the message is all that is shown",
            &json!({"version": "v1", "message": ":rocket:"}),
            &json!({"version": "v1", "aps": {"alert": "🚀 "}}),
        ),
        to_apple(
            "iPhone: no emoji in an id-loaded push",
            &json!({"is_id_loaded": true, "message": ":rocket:"}),
            &json!({"id_loaded": true, "aps": {"alert": {"title": null, "body": ":rocket:"}}, "channel_name": null}),
        ),
        to_apple(
            "iPhone: no emoji in names",
            &json!({"channel_name": ":rocket:", "sender_name": ":tada:", "override_username": ":wave:"}),
            &json!({
                "channel_name": ":rocket:", "sender_name": ":tada:", "override_username": ":wave:",
                "aps": {"alert": {"title": ":rocket:"}},
            }),
        ),
        to_android(
            "Android: emoji in a session push",
            &json!({"type": "session", "message": ":rocket:"}),
            &json!({"type": "session", "message": "🚀 "}),
        ),
        to_android(
            "Android: no emoji in an id-loaded push",
            &json!({"is_id_loaded": true, "message": ":rocket:"}),
            &json!({
                "id_loaded": "true", "message": ":rocket:", "sender_name": "Someone", "channel_name": null,
                "override_username": null, "override_icon_url": null, "from_webhook": null,
            }),
        ),
        to_android(
            "Android: no emoji in names",
            &json!({"channel_name": ":rocket:", "sender_name": ":tada:"}),
            &json!({"channel_name": ":rocket:", "sender_name": ":tada:"}),
        ),
    ]);
    cases
}
