//! `docs/security.md` says of each measure which test holds it, and `docs/dependencies.md` what each dependency is for. What is
//! renamed, taken away or added must not go by them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const PAGE: &str = "docs/security.md";

/// The last heading of a table whose rows say what holds them.
const HELD_BY: &str = "held by";

/// What stands there instead where nothing does.
const NO_TEST: &str = "no test";

/// Fewer than the page names, and enough to see that it was read.
const AT_LEAST: usize = 80;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap_or_default()
}

/// A test that the page names: `` `path/of/file.rs: name_of_the_test` ``.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Named<'p> {
    file: &'p str,
    test: &'p str,
}

/// The tests that are named in a text, in their order.
fn named(text: &str) -> Vec<Named<'_>> {
    // What stands between two backticks is every other part.
    text.split('`').skip(1).step_by(2).filter_map(file_and_test).collect()
}

fn file_and_test(code: &str) -> Option<Named<'_>> {
    let end = code.find(".rs: ")? + ".rs".len();
    let (file, rest) = code.split_at(end);
    Some(Named { file, test: rest.strip_prefix(": ")? })
}

/// Whether a source has a test of that name: a function right below an attribute that makes it one.
fn has_test(source: &str, name: &str) -> bool {
    let mut is_test = false;
    for line in source.lines().map(str::trim_start) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some(found) = function(line) {
            if is_test && found == name {
                return true;
            }
            is_test = false;
        }
    }
    false
}

/// The function that begins in a line.
fn function(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ")?;
    rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next()
}

/// The rows of the tables that say what holds each measure: the number of its line, and the last cell.
fn rows(page: &str) -> Vec<(usize, &str)> {
    let mut rows = Vec::new();
    let mut counts = false;
    for (number, line) in page.lines().enumerate() {
        let Some(row) = line.strip_prefix('|') else {
            counts = false;
            continue;
        };
        let last = row.trim_end().trim_end_matches('|').rsplit('|').next().unwrap_or_default().trim();
        if last == HELD_BY {
            counts = true;
        } else if counts && !last.starts_with("--") {
            rows.push((number + 1, last));
        }
    }
    rows
}

#[test]
fn each_test_that_the_security_page_names_is_there() {
    let page = read(PAGE);
    let named = named(&page);
    assert!(named.len() >= AT_LEAST, "{PAGE} names {} tests", named.len());
    let missing: Vec<_> = named.into_iter().filter(|named| !has_test(&read(named.file), named.test)).collect();
    assert!(missing.is_empty(), "{PAGE} names tests that are not there: {missing:#?}");
}

#[test]
fn each_measure_of_the_security_page_names_a_test_or_says_that_there_is_none() {
    let page = read(PAGE);
    let rows = rows(&page);
    assert!(rows.len() >= AT_LEAST / 3, "{PAGE} has {} measures", rows.len());
    let bare: Vec<_> =
        rows.into_iter().filter(|(_, held_by)| named(held_by).is_empty() && !held_by.starts_with(NO_TEST)).collect();
    assert!(bare.is_empty(), "measures of {PAGE} that nothing is said to hold: {bare:#?}");
}

/// The crates that the first cells of a page's tables name.
fn listed(page: &str) -> BTreeSet<String> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once(" | "));
    let with_a_reason = rows.filter(|(_, why)| why.len() > "|".len());
    with_a_reason.flat_map(|(names, _)| names.split(", ")).map(|name| name.trim_matches('`').to_owned()).collect()
}

#[test]
fn each_dependency_is_on_its_page_with_a_reason() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let tables = ["dependencies", "dev-dependencies"].map(|name| manifest[name].as_table().unwrap());
    let depended_on: BTreeSet<String> = tables.into_iter().flat_map(|table| table.keys().cloned()).collect();
    let listed = listed(&read("docs/dependencies.md"));
    let missing: Vec<_> = depended_on.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&depended_on).collect();
    assert!(missing.is_empty() && gone.is_empty(), "docs/dependencies.md lacks {missing:?} and still has {gone:?}");
}

#[test]
fn what_is_no_test_is_not_taken_for_one() {
    let source = "#[test]\nfn one() {}\nfn helper() {}\n\n    #[tokio::test(flavor = \"multi_thread\")]\n    async fn two() {}\n";
    for (name, found) in [("one", true), ("two", true), ("helper", false), ("on", false), ("three", false)] {
        assert_eq!(has_test(source, name), found, "{name}");
    }
}

#[test]
fn names_and_rows_are_found_as_they_are_written() {
    let page = "`a/b.rs: one`, `c.rs` and\n\n| what | held by |\n|---|---|\n| x | `d.rs: two`, y |\n| z | no test: why |\n| w | |\n\
                \n| other | table |\n|---|---|\n| q | r |\n";
    assert_eq!(named(page), [Named { file: "a/b.rs", test: "one" }, Named { file: "d.rs", test: "two" }]);
    assert_eq!(
        listed("| crate | why |\n|---|---|\n| `a`, `b` | both |\n| `c` | |\n").into_iter().collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert_eq!(rows(page), [(5, "`d.rs: two`, y"), (6, "no test: why"), (7, "")]);
}
