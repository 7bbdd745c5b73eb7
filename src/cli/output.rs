//! What commands print. `println!` panics when the reader has gone, as in `pushrelay config print | head -1`.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use super::Failure;

/// Prints a text as it is. A reader who has gone wants no more, which is no failure: the command does what it was asked all
/// the same. A full disk is one.
pub(super) fn print(text: impl Display) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    told(write!(output, "{text}").and_then(|()| output.flush()))
}

/// Prints a text as a line.
pub(super) fn say(line: impl Display) -> Result<(), Failure> {
    print(format_args!("{line}\n"))
}

/// Prints a line for the person at the terminal, beside the command's result. If it cannot be printed, nobody is there.
pub(super) fn remark(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

fn told(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::running(format!("cannot write to the standard output: {error}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_who_has_gone_is_no_failure_and_a_full_disk_is() {
        assert!(told(Ok(())).is_ok());
        assert!(told(Err(ErrorKind::BrokenPipe.into())).is_ok());
        let failure = told(Err(ErrorKind::StorageFull.into())).unwrap_err();
        assert_eq!(failure.code, 1);
        assert!(failure.text.starts_with("cannot write to the standard output"), "{}", failure.text);
    }
}
