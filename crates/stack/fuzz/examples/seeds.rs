//! Writes the seeds into the folder that is named.

use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let folder = PathBuf::from(env::args_os().nth(1).ok_or_else(|| io::Error::other("name a folder"))?);
    for (name, script) in stack_fuzz::seeds::all() {
        fs::write(folder.join(name), script.encode())?;
    }
    Ok(())
}
