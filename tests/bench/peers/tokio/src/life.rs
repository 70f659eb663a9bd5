//! As runtime/life.cpp.

use crate::rows::{quantile_us, report, runtime};
use std::fs;
use std::time::{Duration, Instant};

const TIMES: usize = 100;
const SETTLE: Duration = Duration::from_millis(100);
const IDLE: Duration = Duration::from_secs(1);

fn start_and_stop(threads: usize) -> i64 {
    let start = Instant::now();
    let runtime = runtime(threads);
    runtime.block_on(async { tokio::spawn(async {}).await.unwrap() });
    drop(runtime);
    start.elapsed().as_nanos() as i64
}

/// Voluntary switches of all threads but the first one, which is waiting here.
fn switches_of_workers() -> i64 {
    let own = std::process::id().to_string();
    let mut sum = 0;
    for thread in fs::read_dir("/proc/self/task").unwrap().flatten() {
        if thread.file_name().to_string_lossy() == own {
            continue;
        }
        let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        for line in status.lines() {
            if let Some(count) = line.strip_prefix("voluntary_ctxt_switches:") {
                sum += count.trim().parse::<i64>().unwrap_or(0);
            }
        }
    }
    sum
}

pub fn rows(threads: usize) {
    start_and_stop(threads);
    let times: Vec<i64> = (0..TIMES).map(|_| start_and_stop(threads)).collect();
    report("start + stop", "us", quantile_us(&times, 0.5));

    let runtime = runtime(threads);
    runtime.spawn(async { tokio::time::sleep(Duration::from_secs(3600)).await });
    std::thread::sleep(SETTLE);
    let before = switches_of_workers();
    std::thread::sleep(IDLE);
    report(
        "idle: wake-ups",
        "1/s",
        (switches_of_workers() - before) as f64,
    );
}
