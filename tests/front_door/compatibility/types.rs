//! Type × id-loaded × version × channel name: what each combination becomes at Apple and at Google.

use serde_json::{Value, json};

use super::case::{Case, to_android, to_apple};

/// The columns of the grids: payload version, and whether the push names its channel.
const COLUMNS: [(&str, bool); 8] =
    [("v2", true), ("v2", false), ("v1", true), ("v1", false), ("", true), ("", false), ("2", true), ("2", false)];

/// A row for each type: its name, id-loaded or not, and what it becomes in each column.
type Grid<T> = [(&'static str, bool, [T; 8]); 14];

/// What is shown on an iPhone, as a change of the usual payload but for `type` and `version`.
#[derive(Clone, Copy)]
enum Shown {
    /// The channel's name above the message.
    Titled,
    /// The message alone, although the push names its channel.
    Named,
    /// The message alone.
    Plain,
    /// As `Titled`, without waking the app.
    TitledQuietly,
    /// As `Named`, without waking the app.
    NamedQuietly,
    /// As `Plain`, without waking the app.
    PlainQuietly,
    /// The app asks its server for the text.
    IdLoaded,
    /// Nothing is shown, but the app is woken.
    Woken,
    /// The badge and nothing else.
    Badge,
}

impl Shown {
    fn changes(self) -> Value {
        match self {
            Self::Titled => json!({}),
            Self::Named => json!({"aps": {"alert": "ship it"}}),
            Self::Plain => json!({"aps": {"alert": "ship it"}, "channel_name": null}),
            Self::TitledQuietly => json!({"aps": {"content-available": null}}),
            Self::NamedQuietly => json!({"aps": {"alert": "ship it", "content-available": null}}),
            Self::PlainQuietly => {
                json!({"aps": {"alert": "ship it", "content-available": null}, "channel_name": null})
            }
            Self::IdLoaded => json!({"aps": {"alert": {"title": null}}, "id_loaded": true, "channel_name": null}),
            Self::Woken => json!({
                "aps": {"alert": null, "category": null, "mutable-content": null, "sound": null},
                "version": null, "channel_name": null,
            }),
            Self::Badge => json!({
                "aps": {
                    "alert": null, "category": null, "mutable-content": null, "sound": null, "content-available": null,
                },
                "version": null, "channel_name": null,
            }),
        }
    }
}

#[rustfmt::skip]
const APPLE: Grid<Shown> = {
    use Shown::{Badge, IdLoaded, Named, NamedQuietly, Plain, PlainQuietly, Titled, TitledQuietly, Woken};
    [
        ("message", false, [Titled, Plain, Named, Plain, Named, Plain, Named, Plain]),
        ("session", false, [
            TitledQuietly, PlainQuietly, NamedQuietly, PlainQuietly, NamedQuietly, PlainQuietly, NamedQuietly, PlainQuietly,
        ]),
        ("clear", false, [Woken; 8]),
        ("test", false, [Woken; 8]),
        ("update_badge", false, [Badge; 8]),
        ("poll", false, [Badge; 8]),
        ("", false, [Badge; 8]),
        ("message", true, [IdLoaded; 8]),
        ("session", true, [IdLoaded; 8]),
        ("clear", true, [IdLoaded; 8]),
        ("test", true, [IdLoaded; 8]),
        ("update_badge", true, [IdLoaded; 8]),
        ("poll", true, [IdLoaded; 8]),
        ("", true, [IdLoaded; 8]),
    ]
};

/// What an Android phone gets, as a change of the usual data but for `type` and `version`.
#[derive(Clone, Copy)]
enum Got {
    /// Everything.
    Named,
    /// Everything; the channel's name is empty.
    Unnamed,
    /// The app asks its server for the text.
    IdLoaded,
    /// What all types have.
    Bare,
}

impl Got {
    fn changes(self) -> Value {
        match self {
            Self::Named => json!({}),
            Self::Unnamed => json!({"channel_name": ""}),
            Self::IdLoaded => json!({
                "id_loaded": "true", "sender_name": "Someone", "channel_name": null,
                "override_username": null, "override_icon_url": null, "from_webhook": null,
            }),
            Self::Bare => json!({
                "team_id": null, "sender_id": null, "sender_name": null, "message": null, "channel_name": null,
                "post_id": null, "override_username": null, "override_icon_url": null, "from_webhook": null,
            }),
        }
    }
}

const ANDROID: Grid<Got> = {
    use Got::{Bare, IdLoaded, Named, Unnamed};
    [
        ("message", false, [Named, Unnamed, Named, Unnamed, Named, Unnamed, Named, Unnamed]),
        ("session", false, [Named, Unnamed, Named, Unnamed, Named, Unnamed, Named, Unnamed]),
        ("clear", false, [Bare; 8]),
        ("test", false, [Bare; 8]),
        ("update_badge", false, [Bare; 8]),
        ("poll", false, [Bare; 8]),
        ("", false, [Bare; 8]),
        ("message", true, [IdLoaded; 8]),
        ("session", true, [IdLoaded; 8]),
        ("clear", true, [IdLoaded; 8]),
        ("test", true, [IdLoaded; 8]),
        ("update_badge", true, [IdLoaded; 8]),
        ("poll", true, [IdLoaded; 8]),
        ("", true, [IdLoaded; 8]),
    ]
};

pub fn apple() -> Vec<Case> {
    each("an iPhone", &APPLE, |name, request, kind, version, shown| {
        let mut payload = shown.changes();
        payload["type"] = kind.into();
        // Where the version is not taken out, it is passed on as it came.
        if payload.get("version").is_none() {
            payload["version"] = version.into();
        }
        to_apple(name, request, &payload)
    })
}

pub fn android() -> Vec<Case> {
    each("an Android phone", &ANDROID, |name, request, kind, version, got| {
        let mut data = got.changes();
        data["type"] = kind.into();
        data["version"] = version.into();
        to_android(name, request, &data)
    })
}

fn each<T: Copy>(
    whose: &str,
    grid: &Grid<T>,
    case: impl Fn(String, &Value, &'static str, &'static str, T) -> Case,
) -> Vec<Case> {
    let mut cases = Vec::new();
    for (kind, id_loaded, row) in grid {
        for ((version, named), becomes) in COLUMNS.into_iter().zip(row) {
            let (how, channel) = (if *id_loaded { "id-loaded " } else { "" }, if named { "a" } else { "no" });
            let name = format!("to {whose}: type {kind:?} {how}in version {version:?} with {channel} channel name");
            let mut request = json!({"type": kind, "is_id_loaded": id_loaded, "version": version});
            if !named {
                request["channel_name"] = Value::Null;
            }
            cases.push(case(name, &request, kind, version, *becomes));
        }
    }
    cases
}
