//! `[status]`: where the page is, to whom it opens, and what is said about one that opens to everybody.

use super::*;

/// Whether the page is there, and what is said about it, without its place.
fn status(toml: &str) -> (bool, String) {
    let (settings, findings) = settings_without_targets(toml, &[]);
    let about_it = findings.warnings().iter().filter(|warning| warning.key.starts_with("status"));
    let said: Vec<_> = about_it.map(|warning| format!("{} {}", warning.key, warning.what)).collect();
    (settings.http.status.is_some(), said.join("\n"))
}

#[test]
fn unless_it_is_asked_for_the_page_opens_to_nobody_from_outside_who_shows_nothing() {
    let here = "listen = \"127.0.0.1:8066\"\n";
    let private = "[ops]\nlisten = \"127.0.0.1:9066\"\n";
    let exposed = "[ops]\nlisten = \"0.0.0.0:9066\"\n";
    let password = "[status]\nuser = \"ops\"\npassword = \"x\"\n";
    for (toml, is_there) in [
        (String::new(), false),
        (here.to_owned(), true),
        (private.to_owned(), true),
        (exposed.to_owned(), false),
        (format!("{here}{exposed}"), false),
        (password.to_owned(), true),
        (format!("{exposed}{password}"), true),
        ("[status]\nbearer_token = \"x\"\n".to_owned(), true),
        (format!("{here}[status]\nenabled = false\n"), false),
        (format!("{private}{password}enabled = false\n"), false),
        (format!("{exposed}[status]\nenabled = true\nbearer_token = \"x\"\n"), true),
    ] {
        assert_eq!(status(&toml), (is_there, String::new()), "{toml}");
    }
}

#[test]
fn one_that_opens_to_everybody_is_there_if_it_is_asked_for_and_worth_a_warning() {
    for toml in ["[status]\nenabled = true\n", "[ops]\nlisten = \"[::]:9066\"\n[status]\nenabled = true\n"] {
        let (is_there, said) = status(toml);
        assert!(is_there);
        assert_eq!(
            said,
            "status.enabled the status page, with the ids of chat servers, can be read by whoever reaches its address"
        );
    }
}

#[test]
fn a_name_without_a_password_or_a_password_without_a_name_is_a_slip() {
    for (toml, words) in [
        ("[status]\nuser = \"ops\"\n", "status.user: has no meaning without `password`"),
        ("[status]\npassword = \"canary\"\n", "status.password: has no meaning without `user`"),
        ("[status]\nuser = \"o:ps\"\npassword = \"canary\"\n", "status.user: holds a colon"),
    ] {
        let text = said(toml, &[]);
        assert!(text.contains(words), "{text}");
        assert!(!text.contains("canary"), "{text}");
    }
}
