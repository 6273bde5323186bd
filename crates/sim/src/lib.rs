//! The whole forwarder in a virtual network, from a seed.
