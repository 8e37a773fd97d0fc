//! Looks after the shared arena: what it holds, and giving back what nobody uses.
//!
//! ONNX Runtime shrinks an arena only at the end of a run that asks for it. Asking in every run would make each take
//! its memory from the system again, so a session of one node, which nobody else uses, does it when told to.

use ort::environment::Environment;
use ort::session::{RunOptions, Session};
use ort::value::Tensor;
use parking_lot::Mutex;

use super::arena::{self, ArenaUsage};

/// A model that gives its one number back (`Identity`, opset 17), as ONNX has it.
const IDENTITY: &[u8] = b"\x08\x08:7\x0a\x10\x0a\x01x\x12\x01y\x22\x08Identity\x12\x01gZ\x0f\x0a\x01x\x12\x0a\x0a\x08\x08\x01\x12\x04\x0a\x02\x08\x01b\x0f\x0a\x01y\x12\x0a\x0a\x08\x08\x01\x12\x04\x0a\x02\x08\x01B\x04\x0a\x00\x10\x11";

/// A session for housekeeping.
#[derive(Debug)]
pub(super) struct Janitor {
    session: Mutex<Session>,
}

impl Janitor {
    pub(super) fn new(environment: &Environment) -> Result<Janitor, ort::Error> {
        let session = Session::builder(environment)?
            .with_intra_threads(1)?
            .with_env_allocators()?
            .commit_from_memory(IDENTITY)?;
        Ok(Janitor { session: Mutex::new(session) })
    }

    pub(super) fn usage(&self) -> Result<ArenaUsage, ort::Error> {
        arena::usage(&self.session.lock())
    }

    pub(super) fn shrink(&self) -> Result<(), ort::Error> {
        let mut options = RunOptions::new()?;
        options.set("memory.enable_memory_arena_shrinkage", "cpu:0")?;
        let input = Tensor::from_array(([1usize], vec![0f32]))?;
        self.session.lock().run_with_options(ort::inputs![input], &options).map(drop)
    }
}
