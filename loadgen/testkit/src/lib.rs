//! Planted faults as the oracle: what was done to which request is known exactly, so what the engine recorded can be
//! held against it.
//!
//! * `fault`: what can be done, and what the record must then say: the table's rows
//! * `lanes`: the table's columns, one line a lane
//! * `plan`, `log`: what is to be done to which request, by a seed; and what was done
//! * `server`, `http1`, `http2`, `route`: doing it
//! * `compare`: the log against the records
//! * `stall`: a server process that stands still for a while
//! * `row`, `table`: a fault in a lane, run and compared; and how the outcome is shown
//!
//! A request is known by the slot that it carries; where nothing could be read, the record's pod tells which connection
//! it was, since the route gives each connection a pod of its own.

mod compare;
mod fault;
mod http1;
mod http2;
mod lanes;
mod log;
mod plan;
mod route;
mod row;
mod server;
mod stall;
mod table;

pub use compare::{Tally, compare};
pub use fault::{By, Fault, GOOD, GOOD_HTTP2, HTTP1, HTTP2, Need, Outcome, Spec, Wire};
pub use lanes::{LANES, TestLane};
pub use log::{Log, Routed, Seen};
pub use plan::Plan;
pub use route::FaultRoute;
pub use row::{Pace, Row, RowError, row, specs};
pub use server::{Behaviour, Busy, FaultServer, LARGE_BODY};
pub use stall::{ServerProcess, Stall, Stalled, serve};
pub use table::{json, text};
