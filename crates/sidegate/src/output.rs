//! What is said on stdout and stderr.

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};

use crate::Failure;

/// Prints to stdout. A reader that has seen enough and closed it is no failure.
pub(crate) fn print(what: impl Display) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match write!(stdout, "{what}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::system(format_args!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// Says on stderr what went wrong.
pub(crate) fn complain(what: impl Display) {
    // Where stderr is closed, the exit status is all there is to say.
    let _ = writeln!(io::stderr(), "sidegate: {what}");
}

/// Whether colours are welcome there: on a terminal whose user has not said `NO_COLOR`.
pub(crate) fn colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
