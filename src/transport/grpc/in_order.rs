//! Futures that run side by side, whose outputs are taken in the order in which they were begun.
//!
//! All are polled by one task, and only those that were woken: each of the places has one bit of a word, which its waker
//! sets, and only the first to set one wakes the task. A place keeps its memory and its waker from one future to the next,
//! and the place that was left last is taken first: a stream of small requests keeps to a few places, which the
//! processor's caches hold.
//!
//! It reads nothing, writes nothing, and knows nothing of requests.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// The most futures that run at the same time: the bits of a word.
pub(super) const PLACES_MAX: usize = u64::BITS as usize;

/// At most [`PLACES_MAX`] futures, and the outputs that wait for their turn.
pub(super) struct InOrder<F: Future> {
    places: Vec<Place<F>>,
    /// Places that are free, the one left last at the end.
    free: Vec<usize>,
    /// Places that are taken, in the order in which their futures were begun.
    order: VecDeque<usize>,
    woken: Arc<Woken>,
}

struct Place<F: Future> {
    /// Allocated once. `None` once the future has ended.
    future: Pin<Box<Option<F>>>,
    output: Option<F::Output>,
    waker: Waker,
}

/// Which places were woken since the task looked.
#[derive(Default)]
struct Woken {
    bits: AtomicU64,
    task: AtomicWaker,
}

/// Wakes one place.
struct PlaceWaker {
    woken: Arc<Woken>,
    bit: u64,
}

impl Wake for PlaceWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Where a bit was set, the task was woken and has not looked yet.
        if self.woken.bits.fetch_or(self.bit, Ordering::AcqRel) == 0 {
            self.woken.task.wake();
        }
    }
}

/// A free place.
pub(super) struct Vacancy<'a, F: Future>(&'a mut InOrder<F>);

impl<F: Future> InOrder<F> {
    /// Room for [`PLACES_MAX`] futures, which is allocated as it is needed.
    pub(super) fn new() -> InOrder<F> {
        InOrder { places: Vec::new(), free: Vec::new(), order: VecDeque::new(), woken: Arc::default() }
    }

    /// Whether every output was taken.
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// A place for one more future, unless all are taken.
    pub(super) fn vacancy(&mut self) -> Option<Vacancy<'_, F>> {
        (self.order.len() < PLACES_MAX).then_some(Vacancy(self))
    }

    /// Polls the futures that were woken. The task of `context` is woken by the others from now on.
    pub(super) fn poll(&mut self, context: &Context<'_>) {
        self.woken.task.register(context.waker());
        let mut bits = self.woken.bits.swap(0, Ordering::AcqRel);
        while bits != 0 {
            if let Some(place) = self.places.get_mut(bits.trailing_zeros() as usize) {
                place.poll();
            }
            bits &= bits - 1;
        }
    }

    /// Takes the next output, if it is there.
    pub(super) fn pop(&mut self) -> Option<F::Output> {
        let index = *self.order.front()?;
        let output = self.places.get_mut(index)?.output.take()?;
        self.order.pop_front();
        self.free.push(index);
        Some(output)
    }
}

impl<F: Future> Vacancy<'_, F> {
    /// Begins `future` and polls it once.
    pub(super) fn begin(self, future: F) {
        let InOrder { places, free, order, woken } = self.0;
        let index = free.pop().unwrap_or(places.len());
        order.push_back(index);
        match places.get_mut(index) {
            Some(place) => {
                place.future.set(Some(future));
                place.poll();
            }
            None => {
                let waker = Arc::new(PlaceWaker { woken: Arc::clone(woken), bit: 1 << index });
                let mut place =
                    Place { future: Box::pin(Some(future)), output: None, waker: Waker::from(waker) };
                place.poll();
                places.push(place);
            }
        }
    }
}

