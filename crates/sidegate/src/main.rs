//! The sidegate command: one verb, one answer, one exit status.

mod answers;
mod args;
mod check;
mod child;
mod config;
mod demo;
mod endpoints;
mod explain;
mod failure;
mod flows;
mod opener;
mod output;
mod packets;
mod ready;
mod reload;
mod request;
mod run;
mod services;
mod show;
mod status;
mod table;
mod targets;
mod units;
mod ways;
mod whom;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use args::{Args, Verb};
use failure::Failure;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(instead) => return answer(&instead),
    };
    start_logging(&args.verb);
    let done = match args.verb {
        Verb::Run(args) => run::run(args),
        Verb::Check(args) => check::check(&args),
        Verb::Demo(args) => demo::demo(&args),
        Verb::Status(args) => status::status(&args),
        Verb::Reload(args) => reload::reload(&args),
        Verb::Targets(args) => targets::targets(&args),
        Verb::Services(args) => services::services(&args),
        Verb::Endpoints(args) => endpoints::endpoints(&args),
        Verb::Flows(args) => flows::flows(&args),
        Verb::Explain(args) => explain::explain(&args),
    };
    done.unwrap_or_else(|failure| {
        output::complain(&failure);
        failure.exit_code()
    })
}

/// What clap says instead of arguments: help, which was asked for, or what is wrong with them.
fn answer(instead: &clap::Error) -> ExitCode {
    // With nowhere to print to, the exit status is all there is to say.
    let _ = instead.print();
    if instead.use_stderr() { Failure::MISTAKE } else { ExitCode::SUCCESS }
}

/// Logs go to stderr. `RUST_LOG` says how much; the demo tells by itself what goes well.
fn start_logging(verb: &Verb) {
    let level = if matches!(verb, Verb::Demo(_)) { LevelFilter::WARN } else { LevelFilter::INFO };
    let filter = EnvFilter::builder().with_default_directive(level.into()).from_env_lossy();
    let colours = output::colours(&std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_target(false)
        .init();
}
