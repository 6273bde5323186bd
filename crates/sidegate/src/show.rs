//! Showing what a running instance answers: as a table or as JSON, once or again and again.

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Read};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rustix::termios::tcgetwinsize;
use serde::Serialize;
use serde::de::DeserializeOwned;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::low_level::pipe;

use crate::args::ShowArgs;
use crate::request::Request;
use crate::{Failure, output};

/// Clears a terminal's screen, and goes to its beginning.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Asks, and shows the answer.
pub(crate) fn show<T, D>(
    args: &ShowArgs,
    request: &Request,
    table: impl Fn(T) -> D,
) -> Result<ExitCode, Failure>
where
    T: Serialize + DeserializeOwned,
    D: Display,
{
    let ask = || args.whom.ask::<T>(request);
    match (args.watch, args.json) {
        (None, true) => output::print_json(&ask()?)?,
        (None, false) => output::print(table(ask()?))?,
        (Some(pause), true) => again_and_again(pause, || {
            let json = serde_json::to_string(&ask()?).map_err(Failure::system)?;
            Ok(format!("{json}\n"))
        })?,
        (Some(pause), false) if io::stdout().is_terminal() => {
            again_and_again(pause, || Ok(format!("{CLEAR}{}", fitting(&table(ask()?).to_string()))))?;
        }
        (Some(pause), false) => again_and_again(pause, || Ok(format!("{}\n", table(ask()?))))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows what `next` says, until somebody has seen enough.
fn again_and_again(pause: Duration, next: impl Fn() -> Result<String, Failure>) -> Result<(), Failure> {
    let cannot_listen = |error| Failure::system(format_args!("cannot listen for signals: {error}"));
    let mut interrupt = Interrupt::listen().map_err(cannot_listen)?;
    while output::offer(next()?)? && !interrupt.comes_within(pause).map_err(cannot_listen)? {}
    Ok(())
}

/// As much of a text as the terminal has room for. What matters most comes first.
fn fitting(text: &str) -> String {
    let size = tcgetwinsize(io::stdout());
    let [rows, columns] = size.map_or([0; 2], |size| [size.ws_row, size.ws_col].map(usize::from));
    first_lines(text, rows, columns)
}

/// All but the last of so many rows are used: the cursor is there. With 0 nobody knows how many there are, or how wide.
fn first_lines(text: &str, rows: usize, columns: usize) -> String {
    if rows == 0 || columns == 0 {
        return text.into();
    }
    let mut left = rows - 1;
    let fits = |line: &&str| {
        let height = line.trim_end().chars().count().div_ceil(columns).max(1);
        let remaining = left.checked_sub(height);
        left = remaining.unwrap_or(0);
        remaining.is_some()
    };
    text.split_inclusive('\n').take_while(fits).collect()
}

/// Ctrl-C and SIGTERM, as something to wait for.
struct Interrupt(UnixStream);

impl Interrupt {
    fn listen() -> io::Result<Self> {
        let (heard, told) = UnixStream::pair()?;
        // The first may have to wait for an answer that does not come. The second ends us as it would end others.
        let came = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            flag::register_conditional_default(signal, Arc::clone(&came))?;
            flag::register(signal, Arc::clone(&came))?;
            pipe::register(signal, told.try_clone()?)?;
        }
        Ok(Self(heard))
    }

    /// Waits for so long; `true` at once when one comes.
    fn comes_within(&mut self, pause: Duration) -> io::Result<bool> {
        self.0.set_read_timeout(Some(pause))?;
        loop {
            match self.0.read(&mut [0]) {
                Ok(_) => return Ok(true),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                // By a signal: if it was one of these, there is something to read now.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use signal_hook::low_level::raise;

    use super::*;

    #[test]
    fn an_interrupt_is_waited_for() {
        let mut interrupt = Interrupt::listen().unwrap();
        assert!(!interrupt.comes_within(Duration::from_millis(1)).unwrap());
        raise(SIGTERM).unwrap();
        let asked = Instant::now();
        assert!(interrupt.comes_within(Duration::from_secs(60)).unwrap());
        assert!(asked.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_screen_is_not_overrun() {
        let text = "one\n\nthree\n";
        assert_eq!(first_lines(text, 0, 80), text);
        assert_eq!(first_lines(text, 4, 0), text);
        assert_eq!(first_lines(text, 4, 80), text);
        assert_eq!(first_lines(text, 3, 80), "one\n\n");
        assert_eq!(first_lines(text, 4, 5), text, "a full row is one row");
        assert_eq!(first_lines(text, 4, 4), "one\n\n", "a longer line takes two");
        assert_eq!(first_lines("longer\none\n", 2, 4), "", "and none is shown after it");
    }
}
