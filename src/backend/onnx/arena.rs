//! The CPU memory arena that all sessions share, with a cap and without ONNX Runtime's habit of doubling.
//!
//! By default every session has its own arena that grows by powers of two and keeps what it took, so one request that
//! is too big leaves the process swollen or out of memory. This arena is one for the process, is capped, and
//! takes what was asked for. Sessions use it through `session.use_env_allocators`.
#![expect(unsafe_code, reason = "ort has no safe call for registering an allocator with the environment")]

use std::ffi::c_char;
use std::ptr;

use ort::AsPointer;
use ort::environment::Environment;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::sys;

/// `arena_extend_strategy`: take what was asked for (`kSameAsRequested`) instead of the next power of two.
const SAME_AS_REQUESTED: usize = 1;

/// The cap that was registered.
#[derive(Debug, Clone, Copy)]
pub(super) struct ArenaLimit(usize);

impl ArenaLimit {
    pub(super) fn bytes_max(self) -> usize {
        self.0
    }
}

/// Registers the shared arena of at most `bytes_max` bytes with `environment`.
pub(super) fn register(environment: &Environment, bytes_max: usize) -> Result<ArenaLimit, ort::Error> {
    let memory = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Arena, MemoryType::Default)?;
    let keys: [*const c_char; 2] = [c"max_mem".as_ptr(), c"arena_extend_strategy".as_ptr()];
    let values = [bytes_max, SAME_AS_REQUESTED];
    let mut config: *mut sys::OrtArenaCfg = ptr::null_mut();
    // SAFETY: `keys` and `values` are arrays of the length that is passed, the keys are NUL-terminated and static, and
    // `config` is only read after success.
    unsafe {
        ort::Error::result_from_status((ort::api().CreateArenaCfgV2)(
            keys.as_ptr(),
            values.as_ptr(),
            keys.len(),
            &mut config,
        ))?;
    }
    // SAFETY: the environment, the memory description and the configuration are alive and were made by the same
    // library. Registering takes a lock of ONNX Runtime's own and copies both descriptions.
    let registered = unsafe {
        ort::Error::result_from_status((ort::api().CreateAndRegisterAllocator)(
            environment.ptr().cast_mut(),
            memory.ptr(),
            config,
        ))
    };
    // SAFETY: `config` was made above, is not null after success, and is released once.
    unsafe { (ort::api().ReleaseArenaCfg)(config) };
    registered.map(|()| ArenaLimit(bytes_max))
}
