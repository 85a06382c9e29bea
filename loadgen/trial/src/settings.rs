//! Validated settings of one arm. `scenario` makes them from YAML; nothing else does.
//!
//! Names are Kubernetes' own for what is Kubernetes' own. Durations serialise as `5s`, `250ms`.
//!
//! * [`human`]: durations as people write them
//! * [`Workload`] and what belongs to it: what runs, and how it is stopped
//! * [`Load`] and what belongs to it: what is sent
//! * [`Disruption`], [`Local`], [`Settle`]: what is done to it, and where
//! * [`Expect`], [`Limits`]: what is accepted

mod disruption;
mod expect;
pub mod human;
mod load;
mod workload;

pub use disruption::*;
pub use expect::*;
pub use load::*;
pub use workload::*;
