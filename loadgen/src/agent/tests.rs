use trial::scenario::{Overrides, Scenario};

use super::*;

fn plan(target: &str) -> Plan {
    let yaml = b"load: {lanes: {new: {rate: 50}}}";
    let load =
        Scenario::parse("x", yaml).unwrap().plan(&Overrides::default(), 1).unwrap().arms.remove(0).load;
    let epoch_mono_ns = i64::try_from(clock::monotonic_ns()).unwrap();
    let target = target.to_owned();
    let source = crate::SOURCE.to_owned();
    Plan { source, load, seed: 1, agent: 3, node: 0, target, sticky: true, epoch_mono_ns }
}

fn sent(shared: &Shared, plan: &serde_json::Value) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(planned(shared, &Bytes::from(plan.to_string())))
}

#[test]
fn a_plan_of_another_build_is_refused_whatever_it_holds() {
    let shared = Shared::default();
    let mut other = serde_json::to_value(plan("127.0.0.1:1")).unwrap();
    other["source"] = "another".into();
    other["whatever"] = true.into();
    assert!(sent(&shared, &other).unwrap_err().contains("another build"));
    assert!(sent(&shared, &serde_json::json!({"load": {}})).unwrap_err().contains("not unknown"));
    assert!(lock(&shared).plan.is_none());
}

#[test]
fn a_plan_may_come_twice_but_not_change() {
    let shared = Shared::default();
    let first = serde_json::to_value(plan("127.0.0.1:1")).unwrap();
    assert_eq!((sent(&shared, &first), sent(&shared, &first)), (Ok(()), Ok(())));
    let mut second = first;
    second["seed"] = 2.into();
    assert!(sent(&shared, &second).unwrap_err().contains("another plan"));
    let unknown = serde_json::to_value(plan("no such name:80")).unwrap();
    assert!(sent(&Shared::default(), &unknown).unwrap_err().contains("does not resolve"));
}

#[test]
fn every_slot_is_accounted_for_and_the_heart_beats_on() {
    let shared = Shared::default();
    // Nobody listens: each slot is a row, of a request that was refused.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    sent(&shared, &serde_json::to_value(plan(&nobody.to_string())).unwrap()).unwrap();
    start(&shared, At { mono_ns: clock::monotonic_ns() }).unwrap();
    while progress(&shared).sent < 10 {
        thread::sleep(Duration::from_millis(5));
    }
    stop(&shared, Some(At { mono_ns: clock::monotonic_ns() })).unwrap();
    let summary = loop {
        let now = progress(&shared);
        assert_eq!(now.error, None);
        if let Some(summary) = now.summary {
            break summary;
        }
        thread::sleep(Duration::from_millis(5));
    };
    let [lane] = summary.lanes[..] else { panic!("{summary:?}") };
    assert!(lane.scheduled >= 10);
    assert_eq!(lane.scheduled, summary.rows + lane.overflowed);
    assert!(lock(&shared).heartbeat.as_ref().is_some_and(Heartbeat::is_beating));
}
