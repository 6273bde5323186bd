//! The command line, as it is typed.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

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
}

#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// The operator's file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,

    /// Where to answer `status` [default: /run/sidegate/INSTANCE.sock]
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,

    /// Write `ready` to this open file descriptor (3 or above), too, and close it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(RawFd).range(3..))]
    pub(crate) ready_fd: Option<RawFd>,

    /// Run this once packets flow, stop when it ends, and exit with its status
    ///
    /// Its output is the only thing on stdout then. SIGINT and SIGTERM are passed on to it (Ctrl-C is not: a terminal
    /// sends that to both).
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

#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    /// Which one; not needed while there is only one
    #[arg(value_name = "INSTANCE", conflicts_with_all = ["config", "socket"])]
    pub(crate) instance: Option<String>,

    /// The one that runs with this file
    #[arg(long, value_name = "FILE", conflicts_with = "socket")]
    pub(crate) config: Option<PathBuf>,

    /// The one that answers there
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,

    /// Also count what never happened
    #[arg(long, conflicts_with = "json")]
    pub(crate) all: bool,

    /// Everything, as JSON
    #[arg(long)]
    pub(crate) json: bool,
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
