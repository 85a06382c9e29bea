use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::plan::Role;
use crate::settings::{
    Allowed, Amount, ArmsExpected, Arrivals, Disruption, Handler, KubeletVersion, LaneKind, Lifecycle,
    OnSigterm, Probe, ProbeCheck, Program, Propagation, ServerSettings, StatusRange, Target, Victim,
};

const MINIMAL: &str = "name: minimal\n";

fn names(plan: &Plan) -> Vec<&str> {
    plan.arms.iter().map(|arm| arm.name.as_str()).collect()
}

fn lanes(plan: &Plan) -> Vec<(&'static str, f64, u32)> {
    plan.arms[0].load.lanes.iter().map(|lane| (lane.kind.as_str(), lane.rate, lane.connections)).collect()
}

fn ready_probe(check: ProbeCheck) -> Probe {
    Probe {
        check,
        period_seconds: 1,
        timeout_seconds: 1,
        failure_threshold: 1,
        success_threshold: 1,
        initial_delay_seconds: 0,
    }
}

#[test]
fn defaults_are_those_of_the_interface() {
    let plan = plan(MINIMAL, &Overrides::default());
    let arm = &plan.arms[0];
    assert_eq!(names(&plan), ["minimal", "control", "negative-control"]);
    assert_eq!((plan.seed, plan.description.as_str(), plan.notes.as_slice()), (SEED, "", [].as_slice()));
    let workload = &arm.workload;
    assert_eq!(
        (workload.replicas, workload.min_ready_seconds, workload.termination_grace_period_seconds),
        (3, 0, 30)
    );
    assert_eq!(workload.lifecycle, Lifecycle::default());
    let path = "/readyz".to_owned();
    assert_eq!(workload.readiness_probe, Some(ready_probe(ProbeCheck::HttpGet { path, port: None })));
    assert_eq!(workload.strategy.max_surge, Amount::Pods(1));
    assert_eq!(workload.strategy.max_unavailable, Amount::Pods(0));
    assert_eq!(workload.program, Program::Server(ServerSettings::default()));
    assert_eq!(arm.load.target, Target::Service);
    assert_eq!((arm.load.request.method.as_str(), arm.load.request.path.as_str()), ("GET", "/"));
    assert_eq!(arm.load.request.expect_status, StatusRange { first: 200, last: 299 });
    assert!(arm.load.request.headers.is_empty() && arm.load.request.body.is_none());
    assert_eq!(
        lanes(&plan),
        [("new", 300.0, 1), ("reused", 300.0, 20), ("slow", 20.0, 50), ("post", 20.0, 10)]
    );
    assert!(arm.load.lanes.iter().all(|lane| lane.arrivals == Arrivals::Constant));
    let delays: Vec<_> = arm.load.lanes.iter().map(|lane| lane.delay.as_secs()).collect();
    assert_eq!(delays, [0, 0, 2, 0]);
    assert_eq!((arm.load.timeout, arm.load.late_over), (Duration::from_secs(5), Duration::from_secs(1)));
    assert_eq!(arm.disruption, Disruption::RolloutRestart);
    assert_eq!((arm.local.propagation, arm.local.nodes), (Propagation::KubeProxy, 2));
    assert_eq!(arm.local.kubelet, KubeletVersion { minor: 34 });
    assert_eq!((arm.settle.before, arm.settle.after), (Duration::from_secs(3), Duration::from_secs(3)));
    assert_eq!(plan.limits.schedule_lag, Duration::from_millis(50));
    assert_eq!(plan.limits.detection_floor, Duration::from_millis(500));
    assert_eq!((plan.expect.failed, plan.expect.late), (Allowed::AtMost(0), Allowed::AtMost(0)));
    assert_eq!((plan.expect.arms, plan.expect.timeline.len()), (ArmsExpected::All, 0));
}

#[test]
fn controls_follow_the_trial_arms() {
    let yaml = "name: x\nworkload: {server: {lameDuck: 3s}, lifecycle: {preStop: {sleep: {seconds: 5}}}}";
    let plan = plan(yaml, &Overrides::default());
    let [trial, control, negative] = plan.arms.as_slice() else { panic!("{:?}", names(&plan)) };
    assert_eq!(
        (trial.role, control.role, negative.role),
        (Role::Trial, Role::Control, Role::NegativeControl)
    );
    assert_eq!(control.disruption, Disruption::None);
    assert_eq!((&control.workload, &control.load), (&trial.workload, &trial.load));
    assert_eq!((&negative.disruption, &negative.load), (&trial.disruption, &trial.load));
    let Program::Server(server) = &negative.workload.program else { panic!() };
    assert_eq!((server.on_sigterm, server.lame_duck), (OnSigterm::Exit, Duration::ZERO));
    assert_eq!(negative.workload.lifecycle, Lifecycle::default());
}

