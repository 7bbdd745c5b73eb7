//! The command line as a whole: what its help promises holds.

use std::sync::mpsc;

use super::*;

/// The widest line that is not wrapped at the width that clap stops at, characters.
const WIDEST: usize = 100;

/// Every command with the words that name it.
fn commands() -> Vec<(String, clap::Command)> {
    fn collect(name: &str, command: &clap::Command, all: &mut Vec<(String, clap::Command)>) {
        all.push((name.to_owned(), command.clone()));
        for below in command.get_subcommands() {
            collect(&format!("{name} {}", below.get_name()), below, all);
        }
    }
    let mut all = Vec::new();
    collect("pushrelay", &command(), &mut all);
    all
}

/// The command lines of a text: indented, a line that ends with `\` going on in the next, without the remark that stands
/// apart and without what a shell does with the output.
fn examples(text: &str) -> Vec<Vec<String>> {
    let mut joined = text.to_owned();
    while let Some(end) = joined.find("\\\n") {
        let rest = joined[end + 2..].trim_start().to_owned();
        joined.replace_range(end.., &rest);
    }
    let lines = joined.lines().filter_map(|line| line.strip_prefix("  "));
    let lines = lines.map(str::trim_start).filter(|line| line.starts_with("pushrelay "));
    let commands = lines.map(|line| line.split("   ").next().and_then(|line| line.split(" > ").next()).unwrap_or(line));
    let words = commands.map(|line| line.split_whitespace().take_while(|word| *word != "#"));
    words.map(|words| words.map(|word| word.trim_matches('\'').to_owned()).collect()).collect()
}

#[test]
fn the_command_line_is_consistent() {
    command().debug_assert();
}

#[test]
fn every_example_of_every_help_is_understood() {
    let mut seen = 0;
    for (name, command) in commands() {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples = examples(&help);
        assert!(!examples.is_empty(), "{name} has no example");
        for words in examples {
            let line = reference::translate(words.iter().map(Into::into));
            if let Err(error) = Arguments::try_parse_from(line) {
                panic!("{name}: {}\n{error}", words.join(" "));
            }
            seen += 1;
        }
    }
    assert!(seen > 40, "{seen}");
}

#[test]
fn no_help_is_wider_than_a_terminal_and_each_says_more_than_its_title() {
    for (name, command) in commands() {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for line in help.lines() {
            assert!(line.chars().count() <= WIDEST, "{name}: {line}");
        }
        let prose = help.lines().filter(|line| line.split_whitespace().count() > 8 && !line.starts_with(' ')).count();
        assert!(prose >= 1, "{name} does not say what it does");
        let title = command.get_about().map(ToString::to_string).unwrap_or_default();
        assert!(!title.is_empty() && !title.ends_with('.'), "{name}: {title}");
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            assert!(argument.get_help().is_some(), "{name}: {argument} is not explained");
        }
    }
}

#[test]
fn what_is_a_file_a_directory_or_a_time_is_called_so_everywhere() {
    for (name, command) in commands() {
        for argument in command.get_arguments() {
            let values: Vec<_> =
                argument.get_value_names().unwrap_or_default().iter().map(ToString::to_string).collect();
            let wanted = match argument.get_id().as_str() {
                "config" | "key" | "ca_file" | "webhook_key_file" | "file" => "FILE",
                "out" | "folder" | "servers_directory" | "data_dir" => "DIR",
                "timeout" | "grace" => "TIME",
                "listen" | "inbox" | "apns" | "fcm" => "ADDRESS",
                "url" => "URL",
                _ => continue,
            };
            assert_eq!(values, [wanted], "{name} {argument}");
        }
    }
}

#[test]
fn the_page_about_the_command_line_lists_every_command() {
    let page = include_str!("../../docs/command-line.md");
    for (name, command) in commands().into_iter().skip(1) {
        let row = format!("| `{name}` | {} |", command.get_about().map(ToString::to_string).unwrap_or_default());
        assert!(page.contains(&row), "docs/command-line.md lacks the line\n{row}");
    }
    let rows = page.lines().filter(|line| line.starts_with("| `pushrelay ")).count();
    assert_eq!(rows, commands().len() - 1, "docs/command-line.md lists a command that is not there");
    for words in examples(page) {
        if let Err(error) = Arguments::try_parse_from(&words) {
            panic!("{}\n{error}", words.join(" "));
        }
    }
}

#[test]
fn a_call_that_hangs_does_not_outlive_the_command() {
    let (let_go, go) = mpsc::channel::<()>();
    let (began, has_begun) = tokio::sync::oneshot::channel();
    let result = block_on(async {
        #[expect(clippy::disallowed_methods, reason = "the hanging call that the test is about")]
        tokio::task::spawn_blocking(move || {
            let _ = began.send(());
            // Ends with an error when the test ends.
            let _ = go.recv();
        });
        has_begun.await.map_err(Failure::running)
    });
    assert!(result.is_ok());
    drop(let_go);
}

#[test]
fn an_address_of_a_relay_without_a_scheme_is_told_how_to_begin() {
    for text in ["127.0.0.1:8066", "localhost:8066", "push.example.com", "file:///tmp", ""] {
        let said = super::http_url(text).unwrap_err();
        assert!(said.starts_with("begin with http://"), "{text}: {said}");
    }
    assert_eq!(super::http_url("http://127.0.0.1:8066").unwrap().port(), Some(8066));
}
