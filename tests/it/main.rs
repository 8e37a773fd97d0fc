//! One test binary; a module a subject.

mod clients;
mod operations;
mod support;