#[test]
fn control_false_and_no_disruption_leave_controls_out() {
    assert_eq!(names(&plan("name: x\ncontrol: false", &Overrides::default())), ["x"]);
    let undisturbed = plan("name: x\ndisruption: none", &Overrides::default());
    assert_eq!(names(&undisturbed), ["x"]);
    assert_eq!(
        undisturbed.notes,
        ["control arms are left out: without a disruption they would show nothing"]
    );
}

#[test]
fn a_command_gets_a_probe_and_lanes_that_any_server_can_meet() {
    let plan = plan(MINIMAL, &command());
    assert_eq!(lanes(&plan), [("new", 100.0, 1), ("reused", 100.0, 20)]);
    let arm = &plan.arms[0];
    assert_eq!(arm.workload.program, Program::Command(vec!["./my-app".to_owned()]));
    assert_eq!(arm.workload.readiness_probe, Some(ready_probe(ProbeCheck::TcpSocket { port: None })));
    assert_eq!(plan.notes.len(), 2);
    assert!(plan.notes[1].starts_with("lanes slow and post are left out"), "{:?}", plan.notes);
    assert!(matches!(plan.arms[2].workload.program, Program::Server(_)));
    assert_eq!(plan.arms[2].load.lanes, arm.load.lanes);
}

#[test]
fn built_in_scenarios_state_the_defaults_and_a_pre_stop_sleep() {
    let bare = plan(MINIMAL, &Overrides::default());
    for (yaml, disruption) in [
        (ROLLING_RESTART, Disruption::RolloutRestart),
        (
            DELETE_POD,
            Disruption::DeletePods {
                count: 1,
                every: Duration::from_secs(1),
                grace_period_seconds: None,
                force: false,
                which: Victim::default(),
                again: vec![],
            },
        ),
    ] {
        let plan = plan(yaml, &Overrides::default());
        let arm = &plan.arms[0];
        assert_eq!(arm.disruption, disruption);
        assert_eq!(arm.workload.lifecycle.pre_stop, Some(Handler::Sleep { seconds: 5 }));
        assert_eq!((&arm.load, &arm.local, &arm.settle), {
            let bare = &bare.arms[0];
            (&bare.load, &bare.local, &bare.settle)
        });
        assert_eq!((plan.limits, &plan.expect), (bare.limits, &bare.expect));
        assert_eq!(plan.arms.len(), 3);
        assert!(plan.notes.is_empty(), "{:?}", plan.notes);
        super::plan(yaml, &command());
    }
}

#[test]
fn a_scenario_without_a_name_is_called_as_its_file() {
    let named = |source: &str| {
        Scenario::parse(source, b"repeat: 1").unwrap().plan(&Overrides::default(), 0).unwrap().scenario
    };
    assert_eq!(named("/tmp/My-Case.v2.yaml"), "my-case");
    assert_eq!(named("spaced name.yaml"), "scenario");
}

#[test]
fn probes_take_the_defaults_of_kubernetes_once_stated() {
    let probe = |yaml: &str| plan(yaml, &Overrides::default()).arms[0].workload.readiness_probe.clone();
    let stated = probe("workload: {readinessProbe: {httpGet: {path: /ok, port: 81}}}").unwrap();
    assert_eq!(stated.check, ProbeCheck::HttpGet { path: "/ok".to_owned(), port: Some(81) });
    assert_eq!((stated.period_seconds, stated.timeout_seconds, stated.failure_threshold), (10, 1, 3));
    assert_eq!((stated.success_threshold, stated.initial_delay_seconds), (1, 0));
    assert_eq!(probe("workload: {readinessProbe: null}"), None);
}

