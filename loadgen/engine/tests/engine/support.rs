//! Loads and runs for tests.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use clock::Clock;
use engine::{Engine, EngineConfig, Pick, Route, Summary};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::task::{LocalSet, spawn_local};
use trial::id::PodId;
use trial::record::{Class, Flags, Record};
use trial::settings::{Lane, LaneKind, Load};
use trial::time::Stamp;

/// The pod that test servers stand for.
pub(crate) const POD: PodId = PodId(3);

/// How far away the server is.
pub(crate) const NEAR: Duration = Duration::ZERO;
pub(crate) const FAR: Duration = Duration::from_millis(20);

/// No answer is there before a round trip, and on a new connection before a second one.
pub(crate) fn assert_far(records: &[Record], rtt: Duration) {
    for record in records.iter().filter(|record| record.class == Class::None) {
        let trips = if record.flags.has(Flags::REUSED) { 1 } else { 2 };
        let took = record.at(record.end).unwrap().saturating_since(record.at(record.start).unwrap());
        assert!(took >= rtt * trips, "{took:?}: {record:?}");
    }
}

pub(crate) fn lane(kind: LaneKind, rate: f64) -> Lane {
    let delay = if kind == LaneKind::Slow { Duration::from_millis(20) } else { Duration::ZERO };
    Lane { connections: 20, delay, ..Lane::new(kind, rate) }
}

pub(crate) fn load(lanes: Vec<Lane>) -> Load {
    Load::new(lanes)
}

pub(crate) fn to(address: SocketAddr) -> Arc<dyn Route> {
    Arc::new(move |_random| Pick::To { pod: POD, address, fallback: false })
}

/// Listens until the process ends, with a task for each connection. The address, and how many were accepted.
pub(crate) fn listen<F, T>(mut serve: F) -> (SocketAddr, Arc<AtomicUsize>)
where
    F: FnMut(TcpStream) -> T + Send + 'static,
    T: Future + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    SockRef::from(&listener).listen(4096).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&accepted);
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                stream.set_nodelay(true).unwrap();
                let served = serve(stream);
                spawn_local(async move {
                    served.await;
                });
            }
        });
    });
    (address, accepted)
}

/// A started engine that begins at once.
pub(crate) struct Run {
    pub(crate) clock: Clock,
    pub(crate) start: Stamp,
    pub(crate) engine: Engine,
    pub(crate) records: Receiver<Vec<Record>>,
}

impl Run {
    pub(crate) fn start(load: Load, route: Arc<dyn Route>) -> Self {
        Self::start_with(load, route, |_config| {})
    }

    pub(crate) fn start_with(
        load: Load,
        route: Arc<dyn Route>,
        adjust: impl FnOnce(&mut EngineConfig),
    ) -> Self {
        let (clock, _anchor) = Clock::start();
        let start = clock.now() + Duration::from_millis(10);
        let mut config = EngineConfig::new(clock, load, 11, start, route);
        adjust(&mut config);
        let (clock, start) = (config.clock, config.start);
        let (sender, records) = sync_channel(4096);
        let engine = Engine::spawn(config, sender).unwrap();
        Self { clock, start, engine, records }
    }

    /// Lets the load run for so long, and gives everything it recorded, in order of slots.
    pub(crate) fn finish(self, after: Duration) -> (Vec<Record>, Summary) {
        self.engine.stop_at(self.start + after);
        let summary = self.engine.join().unwrap();
        let mut records: Vec<Record> = self.records.iter().flatten().collect();
        records.sort_by_key(|record| (record.lane, record.slot));
        assert_one_record_a_slot(&records, &summary);
        (records, summary)
    }
}

/// The sum that must always come out even.
pub(crate) fn assert_one_record_a_slot(records: &[Record], summary: &Summary) {
    for lane in &summary.lanes {
        let slots: Vec<u64> = records.iter().filter(|r| r.lane == lane.lane).map(|r| r.slot).collect();
        assert_eq!(slots.len() as u64 + lane.overflowed, lane.scheduled, "{lane:?}");
        if lane.overflowed == 0 {
            assert!(slots.iter().copied().eq(0..lane.scheduled), "{lane:?}: {slots:?}");
        }
    }
}
