//! The program that names a packet's queue, in the kernel's own instructions (eBPF).
//!
//! It reads a packet with the loads of the classic packet filter: they count from the IP header, leave what they have read
//! in [`VALUE`], in the machine's order, and end the program with 0 where the packet is too short. So it needs no checks of
//! its own, and there is nothing that it could get wrong but the queue.

use libc::{BPF_B as BYTE, BPF_H as HALF, BPF_W as WORD};

use crate::Steering;

/// One instruction, as the kernel reads it on a little-endian machine. On others it refuses the program.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Instruction {
    operation: u8,
    /// The one that is written, and in the upper half the one that is read.
    registers: u8,
    /// How far to jump.
    distance: i16,
    immediate: i32,
}

/// Instructions to be carried out one after the other.
pub(crate) type Code = Vec<Instruction>;

/// The program for this way to steer. The kernel takes the lower 16 bits of what it returns, modulo the number of queues.
pub(crate) fn program(steering: Steering) -> Code {
    let ipv4 = [
        load(HALF, 6),
        and(MORE_FRAGMENTS | FRAGMENT_OFFSET),
        when(IsNot(0), hash(&IPV4_ADDRESSES)),
        load(BYTE, 9),
        when(IsNot(libc::IPPROTO_TCP), when(IsNot(libc::IPPROTO_UDP), hash(&IPV4_ADDRESSES))),
        load(BYTE, 0),
        and(IPV4_HEADER_WORDS),
        shift_left(2),
        copy(HEADER_LENGTH, VALUE),
        by_ports(steering, IPV4_ADDRESSES),
    ];
    let ipv6 = [
        load(BYTE, 6),
        when(IsNot(libc::IPPROTO_TCP), when(IsNot(libc::IPPROTO_UDP), hash(&IPV6_ADDRESSES))),
        set(HEADER_LENGTH, IPV6_HEADER),
        by_ports(steering, IPV6_ADDRESSES),
    ];
    [
        copy(PACKET, ARGUMENT),
        load(BYTE, 0),
        shift_right(4),
        when(Is(4), ipv4.concat()),
        when(Is(6), ipv6.concat()),
        set(VALUE, 0),
        exit(),
    ]
    .concat()
}

const MORE_FRAGMENTS: i32 = 0x2000;
const FRAGMENT_OFFSET: i32 = 0x1fff;
const IPV4_HEADER_WORDS: i32 = 0x0f;
const IPV6_HEADER: i32 = 40;

/// 2^64 divided by the golden ratio: the upper bits of its multiples are spread evenly, also of those in a row.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// What a load has brought, and what the program returns.
const VALUE: u8 = 0;
/// What the program is given.
const ARGUMENT: u8 = 1;
/// Where loads expect the packet.
const PACKET: u8 = 6;
const FACTOR: u8 = 7;
const HASH: u8 = 8;
const HEADER_LENGTH: u8 = 9;

/// A word of the packet.
#[derive(Clone, Copy)]
enum Word {
    /// So far from the start of the packet.
    At(i32),
    /// The first behind the IP header: both ports.
    Ports,
}

/// The source's, and the destination's.
const IPV4_ADDRESSES: [Word; 2] = [Word::At(12), Word::At(16)];
/// Of each, the lowest word.
const IPV6_ADDRESSES: [Word; 2] = [Word::At(20), Word::At(36)];

/// Ends the program with the queue of a packet whose ports can be read.
fn by_ports(steering: Steering, [source, destination]: [Word; 2]) -> Code {
    match steering {
        Steering::ByFlow => hash(&[source, destination, Word::Ports]),
        Steering::ByDestinationPort => [load_behind_header(HALF, 2), exit()].concat(),
    }
}

/// Ends the program with a hash of these words.
fn hash(words: &[Word]) -> Code {
    let mixed = words.iter().flat_map(|word| {
        let load = match *word {
            Word::At(offset) => load(WORD, offset),
            Word::Ports => load_behind_header(WORD, 0),
        };
        [load, calculate(libc::BPF_ADD, HASH, VALUE), calculate(libc::BPF_MUL, HASH, FACTOR)].concat()
    });
    [
        set(HASH, 0),
        set_wide(FACTOR, GOLDEN),
        mixed.collect(),
        copy(VALUE, HASH),
        shift_right(u64::BITS as i32 - 16),
        exit(),
    ]
    .concat()
}

/// What [`VALUE`] is compared with.
enum Condition {
    Is(i32),
    IsNot(i32),
}
use Condition::{Is, IsNot};

/// Does `code` if the condition holds, and otherwise goes on behind it.
fn when(condition: Condition, code: Code) -> Code {
    const JUMP_IF_EQUAL: u32 = libc::BPF_JEQ;
    const JUMP_UNLESS_EQUAL: u32 = 0x50;
    let (jump, immediate) = match condition {
        Is(number) => (JUMP_UNLESS_EQUAL, number),
        IsNot(number) => (JUMP_IF_EQUAL, number),
    };
    let distance = code.len() as i16;
    let over = Instruction { distance, ..one(libc::BPF_JMP | jump | libc::BPF_K, VALUE, 0, immediate) };
    [vec![over], code].concat()
}

fn load(size: u32, offset: i32) -> Code {
    vec![one(libc::BPF_LD | libc::BPF_ABS | size, 0, 0, offset)]
}

fn load_behind_header(size: u32, offset: i32) -> Code {
    vec![one(libc::BPF_LD | libc::BPF_IND | size, 0, HEADER_LENGTH, offset)]
}

/// Arithmetic in 64 bits.
const WIDE: u32 = 0x07;
const MOVE: u32 = 0xb0;

fn copy(to: u8, from: u8) -> Code {
    calculate(MOVE, to, from)
}

fn set(register: u8, number: i32) -> Code {
    vec![one(WIDE | MOVE | libc::BPF_K, register, 0, number)]
}

/// As [`set`]; the number takes two instructions' room.
fn set_wide(register: u8, number: u64) -> Code {
    const DOUBLE: u32 = 0x18;
    let [low, high] = [number as i32, (number >> 32) as i32];
    vec![one(libc::BPF_LD | libc::BPF_IMM | DOUBLE, register, 0, low), one(0, 0, 0, high)]
}

fn calculate(operation: u32, register: u8, with: u8) -> Code {
    vec![one(WIDE | operation | libc::BPF_X, register, with, 0)]
}

fn and(bits: i32) -> Code {
    vec![one(WIDE | libc::BPF_AND | libc::BPF_K, VALUE, 0, bits)]
}

fn shift_left(bits: i32) -> Code {
    vec![one(WIDE | libc::BPF_LSH | libc::BPF_K, VALUE, 0, bits)]
}

fn shift_right(bits: i32) -> Code {
    vec![one(WIDE | libc::BPF_RSH | libc::BPF_K, VALUE, 0, bits)]
}

fn exit() -> Code {
    const EXIT: u32 = 0x90;
    vec![one(libc::BPF_JMP | EXIT, 0, 0, 0)]
}

fn one(operation: u32, written: u8, read: u8, immediate: i32) -> Instruction {
    Instruction { operation: operation as u8, registers: read << 4 | written, distance: 0, immediate }
}
