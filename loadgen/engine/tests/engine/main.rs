//! The engine against a server that plants faults for an exact, logged set of requests: the log is the oracle.

mod bounds;
mod fault_server;
mod planted;
mod routes;
mod support;
