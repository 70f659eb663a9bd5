//! As runtime/lock.cpp.

use crate::rows::{ns_each, report};
use std::time::Instant;
use tokio::sync::{Mutex, Semaphore};

const PAIRS: usize = 3_000_000;
const WARM_UP: usize = 100_000;

async fn semaphore_pairs(pairs: usize) -> f64 {
    let semaphore = Semaphore::new(10);
    let start = Instant::now();
    for _ in 0..pairs {
        drop(semaphore.acquire().await.unwrap());
    }
    let each = ns_each(start, pairs);
    assert_eq!(semaphore.available_permits(), 10);
    each
}

async fn mutex_pairs(pairs: usize) -> f64 {
    let mutex = Mutex::new(0usize);
    let start = Instant::now();
    for _ in 0..pairs {
        *mutex.lock().await += 1;
    }
    let each = ns_each(start, pairs);
    assert_eq!(*mutex.lock().await, pairs);
    each
}

pub async fn rows() {
    semaphore_pairs(WARM_UP).await;
    report(
        "Semaphore acquire + release",
        "ns",
        semaphore_pairs(PAIRS).await,
    );
    mutex_pairs(WARM_UP).await;
    report("Mutex lock + unlock", "ns", mutex_pairs(PAIRS).await);
}
