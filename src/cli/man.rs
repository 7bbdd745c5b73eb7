//! `pushrelay man`: manual pages, made from the help.

use std::path::{Path, PathBuf};

use clap::{Args, Command};

use super::Failure;
use super::output::{print, say};

/// Print the manual page, or write one for each command.
#[derive(Debug, Args)]
#[command(after_help = "\
The pages say what --help says, for `man`. Print them again after an update.

Examples:
  pushrelay man > pushrelay.1
  pushrelay man --out ~/.local/share/man/man1       then: man pushrelay-serve")]
pub(super) struct Man {
    /// Write a page for every command into this directory, which is made if it is not there; older pages are replaced.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut command = super::command();
        command.build();
        let Some(directory) = self.out else { return print(String::from_utf8_lossy(&page(&command)?.1)) };
        std::fs::create_dir_all(&directory).map_err(|error| trouble(&directory, &error))?;
        let mut pages = Vec::new();
        collect(&command, &mut pages)?;
        for (name, text) in &pages {
            let file = directory.join(name);
            std::fs::write(&file, text).map_err(|error| trouble(&file, &error))?;
        }
        say(format_args!("{} pages are in {}.", pages.len(), directory.display()))
    }
}

fn trouble(path: &Path, error: &std::io::Error) -> Failure {
    Failure::running(format!("cannot write {}: {error}", path.display()))
}

/// A page for the command and for each below it; as many as there are commands.
fn collect(command: &Command, pages: &mut Vec<(String, Vec<u8>)>) -> Result<(), Failure> {
    pages.push(page(command)?);
    command.get_subcommands().try_for_each(|below| collect(below, pages))
}

/// Its file name and its text.
fn page(command: &Command) -> Result<(String, Vec<u8>), Failure> {
    let page = clap_mangen::Man::new(command.clone());
    let mut text = Vec::new();
    page.render(&mut text).map_err(|error| Failure::running(format!("cannot make the page: {error}")))?;
    Ok((page.get_filename(), text))
}
