//! From the operator's text to what it declares: every key read, every mistake reported.
//!
//! Reading knows one table at a time, and the names that others have. What tables mean to each other is for
//! [`crate::check`].

mod address;
mod attributes;
mod endpoint;
mod group;
mod health_check;
mod ids;
mod links;
mod listener;
mod names;
mod run;
mod service;
mod size;
mod tree;

use toml::de::DeTable;

pub(crate) use address::ZonedAddress;
pub(crate) use endpoint::{DeclaredEndpoint, LocalAddress};
pub(crate) use group::{DeclaredGroup, DeclaredTarget};
pub(crate) use ids::DeclaredId;
pub(crate) use links::DeclaredLink;
pub(crate) use listener::{DeclaredForward, DeclaredListener};
pub(crate) use names::NamespaceRef;
pub use run::Origin;
pub(crate) use service::DeclaredService;
pub(crate) use size::Size;

use crate::problem::{Place, Problem, Problems, Read};
use crate::{Endpoint, FlowLimits, Run, TerminateLimits, Topology, build, check};
use names::Names;
use tree::{Keys, Table};

/// The largest file. It has no room for as many items as there are ids (2^20), nor for as many namespaces as devices
/// (2^16): an item takes more than 4 bytes, and a namespace's table more than 64.
const MAX_BYTES: usize = 4 << 20;

/// TOML's errors after which the tree still has the shape that the operator meant, so that the rest can be judged;
/// each with its remedy.
const SHAPE_IS_KEPT: [(&str, &str); 2] = [
    ("duplicate key", "remove one of the two"),
    ("string values must be quoted", "write a value here, a string in double quotes"),
];

const KEYS: Keys = &["service", "target_group", "endpoint", "run", "flows", "terminate"];

impl Topology {
    /// Reads and validates the text of an operator's file. What comes back is either fit for use, or every problem of
    /// the file in the order of its lines.
    pub fn parse(text: &str, origin: &Origin) -> Result<Self, Vec<Problem>> {
        let problems = Problems::new(text);
        match read(text, origin, &problems) {
            Ok(topology) => Ok(topology),
            Err(_) => Err(problems.into_sorted()),
        }
    }
}

/// Everything that a file declares, as far as it could be read.
pub(crate) struct Declared<'t> {
    pub(crate) run: Read<Run>,
    pub(crate) flows: Read<FlowLimits>,
    pub(crate) terminate: Read<TerminateLimits>,
    pub(crate) services: Vec<Read<DeclaredService<'t>>>,
    pub(crate) groups: Vec<Read<DeclaredGroup<'t>>>,
    pub(crate) endpoints: Vec<Read<DeclaredEndpoint<'t>>>,
}

impl<'t> Declared<'t> {
    fn read(root: &Table<'t>, origin: &Origin) -> Self {
        if root.get("service").is_none() {
            root.report_missing("service", "declare one under [[service]]");
        }
        let services = root.tables("service", DeclaredService::KEYS);
        let groups = root.tables("target_group", DeclaredGroup::KEYS);
        let endpoints = root.tables("endpoint", DeclaredEndpoint::KEYS);
        let service_names = Names::collect("service", "service", &services);
        let group_names = Names::collect("target group", "target_group", &groups);
        Names::<Endpoint>::collect("endpoint", "endpoint", &endpoints);

        let service = |table: Read<_>| Ok(DeclaredService::read(table?, &group_names));
        let group = |table: Read<_>| Ok(DeclaredGroup::read(table?));
        let endpoint = |table: Read<_>| Ok(DeclaredEndpoint::read(table?, &service_names));
        Self {
            run: run::read_run(root, origin),
            flows: run::read_flows(root),
            terminate: run::read_terminate(root),
            services: services.into_iter().map(service).collect(),
            groups: groups.into_iter().map(group).collect(),
            endpoints: endpoints.into_iter().map(endpoint).collect(),
        }
    }

    /// The service behind an endpoint, where both could be read.
    pub(crate) fn service_of(&self, endpoint: &DeclaredEndpoint<'_>) -> Option<&DeclaredService<'t>> {
        self.services.get(endpoint.service.ok()?.index())?.as_ref().ok()
    }

    /// The target groups behind a listener, as far as they could be read, each with where it is named.
    pub(crate) fn groups_of<'d>(
        &'d self,
        listener: &'d DeclaredListener,
    ) -> impl Iterator<Item = (&'d DeclaredForward, &'d DeclaredGroup<'t>)> {
        let group = |forward: &DeclaredForward| self.groups.get(forward.group.index())?.as_ref().ok();
        listener.forward.iter().flatten().filter_map(move |forward| Some((forward, group(forward)?)))
    }
}

fn read(text: &str, origin: &Origin, problems: &Problems<'_>) -> Read<Topology> {
    if text.len() > MAX_BYTES {
        let message = format!("the file has {} bytes, and {MAX_BYTES} are the most", text.len());
        return Err(problems.report(&Place::default(), message, "split it into several instances"));
    }
    let (tree, errors) = DeTable::parse_recoverable(text);
    report_syntax(&errors, problems)?;
    let declared = Declared::read(&Table::root(tree.get_ref(), KEYS, problems), origin);
    check::check(&declared, problems);
    let topology = build::build(declared)?;
    problems.none_so_far()?;
    Ok(topology)
}

/// Reports TOML's own errors. `Err` when they leave nothing that could be judged further.
fn report_syntax(errors: &[toml::de::Error], problems: &Problems<'_>) -> Read<()> {
    let mut shape = Ok(());
    for error in errors {
        let offset = error.span().map_or(0, |span| span.start);
        let kept = SHAPE_IS_KEPT.iter().find(|(message, _)| error.message().starts_with(message));
        let remedy =
            kept.map_or("correct the TOML here; the rest is judged after that", |(_, remedy)| remedy);
        let reported = problems.report_broken(offset, error.message(), remedy);
        if kept.is_none() {
            shape = Err(reported);
        }
    }
    shape
}
