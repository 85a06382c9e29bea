//! Records to the bytes of one part, and back.
//!
//! With the feature `parquet` a part is an ordinary Parquet file that any reader opens: one column a field of
//! [`Record`], null where nothing was observed, codes explained in the file's metadata. Without it a part is the
//! plain rows. Either way the bytes carry a checksum of themselves, so that damage is found before a parser sees it.

use bytes::Bytes;

use crate::record::Record;

#[cfg(feature = "parquet")]
mod columnar;
mod columns;
#[cfg(any(test, not(feature = "parquet")))]
mod rows;
#[cfg(test)]
mod tests;

#[cfg(feature = "parquet")]
use columnar as format;
#[cfg(not(feature = "parquet"))]
use rows as format;

/// What the name of a part's file ends in.
pub const EXTENSION: &str = format::EXTENSION;

/// More rows than this in one part are not read: a damaged or foreign file must not take all memory.
pub const ROWS_MAX: u64 = 64 << 20;

/// Why a part could not be written or read.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "fields are what the message says of them")]
pub enum PartError {
    /// The library's complaint.
    #[cfg(feature = "parquet")]
    #[error("encode or decode Parquet")]
    Parquet(#[from] ::parquet::errors::ParquetError),
    /// Not a part of ours.
    #[error("read a part of a recording: {reason}")]
    Foreign { reason: &'static str },
    /// Cut short, or bytes changed.
    #[error("read a part of a recording: its checksum does not match, the file is damaged or cut short")]
    Damaged,
    /// Another major version.
    #[error("read a part of format {major}: this version reads {}.x", super::FORMAT_MAJOR)]
    Version { major: u32 },
    /// Too many rows.
    #[error("read a part of {rows} rows: at most {ROWS_MAX} are read")]
    TooLong { rows: u64 },
    /// A column is missing or of another type.
    #[error("read column `{column}`: {reason}")]
    Column { column: &'static str, reason: &'static str },
    /// A value outside its range or code table.
    #[error("read column `{column}`: {value} is not a value of it")]
    Value { column: &'static str, value: u64 },
}

/// The bytes of a part. `pause` is called after every few thousand values, for whoever shares a core with somebody in a hurry and wants to
/// let others go first.
///
/// # Errors
/// The library's; memory is all that it needs.
pub fn encode(records: &[Record], pause: impl FnMut()) -> Result<Vec<u8>, PartError> {
    format::encode(records, pause)
}

/// The records of a part. Every code is validated.
///
/// # Errors
/// Damaged, cut, foreign, or too long.
pub fn decode(bytes: Bytes) -> Result<Vec<Record>, PartError> {
    format::decode(bytes)
}

/// Seals `bytes` with their checksum, in sixteen hexadecimal digits at `at` that count as zeroes.
fn seal(bytes: &mut [u8], at: usize) {
    let sum = format!("{:016x}", checksum(bytes, at));
    if let Some(place) = bytes.get_mut(at..at + 16) {
        place.copy_from_slice(sum.as_bytes());
    }
}

/// Whether the checksum at `at` is that of the bytes.
fn check_seal(bytes: &[u8], at: usize) -> Result<(), PartError> {
    let sum = format!("{:016x}", checksum(bytes, at));
    (bytes.get(at..at + 16) == Some(sum.as_bytes())).then_some(()).ok_or(PartError::Damaged)
}

/// FNV-1a, 64 bits: not against malice, but it finds every damage that a disk or a kill does.
fn checksum(bytes: &[u8], hole: usize) -> u64 {
    let step = |sum: u64, byte: u8| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let (head, rest) = bytes.split_at(hole.min(bytes.len()));
    let tail = rest.get(16..).unwrap_or_default();
    let start = head.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| step(sum, *byte));
    tail.iter().fold(step(start, 0), |sum, byte| step(sum, *byte))
}
