use super::*;

const CONNECTED: Seen = Seen {
    securing: false,
    not_tls: false,
    connected: true,
    written: false,
    first_byte: false,
    head: false,
    eof: false,
    read_errno: 0,
    write_errno: 0,
};
const SECURING: Seen = Seen { securing: true, connected: false, ..CONNECTED };
const WAITING: Seen = Seen { written: true, ..CONNECTED };
const HEAD_BEGUN: Seen = Seen { first_byte: true, ..WAITING };
const BODY: Seen = Seen { head: true, ..HEAD_BEGUN };

const RESET: i32 = Errno::ECONNRESET as i32;
const PIPE: i32 = Errno::EPIPE as i32;
const TIMED_OUT: i32 = Errno::ETIMEDOUT as i32;

#[test]
fn every_way_to_end_has_its_class_and_stage() {
    let nothing = Seen::default();
    #[rustfmt::skip]
    let table = [
        (Ending::NotConnected(Errno::ECONNREFUSED as i32), nothing, Class::ConnectRefused, Stage::Connect, false),
        (Ending::NotSecured(RESET), SECURING, Class::Tls, Stage::Tls, false),
        (Ending::TimedOut, SECURING, Class::Tls, Stage::Tls, false),
        (Ending::Interrupted, SECURING, Class::Interrupted, Stage::Tls, false),
        (Ending::Cut, Seen { not_tls: true, ..WAITING }, Class::Tls, Stage::Wait, false),
        (Ending::Unparsable, Seen { not_tls: true, ..WAITING }, Class::Tls, Stage::Wait, false),
        (Ending::Cut, Seen { not_tls: true, eof: true, ..BODY }, Class::Tls, Stage::Body, false),
        (Ending::NotConnected(TIMED_OUT), nothing, Class::ConnectTimeout, Stage::Connect, false),
        (Ending::NotConnected(Errno::EHOSTUNREACH as i32), nothing, Class::ConnectUnreachable, Stage::Connect, false),
        (Ending::NotConnected(Errno::ENETUNREACH as i32), nothing, Class::ConnectUnreachable, Stage::Connect, false),
        (Ending::NotConnected(Errno::EADDRNOTAVAIL as i32), nothing, Class::ClientPorts, Stage::Connect, false),
        (Ending::NotConnected(Errno::EADDRINUSE as i32), nothing, Class::ClientPorts, Stage::Connect, false),
        (Ending::NotConnected(Errno::EMFILE as i32), nothing, Class::ClientFiles, Stage::Connect, false),
        (Ending::NotConnected(Errno::ENFILE as i32), nothing, Class::ClientFiles, Stage::Connect, false),
        (Ending::NotConnected(RESET), nothing, Class::WriteReset, Stage::Write, false),
        (Ending::TimedOut, nothing, Class::ConnectTimeout, Stage::Connect, false),
        (Ending::TimedOut, CONNECTED, Class::WaitTimeout, Stage::Write, false),
        (Ending::TimedOut, WAITING, Class::WaitTimeout, Stage::Wait, false),
        (Ending::TimedOut, HEAD_BEGUN, Class::BodyTimeout, Stage::Body, false),
        (Ending::TimedOut, BODY, Class::BodyTimeout, Stage::Body, false),
        (Ending::Interrupted, WAITING, Class::Interrupted, Stage::Wait, false),
        (Ending::Unparsable, HEAD_BEGUN, Class::BodyCorrupt, Stage::Body, false),
        (Ending::Cut, Seen { write_errno: PIPE, ..CONNECTED }, Class::WriteBrokenPipe, Stage::Write, false),
        (Ending::Cut, Seen { write_errno: PIPE, eof: true, ..WAITING }, Class::WriteBrokenPipe, Stage::Write, false),
        (Ending::Cut, Seen { write_errno: RESET, ..CONNECTED }, Class::WriteReset, Stage::Write, false),
        (Ending::Cut, Seen { read_errno: RESET, ..CONNECTED }, Class::WriteReset, Stage::Write, false),
        (Ending::Cut, Seen { eof: true, ..CONNECTED }, Class::WaitClosed, Stage::Write, false),
        (Ending::Cut, Seen { read_errno: RESET, ..WAITING }, Class::WaitReset, Stage::Wait, false),
        (Ending::Cut, Seen { eof: true, ..WAITING }, Class::WaitClosed, Stage::Wait, false),
        (Ending::Cut, Seen { read_errno: TIMED_OUT, ..WAITING }, Class::WaitTimeout, Stage::Wait, false),
        (Ending::Cut, Seen { eof: true, ..HEAD_BEGUN }, Class::BodyClosed, Stage::Body, false),
        (Ending::Cut, Seen { read_errno: RESET, ..HEAD_BEGUN }, Class::BodyReset, Stage::Body, false),
        (Ending::Cut, Seen { eof: true, ..BODY }, Class::BodyClosed, Stage::Body, true),
        (Ending::Cut, Seen { read_errno: RESET, ..BODY }, Class::BodyReset, Stage::Body, true),
        (Ending::Cut, Seen { write_errno: PIPE, read_errno: RESET, ..BODY }, Class::BodyReset, Stage::Body, true),
        (Ending::Cut, Seen { read_errno: TIMED_OUT, ..BODY }, Class::BodyTimeout, Stage::Body, false),
        (Ending::Cut, BODY, Class::BodyCorrupt, Stage::Body, false),
        (Ending::Answered(Class::Http5xx), Seen { write_errno: PIPE, ..BODY }, Class::Http5xx, Stage::Done, false),
        (Ending::Answered(Class::None), BODY, Class::None, Stage::Done, false),
    ];
    for (ending, seen, class, stage, truncated) in table {
        let judged = judge(ending, &seen);
        assert_eq!(
            (judged.class, judged.stage, judged.truncated),
            (class, stage, truncated),
            "{ending:?} {seen:?}"
        );
    }
}

