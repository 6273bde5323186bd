//! A path that carries less than the stack's settings say: which errors that say so are believed.

use wire::least_mtu;

use super::Connection;

impl Connection {
    /// Takes note that the path carries no more than `mtu`, as an ICMP error says that quotes a packet with this `sequence`
    /// number. From here on no segment is larger, and what is under way is sent again.
    ///
    /// Believed, and `true`, only if that packet holds data that is under way (RFC 5927): nobody else can know its number.
    /// What every path carries is not gone below.
    pub fn lower_mtu(&mut self, mtu: usize, sequence: u32) -> bool {
        if !self.is_under_way(sequence) {
            return false;
        }
        let least = least_mtu(self.remote.ip().into());
        let known = self.path_mtu.unwrap_or(usize::MAX);
        self.path_mtu = Some(mtu.clamp(least, known));
        self.stir();
        true
    }
}
