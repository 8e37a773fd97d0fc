//! A model that returns its rows, and can be told to be slow, to fail, to panic or to hang.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use smallvec::smallvec;

use crate::backend::{BackendError, DeviceFault, Input, InputData, Instance, Interrupt, Model, Output};
use crate::model::{Dim, Signature, TensorSpec};
use crate::scheduler::{Job, Reply};
use crate::tensor::{DataType, Shape, Tensor};

/// A row with this value makes the run fail.
pub(super) const POISON: u32 = 0xdead_0000;
/// A row with this value makes the run panic.
pub(super) const PANIC: u32 = 0xdead_0001;
/// A row with this value makes the run wait until it is let go or interrupted.
pub(super) const HOLD: u32 = 0xdead_0002;
/// A row with this value makes the run wait until it is let go, whatever interrupts it.
pub(super) const HANG: u32 = 0xdead_0003;
/// A row with this value makes the output lose a row.
pub(super) const LOSE: u32 = 0xdead_0004;
/// A row for which the device has memory only when it comes alone.
pub(super) const WIDE: u32 = 0xdead_0005;
/// A row that loses the device.
pub(super) const KILL: u32 = 0xdead_0006;

#[derive(Debug)]
pub(super) struct FakeModel {
    signature: Signature,
    pub(super) shared: Arc<FakeShared>,
}

#[derive(Debug, Default)]
pub(super) struct FakeShared {
    state: Mutex<FakeState>,
    changed: Condvar,
    pub(super) runs: AtomicU64,
    pub(super) interrupts: AtomicU64,
    /// The next interrupt by the watchdog panics.
    pub(super) breaks_watchdog: AtomicBool,
}

#[derive(Debug, Default)]
struct FakeState {
    instances: usize,
    held: usize,
    gate_open: bool,
    sizes: BTreeSet<usize>,
}

struct FakeInstance {
    shared: Arc<FakeShared>,
    run: u64,
    stop: Arc<Stop>,
}

struct Stop {
    shared: Arc<FakeShared>,
    run: AtomicU64,
}

impl FakeModel {
    pub(super) fn new() -> Arc<FakeModel> {
        FakeModel::with_dims(vec![Dim::Dynamic(None), Dim::Fixed(1)])
    }

    /// Rows of any width.
    pub(super) fn of_many_lanes() -> Arc<FakeModel> {
        FakeModel::with_dims(vec![Dim::Dynamic(None), Dim::Dynamic(None)])
    }

    fn with_dims(dims: Vec<Dim>) -> Arc<FakeModel> {
        let spec = |name: &str| TensorSpec {
            name: name.into(),
            dtype: DataType::Uint32,
            shape: Some(dims.clone()),
            optional: false,
        };
        let signature = Signature { inputs: vec![spec("x")], outputs: vec![spec("y")] };
        Arc::new(FakeModel { signature, shared: Arc::default() })
    }

    /// Blocks until so many instances exist.
    pub(super) fn wait_for_instances(&self, count: usize) {
        self.wait(|state| state.instances == count);
    }

    /// Runs that are held.
    pub(super) fn held(&self) -> usize {
        self.shared.state.lock().held
    }

    /// Lets held runs go, and all that come.
    pub(super) fn open_gate(&self) {
        self.shared.state.lock().gate_open = true;
        self.shared.changed.notify_all();
    }

    /// Rows of the largest batch so far.
    pub(super) fn largest(&self) -> usize {
        self.sizes().last().copied().unwrap_or(0)
    }

    /// Rows of all batches so far.
    pub(super) fn sizes(&self) -> BTreeSet<usize> {
        self.shared.state.lock().sizes.clone()
    }

    fn wait(&self, condition: impl Fn(&FakeState) -> bool) {
        let mut state = self.shared.state.lock();
        while !condition(&state) {
            self.shared.changed.wait(&mut state);
        }
    }
}

