//! The engine against a server that plants faults for an exact, logged set of requests: the log is the oracle.
#![cfg(test)] // For the lints, which take helpers for test code only where it says so.

mod bounds;
mod exhausted;
mod fault_server;
mod h2;
mod h2_server;
mod kept;
mod planted;
mod pooled;
mod rested;
mod routes;
mod support;
mod tls;
mod tls_server;
