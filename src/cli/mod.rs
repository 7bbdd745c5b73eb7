//! The command line: one file per command. Parses arguments, prints for people, and maps every failure to an exit code.

mod backup;
mod check;
mod completions;
mod config;
mod demo;
mod dev;
mod enroll;
mod health;
mod keygen;
mod man;
mod migrate;
mod output;
mod queue;
mod reference;
mod removals;
mod restore;
mod send;
mod serve;
mod servers;
mod signals;
mod simulate;
mod table;
#[cfg(test)]
mod tests;
mod trace;

use std::ffi::OsStr;
use std::fmt::Display;
use std::future::Future;
use std::process::ExitCode;

use clap::builder::Resettable;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use url::Url;

/// A push relay for self-hosted chat: takes signed notification requests and delivers them through Apple and Google.
#[derive(Debug, Parser)]
#[command(
    name = "pushrelay",
    version,
    propagate_version = true,
    disable_help_subcommand = true,
    after_help = "\
Examples:
  pushrelay dev                                see a push arrive, with no account and no file
  pushrelay serve --config pushrelay.toml      run the relay
  pushrelay check --config pushrelay.toml      will this configuration deliver?
  pushrelay config print --changed             what holds, and who says so
  pushrelay health --ready                     can the relay on this machine deliver?
  pushrelay enroll https://chat.example.com    register a chat server by what it publishes
  pushrelay servers list                       who may send
  pushrelay trace ACK_ID                       what happened to one push
  pushrelay queue list                         what waits on disk
  pushrelay removals show                      which dead device tokens are believed
  pushrelay backup relay.backup                everything that a new machine needs
  pushrelay restore relay.backup --to /etc/pushrelay
  pushrelay keygen --server-id chat-1          keys for a chat server, and how to use them
  pushrelay migrate mattermost-push-proxy.json > pushrelay.toml
  pushrelay send --platform apple_rn-v2 --token TOKEN
  pushrelay simulate                           stand-ins for Apple and Google to test against

`pushrelay COMMAND --help` says more about each, with examples.

Exit codes:
  0  all went well        1  something failed while running
  2  wrong arguments      78 the configuration is wrong, nothing was started

Environment:
  PUSHRELAY_CONFIG        the configuration, where --config does not name one
  PUSHRELAY_…             any key of the configuration: PUSHRELAY_HTTP__MAX_BODY
  PUSHRELAY_BACKUP_PASSPHRASE   what seals a backup
  NO_COLOR                no colours in what is printed, whatever its value"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Check(check::Check),
    Config(config::Config),
    Health(health::Health),
    Enroll(enroll::Enroll),
    Servers(servers::Servers),
    Trace(trace::Trace),
    Queue(queue::Queue),
    Removals(removals::Removals),
    Backup(backup::Backup),
    Restore(restore::Restore),
    Keygen(keygen::Keygen),
    Migrate(migrate::Migrate),
    Dev(dev::Dev),
    Send(send::Send),
    Simulate(simulate::Simulate),
    Completions(completions::Completions),
    Man(man::Man),
}

/// The whole command line, for what is made from it: completions, manual pages.
fn command() -> clap::Command {
    Arguments::command()
}

/// What was asked for.
fn arguments() -> Arguments {
    let given = reference::translate(std::env::args_os());
    let matches = without_empty_variables(command()).get_matches_from(given);
    Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// An empty variable counts as none, here as in the configuration: that is how a variable of an image or a unit is taken back.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    command
        .mut_args(|arg| if arg.get_env().is_some_and(is_empty) { arg.env(Resettable::Reset) } else { arg })
        .mut_subcommands(without_empty_variables)
}

/// Why a command ended badly: what to print, and the exit code.
#[derive(Debug)]
struct Failure {
    text: String,
    code: u8,
}

impl Failure {
    /// Something failed while running.
    fn running(text: impl Display) -> Self {
        Self { text: text.to_string(), code: 1 }
    }

    /// The configuration is wrong (`EX_CONFIG` of sysexits.h, so that a service manager can tell not to restart).
    fn configuration(text: impl Display) -> Self {
        Self { text: text.to_string(), code: 78 }
    }
}

/// Runs the command that the arguments name.
pub fn run() -> ExitCode {
    // Every TLS connection of the process uses this one library; an earlier installation of the same is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    signals::outlive_file_limits();
    let result = match arguments().command {
        Command::Serve(serve) => serve.run(),
        Command::Check(check) => check.run(),
        Command::Config(config) => config.run(),
        Command::Health(health) => health.run(),
        Command::Enroll(enroll) => enroll.run(),
        Command::Servers(servers) => servers.run(),
        Command::Trace(trace) => trace.run(),
        Command::Queue(queue) => queue.run(),
        Command::Removals(removals) => removals.run(),
        Command::Backup(backup) => backup.run(),
        Command::Restore(restore) => restore.run(),
        Command::Keygen(keygen) => keygen.run(),
        Command::Migrate(migrate) => migrate.run(),
        Command::Dev(dev) => dev.run(),
        Command::Send(send) => send.run(),
        Command::Simulate(simulate) => simulate.run(),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::remark(format_args!("pushrelay: {}", failure.text));
            ExitCode::from(failure.code)
        }
    }
}

/// A relay's address, for `--url`. It can stand in a script as it is: other schemes than these leave quotes unescaped.
fn http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    url.ok_or_else(|| "begin with http:// or https://, and a host: http://127.0.0.1:8066, for example".to_owned())
}

/// Runs a command's asynchronous part to its end.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::running(format!("cannot start worker threads: {error}")))?;
    let result = runtime.block_on(future);
    // Dropping it would wait for blocking calls that nobody needs any more: a look-up of a name can hang for a minute
    // when the name server does, past every deadline of the shutdown.
    runtime.shutdown_background();
    result
}
