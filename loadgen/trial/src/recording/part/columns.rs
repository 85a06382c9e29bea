//! The fields of a record as columns: names, widths, how to get and set them. Both formats follow this table.

use super::PartError;
use crate::id::{LaneId, NodeId, PodId};
use crate::record::{Class, Flags, Record, Stage};
use crate::time::Stamp;

/// A field of 64 bits.
pub(super) struct Wide {
    #[cfg_attr(not(feature = "parquet"), expect(dead_code, reason = "rows have no names"))]
    pub(super) name: &'static str,
    pub(super) get: fn(&Record) -> u64,
    pub(super) set: fn(&mut Record, u64),
}

/// A field of 32 bits or fewer.
pub(super) struct Narrow {
    pub(super) name: &'static str,
    pub(super) bits: u8,
    #[cfg_attr(not(feature = "parquet"), expect(dead_code, reason = "rows keep the value as it is"))]
    /// The value that stands for "not observed"; the column is nullable where there is one.
    pub(super) absent: Option<u32>,
    #[cfg(any(test, not(feature = "parquet")))]
    pub(super) get: fn(&Record) -> u32,
    #[cfg(any(test, not(feature = "parquet")))]
    set: fn(&mut Record, u32) -> Option<()>,
    /// Of many records, one after the other: so they are read in a loop and not by a call each.
    #[cfg(feature = "parquet")]
    pub(super) get_all: fn(&[Record]) -> Vec<i32>,
    #[cfg(feature = "parquet")]
    set_all: fn(&mut [Record], &[i32]) -> Result<(), u32>,
}

impl Narrow {
    /// Sets the field, if the value is one of it.
    #[cfg(any(test, not(feature = "parquet")))]
    pub(super) fn set(&self, record: &mut Record, value: u32) -> Result<(), PartError> {
        (self.set)(record, value).ok_or_else(|| self.foreign(value))
    }

    /// Sets the field of as many records as there are values, if these are values of it.
    #[cfg(feature = "parquet")]
    pub(super) fn set_all(&self, records: &mut [Record], values: &[i32]) -> Result<(), PartError> {
        (self.set_all)(records, values).map_err(|value| self.foreign(value))
    }

    fn foreign(&self, value: u32) -> PartError {
        PartError::Value { column: self.name, value: u64::from(value) }
    }
}

pub(super) const WIDE: [Wide; 2] = [
    Wide { name: "slot", get: |record| record.slot, set: |record, value| record.slot = value },
    Wide {
        name: "intended",
        get: |record| record.intended.as_nanos(),
        set: |record, value| record.intended = Stamp::from_nanos(value),
    },
];

/// A column: name, bits, sentinel, then the field as a number and how a number becomes the field.
macro_rules! narrow {
    ($($field:ident: $bits:literal, $absent:expr, |$r:ident| $get:expr, |$v:ident| $set:expr;)+) => {
        [$(Narrow {
            name: stringify!($field),
            bits: $bits,
            absent: $absent,
            #[cfg(any(test, not(feature = "parquet")))]
            get: |$r| $get,
            #[cfg(any(test, not(feature = "parquet")))]
            set: |record, $v| {
                record.$field = $set?;
                Some(())
            },
            #[cfg(feature = "parquet")]
            get_all: |records| {
                let get = |$r: &Record| -> u32 { $get };
                records.iter().map(|record| get(record).cast_signed()).collect()
            },
            #[cfg(feature = "parquet")]
            set_all: |records, values| {
                for (record, value) in records.iter_mut().zip(values) {
                    let $v: u32 = value.cast_unsigned();
                    record.$field = $set.ok_or($v)?;
                }
                Ok(())
            },
        }),+]
    };
}

const UNSEEN: Option<u32> = Some(Record::UNSEEN);

pub(super) const NARROW: [Narrow; 19] = narrow! {
    start: 32, UNSEEN, |r| r.start, |v| Some(v);
    write_done: 32, UNSEEN, |r| r.write_done, |v| Some(v);
    first_byte: 32, UNSEEN, |r| r.first_byte, |v| Some(v);
    end: 32, UNSEEN, |r| r.end, |v| Some(v);
    conn: 32, None, |r| r.conn, |v| Some(v);
    nth: 32, None, |r| r.nth, |v| Some(v);
    bytes_in: 32, None, |r| r.bytes_in, |v| Some(v);
    pod: 16, Some(PodId::NONE.0 as u32), |r| u32::from(r.pod.0), |v| v.try_into().ok().map(PodId);
    status: 16, None, |r| u32::from(r.status), |v| v.try_into().ok();
    os_code: 16, None, |r| u32::from(r.os_code), |v| v.try_into().ok();
    class: 8, None, |r| u32::from(r.class.code()), |v| v.try_into().ok().and_then(Class::from_code);
    stage: 8, None, |r| u32::from(r.stage.code()), |v| v.try_into().ok().and_then(Stage::from_code);
    flags: 16, None, |r| u32::from(r.flags.0), |v| v.try_into().ok().map(Flags);
    agent: 8, None, |r| u32::from(r.agent), |v| v.try_into().ok();
    worker: 8, None, |r| u32::from(r.worker), |v| v.try_into().ok();
    lane: 8, None, |r| u32::from(r.lane.0), |v| v.try_into().ok().map(LaneId);
    node: 8, None, |r| u32::from(r.node.0), |v| v.try_into().ok().map(NodeId);
    pod_state: 16, None, |r| u32::from(r.pod_state), |v| v.try_into().ok();
    sequence: 32, None, |r| r.sequence, |v| Some(v);
};

/// A record to fill.
pub(super) const fn blank() -> Record {
    Record::due(0, Stamp::ZERO, LaneId(0))
}
