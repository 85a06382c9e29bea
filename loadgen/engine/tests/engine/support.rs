//! Loads and runs for tests.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use clock::Clock;
use engine::{Engine, EngineConfig, Pick, Route, Summary};
use trial::id::PodId;
use trial::record::Record;
use trial::settings::{Lane, LaneKind, Load, Request, StatusRange, Target};
use trial::time::Stamp;

/// The pod that test servers stand for.
pub(crate) const POD: PodId = PodId(3);

pub(crate) fn lane(kind: LaneKind, rate: f64) -> Lane {
    let delay = if kind == LaneKind::Slow { Duration::from_millis(20) } else { Duration::ZERO };
    Lane { connections: 20, delay, ..Lane::new(kind, rate) }
}

pub(crate) fn load(lanes: Vec<Lane>) -> Load {
    Load {
        target: Target::Service,
        tls: None,
        request: Request {
            method: "GET".to_owned(),
            path: "/".to_owned(),
            headers: BTreeMap::new(),
            body: None,
            expect_status: StatusRange { first: 200, last: 299 },
        },
        lanes,
        timeout: Duration::from_secs(5),
        late_over: Duration::from_secs(1),
    }
}

pub(crate) fn to(address: SocketAddr) -> Arc<dyn Route> {
    Arc::new(move |_random| Pick::To { pod: POD, address, fallback: false })
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
