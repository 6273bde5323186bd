//! What is said on stdout and stderr.

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};

use serde::Serialize;

use crate::Failure;

/// Prints to stdout. A reader that has seen enough and closed it is no failure.
pub(crate) fn print(what: impl Display) -> Result<(), Failure> {
    offer(what).map(drop)
}

/// Prints to stdout; `false` if its reader has seen enough and closed it.
pub(crate) fn offer(what: impl Display) -> Result<bool, Failure> {
    let mut stdout = io::stdout().lock();
    match write!(stdout, "{what}").and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::system(format_args!("cannot write to stdout: {error}"))),
    }
}

/// Prints something as JSON.
pub(crate) fn print_json(what: &impl Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(what).map_err(Failure::system)?;
    print(format_args!("{json}\n"))
}

/// Says on stderr what went wrong: in the last line, after whatever it is about.
pub(crate) fn complain(what: impl Display) {
    let text = what.to_string();
    let (about, point) = text.rsplit_once('\n').map_or(("", text.as_str()), |(about, point)| (about, point));
    let mut stderr = io::stderr().lock();
    // Where stderr is closed, the exit status is all there is to say.
    let _ = about.lines().try_for_each(|line| writeln!(stderr, "{line}"));
    let _ = writeln!(stderr, "sidegate: {point}");
}

/// Whether colours are welcome there: on a terminal whose user has not said `NO_COLOR`.
pub(crate) fn colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
