//! As runtime/sleep.cpp.

use crate::rows::{ns_each, report};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::time::{sleep, sleep_until};

const SLEEPS: usize = 1_000_000;
const SELECTS: usize = 200_000;
const UNTIL_FIRST: Duration = Duration::from_secs(3);
const LONG: Duration = Duration::from_secs(3600);

#[repr(align(64))]
struct Count(AtomicUsize);

struct Moment {
    first: Instant,
    second: Instant,
    asleep: Count,
    fired: Count,
    early: AtomicUsize,
    last_ns: AtomicU64, // after `first`
}

async fn sleeper(moment: Arc<Moment>, number: usize) {
    moment.asleep.0.fetch_add(1, Relaxed);
    sleep_until(moment.first.into()).await;
    if number % 16 == 0 && Instant::now() < moment.first {
        moment.early.fetch_add(1, Relaxed);
    }
    if moment.fired.0.fetch_add(1, Relaxed) + 1 == SLEEPS {
        moment
            .last_ns
            .store((Instant::now() - moment.first).as_nanos() as u64, Relaxed);
    }
    sleep_until(moment.second.into()).await;
}

async fn fire_and_insert(moment: &Moment) {
    while moment.asleep.0.load(Relaxed) < SLEEPS {
        sleep(Duration::from_millis(1)).await;
    }
    assert!(
        Instant::now() < moment.first,
        "sleeps: the machine is too busy to start in time"
    );
    sleep_until(moment.first.into()).await;
    while moment.last_ns.load(Relaxed) == 0 {
        sleep(Duration::from_millis(5)).await;
    }
    let took = moment.last_ns.load(Relaxed) as f64;
    report(
        "1 M sleeps: fire + insert",
        "ns/sleep",
        took / SLEEPS as f64,
    );
    report("1 M sleeps: early", "", moment.early.load(Relaxed) as f64);
}

async fn insert_and_cancel() {
    let free = Semaphore::new(1);
    let start = Instant::now();
    for _ in 0..SELECTS {
        tokio::select! {
            biased;
            _ = sleep(LONG) => panic!("select"),
            permit = free.acquire() => drop(permit.unwrap()),
        }
    }
    report(
        "1 M sleeps: insert + cancel",
        "ns/sleep",
        ns_each(start, SELECTS),
    );
}

pub async fn rows() {
    let first = Instant::now() + UNTIL_FIRST;
    let moment = Arc::new(Moment {
        first,
        second: first + LONG,
        asleep: Count(AtomicUsize::new(0)),
        fired: Count(AtomicUsize::new(0)),
        early: AtomicUsize::new(0),
        last_ns: AtomicU64::new(0),
    });
    let mut handles = Vec::with_capacity(SLEEPS);
    for number in 0..SLEEPS {
        handles.push(tokio::spawn(sleeper(moment.clone(), number)));
    }
    fire_and_insert(&moment).await;
    insert_and_cancel().await;
    let start = Instant::now();
    for handle in &handles {
        handle.abort();
    }
    let mut cancelled = 0;
    for handle in handles {
        cancelled += handle.await.is_err() as usize;
    }
    report(
        "1 M sleeps: cancel + join",
        "ns/task",
        ns_each(start, SLEEPS),
    );
    assert_eq!(cancelled, SLEEPS);
}
