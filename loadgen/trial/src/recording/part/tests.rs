use bytes::Bytes;
use proptest::prelude::*;

use super::columns::{NARROW, WIDE, blank};
use super::*;
use crate::id::PodId;
use crate::record::Class;

type Codec = (fn(&[Record]) -> Result<Vec<u8>, PartError>, fn(Bytes) -> Result<Vec<Record>, PartError>);

fn codecs() -> Vec<Codec> {
    vec![(|records| encode(records, || {}), decode), (|records| rows::encode(records, || {}), rows::decode)]
}

/// Any record that the types allow, sentinels included.
fn any_record() -> impl Strategy<Value = Record> {
    let numbers =
        proptest::collection::vec(prop_oneof![any::<u32>(), Just(u32::MAX), 0u32..40], NARROW.len());
    (any::<[u64; 2]>(), numbers).prop_map(|(wide, narrow)| {
        let mut record = blank();
        for (column, value) in WIDE.iter().zip(wide) {
            (column.set)(&mut record, value);
        }
        for (column, value) in NARROW.iter().zip(narrow) {
            let fitting = if column.bits == 32 { value } else { value & ((1 << column.bits) - 1) };
            // Codes of classes and stages have gaps: those stay as they are.
            let _ = column.set(&mut record, fitting);
        }
        record
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn records_survive(records in proptest::collection::vec(any_record(), 0..50)) {
        for (encode, decode) in codecs() {
            prop_assert_eq!(&decode(encode(&records).unwrap().into()).unwrap(), &records);
        }
    }

    #[test]
    fn any_changed_byte_is_found(records in proptest::collection::vec(any_record(), 1..8), at: prop::sample::Index, to in 1u8..) {
        for (encode, decode) in codecs() {
            let mut bytes = encode(&records).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= to;
            prop_assert!(decode(bytes.into()).is_err(), "byte {}", at);
        }
    }

    #[test]
    fn foreign_bytes_are_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for (_, decode) in codecs() {
            prop_assert!(decode(bytes.clone().into()).is_err());
        }
    }
}

/// Longer than a page of the library's, and than a block of ours; what was not observed comes in runs, and by itself.
#[test]
fn a_long_part_survives() {
    let rows = 50_007;
    let mut random = fastrand::Rng::with_seed(7);
    let records: Vec<_> = (0..rows)
        .map(|slot| {
            let mut record = blank();
            record.slot = slot;
            let observed = slot % 3000 > 1000 && (slot > 20_000 || slot % 7 > 0);
            if observed {
                record.start = random.u32(..1000);
                record.end = random.u32(1000..);
            }
            record.status = if observed { 200 } else { 0 };
            record.conn = random.u32(1..50);
            record.pod = if slot % 5 > 0 { PodId(random.u16(..3)) } else { PodId::NONE };
            record.class = if observed { Class::None } else { Class::ConnectRefused };
            record.sequence = random.u32(..);
            record
        })
        .collect();
    for (encode, decode) in codecs() {
        assert_eq!(decode(encode(&records).unwrap().into()).unwrap(), records);
    }
}

#[test]
fn pauses_come_every_few_thousand_values_and_change_nothing() {
    let records: Vec<_> = (0..10_000).map(|slot| Record { slot, ..blank() }).collect();
    let mut pauses = 0;
    let bytes = encode(&records, || pauses += 1).unwrap();
    assert_eq!(bytes, encode(&records, || {}).unwrap());
    assert_eq!(pauses, (WIDE.len() + NARROW.len()) * 3, "each column in three pieces");
    pauses = 0;
    rows::encode(&records, || pauses += 1).unwrap();
    assert_eq!(pauses, 40);
}

#[test]
fn a_part_cut_anywhere_is_an_error() {
    for (encode, decode) in codecs() {
        let bytes = Bytes::from(encode(&[blank(); 3]).unwrap());
        for end in 0..bytes.len() {
            assert!(decode(bytes.slice(..end)).is_err(), "cut at {end}");
        }
    }
}

#[test]
fn an_unknown_class_is_an_error_that_names_the_column() {
    let mut bytes = rows::encode(&[blank()], || {}).unwrap();
    let header = bytes.len() - 64;
    bytes[header + 50] = 77;
    seal(&mut bytes, header - 16);
    let error = rows::decode(bytes.into()).unwrap_err().to_string();
    assert!(error.contains("`class`") && error.contains("77"), "{error}");
}

#[test]
#[cfg(feature = "parquet")]
fn other_tools_find_one_column_a_field_with_its_name_and_unsigned_type() {
    use ::parquet::basic::LogicalType;
    use ::parquet::file::reader::{FileReader, SerializedFileReader};

    let file = SerializedFileReader::new(Bytes::from(encode(&[blank()], || {}).unwrap())).unwrap();
    let schema = file.metadata().file_metadata().schema_descr();
    let names: Vec<_> = schema.columns().iter().map(|column| column.name()).collect();
    let fields = "slot intended start write_done first_byte end conn nth bytes_in pod status os_code class stage \
                  flags agent worker lane node pod_state sequence";
    assert_eq!(names, fields.split(' ').collect::<Vec<_>>());
    assert_eq!(schema.column(10).logical_type_ref(), Some(&LogicalType::integer(16, false)));
    // Nothing was observed of a slot that was only due.
    let row = file.get_row_iter(None).unwrap().next().unwrap().unwrap();
    assert!(row.to_string().contains("first_byte: null"), "{row}");
}

#[test]
#[cfg(feature = "parquet")]
fn a_row_takes_few_bytes() {
    let records: Vec<_> = (0..100_000_u64)
        .map(|slot| {
            let mut record =
                Record::due(slot, crate::time::Stamp::from_nanos(slot * 3_333_333), crate::id::LaneId(0));
            // Offsets that look random, as measured ones do.
            let noise = u32::try_from(slot.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54).unwrap();
            (record.start, record.write_done) = (noise, noise + noise % 97);
            (record.first_byte, record.end) = (noise * 3, noise * 3 + noise % 50);
            (record.conn, record.nth) = (u32::try_from(slot).unwrap(), 1);
            record
        })
        .collect();
    let bytes = encode(&records, || {}).unwrap().len();
    assert!(bytes < records.len() * 16, "{bytes} bytes for {} rows", records.len());
}
