//! The pure core of drainproof: what a run is, and what its recording means.
//!
//! Nothing here opens a file, reads a clock, or draws an unseeded random number: the same input gives the same
//! bytes, today and next year. Shells around it (engine, clusters, recorder) do the outside work.
//!
//! * [`time`], [`id`]: stamps and small indices that everything else is written in
//! * [`settings`]: validated workload, load and limits, under Kubernetes' own names
//! * [`scenario`]: YAML in, settings out, or an error with line and column
//! * [`plan`]: every arm of a run, resolved
//! * [`arrival`]: when each slot of a lane is due
//! * [`routing`]: the immutable table that a virtual node consults for each new connection
//! * [`event`], [`record`]: what happened, and what became of each slot
//! * [`recording`]: the header, and how parts are encoded
//! * [`report`]: the document that every format renders
//! * [`analysis`], [`verdict`], [`statistics`]: from a recording to that document
//! * [`compare`]: whether one such document is worse than another

pub mod analysis;
pub mod arrival;
pub mod compare;
pub mod event;
pub mod id;
pub mod plan;
pub mod record;
pub mod recording;
pub mod report;
pub mod routing;
pub mod scenario;
pub mod settings;
pub mod statistics;
pub mod time;
pub mod verdict;
