//! Log lines to standard error without ever waiting for whoever reads it: a bounded queue and one thread. Lines that do
//! not fit are counted, and the count is written when there is room again.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait.
const QUEUE_LINES: usize = 8192;
/// How long the last lines may take.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

enum Message {
    Line(Vec<u8>),
    /// Answer when everything before this is written.
    Finish(SyncSender<()>),
}

/// Queues lines; clones share the queue.
#[derive(Debug, Clone)]
pub(super) struct LogWriter {
    tx: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

impl LogWriter {
    /// Starts the thread.
    pub(super) fn start() -> io::Result<LogWriter> {
        let (tx, rx) = sync_channel(QUEUE_LINES);
        let dropped = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&dropped);
        std::thread::Builder::new().name("weir-log".to_owned()).spawn(move || write_lines(&rx, &counted))?;
        Ok(LogWriter { tx, dropped })
    }

    /// Waits a little until what is queued is written.
    pub(super) fn finish(&self) {
        let (tx, rx) = sync_channel(1);
        if self.tx.try_send(Message::Finish(tx)).is_ok() {
            // A reader that takes no more must not keep the process.
            let _timely = rx.recv_timeout(FINISH_TIMEOUT).is_ok();
        }
    }
}

fn write_lines(rx: &Receiver<Message>, dropped: &AtomicU64) {
    let mut out = io::stderr();
    while let Ok(message) = rx.recv() {
        match message {
            // Standard error that is gone cannot be complained about.
            Message::Line(line) => drop(out.write_all(&line)),
            Message::Finish(done) => drop(done.try_send(())),
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            drop(writeln!(out, "weir: {lost} log lines were dropped"));
        }
    }
}

/// Collects one line and queues it when dropped.
#[derive(Debug)]
pub(super) struct Line<'a> {
    writer: &'a LogWriter,
    text: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let text = std::mem::take(&mut self.text);
        if text.is_empty() {
            return;
        }
        if let Err(TrySendError::Full(_)) = self.writer.tx.try_send(Message::Line(text)) {
            self.writer.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { writer: self, text: Vec::new() }
    }
}
