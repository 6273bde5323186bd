//! What is said on the socket: one JSON object per line, either way.

use serde::{Deserialize, Serialize};

/// The longest request, with its newline.
pub(crate) const MAX_REQUEST: usize = 4096;
/// The longest answer that is read.
pub(crate) const MAX_ANSWER: u64 = 64 << 20;

/// A question to a running instance.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum Request {
    /// How it is doing.
    Status,
}

/// The answer to it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer<T> {
    /// What was asked for.
    Ok(T),
    /// Why there is none.
    Error(String),
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
        assert_eq!(line(&Request::Status).unwrap(), b"{\"verb\":\"status\"}\n");
        assert_eq!(line(&Answer::Ok(7)).unwrap(), b"{\"ok\":7}\n");
        assert_eq!(line(&Answer::<()>::Error("no".into())).unwrap(), b"{\"error\":\"no\"}\n");
    }

    #[test]
    fn only_known_requests_are_read() {
        assert_eq!(serde_json::from_str::<Request>("{\"verb\":\"status\"}").unwrap(), Request::Status);
        for wrong in ["", "7", "{}", "{\"verb\":\"stop\"}"] {
            assert!(serde_json::from_str::<Request>(wrong).is_err(), "{wrong}");
        }
    }
}