#[test]
fn setting_a_key_of_the_default_probe_keeps_the_rest_of_it() {
    let plan = plan(MINIMAL, &overrides(&["workload.readinessProbe.failureThreshold=3"], &[]));
    let probe = plan.arms[0].workload.readiness_probe.clone().unwrap();
    assert_eq!((probe.failure_threshold, probe.period_seconds), (3, 1));
    let set = overrides(&["workload.readinessProbe.tcpSocket={}"], &[]);
    let probe = super::plan(MINIMAL, &set).arms[0].workload.readiness_probe.clone().unwrap();
    assert_eq!(probe.check, ProbeCheck::TcpSocket { port: None });
}

#[test]
fn setting_a_lane_keeps_the_others_and_null_removes_it() {
    let set =
        ["load.lanes.new.rate=50", "load.lanes.slow=null", "load.lanes.post.maxRequestsPerConnection=9"];
    let plan = plan(ROLLING_RESTART, &overrides(&set, &[]));
    assert_eq!(lanes(&plan), [("new", 50.0, 1), ("reused", 300.0, 20), ("post", 20.0, 10)]);
    assert_eq!(plan.arms[0].load.lanes[2].max_requests_per_connection, Some(9));
    let set = overrides(&["load.lanes={new: {rate: 0.5, arrivals: poisson}}"], &[]);
    let plan = super::plan(ROLLING_RESTART, &set);
    assert_eq!(lanes(&plan), [("new", 0.5, 1)]);
    assert_eq!(plan.arms[0].load.lanes[0].arrivals, Arrivals::Poisson);
}

#[test]
fn setting_one_variant_replaces_the_other() {
    let yaml = "workload: {lifecycle: {preStop: {exec: {command: [sleep, '9']}}}}\ndisruption: none";
    let set = ["workload.lifecycle.preStop.sleep.seconds=4", "disruption.deletePods.count=2"];
    let arm = plan(yaml, &overrides(&set, &[])).arms[0].clone();
    assert_eq!(arm.workload.lifecycle.pre_stop, Some(Handler::Sleep { seconds: 4 }));
    let every = Duration::from_secs(1);
    assert_eq!(
        arm.disruption,
        Disruption::DeletePods {
            count: 2,
            every,
            grace_period_seconds: None,
            force: false,
            which: Victim::default(),
            again: vec![]
        }
    );
    let whole = ["disruption={deletePods: {count: 2}}"];
    assert_eq!(plan(ROLLING_RESTART, &overrides(&whole, &[])).arms[0].disruption, arm.disruption);
}

#[test]
fn hooks_can_be_taken_away_and_the_later_set_wins() {
    for gone in ["workload.lifecycle.preStop=null", "workload.lifecycle={}", "workload.lifecycle="] {
        let plan = plan(ROLLING_RESTART, &overrides(&[gone], &[]));
        assert_eq!(plan.arms[0].workload.lifecycle, Lifecycle::default(), "{gone}");
    }
    let plan = plan(ROLLING_RESTART, &overrides(&["workload.replicas=5", "workload.replicas=4"], &[]));
    assert_eq!(plan.arms[0].workload.replicas, 4);
}

#[test]
fn scalars_keep_their_text() {
    let yaml = "workload: {lifecycle: {}}\nlocal: {kubelet: 1.30}\nexpect: {failed: any, late: 3}\nload: {request: {expectStatus: 204, headers: {X: 1}}, lateOver: 0}";
    let plan = plan(yaml, &Overrides::default());
    assert_eq!(plan.arms[0].local.kubelet.minor, 30);
    assert_eq!((plan.expect.failed, plan.expect.late), (Allowed::Any, Allowed::AtMost(3)));
    let request = &plan.arms[0].load.request;
    assert_eq!(request.expect_status, StatusRange { first: 204, last: 204 });
    assert_eq!(request.headers.get("X").map(String::as_str), Some("1"));
    assert_eq!(plan.arms[0].load.late_over, Duration::ZERO);
}

#[test]
fn clients_may_be_far_away_and_the_plan_says_that_this_is_emulated() {
    for (yaml, rtt, notes) in [("name: x", 0, 0), ("name: x\nload: {rtt: 20ms}", 20, 1)] {
        let plan = plan(yaml, &Overrides::default());
        assert!(plan.arms.iter().all(|arm| arm.load.rtt == Duration::from_millis(rtt)));
        let told = plan.notes.iter().filter(|note| note.starts_with("clients are 20ms away (load.rtt)"));
        assert_eq!(told.count(), notes, "{:?}", plan.notes);
    }
}

