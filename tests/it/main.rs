//! One test binary; a module a subject.

mod clients;
mod documents;
mod operations;
mod support;
mod tidy;
