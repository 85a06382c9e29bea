//! The open-loop load engine: one schedule slot, one record, never a retry.
//!
//! The schedule says when a request is due; it goes out then, whatever became of those before it, and its latency
//! counts from then. The engine knows nothing of clusters: a [`Route`] says where a new connection goes.
//!
//! * `engine`: the handle, [`Engine`]; a thread of its own
//! * `pacer`, `timer`: every slot released when it is due
//! * `passes`: or several together, where that saves more than it costs
//! * `worker`: what the tasks share; a due slot is given to a task, and closed loops go round
//! * `hand`: those tasks, and the end of their patience
//! * `attempt`: the work on one slot, to its one record
//! * `lane`, `pool`, `request`: kept connections, used in turn, and what is sent on them
//! * `connection`, `http1`, `stream`: HTTP/1 over a stream that notes what the kernel said
//! * `head`: what is taken from an answer's head, whatever protocol it came by
//! * `secure`: TLS between the two
//! * `multiplexed`, `shared`, `frames`: the same for HTTP/2, by stream
//! * `pooled`: an ordinary client beside ours, which may send again
//! * `classify`: pure; from those notes to the classes of a record
//! * `sink`, `progress`: records out, without ever waiting; counters for a live line
//!
//! Invariants: for each lane, slots scheduled = records handed over + rows counted as overflowed. A request of which a
//! byte was written, or was tried to be written, is never sent again (but by lane `pooled`). A slot waits for a free
//! connection only as long as the engine itself is what keeps it from being free.

mod attempt;
mod beats;
mod classify;
mod connection;
mod engine;
mod error;
mod frames;
mod hand;
mod head;
mod http1;
mod lane;
mod multiplexed;
mod pacer;
mod passes;
mod pool;
mod pooled;
mod progress;
mod request;
mod route;
mod secure;
mod shared;
mod sink;
mod stream;
mod timer;
mod turn;
mod worker;

pub use engine::{Engine, EngineConfig, LaneSummary, Summary, check};
pub use error::EngineError;
pub use progress::Progress;
pub use route::{Direct, Named, Pick, Route};
pub use secure::authorities;
