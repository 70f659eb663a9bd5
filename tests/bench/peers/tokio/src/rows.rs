//! The runtime that is measured, the lines that are printed, order statistics.

use std::future::Future;
use std::time::Instant;
use tokio::runtime::{Builder, Runtime};

/// Worker threads that steal from each other, also where there is only one; the rest as it comes:
/// LIFO slot on, I/O and time drivers on.
pub fn runtime(threads: usize) -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .expect("start of the runtime")
}

/// Runs the future as a task on a worker: block_on would poll it on the calling thread.
pub fn run_on(threads: usize, future: impl Future<Output = ()> + Send + 'static) {
    runtime(threads).block_on(async move { tokio::spawn(future).await.expect("bench") });
}

/// The same on this thread alone, the current_thread runtime.
pub fn run_here(future: impl Future<Output = ()> + Send + 'static) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("start of the runtime");
    runtime.block_on(async move { tokio::spawn(future).await.expect("bench") });
}

pub fn report(metric: &str, unit: &str, value: f64) {
    println!("{{\"metric\": \"{metric}\", \"unit\": \"{unit}\", \"value\": {value:.6}}}");
}

pub fn ns_each(start: Instant, count: usize) -> f64 {
    start.elapsed().as_nanos() as f64 / count as f64
}

pub fn per_second(start: Instant, count: usize) -> f64 {
    1e9 / ns_each(start, count)
}

/// By nearest rank.
pub fn quantile_us(ns: &[i64], q: f64) -> f64 {
    let mut sorted = ns.to_vec();
    sorted.sort_unstable();
    sorted[(q * (sorted.len() - 1) as f64 + 0.5) as usize] as f64 / 1000.0
}
