//! Gives memory that nothing uses back to the system, so that neither one large request nor a model that was swapped out
//! costs the process its size for good. Looks rarely, and leaves alone what a busy model would take again at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::backend::BackendError;
use crate::backend::onnx::{Runtime, trim_heap};
use crate::events::Event;

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// Unused bytes that are left with the arena.
const UNUSED_BYTES_KEPT: u64 = 256 << 20;

/// After a change, so that a row of them costs one look.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// Gives back what loading and freeing models has left in the heap, until the process ends.
pub(super) async fn give_heap_back(mut events: Receiver<Event>) {
    loop {
        match events.recv().await {
            Ok(Event::Loaded { .. } | Event::LoadFailed { .. } | Event::Freed { .. })
            | Err(RecvError::Lagged(_)) => {}
            Ok(_) => continue,
            Err(RecvError::Closed) => return,
        }
        tokio::time::sleep(SETTLED_AFTER).await;
        // What has happened meanwhile is looked at with the rest.
        events = events.resubscribe();
        // A panic costs one look.
        tokio::task::spawn_blocking(trim_heap).await.ok();
    }
}

/// Looks after the arena until the process ends, or for as long as the runtime can tell what it holds.
pub(super) async fn give_arena_back(runtime: Arc<Runtime>) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        looks.tick().await;
        let runtime = Arc::clone(&runtime);
        match tokio::task::spawn_blocking(move || look(&runtime)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "unused memory is not given back");
                return;
            }
            // A panic costs one look.
            Err(_) => {}
        }
    }
}

fn look(runtime: &Runtime) -> Result<(), BackendError> {
    let usage = runtime.arena_usage()?;
    let unused = usage.reserved_bytes.saturating_sub(usage.in_use_bytes);
    if unused > UNUSED_BYTES_KEPT {
        runtime.shrink_arena()?;
        tracing::debug!(unused_bytes = unused, "unused memory was given back");
    }
    Ok(())
}
