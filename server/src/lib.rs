//! The pod under test: an HTTP server whose preStop, SIGTERM and drain behaviour is configurable and reported.
//!
//! It tells its life on standard output, one lifecycle line an event ([`contract::lifecycle`]), and in a header of
//! every answer. It knows nothing of tests or verdicts.
//!
//! * [`cli`]: the flags and the two entry points, [`cli::run`] and [`cli::hook`], for any binary that embeds us
//! * [`config`]: raw flags, turned into validated settings
//! * [`lifecycle`]: the PURE state machine that decides what SIGTERM leads to
//! * `shell`: the one loop of the process: feeds the machine and does what it says
//! * `accept`, `stream`, `connection`: from the kernel's accept queue to a clean close
//! * `pod`: what all connections share: phase, load, lifecycle lines
//! * `routes` and `layers`: what is answered, and what every answer has
//! * `poll`: `pollWhileDraining`
//! * [`hook`], [`announce`], `stamp`: hook programs, lifecycle lines, clocks
//!
//! Invariants:
//! 1. Only [`lifecycle::Lifecycle`] decides phases; only `shell` feeds it, so the order of events is one order.
//! 2. With `closeConnections` the server never ends a connection on which no answer announced it, before the drain
//!    timeout; without it, it does what hyper's own graceful shutdown does.
//! 3. A connection that an announced close ends is half-closed and read to its end, so an answer is never reset.
//! 4. Every limit is explicit and has a flag: header and body bytes, connections, time for a request to arrive.

pub mod announce;
pub mod cli;
pub mod config;
pub mod hook;
pub mod lifecycle;

mod accept;
mod api_server;
mod connection;
mod layers;
mod pod;
mod poll;
mod routes;
mod shell;
mod stamp;
mod stream;
mod wrap;
