//! The server's end as a value that everyone who must stop holds: serving, then draining, then over.
//!
//! What makes it move (signals, a grace period) is `app`'s business.

use tokio::sync::watch;

/// How far the end has come; only ever forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    Draining,
    Over,
}

/// Moves the phase. Dropping it without a word ends everything at once, so a lost handle cannot hang the process.
#[derive(Debug)]
pub struct ShutdownHandle(watch::Sender<Phase>);

/// Sees the phase.
#[derive(Debug, Clone)]
pub struct ShutdownSignal(watch::Receiver<Phase>);

/// A handle and a signal that follows it.
pub fn shutdown_channel() -> (ShutdownHandle, ShutdownSignal) {
    let (tx, rx) = watch::channel(Phase::Serving);
    (ShutdownHandle(tx), ShutdownSignal(rx))
}

impl ShutdownHandle {
    /// Listeners stop accepting, connections finish what is in flight and close.
    pub fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// Connections that are still open are cut.
    pub fn end(&self) {
        self.advance(Phase::Over);
    }

    fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|current| {
            let forward = phase > *current;
            *current = phase.max(*current);
            forward
        });
    }
}

impl ShutdownSignal {
    /// Waits until draining begins.
    pub async fn draining(&mut self) {
        self.reached(Phase::Draining).await;
    }

    /// Waits until connections must be cut.
    pub async fn over(&mut self) {
        self.reached(Phase::Over).await;
    }

    async fn reached(&mut self, phase: Phase) {
        // An error means that the handle is gone, which counts as the end.
        if self.0.wait_for(|current| *current >= phase).await.is_err() {
            tracing::debug!("the shutdown handle is gone");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn phases_only_move_forward() {
        let (handle, mut signal) = shutdown_channel();
        handle.end();
        handle.drain();
        signal.draining().await;
        signal.over().await;
    }

    #[tokio::test]
    async fn a_lost_handle_is_the_end() {
        let (handle, mut signal) = shutdown_channel();
        drop(handle);
        signal.over().await;
    }
}
