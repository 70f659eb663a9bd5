//! As runtime/lateness.cpp. Tokio's timers count whole milliseconds and round up.

use crate::rows::{quantile_us, report};
use std::time::{Duration, Instant};
use tokio::time::sleep;

const LIVE: u64 = 10_000;
const SLEEPS: usize = 500;
const DELAY_NS: i64 = 1_000_000;

pub async fn rows() {
    let mut handles = Vec::new();
    for i in 0..LIVE {
        handles.push(tokio::spawn(sleep(Duration::from_millis(3_600_000 + i))));
    }
    let mut late = Vec::new();
    for _ in 0..SLEEPS {
        let before = Instant::now();
        sleep(Duration::from_millis(1)).await;
        late.push(before.elapsed().as_nanos() as i64 - DELAY_NS);
    }
    report(
        "1 ms sleep, 10 k live: late p50",
        "us",
        quantile_us(&late, 0.5),
    );
    report(
        "1 ms sleep, 10 k live: late p99",
        "us",
        quantile_us(&late, 0.99),
    );
    let early = late.iter().filter(|&&ns| ns < 0).count();
    report("1 ms sleep, 10 k live: early", "", early as f64);
    for handle in &handles {
        handle.abort();
    }
    for handle in handles {
        let _ = handle.await;
    }
}