#[test]
fn every_combination_is_an_arm_and_the_first_key_is_the_slowest() {
    let yaml = "name: grid\ncontrol: false\nrepeat: 2\nvary:\n  workload.lifecycle.preStop.sleep.seconds: [0, 2]\n  workload.replicas: [1, 3]";
    let plan = plan(yaml, &Overrides::default());
    assert_eq!(
        names(&plan),
        [
            "preStop.sleep.seconds=0, workload.replicas=1",
            "preStop.sleep.seconds=0, workload.replicas=1 #2",
            "preStop.sleep.seconds=0, workload.replicas=3",
            "preStop.sleep.seconds=0, workload.replicas=3 #2",
            "preStop.sleep.seconds=2, workload.replicas=1",
            "preStop.sleep.seconds=2, workload.replicas=1 #2",
            "preStop.sleep.seconds=2, workload.replicas=3",
            "preStop.sleep.seconds=2, workload.replicas=3 #2",
        ]
    );
    let replicas: Vec<u32> = plan.arms.iter().map(|arm| arm.workload.replicas).collect();
    assert_eq!(replicas, [1, 1, 3, 3, 1, 1, 3, 3]);
    assert_eq!(plan.arms[7].workload.lifecycle.pre_stop, Some(Handler::Sleep { seconds: 2 }));
    assert_eq!(plan.expect.arms, ArmsExpected::Any);
    assert_eq!(plan.notes.len(), 1);
    let stated = format!("{yaml}\nexpect: {{arms: all}}");
    assert_eq!(super::plan(&stated, &Overrides::default()).expect.arms, ArmsExpected::All);
}

#[test]
fn vary_of_a_flag_splits_at_top_level_commas_and_replaces_the_same_key() {
    let vary = ["workload.lifecycle.preStop={exec: {command: [sleep, '1']}},null", "local.nodes=1,2"];
    let yaml = "control: false\nvary: {local.nodes: [3, 4, 5], workload.replicas: [1, 2]}";
    let plan = plan(yaml, &overrides(&["workload.replicas=2"], &vary));
    assert_eq!(
        names(&plan),
        [
            "local.nodes=1, workload.lifecycle.preStop={exec: {command: [sleep, 1]}}",
            "local.nodes=1, workload.lifecycle.preStop=null",
            "local.nodes=2, workload.lifecycle.preStop={exec: {command: [sleep, 1]}}",
            "local.nodes=2, workload.lifecycle.preStop=null",
        ]
    );
    assert_eq!(plan.notes[0], "workload.replicas is set by --set and so does not vary");
}

#[test]
fn controls_are_built_without_vary() {
    let plan = plan(ROLLING_RESTART, &overrides(&[], &["workload.lifecycle.preStop.sleep.seconds=0,2"]));
    assert_eq!(
        names(&plan),
        ["preStop.sleep.seconds=0", "preStop.sleep.seconds=2", "control", "negative-control"]
    );
    assert_eq!(plan.arms[2].workload.lifecycle.pre_stop, Some(Handler::Sleep { seconds: 5 }));
}

#[test]
fn repeat_and_seed_come_from_flags_first() {
    let flags = Overrides { repeat: Some(3), seed: Some(9), ..Overrides::default() };
    let plan = plan("name: x\nrepeat: 2\ncontrol: false", &flags);
    assert_eq!((names(&plan), plan.seed), (vec!["x", "x #2", "x #3"], 9));
}

#[test]
fn aliases_work_within_bounds() {
    let yaml = "load: {lanes: {new: &lane {rate: 5}, post: *lane}}";
    assert_eq!(lanes(&plan(yaml, &Overrides::default())), [("new", 5.0, 1), ("post", 5.0, 10)]);
}

#[test]
fn too_few_connections_are_noted_once() {
    let plan = plan("load: {lanes: {slow: {rate: 20, connections: 10}}}", &Overrides::default());
    assert_eq!(plan.notes, ["lane slow has about 40 requests under way at once, but 10 connections"]);
    assert_eq!(plan.arms[0].load.lanes[0].kind, LaneKind::Slow);
}

