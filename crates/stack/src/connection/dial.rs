//! Opening a connection of our own: a SYN, and a second one if the first meets what is left of somebody else's.

use std::net::SocketAddr;
use std::time::Duration;

use smoltcp::socket::tcp::State as Tcp;
use wire::Packet;

use super::{Connection, Failure};
use crate::isn::interface_seed;
use crate::{Stack, interface};

impl Connection {
    /// A connection to `to`, from the address and port `from`. Its SYN leaves with the first poll. `None` where the stack has no
    /// place left.
    pub fn dial(stack: &mut Stack, from: SocketAddr, to: SocketAddr, now: Duration) -> Option<Self> {
        let mut connection = Self::new(stack, from, to, now)?;
        connection.connect(stack);
        Some(connection)
    }

    /// Takes note of a packet in answer to our SYN. A peer in TIME-WAIT from an older connection on our port answers with an ACK;
    /// the RST that smoltcp sends ends that, and then it listens. So the SYN goes out again at once, as Linux does it; not a second
    /// time, because not everybody who sends such an ACK forgets.
    pub(super) fn dial_again_if_challenged(&mut self, stack: &Stack, packet: &Packet) {
        let flags = packet.flags;
        let is_challenge = flags.ack() && !flags.syn() && !flags.rst();
        if is_challenge && self.socket().state() == Tcp::SynSent && !self.has_dialled_again {
            self.has_dialled_again = true;
            self.socket_mut().abort();
            self.connect(stack);
        }
    }

    fn connect(&mut self, stack: &Stack) {
        let (local, remote) = (self.local, self.remote);
        // The socket draws its sequence number from an interface that is made for this one draw.
        let mut opening = interface(&stack.link, interface_seed(self.beginning.sequence));
        if !self.is_possible() || self.socket_mut().connect(opening.context(), remote, local).is_err() {
            self.failure = Some(Failure::Refused);
        }
    }
}
