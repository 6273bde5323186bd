//! Where packets come from: TUN queues, namespaces, routes.