impl<F: Future> Place<F> {
    fn poll(&mut self) {
        // A waker of the place's last future may wake the next.
        let Some(future) = self.future.as_mut().as_pin_mut() else { return };
        if let Poll::Ready(output) = future.poll(&mut Context::from_waker(&self.waker)) {
            self.output = Some(output);
            self.future.set(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use proptest::prelude::*;
    use tokio::sync::oneshot;

    use super::*;

    /// Counts how often the task was woken.
    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn all<F: Future>(running: &mut InOrder<F>) -> Vec<F::Output> {
        std::iter::from_fn(|| running.pop()).collect()
    }

    #[test]
    fn only_what_was_woken_is_polled_and_the_task_is_woken_once() {
        let task = Arc::new(Task::default());
        let waker = Waker::from(Arc::clone(&task));
        let context = Context::from_waker(&waker);
        let polls = AtomicUsize::new(0);
        let mut running = InOrder::new();
        let mut senders = Vec::new();
        for number in 0..8 {
            let (sender, mut receiver) = oneshot::channel::<()>();
            senders.push(sender);
            let polls = &polls;
            running.vacancy().unwrap().begin(std::future::poll_fn(move |context| {
                polls.fetch_add(1, Ordering::SeqCst);
                Pin::new(&mut receiver).poll(context).map(|_| number)
            }));
        }
        running.poll(&context);
        assert_eq!((polls.load(Ordering::SeqCst), task.0.load(Ordering::SeqCst)), (8, 0));

        for sender in senders.drain(..3) {
            sender.send(()).unwrap();
        }
        assert_eq!(task.0.load(Ordering::SeqCst), 1);
        running.poll(&context);
        assert_eq!(polls.load(Ordering::SeqCst), 11);
        assert_eq!(all(&mut running), [0, 1, 2]);

        senders.pop().unwrap().send(()).unwrap();
        assert_eq!(task.0.load(Ordering::SeqCst), 2);
        running.poll(&context);
        assert!(running.pop().is_none(), "the last waits for those before it");
        drop(senders);
        running.poll(&context);
        assert_eq!(all(&mut running), [3, 4, 5, 6, 7]);
        assert!(running.is_empty());
    }

    #[test]
    fn places_are_used_again_and_there_is_an_end_to_them() {
        let context = Context::from_waker(Waker::noop());
        let mut running = InOrder::new();
        for number in 0..1000 {
            running.vacancy().unwrap().begin(std::future::ready(number));
            running.poll(&context);
            assert_eq!(running.pop(), Some(number));
        }
        assert_eq!(running.places.len(), 1);
        for number in 0..PLACES_MAX {
            running.vacancy().unwrap().begin(std::future::ready(number));
        }
        assert!(running.vacancy().is_none());
        assert_eq!(running.pop(), Some(0));
        running.vacancy().unwrap().begin(std::future::ready(64));
        assert!(running.vacancy().is_none());
        assert!(all(&mut running).into_iter().eq(1..=64));
    }

    #[test]
    fn what_runs_ends_with_it() {
        let mut running = InOrder::new();
        let (sender, receiver) = oneshot::channel::<()>();
        running.vacancy().unwrap().begin(receiver);
        drop(running);
        assert!(sender.is_closed());
    }

    proptest! {
        /// Whatever order the answers come in, and however many are begun in between.
        #[test]
        fn outputs_come_in_order(steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..400)) {
            let context = Context::from_waker(Waker::noop());
            let mut running = InOrder::new();
            let mut waiting: Vec<(usize, oneshot::Sender<usize>)> = Vec::new();
            let (mut begun, mut taken) = (0, 0);
            for (begins, which) in steps {
                match running.vacancy() {
                    Some(vacancy) if begins => {
                        let (sender, receiver) = oneshot::channel();
                        vacancy.begin(receiver);
                        waiting.push((begun, sender));
                        begun += 1;
                    }
                    _ if waiting.is_empty() => continue,
                    _ => {
                        let (number, sender) = waiting.swap_remove(which.index(waiting.len()));
                        sender.send(number).unwrap();
                    }
                }
                running.poll(&context);
                let oldest = waiting.iter().map(|(number, _)| *number).min().unwrap_or(begun);
                while let Some(output) = running.pop() {
                    prop_assert_eq!(output.unwrap(), taken);
                    taken += 1;
                }
                prop_assert_eq!(taken, oldest);
            }
        }
    }
}
