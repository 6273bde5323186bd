//! What stands behind a target's port: servers that are told who their clients are, or are not; and that speak first, or wait.
//! Each kind is reached by each path.

use topology::{EndpointWords, HeaderPlacement, Path, ProxyProtocol};

use crate::rng::Rng;

/// What a server that speaks first says.
pub const GREETING: &[u8] = b"220 simulated.example at your service\r\n";
/// How many kinds there are.
pub const SHOPS: usize = 6;
/// A server here answers a SYN, and nothing else ever.
pub const DEAF: u16 = 11;
/// A server here resets a connection at the first byte that it hears.
pub const RUDE: u16 = 12;

/// Where the first kind's targets listen.
const FIRST_TARGET: u16 = 8090;
/// From a path's first port on: those kinds, and then whoever is deaf, or rude.
const LISTENERS: [(Path, u16); 3] = [(Path::Nat, 8200), (Path::Splice, 8300), (Path::Terminate, 8500)];
const DEAF_LISTENER: u16 = 10;
const RUDE_LISTENER: u16 = 11;

/// One kind of server.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Shop {
    /// How it is told who its client is, if it is.
    pub header: Option<ProxyProtocol>,
    /// Whether it speaks first.
    pub greets: bool,
}

impl Shop {
    /// All kinds, each with the words of some cloud.
    pub fn draw(rng: &mut Rng) -> [Self; SHOPS] {
        let words = [EndpointWords::Aws, EndpointWords::Gcp, EndpointWords::Azure];
        let placements =
            [None, Some(HeaderPlacement::OnFirstAckWithPayload), Some(HeaderPlacement::OnFirstAck)];
        std::array::from_fn(|kind| Self {
            header: placements[kind / 2]
                .map(|placement| ProxyProtocol { placement, words: words[rng.index(3)] }),
            greets: kind % 2 == 1,
        })
    }

    /// Whoever is told in the usual way, and waits.
    pub fn told() -> Self {
        Self { header: Some(ProxyProtocol::default()), greets: false }
    }

    /// Whether its header, if it gets one, waits for the client's first bytes.
    pub fn withholds(&self) -> bool {
        self.header.is_none_or(|header| header.placement == HeaderPlacement::OnFirstAckWithPayload)
    }

    /// Whether it waits for a header before it greets.
    pub fn hears_first(&self) -> bool {
        self.header.is_some() && !self.withholds()
    }

    /// How long its header is.
    pub fn header_len(&self, is_v4: bool) -> u32 {
        self.header.map_or(0, |header| crate::proxy::len_of(header.words, is_v4))
    }
}

/// A listener for clients of this kind of server, on this path.
pub fn listener(path: Path, shop: usize) -> u16 {
    first(path) + shop as u16
}

/// Where the deaf are reached.
pub fn deaf_listener(path: Path) -> u16 {
    first(path) + DEAF_LISTENER
}

/// Where the rude are reached.
pub fn rude_listener(path: Path) -> u16 {
    first(path) + RUDE_LISTENER
}

/// The port of this kind's targets.
pub fn target(shop: usize) -> u16 {
    FIRST_TARGET + shop as u16
}

/// Which kind listens at a target's port.
pub fn at_target(port: u16) -> Option<usize> {
    let shop = usize::from(port.checked_sub(FIRST_TARGET)?);
    (shop < SHOPS).then_some(shop)
}

/// Which kind is behind a listener's port.
pub fn at_listener(port: u16) -> Option<usize> {
    LISTENERS.iter().find_map(|(_, first)| {
        let shop = usize::from(port.checked_sub(*first)?);
        (shop < SHOPS).then_some(shop)
    })
}

/// The path behind a listener's port, if it is one of those here.
pub fn path_at(port: u16) -> Option<Path> {
    LISTENERS
        .iter()
        .find(|(_, first)| (*first..=first + RUDE_LISTENER).contains(&port))
        .map(|(path, _)| *path)
}

/// Every listener's port, with its path and its group's name.
pub fn listeners() -> impl Iterator<Item = (Path, u16, String)> {
    LISTENERS.into_iter().flat_map(|(path, _)| {
        let shops = (0..SHOPS).map(move |shop| (path, listener(path, shop), group(shop)));
        let odd = [(path, deaf_listener(path), "deaf".into()), (path, rude_listener(path), "rude".into())];
        shops.chain(odd)
    })
}

/// The name of this kind's group.
pub fn group(shop: usize) -> String {
    format!("shop-{shop}")
}

fn first(path: Path) -> u16 {
    LISTENERS.iter().find(|(own, _)| *own == path).map_or(0, |(_, first)| *first)
}
