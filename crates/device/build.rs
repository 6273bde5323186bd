//! Says in one sentence what else would be hundreds of errors.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system != "linux") {
        println!(
            "cargo::error=sidegate runs on Linux only: its packets come from TUN devices in network namespaces. On macOS \
             and Windows build it in a Linux virtual machine, in WSL2 or in Docker (README.md, \"Where it runs\")"
        );
    }
}
