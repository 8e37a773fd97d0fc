//! A socket that gives up on a client that is slow on purpose: request heads that trickle in, responses that nobody
//! reads, connections that idle for ever. It knows nothing of what is said on it.
//!
//! ```text
//!          bytes read            request handed on          answer ready           bytes written
//!   Idle ------------> Head -----------------------> Busy ----------------> Reply --------------> Idle
//! ```
//!
//! hyper's own header timer allocates one timer a request and closes idle connections by the same clock. This one
//! ticks a few times in the whole time allowed and costs a request two relaxed stores. A time-out is therefore late by
//! up to one tick, never early. A body's pace is watched by whoever reads the body.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Bytes of HTTP/2's connection preface; a client that has sent it is watched by HTTP/2's own pings.
const PREFACE_LEN: usize = 24;
/// Ticks in the shortest time that is watched.
const TICKS: u32 = 4;

/// How patient a socket is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// From the first byte of a request's head to its last.
    pub(super) header: Duration,
    /// Between two requests, and from the start of the connection to the first byte.
    pub(super) idle: Duration,
    /// For a response to make progress.
    pub(super) stall: Duration,
}

impl Patience {
    fn tick(&self) -> Duration {
        (self.header.min(self.idle).min(self.stall) / TICKS).max(Duration::from_millis(1))
    }
}

/// Where an HTTP/1 connection is. Written by the socket and the service of the same connection.
#[derive(Debug, Default)]
pub(super) struct Progress(AtomicU8);

impl Progress {
    const IDLE: u8 = 0;
    const HEAD: u8 = 1;
    const BUSY: u8 = 2;
    const REPLY: u8 = 3;

    /// A request was handed to the service.
    pub(super) fn busy(&self) {
        self.0.store(Self::BUSY, Ordering::Relaxed);
    }

    /// The service has answered.
    pub(super) fn reply(&self) {
        self.0.store(Self::REPLY, Ordering::Relaxed);
    }

    fn get(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }

    fn step(&self, from: u8, to: u8) {
        if self.get() == from {
            self.0.store(to, Ordering::Relaxed);
        }
    }
}

/// A socket with [`Patience`].
#[derive(Debug)]
pub(super) struct Guarded<T> {
    socket: T,
    patience: Patience,
    progress: Arc<Progress>,
    /// Bytes read so far, no further than the preface.
    seen: usize,
    /// The bytes read so far are those of the preface.
    speaks_http2: bool,
    /// What the last tick saw; a change starts the count anew.
    state_seen: u8,
    ticks_waiting: u32,
    write_blocked: bool,
    flush_blocked: bool,
    ticks_blocked: u32,
    timer: Pin<Box<Sleep>>,
}

impl<T> Guarded<T> {
    pub(super) fn new(socket: T, patience: Patience) -> (Guarded<T>, Arc<Progress>) {
        let progress = Arc::new(Progress::default());
        let guarded = Guarded {
            socket,
            patience,
            progress: Arc::clone(&progress),
            seen: 0,
            speaks_http2: true,
            state_seen: Progress::IDLE,
            ticks_waiting: 0,
            write_blocked: false,
            flush_blocked: false,
            ticks_blocked: 0,
            timer: Box::pin(tokio::time::sleep(patience.tick())),
        };
        (guarded, progress)
    }

    /// Notes bytes that were read.
    fn note_read(&mut self, bytes: &[u8]) {
        const PREFACE: &[u8; PREFACE_LEN] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        if self.seen < PREFACE_LEN {
            let expected = PREFACE.iter().skip(self.seen);
            self.speaks_http2 &= expected.zip(bytes).all(|(expected, byte)| expected == byte);
            self.seen = (self.seen + bytes.len()).min(PREFACE_LEN);
        }
        self.progress.step(Progress::IDLE, Progress::HEAD);
    }

    /// Called when the socket has nothing to do: fails when the client has had its time.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let tick = self.patience.tick();
        while Future::poll(self.timer.as_mut(), cx).is_ready() {
            self.timer.as_mut().reset(Instant::now() + tick);
            if let Some(what) = self.count_tick(tick) {
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, what));
            }
        }
        Poll::Pending
    }

    fn count_tick(&mut self, tick: Duration) -> Option<&'static str> {
        let state = self.progress.get();
        self.ticks_waiting = if state == self.state_seen { self.ticks_waiting.saturating_add(1) } else { 0 };
        self.state_seen = state;
        let is_blocked = self.write_blocked || self.flush_blocked;
        self.ticks_blocked = if is_blocked { self.ticks_blocked.saturating_add(1) } else { 0 };
        // One tick more than the time holds, because the first may have come right after the start.
        let passed = |ticks: u32, limit: Duration| ticks > 0 && tick * (ticks - 1) >= limit;
        if passed(self.ticks_blocked, self.patience.stall) {
            return Some("the client does not read its response");
        }
        if self.speaks_http2 && self.seen == PREFACE_LEN {
            return None;
        }
        match state {
            Progress::HEAD if passed(self.ticks_waiting, self.patience.header) => {
                Some("the client does not finish its request's head")
            }
            Progress::IDLE if passed(self.ticks_waiting, self.patience.idle) => Some("the connection idles"),
            _ => None,
        }
    }

    /// A plain socket flushes and shuts down at once. TLS holds bytes of its own, and a client that does not take them
    /// must not keep the connection.
    fn note_flushed(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<()>>) -> Poll<io::Result<()>> {
        self.flush_blocked = result.is_pending();
        if self.flush_blocked { self.poll_patience(cx).map(Err) } else { result }
    }

    fn note_written(&mut self, result: &Poll<io::Result<usize>>) {
        self.write_blocked = result.is_pending();
        if !self.write_blocked {
            self.ticks_blocked = 0;
            self.progress.step(Progress::REPLY, Progress::IDLE);
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Guarded<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.socket).poll_read(cx, buf) {
            Poll::Pending => self.poll_patience(cx).map(Err),
            ready => {
                self.note_read(buf.filled().get(before..).unwrap_or_default());
                ready
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Guarded<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.note_written(&result);
        if result.is_pending() {
            return self.poll_patience(cx).map(Err);
        }
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.note_written(&result);
        if result.is_pending() {
            return self.poll_patience(cx).map(Err);
        }
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.socket).poll_flush(cx);
        self.note_flushed(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.socket).poll_shutdown(cx);
        self.note_flushed(cx, result)
    }
}
