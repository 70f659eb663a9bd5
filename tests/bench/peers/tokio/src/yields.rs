//! As runtime/yield.cpp.

use crate::rows::{ns_each, report};
use std::time::Instant;

const ALONE: usize = 1_000_000;
const TASKS: usize = 100;
const EACH: usize = 20_000;

async fn yield_times(times: usize) {
    for _ in 0..times {
        tokio::task::yield_now().await;
    }
}

async fn among(each: usize) {
    let mut handles = Vec::new();
    for _ in 0..TASKS {
        handles.push(tokio::spawn(yield_times(each)));
    }
    for handle in handles {
        handle.await.unwrap();
    }
}

pub async fn rows() {
    yield_times(ALONE / 10).await;
    let alone = Instant::now();
    yield_times(ALONE).await;
    report("yield_now alone", "ns", ns_each(alone, ALONE));
    among(EACH / 10).await;
    let many = Instant::now();
    among(EACH).await;
    report(
        "yield_now among 100 tasks",
        "ns",
        ns_each(many, TASKS * EACH),
    );
}
