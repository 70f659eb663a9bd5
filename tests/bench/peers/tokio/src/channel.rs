//! As runtime/channel.cpp, with tokio::sync::mpsc; it has one receiver, so 4-4 is left out. Batches:
//! reserve_many + send on one side, recv_many into a kept Vec on the other.

use crate::rows::{per_second, report};
use std::time::Instant;
use tokio::sync::mpsc::{channel, Receiver, Sender};

const CAPACITY: usize = 1024;
const BATCH: usize = 256;
const MESSAGES: usize = 2_000_000;
const BATCHED: usize = 10_240_000;
const WARM_UP: usize = 102_400;

async fn send_all(sender: Sender<u64>, count: u64) {
    for i in 0..count {
        sender.send(i).await.unwrap();
    }
}

async fn receive_all(mut receiver: Receiver<u64>) -> u64 {
    let mut sum = 0;
    while let Some(message) = receiver.recv().await {
        sum += message;
    }
    sum
}

async fn send_batches(sender: Sender<u64>, count: u64) {
    let mut next = 0;
    while next < count {
        for permit in sender.reserve_many(BATCH).await.unwrap() {
            permit.send(next);
            next += 1;
        }
    }
}

async fn receive_batches(mut receiver: Receiver<u64>) -> u64 {
    let mut sum = 0;
    let mut batch = Vec::with_capacity(BATCH);
    while receiver.recv_many(&mut batch, BATCH).await > 0 {
        sum += batch.drain(..).sum::<u64>();
    }
    sum
}

async fn rate(senders: usize, count: usize, batches: bool) -> f64 {
    let share = (count / senders) as u64;
    let start = Instant::now();
    let (sender, receiver) = channel(CAPACITY);
    let receiving = if batches {
        tokio::spawn(receive_batches(receiver))
    } else {
        tokio::spawn(receive_all(receiver))
    };
    let mut sending = Vec::new();
    for _ in 0..senders {
        let sender = sender.clone();
        sending.push(if batches {
            tokio::spawn(send_batches(sender, share))
        } else {
            tokio::spawn(send_all(sender, share))
        });
    }
    drop(sender);
    for handle in sending {
        handle.await.unwrap();
    }
    let sum = receiving.await.unwrap();
    let result = per_second(start, count);
    assert_eq!(sum, senders as u64 * (share * (share - 1) / 2));
    result
}

pub async fn rows() {
    rate(1, WARM_UP, false).await;
    report("channel 1-1", "msg/s", rate(1, MESSAGES, false).await);
    report("channel 4-1", "msg/s", rate(4, MESSAGES, false).await);
    report(
        "channel 1-1, batches of 256",
        "msg/s",
        rate(1, BATCHED, true).await,
    );
}