#[test]
fn the_error_number_behind_a_failure_is_kept() {
    assert_eq!(judge(Ending::NotConnected(111), &Seen::default()).os_code, 111);
    assert_eq!(judge(Ending::Cut, &Seen { read_errno: RESET, ..WAITING }).os_code, 104);
    assert_eq!(judge(Ending::Cut, &Seen { write_errno: PIPE, ..CONNECTED }).os_code, 32);
    assert_eq!(judge(Ending::Answered(Class::None), &Seen { write_errno: PIPE, ..BODY }).os_code, 0);
}

#[test]
fn a_complete_answer_is_judged_by_status_and_echo() {
    let fine = StatusRange { first: 200, last: 299 };
    let refusals = StatusRange { first: 404, last: 404 };
    let table = [
        (200, fine, Echo::Absent, Echo::Absent, Class::None),
        (299, fine, Echo::Same, Echo::Same, Class::None),
        (200, fine, Echo::Same, Echo::Other, Class::BodyCorrupt),
        (200, fine, Echo::Absent, Echo::Other, Class::None),
        (200, fine, Echo::Other, Echo::Same, Class::BodyCorrupt),
        (503, fine, Echo::Other, Echo::Absent, Class::BodyCorrupt),
        (503, fine, Echo::Same, Echo::Other, Class::Http5xx),
        (404, fine, Echo::Absent, Echo::Absent, Class::Http4xx),
        (302, fine, Echo::Absent, Echo::Absent, Class::StatusUnexpected),
        (404, refusals, Echo::Absent, Echo::Absent, Class::None),
        (200, refusals, Echo::Absent, Echo::Absent, Class::StatusUnexpected),
    ];
    for (status, expected, slot, body, class) in table {
        assert_eq!(answer(status, expected, slot, body), class, "{status} {expected:?} {slot:?} {body:?}");
    }
}

#[test]
fn http2_says_what_became_of_a_stream() {
    let gone = judge(Ending::GoneAway { code: 11, unprocessed: true }, &WAITING);
    assert_eq!((gone.class, gone.stage, gone.os_code), (Class::H2Goaway, Stage::Wait, 11));
    assert!(gone.unprocessed && !gone.truncated);
    let reset = judge(Ending::StreamReset(8), &BODY);
    assert_eq!((reset.class, reset.stage, reset.os_code), (Class::H2StreamReset, Stage::Body, 8));
    assert!(reset.truncated && !reset.unprocessed);
    assert!(judge(Ending::StreamReset(REFUSED_STREAM), &WAITING).unprocessed);
    assert_eq!(judge(Ending::StreamReset(u32::MAX), &WAITING).os_code, u16::MAX);
}

#[test]
fn what_tls_failed_of_is_in_the_code() {
    use trial::record::tls;
    let code = |ending, seen: Seen| judge(ending, &seen).os_code;
    assert_eq!(code(Ending::NotSecured(0), SECURING), tls::CLOSED);
    assert_eq!(code(Ending::NotSecured(RESET), SECURING), tls::RESET);
    assert_eq!(code(Ending::NotSecured(PIPE), SECURING), tls::BROKEN_PIPE);
    assert_eq!(code(Ending::NotSecured(Errno::EKEYREJECTED as i32), SECURING), tls::NOT_ACCEPTED);
    assert_eq!(code(Ending::NotSecured(Errno::EPROTO as i32), SECURING), tls::NOT_TLS);
    assert_eq!(code(Ending::NotSecured(Errno::EPROTONOSUPPORT as i32), SECURING), tls::NO_HTTP2);
    assert_eq!(code(Ending::TimedOut, SECURING), tls::TIMED_OUT);
    assert_eq!(code(Ending::Cut, Seen { not_tls: true, ..WAITING }), tls::NOT_TLS);
}
