//! A topology as `sidegate check` prints it: as understood, with every default filled in.

use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, SocketAddr};

use crate::file::Size;
use crate::{
    Answer, CheckProtocol, Endpoint, EndpointIds, Forward, HealthCheck, HttpCheck, Interface, Listener,
    Namespace, Node, Service, Target, TargetGroup, TargetGroupId, Topology, Zone,
};

impl Display for Topology {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.write_run(f)?;
        for (_, service) in self.services.iter() {
            writeln!(f)?;
            self.write_service(f, service)?;
        }
        for (id, group) in self.groups.iter() {
            writeln!(f)?;
            self.write_group(f, id, group)?;
        }
        for (_, endpoint) in self.endpoints.iter() {
            writeln!(f)?;
            self.write_endpoint(f, endpoint)?;
        }
        for namespace in self.namespaces.iter().filter(|namespace| namespace.is_used()) {
            writeln!(f)?;
            write_namespace(f, namespace)?;
        }
        Ok(())
    }
}

impl Topology {
    fn write_run(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let run = &self.run;
        let workers = run.workers.map_or("one per core".into(), |count| count.to_string());
        let pinned = if run.pin { ", each on a core of its own" } else { "" };
        writeln!(f, "run {}", run.name)?;
        writeln!(f, "  workers      {workers}{pinned}")?;
        writeln!(f, "  device       {}", run.device.as_str())?;
        writeln!(f, "  steering     {}", run.steering.as_str())?;
        writeln!(f, "  mtu          {}", run.mtu)?;
        writeln!(f, "  mss ceiling  {} (IPv6: {})", run.mss_ceiling, run.mss_ceiling.saturating_sub(20))?;
        writeln!(f, "  icmp         {}", run.icmp.as_str())?;
        writeln!(f, "  flows        {} at once", self.flows.capacity)?;
        writeln!(f, "  ports        {} from a node to a target", self.flows.ports)?;
        writeln!(f, "  terminate    in {} of memory at most", Size(self.terminate.memory))?;
        let scale = if run.time_scale == 1 {
            String::new()
        } else {
            format!(", idle time-outs {} times shorter", run.time_scale)
        };
        writeln!(f, "  expiry       {}{scale}", self.flows.expiry.as_str())?;
        let delay = run.propagation_delay.as_secs();
        let when = if delay == 0 { "at once".into() } else { format!("after {delay} s") };
        writeln!(f, "  reload       takes effect {when}")
    }

    fn write_service(&self, f: &mut Formatter<'_>, service: &Service) -> fmt::Result {
        writeln!(f, "service {}", service.name)?;
        writeln!(f, "  namespace  {}", self.namespaces[service.device.index()].name)?;
        let nodes = service.nodes.iter().map(|id| &self.nodes[*id]);
        let row = |node: &Node| [node.address.to_string(), show_zone(&node.zone)];
        write_rows(f, "node", nodes.map(row).collect())?;
        let listeners = service.listeners.iter().map(|id| &self.listeners[*id]);
        write_rows(f, "listener", listeners.flat_map(|listener| self.listener_rows(listener)).collect())
    }

    /// One for each target group behind it; with their weights, where there are several.
    fn listener_rows(&self, listener: &Listener) -> Vec<[String; 3]> {
        let Listener { protocol, port, path, idle_timeout, forward, .. } = listener;
        let (path, idle) = (path.as_str(), idle_timeout.as_secs());
        let mut lead = format!("{protocol} {port:<5}  {path:<9}  idle {idle:>4} s");
        let weight = |own: &Forward| if forward.len() > 1 { show_weight(own.weight) } else { String::new() };
        let group = |own: &Forward| format!("-> {}", self.groups[own.group].name);
        forward.iter().map(|own| [std::mem::take(&mut lead), group(own), weight(own)]).collect()
    }

    fn write_group(&self, f: &mut Formatter<'_>, id: TargetGroupId, group: &TargetGroup) -> fmt::Result {
        let mut forwards = self.listeners.iter().flat_map(|(_, listener)| &listener.forward);
        let is_used = forwards.any(|forward| forward.group == id);
        let remark = if is_used { "" } else { "  (no listener forwards to it)" };
        writeln!(f, "target group {}{remark}", group.name)?;
        self.write_targets(f, group)?;
        if let Some(check) = &group.health_check {
            write_health_check(f, check)?;
        }
        for (name, value) in group.attributes.changed() {
            writeln!(f, "  attribute  {name} = {value}")?;
        }
        Ok(())
    }

