//! What ONNX Runtime does to its process and its API cannot change: reports to its maker, and memory that stays.
//!
//! Since 1.29 the official builds for Linux report the machine, the process, sessions, models and errors to Microsoft over
//! HTTPS, and keep an identifier of the machine and a queue of reports in the user's cache folder (microsoft/onnxruntime pull
//! request 27379). `DisableTelemetryEvents` of the C API comes too late: the process has been reported by then, and the
//! folder written. The library looks at an environment variable when it is loaded, and keeps to what it found.
//!
//! Weights are allocated one by one and several times over while a model opens. What is freed of that the C library keeps:
//! its limit above which memory goes straight back to the system rises, up to 32 MiB, with each larger piece that is
//! freed (`M_MMAP_THRESHOLD` in mallopt(3)). Three models of 156 MB left 410 MB resident, and as much when two of them
//! were unloaded again; trimmed, 246 and 97 MB.
#![expect(
    unsafe_code,
    reason = "an environment variable is the only switch, and the C library's environment has no lock; trimming is a call of \
              the C library"
)]

/// What the library looks for; `1` is off.
pub const TELEMETRY_SWITCH: &str = "ORT_DISABLE_TELEMETRY";

/// Switches telemetry off for this process and the children that it starts. Whether it could: not when the process has
/// threads already, which might be reading the environment.
#[must_use]
pub fn switch_telemetry_off() -> bool {
    let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    if threads != 1 {
        return false;
    }
    // SAFETY: the only thread of the process is this one, and it does nothing else meanwhile.
    unsafe { std::env::set_var(TELEMETRY_SWITCH, "1") };
    true
}

/// Gives free memory of the C library's heap back to the system. Takes some ten milliseconds for a hundred megabytes, in
/// which threads that allocate may wait: for after models were loaded or freed, on a blocking thread.
pub fn trim_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: malloc_trim(3) of the C library that this program is linked with, as it is declared there.
        unsafe extern "C" {
            safe fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_other_threads_the_environment_stays() {
        // This thread and the one that waits for it.
        assert!(!std::thread::spawn(switch_telemetry_off).join().unwrap());
    }
}
