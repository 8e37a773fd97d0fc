//! A connection's requests, run in the task of the connection itself.
//!
//! hyper has an executor run each request of an HTTP/2 connection. As tasks of their own, each that gets its answer wakes the
//! connection, which writes that answer: a system call, a segment and a wake-up of the client for each. Here the
//! requests whose answers are ready are all polled first, and then the connection once: what a batch answered leaves in
//! one write, the client reads it at once, and so sends its next requests at once.
//!
//! ```text
//! woken ─► every request that can go on ─► connection: writes answers, reads requests ─► new requests ─┐
//!              ▲                                                                                       │
//!              └───────────────────────────── until there are none ◄───────────────────────────────────┘
//! ```
//!
//! A request that is polled again and again, a stream or a long upload, gets a task of its own after all, which another
//! thread may run: it has work for a thread, and would hold up those beside it.
//!
//! A request that panics ends alone: its stream is reset, and the others go on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::stream::FuturesUnordered;
use hyper::rt::Executor;
use parking_lot::Mutex;

/// Polls after which a request gets a task of its own. A unary call takes about four.
const POLLS_MAX: u32 = 32;

type Request = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Takes the requests of one connection.
#[derive(Clone, Default)]
pub(super) struct Together {
    begun: Arc<Mutex<Vec<Request>>>,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Together {
    fn execute(&self, request: F) {
        self.begun.lock().push(Box::pin(request));
    }
}

/// A connection and its requests.
pub(super) struct Running<C> {
    connection: Pin<Box<C>>,
    together: Together,
    requests: FuturesUnordered<Local>,
}

/// A request while it is run here.
struct Local {
    /// `None` once it has ended or runs elsewhere.
    request: Option<Request>,
    polls: u32,
}

impl Future for Local {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(request) = &mut self.request else { return Poll::Ready(()) };
        // It is not polled again after a panic.
        match catch_unwind(AssertUnwindSafe(|| request.as_mut().poll(cx))) {
            Ok(Poll::Pending) => {}
            Ok(Poll::Ready(())) => return Poll::Ready(()),
            Err(_) => {
                tracing::error!("a request panicked");
                return Poll::Ready(());
            }
        }
        self.polls += 1;
        if self.polls < POLLS_MAX {
            return Poll::Pending;
        }
        if let Some(request) = self.request.take() {
            tokio::spawn(request);
        }
        Poll::Ready(())
    }
}

impl<C: Future> Running<C> {
    /// `connection` gives its requests to `together`.
    pub(super) fn new(connection: C, together: Together) -> Running<C> {
        Running { connection: Box::pin(connection), together, requests: FuturesUnordered::new() }
    }

    /// The connection itself, to be told something.
    pub(super) fn connection(&mut self) -> Pin<&mut C> {
        self.connection.as_mut()
    }
}

