//! As runtime/tcp.cpp.

use crate::rows::{per_second, report};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const TRIPS: usize = 60_000;
const BYTES: usize = 64;

async fn ping(mut stream: TcpStream, trips: usize) {
    let mut message = [0u8; BYTES];
    for i in 0..trips {
        message[0] = i as u8;
        stream.write_all(&message).await.unwrap();
        message[0] = 0;
        stream.read_exact(&mut message).await.unwrap();
        assert_eq!(message[0], i as u8);
    }
}

async fn pong(mut stream: TcpStream, trips: usize) {
    let mut message = [0u8; BYTES];
    for _ in 0..trips {
        stream.read_exact(&mut message).await.unwrap();
        stream.write_all(&message).await.unwrap();
    }
}

async fn pair(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (far, _) = listener.accept().await.unwrap();
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    (near, far)
}

async fn rate(connections: usize) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut handles = Vec::new();
    let start = Instant::now();
    for _ in 0..connections {
        let (near, far) = pair(&listener).await;
        handles.push(tokio::spawn(ping(near, TRIPS / connections)));
        handles.push(tokio::spawn(pong(far, TRIPS / connections)));
    }
    for handle in handles {
        handle.await.unwrap();
    }
    per_second(start, TRIPS)
}

pub async fn rows() {
    report("TCP ping-pong, 1 connection", "trips/s", rate(1).await);
    report("TCP ping-pong, 20 connections", "trips/s", rate(20).await);
}
