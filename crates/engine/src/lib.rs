//! The journey of a packet: admission, nat, terminate. Pure: no descriptor, clock or random source.
