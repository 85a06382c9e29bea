//! Parquet, through the low-level writer: no arrow, one row group a part, zstd.

use std::sync::Arc;

use ::parquet::basic::{Compression, Encoding, LogicalType, Repetition, Type as Physical, ZstdLevel};
use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use ::parquet::data_type::{DataType, Int32Type, Int64Type};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::{FileMetaData, KeyValue};
use ::parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use ::parquet::file::reader::{FileReader, RowGroupReader};
use ::parquet::file::serialized_reader::SerializedFileReader;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::types::{Type, TypePtr};
use bytes::Bytes;

use super::columns::{NARROW, Narrow, WIDE, Wide, blank};
use super::{PartError, ROWS_MAX, check_seal, seal};
use crate::record::{Class, Record, Stage};
use crate::recording::{FORMAT_MAJOR, FORMAT_MINOR};

pub(super) const EXTENSION: &str = "parquet";

const MAJOR_KEY: &str = "drainproof.format_major";
/// In front of the checksum, inside a metadata value: found without parsing anything.
const SEAL: &[u8] = b"drainproof-checksum:";
/// Values of a column that are written in one go.
const PIECE: usize = 4096;
/// Rows of which some columns are read one after the other: few enough to stay in a cache meanwhile.
const BLOCK: usize = 512;
/// Columns whose readers are open at once. Each holds what it takes to decompress, half a megabyte or more.
const TOGETHER: usize = 7;
/// Readers look for metadata at the file's end; the seal is in it.
const FOOTER_MAX: usize = 1 << 20;

pub(super) fn encode(records: &[Record], mut pause: impl FnMut()) -> Result<Vec<u8>, PartError> {
    let mut writer = SerializedFileWriter::new(Vec::new(), schema()?, properties()?)?;
    let mut group = writer.next_row_group()?;
    for column in &WIDE {
        let mut out = group.next_column()?.ok_or_else(missing)?;
        for records in records.chunks(PIECE) {
            let values: Vec<i64> = records.iter().map(|record| (column.get)(record).cast_signed()).collect();
            out.typed::<Int64Type>().write_batch(&values, None, None)?;
            pause();
        }
        out.close()?;
    }
    for column in &NARROW {
        let mut out = group.next_column()?.ok_or_else(missing)?;
        for records in records.chunks(PIECE) {
            let (values, levels) = narrow_values(column, records);
            out.typed::<Int32Type>().write_batch(&values, levels.as_deref(), None)?;
            pause();
        }
        out.close()?;
    }
    group.close()?;
    let mut bytes = writer.into_inner()?;
    let at = seal_place(&bytes).ok_or_else(missing)?;
    seal(&mut bytes, at);
    Ok(bytes)
}

/// The values present, and for a nullable column which rows have one.
fn narrow_values(column: &Narrow, records: &[Record]) -> (Vec<i32>, Option<Vec<i16>>) {
    let mut values = (column.get_all)(records);
    let levels = column.absent.map(u32::cast_signed).map(|absent| {
        let levels = values.iter().map(|value| i16::from(*value != absent)).collect();
        values.retain(|value| *value != absent);
        levels
    });
    (values, levels)
}

pub(super) fn decode(bytes: Bytes) -> Result<Vec<Record>, PartError> {
    let at =
        seal_place(&bytes).ok_or(PartError::Foreign { reason: "it is not a whole part of this tool" })?;
    check_seal(&bytes, at)?;
    let reader = SerializedFileReader::new(bytes)?;
    let file = reader.metadata().file_metadata();
    check_major(file)?;
    let rows = u64::try_from(file.num_rows()).unwrap_or(u64::MAX);
    if rows > ROWS_MAX {
        return Err(PartError::TooLong { rows });
    }
    let mut records = Vec::new();
    for index in 0..reader.num_row_groups() {
        read_group(&*reader.get_row_group(index)?, &mut records)?;
    }
    Ok(records)
}

