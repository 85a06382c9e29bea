//! Renderers, over sample reports.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do; the lints' exemption reaches test functions only"
)]

mod browser;
mod builder;
mod ci;
mod comparison;
mod document;
mod samples;
mod schema;
mod strict;
mod text;

/// Says on stderr, whatever the harness keeps to itself, that a test could not take place here.
fn passed_over(why: &str) {
    use std::io::Write;
    let _unread = writeln!(std::io::stderr().lock(), "passed over: {why}");
}
