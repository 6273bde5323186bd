//! The face on a running process: a unix socket that speaks JSON.