fn read_group(group: &dyn RowGroupReader, records: &mut Vec<Record>) -> Result<(), PartError> {
    let first = records.len();
    let rows = usize::try_from(group.metadata().num_rows()).map_err(|_| PartError::Damaged)?;
    if (first + rows) as u64 > ROWS_MAX {
        return Err(PartError::TooLong { rows: (first + rows) as u64 });
    }
    records.resize(first + rows, blank());
    for columns in WIDE.chunks(TOGETHER) {
        let mut readers =
            columns.iter().map(|column| WideReader::open(group, column)).collect::<Result<Vec<_>, _>>()?;
        for block in records[first..].chunks_mut(BLOCK) {
            readers.iter_mut().try_for_each(|reader| reader.read(block))?;
        }
    }
    for columns in NARROW.chunks(TOGETHER) {
        let mut readers =
            columns.iter().map(|column| NarrowReader::open(group, column)).collect::<Result<Vec<_>, _>>()?;
        for block in records[first..].chunks_mut(BLOCK) {
            readers.iter_mut().try_for_each(|reader| reader.read(block))?;
        }
    }
    Ok(())
}

/// A column that is being read, block by block.
struct WideReader {
    column: &'static Wide,
    reader: ColumnReaderImpl<Int64Type>,
    values: Vec<i64>,
}

impl WideReader {
    fn open(group: &dyn RowGroupReader, column: &'static Wide) -> Result<Self, PartError> {
        let ColumnReader::Int64ColumnReader(reader) = open(group, column.name)? else {
            return Err(PartError::Column { column: column.name, reason: "it is not of 64 bits" });
        };
        Ok(Self { column, reader, values: Vec::new() })
    }

    fn read(&mut self, records: &mut [Record]) -> Result<(), PartError> {
        self.values.clear();
        read(&mut self.reader, records.len(), self.column.name, (&mut self.values, &mut Vec::new()))?;
        if self.values.len() != records.len() {
            return Err(PartError::Damaged);
        }
        for (record, value) in records.iter_mut().zip(&self.values) {
            (self.column.set)(record, value.cast_unsigned());
        }
        Ok(())
    }
}

/// The same, of a column that may be nullable.
struct NarrowReader {
    column: &'static Narrow,
    reader: ColumnReaderImpl<Int32Type>,
    values: Vec<i32>,
    levels: Vec<i16>,
}

impl NarrowReader {
    fn open(group: &dyn RowGroupReader, column: &'static Narrow) -> Result<Self, PartError> {
        let ColumnReader::Int32ColumnReader(reader) = open(group, column.name)? else {
            return Err(PartError::Column { column: column.name, reason: "it is not of 32 bits" });
        };
        Ok(Self { column, reader, values: Vec::new(), levels: Vec::new() })
    }

    fn read(&mut self, records: &mut [Record]) -> Result<(), PartError> {
        self.values.clear();
        self.levels.clear();
        read(&mut self.reader, records.len(), self.column.name, (&mut self.values, &mut self.levels))?;
        if self.values.len() < records.len() {
            let absent = self.column.absent.ok_or(PartError::Damaged)?.cast_signed();
            let mut present = self.values.drain(..);
            let value = |level: &i16| if *level > 0 { present.next() } else { Some(absent) };
            let values: Option<Vec<_>> = self.levels.iter().map(value).collect();
            drop(present);
            self.values = values.filter(|values| values.len() == records.len()).ok_or(PartError::Damaged)?;
        }
        self.column.set_all(records, &self.values)
    }
}

/// The column of that name: by name, since a newer minor version may have added others.
fn open(group: &dyn RowGroupReader, column: &'static str) -> Result<ColumnReader, PartError> {
    let index = group
        .metadata()
        .columns()
        .iter()
        .position(|chunk| chunk.column_path().parts() == [column])
        .ok_or(PartError::Column { column, reason: "it is missing" })?;
    Ok(group.get_column_reader(index)?)
}

