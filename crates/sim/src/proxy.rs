//! The proxy protocol's header, version 2, as a target reads it: by the specification and by what the real load balancers are
//! known to send, by other code than the forwarder's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use topology::EndpointWords;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Where the fixed part ends.
const FIXED: usize = 16;
/// AWS fills a header up to this.
const AWS_LEN: usize = 100;

/// What a connection begins with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Header {
    /// Nobody stands behind it: the load balancer asks for itself.
    Local,
    /// A client does.
    Client(Announcement),
}

/// Who a client is, where it has connected to, and through which endpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Announcement {
    /// The client.
    pub client: SocketAddr,
    /// The interface, and the listener's port.
    pub interface: SocketAddr,
    /// The endpoint.
    pub endpoint: Named,
}

/// An endpoint, in the words of one cloud.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Named {
    /// AWS'.
    Aws(String),
    /// GCP's.
    Gcp(u64),
    /// Azure's.
    Azure(u32),
}

/// The ids of an endpoint, which the operator gives it by his file.
#[derive(Clone, Debug)]
pub struct Ids {
    aws: String,
    gcp: u64,
    azure: u32,
}

impl Ids {
    /// Those of the endpoint with this number.
    pub fn of(number: usize) -> Self {
        let own = 0x0a5b_0000_0000_0001 + (number as u64) * 0x0101_0101;
        Self { aws: format!("vpce-0{own:016x}"), gcp: own, azure: own as u32 ^ 0x8000_0000 }
    }

    /// As the file says them.
    pub fn text(&self) -> String {
        let Self { aws, gcp, azure } = self;
        format!("{{ aws = \"{aws}\", gcp = {gcp}, azure = {azure} }}")
    }

    /// What a header says of them.
    pub fn named(&self, words: EndpointWords) -> Named {
        match words {
            EndpointWords::Aws => Named::Aws(self.aws.clone()),
            EndpointWords::Gcp => Named::Gcp(self.gcp),
            EndpointWords::Azure => Named::Azure(self.azure),
        }
    }
}

/// How long a client's header is.
pub fn len_of(words: EndpointWords, is_v4: bool) -> u32 {
    let addresses = if is_v4 { 12 } else { 36 };
    match words {
        EndpointWords::Aws => AWS_LEN as u32,
        EndpointWords::Gcp => FIXED as u32 + addresses + 3 + 8,
        EndpointWords::Azure => FIXED as u32 + addresses + 3 + 5,
    }
}

/// The header that bytes begin with, and its length; nothing, as long as more of it has to come.
pub fn read(bytes: &[u8]) -> Result<Option<(Header, usize)>, String> {
    let beginning = SIGNATURE.len().min(bytes.len());
    if bytes[..beginning] != SIGNATURE[..beginning] {
        return Err(format!("no header begins with {:02x?}", &bytes[..beginning]));
    }
    let Some([command, family, high, low]) = bytes.get(SIGNATURE.len()..FIXED).and_then(<[u8]>::first_chunk)
    else {
        return Ok(None);
    };
    let len = FIXED + usize::from(u16::from_be_bytes([*high, *low]));
    let Some(whole) = bytes.get(..len) else { return Ok(None) };
    let header = match (command, family) {
        (0x20, _) => Header::Local,
        (0x21, 0x11) => Header::Client(client::<4>(whole)?),
        (0x21, 0x21) => Header::Client(client::<16>(whole)?),
        other => return Err(format!("a header with {other:02x?} in it")),
    };
    Ok(Some((header, len)))
}

/// What a header with addresses of `N` bytes says.
fn client<const N: usize>(whole: &[u8]) -> Result<Announcement, String> {
    let short = || format!("a header of {} bytes", whole.len());
    let (addresses, rest) = whole[FIXED..].split_at_checked(2 * N).ok_or_else(short)?;
    let (ports, values) = rest.split_at_checked(4).ok_or_else(short)?;
    let end = |number: usize| {
        let port = u16::from_be_bytes([ports[2 * number], ports[2 * number + 1]]);
        SocketAddr::new(address(&addresses[number * N..][..N]), port)
    };
    Ok(Announcement { client: end(0), interface: end(1), endpoint: endpoint(whole, values)? })
}

fn address(octets: &[u8]) -> IpAddr {
    match (<[u8; 4]>::try_from(octets), <[u8; 16]>::try_from(octets)) {
        (Ok(v4), _) => Ipv4Addr::from(v4).into(),
        (_, Ok(v6)) => Ipv6Addr::from(v6).into(),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    }
}

/// The endpoint that is named behind the addresses: once, and with nothing else but what belongs to that cloud's words.
fn endpoint(whole: &[u8], mut values: &[u8]) -> Result<Named, String> {
    let mut said = Vec::new();
    while let [kind, high, low, rest @ ..] = values {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, next) = rest.split_at_checked(len).ok_or("a value that is longer than its header")?;
        said.push((*kind, value));
        values = next;
    }
    let wrong = || format!("a header that says {said:02x?}");
    match &said[..] {
        [(0x03, sum), (0xea, [1, id @ ..]), (0x04, filling)] if values.is_empty() => {
            let is_sound = checksum_of(whole, sum) == **sum
                && filling.iter().all(|byte| *byte == 0)
                && whole.len() == AWS_LEN;
            let id = str::from_utf8(id).ok().filter(|_| is_sound).ok_or_else(wrong)?;
            Ok(Named::Aws(id.into()))
        }
        [(0xe0, id)] if values.is_empty() => {
            Ok(Named::Gcp(u64::from_be_bytes((*id).try_into().map_err(|_| wrong())?)))
        }
        [(0xee, [1, id @ ..])] if values.is_empty() => {
            Ok(Named::Azure(u32::from_le_bytes(id.try_into().map_err(|_| wrong())?)))
        }
        _ => Err(wrong()),
    }
}

