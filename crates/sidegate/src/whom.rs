//! Which running instance is meant, and asking it.

use std::path::{Path, PathBuf};

use control::{DIRECTORY, Instance, ask, running, socket_of};
use serde::de::DeserializeOwned;

use crate::args::Whom;
use crate::request::Request;
use crate::{Failure, config};

impl Whom {
    /// Asks the instance that is meant.
    pub(crate) fn ask<T: DeserializeOwned>(&self, request: &Request) -> Result<T, Failure> {
        Ok(ask(&self.find()?, request, request.patience())?)
    }

    /// Its socket.
    pub(crate) fn find(&self) -> Result<PathBuf, Failure> {
        if let Some(socket) = &self.socket {
            return Ok(socket.clone());
        }
        if let Some(file) = &self.config {
            return Ok(socket_of(&config::load(file)?.run.name));
        }
        match &self.instance {
            Some(instance) => Ok(socket_of(instance)),
            None => the_only_one(),
        }
    }
}

fn the_only_one() -> Result<PathBuf, Failure> {
    let unreadable =
        |error| Failure::system(format_args!("cannot look for instances in {DIRECTORY}: {error}"));
    let mut instances = running(Path::new(DIRECTORY)).map_err(unreadable)?;
    match instances.len() {
        0 => Err(Failure::mistake(format_args!(
            "no sidegate runs here (nobody answers in {DIRECTORY}); start one with `sidegate run --config FILE`, or say \
             where it answers with --socket"
        ))),
        1 => Ok(instances.remove(0).socket),
        _ => {
            let names: Vec<String> = instances.into_iter().map(|Instance { name, .. }| name).collect();
            let names = names.join(", ");
            Err(Failure::mistake(format_args!("several instances run; say which: {names}")))
        }
    }
}
