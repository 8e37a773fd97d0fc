//! Switches ONNX Runtime's telemetry off, before the library is loaded.
//!
//! Since 1.29 the official builds for Linux report the machine, the process, sessions, models and errors to Microsoft over
//! HTTPS, and keep an identifier of the machine and a queue of reports in the user's cache folder (microsoft/onnxruntime pull
//! request 27379). `DisableTelemetryEvents` of the C API comes too late: the process has been reported by then, and the
//! folder written. The library looks at an environment variable when it is loaded, and keeps to what it found.
#![expect(
    unsafe_code,
    reason = "an environment variable is the only switch, and the C library's environment has no lock"
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_other_threads_the_environment_stays() {
        // This thread and the one that waits for it.
        assert!(!std::thread::spawn(switch_telemetry_off).join().unwrap());
    }
}
