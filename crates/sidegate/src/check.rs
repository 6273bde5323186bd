//! `sidegate check`: judges the operator's file and, with `--live`, the machine.

use std::fmt::Write;
use std::process::ExitCode;

use device::probe::{self, Severity};
use topology::{DeviceId, Namespace, Topology};

use crate::args::CheckArgs;
use crate::{Failure, config, opener, output, packets};

/// Prints the topology as understood, and what the machine would do with it.
pub(crate) fn check(args: &CheckArgs) -> Result<ExitCode, Failure> {
    let topology = config::load(&args.config)?;
    output::print(format_args!("{topology}\n"))?;
    if args.live {
        let verdict = judge(&topology);
        output::print(&verdict.lines)?;
        if verdict.broken > 0 {
            let remark =
                format_args!("{} of these would not work; each line says what to do", verdict.broken);
            return Err(Failure::system(remark));
        }
    }
    output::print(format_args!("{}: ok\n", args.config.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// What was found, a line for each, and how much of it is broken.
#[derive(Default)]
struct Verdict {
    lines: String,
    broken: usize,
}

impl Verdict {
    fn add(&mut self, severity: Severity, finding: impl std::fmt::Display) {
        let word = match severity {
            Severity::Fine => "fine   ",
            Severity::Warning => "warning",
            Severity::Broken => "broken ",
        };
        self.broken += usize::from(severity == Severity::Broken);
        // Writing to a string cannot fail.
        let _ = writeln!(self.lines, "{word}  {finding}");
    }
}

fn judge(topology: &Topology) -> Verdict {
    let mut verdict = Verdict::default();
    let opener = opener::of(topology);
    for (index, namespace) in topology.namespaces.iter().enumerate() {
        let Namespace { name, path, routed, .. } = namespace;
        let packets = packets::of(topology, DeviceId(index as u16));
        match probe::with_temporary_device(&*opener, path, &topology.run.name, routed, &packets) {
            Ok(findings) => {
                let can = format_args!("namespace {name} can be entered, and its addresses routed");
                verdict.add(Severity::Fine, can);
                for finding in findings {
                    verdict.add(finding.severity(), finding);
                }
            }
            Err(error) => verdict.add(Severity::Broken, error),
        }
    }
    verdict
}
