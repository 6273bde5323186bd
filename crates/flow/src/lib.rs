//! Who is talking: the lock-free flow table, source ports, TCP tracking, expiry. Pure.