/// CRC32C of a header, as if its checksum, which is a part of it, were zero.
fn checksum_of(whole: &[u8], sum: &[u8]) -> [u8; 4] {
    let own = sum.as_ptr() as usize - whole.as_ptr() as usize;
    let bytes =
        whole.iter().enumerate().map(|(at, byte)| if (own..own + 4).contains(&at) { 0 } else { *byte });
    (!bytes.fold(u32::MAX, divide)).to_be_bytes()
}

/// One byte's step of the long division by the Castagnoli polynomial.
fn divide(remainder: u32, byte: u8) -> u32 {
    let step = |bits: u32, _| if bits & 1 == 1 { bits >> 1 ^ 0x82f6_3b78 } else { bits >> 1 };
    (0..8).fold(remainder ^ u32::from(byte), step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_castagnolis() {
        assert_eq!(!b"123456789".iter().copied().fold(u32::MAX, divide), 0xe306_9283);
    }

    /// As AWS writes it, for 10.0.0.1:51442 at 10.0.0.2:80.
    fn aws() -> Vec<u8> {
        let mut bytes =
            [SIGNATURE, &[0x21, 0x11, 0, 84, 10, 0, 0, 1, 10, 0, 0, 2, 0xc8, 0xf2, 0, 80]].concat();
        bytes.extend([3, 0, 4, 0, 0, 0, 0, 0xea, 0, 0x17, 1]);
        bytes.extend(b"vpce-08d2bf15fac5001c9");
        bytes.extend([4, 0, 36]);
        bytes.resize(AWS_LEN, 0);
        let sum = !bytes.iter().copied().fold(u32::MAX, divide);
        bytes[31..35].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    /// As captured by others: of the load-balancer vendor's own tests, and of a client library's.
    #[test]
    fn the_real_ones_are_read() {
        let captured = [
            ([172, 31, 7, 113], 0xc8f2, [172, 31, 10, 31], 80, "vpce-08d2bf15fac5001c9", 0xe8d6_892d_u32),
            ([192, 168, 44, 10], 0xcc3e, [192, 168, 44, 7], 0x241b, "vpce-00eafc458ec97b833", 0xb928_6fa6),
        ];
        for (client, from, interface, to, id, sum) in captured {
            let (from, to): (u16, u16) = (from, to);
            let ends = [client, interface].concat();
            let ports = [from.to_be_bytes(), to.to_be_bytes()].concat();
            let mut bytes = [SIGNATURE, &[0x21, 0x11, 0, 84], &ends, &ports, &[3, 0, 4]].concat();
            bytes.extend(sum.to_be_bytes());
            bytes.extend([0xea, 0, 0x17, 1]);
            bytes.extend(id.as_bytes());
            bytes.extend([4, 0, 36]);
            bytes.resize(AWS_LEN, 0);
            let announced = Announcement {
                client: (client, from).into(),
                interface: (interface, to).into(),
                endpoint: Named::Aws(id.into()),
            };
            assert_eq!(read(&bytes), Ok(Some((Header::Client(announced), AWS_LEN))));
        }
    }

    #[test]
    fn a_header_is_read_when_all_of_it_is_there() {
        let bytes = [aws(), b"more".to_vec()].concat();
        for part in 0..AWS_LEN {
            assert_eq!(read(&bytes[..part]), Ok(None));
        }
        let announced = Announcement {
            client: ([10, 0, 0, 1], 0xc8f2).into(),
            interface: ([10, 0, 0, 2], 80).into(),
            endpoint: Named::Aws("vpce-08d2bf15fac5001c9".into()),
        };
        assert_eq!(read(&bytes), Ok(Some((Header::Client(announced), AWS_LEN))));
    }

    #[test]
    fn whatever_byte_is_wrong_it_is_noticed() {
        for at in 0..AWS_LEN {
            let mut bytes = aws();
            bytes[at] ^= 0x20;
            assert!(!matches!(read(&bytes), Ok(Some((Header::Client(_), _)))), "byte {at}");
        }
    }

    #[test]
    fn other_clouds_have_their_own_words() {
        let told = |family: u8, octets: usize, value: &[u8]| {
            let len = (octets + value.len()) as u8;
            let header = [SIGNATURE, &[0x21, family, 0, len], &vec![7; octets], value].concat();
            read(&header).map(|read| match read {
                Some((Header::Client(Announcement { endpoint, .. }), len)) => Some((endpoint, len)),
                _ => None,
            })
        };
        let gcp = [0xe0, 0, 8, 0, 0, 0, 0, 0, 0, 1, 2];
        let azure = [0xee, 0, 5, 1, 2, 1, 0, 0];
        for (family, octets) in [(0x11, 12), (0x21, 36)] {
            let len = |words| len_of(words, octets == 12) as usize;
            let own = |endpoint, words| Ok(Some((endpoint, len(words))));
            assert_eq!(told(family, octets, &gcp), own(Named::Gcp(258), EndpointWords::Gcp));
            assert_eq!(told(family, octets, &azure), own(Named::Azure(258), EndpointWords::Azure));
            assert!(told(family, octets, &[gcp.as_slice(), &azure].concat()).is_err(), "one is enough");
            assert!(told(family, octets, &azure[..7]).is_err());
            assert!(told(family, octets, &[]).is_err());
        }
        assert_eq!(read(&[SIGNATURE, &[0x20, 0, 0, 0]].concat()), Ok(Some((Header::Local, FIXED))));
        assert!(read(b"GET / HTTP/1.1\r\n").is_err());
    }
}
