//! The engine's door for shutting down: who is inside, and whether anyone may still come in.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Counts requests, and lets no more in once closed.
#[derive(Debug, Default)]
pub(super) struct Gate {
    closed: AtomicBool,
    inside: AtomicUsize,
    left: Notify,
}

/// One request inside. It leaves when this is dropped.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    gate: &'a Gate,
}

impl Gate {
    /// Lets a request in, unless the gate is closed.
    pub(super) fn enter(&self) -> Option<Pass<'_>> {
        // Counted before the look, so that `idle` cannot miss a request that was let in.
        self.inside.fetch_add(1, Ordering::SeqCst);
        let pass = Pass { gate: self };
        if self.closed.load(Ordering::SeqCst) { None } else { Some(pass) }
    }

    /// Lets no more in.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.left.notify_waiters();
    }

    /// Whether the gate is closed.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Requests inside.
    pub(super) fn inside(&self) -> usize {
        self.inside.load(Ordering::SeqCst)
    }

    /// Waits until nobody is inside.
    pub(super) async fn idle(&self) {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            // Registered before the look, so that the last to leave cannot be missed.
            left.as_mut().enable();
            if self.inside() == 0 {
                return;
            }
            left.await;
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let before = self.gate.inside.fetch_sub(1, Ordering::SeqCst);
        debug_assert!(before > 0);
        // While the gate is open, leaving wakes nobody: that is every request's path.
        if before == 1 && self.gate.is_closed() {
            self.gate.left.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn idle_waits_for_those_inside_and_nobody_else_enters() {
        let gate = Gate::default();
        let pass = gate.enter().unwrap();
        gate.close();
        assert!(gate.enter().is_none());
        assert_eq!(gate.inside(), 1);
        let mut idle = std::pin::pin!(gate.idle());
        assert!(futures_util::poll!(idle.as_mut()).is_pending());
        drop(pass);
        idle.await;
        assert_eq!(gate.inside(), 0);
    }
}
