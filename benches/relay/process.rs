//! The processes of the benchmark: how they are started, spoken to and ended, and what the kernel says they used.
//!
//! A helper is this same program started with a role. It reads commands, one a line, from standard input, answers
//! each with one line on standard output, and ends when its input closes, so none outlives the benchmark.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::sync::mpsc;

/// Length of a clock tick in `/proc/PID/stat`. Linux shows user space 100 a second on every platform this runs on.
const TICK: Duration = Duration::from_millis(10);

/// A child that is ended when this is dropped.
pub(crate) struct Subprocess(pub(crate) Child);

impl Subprocess {
    /// Processor time used so far by all threads, user and system together. Resolution: one tick (10 ms).
    pub(crate) fn cpu(&self) -> Result<Duration> {
        cpu_of(&self.0.id().to_string())
    }

    /// Resident memory in KiB, exact (`smaps_rollup`; the counters in `statm` lag behind by some pages per thread).
    pub(crate) fn resident_kib(&self) -> Result<u64> {
        let path = format!("/proc/{}/smaps_rollup", self.0.id());
        let text = fs::read_to_string(&path).with_context(|| format!("{path}: is the process gone?"))?;
        text.lines()
            .find_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix(" kB")?.parse().ok())
            .with_context(|| format!("{path} has no Rss line"))
    }
}

impl Drop for Subprocess {
    fn drop(&mut self) {
        // Fails only if it has ended by itself, which is as well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Processor time of this process so far.
pub(crate) fn own_cpu() -> Result<Duration> {
    cpu_of("self")
}

fn cpu_of(pid: &str) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("{path}: is the process gone?"))?;
    // The second field is the name in parentheses and may hold spaces; utime and stime are fields 14 and 15.
    let (_, rest) = text.rsplit_once(") ").with_context(|| format!("{path}: unexpected form"))?;
    let ticks = rest.split(' ').skip(11).take(2).map(str::parse::<u32>).sum::<Result<u32, _>>();
    Ok(TICK * ticks.with_context(|| format!("{path}: unexpected form"))?)
}

/// This program in another role.
pub(crate) struct Helper {
    pub(crate) process: Subprocess,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    role: &'static str,
}

impl Helper {
    pub(crate) fn start(role: &'static str, arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new(env::current_exe()?)
            .arg(role)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start the {role}"))?;
        let commands = child.stdin.take().context("stdin was asked for")?;
        let answers = BufReader::new(child.stdout.take().context("stdout was asked for")?);
        Ok(Self { process: Subprocess(child), commands, answers, role })
    }

    /// The next line the helper says.
    pub(crate) fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            bail!("the {} ended; its reason is above", self.role);
        }
        Ok(line.trim_end().to_owned())
    }

    /// Gives a command and waits for its answer.
    pub(crate) fn ask(&mut self, command: &str) -> Result<String> {
        self.tell(command)?;
        self.answer()
    }

    /// Gives a command whose answer is for later.
    pub(crate) fn tell(&mut self, command: &str) -> Result<()> {
        writeln!(self.commands, "{command}").with_context(|| format!("the {} does not listen", self.role))
    }

    /// As [`Self::ask`], for commands whose answer is a number.
    pub(crate) fn ask_number(&mut self, command: &str) -> Result<u64> {
        let answer = self.ask(command)?;
        answer.parse().with_context(|| format!("the {} answered {command:?} with {answer:?}", self.role))
    }
}

/// In a helper: the commands, one a line; ends when the benchmark does. The thread ends with its input.
pub(crate) fn commands() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(1);
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// In a helper: answers a command.
pub(crate) fn reply(text: impl std::fmt::Display) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}
