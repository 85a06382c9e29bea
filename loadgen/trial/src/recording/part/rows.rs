//! Plain rows: a magic header, then 64 bytes a record, little-endian, in the order of the record's fields.

use bytes::Bytes;

use super::columns::{NARROW, WIDE, blank};
use super::{PartError, ROWS_MAX, check_seal, seal};
use crate::record::Record;
use crate::recording::FORMAT_MAJOR;

#[cfg(not(feature = "parquet"))]
pub(super) const EXTENSION: &str = "rows";

const MAGIC: [u8; 8] = *b"DRAINROW";
const ROW: usize = 64;
/// Records that are written in one go.
const PIECE: usize = 256;
/// Magic, major version, padding, checksum.
const HEADER: usize = 8 + 4 + 4 + 16;

#[expect(clippy::unnecessary_wraps, reason = "the other format can fail here")]
pub(super) fn encode(records: &[Record], mut pause: impl FnMut()) -> Result<Vec<u8>, PartError> {
    let mut bytes = Vec::with_capacity(HEADER + records.len() * ROW);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&FORMAT_MAJOR.to_le_bytes());
    bytes.extend_from_slice(&[b'0'; 20]);
    for records in records.chunks(PIECE) {
        for record in records {
            for column in &WIDE {
                bytes.extend_from_slice(&(column.get)(record).to_le_bytes());
            }
            for column in &NARROW {
                let width = usize::from(column.bits / 8);
                bytes.extend(&(column.get)(record).to_le_bytes()[..width]);
            }
        }
        pause();
    }
    seal(&mut bytes, HEADER - 16);
    Ok(bytes)
}

#[expect(clippy::needless_pass_by_value, reason = "the other format keeps the bytes")]
pub(super) fn decode(bytes: Bytes) -> Result<Vec<Record>, PartError> {
    let rows = bytes
        .strip_prefix(&MAGIC)
        .and_then(|rest| rest.get(HEADER - 8..))
        .ok_or(PartError::Foreign { reason: "it does not begin as the rows of this tool do" })?;
    check_seal(&bytes, HEADER - 16)?;
    let major = little(&bytes[8..12]);
    if major != u64::from(FORMAT_MAJOR) {
        return Err(PartError::Version { major: u32::try_from(major).unwrap_or(u32::MAX) });
    }
    let count = (rows.len() / ROW) as u64;
    if count > ROWS_MAX {
        return Err(PartError::TooLong { rows: count });
    }
    rows.chunks(ROW).map(row).collect()
}

fn row(mut bytes: &[u8]) -> Result<Record, PartError> {
    let mut record = blank();
    let mut take = |width: usize| {
        let (field, rest) = bytes.split_at_checked(width).ok_or(PartError::Damaged)?;
        bytes = rest;
        Ok::<_, PartError>(little(field))
    };
    for column in &WIDE {
        (column.set)(&mut record, take(8)?);
    }
    for column in &NARROW {
        let value = take(usize::from(column.bits / 8))?;
        column.set(&mut record, u32::try_from(value).unwrap_or(u32::MAX))?;
    }
    Ok(record)
}

fn little(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}
