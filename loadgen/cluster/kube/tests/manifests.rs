//! The files under `manifests/` and the code say the same.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use cluster_kube::objects::{self, Owner};
use cluster_kube::preflight;
use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::api::rbac::v1::ClusterRole;
use serde_json::Value;
use trial::plan::Arm;
use trial::scenario::{Overrides, Scenario};
use trial::settings::{Disruption, Victim};

fn manifest(name: &str) -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../manifests");
    fs::read_to_string(root.join(name)).unwrap()
}

fn documents(name: &str) -> Vec<Value> {
    manifest(name).split("\n---\n").map(|text| serde_saphyr::from_str(text).unwrap()).collect()
}

fn owner() -> Owner {
    Owner { run: "r1".into(), arm: 0, namespace: "ns1".into() }
}

fn arm(yaml: &str) -> Arm {
    Scenario::parse("x", yaml.as_bytes()).unwrap().plan(&Overrides::default(), 1).unwrap().arms.remove(0)
}

/// `file` with what `object` has beyond it: everything that stands in the file must stand in the object.
fn assert_holds(file: &Value, object: &Value, path: &str) {
    match (file, object) {
        (Value::Object(file), Value::Object(object)) => {
            for (key, value) in file {
                let inner = object.get(key).unwrap_or_else(|| panic!("{path}.{key} is not applied"));
                assert_holds(value, inner, &format!("{path}.{key}"));
            }
        }
        (Value::Array(file), Value::Array(object)) => {
            assert!(object.len() >= file.len(), "{path}: {object:?}");
            for (index, value) in file.iter().enumerate() {
                assert_holds(value, &object[index], &format!("{path}[{index}]"));
            }
        }
        _ => assert_eq!(file, object, "{path}"),
    }
}

#[test]
fn what_stands_in_the_files_is_what_is_applied() {
    let workload = &arm("name: x").workload;
    let (deployment, service) = objects::server(&owner(), workload, "drainproof/server:dev").unwrap();
    let files = documents("server.yaml");
    assert_holds(&files[0], &serde_json::to_value(&deployment).unwrap(), "Deployment");
    assert_holds(&files[1], &serde_json::to_value(&service).unwrap(), "Service");
    let job = objects::agents(&owner(), "drainproof/loadgen:dev", 1, 60).unwrap();
    assert_holds(&documents("loadgen.yaml")[0], &serde_json::to_value(&job).unwrap(), "Job");
    let policy = objects::network_policy(&owner()).unwrap();
    assert_holds(
        &documents("network-policy.yaml")[0],
        &serde_json::to_value(&policy).unwrap(),
        "NetworkPolicy",
    );
    let lease = objects::lease(&owner()).unwrap();
    assert_holds(&documents("lease.yaml")[0], &serde_json::to_value(&lease).unwrap(), "Lease");
    let budget = objects::disruption_budget(&owner()).unwrap();
    let file = &documents("disruption-budget.yaml")[0];
    assert_holds(file, &serde_json::to_value(&budget).unwrap(), "PodDisruptionBudget");
    let (role, binding) = objects::api_access(&owner()).unwrap();
    let files = documents("api-access.yaml");
    assert_holds(&files[0], &serde_json::to_value(&role).unwrap(), "Role");
    assert_holds(&files[1], &serde_json::to_value(&binding).unwrap(), "RoleBinding");
    assert_eq!(binding.subjects.unwrap()[0].namespace.as_deref(), Some("ns1"));
}

#[test]
fn only_pods_that_poll_the_api_server_get_a_token() {
    let token = |yaml: &str| {
        let (deployment, _) = objects::server(&owner(), &arm(yaml).workload, "i").unwrap();
        deployment.spec.unwrap().template.spec.unwrap().automount_service_account_token
    };
    assert_eq!(token("name: x"), Some(false));
    assert_eq!(token("{name: x, workload: {server: {pollWhileDraining: apiserver}}}"), Some(true));
    assert_eq!(token("{name: x, workload: {server: {pollWhileDraining: 'http://a/'}}}"), Some(false));
}

