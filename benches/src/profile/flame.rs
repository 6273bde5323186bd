//! A recording as a flame graph: an SVG without a script, in which each box is a function, as wide as its share of the time that
//! the cores worked for those who take part, upon the box of its caller. Its title, which a browser shows on pointing, has the figures.

use std::collections::BTreeMap;

use super::cast::{Cast, Party};
use super::{Code, Frame, Recording, Sample};
use crate::svg::{Anchor, Svg};

/// What a picture takes at most, in bytes: boxes that are too narrow for that are left out.
pub const LIMIT: usize = 150_000;

const WIDTH: f64 = 1200.0;
const LEVEL: f64 = 16.0;
/// What the title takes at the top.
const HEAD: f64 = 28.0;
/// A character of the font.
const CHARACTER: f64 = 6.65;
/// What of a function's name is of use. Generic ones are longer than any box.
const NAME: usize = 90;
/// Whoever the core worked for, the kernel, and programs.
const STYLE: &str = ".page { fill: #fff } rect { stroke: #fff; stroke-width: .5 } text { font: 11px monospace } .w { fill: #c9cdd2 } \
    .k { fill: #f0b27a } .l { fill: #f5cba7 } .u { fill: #9cc48a } .v { fill: #b2d3a1 }";

/// Stacks, laid together where they begin alike, by who the core worked for and the kind of thread.
#[derive(Default)]
pub struct Flames<'a>(BTreeMap<(Party, &'a str), Node<'a>>);

#[derive(Default)]
struct Node<'a> {
    samples: usize,
    upon: BTreeMap<Frame<'a>, Node<'a>>,
}

impl<'a> Flames<'a> {
    /// Of all samples in which a core worked for those who take part.
    #[must_use]
    pub fn of(recording: &Recording<'a>, cast: &Cast) -> Self {
        let mut flames = Self::default();
        for sample in &recording.samples {
            let party = cast.party(recording, sample);
            if !matches!(party, Party::Idle | Party::Other) {
                flames.0.entry((party, kind(sample.thread))).or_default().add(seen(party, sample));
            }
        }
        flames
    }

    /// The picture.
    #[must_use]
    pub fn svg(&self, title: &str) -> String {
        let mut narrowest = 0.5;
        loop {
            let picture = self.draw(title, narrowest);
            if picture.len() <= LIMIT {
                return picture;
            }
            narrowest *= 1.25;
        }
    }

    fn draw(&self, title: &str, narrowest: f64) -> String {
        let all: usize = self.0.values().map(|node| node.samples).sum();
        let scale = WIDTH / all.max(1) as f64;
        let levels = self.0.values().map(|node| node.levels(narrowest / scale)).max().unwrap_or(0);
        let top = HEAD + levels as f64 * LEVEL;
        let mut canvas = Canvas { scale, narrowest, all, top, svg: Svg::new(WIDTH, top, STYLE) };
        canvas.svg.text("title", Anchor::Start, (4.0, 17.0), title);
        let mut left = 0;
        for ((party, thread), node) in &self.0 {
            canvas.boxes(&format!("{}: {thread}", party.as_str()), "w", node, (left, 0));
            left += node.samples;
        }
        canvas.svg.finish()
    }
}

impl<'a> Node<'a> {
    fn add(&mut self, stack: &[Frame<'a>]) {
        self.samples += 1;
        if let [caller, upon @ ..] = stack {
            self.upon.entry(*caller).or_default().add(upon);
        }
    }

    /// How high the boxes stand, with its own, of those that have so many samples.
    fn levels(&self, samples: f64) -> usize {
        let upon = self.upon.values().filter(|node| node.samples as f64 >= samples);
        1 + upon.map(|node| node.levels(samples)).max().unwrap_or(0)
    }
}

/// A picture in the making.
struct Canvas {
    /// A sample's width.
    scale: f64,
    /// The least width that is drawn.
    narrowest: f64,
    /// How many samples are as wide as the picture.
    all: usize,
    /// Where the lowest level stands.
    top: f64,
    svg: Svg,
}

impl Canvas {
    /// Draws a function, with so many samples at its left and levels below it, and upon it those that it calls.
    fn boxes(&mut self, name: &str, class: &str, node: &Node<'_>, (left, below): (usize, usize)) {
        let width = node.samples as f64 * self.scale;
        if width < self.narrowest {
            return;
        }
        let (x, y) = (left as f64 * self.scale, self.top - (below + 1) as f64 * LEVEL);
        let percent = 100.0 * node.samples as f64 / self.all as f64;
        let name: String = name.chars().take(NAME).collect();
        self.svg.titled(&format!("{name}: {percent:.1} %"), |svg| {
            svg.rect(class, x, y, width, LEVEL);
            let room = (width / CHARACTER) as usize;
            if room >= 3 {
                let shown: String = name.chars().take(room).collect();
                svg.text("name", Anchor::Start, (x + 2.0, y + 12.0), &shown);
            }
        });
        let mut left = left;
        for (frame, upon) in &node.upon {
            self.boxes(frame.name, class_of(frame.code, below), upon, (left, below + 1));
            left += upon.samples;
        }
    }
}

/// Neighbours of one kind have two shades.
const fn class_of(code: Code, level: usize) -> &'static str {
    match (code, level % 2) {
        (Code::Kernel, 0) => "k",
        (Code::Kernel, _) => "l",
        (_, 0) => "u",
        (_, _) => "v",
    }
}

