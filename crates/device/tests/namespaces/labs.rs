//! Namespaces of our own: made, known to `ip netns`, told apart, removed.

use device::lab::Namespace;
use device::{DeviceError, NamespaceIdentity, OffloadOpener, Opener, inside};
use libtest_mimic::Failed;

use crate::Named;
use crate::support::{ip, run, spec};

pub(crate) const TRIALS: &[Named] = &[
    ("a_namespace_is_removed_when_dropped", a_namespace_is_removed_when_dropped),
    ("a_namespace_is_not_made_twice", a_namespace_is_not_made_twice),
    ("its_addresses_work_at_once", its_addresses_work_at_once),
    ("a_replaced_namespace_is_another", a_replaced_namespace_is_another),
    ("a_visit_leaves_the_caller_where_it_is", a_visit_leaves_the_caller_where_it_is),
];

fn a_namespace_is_removed_when_dropped() -> Result<(), Failed> {
    let namespace = Namespace::unique("sg-test")?;
    let path = namespace.path().to_owned();
    assert!(run(&namespace, "ip netns list")?.contains(namespace.name()));
    drop(namespace);
    assert!(!path.exists());
    Ok(())
}

fn a_namespace_is_not_made_twice() -> Result<(), Failed> {
    let first = Namespace::unique("sg-test")?;
    let second = Namespace::create(first.name());
    assert!(matches!(second, Err(DeviceError::NamespaceExists { .. })), "{second:?}");
    run(&first, "true")?;
    for name in ["", ".", "../sg-test", "a/b"] {
        let odd = Namespace::create(name);
        assert!(matches!(odd, Err(DeviceError::NamespaceName { .. })), "{odd:?}");
    }
    Ok(())
}

fn its_addresses_work_at_once() -> Result<(), Failed> {
    let namespace = Namespace::unique("sg-test")?;
    namespace.address(&[(ip("10.77.0.2")?, 24), (ip("fd77::2")?, 64)])?;
    for address in ["127.0.0.1", "10.77.0.2", "fd77::2", "::1"] {
        let address = ip(address)?;
        inside(namespace.path(), || std::net::UdpSocket::bind((address, 0)))??;
    }
    assert!(run(&namespace, "ip address show dev lo")?.contains("10.77.0.2/24"));
    let neighbour = run(&namespace, "ip route get 10.77.0.3");
    assert!(neighbour.is_err(), "its neighbours are not local: {neighbour:?}");
    Ok(())
}

fn a_replaced_namespace_is_another() -> Result<(), Failed> {
    let namespace = Namespace::unique("sg-test")?;
    let opened = OffloadOpener.open(&spec(&namespace))?;
    assert_eq!(NamespaceIdentity::of(namespace.path())?, opened.namespace);

    let (name, path) = (namespace.name().to_owned(), namespace.path().to_owned());
    drop(namespace);
    assert!(NamespaceIdentity::of(&path).is_err(), "gone");
    let _replaced = Namespace::create(&name)?;
    assert_ne!(NamespaceIdentity::of(&path)?, opened.namespace);
    Ok(())
}

fn a_visit_leaves_the_caller_where_it_is() -> Result<(), Failed> {
    let namespace = Namespace::unique("sg-test")?;
    let here = || NamespaceIdentity::of("/proc/thread-self/ns/net".as_ref());
    let before = here()?;
    assert_eq!(inside(namespace.path(), here)??, NamespaceIdentity::of(namespace.path())?);
    assert_eq!(here()?, before);
    Ok(())
}
