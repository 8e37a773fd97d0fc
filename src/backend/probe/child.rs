//! The child's end: limits itself, reads requests from standard input, answers on standard output.
//!
//! It ends when standard input does, which is when its parent ends, however that came about; also in the middle of a
//! model that hangs.

use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, getpid, getrlimit, kill_process, setrlimit};

use super::super::BackendError;
use super::super::onnx::{LibrarySource, OnnxBackend, Runtime, RuntimeLog, RuntimeSettings, trim_heap};
use super::exercise::{Host, exercise};
use super::protocol::{Answer, Hello, Request};

/// How long a child that is idle has to end by itself when its parent is gone.
const FAREWELL: Duration = Duration::from_millis(500);

/// Runs as the child of a [`Prober`](super::Prober): `weir probe`.
pub fn child_main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&Answer::Unusable(error)).ok();
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), String> {
    confine().map_err(|error| format!("cannot limit the probe: {error}"))?;
    let lines = requests();
    let Ok(hello) = lines.recv() else { return Ok(()) };
    let hello: Hello = parse(&hello)?;
    let settings = RuntimeSettings {
        library: LibrarySource::Path(hello.library),
        arena_bytes_max: Some(hello.arena_bytes_max),
        log: RuntimeLog::Stderr,
    };
    let runtime = Runtime::start(&settings).map_err(|error| error.to_string())?;
    let backend = OnnxBackend::new(runtime.clone());
    say(&Answer::Ready).map_err(|error| error.to_string())?;
    for line in lines {
        let request: Request = parse(&line)?;
        limit(&request).map_err(|error| format!("cannot limit the probe: {error}"))?;
        let mut announce = |progress: &super::protocol::Progress| {
            // A parent that is gone has closed standard input too, which ends the loop.
            say(&Answer::Progress(progress.clone())).ok();
        };
        forget_peak();
        let host = Host { resident: resident_bytes, peak: peak_bytes, give_up };
        let verdict = exercise(&backend, &request.into_subject(), host, &mut announce);
        // What this model left in the arena must not count for the next.
        runtime.shrink_arena().ok();
        say(&Answer::Done(verdict)).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Tells the parent that the device is lost, and waits to be ended.
fn give_up(error: &BackendError) {
    if say(&Answer::Lost(error.to_string())).is_ok() {
        loop {
            std::thread::park();
        }
    }
}

/// The lines of standard input, read on a thread of their own: it alone can notice the parent's end while a model hangs.
fn requests() -> Receiver<String> {
    let (sender, lines) = sync_channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
        drop(sender);
        std::thread::park_timeout(FAREWELL);
        // Not an exit: the runtime's destructors would wait for the model.
        kill_process(getpid(), Signal::KILL).ok();
    });
    lines
}

fn parse<T: serde::de::DeserializeOwned>(line: &str) -> Result<T, String> {
    serde_json::from_str(line).map_err(|error| error.to_string())
}

fn say(answer: &Answer) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    out.write_all(&line)?;
    out.flush()
}

/// Limits for the life of the child.
fn confine() -> rustix::io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
}

/// Limits for one model, on top of what the child holds already. Only the soft limits move, so that the next model
/// gets its own.
fn limit(request: &Request) -> rustix::io::Result<()> {
    let raise = |resource, current: Option<u64>| {
        let maximum = getrlimit(resource).maximum;
        let current = match (current, maximum) {
            (Some(current), Some(maximum)) => Some(current.min(maximum)),
            (current, maximum) => current.or(maximum),
        };
        setrlimit(resource, Rlimit { current, maximum })
    };
    raise(Resource::As, request.memory_bytes.map(|bytes| bytes.saturating_add(statm(0))))?;
    raise(Resource::Cpu, Some(cpu_seconds().saturating_add(request.cpu_seconds)))
}

/// CPU time that the child has used, rounded up.
fn cpu_seconds() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in parentheses may hold anything; `utime` and `stime` are the 12th and 13th field after it.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks / rustix::param::clock_ticks_per_second().max(1) + 1
}

/// What is resident, without what was freed and not given back.
fn resident_bytes() -> u64 {
    trim_heap();
    statm(1)
}

/// The most that was resident since [`forget_peak`].
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

/// Starts the peak anew. Where the kernel does not do it, the peak is that of the child's whole life.
fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").ok();
}

/// A field of `/proc/self/statm` in bytes: 0 is the address space, 1 what is resident.
fn statm(field: usize) -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split_whitespace().nth(field).and_then(|field| field.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}
