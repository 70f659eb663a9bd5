//! As runtime/memory.cpp.

use crate::rows::report;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

const TASKS: usize = 500_000;
const WARM_UP: usize = 1_000;
const PAGE: f64 = 4096.0; // bytes

// Statics where the C++ side has a reference into the waiting frame: neither counts references.
static NOTIFY: Notify = Notify::const_new();
static BEGAN: AtomicUsize = AtomicUsize::new(0);
static ENDED: AtomicUsize = AtomicUsize::new(0);

fn resident_bytes() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<f64>().unwrap() * PAGE
}

async fn waiter() {
    let notified = NOTIFY.notified();
    BEGAN.fetch_add(1, SeqCst);
    notified.await;
    ENDED.fetch_add(1, SeqCst);
}

async fn bytes_each(tasks: usize) -> f64 {
    BEGAN.store(0, SeqCst);
    ENDED.store(0, SeqCst);
    let mut handles: Vec<JoinHandle<()>> = Vec::with_capacity(tasks);
    unsafe { std::ptr::write_bytes(handles.as_mut_ptr(), 0, tasks) };
    let before = resident_bytes();
    for _ in 0..tasks {
        handles.push(tokio::spawn(waiter()));
    }
    while BEGAN.load(SeqCst) < tasks {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let after = resident_bytes();
    NOTIFY.notify_waiters();
    for handle in handles {
        handle.await.unwrap();
    }
    assert_eq!(ENDED.load(SeqCst), tasks);
    (after - before) / tasks as f64
}

pub async fn rows() {
    bytes_each(WARM_UP).await;
    let each = bytes_each(TASKS).await;
    let locals = std::mem::size_of_val(&NOTIFY.notified()) as f64;
    report("idle task", "bytes", each);
    report("idle task beyond its locals", "bytes", each - locals);
}
