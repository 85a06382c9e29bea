//! What a request takes from its slot to its record and the next, in a closed loop on sockets of this machine. The server, a thread
//! for each connection, is in the same process and has its part in it.
//!
//! `cargo bench -p engine`, on a machine that does nothing else. What a request costs beside other load generators is `scripts/bench`'s
//! to say.

#![expect(clippy::unwrap_used, reason = "a benchmark's way to fail")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use clock::Clock;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engine::{Direct, Engine, EngineConfig};
use trial::record::{Class, Record};
use trial::settings::{Arrivals, Lane, LaneKind, Load};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\nHello, world!";
/// From the start of an engine to its first request.
const LEAD: Duration = Duration::from_millis(5);

criterion_group! {
    name = requests;
    config = Criterion::default().sample_size(10);
    targets = closed_loops
}
criterion_main!(requests);

fn closed_loops(criterion: &mut Criterion) {
    let address = serve();
    let mut group = criterion.benchmark_group("closed loop");
    group.throughput(Throughput::Elements(1));
    for connections in [1, 50] {
        group.bench_function(format!("{connections} at once"), |bencher| {
            bencher.iter_custom(|requests| run(address, connections, requests));
        });
    }
}

/// So many requests; how long they took.
fn run(address: SocketAddr, connections: u32, requests: u64) -> Duration {
    let (clock, _anchor) = Clock::start();
    let start = clock.now() + LEAD;
    let lane = Lane { connections, arrivals: Arrivals::Closed, ..Lane::new(LaneKind::Reused, 0.0) };
    let mut config = EngineConfig::new(clock, Load::new(vec![lane]), 1, start, Arc::new(Direct(address)));
    config.slots = Some(requests);
    let (sender, records) = sync_channel::<Vec<Record>>(256);
    let engine = Engine::spawn(config, sender).unwrap();
    let answered = records.iter().flatten().filter(|record| record.class == Class::None).count();
    let summary = engine.join().unwrap();
    assert_eq!(answered as u64, requests, "some failed");
    summary.ended.saturating_since(start)
}

/// A thread for each connection: the least that lies between a request and its answer.
fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || answer(stream));
        }
    });
    address
}

/// Whole requests come in one piece here, and one at a time.
fn answer(mut stream: TcpStream) {
    let mut room = [0; 4096];
    while matches!(stream.read(&mut room), Ok(1..)) {
        if stream.write_all(ANSWER).is_err() {
            return;
        }
    }
}
