//! `loadgen load`, the real binary against real sockets: what it sends, what it says of it, and what a user can get wrong.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::{LOADGEN, Ran, Scratch, command, eventually, loadgen};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// What `/slow` takes.
const SLOW: Duration = Duration::from_millis(300);

/// A server that answers everything at once, and counts.
#[derive(Clone, Default)]
struct Seen {
    requests: Arc<AtomicU64>,
    connections: Arc<AtomicU64>,
    /// Head and body of the last one.
    last: Arc<Mutex<(String, String)>>,
}

fn serve() -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, seen) = (listener.local_addr().unwrap(), Seen::default());
    let counts = seen.clone();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            counts.connections.fetch_add(1, Ordering::SeqCst);
            let counts = counts.clone();
            thread::spawn(move || drop(answer(stream, &counts)));
        }
    });
    (address, seen)
}

fn answer(stream: TcpStream, seen: &Seen) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let length = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned));
        let mut body = vec![0; length.and_then(|length| length.parse().ok()).unwrap_or(0)];
        reader.read_exact(&mut body)?;
        seen.requests.fetch_add(1, Ordering::SeqCst);
        if head.contains(" /slow ") {
            thread::sleep(SLOW);
        }
        let closes = head.to_ascii_lowercase().contains("connection: close");
        *seen.last.lock().unwrap() = (head, String::from_utf8(body).unwrap());
        writer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
        if closes {
            return Ok(());
        }
    }
}

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn load(url: &str, flags: &[&str]) -> (Ran, Value) {
    let mut all = vec!["load", url, "--quiet", "--format", "json"];
    all.extend(flags);
    read(loadgen(&all))
}

fn read(ran: Ran) -> (Ran, Value) {
    let report: Value = serde_json::from_str(&ran.stdout)
        .unwrap_or_else(|error| panic!("{error}: exit code {}, {}{}", ran.code, ran.stdout, ran.stderr));
    assert_eq!(report["exit_code"].as_i64(), Some(ran.code.into()), "{}", report["reasons"]);
    assert_eq!(common::strict::problems(&report), Vec::<String>::new(), "not as the schema says");
    let requests = &report["arms"][0]["requests"];
    let count = |field: &str| requests[field].as_u64().unwrap();
    assert_eq!(count("scheduled"), count("sent") + count("unsent"));
    assert_eq!(count("sent"), count("ok") + count("failed") + count("late") + count("interrupted"));
    (ran, report)
}

fn count(report: &Value, field: &str) -> u64 {
    report["arms"][0]["requests"][field].as_u64().unwrap()
}

fn reasons(report: &Value) -> String {
    report["reasons"].to_string()
}

#[test]
fn an_open_loop_sends_each_slot_once_and_the_report_has_one_arm_without_a_workload() {
    let (address, seen) = serve();
    let (_, report) = load(&format!("http://{address}/a?b=c"), &["-r", "0.5k", "-c", "5", "-d", "2s"]);
    assert_eq!(count(&report, "scheduled"), 1000);
    assert_eq!(count(&report, "sent"), seen.requests.load(Ordering::SeqCst), "none twice, none for nothing");
    assert!(seen.last.lock().unwrap().0.starts_with("GET /a?b=c HTTP/1.1\r\n"));
    let arm = &report["arms"][0];
    assert_eq!(report["arms"].as_array().unwrap().len(), 1);
    assert_eq!((&arm["settings"], &arm["terminations"]["total"]), (&Value::Null, &Value::from(0)));
    assert_eq!((&report["run"]["kubelet_profile"], &report["tune"]), (&Value::Null, &Value::Null));
    assert_eq!(arm["load_duration_ns"], 2_000_000_000_u64);
    assert!(arm["lanes"][0]["latency_ns"]["p99"].as_u64().unwrap() > 0);
}

#[test]
fn a_closed_loop_sends_so_many_on_so_many_connections_and_says_what_it_hides() {
    let (address, seen) = serve();
    let (ran, report) = load(&format!("http://{address}"), &["--rate", "max", "-c", "7", "-n", "500"]);
    assert_eq!((ran.code, count(&report, "ok")), (0, 500), "{}", reasons(&report));
    assert_eq!(seen.requests.load(Ordering::SeqCst), 500);
    assert_eq!(seen.connections.load(Ordering::SeqCst), 7);
    assert!(report["run"]["caveats"].to_string().contains("closed loop"));
    let (ran, report) = load(&format!("http://{address}"), &["--lanes", "new", "-c", "3", "-n", "60"]);
    assert_eq!((ran.code, count(&report, "ok")), (0, 60), "{}", reasons(&report));
    assert_eq!(seen.connections.load(Ordering::SeqCst), 67);
}

