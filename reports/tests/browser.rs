//! The HTML report as a browser meets it. A page that nobody opened may be well-formed and still be empty.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use reports::html;

use crate::{ci, samples};

/// What a browser made of a page.
struct Opened {
    /// The document after everything in it was loaded.
    dom: String,
    /// What it had to say on its console: errors, refusals of the page's own policy, anything.
    console: Vec<String>,
}

/// The first browser of these names that there is. A gate without one must not pass for one with it.
fn browser() -> Option<PathBuf> {
    const NAMES: [&str; 5] =
        ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome"];
    let folders: Vec<PathBuf> = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
    let found = NAMES
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|path| path.is_file());
    assert!(found.is_some() || env::var_os("CI").is_none(), "CI needs one of {NAMES:?}");
    found
}

/// A folder of the test's own.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("drainproof-browser-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _kept = fs::remove_dir_all(&self.0);
    }
}

fn open(browser: &Path, folder: &Folder, page: &str) -> Opened {
    let file = folder.0.join("page.html");
    fs::write(&file, page).unwrap();
    // A browser that hangs is one that does not open the page.
    let mut command = Command::new("timeout");
    command.arg("60").arg(browser);
    // Its sandbox cannot be had by root, nor in most containers, and the pages are our own.
    command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
    command.args(["--enable-logging=stderr", "--v=0", "--no-first-run", "--dump-dom"]);
    command.arg(format!("--user-data-dir={}", folder.0.join("profile").display()));
    command.arg(format!("file://{}", file.display())).stdin(Stdio::null());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", browser.display());
    Opened {
        dom: String::from_utf8(output.stdout).unwrap(),
        console: said.lines().filter(|line| line.contains(":CONSOLE")).map(str::to_owned).collect(),
    }
}

#[test]
fn a_browser_opens_every_report_and_has_nothing_to_complain_of() {
    let Some(browser) = browser() else {
        return crate::passed_over("there is no Chromium to open the reports in");
    };
    let folder = Folder::new("reports");
    for report in samples::all().into_iter().chain([ci::hostile()]) {
        let page = html(&report);
        let opened = open(&browser, &folder, &page);
        assert_eq!(opened.console, Vec::<String>::new(), "{}", report.run.scenario);
        // Its parser closed nothing early and moved nothing about: what stood in the page stands there still.
        for part in ["<header", "<table", "<footer"] {
            assert!(opened.dom.contains(part), "{part} {}", opened.dom);
        }
        for shape in ["<circle ", "<rect ", "<line ", "<td"] {
            assert_eq!(opened.dom.matches(shape).count(), page.matches(shape).count(), "{shape}");
        }
    }
}

#[test]
fn what_a_browser_complains_of_is_found() {
    let Some(browser) = browser() else {
        return crate::passed_over("there is no Chromium to be heard complaining");
    };
    let folder = Folder::new("planted");
    let clean = html(&samples::fail());
    // Without the policy a script runs, and its error is heard …
    let lawless = clean.replace("http-equiv=\"Content-Security-Policy\"", "name=\"none\"");
    let planted = lawless.replace("</body>", "<script>console.error('planted'); nowhere();</script></body>");
    let console = open(&browser, &folder, &planted).console.join("\n");
    assert!(console.contains("planted") && console.contains("nowhere is not defined"), "{console}");
    // … with it neither script nor image gets that far, and that is heard as well.
    for planted in ["<script>document.title = ''</script>", "<img src=\"http://127.0.0.1:9/x.png\">"] {
        let page = clean.replace("</body>", &format!("{planted}</body>"));
        let console = open(&browser, &folder, &page).console.join("\n");
        assert!(console.contains("Content Security Policy"), "{planted}: {console}");
    }
}
