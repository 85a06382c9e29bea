//! A run in a CI tells it what happened without being asked, in forms that programs which are not ours read.

mod common;

use std::fs;
use std::process::Command;

use common::{Ran, Scratch, command, loadgen, quick};

#[test]
fn a_failed_run_is_told_in_the_cis_own_forms() {
    let scratch = Scratch::new();
    let (out, summary) = (scratch.join("out"), scratch.join("summary.md"));
    fs::write(&summary, "before\n").unwrap();
    let mut arguments = vec!["run", "--quiet", "--out", out.to_str().unwrap()];
    let exits = ["--set", "workload.server.onSigterm=exit", "--set", "workload.lifecycle.preStop=null"];
    arguments.extend(quick(&exits));
    let mut run = command(&arguments);
    run.env("CI", "true").env("GITHUB_ACTIONS", "true").env("GITHUB_STEP_SUMMARY", &summary);
    let ran: Ran = run.output().unwrap().into();
    assert_eq!(ran.code, 3, "{}{}", ran.stdout, ran.stderr);

    let annotations: Vec<&str> = ran.stdout.lines().filter(|line| line.starts_with("::")).collect();
    assert!(
        annotations[0].starts_with("::error title=drainproof%3A rolling-restart failed::"),
        "{annotations:?}"
    );
    assert!(annotations.len() > 1, "{annotations:?}");

    // From the recording comes the same, byte for byte.
    for (name, format) in [("report.md", "markdown"), ("junit.xml", "junit"), ("report.html", "html")] {
        let again = loadgen(&["report", out.to_str().unwrap(), "--format", format]);
        assert_eq!(again.code, 0, "{}", again.stderr);
        assert_eq!(again.stdout, fs::read_to_string(out.join(name)).unwrap(), "{name}");
    }
    let appended = fs::read_to_string(&summary).unwrap();
    assert_eq!(appended, format!("before\n{}", fs::read_to_string(out.join("report.md")).unwrap()));

    if common::has_python() {
        // As a CI's own parser: cases and failures as the attributes say, and the page's tags in balance.
        let reads = "
import sys, xml.etree.ElementTree as E, html.parser
root = E.parse(sys.argv[1]).getroot()
cases = list(root.iter('testcase'))
failed = [case for case in cases if case.find('failure') is not None]
assert root.tag == 'testsuites' and len(cases) == int(root.get('tests')), root.attrib
assert len(failed) == int(root.get('failures')) > 1, root.attrib
assert {'new', 'verdict'} <= {case.get('name') for case in cases}
class Balance(html.parser.HTMLParser):
    open = []
    def handle_starttag(self, tag, attrs):
        if tag not in ('meta', 'link', 'br', 'wbr'): self.open.append(tag)
    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag
page = Balance()
page.feed(open(sys.argv[2], encoding='utf-8').read())
assert page.open == [], page.open
";
        let files = [out.join("junit.xml"), out.join("report.html")];
        let read = Command::new("python3").arg("-c").arg(reads).args(files).output().unwrap();
        assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    }
}

#[test]
fn what_goes_wrong_beside_a_report_is_told_there_too() {
    let scratch = Scratch::new();
    let summary = scratch.join("summary.md");
    let mut never_ready = vec!["run", "--quiet", "--ready-timeout", "300ms", "--command", "sleep 60"];
    never_ready.extend(quick(&[]));
    for (arguments, code, message) in [
        (&["run", "--set", "load.lanes.new.rate=-1"][..], 2, "load.lanes.new.rate"),
        (&["run", "--baseline", "none.json"], 2, "none.json"),
        (&["run", "--no-such-flag"], 2, "--no-such-flag"),
        (&never_ready, 1, "ready"),
    ] {
        let mut run = command(arguments);
        run.current_dir(scratch.join("."));
        run.env("GITHUB_ACTIONS", "true").env("GITHUB_STEP_SUMMARY", &summary);
        let ran: Ran = run.output().unwrap().into();
        ran.assert_one_line(code, &["::error title=drainproof::", message]);
        assert_eq!(ran.stdout, "", "programs read that");
        assert!(fs::read_to_string(&summary).unwrap().contains(message));
        fs::remove_file(&summary).unwrap();
    }
}

#[test]
fn elsewhere_nothing_is_written_that_was_not_asked_for() {
    let scratch = Scratch::new();
    let out = scratch.join("out");
    let mut arguments = vec!["run", "--quiet", "--format", "markdown", "--out", out.to_str().unwrap()];
    arguments.extend(quick(&["--set", "disruption=none"]));
    let ran = loadgen(&arguments);
    assert!(ran.stdout.starts_with("## "), "{}{}", ran.stdout, ran.stderr);
    assert!(!ran.stdout.contains("::error") && !out.join("junit.xml").exists());
}
