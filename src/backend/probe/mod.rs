//! Finds out, in a child process that may die, whether a model can be served and how.
//!
//! ONNX Runtime aborts, divides by zero or never returns on some files and on some shapes, and no `Result` shows it.
//! So each unknown file is first opened and run in a child of the same binary:
//!
//! ```text
//!  prober (loading threads)                      child: `weir probe`
//!    cache hit? ── verdict                         limits: memory, CPU time, no core file, no new privileges
//!    idle child or a new one                       │
//!    request ──────────────── one JSON line ─────► exercise: load, run at batch 1, 2, max,
//!    progress, then verdict ◄── JSON lines ──────     rows together and apart, dimensions of 0
//!    no line in time: SIGKILL, verdict from the last progress line
//! ```
//!
//! `synthetic` makes inputs, `sample` keeps what came of them, `compare` compares outputs, `exercise` runs the experiments on any [`Backend`], `child`
//! and `process` are the two ends of the pipe, `warm` runs a model in the server on what its probe survived. Nothing here serves requests.
//!
//! [`Backend`]: super::Backend

mod cache;
mod child;
mod compare;
mod exercise;
mod prober;
mod process;
mod protocol;
mod sample;
mod synthetic;
mod verdict;
mod warm;

pub use self::child::child_main;
pub use self::compare::element_difference;
pub use self::exercise::ProbeSubject;
pub use self::prober::{ProbeLimits, Prober, ProberSettings};
pub use self::sample::{SampleOutcome, SampleRun, SampleTensors, run_sample};
pub use self::verdict::{Exercised, Outcome, RowIndependence, SeenTensor, Verdict, ZeroSize};
pub use self::warm::warm_up;

#[cfg(test)]
mod tests;
