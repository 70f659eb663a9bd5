//! As runtime/spawn.cpp.

use crate::rows::{ns_each, report};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

const TASKS: usize = 1_000_000;
const WARM_UP: usize = 50_000;

// A static where the C++ side has a reference into the waiting frame: neither counts references.
static RAN: AtomicUsize = AtomicUsize::new(0);

async fn spawn_and_join(tasks: usize) {
    RAN.store(0, Relaxed);
    let mut handles = Vec::with_capacity(tasks);
    for _ in 0..tasks {
        handles.push(tokio::spawn(async {
            RAN.fetch_add(1, Relaxed);
        }));
    }
    for handle in handles {
        handle.await.unwrap();
    }
    assert_eq!(RAN.load(Relaxed), tasks);
}

pub async fn rows() {
    spawn_and_join(WARM_UP).await;
    let start = Instant::now();
    spawn_and_join(TASKS).await;
    report("spawn + join of 1 M", "ns/task", ns_each(start, TASKS));
}
