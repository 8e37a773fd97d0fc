//! The program: what was typed, what it means, and how the parts are put together, run and stopped.
//!
//! `settings` is what was written, `config` is what it means, `run` wires the parts, `shutdown` ends them. Only `cli`
//! prints. Nothing below `app` reads the environment.

mod auth;
mod capture;
mod check;
mod cli;
mod config;
mod connect;
mod dataset;
mod delivery;
mod infer;
mod log;
mod registry;
mod run;
mod follow;
mod housekeeping;
mod reload;
mod security;
mod settings;
mod shutdown;
mod startup;

pub use self::cli::main;
pub use self::settings::{KEYS, Key};
