//! One worker's runs of a session that it may share with others, and how a run is stopped from outside.
//!
//! # Why `Run` may be called from many threads
//! The C API says of `OrtSession` that `Run` is thread-safe, and for the CPU provider the code keeps that promise: the
//! session's graph, kernels and weights are constant after loading; each run has its own execution frame; kernels get
//! a `const` `Compute`; and the arena and the thread pool have their own locks. `ort` takes `&mut self` because some
//! other providers break the promise (pykeio/ort issues 415 and 511), so only a session whose every node runs on the
//! CPU provider is shared (`session::OnnxModel`), and `tests::shared_session_under_stress` tries it. Sessions of other
//! providers come out of a pool, one for each run.
//!
//! # Stopping a run
//! ```text
//!  worker:       lock, number += 1, unlock | lock, running, unlock | Run | lock, idle, flag off if it was on, unlock
//!  interrupter:  lock, if running and number matches: flag on, unlock
//! ```
//! The flag is set only under the lock while that very run is under way, and is taken off under the lock before
//! another can start. So a late interrupt finds another number or nothing running, and stops nobody.
#![expect(
    unsafe_code,
    reason = "ort's run takes &mut self; the C function is thread-safe on the CPU provider"
)]

use std::ffi::{CStr, CString, c_char};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use ort::AsPointer;
use ort::memory::MemoryInfo;
use ort::session::SharedSessionInner;
use ort::sys;
use parking_lot::Mutex;
use smallvec::SmallVec;

use super::super::{BackendError, Input, InputData, Instance, Interrupt, Output};
use super::error::{invalid_input, invalid_output, of_device, of_run};
use super::pinned::PinnedMemory;
use super::pool::SessionPool;
use super::value::{InputValue, Value, into_output, is_aligned, take};
use crate::tensor::{AlignedBuffer, StagingMemory};

/// A session with what every run of it needs, computed once.
#[derive(Debug)]
pub(super) struct RunnableSession {
    pub(super) session: Arc<SharedSessionInner>,
    pub(super) memory: MemoryInfo<'static>,
    /// The names of inputs, and whether each may be left out.
    pub(super) inputs: Vec<(CString, bool)>,
    pub(super) outputs: Vec<CString>,
}

/// Where runs get their session.
#[derive(Debug, Clone)]
pub(super) enum Sessions {
    /// All share one.
    Shared(Arc<RunnableSession>),
    /// Each has one of these for itself.
    Pooled(Arc<SessionPool<RunnableSession>>),
}

/// One worker's handle.
pub(super) struct OnnxInstance {
    sessions: Sessions,
    pinned: Option<Arc<PinnedMemory>>,
    control: Arc<RunControl>,
    /// Where an input is copied to that is not aligned for its type. Usually empty.
    realigned: Vec<AlignedBuffer>,
}

impl OnnxInstance {
    /// A handle to a model of so many inputs.
    pub(super) fn new(
        sessions: Sessions,
        inputs: usize,
        pinned: Option<Arc<PinnedMemory>>,
    ) -> Result<OnnxInstance, BackendError> {
        let realigned = std::iter::repeat_with(AlignedBuffer::new).take(inputs).collect();
        Ok(OnnxInstance { sessions, pinned, control: Arc::new(RunControl::new()?), realigned })
    }
}

