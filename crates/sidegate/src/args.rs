//! The command line, as it is typed.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Parser, Subcommand};
use runtime::{Carriage, FlowFilter, FlowSort, Transport};
use serde::de::DeserializeOwned;

/// A private side door into someone else's network: what an application sends to an endpoint comes out at a provider's
/// load-balanced service, one way only.
#[derive(Debug, Parser)]
#[command(
    version,
    max_term_width = 100,
    after_help = "Exit status: 0 ok, 1 a mistake of yours, 2 the system refused."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Forward until stopped, or for as long as a command runs
    Run(RunArgs),
    /// Judge the operator's file, and print what it means
    Check(CheckArgs),
    /// See it work: networks, a forwarder and real traffic, made for the occasion and removed after it
    Demo(DemoArgs),
    /// Ask a running sidegate how it is doing
    Status(StatusArgs),
    /// Have a running sidegate read its file again
    ///
    /// A file with mistakes changes nothing, and each is listed. What did not change is not disturbed. SIGHUP does the
    /// same, and tells the log.
    Reload(ReloadArgs),
    /// List the targets: the state of each, and why
    Targets(TargetsArgs),
    /// List the services: nodes, listeners, and the target groups behind them
    Services(ShowArgs),
    /// List the endpoints: interfaces, and the node that each keeps to
    Endpoints(ShowArgs),
    /// List the flows: who talks to whom
    Flows(FlowsArgs),
    /// Say what would become of a new connection, and why
    Explain(ExplainArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// The operator's file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,

    /// Where to answer `status`, `reload` and the like [default: /run/sidegate/INSTANCE.sock]
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,

    /// Write `ready` to this open file descriptor (3 or above), too, and close it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(RawFd).range(3..))]
    pub(crate) ready_fd: Option<RawFd>,

    /// Run this once packets flow, stop when it ends, and exit with its status
    ///
    /// Its output is the only thing on stdout then. SIGINT and SIGTERM are passed on to it (Ctrl-C is not: a terminal
    /// sends that to both). SIGHUP is not: it has the file read again, as without a command.
    #[arg(last = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// The operator's file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,

    /// Judge this machine as well: namespaces, privilege, the way from each node to each target, and from the hosts on
    /// each link of `answer_on`
    #[arg(long)]
    pub(crate) live: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// Set everything up, print commands to play with, and stay until Ctrl-C
    #[arg(long, conflicts_with = "cleanup")]
    pub(crate) keep: bool,

    /// Run nothing: remove what killed demos have left
    #[arg(long)]
    pub(crate) cleanup: bool,
}

/// Which running sidegate is meant.
#[derive(Debug, clap::Args)]
pub(crate) struct Whom {
    /// Which one; not needed while there is only one
    #[arg(value_name = "INSTANCE", conflicts_with_all = ["config", "socket"])]
    pub(crate) instance: Option<String>,

    /// The one that runs with this file
    #[arg(long, value_name = "FILE", conflicts_with = "socket")]
    pub(crate) config: Option<PathBuf>,

    /// The one that answers there
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    /// Also count what never happened
    #[arg(long, conflicts_with = "json")]
    pub(crate) all: bool,

    /// Everything, as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) whom: Whom,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ReloadArgs {
    /// What has changed, as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) whom: Whom,
}

/// How something is shown, and whose it is.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// Everything, as JSON; with --watch a line each time
    #[arg(long)]
    pub(crate) json: bool,

    /// Show it again each second, or each five with --watch=5, until Ctrl-C
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "1",
        value_parser = pause
    )]
    pub(crate) watch: Option<Duration>,

    #[command(flatten)]
    pub(crate) whom: Whom,
}

#[derive(Debug, clap::Args)]
pub(crate) struct TargetsArgs {
    /// Only the targets of this target group
    #[arg(long, value_name = "NAME")]
    pub(crate) group: Option<String>,

