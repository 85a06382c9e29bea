//! Real processes, real sockets: what a client and a kubelet see of the server.

#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test fail the test")]

mod client;
mod drain;
mod h2;
mod hook;
mod pod;
mod sigterm;
mod start;
