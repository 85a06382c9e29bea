//! What the client itself runs out of is named, and no fault of the service. Limits hold for a whole process, so each
//! test runs itself again in one of its own.

use std::env;
use std::net::SocketAddr;
use std::process::{Command, Output};
use std::time::Duration;

use nix::sys::resource::{Resource, setrlimit};
use trial::record::{Class, Record, Stage};
use trial::settings::LaneKind;

use crate::fault_server::{Fault, FaultServer};
use crate::support::{Run, lane, load, to};

/// Set in the process that has the limit: to the server's address, where that is in another.
const LIMITED: &str = "DRAINPROOF_TEST_LIMITED";

/// This test again, in a process that `prefix` starts.
fn again(test: &str, prefix: &[&str], limited: &str) -> Output {
    let this = env::current_exe().unwrap();
    let test = format!("exhausted::{test}");
    let mut words: Vec<String> = prefix.iter().map(|word| (*word).to_owned()).collect();
    words.push(this.to_str().unwrap().to_owned());
    words.extend([&test, "--exact", "--nocapture", "--test-threads=1"].map(str::to_owned));
    Command::new(&words[0]).args(&words[1..]).env(LIMITED, limited).output().unwrap()
}

fn passes(output: &Output) -> bool {
    let text = String::from_utf8_lossy(&output.stdout);
    output.status.success() && text.contains("1 passed")
}

/// Requests that stay under way, each on a connection of its own, until nothing is left for another.
fn stalled(address: SocketAddr) -> Vec<Record> {
    let mut load = load(vec![lane(LaneKind::New, 80.0)]);
    load.timeout = Duration::from_secs(2);
    Run::start(load, to(address)).finish(Duration::from_millis(500)).0
}

/// How many were sent; the rest is the client's fault.
fn assert_all_is_told(records: &[Record], class: Class, errno: u16) -> usize {
    let faults = records.iter().filter(|record| record.class.is_client_fault()).count();
    assert!(faults > 0, "nothing ran out: {records:?}");
    for record in records {
        let (expected, code) = if record.class.is_client_fault() {
            assert!(!record.class.is_service_failure() && record.stage == Stage::Connect && record.conn == 0);
            (class, errno)
        } else {
            (Class::WaitTimeout, 0)
        };
        assert_eq!((record.class, record.os_code), (expected, code), "{record:?}");
    }
    records.len() - faults
}

#[test]
fn a_client_out_of_files_says_so() {
    let Some(address) = env::var_os(LIMITED) else {
        let server = FaultServer::start(|_slot| Fault::StallHeader);
        let output = again("a_client_out_of_files_says_so", &[], &server.address.to_string());
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(passes(&output), "{text}");
        let sent = format!("sent {}\n", server.seen().len());
        assert!(text.contains(&sent), "the server saw {sent}: {text}");
        return;
    };
    let address = address.to_str().unwrap().parse().unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 24, 24).unwrap();
    let records = stalled(address);
    let sent = assert_all_is_told(&records, Class::ClientFiles, 24);
    println!("sent {sent}");
}

#[test]
fn a_client_out_of_ports_says_so() {
    if env::var_os(LIMITED).is_none() {
        let narrow =
            "ip link set lo up && echo 40000 40007 > /proc/sys/net/ipv4/ip_local_port_range && exec \"$@\"";
        let namespace = ["unshare", "--map-root-user", "--net", "sh", "-c"];
        let fits = Command::new(namespace[0]).args(&namespace[1..]).args([narrow, "sh", "true"]).output();
        if !fits.as_ref().is_ok_and(|output| output.status.success()) {
            eprintln!("left out: no network namespace here: {fits:?}");
            return;
        }
        let output = again("a_client_out_of_ports_says_so", &[&namespace[..], &[narrow, "sh"]].concat(), "1");
        assert!(passes(&output), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    // It has a port of the eight too.
    let server = FaultServer::start(|_slot| Fault::StallHeader);
    let records = stalled(server.address);
    assert_eq!(assert_all_is_told(&records, Class::ClientPorts, 99), server.seen().len());
}
