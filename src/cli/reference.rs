//! The arguments of `mattermost-push-proxy`: whoever starts pushrelay in its place need not change them.
//!
//! It is written in Go, whose flags have one dash or two (`-config F`, `-config=F`, `--config F`), and it has no commands:
//! it serves. So does pushrelay under that name, or when it is given those flags and no command.

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// The configuration that it reads when none is named.
pub(super) const FILE: &str = "mattermost-push-proxy.json";

/// The name it is started by.
const PROGRAM: &str = "mattermost-push-proxy";

/// The arguments as our own command line has them; the first is the program's name.
pub(super) fn translate(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let in_its_place =
        arguments.first().is_some_and(|program| Path::new(program).file_name() == Some(OsStr::new(PROGRAM)));
    let serves =
        arguments.get(1).is_some_and(|argument| ["serve", "start", "check"].iter().any(|name| argument == name));
    let has_flag = arguments.get(1).and_then(|argument| flag(argument)).is_some();
    // A command of ours, whatever the program is called: the reference takes none.
    let has_command =
        arguments.get(1).is_some_and(|argument| argument.to_str().is_some_and(|text| !text.starts_with('-')));
    if !(serves || has_flag || in_its_place && !has_command) {
        return arguments;
    }
    let first = if serves { 2 } else { 1 };
    for argument in arguments.iter_mut().skip(first) {
        if argument == "--" {
            break;
        }
        if let Some(ours) = flag(argument) {
            *argument = ours;
        }
    }
    let asks = |wanted: &[&str]| arguments.iter().skip(1).any(|argument| wanted.iter().any(|word| argument == word));
    if asks(&["--version", "-V"]) {
        return vec![arguments.swap_remove(0), "--version".into()];
    }
    if !serves {
        let names_a_file = arguments.iter().skip(1).any(|argument| is_config(argument));
        arguments.insert(1, "serve".into());
        if in_its_place && !names_a_file && !asks_for_help(&arguments) && std::env::var_os("PUSHRELAY_CONFIG").is_none()
        {
            arguments.extend(["--config".into(), FILE.into()]);
        }
    }
    arguments
}

fn is_config(argument: &OsStr) -> bool {
    argument.to_str().is_some_and(|text| text == "--config" || text == "-c" || text.starts_with("--config="))
}

fn asks_for_help(arguments: &[OsString]) -> bool {
    arguments.iter().any(|argument| argument == "--help" || argument == "-h")
}

/// One of its flags as ours is written; `None` for anything else.
fn flag(argument: &OsStr) -> Option<OsString> {
    let text = argument.to_str()?;
    let word = text.strip_prefix("--").or_else(|| text.strip_prefix('-'))?;
    match word.split_once('=') {
        None if word == "config" || word == "version" => Some(format!("--{word}").into()),
        Some(("config", file)) => Some(format!("--config={file}").into()),
        // As Go reads a flag that is true.
        Some(("version", "1" | "t" | "T" | "true" | "TRUE" | "True")) => Some("--version".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(line: &str) -> String {
        let arguments = translate(line.split(' ').map(OsString::from));
        arguments.into_iter().map(|argument| argument.into_string().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_arguments_of_mattermost_push_proxy_are_understood() {
        for (given, ours) in [
            ("pushrelay -config a.json", "pushrelay serve --config a.json"),
            ("pushrelay --config a.json", "pushrelay serve --config a.json"),
            ("pushrelay -config=a.json", "pushrelay serve --config=a.json"),
            ("pushrelay --config=a=b.json", "pushrelay serve --config=a=b.json"),
            ("pushrelay -version", "pushrelay --version"),
            ("pushrelay --version", "pushrelay --version"),
            ("pushrelay -version=true", "pushrelay --version"),
            ("pushrelay -config a.json -version", "pushrelay --version"),
            (
                "/opt/bin/mattermost-push-proxy",
                "/opt/bin/mattermost-push-proxy serve --config mattermost-push-proxy.json",
            ),
            ("mattermost-push-proxy -config a.json", "mattermost-push-proxy serve --config a.json"),
            ("mattermost-push-proxy --help", "mattermost-push-proxy serve --help"),
            ("pushrelay serve -config a.json", "pushrelay serve --config a.json"),
            ("pushrelay serve --config a.json", "pushrelay serve --config a.json"),
            ("pushrelay check -config a.json", "pushrelay check --config a.json"),
            ("mattermost-push-proxy check -config a.json", "mattermost-push-proxy check --config a.json"),
            ("mattermost-push-proxy migrate a.json", "mattermost-push-proxy migrate a.json"),
            ("pushrelay -version=1", "pushrelay --version"),
        ] {
            assert_eq!(translated(given), ours, "{given}");
        }
    }

    #[test]
    fn the_commands_of_ours_stay_as_they_are() {
        for line in
            ["pushrelay", "pushrelay check -c a.toml", "pushrelay serve -c a.toml", "pushrelay -h", "pushrelay dev"]
        {
            assert_eq!(translated(line), line);
        }
    }
}