impl Model for FakeModel {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn instance(&self) -> Result<Box<dyn Instance>, BackendError> {
        self.shared.state.lock().instances += 1;
        self.shared.changed.notify_all();
        let shared = Arc::clone(&self.shared);
        let stop = Arc::new(Stop { shared: Arc::clone(&shared), run: AtomicU64::new(0) });
        Ok(Box::new(FakeInstance { shared, run: 0, stop }))
    }
}

impl Drop for FakeInstance {
    fn drop(&mut self) {
        self.shared.state.lock().instances -= 1;
        self.shared.changed.notify_all();
    }
}

impl Interrupt for Stop {
    fn interrupt(&self, run: u64) {
        let is_watchdog = std::thread::current().name() == Some("weir-watchdog");
        if is_watchdog && self.shared.breaks_watchdog.swap(false, Ordering::SeqCst) {
            std::panic::resume_unwind(Box::new("told to"));
        }
        let state = self.shared.state.lock();
        self.shared.interrupts.fetch_add(1, Ordering::SeqCst);
        self.run.store(run, Ordering::SeqCst);
        drop(state);
        self.shared.changed.notify_all();
    }
}

impl Instance for FakeInstance {
    fn run(&mut self, inputs: &[Option<Input<'_>>]) -> Result<Vec<Output>, BackendError> {
        self.run += 1;
        self.shared.runs.fetch_add(1, Ordering::SeqCst);
        let input = inputs[0].as_ref().unwrap();
        let InputData::Fixed(data) = input.data else { panic!("not strings") };
        assert_eq!(data.len(), input.shape.element_count() * 4);
        assert_eq!(data.as_ptr().addr() % 4, 0);
        let rows = decode(data);
        let mut state = self.shared.state.lock();
        state.sizes.insert(input.shape.rows().unwrap());
        if rows.contains(&HOLD) || rows.contains(&HANG) {
            state.held += 1;
            self.shared.changed.notify_all();
            let is_stopped = |run: u64| !rows.contains(&HANG) && self.stop.run.load(Ordering::SeqCst) == run;
            while !state.gate_open && !is_stopped(self.run) {
                self.shared.changed.wait(&mut state);
            }
            state.held -= 1;
            self.shared.changed.notify_all();
            if !state.gate_open {
                return Err(BackendError::Interrupted);
            }
        }
        drop(state);
        if rows.contains(&PANIC) {
            // Without the hook's message: the simulation does this thousands of times.
            std::panic::resume_unwind(Box::new("told to"));
        }
        if rows.contains(&POISON) {
            return Err(BackendError::Run { message: "poison".to_owned(), invalid_input: true });
        }
        let failed = |fault| Err(BackendError::Device { fault, message: "CUDA failure".to_owned() });
        if rows.contains(&WIDE) && rows.len() > 1 {
            return failed(DeviceFault::Full);
        }
        if rows.contains(&KILL) {
            return failed(DeviceFault::Lost);
        }
        let lost = usize::from(rows.contains(&LOSE));
        let shape = input.shape.with_rows(input.shape.rows().unwrap() - lost).unwrap();
        let data = Bytes::copy_from_slice(&data[..shape.element_count() * 4]);
        Ok(vec![Output { dtype: DataType::Uint32, shape, data }])
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        Arc::clone(&self.stop) as Arc<dyn Interrupt>
    }
}

fn decode(data: &[u8]) -> Vec<u32> {
    data.chunks(4).map(|chunk| u32::from_le_bytes(chunk.try_into().unwrap())).collect()
}

/// A job of rows with one value each.
pub(super) fn job(rows: &[u32]) -> Job {
    wide_job(rows, 1)
}

/// A job of rows with `width` values each.
pub(super) fn wide_job(values: &[u32], width: usize) -> Job {
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let rows = values.len() / width;
    let shape = Shape::new(&[rows, width]).unwrap();
    let tensor = Tensor::new("x".into(), DataType::Uint32, shape, Bytes::from(data)).unwrap();
    Job { inputs: smallvec![Some(tensor)], rows, priority: 0, deadline: None }
}

/// The values of an answer.
pub(super) fn values(reply: &Reply) -> Vec<u32> {
    decode(&reply.outputs[0].data)
}
