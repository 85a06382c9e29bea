//! Renderers, over sample reports.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do; the lints' exemption reaches test functions only"
)]

mod builder;
mod ci;
mod document;
mod samples;
mod schema;
mod strict;
mod text;
