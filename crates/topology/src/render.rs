//! A topology as `sidegate check` prints it: as understood, with every default filled in.

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;

use crate::file::Size;
use crate::{Answer, Endpoint, Namespace, Service, TargetGroup, TargetGroupId, Topology, Zone};

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
        for namespace in &self.namespaces {
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
        writeln!(f, "  expiry       {}{scale}", self.flows.expiry.as_str())
    }

    fn write_service(&self, f: &mut Formatter<'_>, service: &Service) -> fmt::Result {
        writeln!(f, "service {}", service.name)?;
        writeln!(f, "  namespace  {}", self.namespaces[service.device.index()].name)?;
        let nodes = service.nodes.iter().map(|id| &self.nodes[*id]);
        write_addresses(f, "node", &nodes.map(|node| (node.address, &node.zone)).collect::<Vec<_>>())?;
        for id in &service.listeners {
            let listener = &self.listeners[*id];
            writeln!(
                f,
                "  listener   {} {:<5}  {:<9}  idle {:>4} s  -> {}",
                listener.protocol,
                listener.port,
                listener.path.as_str(),
                listener.idle_timeout.as_secs(),
                self.groups[listener.forward[0].group].name,
            )?;
        }
        Ok(())
    }

    fn write_group(&self, f: &mut Formatter<'_>, id: TargetGroupId, group: &TargetGroup) -> fmt::Result {
        let used = self.listeners.iter().any(|(_, listener)| listener.forward.iter().any(|forward| forward.group == id));
        let remark = if used { "" } else { "  (no listener forwards to it)" };
        writeln!(f, "target group {}{remark}", group.name)?;
        let targets = group.targets.iter().map(|id| &self.targets[*id]);
        let sockets =
            targets.map(|target| (std::net::SocketAddr::new(target.address, target.port), &target.zone));
        write_addresses(f, "target", &sockets.collect::<Vec<_>>())
    }

    fn write_endpoint(&self, f: &mut Formatter<'_>, endpoint: &Endpoint) -> fmt::Result {
        writeln!(f, "endpoint {}", endpoint.name)?;
        writeln!(f, "  namespace  {}", self.namespaces[endpoint.device.index()].name)?;
        writeln!(f, "  service    {}", self.services[endpoint.service].name)?;
        let interfaces = endpoint.interfaces.iter().map(|id| &self.interfaces[*id]);
        let addresses = interfaces.map(|interface| (interface.address, &interface.zone));
        write_addresses(f, "interface", &addresses.collect::<Vec<_>>())
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

/// One address a line, the zones in a column of their own.
fn write_addresses(
    f: &mut Formatter<'_>,
    label: &str,
    addresses: &[(impl Display, &Option<Zone>)],
) -> fmt::Result {
    let written: Vec<_> = addresses.iter().map(|(address, zone)| (address.to_string(), zone)).collect();
    let width = written.iter().map(|(address, _)| address.len()).max().unwrap_or(0);
    for (address, zone) in written {
        match zone {
            Some(zone) => writeln!(f, "  {label:<9}  {address:<width$}  zone {zone}")?,
            None => writeln!(f, "  {label:<9}  {address}")?,
        }
    }
    Ok(())
}