    #[command(flatten)]
    pub(crate) show: ShowArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct FlowsArgs {
    /// Only those through this endpoint
    #[arg(long, value_name = "NAME")]
    pub(crate) endpoint: Option<String>,

    /// Only those to this target, such as 10.2.0.2:8080, or to any port of that address
    #[arg(long, value_name = "ADDR[:PORT]", value_parser = place)]
    pub(crate) target: Option<Place>,

    /// Only those of this client
    #[arg(long, value_name = "ADDR")]
    pub(crate) client: Option<IpAddr>,

    /// Only those of this protocol
    #[arg(long, value_parser = one_of::<Transport>(["tcp", "udp"]))]
    pub(crate) protocol: Option<Transport>,

    /// Only those that are carried in this way
    #[arg(long, value_parser = one_of::<Carriage>(["nat", "splice", "terminate"]))]
    pub(crate) path: Option<Carriage>,

    /// Which come first: those with most bytes, the oldest, or those that have been silent longest
    #[arg(long, value_name = "BY", default_value = "bytes", value_parser = one_of::<FlowSort>(["bytes", "age", "idle"]))]
    pub(crate) sort: FlowSort,

    /// How many to list
    #[arg(long, value_name = "N", default_value_t = FlowFilter::default().limit, value_parser = limit)]
    pub(crate) limit: usize,

    #[command(flatten)]
    pub(crate) show: ShowArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// The endpoint that is connected to; not needed while the address is one endpoint's only
    #[arg(long, value_name = "NAME")]
    pub(crate) endpoint: Option<String>,

    /// The client's address and port
    #[arg(long, value_name = "ADDR:PORT", value_parser = client)]
    pub(crate) from: SocketAddr,

    /// The endpoint's address, and the port that is connected to
    #[arg(long, value_name = "ADDR:PORT", value_parser = door)]
    pub(crate) to: SocketAddr,

    /// A datagram, not a TCP connection
    #[arg(long, conflicts_with = "isn")]
    pub(crate) udp: bool,

    /// The SYN's sequence number, on which the choice of the target depends
    #[arg(long, value_name = "N")]
    pub(crate) isn: Option<u32>,

    /// All of it, as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) whom: Whom,
}

/// An address, or a port of it only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) address: IpAddr,
    pub(crate) port: Option<u16>,
}

/// A word that answers and questions have for it.
fn one_of<T>(words: impl Into<PossibleValuesParser>) -> impl TypedValueParser<Value = T>
where
    T: DeserializeOwned + Clone + Send + Sync + 'static,
{
    words.into().try_map(|word| serde_json::from_value::<T>(word.into()))
}

fn limit(text: &str) -> Result<usize, String> {
    let limit = text.parse().ok().filter(|limit| (1..=FlowFilter::MOST).contains(limit));
    limit.ok_or_else(|| format!("expected a number, 1 to {}", FlowFilter::MOST))
}

fn place(text: &str) -> Result<Place, &'static str> {
    let place = text.parse().map(|address| Place { address, port: None });
    place
        .or_else(|_| {
            text.parse().map(|place: SocketAddr| Place { address: place.ip(), port: Some(place.port()) })
        })
        .map_err(
            |_| "expected an address, such as 10.2.0.2, or one with its port: 10.2.0.2:8080, [fd02::2]:8080",
        )
}

fn client(text: &str) -> Result<SocketAddr, String> {
    socket_address(text, 40_000, "any that the client might use will do")
}

fn door(text: &str) -> Result<SocketAddr, String> {
    socket_address(text, 80, "that of the listener")
}

/// An address and a port other than 0. `example` is a port that completes an address without one.
fn socket_address(text: &str, example: u16, which: &str) -> Result<SocketAddr, String> {
    match (text.parse::<SocketAddr>(), text.parse::<IpAddr>()) {
        (Ok(whole), _) if whole.port() != 0 => Ok(whole),
        (Ok(whole), _) => {
            Err(format!("port 0 is nobody's; {which}, such as {}", SocketAddr::new(whole.ip(), example)))
        }
        (_, Ok(address)) => {
            Err(format!("the port is missing; add it ({which}): {}", SocketAddr::new(address, example)))
        }
        _ => Err("expected an address and a port, such as 10.1.9.50:80 or [fd01::50]:80".into()),
    }
}

fn pause(text: &str) -> Result<Duration, &'static str> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds, such as 2 or 0.5")?;
    if !(0.1..=3600.0).contains(&seconds) {
        return Err("expected 0.1 to 3600 seconds");
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_command_keeps_its_own_options() {
        let args = Args::try_parse_from(["sidegate", "run", "--config", "f", "--", "curl", "--config", "x"]);
        let Verb::Run(run) = args.unwrap().verb else { panic!("not run") };
        assert_eq!(run.config, PathBuf::from("f"));
        assert_eq!(run.command, ["curl", "--config", "x"]);
    }
}
