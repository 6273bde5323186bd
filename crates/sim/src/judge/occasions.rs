//! What flows whose two sides differ in numbers have been through: a suite that has not met all of it has shown little.

use std::ops::Add;

use crate::tcp::Options;

/// What may befall such a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Occasion {
    /// A header, or a part of it, was lost on its way, or damaged …
    HeaderLost,
    /// … or what acknowledged it.
    AcknowledgementLost,
    /// Bytes of the consumer's were there before the header, which was sent only once.
    HeaderOvertaken,
    /// So was one part of a header before another.
    PieceOvertaken,
    /// A header went out in several segments.
    HeaderSplit,
    /// While a header was out, its target told what had come out of order …
    BlocksDuring,
    /// … and afterwards, of what came after the header …
    BlocksAfter,
    /// … or that it got the header twice.
    BlocksInHeader,
    /// A spliced flow's consumer told what had come out of order.
    BlocksSpliced,
    /// A target spoke before its header was out.
    TargetFirst,
    /// Until the header was acknowledged, the consumer closed …
    ConsumerCloses,
    /// … or reset the connection; or its target …
    ConsumerResets,
    /// … closed …
    TargetCloses,
    /// … or reset it.
    TargetResets,
    /// The consumer closed before it had said anything: there was no header.
    Forgone,
    /// While a header was out, somebody was told of an error.
    ErrorDuring,
    /// A spliced flow's target had its windows in coarser units than the consumer was told.
    ScaleTranslated,
    /// Numbers began again at 0 within a header …
    WrapInHeader,
    /// … with its first byte, or with the one after it …
    WrapAtHeader,
    /// … later on the way to the target …
    WrapAfterHeader,
    /// … in what the target said, by its own numbers …
    WrapOfTarget,
    /// … or by those that the consumer of a spliced flow was told.
    WrapAsTold,
}

/// How many there are.
const COUNT: usize = 22;
/// SACK, timestamps, window scaling: each may be there or not.
const SPOKEN: usize = 8;
/// Window scales.
const SCALES: usize = 15;

impl Occasion {
    /// All of them.
    pub const ALL: [Self; COUNT] = [
        Self::HeaderLost,
        Self::AcknowledgementLost,
        Self::HeaderOvertaken,
        Self::PieceOvertaken,
        Self::HeaderSplit,
        Self::BlocksDuring,
        Self::BlocksAfter,
        Self::BlocksInHeader,
        Self::BlocksSpliced,
        Self::TargetFirst,
        Self::ConsumerCloses,
        Self::ConsumerResets,
        Self::TargetCloses,
        Self::TargetResets,
        Self::Forgone,
        Self::ErrorDuring,
        Self::ScaleTranslated,
        Self::WrapInHeader,
        Self::WrapAtHeader,
        Self::WrapAfterHeader,
        Self::WrapOfTarget,
        Self::WrapAsTold,
    ];
}

/// How often what has happened.
#[derive(Clone, Copy, Default, Debug)]
pub struct Occasions {
    counts: [usize; COUNT],
    /// Spliced flows, by what the consumer offered and by what its target speaks.
    spoken: [[usize; SPOKEN]; SPOKEN],
    /// Spliced flows with scaled windows, by the scale: the consumer's, the target's.
    scales: [[usize; SCALES]; 2],
}

impl Occasions {
    /// It has happened once more.
    pub(super) fn note(&mut self, occasion: Occasion) {
        self.counts[occasion as usize] += 1;
    }

    /// A consumer that offered this was spliced with a target that speaks this, and has answered with this scale.
    pub(super) fn splice(&mut self, consumer: &Options, target: &Options, answered: Option<u8>) {
        self.spoken[spoken(consumer)][spoken(target)] += 1;
        for (counts, scale) in self.scales.iter_mut().zip([consumer.scale, answered]) {
            if let Some(scale) = scale.filter(|_| answered.is_some()) {
                counts[usize::from(scale).min(SCALES - 1)] += 1;
            }
        }
    }

    /// What has not happened.
    pub fn missing(&self) -> Vec<String> {
        let named = self.named();
        named.into_iter().filter(|(_, count)| *count == 0).map(|(what, _)| what).collect()
    }

    /// Everything, and how often it has happened.
    pub fn named(&self) -> Vec<(String, usize)> {
        let happened = Occasion::ALL.iter().map(|what| (format!("{what:?}"), self.counts[*what as usize]));
        let spoken = (0..SPOKEN * SPOKEN).map(|both| {
            let (consumer, target) = (both / SPOKEN, both % SPOKEN);
            (format!("{} with {}", words(consumer), words(target)), self.spoken[consumer][target])
        });
        let scales = (0..SCALES).flat_map(|scale| {
            let [consumer, target] = self.scales.map(|counts| counts[scale]);
            [
                (format!("a consumer's scale of {scale}"), consumer),
                (format!("a target's scale of {scale}"), target),
            ]
        });
        happened.chain(spoken).chain(scales).collect()
    }
}

impl Add for Occasions {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        let own = self.counts.iter_mut().chain(self.spoken.as_flattened_mut());
        let own = own.chain(self.scales.as_flattened_mut());
        let others = other.counts.iter().chain(other.spoken.as_flattened());
        own.zip(others.chain(other.scales.as_flattened())).for_each(|(sum, more)| *sum += more);
        self
    }
}

fn spoken(options: &Options) -> usize {
    usize::from(options.sack)
        | usize::from(options.timestamps.is_some()) << 1
        | usize::from(options.scale.is_some()) << 2
}

fn words(spoken: usize) -> String {
    let names = ["sack", "timestamps", "scale"].into_iter().enumerate();
    let there: Vec<&str> = names.filter(|(bit, _)| spoken >> bit & 1 == 1).map(|(_, name)| name).collect();
    if there.is_empty() { "nothing".into() } else { there.join("+") }
}
