//! Hands files to children, keeps the children that live, and turns the deaths of the others into verdicts.

use std::path::PathBuf;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::super::BackendError;
use super::cache::Cache;
use super::exercise::ProbeSubject;
use super::process::{ChildProcess, Ending};
use super::protocol::{Hello, Progress, Request, Stage, WireOptions};
use super::verdict::{Outcome, Verdict, ZeroSize};
use crate::model::config::Provider;

/// A child is replaced after this many models, so that what leaks in one cannot add up.
const ASKED_MAX: usize = 256;

/// What a prober works with.
#[derive(Debug, Clone)]
pub struct ProberSettings {
    /// The program to start; usually `/proc/self/exe`.
    pub program: PathBuf,
    /// Its arguments; usually `["probe"]`.
    pub arguments: Vec<String>,
    /// The ONNX Runtime library, under a path that a child can open.
    pub library: PathBuf,
    /// ONNX Runtime's description of its build. Verdicts of another build do not count.
    pub build_info: String,
    /// What one model may use.
    pub limits: ProbeLimits,
    /// The most children at one time.
    pub children_max: usize,
    /// Where verdicts are kept between starts.
    pub cache: Option<PathBuf>,
}

/// What one model may use while it is probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeLimits {
    /// Address space, in bytes. Not enforced for CUDA, which reserves far more than it uses.
    pub memory_bytes: u64,
    /// CPU time.
    pub cpu: Duration,
    /// Time on the clock.
    pub wall: Duration,
}

impl Default for ProbeLimits {
    fn default() -> Self {
        ProbeLimits { memory_bytes: 8 << 30, cpu: Duration::from_secs(60), wall: Duration::from_secs(60) }
    }
}

/// Probes models. Blocking; shared by loading threads.
#[derive(Debug)]
pub struct Prober {
    settings: ProberSettings,
    cache: Option<Cache>,
    pool: Mutex<Pool>,
    /// A child has been returned, or has ended.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Pool {
    idle: Vec<ChildProcess>,
    busy: usize,
}

impl Prober {
    /// A prober; children are started when they are needed.
    pub fn new(settings: ProberSettings) -> Prober {
        let cache = settings.cache.clone().map(|folder| Cache::new(folder, &settings.build_info));
        Prober { settings, cache, pool: Mutex::default(), changed: Condvar::new() }
    }

    /// Finds out whether and how `subject` can be served. Takes as long as the limits allow.
    ///
    /// # Errors
    /// [`BackendError::Artifact`] when the file cannot be read, [`BackendError::Runtime`] when no child can be started.
    /// What is wrong with the model itself is part of the verdict.
    pub fn probe(&self, subject: &ProbeSubject) -> Result<Verdict, BackendError> {
        let key = match &self.cache {
            Some(cache) => Some(cache.key(subject)?),
            None => None,
        };
        if let (Some(cache), Some(key)) = (&self.cache, &key)
            && let Some(verdict) = cache.get(key)
        {
            return Ok(verdict);
        }
        let mut seat = Seat::take(self)?;
        let ending = seat.child.as_mut().map_or_else(
            || Ending::Unusable("it has no child".to_owned()),
            |child| child.ask(&self.request(subject), self.settings.limits.wall),
        );
        if !matches!(ending, Ending::Done(_)) || seat.child.as_ref().is_some_and(|c| c.asked() >= ASKED_MAX) {
            seat.child = None;
        }
        drop(seat);
        let verdict = self.judge(ending)?;
        if let (Some(cache), Some(key)) = (&self.cache, &key)
            && !verdict.is_of_the_moment
        {
            cache.put(key, &verdict);
        }
        Ok(verdict)
    }

    /// Ends the children that have nothing to do. They come back when needed.
    pub fn rest(&self) {
        let idle = std::mem::take(&mut self.pool.lock().idle);
        drop(idle);
    }

    fn request(&self, subject: &ProbeSubject) -> Request {
        let limits = self.settings.limits;
        let is_cuda = subject.options.runtime.provider == Provider::Cuda;
        Request {
            path: subject.artifact.path.clone(),
            options: WireOptions::of(&subject.options),
            rows_max: subject.rows_max,
            tolerance: subject.tolerance,
            try_zero: subject.try_zero,
            sample: subject.sample.clone(),
            memory_bytes: (!is_cuda).then_some(limits.memory_bytes),
            cpu_seconds: limits.cpu.as_secs().max(1),
        }
    }

