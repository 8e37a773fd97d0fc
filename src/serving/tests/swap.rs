//! Versions are swapped while clients ask without a pause: no request fails, and each answer is of one version.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;

const CLIENTS: usize = 8;
const SWAPS: u64 = 200;
const ROWS: [f32; 3] = [0.0, 1.0, 2.0];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn swapping_under_load_fails_no_request() {
    let house = Arc::new(
        House::open(ModelControl::Explicit, &[("m/1/model.onnx", "100"), ("m/2/model.onnx", "200")]).await,
    );
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (house, stop, answered) = (Arc::clone(&house), Arc::clone(&stop), Arc::clone(&answered));
            tokio::spawn(async move {
                let mut versions = std::collections::BTreeSet::new();
                while !stop.load(Ordering::Relaxed) {
                    let response =
                        house.engine.infer(request("m", "", &ROWS)).await.expect("no request fails");
                    let base = 100.0 * response.version.get() as f32;
                    assert_eq!(values(&response), ROWS.map(|row| base + row), "{}", response.version);
                    versions.insert(response.version.get());
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                versions
            })
        })
        .collect();
    for swap in 0..SWAPS {
        // Each swap has to be seen by a request, or the test would prove nothing.
        let before = answered.load(Ordering::Relaxed);
        house.load_with("m", only(1 + swap % 2)).await.unwrap();
        while answered.load(Ordering::Relaxed) == before {
            tokio::task::yield_now().await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        let versions = client.await.unwrap();
        assert!(!versions.is_empty());
    }
    // The old versions' memory is back: one model is left.
    freed(&house, 1).await;
    assert!(house.metrics().contains(r#"weir_swaps_total{model="m"} 200"#), "{}", house.metrics());
}

/// Waits until `count` models are left. Workers free them on their own threads, so there is nothing to wait on.
pub(super) async fn freed(house: &House, count: usize) {
    while house.backend.live() != count {
        tokio::task::yield_now().await;
    }
}
