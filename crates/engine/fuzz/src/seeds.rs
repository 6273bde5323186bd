//! What the fuzzer begins with: conversations as they are, and as they go wrong. `scripts/fuzz --seeds` writes them to
//! `seeds/`.

mod balance;
mod beside;
mod road;
mod shifted;

use crate::script::{Asker, Left, Making, Script, Segment, Setting, Step, Treatment};

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// The interface's ports: the numbers of [`Making::Ask`]'s doors.
const NAT: u8 = 0;
const TERMINATE: u8 = 1;
const DNS: u8 = 2;
const NOTHING: u8 = 3;
const PING: u8 = 4;
const ROUND: u8 = 5;
const TOLD: u8 = 6;
const SPLICED_TOLD: u8 = 7;
const TOLD_AT_ONCE: u8 = 8;
const SPLICED: u8 = 9;

const PROVIDER: u8 = 0;
const CONSUMER: u8 = 1;

const PLAIN: Setting = Setting {
    helpful: false,
    two_workers: false,
    small_table: false,
    full_rings: false,
    plain_devices: false,
    checked: false,
};
const HELPFUL: Setting = Setting { helpful: true, ..PLAIN };
const CHECKED: Setting = Setting { checked: true, ..PLAIN };
const TWO_WORKERS: Setting = Setting { two_workers: true, ..PLAIN };

/// What makes the client's address fd01::2 the loopback address.
const LOOPBACK_V6: [(u16, u8); 3] = [(8, 0), (9, 0), (23, 1)];

/// All seeds, by name.
pub fn all() -> Vec<(String, Script)> {
    let mut seeds = Vec::new();
    for (family, v6) in [("4", false), ("6", true)] {
        let asker = Asker { v6, ..Asker::default() };
        let stories = [
            road::nat(asker),
            road::terminated(asker),
            road::datagrams(asker),
            beside::reports(asker),
            beside::fragments(asker),
            balance::ends(asker),
            shifted::headed(asker),
            shifted::spliced(asker),
            refusals(asker),
        ];
        for (name, setting, steps) in stories.into_iter().flatten() {
            seeds.push((format!("{name}-{family}"), Script { setting, steps }));
        }
    }
    let others = others().into_iter();
    seeds.extend(others.map(|(name, setting, steps)| (name.to_owned(), Script { setting, steps })));
    seeds
}

type Story = (&'static str, Setting, Vec<Step>);

fn refusals(asker: Asker) -> Vec<Story> {
    let (hops, transport) = if asker.v6 { (7, 40) } else { (8, 20) };
    let patched =
        |patches: &[(u16, u8)], mend| Treatment { patches: patches.to_vec(), mend, ..Treatment::default() };
    let syn = |patches: &[(u16, u8)], mend| treated(asking(asker, NAT, says(SYN, 0)), patched(patches, mend));
    // From a loopback and a multicast address and one of our own; to one that is not; of another protocol.
    let addresses: [&[(u16, u8)]; 5] = if asker.v6 {
        [&LOOPBACK_V6, &[(8, 0xff), (9, 2)], &[(21, 9), (22, 0), (23, 0x50)], &[(38, 7)], &[(6, 47)]]
    } else {
        [&[(12, 127)], &[(12, 224)], &[(14, 9), (15, 50)], &[(19, 51)], &[(9, 47)]]
    };
    let odd = |address| ask(Asker { address, ..asker }, NAT, says(SYN, 0));
    let limits = vec![
        ask(asker, PING, says(0, 56)),
        syn(&[(hops, 1)], true),
        ask(asker, DNS, says(0, 8600)),
        ask(asker, DNS, says(0, 100)),
        answer(0, says(0, 8600)),
    ];
    vec![
        ("limits", PLAIN, limits.clone()),
        ("limits-helpful", HELPFUL, limits),
        (
            "sources",
            PLAIN,
            [vec![odd(1), odd(2), odd(3)], addresses.map(|patches| syn(patches, true)).to_vec()].concat(),
        ),
        (
            "round-again",
            PLAIN,
            vec![
                ask(asker, ROUND, says(SYN, 0)),
                send(Making::Again { back: 0, device: CONSUMER }),
                send(Making::Again { back: 0, device: PROVIDER }),
                answer(0, says(SYN | ACK, 0)),
                send(Making::Again { back: 0, device: CONSUMER }),
            ],
        ),
        (
            "strays",
            PLAIN,
            vec![
                ask(asker, NAT, says(ACK, 10)),
                ask(asker, NAT, says(RST, 0)),
                ask(asker, NOTHING, says(SYN, 0)),
                ask(asker, NAT, says(SYN, 0)),
                answer(0, says(SYN, 0)),
                treated(answering(1, says(ACK, 0)), patched(&[(transport + 1, 9)], true)),
                treated(answering(1, says(SYN, 0)), patched(&[(transport + 1, 9)], true)),
            ],
        ),
        (
            "damage",
            PLAIN,
            vec![
                syn(&[(transport + 4, 77)], false),
                syn(&[(transport + 12, 0xf0)], true),
                syn(&[(transport + 12, 0x10)], true),
                syn(&[(3, 200)], true),
                syn(&[(0, 0x4f)], true),
                syn(&[(0, 0x65)], true),
                treated(asking(asker, DNS, says(0, 9)), patched(&[(transport + 5, 1)], true)),
            ],
        ),
    ]
}

/// What is of one family only, or of none.
fn others() -> Vec<Story> {
    let raw = |bytes: &[u8]| send(Making::Raw { device: CONSUMER, bytes: bytes.to_vec() });
    let multicast_report = [
        &[0x60, 0, 0, 0, 0, 16, 0, 1][..],
        &[0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        &[0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x16],
        &[58, 0, 5, 2, 0, 0, 1, 0],
        &[143, 0, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    let full = (0..16).map(|nth| {
        let asker = Asker { second: nth % 2 == 1, port: nth / 2, ..Asker::default() };
        ask(asker, if nth < 4 { NAT } else { DNS }, says(SYN, 0))
    });
    let small = Setting { small_table: true, ..PLAIN };
    vec![
        (
            "full-table",
            small,
            full.chain([Step::Pass(2000)]).chain(handshake(Asker::default(), NAT)).collect(),
        ),
        ("chatter", PLAIN, vec![raw(&multicast_report), raw(&[]), raw(&[0x45]), raw(&[0x60; 40])]),
    ]
}

fn says(flags: u8, payload: u16) -> Segment {
    Segment { flags, payload, ..Segment::default() }
}

fn asking(asker: Asker, door: u8, segment: Segment) -> Making {
    Making::Ask { asker, door, segment }
}

fn answering(back: u8, segment: Segment) -> Making {
    Making::Answer { back, segment }
}

fn ask(asker: Asker, door: u8, segment: Segment) -> Step {
    send(asking(asker, door, segment))
}

fn answer(back: u8, segment: Segment) -> Step {
    send(answering(back, segment))
}

fn send(making: Making) -> Step {
    treated(making, Treatment::default())
}

fn treated(making: Making, treatment: Treatment) -> Step {
    Step::Send(making, treatment)
}

fn left(left: Left) -> Treatment {
    Treatment { left, ..Treatment::default() }
}

fn other_worker() -> Treatment {
    Treatment { second_worker: true, ..Treatment::default() }
}

fn handshake(asker: Asker, door: u8) -> Vec<Step> {
    vec![ask(asker, door, says(SYN, 0)), answer(0, says(SYN | ACK, 0)), answer(0, says(ACK, 10))]
}