    fn judge(&self, ending: Ending) -> Result<Verdict, BackendError> {
        let limits = self.settings.limits;
        match ending {
            Ending::Done(verdict) => Ok(verdict),
            Ending::Unusable(why) => Err(BackendError::Runtime(format!("the probe cannot work: {why}"))),
            Ending::Hung { last, log_tail } => {
                let how = format!("it did not end within {:?}", limits.wall);
                Ok(fallen(last, &how, None, log_tail, true))
            }
            Ending::Lost { last, why, log_tail } => {
                let mut verdict = fallen(last, &format!("it lost the device ({why})"), None, log_tail, true);
                // Also for a dimension of 0: the device may have failed by itself.
                verdict.is_of_the_moment = true;
                Ok(verdict)
            }
            Ending::Died { last, signal, log_tail } => {
                let (how, is_of_the_moment) = match signal {
                    Some(SIGXCPU) => (format!("it took more than {:?} of CPU time", limits.cpu), true),
                    Some(SIGKILL) => {
                        ("it was killed by SIGKILL, perhaps for want of memory".to_owned(), true)
                    }
                    Some(signal) => (format!("it was killed by {}", signal_name(signal)), false),
                    None => ("it ended".to_owned(), false),
                };
                Ok(fallen(last, &how, signal, log_tail, is_of_the_moment))
            }
        }
    }

    fn start_child(&self) -> Result<ChildProcess, BackendError> {
        let arena = usize::try_from(self.settings.limits.memory_bytes).unwrap_or(usize::MAX);
        let hello = Hello { library: self.settings.library.clone(), arena_bytes_max: arena };
        ChildProcess::start(&self.settings.program, &self.settings.arguments, &hello)
            .map_err(|why| BackendError::Runtime(format!("the probe cannot work: {why}")))
    }
}

/// The verdict on a model that took the child with it: what it did with a dimension of 0 is held against such requests
/// only, everything else against the model.
fn fallen(
    last: Option<Progress>,
    how: &str,
    signal: Option<i32>,
    log_tail: String,
    is_of_the_moment: bool,
) -> Verdict {
    let Some(Progress { stage, mut so_far }) = last else {
        let mut verdict = Verdict::new();
        let reason = format!("{how} before loading");
        verdict.outcome = Outcome::Refused { reason, signal, log_tail };
        verdict.is_of_the_moment = true;
        return verdict;
    };
    let reason = format!("{how} while {stage}");
    if let Stage::Zero { .. } = stage {
        so_far.zero_size = ZeroSize::Kills(reason);
    } else {
        so_far.outcome = Outcome::Refused { reason, signal, log_tail };
        so_far.is_of_the_moment |= is_of_the_moment;
    }
    so_far
}

/// The right to a child, given back when dropped, with the child if it is still there.
struct Seat<'a> {
    prober: &'a Prober,
    child: Option<ChildProcess>,
}

impl Seat<'_> {
    fn take(prober: &Prober) -> Result<Seat<'_>, BackendError> {
        let mut pool = prober.pool.lock();
        while pool.busy >= prober.settings.children_max.max(1) {
            prober.changed.wait(&mut pool);
        }
        pool.busy += 1;
        let child = pool.idle.pop();
        drop(pool);
        let mut seat = Seat { prober, child };
        if seat.child.is_none() {
            seat.child = Some(prober.start_child()?);
        }
        Ok(seat)
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut pool = self.prober.pool.lock();
        pool.busy -= 1;
        pool.idle.extend(self.child.take());
        drop(pool);
        self.prober.changed.notify_one();
    }
}

const SIGKILL: i32 = rustix::process::Signal::KILL.as_raw();
const SIGXCPU: i32 = rustix::process::Signal::XCPU.as_raw();

/// The names of the signals that ONNX Runtime is known to die of.
fn signal_name(signal: i32) -> String {
    use rustix::process::Signal;
    const NAMES: [(Signal, &str); 6] = [
        (Signal::ABORT, "SIGABRT"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::FPE, "SIGFPE"),
        (Signal::ILL, "SIGILL"),
        (Signal::BUS, "SIGBUS"),
        (Signal::TERM, "SIGTERM"),
    ];
    let name = NAMES.iter().find(|(known, _)| known.as_raw() == signal);
    name.map_or_else(|| format!("signal {signal}"), |(_, name)| (*name).to_owned())
}
