//! What is run: which peers do which work, how often and for how long. A preset says it, as far as the command line does not; and
//! this says how long it will take.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use benches::floors::{self, FLOORS, Floor};
use benches::turns::in_turn;

use crate::peer::Peer;
use crate::work::Work;

/// How much of everything.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Preset {
    /// What must be shown, for a first impression.
    Quick,
    /// What must be shown.
    MustShow,
    /// Everybody and everything.
    Full,
}

/// What the command line asks for instead; what is empty, it leaves to the preset.
pub(crate) struct Wishes {
    pub(crate) peers: Vec<Peer>,
    pub(crate) works: Vec<Work>,
    pub(crate) mtus: Vec<u16>,
    pub(crate) rounds: Option<u16>,
    pub(crate) seconds: Option<u16>,
}

/// All that will be run, at each of the MTUs.
pub(crate) struct Plan {
    /// One after the other.
    pub(crate) mtus: Vec<u16>,
    /// Of a run.
    pub(crate) length: Duration,
    pairs: Vec<Pair>,
}

/// A peer at a kind of work.
#[derive(Clone, Copy)]
struct Pair {
    work: Work,
    peer: Peer,
    rounds: usize,
}

/// One run.
#[derive(Clone, Copy)]
pub(crate) struct Turn {
    pub(crate) round: usize,
    pub(crate) work: Work,
    pub(crate) peer: Peer,
}

impl Preset {
    /// An interval's ends are then the second smallest and the second largest of nine.
    const MANY: usize = 9;

    /// Where one is to be judged by, and elsewhere.
    const fn rounds(self) -> (usize, usize) {
        match self {
            Self::Quick => (3, 3),
            Self::MustShow => (Self::MANY, Self::MANY),
            Self::Full => (Self::MANY, 3),
        }
    }

    const fn seconds(self) -> u16 {
        match self {
            Self::Quick => 1,
            Self::MustShow | Self::Full => 2,
        }
    }

    const fn mtus(self) -> &'static [u16] {
        match self {
            Self::Quick | Self::MustShow => &[floors::MTU],
            Self::Full => &[floors::MTU, 1500],
        }
    }
}

impl Plan {
    /// What this preset has, with these wishes. Who names peers or work gets all of those named with all of the others.
    pub(crate) fn new(preset: Preset, wishes: &Wishes) -> Result<Self> {
        let judged = judged()?;
        let is_judged = |pair: &(Work, Peer)| judged.contains(pair);
        let (peers, works) = match preset {
            Preset::Full => (Peer::ALL.to_vec(), Work::ALL.to_vec()),
            Preset::Quick | Preset::MustShow => (
                Peer::ALL.into_iter().filter(|peer| judged.iter().any(|pair| pair.1 == *peer)).collect(),
                Work::ALL.into_iter().filter(|work| judged.iter().any(|pair| pair.0 == *work)).collect(),
            ),
        };
        let peers = chosen(&Peer::ALL, &wishes.peers, peers);
        let works = chosen(&Work::ALL, &wishes.works, works);
        let all_of_them = preset == Preset::Full || !wishes.peers.is_empty() || !wishes.works.is_empty();
        let (many, few) = preset.rounds();
        let pairs: Vec<Pair> = works
            .into_iter()
            .flat_map(|work| peers.iter().map(move |peer| (work, *peer)))
            .filter(|(work, peer)| work.suits(*peer))
            .filter(|pair| all_of_them || is_judged(pair))
            .map(|pair| {
                let rounds = wishes.rounds.map_or(if is_judged(&pair) { many } else { few }, usize::from);
                Pair { work: pair.0, peer: pair.1, rounds }
            })
            .collect();
        ensure!(!pairs.is_empty(), "none of these peers can do any of this work");
        let mtus = if wishes.mtus.is_empty() { preset.mtus().to_vec() } else { wishes.mtus.clone() };
        let seconds = wishes.seconds.unwrap_or_else(|| preset.seconds());
        Ok(Self { mtus, length: Duration::from_secs(seconds.into()), pairs })
    }

    /// Without these peers.
    pub(crate) fn leave_out(&mut self, absent: &[Peer]) -> Result<()> {
        self.pairs.retain(|pair| !absent.contains(&pair.peer));
        ensure!(!self.pairs.is_empty(), "nobody is left");
        Ok(())
    }

    /// Who takes part, in the order of the table.
    pub(crate) fn peers(&self) -> Vec<Peer> {
        self.peers_that(|_| true)
    }

    /// Who does this work.
    pub(crate) fn peers_at(&self, work: Work) -> Vec<Peer> {
        self.peers_that(|pair| pair.work == work)
    }

