//! `pushrelay completions`: what a shell needs to complete this command line.

use clap::Args;
use clap_complete::Shell;

use super::Failure;
use super::output::print;

/// Print what a shell needs to complete commands and options.
#[derive(Debug, Args)]
#[command(after_help = "\
Put the script where the shell looks for it, and open a new shell. It is made from this program's
own command line: print it again after an update.

Examples:
  pushrelay completions bash > ~/.local/share/bash-completion/completions/pushrelay
  pushrelay completions zsh > ~/.zfunc/_pushrelay        with ~/.zfunc in $fpath, before compinit
  pushrelay completions fish > ~/.config/fish/completions/pushrelay.fish")]
pub(super) struct Completions {
    /// Which shell.
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::command(), "pushrelay", &mut script);
        print(String::from_utf8_lossy(&script))
    }
}
