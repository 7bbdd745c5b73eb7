//! In the place of `mattermost-push-proxy`: requests as chat servers send them, the answers they get, and what then reaches
//! Apple or Google, with `compatibility = "strict"`.
//!
//! Every case is data. What is expected was written down from what that program is known to do (its v6.5 line, Go's
//! `encoding/json` and `net/http`, and the libraries github.com/sideshow/apns2, firebase.google.com/go/v4,
//! github.com/kyokomi/emoji and github.com/gorilla/mux), never computed from the code under test. Where the relay goes
//! its own way on purpose, the case stands in [`differences`], with the reason.

mod acks;
mod android;
mod apple;
mod case;
mod decoding;
mod differences;
mod emoji;
mod lengths;
mod malformed;
mod routes;
mod run;
mod targets;
mod types;
mod verdicts;

use std::collections::HashSet;

use case::Case;
use run::check;

/// Everything but [`differences`].
fn all() -> Vec<Case> {
    [
        acks::cases(),
        android::cases(),
        apple::cases(),
        decoding::cases(),
        emoji::cases(),
        lengths::cases(),
        malformed::cases(),
        routes::cases(),
        targets::cases(),
        types::apple(),
        types::android(),
        verdicts::cases(),
        verdicts::silence(),
    ]
    .concat()
}

#[test]
fn there_are_at_least_300_cases_and_each_has_a_name_of_its_own() {
    let cases = all();
    assert!(cases.len() >= 300, "{}", cases.len());
    let mut names = HashSet::new();
    for case in cases.iter().chain(&differences::cases()) {
        assert!(names.insert(case.name.clone()), "there are two cases called {:?}", case.name);
    }
}

#[tokio::test]
async fn each_type_of_push_reaches_an_iphone_as_the_reference_sends_it() {
    check(types::apple()).await;
}

#[tokio::test]
async fn each_type_of_push_reaches_an_android_phone_as_the_reference_sends_it() {
    check(types::android()).await;
}

#[tokio::test]
async fn each_field_reaches_an_iphone_as_the_reference_sends_it() {
    check(apple::cases()).await;
}

#[tokio::test]
async fn each_field_reaches_an_android_phone_as_the_reference_sends_it() {
    check(android::cases()).await;
}

#[tokio::test]
async fn a_platform_names_its_target_and_the_apps_version() {
    check(targets::cases()).await;
}

#[tokio::test]
async fn emoji_codes_are_read_as_the_reference_reads_them() {
    check(emoji::cases()).await;
}

#[tokio::test]
async fn long_texts_are_cut_where_the_reference_cuts_them() {
    check(lengths::cases()).await;
}

#[tokio::test]
async fn bodies_are_read_as_leniently_as_the_reference_reads_them() {
    check(decoding::cases()).await;
}

#[tokio::test]
async fn bodies_that_cannot_be_read_are_answered_in_the_reference_s_words() {
    check(malformed::cases()).await;
}

#[tokio::test]
async fn what_a_provider_says_becomes_the_reference_s_answer() {
    check(verdicts::cases()).await;
}

#[tokio::test]
async fn a_provider_that_says_nothing_becomes_the_reference_s_answer() {
    run::check_impatiently(verdicts::silence()).await;
}

#[tokio::test]
async fn receipts_are_answered_as_the_reference_answers_them() {
    check(acks::cases()).await;
}

#[tokio::test]
async fn other_methods_and_paths_are_answered_as_the_reference_answers_them() {
    check(routes::cases()).await;
}

#[tokio::test]
async fn where_the_relay_goes_its_own_way_it_does_so_on_purpose() {
    check(differences::cases()).await;
}
