//! Small indices. Names live once, in the plan or in the event that introduced them.

use serde::{Deserialize, Serialize};

macro_rules! index {
    ($(#[$meta:meta])* $name:ident($inner:ty)) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);
    };
}

index! {
    /// A pod of an arm, in order of creation.
    PodId(u16)
}
index! {
    /// A virtual or real node, in the order of the backend's list.
    NodeId(u8)
}
index! {
    /// A lane of the arm's load plan.
    LaneId(u8)
}
index! {
    /// An arm of the plan.
    ArmId(u16)
}

impl PodId {
    /// "No pod known", in a record.
    pub const NONE: Self = Self(u16::MAX);

    /// `None` for [`PodId::NONE`].
    #[must_use]
    pub fn known(self) -> Option<Self> {
        (self != Self::NONE).then_some(self)
    }
}
