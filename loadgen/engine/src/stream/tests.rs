use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream as Peer};
use std::time::Duration;

use nix::errno::Errno;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

async fn connected() -> (NotingStream, Rc<Notes>, Peer) {
    connected_over(Duration::ZERO).await
}

async fn connected_over(one_way: Duration) -> (NotingStream, Rc<Notes>, Peer) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let notes = Notes::new(Clock::start().0, false);
    (NotingStream::new(tcp, one_way, true, Rc::clone(&notes)), notes, listener.accept().unwrap().0)
}

fn reset(peer: &Peer) {
    SockRef::from(peer).set_linger(Some(Duration::ZERO)).unwrap();
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_not_written_to() {
    type End = fn(Peer) -> Option<Peer>;
    let ends: [End; 3] = [
        |_fin| None,
        |peer| {
            reset(&peer);
            None
        },
        |mut peer| {
            peer.write_all(b"HTTP/1.1 408 Request Timeout").unwrap();
            Some(peer)
        },
    ];
    for end in ends {
        let (mut stream, notes, peer) = connected().await;
        let _open = end(peer);
        notes.begin(Kept::Yes, true);
        assert!(stream.write_all(b"GET").await.is_err());
        assert!(notes.stale.get());
        assert_eq!((notes.written.get(), notes.write_errno.get()), (0, 0));
    }
}

#[tokio::test]
async fn a_kept_connection_that_is_open_carries_the_request() {
    let (mut stream, notes, mut peer) = connected().await;
    notes.begin(Kept::Yes, true);
    stream.write_all(b"GET").await.unwrap();
    assert!(!notes.stale.get() && notes.written.get() == 3);
    let mut got = [0; 3];
    peer.read_exact(&mut got).unwrap();
    peer.write_all(b"ok").unwrap();
    stream.read_exact(&mut got[..2]).await.unwrap();
    assert!(notes.last_write.get() <= notes.first_read.get() && notes.first_read.get().is_some());
}

/// The kernel begins to stamp a moment after it was first asked to: whenever its own work queue comes to it.
async fn stamping() -> (NotingStream, Rc<Notes>, Peer) {
    let (mut stream, notes, mut peer) = connected().await;
    let asked = notes.clock.now();
    while notes.clock.now().saturating_since(asked) < Duration::from_secs(10) {
        peer.write_all(b"a").unwrap();
        stream.read_exact(&mut [0]).await.unwrap();
        if notes.arrival.get().is_some() {
            return (stream, notes, peer);
        }
        std::thread::yield_now();
    }
    panic!("the kernel stamps nothing that it receives");
}

#[tokio::test]
async fn an_answer_came_when_the_kernel_had_it_but_not_long_before_it_was_read() {
    let (mut stream, notes, mut peer) = stamping().await;
    notes.begin(Kept::Yes, false);
    stream.write_all(b"GET").await.unwrap();
    peer.write_all(b"answer").unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let read = notes.clock.now();
    stream.read_exact(&mut [0; 6]).await.unwrap();
    let (first, last) = (notes.first_read.get().unwrap(), notes.last_read.get().unwrap());
    assert!(notes.last_write.get() <= Some(first) && first <= last);
    // Here it came 50 ms ago. Had a segment been lost, it might have come just now, with a stamp as old.
    assert!(last >= read.saturating_before(STAMP_REACH), "{:?} before", read.saturating_since(last));
    assert!(last < notes.clock.now().saturating_before(STAMP_REACH * 9 / 10), "as late as it was read");
}

#[tokio::test]
async fn times_of_an_answer_go_one_way_whatever_the_stamps_do() {
    let (_stream, notes, _peer) = stamping().await;
    notes.begin(Kept::Yes, false);
    let sent = notes.clock.now();
    notes.note_write(3, 3);
    for stamp in [None, Some(sent), None, Some(Stamp::ZERO)] {
        let before = notes.last_read.get();
        notes.arrival.set(stamp);
        notes.note_answer(1);
        let (first, last) = (notes.first_read.get(), notes.last_read.get());
        assert!(before <= last && notes.last_write.get() <= first && first <= last, "{stamp:?}");
    }
}

#[tokio::test]
async fn what_was_read_ahead_has_no_stamp_of_something_earlier() {
    let (mut stream, notes, mut peer) = stamping().await;
    notes.begin(Kept::Yes, false);
    stream.write_all(b"GET").await.unwrap();
    let sent = notes.clock.now();
    peer.write_all(b"answer").unwrap();
    poll_fn(|cx| {
        stream.read_ahead(cx, 6);
        if stream.ahead.len() == 6 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    stream.read_exact(&mut [0; 6]).await.unwrap();
    assert!(notes.arrival() >= sent);
}

#[tokio::test]
async fn what_fails_after_the_end_was_read_says_nothing_new() {
    for linger in [Some(Duration::ZERO), None] {
        let (mut stream, notes, peer) = connected().await;
        notes.begin(Kept::No, true);
        stream.write_all(b"GET").await.unwrap();
        SockRef::from(&peer).set_linger(linger).unwrap();
        drop(peer);
        let mut got = Vec::new();
        let _reset = stream.read_to_end(&mut got).await;
        // A write after the peer's RST fails with EPIPE, which would pass for the cause.
        for _ in 0..3 {
            stream.write_all(b"more").await.expect("hidden");
        }
        assert_eq!(notes.write_errno.get(), 0);
        assert!(notes.read_errno.get() == Errno::ECONNRESET as i32 && notes.write_blocked.get());
    }
}

#[tokio::test]
async fn a_failed_write_is_noted_and_what_had_arrived_is_still_read() {
    let (mut stream, notes, mut peer) = connected().await;
    peer.write_all(b"HTTP/1.1 413").unwrap();
    reset(&peer);
    drop(peer);
    notes.begin(Kept::No, true);
    stream.write_all(b"POST").await.expect("hidden");
    assert!([Errno::EPIPE as i32, Errno::ECONNRESET as i32].contains(&notes.write_errno.get()));
    assert_eq!((notes.written.get(), notes.closed_before_write.get()), (0, false));
    let mut got = Vec::new();
    let _end = stream.read_to_end(&mut got).await;
    assert_eq!(got, b"HTTP/1.1 413");
}

const ONE_WAY: Duration = Duration::from_millis(40);

#[tokio::test]
async fn over_a_distance_each_direction_takes_its_time_and_nothing_is_lost_or_reordered() {
    let (mut stream, notes, mut peer) = connected_over(ONE_WAY).await;
    notes.begin(Kept::Yes, true);
    let sent: Vec<u8> = (0..3 << 20).map(|byte: u32| byte.to_le_bytes()[0]).collect();
    let (clock, expected) = (Clock::start().0, sent.clone());
    let began = clock.now();
    let echo = std::thread::spawn(move || {
        let mut got = vec![0; expected.len()];
        peer.read_exact(&mut got[..1]).unwrap();
        let first = clock.now();
        peer.read_exact(&mut got[1..]).unwrap();
        assert!(got == expected);
        peer.write_all(&got[..100_000]).unwrap();
        first
    });
    stream.write_all(&sent).await.unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).await.unwrap();
    assert!(back == sent[..100_000]);
    assert!(echo.join().unwrap() >= began + ONE_WAY);
    assert!(clock.now() >= began + ONE_WAY * 2);
    assert!(notes.eof.get());
}

#[tokio::test]
async fn a_request_crosses_a_close_that_has_not_come_yet_and_one_that_has_is_seen() {
    for linger in [None, Some(Duration::ZERO)] {
        let (mut stream, notes, peer) = connected_over(ONE_WAY).await;
        SockRef::from(&peer).set_linger(linger).unwrap();
        drop(peer);
        notes.begin(Kept::Yes, true);
        // The kernel knows of the close by now, and the client does not.
        stream.write_all(b"GET").await.unwrap();
        assert!(notes.written.get() == 3 && !notes.is_over());
        let end = stream.read(&mut [0]).await;
        assert_eq!(end.is_err(), linger.is_some());
        notes.begin(Kept::Yes, true);
        assert!(stream.write_all(b"GET").await.is_err());
        assert!(notes.stale.get() && notes.written.get() == 0);
    }
}

#[tokio::test]
async fn what_was_written_before_the_shutdown_arrives_before_it() {
    let (mut stream, notes, mut peer) = connected_over(ONE_WAY).await;
    notes.begin(Kept::No, true);
    stream.write_all(b"GET").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut got = Vec::new();
    peer.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"GET");
}