impl<C: Future> Future for Running<C> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let this = &mut *self;
        loop {
            while let Poll::Ready(Some(())) = Pin::new(&mut this.requests).poll_next(cx) {}
            if let Poll::Ready(output) = this.connection.as_mut().poll(cx) {
                return Poll::Ready(output);
            }
            let begun = std::mem::take(&mut *this.together.begun.lock());
            if begun.is_empty() {
                return Poll::Pending;
            }
            this.requests.extend(begun.into_iter().map(|request| Local { request: Some(request), polls: 0 }));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt;
    use futures_util::task::noop_waker;
    use tokio::sync::oneshot;

    use super::*;

    /// A connection that begins `begins` when it is first polled, and notes at each poll how many requests have ended.
    struct Fake {
        together: Together,
        begins: Vec<Request>,
        ended: Arc<AtomicUsize>,
        seen: Arc<Mutex<Vec<usize>>>,
        closes_at: usize,
    }

    impl Future for Fake {
        type Output = ();

        fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            for request in std::mem::take(&mut self.begins) {
                self.together.execute(request);
            }
            let ended = self.ended.load(Ordering::SeqCst);
            self.seen.lock().push(ended);
            if ended >= self.closes_at { Poll::Ready(()) } else { Poll::Pending }
        }
    }

    /// What is shared with a fake connection: answers that its requests wait for, how many have ended, and what it saw.
    type Parts = (Running<Fake>, Vec<oneshot::Sender<()>>, Arc<Mutex<Vec<usize>>>);

    /// A connection of three requests, each of which waits for its answer.
    fn three(closes_at: usize) -> Parts {
        let (ended, seen) = (Arc::<AtomicUsize>::default(), Arc::default());
        let together = Together::default();
        let mut answers = Vec::new();
        let mut begins: Vec<Request> = Vec::new();
        for _ in 0..3 {
            let (answer, answered) = oneshot::channel();
            let ended = Arc::clone(&ended);
            answers.push(answer);
            begins.push(Box::pin(async move {
                answered.await.unwrap();
                ended.fetch_add(1, Ordering::SeqCst);
            }));
        }
        let connection =
            Fake { together: together.clone(), begins, ended, seen: Arc::clone(&seen), closes_at };
        (Running::new(connection, together), answers, seen)
    }

    #[test]
    fn answers_that_are_ready_together_leave_together() {
        let (mut running, answers, seen) = three(3);
        let waker = noop_waker();
        let mut cx = Context::from_waker(&waker);
        assert!(running.poll_unpin(&mut cx).is_pending());
        assert_eq!(*seen.lock(), [0, 0], "once to read them, once for what they may have written");
        for answer in answers {
            answer.send(()).unwrap();
        }
        assert!(running.poll_unpin(&mut cx).is_ready());
        assert_eq!(*seen.lock(), [0, 0, 3]);
    }

    #[test]
    fn a_request_that_panics_ends_alone() {
        let (mut running, mut answers, seen) = three(2);
        let waker = noop_waker();
        let mut cx = Context::from_waker(&waker);
        assert!(running.poll_unpin(&mut cx).is_pending());
        // Its `unwrap` panics.
        drop(answers.pop());
        assert!(running.poll_unpin(&mut cx).is_pending());
        for answer in answers {
            answer.send(()).unwrap();
        }
        assert!(running.poll_unpin(&mut cx).is_ready());
        assert_eq!(*seen.lock(), [0, 0, 0, 2]);
    }

    #[tokio::test]
    async fn a_stream_gets_a_task_of_its_own() {
        let (ended, seen) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<Vec<usize>>>::default());
        let together = Together::default();
        let (answer, answered) = oneshot::channel();
        let counts = Arc::clone(&ended);
        let stream: Request = Box::pin(async move {
            let mut left = POLLS_MAX + 10;
            let again = |cx: &mut Context<'_>| {
                cx.waker().wake_by_ref();
                left -= 1;
                if left == 0 { Poll::Ready(()) } else { Poll::Pending }
            };
            std::future::poll_fn(again).await;
            counts.fetch_add(1, Ordering::SeqCst);
            answer.send(()).unwrap();
        });
        let connection = Fake {
            together: together.clone(),
            begins: vec![stream],
            ended,
            seen: Arc::clone(&seen),
            closes_at: 9,
        };
        let mut running = Running::new(connection, together);
        let waker = noop_waker();
        for _ in 0..=POLLS_MAX {
            assert!(running.poll_unpin(&mut Context::from_waker(&waker)).is_pending());
        }
        assert!(running.requests.is_empty());
        assert_eq!(seen.lock().iter().max(), Some(&0), "it has not ended here");
        // Nobody polls the connection any more.
        answered.await.unwrap();
    }

    #[test]
    fn requests_go_with_their_connection() {
        let (mut running, answers, _) = three(0);
        let waker = noop_waker();
        // It is closed by the client before anything is answered.
        assert!(running.poll_unpin(&mut Context::from_waker(&waker)).is_ready());
        drop(running);
        assert!(answers.into_iter().all(|answer| answer.is_closed()));
    }
}
