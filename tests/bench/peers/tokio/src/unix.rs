//! As runtime/unix.cpp.

use crate::rows::{per_second, report};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

const TRIPS: usize = 60_000;
const BYTES: usize = 64;

async fn ping(mut stream: UnixStream, trips: usize) {
    let mut message = [0u8; BYTES];
    for i in 0..trips {
        message[0] = i as u8;
        stream.write_all(&message).await.unwrap();
        message[0] = 0;
        stream.read_exact(&mut message).await.unwrap();
        assert_eq!(message[0], i as u8);
    }
}

async fn pong(mut stream: UnixStream, trips: usize) {
    let mut message = [0u8; BYTES];
    for _ in 0..trips {
        stream.read_exact(&mut message).await.unwrap();
        stream.write_all(&message).await.unwrap();
    }
}

async fn rate(connections: usize) -> f64 {
    let mut handles = Vec::new();
    let start = Instant::now();
    for _ in 0..connections {
        let (near, far) = UnixStream::pair().unwrap();
        handles.push(tokio::spawn(ping(near, TRIPS / connections)));
        handles.push(tokio::spawn(pong(far, TRIPS / connections)));
    }
    for handle in handles {
        handle.await.unwrap();
    }
    per_second(start, TRIPS)
}

pub async fn rows() {
    report("Unix ping-pong, 1 connection", "trips/s", rate(1).await);
    report("Unix ping-pong, 20 connections", "trips/s", rate(20).await);
}
