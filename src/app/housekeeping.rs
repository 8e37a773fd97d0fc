//! Gives memory that no run uses back to the system, so that one large request does not cost the process its size for
//! good. Looks rarely, and leaves alone what a busy model would take again at once.

use std::sync::Arc;
use std::time::Duration;

use crate::backend::BackendError;
use crate::backend::onnx::Runtime;

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// Unused bytes that are left with the arena.
const UNUSED_BYTES_KEPT: u64 = 256 << 20;

/// Looks after the arena until the process ends, or for as long as the runtime can tell what it holds.
pub(super) async fn give_memory_back(runtime: Arc<Runtime>) {
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
            Err(_) => return,
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
