//! A blocking netlink socket: one request, its answers, and the kernel's yes or no. It belongs to the namespace of
//! the thread that opens it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{
    DecodeError, NLM_F_ACK, NLM_F_REQUEST, NetlinkDeserializable, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use netlink_sys::{Socket, SocketAddr};
use rustix::io::Errno;

/// A netlink socket, bound and used by one thread.
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens a socket for one of [`netlink_sys::protocols`].
    pub(crate) fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Sends a request and waits until the kernel has answered all of it. A refusal is the error that it names.
    pub(crate) fn request<M>(&mut self, message: M, flags: u16) -> io::Result<Vec<M>>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        self.sequence += 1;
        let mut request = NetlinkMessage::new(Default::default(), NetlinkPayload::InnerMessage(message));
        request.header.flags = flags | NLM_F_REQUEST | NLM_F_ACK;
        request.header.sequence_number = self.sequence;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;

        let mut answers = Vec::new();
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            if self.take(&datagram, &mut answers)? == Progress::Complete {
                return Ok(answers);
            }
        }
    }

    /// Takes the messages of one datagram apart.
    fn take<M: NetlinkDeserializable>(
        &self,
        mut datagram: &[u8],
        answers: &mut Vec<M>,
    ) -> io::Result<Progress> {
        while !datagram.is_empty() {
            let message = NetlinkMessage::<M>::deserialize(datagram).map_err(invalid)?;
            let length = (message.header.length as usize).next_multiple_of(4);
            datagram = datagram.get(length..).unwrap_or_default();
            if message.header.sequence_number != self.sequence {
                continue;
            }
            match message.payload {
                NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                NetlinkPayload::Done(done) if done.code != 0 => {
                    return Err(io::Error::from_raw_os_error(done.code.saturating_abs()));
                }
                NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => return Ok(Progress::Complete),
                _ => {}
            }
        }
        Ok(Progress::More)
    }
}

/// Sockets also serve the older requests about interfaces.
impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What is gone is as good as removed: a route, an address, an entry, or the link itself.
pub(crate) fn unless_gone<T>(done: io::Result<T>, if_gone: T) -> io::Result<T> {
    match done.as_ref().err().and_then(Errno::from_io_error) {
        Some(Errno::SRCH | Errno::ADDRNOTAVAIL | Errno::NODEV | Errno::NOENT) => Ok(if_gone),
        _ => done,
    }
}

/// Whether an answer goes on.
#[derive(PartialEq, Eq)]
enum Progress {
    More,
    Complete,
}

fn invalid(error: DecodeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
