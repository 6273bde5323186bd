//! Prints headers of the proxy protocol, for other people's parsers to judge: `headers NUMBER SEED`.
//!
//! A line for each: SOURCE PORT DESTINATION PORT aws|gcp|azure ID HEADER, the header in hexadecimal digits.
#![expect(clippy::print_stdout, reason = "the headers are this program's output")]

use std::env;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::{ProxyEndpoint, ProxyHeader};

fn main() {
    let mut arguments = env::args().skip(1).map(|argument| argument.parse::<u64>());
    let (Some(Ok(number)), Some(Ok(seed))) = (arguments.next(), arguments.next()) else {
        println!("usage: headers NUMBER SEED");
        return;
    };
    let mut dice = Dice(seed);
    (0..number).for_each(|_| println!("{}", line(&mut dice)));
}

/// A header of any kind, behind what it says.
fn line(dice: &mut Dice) -> String {
    let is_v4 = dice.roll().is_multiple_of(2);
    let mut end = || (dice.address(is_v4), dice.roll() as u16);
    let (source, destination) = (end(), end());
    let number = dice.roll();
    // Of either length that such ids have.
    let name = if number.is_multiple_of(4) {
        format!("vpce-{:08x}", number as u32)
    } else {
        format!("vpce-0{number:016x}")
    };
    let (words, id, endpoint) = match dice.roll() % 3 {
        0 => ("aws", name.clone(), ProxyEndpoint::Aws(&name)),
        1 => ("gcp", number.to_string(), ProxyEndpoint::Gcp(number)),
        _ => ("azure", (number as u32).to_string(), ProxyEndpoint::Azure(number as u32)),
    };
    let [from, to] = [source, destination].map(|(address, port)| (address.into(), port));
    let header = ProxyHeader { source: from, destination: to, endpoint }.to_bytes();
    let digits: String = header.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{} {} {} {} {words} {id} {digits}", source.0, source.1, destination.0, destination.1)
}

/// Numbers that look random (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn address(&mut self, is_v4: bool) -> IpAddr {
        if is_v4 {
            Ipv4Addr::from_bits(self.roll() as u32).into()
        } else {
            Ipv6Addr::from_bits(u128::from(self.roll()) << 64 | u128::from(self.roll())).into()
        }
    }
}
