//! The CPU memory arena that all sessions share, with a cap and without ONNX Runtime's habit of doubling.
//!
//! By default every session has its own arena that grows by powers of two and keeps what it took, so one request that
//! is too big leaves the process swollen or out of memory. This arena is one for the process, is capped, and
//! takes what was asked for. Sessions use it through `session.use_env_allocators`.
#![expect(unsafe_code, reason = "ort has no safe call for registering an allocator with the environment")]

use std::ffi::{CStr, c_char};
use std::ptr;

use ort::AsPointer;
use ort::environment::Environment;
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;
use ort::sys;

/// `arena_extend_strategy`: take what was asked for (`kSameAsRequested`) instead of the next power of two.
const SAME_AS_REQUESTED: usize = 1;

/// How much memory the arena holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ArenaUsage {
    /// Bytes that values of running or answered requests occupy.
    pub in_use_bytes: u64,
    /// Bytes taken from the system.
    pub reserved_bytes: u64,
}

/// Registers the shared arena of at most `bytes_max` bytes with `environment`.
pub(super) fn register(environment: &Environment, bytes_max: usize) -> Result<(), ort::Error> {
    let memory = description()?;
    let keys: [*const c_char; 2] = [c"max_mem".as_ptr(), c"arena_extend_strategy".as_ptr()];
    let values = [bytes_max, SAME_AS_REQUESTED];
    let mut config: *mut sys::OrtArenaCfg = ptr::null_mut();
    // SAFETY: `keys` and `values` are arrays of the length that is passed, the keys are NUL-terminated and static, and
    // `config` is only read after success.
    check(unsafe { (ort::api().CreateArenaCfgV2)(keys.as_ptr(), values.as_ptr(), keys.len(), &mut config) })?;
    // SAFETY: the environment, the memory description and the configuration are alive and were made by the same
    // library. Registering takes a lock of ONNX Runtime's own and copies both descriptions.
    let registered = check(unsafe {
        (ort::api().CreateAndRegisterAllocator)(environment.ptr().cast_mut(), memory.ptr(), config)
    });
    // SAFETY: `config` was made above, is not null after success, and is released once.
    unsafe { (ort::api().ReleaseArenaCfg)(config) };
    registered
}

/// What the arena holds now. `session` is any session that uses the shared arena.
pub(super) fn usage(session: &Session) -> Result<ArenaUsage, ort::Error> {
    let allocator = Allocator::new(session, description()?)?;
    let mut pairs: *mut sys::OrtKeyValuePairs = ptr::null_mut();
    // SAFETY: the allocator is alive; the arena takes its own lock.
    check(unsafe { (ort::api().AllocatorGetStats)(allocator.ptr(), &mut pairs) })?;
    if pairs.is_null() {
        return Err(ort::Error::new("the arena keeps no statistics"));
    }
    let number = |key: &CStr| {
        // SAFETY: `pairs` was made above and is released below; the key is NUL-terminated.
        let value = unsafe { (ort::api().GetKeyValue)(pairs, key.as_ptr()) };
        if value.is_null() {
            return 0;
        }
        // SAFETY: the value is a NUL-terminated string that belongs to `pairs` and is parsed before those go.
        unsafe { CStr::from_ptr(value) }.to_str().ok().and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    let usage = ArenaUsage { in_use_bytes: number(c"InUse"), reserved_bytes: number(c"TotalAllocated") };
    // SAFETY: made above, released once.
    unsafe { (ort::api().ReleaseKeyValuePairs)(pairs) };
    Ok(usage)
}

fn description() -> Result<MemoryInfo<'static>, ort::Error> {
    MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Arena, MemoryType::Default)
}

fn check(status: sys::OrtStatusPtr) -> Result<(), ort::Error> {
    // SAFETY: the status was just returned by the runtime and is looked at once.
    unsafe { ort::Error::result_from_status(status) }
}