/// What is of interest of a stack: of those who are not measured, what the kernel does for them; of the peer, from its own code on.
fn seen<'s, 'a>(party: Party, sample: &'s Sample<'a>) -> &'s [Frame<'a>] {
    let stack = &sample.stack[..];
    let is_before = |frame: &Frame<'_>| match party {
        Party::Forwarder => frame.name.contains("__rust_begin_short_backtrace"),
        _ => frame.code == Code::Program,
    };
    stack.iter().rposition(is_before).map_or(stack, |place| &stack[place + 1..])
}

/// A thread's name without what tells it from others of its kind.
fn kind(thread: &str) -> &str {
    thread.split(['-', '/', ':']).next().unwrap_or(thread)
}

#[cfg(test)]
mod tests {
    use super::super::cast::tests::{PRINTED, cast};
    use super::*;
    use crate::svg::tests::assert_well_formed;

    #[test]
    fn boxes_are_as_wide_as_their_share_and_stand_on_their_callers() {
        let recording = Recording::parse(PRINTED).unwrap();
        let picture = Flames::of(&recording, &cast()).svg("a < b");
        assert_well_formed(&picture);
        let place = |name: &str| {
            let (_, from) =
                picture.split_once(&format!("<title>{name}")).unwrap_or_else(|| panic!("no {name}"));
            let figure = |key: &str| {
                let (_, figure) = from.split_once(&format!("{key}=\"")).unwrap();
                figure.split_once('"').unwrap().0.parse::<f64>().unwrap()
            };
            (figure(" x"), figure(" y"), figure("width"))
        };
        // 12 samples in which a core worked for them, of these 9 the workers'.
        let sample = WIDTH / 12.0;
        let (client, forwarder) = (place("client: iperf3"), place("forwarder: worker: "));
        assert!((client.2 - sample).abs() < 0.1 && (forwarder.2 - 9.0 * sample).abs() < 0.1, "{forwarder:?}");
        assert!((place("server: iperf3").0 - sample).abs() < 0.1);
        let (write, read) =
            (place("&lt;device::queue::TunQueue as device::Queue&gt;::write"), place("do_readv"));
        assert!(write.1 < forwarder.1 && read.2 < write.2, "{write:?} {read:?}");
        let engine = place("engine::worker::Worker::input");
        assert!(engine.0 > read.0 + read.2 - 0.1, "side by side: {read:?} {engine:?}");
        for left_out in ["swapper", "rustc", "iperf_run_client", "__rust_begin_short_backtrace", "[unknown]"]
        {
            assert!(!picture.contains(left_out), "{left_out}");
        }
    }

    #[test]
    fn a_picture_of_very_many_stacks_has_its_bounds() {
        let printed: String = (0..20_000)
            .map(|number| format!("worker-0 100/101\n\t ff f{number}\n\t fe g{}\n\n", number % 3000))
            .collect();
        let recording = Recording::parse(&printed).unwrap();
        let picture = Flames::of(&recording, &cast()).svg("many");
        assert!(
            picture.len() <= LIMIT && picture.contains("forwarder: worker: 100.0 %"),
            "{}",
            picture.len()
        );
        let nothing = Recording::parse("").unwrap();
        assert_well_formed(&Flames::of(&nothing, &cast()).svg("nothing"));
    }
}
