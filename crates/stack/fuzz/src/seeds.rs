//! What the fuzzer begins with: conversations as they are, and as they go wrong. `scripts/fuzz --target relay --seeds`
//! writes them to `seeds/`.

use crate::script::{Base, Left, Script, Segment, Setting, Side, Step};
use Side::{Consumer, Target};

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
const URG: u8 = 32;

/// All seeds, by name.
pub fn all() -> Vec<(String, Script)> {
    let stories = conversations().into_iter().chain(endings()).chain(windows()).chain(oddities());
    let mut seeds = Vec::new();
    for (nth, (name, steps)) in stories.enumerate() {
        // Every family and every kind of device with some story.
        let setting = Setting {
            consumer_v6: nth % 2 == 1,
            target_v6: nth % 3 == 1,
            plain_devices: nth % 5 == 1,
            little_memory: false,
        };
        seeds.push((name.to_owned(), Script { setting, steps }));
    }
    let setting = Setting { little_memory: true, ..Setting::default() };
    seeds.push(("little-memory".to_owned(), Script { setting, steps: bulk(40_000) }));
    seeds
}

type Story = (&'static str, Vec<Step>);

/// Both handshakes, then these.
fn opened(steps: impl IntoIterator<Item = Step>) -> Vec<Step> {
    let opening = [Step::Answer(Consumer, 0), Step::Answer(Target, 0), Step::Answer(Consumer, 0)];
    opening.into_iter().chain(steps).collect()
}

/// Bytes in both directions, and everything acknowledged in between.
fn bulk(piece: u16) -> Vec<Step> {
    let round = [Step::Answer(Consumer, piece), Step::Answer(Target, piece), Step::Pass(5)];
    opened(round.into_iter().cycle().take(60))
}

fn conversations() -> Vec<Story> {
    vec![
        ("opened", opened([])),
        (
            "exchange",
            opened([Step::Answer(Consumer, 100), Step::Answer(Target, 3000), Step::Answer(Consumer, 0)]),
        ),
        ("bulk", bulk(1400)),
        ("bulk-large", bulk(60_000)),
        (
            "quiet",
            opened([Step::Answer(Consumer, 10), Step::Pass(9000), Step::Rest, Step::Answer(Target, 10)]),
        ),
        (
            "reordered",
            opened((0..20).map(|nth| send(Consumer, at(Base::Initial, 1 + ((nth * 7) % 20) * 1000, 1000)))),
        ),
        (
            "overlapping",
            opened((0..20).map(|nth| send(Target, at(Base::Acknowledged, 900 - 400 * (nth % 4), 1300)))),
        ),
        (
            "unacknowledged",
            opened([Step::Answer(Consumer, 5000), Step::Pass(300), Step::Pass(1000), Step::Pass(6000)]),
        ),
        ("path-mtu", opened([Step::Answer(Consumer, 9000), Step::TooBig(Target, -1, 1300), Step::Pass(300)])),
        ("vouched-for", opened([kept(Left::Verified), kept(Left::Checksum), kept(Left::Forged)])),
    ]
}

fn endings() -> Vec<Story> {
    let fin = |side| send(side, Segment { flags: FIN | ACK, window: 5000, ..Segment::default() });
    let rst = |side, shift| send(side, Segment { flags: RST, shift, ..Segment::default() });
    let refused = send(Target, Segment { flags: RST | ACK, ..Segment::default() });
    let closing = [
        fin(Target),
        Step::Answer(Consumer, 0),
        fin(Consumer),
        Step::Answer(Target, 0),
        Step::Answer(Consumer, 0),
    ];
    let late =
        send(Target, Segment { flags: FIN | ACK, base: Base::Acknowledged, shift: -1, ..Segment::default() });
    let later = send(
        Consumer,
        Segment { flags: FIN | ACK, base: Base::Acknowledged, shift: -1, ..Segment::default() },
    );
    let parted = opened(closing.into_iter().chain([Step::Pass(5), late, later, rst(Target, 0)]));
    let challenged = send(Target, Segment { flags: ACK, acknowledgement: 77, ..Segment::default() });
    vec![
        ("closed", opened([fin(Consumer), Step::Answer(Target, 9), fin(Target), Step::Answer(Consumer, 0)])),
        (
            "closed-together",
            opened([fin(Consumer), fin(Target), Step::Answer(Consumer, 0), Step::Answer(Target, 0)]),
        ),
        (
            "half-closed",
            opened([fin(Target), Step::Answer(Consumer, 2000), Step::Pass(40_000), fin(Consumer)]),
        ),
        (
            "finished-twice",
            opened([fin(Consumer), fin(Consumer), fin(Target), fin(Target), Step::Pass(2000)]),
        ),
        ("parted", parted),
        ("reset", opened([Step::Answer(Consumer, 50), rst(Target, 0)])),
        ("reset-nearby", opened([rst(Target, 1), rst(Consumer, -1), rst(Consumer, 3000), rst(Consumer, 0)])),
        ("refused", vec![Step::Answer(Consumer, 0), refused]),
        ("remembered", vec![Step::Answer(Consumer, 0), challenged, Step::Answer(Target, 0), Step::Pass(100)]),
        ("silent", vec![Step::Answer(Consumer, 0), Step::Pass(3000), Step::Abort]),
        ("aborted", opened([Step::Answer(Target, 500), Step::Abort])),
    ]
}

fn windows() -> Vec<Story> {
    let says =
        |side, window, payload| send(side, Segment { flags: ACK, window, payload, ..Segment::default() });
    let tiny = |window| {
        let more = [says(Target, window, 0), Step::Answer(Consumer, 3000), Step::Pass(50)];
        opened(more.into_iter().cycle().take(30))
    };
    let shrinking = [50, 20, 3, 0, 1, 0].map(|window| says(Consumer, window, 0));
    let probed = [
        says(Consumer, 0, 0),
        Step::Answer(Target, 9000),
        Step::Pass(400),
        Step::Pass(4000),
        says(Consumer, 9, 0),
    ];
    vec![
        ("tiny-windows", tiny(0)),
        ("tiniest-windows", tiny(1)),
        ("shrinking-windows", opened([Step::Answer(Target, 60_000)].into_iter().chain(shrinking))),
        ("closed-window", opened(probed)),
        (
            "beyond-the-window",
            opened([send(Consumer, at(Base::Edge, -1, 1400)), send(Target, at(Base::Edge, 1, 1))]),
        ),
        (
            "full-window",
            opened([says(Target, 0, 0), Step::Answer(Consumer, 60_000), Step::Answer(Consumer, 60_000)]),
        ),
        (
            "keep-alives",
            opened([
                Step::Answer(Target, 10),
                send(Target, at(Base::Next, -1, 0)),
                send(Target, at(Base::Next, -1, 1)),
            ]),
        ),
    ]
}

fn oddities() -> Vec<Story> {
    let syn = |options: &[u8]| Segment {
        flags: SYN,
        window: 4000,
        options: options.to_vec(),
        ..Segment::default()
    };
    let opening = |options| {
        let answer = Segment { flags: SYN | ACK, ..syn(options) };
        let more = [
            Step::Answer(Consumer, 0),
            Step::Answer(Target, 3000),
            Step::Answer(Consumer, 3000),
            Step::Pass(50),
        ];
        [send(Consumer, syn(options)), send(Target, answer)].into_iter().chain(more).collect()
    };
    let sack = |from: u8| vec![1, 1, 5, 10, 0, 0, from, 0, 0xff, 0, 0, 9];
    let nonsense =
        |nth: u8| Segment { flags: ACK, window: 999, options: sack(nth * 40), ..Segment::default() };
    vec![
        ("no-options", opening(&[])),
        ("mss-0", opening(&[2, 4, 0, 0])),
        ("mss-1", opening(&[2, 4, 0, 1, 3, 3, 0, 0])),
        ("mss-48", opening(&[2, 4, 0, 48, 4, 2, 1, 1])),
        ("mss-65535", opening(&[2, 4, 255, 255, 3, 3, 14, 0])),
        ("scale-255", opening(&[2, 4, 5, 180, 3, 3, 255, 0])),
        ("timestamps", opening(&[2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 7, 0, 0, 0, 0, 1, 3, 3, 7])),
        ("broken-off", opening(&[2, 4, 5, 180, 8, 10, 0])),
        ("sack-nonsense", opened((0..6).map(|nth| send(Target, nonsense(nth))))),
        (
            "syn-with-data",
            vec![
                send(Consumer, Segment { payload: 500, ..syn(&[]) }),
                Step::Answer(Target, 0),
                Step::Answer(Consumer, 0),
            ],
        ),
        ("late-syn", opened([send(Consumer, syn(&[])), send(Target, syn(&[])), Step::Pass(100)])),
        ("urgent", opened([send(Consumer, Segment { flags: URG | ACK, payload: 70, ..Segment::default() })])),
        ("christmas", opened([send(Consumer, Segment { flags: 0x3f, payload: 70, ..Segment::default() })])),
        ("nothing-set", opened([send(Target, Segment { payload: 70, ..Segment::default() })])),
        (
            "ahead-of-us",
            opened((0..8).map(|nth| {
                send(Target, Segment { flags: ACK, acknowledgement: 1 << nth, ..Segment::default() })
            })),
        ),
    ]
}

fn send(side: Side, segment: Segment) -> Step {
    Step::Send(side, segment)
}

fn at(base: Base, shift: i16, payload: u16) -> Segment {
    Segment { flags: ACK, base, shift, window: 9000, payload, ..Segment::default() }
}

fn kept(left: Left) -> Step {
    send(Consumer, Segment { flags: ACK, window: 9000, payload: 700, left, ..Segment::default() })
}