impl Instance for OnnxInstance {
    fn run(&mut self, inputs: &[Option<Input<'_>>]) -> Result<Vec<Output>, BackendError> {
        // Before anything can fail: whoever interrupts counts every call.
        self.control.count();
        if inputs.len() != self.realigned.len() {
            let (expected, actual) = (self.realigned.len(), inputs.len());
            return Err(invalid_input(format!("the model takes {expected} inputs, got {actual}")));
        }
        let lease;
        let session = match &self.sessions {
            Sessions::Shared(session) => session,
            Sessions::Pooled(pool) => {
                lease = pool.take(inputs)?;
                lease.session()
            }
        };
        realign(&mut self.realigned, inputs);
        let mut names: SmallVec<[*const c_char; 8]> = SmallVec::new();
        let mut values: SmallVec<[InputValue<'_>; 8]> = SmallVec::new();
        let mut borrowed: SmallVec<[&[u8]; 8]> = SmallVec::new();
        for ((input, (name, optional)), realigned) in inputs.iter().zip(&session.inputs).zip(&self.realigned)
        {
            let named = |error| name_input(error, name);
            let Some(input) = input else {
                if *optional {
                    continue;
                }
                return Err(named(invalid_input("it is missing".to_owned())));
            };
            let value = match input.data {
                InputData::Fixed(data) => {
                    let data = if realigned.is_empty() { data } else { realigned.as_slice() };
                    borrowed.push(data);
                    InputValue::fixed(&session.memory, input.dtype, input.shape, data)
                }
                InputData::Strings(runs) => InputValue::strings(input.shape, runs),
            };
            values.push(value.map_err(named)?);
            names.push(name.as_ptr());
        }
        let outputs = self.call(session, &names, &values)?;
        outputs.into_iter().map(|value| into_output(value, &session.session, &borrowed)).collect()
    }

    fn staging_memory(&self) -> Option<Arc<dyn StagingMemory>> {
        self.pinned.clone().map(|pinned| pinned as Arc<dyn StagingMemory>)
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        Arc::clone(&self.control) as Arc<dyn Interrupt>
    }
}

impl OnnxInstance {
    fn call(
        &self,
        session: &RunnableSession,
        names: &[*const c_char],
        inputs: &[InputValue<'_>],
    ) -> Result<SmallVec<[Value; 8]>, BackendError> {
        debug_assert_eq!(names.len(), inputs.len());
        let input_values: SmallVec<[*const sys::OrtValue; 8]> =
            inputs.iter().map(InputValue::as_ptr).collect();
        let output_names: SmallVec<[*const c_char; 8]> =
            session.outputs.iter().map(|name| name.as_ptr()).collect();
        let mut output_values: SmallVec<[*mut sys::OrtValue; 8]> =
            SmallVec::from_elem(ptr::null_mut(), output_names.len());
        self.control.begin();
        // SAFETY: the session, the run options and the inputs live through the call; the arrays of names and values
        // have the lengths that are passed; names are NUL-terminated. The run options belong to this instance, and
        // `&mut self` of `run` keeps a second run of it away. Other instances may run a shared session (see above); one
        // out of a pool is this run's alone.
        let status = unsafe {
            (ort::api().Run)(
                session.session.ptr().cast_mut(),
                self.control.options.as_ptr(),
                names.as_ptr(),
                input_values.as_ptr(),
                input_values.len(),
                output_names.as_ptr(),
                output_names.len(),
                output_values.as_mut_ptr(),
            )
        };
        let was_interrupted = self.control.end();
        // Owned before the status is looked at, so that a failed run releases what it had made.
        // SAFETY: the runtime left each pointer null or wrote a value that is now the caller's.
        let values: SmallVec<[Option<Value>; 8]> =
            output_values.iter().map(|&value| unsafe { take(value) }).collect();
        // SAFETY: the status was just returned by the runtime and is looked at once.
        match unsafe { ort::Error::result_from_status(status) } {
            Ok(()) => values
                .into_iter()
                .collect::<Option<_>>()
                .ok_or_else(|| invalid_output("the model gave no value for an output".to_owned())),
            Err(_) if was_interrupted => Err(BackendError::Interrupted),
            Err(error) => Err(self.meaning(&error)),
        }
    }
}

impl OnnxInstance {
    /// What a run's error means. On a device it may say nothing of the input.
    fn meaning(&self, error: &ort::Error) -> BackendError {
        match &self.sessions {
            Sessions::Pooled(_) => match of_device(error.message()) {
                Some(of_device) => {
                    tracing::warn!(error = error.message(), "the device failed a run");
                    of_device
                }
                None => of_run(error),
            },
            Sessions::Shared(_) => of_run(error),
        }
    }
}

/// How many nodes of the optimized graph each execution provider runs. The session must have been made to record it.
pub(super) fn node_counts(session: &SharedSessionInner) -> Result<Vec<(String, usize)>, ort::Error> {
    let (mut subgraphs, mut len) = (ptr::null(), 0usize);
    // SAFETY: the session is alive; both results are only used after success.
    check(unsafe { (ort::api().Session_GetEpGraphAssignmentInfo)(session.ptr(), &mut subgraphs, &mut len) })?;
    let mut counts: Vec<(String, usize)> = Vec::new();
    for index in 0..len {
        // SAFETY: the runtime gave an array of `len` pointers, which lives as long as the session.
        let subgraph = unsafe { *subgraphs.add(index) };
        let mut name = ptr::null();
        // SAFETY: `subgraph` lives as long as the session; the result is only used after success.
        check(unsafe { (ort::api().EpAssignedSubgraph_GetEpName)(subgraph, &mut name) })?;
        // SAFETY: the name is a NUL-terminated string that lives as long as the session.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
        let (mut nodes, mut count) = (ptr::null(), 0usize);
        // SAFETY: as for the name; of the nodes only their number is used.
        check(unsafe { (ort::api().EpAssignedSubgraph_GetNodes)(subgraph, &mut nodes, &mut count) })?;
        match counts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += count,
            None => counts.push((name.into_owned(), count)),
        }
    }
    Ok(counts)
}

fn check(status: sys::OrtStatusPtr) -> Result<(), ort::Error> {
    // SAFETY: the status was just returned by the runtime and is looked at once.
    unsafe { ort::Error::result_from_status(status) }
}

/// Copies inputs that are not aligned for their type; the others' buffers stay empty.
fn realign(buffers: &mut [AlignedBuffer], inputs: &[Option<Input<'_>>]) {
    for (buffer, input) in buffers.iter_mut().zip(inputs) {
        buffer.clear();
        if let Some(Input { dtype, data: InputData::Fixed(data), .. }) = input
            && !is_aligned(data, *dtype)
        {
            buffer.extend_from_slice(data);
        }
    }
}

fn name_input(error: BackendError, name: &CString) -> BackendError {
    match error {
        BackendError::Run { message, invalid_input } => {
            let message = format!("input '{}': {message}", name.to_string_lossy());
            BackendError::Run { message, invalid_input }
        }
        other => other,
    }
}

/// The run options of one instance, and which of its runs is under way.
#[derive(Debug)]
pub(super) struct RunControl {
    options: NonNull<sys::OrtRunOptions>,
    state: Mutex<RunState>,
}

#[derive(Debug, Default)]
struct RunState {
    /// Counted from 1.
    number: u64,
    running: bool,
    interrupted: bool,
}

// SAFETY: run options are plain data. The worker's run reads them; the only write while it does is the terminate flag,
// which the C API offers for use from another thread, and `state` orders it with the begin and end of runs.
unsafe impl Send for RunControl {}
// SAFETY: as above.
unsafe impl Sync for RunControl {}

impl RunControl {
    fn new() -> Result<RunControl, BackendError> {
        let mut options: *mut sys::OrtRunOptions = ptr::null_mut();
        // SAFETY: `options` is only used after success.
        let status = unsafe { (ort::api().CreateRunOptions)(&mut options) };
        // SAFETY: the status was just returned by the runtime and is looked at once.
        unsafe { ort::Error::result_from_status(status) }.map_err(|error| of_run(&error))?;
        let options =
            NonNull::new(options).ok_or_else(|| invalid_output("no run options were made".to_owned()))?;
        Ok(RunControl { options, state: Mutex::default() })
    }

    /// Numbers a call.
    fn count(&self) {
        self.state.lock().number += 1;
    }

    fn begin(&self) {
        self.state.lock().running = true;
    }

    /// Ends the run; whether it was told to stop.
    fn end(&self) -> bool {
        let mut state = self.state.lock();
        state.running = false;
        let was_interrupted = std::mem::take(&mut state.interrupted);
        if was_interrupted {
            // SAFETY: the options are alive, no run uses them, and the lock keeps other writers away.
            drop_status(unsafe { (ort::api().RunOptionsUnsetTerminate)(self.options.as_ptr()) });
        }
        was_interrupted
    }
}

impl Interrupt for RunControl {
    fn interrupt(&self, run: u64) {
        let mut state = self.state.lock();
        if state.running && state.number == run && !state.interrupted {
            state.interrupted = true;
            // SAFETY: the options are alive; setting the flag during a run is what the function is for.
            drop_status(unsafe { (ort::api().RunOptionsSetTerminate)(self.options.as_ptr()) });
        }
    }
}

impl Drop for RunControl {
    fn drop(&mut self) {
        // SAFETY: no run can be under way: the instance that runs holds a reference to `self`.
        unsafe { (ort::api().ReleaseRunOptions)(self.options.as_ptr()) };
    }
}

/// Setting and taking off a flag cannot fail; the status is released all the same.
fn drop_status(status: sys::OrtStatusPtr) {
    // SAFETY: the status was just returned by the runtime and is looked at once.
    drop(unsafe { ort::Error::result_from_status(status) });
}
