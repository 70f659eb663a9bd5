//! As runtime/wake.cpp.

use crate::rows::{quantile_us, report, runtime};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

const WAKES: usize = 500;
const PAUSE: Duration = Duration::from_millis(1); // between two wakes: the workers park
const LOOK: Duration = Duration::from_micros(100); // between two looks for the answer

struct Wake {
    start: Instant,
    notify: Notify,
    sent_ns: AtomicI64,
    answered: AtomicUsize,
    stop: AtomicBool,
}

impl Wake {
    fn now_ns(&self) -> i64 {
        self.start.elapsed().as_nanos() as i64
    }
}

async fn waiter(wake: Arc<Wake>) -> Vec<i64> {
    let mut latencies = Vec::with_capacity(WAKES);
    for i in 0..WAKES {
        wake.notify.notified().await;
        latencies.push(wake.now_ns() - wake.sent_ns.load(SeqCst));
        wake.answered.store(i + 1, SeqCst);
    }
    wake.stop.store(true, SeqCst);
    latencies
}

async fn busy(wake: Arc<Wake>) {
    while !wake.stop.load(SeqCst) {
        tokio::task::yield_now().await;
    }
}

fn latencies(threads: usize, busy_tasks: usize) -> Vec<i64> {
    let wake = Arc::new(Wake {
        start: Instant::now(),
        notify: Notify::new(),
        sent_ns: AtomicI64::new(0),
        answered: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
    });
    let runtime = runtime(threads);
    for _ in 0..busy_tasks {
        runtime.spawn(busy(wake.clone()));
    }
    let waiting = runtime.spawn(waiter(wake.clone()));
    for i in 0..WAKES {
        thread::sleep(PAUSE);
        wake.sent_ns.store(wake.now_ns(), SeqCst);
        wake.notify.notify_one();
        while wake.answered.load(SeqCst) <= i {
            thread::sleep(LOOK);
        }
    }
    runtime.block_on(waiting).unwrap()
}

pub fn rows(threads: usize) {
    let idle = latencies(threads, 0);
    report("wake, idle: p50", "us", quantile_us(&idle, 0.5));
    report("wake, idle: p99", "us", quantile_us(&idle, 0.99));
    let busy = latencies(threads, threads);
    report("wake, busy: p50", "us", quantile_us(&busy, 0.5));
    report("wake, busy: p99", "us", quantile_us(&busy, 0.99));
}
