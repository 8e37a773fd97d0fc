//! The parent's end of one child: starts it, asks it, notices that it died or went silent, and reaps it.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::protocol::{Answer, Hello, Progress, Request};
use super::verdict::Verdict;

/// How much of what the child wrote to standard error is kept.
const TAIL_LEN_MAX: usize = 4096;
/// Longest line of a child. A verdict has a few hundred bytes; a sample run may have 2 MiB, in base64, and is said again
/// with each experiment after it.
const LINE_LEN_MAX: u64 = 8 << 20;
/// How long a child may take to open ONNX Runtime.
const START_TIME_MAX: Duration = Duration::from_secs(30);

/// A child that is up.
#[derive(Debug)]
pub(super) struct ChildProcess {
    child: Child,
    /// `None` once the child is being ended.
    stdin: Option<ChildStdin>,
    answers: Receiver<Answer>,
    log: LogTail,
    log_reader: Option<JoinHandle<()>>,
    asked: usize,
}

/// How a question ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// With a verdict; the child is ready for another question.
    Done(Verdict),
    /// The child has ended; it had come to `last`.
    Died { last: Option<Progress>, signal: Option<i32>, log_tail: String },
    /// The child said nothing more in time and was killed; it had come to `last`.
    Hung { last: Option<Progress>, log_tail: String },
    /// The child had come to `last` when its device was lost, and was ended.
    Lost { last: Option<Progress>, why: String, log_tail: String },
    /// The child could not work.
    Unusable(String),
}

impl ChildProcess {
    /// Starts `program` and waits until it is ready.
    pub(super) fn start(program: &Path, arguments: &[String], hello: &Hello) -> Result<ChildProcess, String> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{} does not start: {error}", program.display()))?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (tx, answers) = sync_channel(16);
        let log = LogTail::default();
        let log_of_reader = log.clone();
        let mut process = ChildProcess { child, stdin, answers, log, log_reader: None, asked: 0 };
        if let (Some(stdout), Some(stderr)) = (stdout, stderr) {
            spawn("probe-answers", move || read_answers(stdout, &tx))?;
            process.log_reader = Some(spawn("probe-log", move || log_of_reader.read(stderr))?);
        }
        process.send(hello)?;
        match process.wait(START_TIME_MAX, |answer| matches!(answer, Answer::Ready)) {
            Ending::Done(_) => Ok(process),
            Ending::Unusable(why) => Err(why),
            Ending::Died { signal, log_tail, .. } => {
                Err(format!("the probe ended at once (signal {signal:?}): {log_tail}"))
            }
            Ending::Hung { .. } => Err("the probe did not start in time".to_owned()),
            Ending::Lost { why, .. } => Err(why),
        }
    }

    /// How many questions this child has got.
    pub(super) fn asked(&self) -> usize {
        self.asked
    }

    /// Asks for a verdict and waits for it at most `wall`.
    pub(super) fn ask(&mut self, request: &Request, wall: Duration) -> Ending {
        self.asked += 1;
        self.log.clear();
        if let Err(why) = self.send(request) {
            return Ending::Unusable(why);
        }
        self.wait(wall, |_| false)
    }

    fn send(&mut self, value: &impl serde::Serialize) -> Result<(), String> {
        let mut line = serde_json::to_vec(value).map_err(|error| error.to_string())?;
        line.push(b'\n');
        let stdin = self.stdin.as_mut().ok_or("the probe has been ended")?;
        // A child that is dead already is noticed by `wait`, which knows why.
        stdin.write_all(&line).and_then(|()| stdin.flush()).ok();
        Ok(())
    }

    /// Waits for a verdict, or for an answer that `is_enough`, for which the verdict is an empty one.
    fn wait(&mut self, wall: Duration, is_enough: impl Fn(&Answer) -> bool) -> Ending {
        let deadline = Instant::now() + wall;
        let mut last = None;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.answers.recv_timeout(left) {
                Ok(answer) if is_enough(&answer) => return Ending::Done(Verdict::new()),
                Ok(Answer::Ready) => {}
                Ok(Answer::Progress(progress)) => last = Some(progress),
                Ok(Answer::Done(verdict)) => return Ending::Done(verdict),
                Ok(Answer::Lost(why)) => {
                    self.end();
                    return Ending::Lost { last, why, log_tail: self.log.escaped() };
                }
                Ok(Answer::Unusable(why)) => return Ending::Unusable(why),
                Err(RecvTimeoutError::Timeout) => {
                    self.end();
                    return Ending::Hung { last, log_tail: self.log.escaped() };
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let signal = self.end();
                    return Ending::Died { last, signal, log_tail: self.log.escaped() };
                }
            }
        }
    }

    /// Kills and reaps the child, and waits for the rest of its log; the signal that ended it.
    fn end(&mut self) -> Option<i32> {
        self.stdin = None;
        // Has no effect on a child that has ended: it is not reaped yet, so its number cannot be another's.
        self.child.kill().ok();
        let status = self.child.wait().ok();
        if let Some(reader) = self.log_reader.take() {
            reader.join().ok();
        }
        status.and_then(|status| status.signal())
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        self.end();
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, String> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|error| format!("cannot start a thread for the probe: {error}"))
}

/// Passes answers on until the child ends, says something else, or nobody listens.
fn read_answers(stdout: impl Read, answers: &SyncSender<Answer>) {
    let mut reader = BufReader::new(stdout);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.by_ref().take(LINE_LEN_MAX).read_until(b'\n', &mut line);
        if !matches!(read, Ok(1..)) {
            return;
        }
        let Ok(answer) = serde_json::from_slice(&line) else { return };
        if answers.send(answer).is_err() {
            return;
        }
    }
}

/// The last bytes of a child's standard error.
#[derive(Debug, Clone, Default)]
struct LogTail(Arc<Mutex<VecDeque<u8>>>);

impl LogTail {
    fn read(&self, mut stderr: impl Read) {
        let mut buffer = [0; 1024];
        while let Ok(len @ 1..) = stderr.read(&mut buffer) {
            let mut tail = self.0.lock();
            tail.extend(buffer.iter().take(len));
            let excess = tail.len().saturating_sub(TAIL_LEN_MAX);
            tail.drain(..excess);
        }
    }

    fn clear(&self) {
        self.0.lock().clear();
    }

    /// The text with everything escaped that could forge a line of a log; lines are kept apart by ` | `.
    fn escaped(&self) -> String {
        let bytes: Vec<u8> = self.0.lock().iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<String> = text
            .lines()
            .map(|line| line.trim().escape_debug().to_string())
            .filter(|line| !line.is_empty())
            .collect();
        lines.join(" | ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_bounded_and_escaped() {
        let tail = LogTail::default();
        let mut text = vec![b'x'; 10_000];
        text.extend_from_slice(b"\nlast\x1b[31m\r\nline\0");
        tail.read(&text[..]);
        let escaped = tail.escaped();
        assert!(escaped.ends_with(" | last\\u{1b}[31m | line\\0"), "{escaped}");
        assert!(escaped.len() < TAIL_LEN_MAX + 100);
    }
}