/// The values of the next so many rows, and the levels if the column is nullable.
fn read<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    rows: usize,
    column: &'static str,
    (values, levels): (&mut Vec<T::T>, &mut Vec<i16>),
) -> Result<(), PartError> {
    let mut read = 0;
    while read < rows {
        let (records, _, _) = reader.read_records(rows - read, Some(levels), None, values)?;
        if records == 0 {
            return Err(PartError::Column { column, reason: "it has fewer rows than the part" });
        }
        read += records;
    }
    Ok(())
}

fn check_major(file: &FileMetaData) -> Result<(), PartError> {
    let major = file
        .key_value_metadata()
        .and_then(|pairs| pairs.iter().find(|pair| pair.key == MAJOR_KEY))
        .and_then(|pair| pair.value.as_deref()?.parse().ok())
        .ok_or(PartError::Foreign { reason: "it does not say which format it is of" })?;
    if major == FORMAT_MAJOR { Ok(()) } else { Err(PartError::Version { major }) }
}

/// Where the checksum stands.
fn seal_place(bytes: &[u8]) -> Option<usize> {
    let from = bytes.len().saturating_sub(FOOTER_MAX);
    let at = bytes[from..].windows(SEAL.len()).rposition(|window| window == SEAL)?;
    Some(from + at + SEAL.len()).filter(|at| at + 16 <= bytes.len())
}

fn schema() -> Result<TypePtr, ParquetError> {
    let integer = |bits: u8| Some(LogicalType::integer(i8::try_from(bits).unwrap_or(i8::MAX), false));
    let wide = |column: &Wide| {
        Type::primitive_type_builder(column.name, Physical::INT64)
            .with_repetition(Repetition::REQUIRED)
            .with_logical_type(integer(64))
            .build()
            .map(Arc::new)
    };
    let narrow = |column: &Narrow| {
        let nullable = column.absent.is_some();
        Type::primitive_type_builder(column.name, Physical::INT32)
            .with_repetition(if nullable { Repetition::OPTIONAL } else { Repetition::REQUIRED })
            .with_logical_type(integer(column.bits))
            .build()
            .map(Arc::new)
    };
    let fields = WIDE.iter().map(wide).chain(NARROW.iter().map(narrow)).collect::<Result<Vec<_>, _>>()?;
    Type::group_type_builder("request").with_fields(fields).build().map(Arc::new)
}

fn properties() -> Result<WriterPropertiesPtr, ParquetError> {
    let codes = |pairs: Vec<(u8, &str)>| {
        let pairs: Vec<_> = pairs.into_iter().map(|(code, name)| format!("{code}={name}")).collect();
        pairs.join(" ")
    };
    let pair = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
    let metadata = vec![
        pair(MAJOR_KEY, FORMAT_MAJOR.to_string()),
        pair("drainproof.format_minor", FORMAT_MINOR.to_string()),
        pair("drainproof.units", "slot: index; intended: ns since the run's epoch; start, write_done, first_byte, end: 100 ns after intended".to_owned()),
        pair("drainproof.class", codes(Class::ALL.iter().map(|class| (class.code(), class.as_str())).collect())),
        pair("drainproof.stage", codes(Stage::ALL.iter().map(|stage| (stage.code(), stage.as_str())).collect())),
        pair("drainproof.checksum", format!("{}{}", String::from_utf8_lossy(SEAL), "0".repeat(16))),
    ];
    // Values are either close to the one before or nearly all the same, and packed differences serve both without the hash
    // of each value that a dictionary takes. Nobody searches a part by the extremes of its columns.
    let builder = WriterProperties::builder()
        .set_created_by(concat!("drainproof ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_dictionary_enabled(false)
        .set_encoding(Encoding::DELTA_BINARY_PACKED)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_offset_index_disabled(true)
        .set_key_value_metadata(Some(metadata));
    Ok(Arc::new(builder.build()))
}

fn missing() -> PartError {
    PartError::Foreign { reason: "the library left out a column" }
}
