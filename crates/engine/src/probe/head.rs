//! The head of an HTTP answer, as it comes in: what its status is.

use httparse::{EMPTY_HEADER, Response, Status};

use super::page::Answer;

/// The longest head that is read.
const LONGEST: usize = 16 << 10;
/// The most headers that it may have.
const MOST_HEADERS: usize = 64;

/// What has come of an answer's head.
pub(super) struct Head {
    bytes: Vec<u8>,
    /// How many bytes more are read.
    room: usize,
}

impl Head {
    pub(super) fn new() -> Self {
        Self { bytes: Vec::new(), room: LONGEST }
    }

    /// Hears some more bytes, and says what the answer is as soon as that is known.
    pub(super) fn hear(&mut self, bytes: &[u8]) -> Option<Answer> {
        let heard = &bytes[..bytes.len().min(self.room)];
        self.bytes.extend_from_slice(heard);
        self.room -= heard.len();
        // Only the end of a line can tell anything new: who sends byte by byte does not make us read it all each time.
        let read = if heard.contains(&b'\n') { self.read() } else { None };
        read.or((self.room == 0).then_some(Answer::Garbage))
    }

    fn read(&mut self) -> Option<Answer> {
        loop {
            let mut headers = [EMPTY_HEADER; MOST_HEADERS];
            let mut response = Response::new(&mut headers);
            let length = match response.parse(&self.bytes) {
                Ok(Status::Complete(length)) => length,
                Ok(Status::Partial) => return None,
                Err(_) => return Some(Answer::Garbage),
            };
            match response.code {
                // The answer itself is still to come.
                Some(100 | 102..=199) => drop(self.bytes.drain(..length)),
                Some(status) => return Some(Answer::Status(status)),
                None => return Some(Answer::Garbage),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What becomes of these bytes when they come in pieces of so many.
    fn heard(bytes: &[u8], piece: usize) -> Option<Answer> {
        let mut head = Head::new();
        bytes.chunks(piece).find_map(|piece| head.hear(piece))
    }

    #[test]
    fn a_status_is_known_when_the_head_is_complete() {
        let head = b"HTTP/1.1 204 No Content\r\nServer: x\r\n\r\n";
        assert_eq!(heard(&head[..head.len() - 1], 7), None);
        for piece in 1..=head.len() {
            assert_eq!(heard(head, piece), Some(Answer::Status(204)));
        }
        assert_eq!(heard(b"HTTP/1.0 503\r\n\r\n<html>", 100), Some(Answer::Status(503)));
    }

    #[test]
    fn an_interim_answer_is_not_the_answer() {
        let both = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 404 Not Found\r\n\r\n";
        for piece in [1, 10, both.len()] {
            assert_eq!(heard(both, piece), Some(Answer::Status(404)));
        }
        assert_eq!(heard(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", 9), Some(Answer::Status(101)));
    }

    #[test]
    fn what_is_not_http_or_too_long_is_garbage() {
        let with_headers = |count: usize| {
            let headers = (0..count).map(|n| format!("h{n}: x\r\n")).collect::<String>();
            format!("HTTP/1.1 200 OK\r\n{headers}\r\n").into_bytes()
        };
        assert_eq!(heard(&with_headers(64), 50), Some(Answer::Status(200)));
        assert_eq!(heard(&with_headers(65), 50), Some(Answer::Garbage));
        assert_eq!(heard(b"SSH-2.0-OpenSSH_9.6\r\n", 5), Some(Answer::Garbage));
        let long =
            |length: usize| format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(length)).into_bytes();
        let around = long(0).len();
        assert_eq!(heard(&long(LONGEST - around), 1000), Some(Answer::Status(200)));
        assert_eq!(heard(&long(LONGEST - around + 1), 1000), Some(Answer::Garbage));
        assert_eq!(heard(&[0; LONGEST - 1], 1000), None);
        assert_eq!(heard(&[0; LONGEST], 1000), Some(Answer::Garbage));
    }

    proptest! {
        #[test]
        fn the_answer_does_not_depend_on_how_it_is_cut(
            status in 200u16..600,
            lines in prop::collection::vec("[a-z]{1,9}: [a-z ]{0,20}", 0..10),
            cuts in prop::collection::vec(1usize..40, 1..20),
        ) {
            let head = format!("HTTP/1.1 {status} x\r\n{}\r\n\r\n", lines.join("\r\n"));
            let mut rest = head.as_bytes();
            let mut read = Head::new();
            for cut in cuts.iter().cycle() {
                let (piece, after) = rest.split_at(*cut.min(&rest.len()));
                rest = after;
                if let Some(answer) = read.hear(piece) {
                    prop_assert_eq!(answer, Answer::Status(status));
                    break;
                }
                prop_assert!(!rest.is_empty());
            }
        }

        #[test]
        fn whatever_comes_is_known_within_what_is_read(pieces in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 1..300),
                Just(b"HTTP/1.1 100 x\r\n\r\n".to_vec()),
                Just(b"HTTP/1.1 200 x\r\n".to_vec()),
                Just(b"\r\n".to_vec()),
            ],
            1..50,
        )) {
            let mut head = Head::new();
            let known = pieces.iter().cycle().take(2 * LONGEST).any(|piece| head.hear(piece).is_some());
            prop_assert!(known);
        }
    }
}