#[test]
fn credentials_stay_in_the_plan_and_out_of_what_is_shown() {
    let yaml = "load: {target: 'http://me:pw@edge', request: {path: '/?api_key=k1&a=b', body: '{\"password\": 1}', headers: {Authorization: Bearer b1, Accept: text/html, X-Thing: Basic Zm9v}}}\nworkload: {server: {pollWhileDraining: 'http://u:p1@h/x?token=t1'}, lifecycle: {preStop: {exec: {command: [curl, -u, 'me:pw2', --token, t2, --secret=s1, --pass=h1, --db-pwd, h2, --passive=yes, -H, 'Cookie: c1']}}}}";
    let plan = plan(yaml, &Overrides::default());
    let kept = serde_json::to_string(&plan).unwrap();
    let shown = serde_json::to_string(&plan.redacted()).unwrap();
    for secret in
        ["me:pw@", "t1", "k1", "password\\\"", "b1", "Zm9v", "u:p1", "pw2", "t2", "s1", "h1", "h2", "c1"]
    {
        assert!(kept.contains(secret), "{secret} is gone from the plan");
        assert!(!shown.contains(secret), "{secret} is shown: {shown}");
    }
    for harmless in [
        "http://<redacted>@edge",
        "@h/x?token=<redacted>",
        "text/html",
        "&a=b",
        "--secret=<redacted>",
        "--passive=yes",
    ] {
        assert!(shown.contains(harmless), "{harmless} is hidden: {shown}");
    }
}

#[test]
fn varied_credentials_are_not_named() {
    let vary = ["load.request.headers.Authorization=hunter1,hunter2"];
    let plan = plan("control: false", &overrides(&[], &vary));
    assert_eq!(
        names(&plan),
        ["request.headers.Authorization=<redacted> 1", "request.headers.Authorization=<redacted> 2"]
    );
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_refused_in_one_line_and_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Err(error) = Scenario::parse("x", &bytes) {
            prop_assert!(!error.to_string().contains('\n'));
        }
    }

    #[test]
    fn yaml_like_text_never_panics(text in "[a-z0-9:{}\\[\\],&*!|>'\"#%~ \n-]{0,200}", key in "[a-z.]{0,40}") {
        let set = format!("{key}={text}");
        for vary in [vec![], vec![set.clone()]] {
            let flags = Overrides { set: vec![set.clone()], vary, ..Overrides::default() };
            if let Err(error) = planned_with(ROLLING_RESTART, &flags) {
                prop_assert!(!error.to_string().contains('\n'));
            }
        }
        let _ = planned_with(&text, &Overrides::default());
    }

    #[test]
    fn any_rate_gives_a_lane_or_a_refusal(rate in any::<f64>()) {
        let planned = planned_with(ROLLING_RESTART, &overrides(&[&format!("load.lanes.slow.rate={rate:e}")], &[]));
        prop_assert_eq!(planned.is_ok(), rate > 0.0 && rate <= 999_380.0);
    }
}

#[test]
fn lane_idle_keeps_enough_connections_for_each_to_rest() {
    let lane = |yaml: &str| plan(yaml, &Overrides::default()).arms[0].load.lanes[0].clone();
    let usual = lane("load: {lanes: {idle: {rate: 40}}}");
    assert_eq!((usual.kind, usual.idle, usual.connections), (LaneKind::Idle, Duration::from_secs(5), 250));
    let stated = lane("load: {lanes: {idle: {rate: 1, idle: 61s, maxConnectionAge: 2m}}}");
    assert_eq!((stated.idle, stated.connections), (Duration::from_secs(61), 77));
    assert_eq!(stated.max_connection_age, Some(Duration::from_mins(2)));
    let few = plan("load: {lanes: {idle: {rate: 40, connections: 20}}}", &Overrides::default());
    let note = "lane idle has about 200 connections at rest at once, but keeps 20".to_owned();
    assert!(few.notes.contains(&note), "{:?}", few.notes);
}

#[test]
fn lane_h2_keeps_few_connections_with_several_streams() {
    let of = |yaml: &str| plan(yaml, &Overrides::default());
    let usual = of("load: {lanes: {h2: {rate: 300}}}").arms[0].load.lanes[0].clone();
    let shape = (usual.kind, usual.connections, usual.max_concurrent_streams);
    assert_eq!(shape, (LaneKind::H2, 4, 10));
    let slow = of("load: {lanes: {h2: {rate: 300, delay: 1s, maxConcurrentStreams: 50}}}");
    assert_eq!(slow.arms[0].load.lanes[0].connections, 8);
    let few = of("load: {lanes: {h2: {rate: 300, delay: 1s, connections: 2}}}");
    let note = "lane h2 fills about 30 connections of 10 requests, but keeps 2".to_owned();
    assert!(few.notes.contains(&note), "{:?}", few.notes);
}
