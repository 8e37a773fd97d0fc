//! A REST inference request as decoded, whichever of the three forms its body had: JSON, JSON with binary tensors, or
//! one raw binary tensor.

use std::time::Duration;

use smallvec::SmallVec;

use crate::infer::RequestedOutput;
use crate::tensor::{Name, Tensor};

/// What a body asks for. Model, version and clock are the transport's to add.
#[derive(Debug, Clone, Default)]
pub struct InferBody {
    /// The client's id for the request.
    pub id: Name,
    /// 0 is the default, 1 the highest.
    pub priority: u32,
    /// How long the client waits for its answer.
    pub timeout: Option<Duration>,
    /// Inputs in the client's order.
    pub inputs: Vec<Tensor>,
    /// Outputs that the client wants; empty for all.
    pub outputs: Vec<RequestedOutput>,
    /// How it wants them.
    pub forms: OutputForms,
}

/// Whether each output is sent as JSON or in binary form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutputForms {
    /// What holds for outputs that do not say.
    pub binary: bool,
    /// What each requested output says, in the order of the request.
    pub by_output: SmallVec<[Option<bool>; 4]>,
}

impl OutputForms {
    /// Every output in binary form.
    pub fn all_binary() -> OutputForms {
        OutputForms { binary: true, by_output: SmallVec::new() }
    }

    /// Whether the output at `index` of the answer is sent in binary form.
    pub fn is_binary(&self, index: usize) -> bool {
        self.by_output.get(index).copied().flatten().unwrap_or(self.binary)
    }
}
