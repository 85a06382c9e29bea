//! Which connections are kept, told by how many there were.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use trial::record::{Class, Record};
use trial::settings::LaneKind;

use crate::support::{Run, lane, listen, load, to};

/// The records of 50 requests, one after the other, that were answered so, and the connections that it took.
fn answered(answer: &'static str) -> (Vec<Record>, u64) {
    let (address, _) = listen(move |mut stream| async move {
        let mut request = [0; 1024];
        while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    });
    let mut one = lane(LaneKind::Reused, 100.0);
    one.connections = 1;
    let (records, summary) = Run::start(load(vec![one]), to(address)).finish(Duration::from_millis(500));
    (records, summary.lanes[0].connections_opened)
}

#[test]
fn a_connection_is_kept_after_an_answer_in_order() {
    let (records, opened) = answered("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert!(records.iter().all(|record| record.class == Class::None));
    assert!(opened < 10, "{opened} connections for {} requests", records.len());
}

#[test]
fn it_is_not_kept_where_more_came_than_was_asked_for_or_where_it_is_http_no_more() {
    let answers = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 408 Request Timeout\r\n\r\n", Class::None),
        ("HTTP/1.1 204 No Content\r\n\r\nwhat nobody asked for", Class::None),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", Class::None),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            Class::StatusUnexpected,
        ),
    ];
    for (answer, class) in answers {
        let (records, opened) = answered(answer);
        assert!(records.iter().all(|record| record.class == class), "{answer:?}: {records:?}");
        assert_eq!(opened, records.len() as u64, "{answer:?}");
    }
}