#[test]
fn text_says_how_many_were_answered_a_second() {
    let (address, _) = serve();
    let ran = loadgen(&["load", &format!("http://{address}"), "-n", "50"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.starts_with("PASS  load (local)"), "{}", ran.stdout);
    assert!(
        ran.stdout.contains("50 requests answered in") && ran.stdout.contains("a second"),
        "{}",
        ran.stdout
    );
    assert!(!ran.stdout.contains("pod"), "{}", ran.stdout);
}

#[test]
fn a_ramp_adds_up_to_its_integral() {
    let (address, seen) = serve();
    let flags = ["-r", "200", "--ramp", "1s", "--ramp-from", "100", "-d", "2s", "--arrivals", "constant"];
    let (_, report) = load(&format!("http://{address}"), &flags);
    // 150 in the first second, 200 in the next.
    assert_eq!(count(&report, "scheduled"), 350);
    assert_eq!(count(&report, "sent"), seen.requests.load(Ordering::SeqCst));
}

/// How often a load with these flags holds the file that keeps cores from halting, while it runs; and what its report says.
fn holds_awake(flags: &[&str]) -> (usize, String) {
    let (address, seen) = serve();
    let url = format!("http://{address}");
    let mut loading = command(&["load", &url, "--format", "json", "--quiet", "-d", "10m"]);
    let child = loading.args(flags).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually(20, "requests", || seen.requests.load(Ordering::SeqCst) > 100);
    let open = std::fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap();
    let held = open.filter_map(|file| std::fs::read_link(file.unwrap().path()).ok());
    let held = held.filter(|file| file.ends_with("cpu_dma_latency")).count();
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    let (_, report) = read(child.wait_with_output().unwrap().into());
    (held, report["run"]["caveats"].to_string())
}

#[test]
fn a_load_that_is_exact_or_fast_keeps_cores_awake_unless_told_not_to_and_says_so() {
    let permitted = std::fs::File::options().write(true).open("/dev/cpu_dma_latency");
    let (held, said) = holds_awake(&["--exact", "-r", "200"]);
    assert!(said.contains("exact: the client polls"), "{said}");
    match &permitted {
        Ok(_) => assert!(held == 1 && said.contains("kept from halting"), "{held}: {said}"),
        Err(error) => assert!(held == 0 && said.contains(&error.to_string()), "{held}: {said}"),
    }
    let (held, said) = holds_awake(&["-r", "10k"]);
    let kept = permitted.is_ok();
    assert_eq!((held, said.contains("kept from halting")), (usize::from(kept), kept), "{said}");
    for flags in [&["-r", "200"][..], &["-r", "10k", "--may-halt"], &["--exact", "-r", "200", "--may-halt"]] {
        let (held, said) = holds_awake(flags);
        assert!(held == 0 && !said.contains("halting"), "{flags:?}: {said}");
    }
}

#[test]
fn headers_method_and_body_are_sent_as_given() {
    let (scratch, (address, seen)) = (Scratch::new(), serve());
    let file = format!("@{}", scratch.write("body.txt", "grüße".as_bytes()));
    let url = format!("http://{address}/x");
    let (ran, report) =
        load(&url, &["-n", "1", "-c", "1", "-H", "X-Tenant: a", "-H", "Host: shop", "-b", &file]);
    assert_eq!(ran.code, 0, "{}", reasons(&report));
    let (head, body) = seen.last.lock().unwrap().clone();
    assert!(head.starts_with("POST /x HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("x-tenant: a\r\n") && head.contains("host: shop\r\n"), "{head}");
    assert_eq!(body, "grüße");
    load(&url, &["-n", "1", "-c", "1", "-m", "PUT", "-b", "text"]);
    assert!(seen.last.lock().unwrap().0.starts_with("PUT /x"));
}

#[test]
fn a_recording_is_kept_where_it_is_asked_for_and_gives_the_same_report() {
    let (scratch, (address, _)) = (Scratch::new(), serve());
    let out = scratch.join("kept");
    let out = out.to_str().unwrap();
    let url = format!("http://{address}");
    let (ran, report) = load(&url, &["-n", "3000", "--out", out]);
    assert_eq!((ran.code, count(&report, "ok")), (0, 3000), "{}", reasons(&report));
    let again = loadgen(&["report", out, "--format", "json"]);
    assert_eq!(again.stdout, ran.stdout);
    assert_eq!(std::fs::read_to_string(format!("{out}/report.json")).unwrap(), ran.stdout);
    loadgen(&["load", &url, "-n", "1", "--out", out]).assert_one_line(1, &["kept", "--out"]);
}

#[test]
fn a_damaged_part_of_a_recording_is_named_and_voids_the_report() {
    let (scratch, (address, _)) = (Scratch::new(), serve());
    let out = scratch.join("kept");
    let url = format!("http://{address}");
    let (ran, report) = load(&url, &["-n", "3000", "--out", out.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{}", reasons(&report));
    let mut files = std::fs::read_dir(out.join("recording")).unwrap().map(|file| file.unwrap().path());
    let part =
        files.find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("records-")).unwrap();
    let mut bytes = std::fs::read(&part).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&part, bytes).unwrap();
    let (ran, report) = read(loadgen(&["report", out.to_str().unwrap(), "--format", "json", "--gate"]));
    let name = part.file_name().unwrap().to_str().unwrap();
    assert_eq!((ran.code, count(&report, "sent")), (4, 0), "{}", reasons(&report));
    assert!(reasons(&report).contains(name) && reasons(&report).contains("damaged"), "{}", reasons(&report));
}

#[test]
fn nobody_listening_is_recorded_request_by_request() {
    let url = format!("http://{}", nobody());
    for flags in [["-r", "200", "-d", "1s"], ["-c", "4", "-n", "40"]] {
        let (ran, report) = load(&url, &flags);
        assert_eq!(ran.code, 3, "{}", reasons(&report));
        let failed = count(&report, "failed");
        assert!(failed >= 40 && failed == count(&report, "sent"), "{failed}");
        assert_eq!(report["arms"][0]["failures_by_class"]["connect-refused"], failed);
        assert!(reasons(&report).contains("connect-refused"), "{}", reasons(&report));
    }
}

#[test]
fn a_rate_beyond_the_machine_is_inconclusive_and_says_how_much_was_not_sent() {
    let (address, seen) = serve();
    let flags = ["--rate", "1000k", "-d", "1s", "-c", "10", "--in-flight", "10"];
    let (ran, report) = load(&format!("http://{address}"), &flags);
    assert_eq!(ran.code, 4, "{}", reasons(&report));
    assert_eq!(count(&report, "scheduled"), 1_000_000);
    let unsent = count(&report, "unsent");
    assert!(unsent > 0 && count(&report, "sent") == seen.requests.load(Ordering::SeqCst));
    assert!(reasons(&report).contains("of 1,000,000 slots were never sent"), "{}", reasons(&report));
}

#[test]
fn the_open_file_limit_is_a_fault_of_the_client_and_voids_the_load() {
    let (address, seen) = serve();
    // Sixty requests are under way at once, and each holds a file.
    let url = format!("http://{address}/slow");
    let arguments = ["load", &url, "--quiet", "--format", "json", "-r", "200", "--lanes", "new", "-d", "1s"];
    let mut limited = Command::new("sh");
    limited.args(["-c", r#"ulimit -n 40 && exec "$0" "$@""#, LOADGEN]).args(arguments).stdin(Stdio::null());
    let (ran, report) = read(limited.output().unwrap().into());
    assert_eq!(ran.code, 4, "{}", reasons(&report));
    assert!(
        reasons(&report).contains("for want of ports or files in the measuring client"),
        "{}",
        reasons(&report)
    );
    assert!(count(&report, "interrupted") > 0 && count(&report, "failed") == 0, "{}", reasons(&report));
    assert_eq!(count(&report, "ok"), seen.requests.load(Ordering::SeqCst));
}

#[test]
fn ctrl_c_ends_the_load_with_a_report() {
    let (address, seen) = serve();
    let url = format!("http://{address}");
    let mut loading = command(&["load", &url, "--format", "json", "--quiet", "-r", "100", "-d", "10m"]);
    let child = loading.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually(20, "requests", || seen.requests.load(Ordering::SeqCst) > 20);
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    let (ran, report) = read(child.wait_with_output().unwrap().into());
    assert_eq!(ran.code, 130, "{}", ran.stderr);
    assert!(count(&report, "ok") > 20 && reasons(&report).contains("interrupted by SIGINT"));
}

#[test]
fn what_cannot_be_loaded_is_told_in_one_line() {
    for url in ["shop", "http://", "http://a:99999/", "http://a b/", "://x", ""] {
        loadgen(&["load", url]).assert_one_line(2, &["URL"]);
    }
    loadgen(&["load"]).assert_one_line(2, &["URL"]);
    loadgen(&["load", "http://no-such-host.invalid/"])
        .assert_one_line(1, &["no-such-host.invalid", "does not resolve"]);
    let table: [(&[&str], &[&str]); 9] = [
        (&["--rate", "0"], &["--rate", "0 is not a rate"]),
        (&["--rate", "fast"], &["--rate", "fast", "max"]),
        (&["-c", "0"], &["-c", "1 to 10000"]),
        (&["-d", "soon"], &["--duration", "soon"]),
        (&["--lanes", "fast"], &["fast", "reused"]),
        (&["-H", "no colon"], &["-H", "colon"]),
        (&["-b", "@/no/such/file"], &["/no/such/file"]),
        (&["--ramp", "1s"], &["--ramp", "closed loop"]),
        (&["--exact"], &["--exact", "closed loop", "--rate"]),
    ];
    for (flags, says) in table {
        let mut all = vec!["load", "http://127.0.0.1:1/"];
        all.extend(flags);
        loadgen(&all).assert_one_line(2, says);
    }
}