#[test]
fn every_object_bears_the_labels_by_which_it_is_found() {
    let workload = &arm("name: x").workload;
    let (deployment, service) = objects::server(&owner(), workload, "i").unwrap();
    let job = objects::agents(&owner(), "i", 1, 60).unwrap();
    let namespace = objects::namespace(&owner()).unwrap();
    assert_eq!(namespace.metadata.name.as_deref(), Some("ns1"));
    let pods =
        [deployment.spec.unwrap().template.metadata.unwrap(), job.spec.unwrap().template.metadata.unwrap()];
    let metas = [deployment.metadata, service.metadata, job.metadata, namespace.metadata];
    for meta in metas.iter().chain(&pods) {
        let labels = meta.labels.clone().unwrap_or_default();
        assert_eq!(labels.get(objects::MANAGED_BY).map(String::as_str), Some(objects::MANAGER));
        assert_eq!(labels.get(objects::RUN).map(String::as_str), Some("r1"));
    }
}

#[test]
fn the_scenario_is_filled_in_under_kubernetes_own_names() {
    let yaml = "workload: {replicas: 5, minReadySeconds: 2, terminationGracePeriodSeconds: 40, \
                strategy: {maxSurge: 50%, maxUnavailable: 2}, \
                lifecycle: {preStop: {exec: {command: [server, hook, pre-stop]}}, postStart: {httpGet: {path: /x}}}, \
                readinessProbe: {tcpSocket: {}, periodSeconds: 7}, server: {onSigterm: exit}}";
    let (deployment, _) = objects::server(&owner(), &arm(yaml).workload, "img").unwrap();
    let spec = deployment.spec.unwrap();
    let value = serde_json::to_value(&spec).unwrap();
    assert_eq!((spec.replicas, spec.min_ready_seconds), (Some(5), Some(2)));
    let rolling = &value["strategy"]["rollingUpdate"];
    assert_eq!((&rolling["maxSurge"], &rolling["maxUnavailable"]), (&Value::from("50%"), &Value::from(2)));
    let pod: PodSpec = spec.template.spec.unwrap();
    assert_eq!(pod.termination_grace_period_seconds, Some(40));
    let container = &value["template"]["spec"]["containers"][0];
    let hook = &container["lifecycle"]["preStop"]["exec"]["command"];
    assert_eq!(*hook, serde_json::json!(["/server", "hook", "pre-stop"]));
    assert_eq!(container["lifecycle"]["postStart"]["httpGet"]["path"], "/x");
    assert_eq!(container["readinessProbe"]["tcpSocket"]["port"], 8080);
    assert_eq!(container["readinessProbe"]["periodSeconds"], 7);
    let arguments = container["args"].to_string();
    assert!(arguments.contains("--on-sigterm=exit") && arguments.contains("--listen="), "{arguments}");
    assert_eq!(container["image"], "img");
}

/// What the roles of a file grant, as `group/resource verb`.
fn granted(file: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for document in documents(file) {
        let role: ClusterRole = serde_json::from_value(document).unwrap();
        for rule in role.rules.unwrap() {
            for group in rule.api_groups.unwrap() {
                for resource in rule.resources.as_ref().unwrap() {
                    all.extend(rule.verbs.iter().map(|verb| format!("{group}/{resource} {verb}")));
                }
            }
        }
    }
    all
}

fn asked(disruption: &Disruption) -> BTreeSet<String> {
    preflight::needs(disruption).iter().map(named).collect()
}

fn named(need: &preflight::Need) -> String {
    let sub = if need.subresource.is_empty() { String::new() } else { format!("/{}", need.subresource) };
    format!("{}/{}{sub} {}", need.group, need.resource, need.verb)
}

#[test]
fn roles_grant_what_the_preflight_asks_for_and_nothing_else() {
    let always = asked(&Disruption::RolloutRestart);
    assert_eq!(granted("rbac/run.yaml"), always);
    let delete = Disruption::DeletePods {
        count: 1,
        every: std::time::Duration::ZERO,
        grace_period_seconds: None,
        force: false,
        which: Victim::default(),
        again: vec![],
    };
    let more = [delete, Disruption::Evict { count: 1 }, Disruption::Scale { to: 1 }, Disruption::DrainNode];
    let polls = arm("{name: x, workload: {server: {pollWhileDraining: apiserver}}}").workload;
    let beyond: BTreeSet<String> = more
        .iter()
        .flat_map(asked)
        .filter(|need| !always.contains(need))
        .chain(preflight::needs_of(&polls).iter().map(named))
        .collect();
    assert_eq!(granted("rbac/disrupt.yaml"), beyond);
}
