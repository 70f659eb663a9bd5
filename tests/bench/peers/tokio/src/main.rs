//! Tokio's part of `./dev bench runtime`: the rows of tests/bench/runtime, measured in the same way.
//!
//!     bench-tokio THREADS GROUP...
//!
//! Prints one line of JSON a figure. Each group's header in tests/bench/runtime says where its clock
//! starts and stops and why it cannot be optimised away.

mod channel;
mod lateness;
mod life;
mod lock;
mod memory;
mod rows;
mod sleep;
mod spawn;
mod tcp;
mod unix;
mod wake;
mod yields;

use std::process::exit;

const NO_SUCH_GROUP: i32 = 64; // exit code

fn main() {
    let mut words = std::env::args().skip(1);
    let threads: usize = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
    if threads == 0 {
        eprintln!("usage: bench-tokio THREADS GROUP...");
        exit(2);
    }
    for group in words {
        match group.as_str() {
            "--long" => {}
            "spawn" => rows::run_on(threads, spawn::rows()),
            "channel" => rows::run_on(threads, channel::rows()),
            "lock" => rows::run_on(threads, lock::rows()),
            "yield" => rows::run_on(threads, yields::rows()),
            "sleep" => rows::run_on(threads, sleep::rows()),
            "lateness" => rows::run_on(threads, lateness::rows()),
            "wake" => wake::rows(threads),
            "memory" => rows::run_on(threads, memory::rows()),
            "life" => life::rows(threads),
            "unix" => rows::run_on(threads, unix::rows()),
            "tcp" => rows::run_on(threads, tcp::rows()),
            "tcp_current_thread" => rows::run_here(tcp::rows()),
            _ => exit(NO_SUCH_GROUP),
        }
    }
}
