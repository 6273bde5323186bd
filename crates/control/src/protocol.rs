//! What is said on the socket: one JSON object per line, either way.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The longest request, with its newline.
pub(crate) const MAX_REQUEST: usize = 4096;
/// The longest answer that is read.
pub(crate) const MAX_ANSWER: u64 = 64 << 20;

/// Why a request gets no answer, as the asker's operator is to read it.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Refusal {
    /// What was asked for cannot be: the asker's mistake.
    #[error("{0}")]
    Mistake(String),
    /// It could be, and was not done: the system refused, or the asker was not understood.
    #[error("{0}")]
    Error(String),
}

/// What comes back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer<T> {
    /// What was asked for.
    Ok(T),
    /// See [`Refusal::Mistake`].
    Mistake(String),
    /// See [`Refusal::Error`].
    Error(String),
}

impl<T> From<Result<T, Refusal>> for Answer<T> {
    fn from(result: Result<T, Refusal>) -> Self {
        match result {
            Ok(answer) => Self::Ok(answer),
            Err(Refusal::Mistake(reason)) => Self::Mistake(reason),
            Err(Refusal::Error(reason)) => Self::Error(reason),
        }
    }
}

impl<T> From<Answer<T>> for Result<T, Refusal> {
    fn from(answer: Answer<T>) -> Self {
        match answer {
            Answer::Ok(answer) => Ok(answer),
            Answer::Mistake(reason) => Err(Refusal::Mistake(reason)),
            Answer::Error(reason) => Err(Refusal::Error(reason)),
        }
    }
}

/// A message as it goes over the socket.
pub(crate) fn line(message: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_as_documented() {
        let sent =
            |answer: Result<u8, Refusal>| String::from_utf8(line(&Answer::from(answer)).unwrap()).unwrap();
        assert_eq!(sent(Ok(7)), "{\"ok\":7}\n");
        assert_eq!(sent(Err(Refusal::Mistake("no".into()))), "{\"mistake\":\"no\"}\n");
        assert_eq!(sent(Err(Refusal::Error("no".into()))), "{\"error\":\"no\"}\n");
    }

    #[test]
    fn a_message_is_one_line_whatever_it_says() {
        let refusal = Err(Refusal::Mistake("line 3 is wrong\nline 7 is wrong".into()));
        let sent = line(&Answer::<()>::from(refusal.clone())).unwrap();
        assert_eq!(sent.iter().filter(|byte| **byte == b'\n').count(), 1);
        let received: Answer<()> = serde_json::from_slice(&sent).unwrap();
        assert_eq!(Result::from(received), refusal);
    }

    #[test]
    fn only_known_answers_are_read() {
        for wrong in ["", "7", "{}", "{\"no\":7}", "{\"ok\":\"seven\"}"] {
            assert!(serde_json::from_str::<Answer<u8>>(wrong).is_err(), "{wrong}");
        }
    }
}