    /// What is done, in the order of the table.
    pub(crate) fn works(&self) -> Vec<Work> {
        Work::ALL.into_iter().filter(|work| self.pairs.iter().any(|pair| pair.work == *work)).collect()
    }

    /// How often those do their work that do it most often.
    pub(crate) fn rounds(&self) -> usize {
        self.pairs.iter().map(|pair| pair.rounds).max().unwrap_or_default()
    }

    /// All runs at one MTU, in their order: round after round each kind of work, and for each every peer, as
    /// [`in_turn`] has them.
    pub(crate) fn turns(&self) -> Vec<Turn> {
        let works = self.works();
        let turns = (0..self.rounds()).flat_map(|round| {
            works.iter().enumerate().flat_map(move |(place, &work)| {
                let peers = self.peers_that(|pair| pair.work == work && pair.rounds > round);
                in_turn(peers, round, place).into_iter().map(move |peer| Turn { round, work, peer })
            })
        });
        turns.collect()
    }

    /// About how long it takes at one MTU before the first run.
    pub(crate) fn preparation(&self) -> Duration {
        let maxima = self.peers_at(Work::Latency).len();
        OPENING * self.peers().len() as u32 + self.time_of(Work::Requests64) * maxima as u32
    }

    /// About how long a run takes.
    pub(crate) fn time_of(&self, work: Work) -> Duration {
        match work {
            Work::Memory => OPENING + WEIGHING,
            Work::Idle => OPENING + self.length + IDLING,
            _ => self.length + AROUND,
        }
    }

    /// About how long everything takes.
    pub(crate) fn time(&self) -> Duration {
        let turns: Duration = self.turns().iter().map(|turn| self.time_of(turn.work)).sum();
        (self.preparation() + turns) * self.mtus.len() as u32
    }

    fn peers_that(&self, is_it: impl Fn(&Pair) -> bool) -> Vec<Peer> {
        Peer::ALL
            .into_iter()
            .filter(|peer| self.pairs.iter().any(|pair| pair.peer == *peer && is_it(pair)))
            .collect()
    }
}

/// To make a lab and to start a peer.
const OPENING: Duration = Duration::from_millis(700);
/// Before and after what is measured in a run: servers start, clients connect, both end.
const AROUND: Duration = Duration::from_millis(300);
/// The same for thousands of idle connections, and until memory is at rest before and with them.
const IDLING: Duration = Duration::from_secs(14);
/// Until memory is at rest, before a peer is there and with it.
const WEIGHING: Duration = Duration::from_secs(4);

/// Those named, or else the preset's: each once, in the order of the table.
fn chosen<T: Copy + PartialEq>(all: &[T], named: &[T], preset: Vec<T>) -> Vec<T> {
    if named.is_empty() {
        return preset;
    }
    all.iter().copied().filter(|one| named.contains(one)).collect()
}

/// All that floors are about. Each must be somebody's work, or nobody would see that a floor is never measured.
fn judged() -> Result<Vec<(Work, Peer)>> {
    let pair = |(name, figure): (&str, &str)| {
        let peer = Peer::ALL.into_iter().find(|peer| peer.as_str() == name);
        let has_it = |work: &Work| work.figures().iter().any(|one| one.name == figure);
        let work = Work::ALL.into_iter().find(has_it);
        Ok((
            work.with_context(|| format!("a floor is about the figure {figure}, which no work has"))?,
            peer.with_context(|| format!("a floor is about the peer {name}, whom nobody knows"))?,
        ))
    };
    FLOORS.iter().flat_map(Floor::takes).map(pair).collect()
}

/// A line for each kind of work: who does it, and how often.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for work in self.works() {
            let of_it: Vec<&Pair> = self.pairs.iter().filter(|pair| pair.work == work).collect();
            let mut rounds: Vec<usize> = of_it.iter().map(|pair| pair.rounds).collect();
            rounds.sort_unstable_by(|one, other| other.cmp(one));
            rounds.dedup();
            let of_them = rounds.into_iter().map(|count| {
                let peers = of_it.iter().filter(|pair| pair.rounds == count).map(|pair| pair.peer.as_str());
                format!("{count} rounds of {}", peers.collect::<Vec<_>>().join(", "))
            });
            writeln!(f, "{}: {}", work.as_str(), of_them.collect::<Vec<_>>().join("; "))?;
        }
        let mtus: Vec<String> = self.mtus.iter().map(ToString::to_string).collect();
        write!(
            f,
            "at an MTU of {}, {} s each: about {}",
            mtus.join(" and "),
            self.length.as_secs(),
            about(self.time())
        )
    }
}

/// A time as one says it.
pub(crate) fn about(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds < 100 => format!("{seconds} s"),
        seconds if seconds < 5400 => format!("{} min", (seconds + 30) / 60),
        seconds => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}