    /// With their weights, where it matters.
    fn write_targets(&self, f: &mut Formatter<'_>, group: &TargetGroup) -> fmt::Result {
        if group.targets.is_empty() {
            return writeln!(f, "  target     none");
        }
        let targets = || group.targets.iter().map(|id| &self.targets[*id]);
        let are_alike = targets().all(|target| target.weight == 1);
        let weight = |target: &Target| if are_alike { String::new() } else { show_weight(target.weight) };
        let socket = |target: &Target| SocketAddr::new(target.address, target.port).to_string();
        let row = |target: &Target| [socket(target), show_zone(&target.zone), weight(target)];
        write_rows(f, "target", targets().map(row).collect())
    }

    fn write_endpoint(&self, f: &mut Formatter<'_>, endpoint: &Endpoint) -> fmt::Result {
        writeln!(f, "endpoint {}", endpoint.name)?;
        writeln!(f, "  namespace  {}", self.namespaces[endpoint.device.index()].name)?;
        writeln!(f, "  service    {}", self.services[endpoint.service].name)?;
        let interfaces = endpoint.interfaces.iter().map(|id| &self.interfaces[*id]);
        let row = |interface: &Interface| [interface.address.to_string(), show_zone(&interface.zone)];
        write_rows(f, "interface", interfaces.map(row).collect())?;
        let EndpointIds { aws, gcp, azure } = &endpoint.ids;
        writeln!(f, "  ids        aws {aws}, gcp {gcp}, azure {azure}")
    }
}

fn write_namespace(f: &mut Formatter<'_>, namespace: &Namespace) -> fmt::Result {
    let Namespace { name, path, routed, local, answers } = namespace;
    writeln!(f, "namespace {name}")?;
    writeln!(f, "  file       {}", path.display())?;
    let write_all = |f: &mut Formatter<'_>, label, addresses: &[IpAddr]| {
        addresses.iter().try_for_each(|address| writeln!(f, "  {label:<9}  {address}"))
    };
    write_all(f, "route", routed)?;
    write_all(f, "local", local)?;
    let width = answers.iter().map(|answer| answer.address.to_string().len()).max().unwrap_or(0);
    answers.iter().try_for_each(|Answer { link, address }| {
        writeln!(f, "  answer     {:<width$}  on {link}", address.to_string())
    })
}

fn write_health_check(f: &mut Formatter<'_>, check: &HealthCheck) -> fmt::Result {
    let HealthCheck { protocol, port, interval, timeout, .. } = check;
    let (protocol, request) = match protocol {
        CheckProtocol::Tcp => ("tcp", None),
        CheckProtocol::Http(request) => ("http", Some(request)),
        CheckProtocol::Https(request) => ("https", Some(request)),
    };
    let port = port.map_or(String::new(), |port| format!(" at port {port}"));
    let (interval, timeout) = (interval.as_secs(), timeout.as_secs());
    writeln!(f, "  check      {protocol}{port} every {interval} s, {timeout} s for an answer")?;
    if let Some(HttpCheck { path, host, matcher }) = request {
        let host = host.as_ref().map_or(String::new(), |host| format!("  host {host}"));
        writeln!(f, "  request    GET {path}{host}  status {matcher}")?;
    }
    let passive = if check.passive { "; real flows count, too" } else { "" };
    let (healthy, unhealthy) = (check.healthy_threshold, check.unhealthy_threshold);
    writeln!(f, "  verdict    healthy after {healthy} in a row, unhealthy after {unhealthy}{passive}")
}

fn show_zone(zone: &Option<Zone>) -> String {
    zone.as_ref().map_or(String::new(), |zone| format!("zone {zone}"))
}

fn show_weight(weight: u16) -> String {
    format!("weight {weight}")
}

/// A line for each row, in columns as wide as they need to be. One that begins with an empty cell goes on with what is
/// above it.
fn write_rows<const COLUMNS: usize>(
    f: &mut Formatter<'_>,
    label: &str,
    rows: Vec<[String; COLUMNS]>,
) -> fmt::Result {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    rows.iter().try_for_each(|row| {
        let label = if row[0].is_empty() { "" } else { label };
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("  {cell:<width$}"));
        writeln!(f, "  {label:<9}{}", cells.collect::<String>().trim_end())
    })
}
