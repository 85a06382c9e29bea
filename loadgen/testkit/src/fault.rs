//! What can be done to a request, and what its record must then say.

use trial::record::{Class, Stage};

/// What is done to a request, or to the connection that it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Answered as it should be.
    Good,
    /// Answered well, and told that the connection will close.
    GoodClose,
    /// Answered well, and the connection closed without a word.
    GoodIdleClose,
    /// Answered well, and the connection closed at the moment at which its next request is expected: of these, the
    /// requests that crossed the close are logged as [`Fault::Crossed`].
    GoodCloseRace,
    /// The address has no listener.
    Refused,
    /// The node's rules name no endpoint and reject.
    Rejected,
    /// The listener's queue is full: SYNs are dropped.
    QueueFull,
    /// The address is gone.
    Unreachable,
    /// The listener closes with the connection in its queue, the request already sent on it.
    QueueDropped,
    /// The listener closes with the connection in its queue, as soon as it is there.
    QueueDroppedAtOnce,
    /// Reset in the middle of the request's body.
    ResetReading,
    /// FIN in the middle of the request's body.
    CloseReading,
    /// Stops reading in the middle of the request's body.
    StallReading,
    /// Reset once the request was read.
    ResetBeforeAnswer,
    /// Closed with the request unread, which makes the kernel reset it.
    CloseUnread,
    /// FIN once the request was read.
    CloseBeforeAnswer,
    /// FIN at the sight of the request, and a close with it unread.
    CloseAtSight,
    /// The server closed the idle connection before it had read anything of a request that was on its way.
    Crossed,
    /// FIN in the middle of the head.
    CutHead,
    /// RST in the middle of the head.
    ResetHead,
    /// FIN before the announced length.
    CutBody,
    /// FIN between two chunks.
    CutChunks,
    /// RST before the announced length.
    ResetBody,
    /// An error's body, cut by FIN.
    CutError,
    /// Not HTTP.
    BadStatusLine,
    /// A chunk without a length.
    BadChunk,
    /// The answer to another request.
    WrongSlot,
    /// A body that is not what was posted.
    WrongBody,
    /// No byte of an answer.
    StallHeader,
    /// The head begins, and does not end.
    StallInHeader,
    /// The body begins, and does not end.
    StallBody,
    /// 404.
    NotFound,
    /// 503.
    Unavailable,
    /// 413 before the request's body was read, and a close.
    EarlyRefusal,
    /// 302.
    Redirect,
    /// Answered well, but late.
    Late,
    /// Answered well, and told to go elsewhere by an orderly GOAWAY.
    GoodGoAway,
    /// `REFUSED_STREAM`.
    StreamRefused,
    /// CANCEL.
    StreamCancelled,
    /// `INTERNAL_ERROR`.
    StreamError,
    /// CANCEL in the middle of the answer.
    StreamResetBody,
    /// The stream ends before the announced length.
    StreamTooShort,
    /// GOAWAY below the request's stream: it was not processed.
    GoAwayUnprocessed,
    /// GOAWAY with an error; the request's stream may have been processed, and is not answered.
    GoAwayError,
    /// GOAWAY that promises the answer, and FIN without it.
    GoAwayCut,
    /// Not HTTP/2.
    BadFrame,
}

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Its class.
    pub class: Class,
    /// Its stage.
    pub stage: Stage,
    /// Its status.
    pub status: u16,
    /// Its error number.
    pub os_code: u16,
    /// Whether it says truncated.
    pub truncated: bool,
}

/// Where a fault is planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Where the connection goes.
    Route,
    /// Where the connection goes: to a listener whose sockets hold less than a large body, and which does this to all.
    Straw,
    /// The server, at sight of the request's slot.
    Server,
    /// The server, at sight of the request's slot, and to the whole connection: which carries one request at a time.
    Connection,
    /// Time: the fault in question happens, or does not, after another.
    Chance(Fault),
}

/// What a lane must have for a fault to be possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// Kept connections.
    Kept,
    /// A body that must come back.
    Echo,
}

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 by prior knowledge.
    Http2,
}

/// A fault and what is expected of it.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// The fault.
    pub fault: Fault,
    /// Its name in the table.
    pub name: &'static str,
    /// What the record must say: one of these.
    pub outcomes: &'static [Outcome],
    /// True if the answer must be recorded as late.
    pub late: bool,
    /// Where it is planted.
    pub by: By,
    /// Where it is possible.
    pub need: Need,
}

const RESET: u16 = 104;

const fn outcome(class: Class, stage: Stage, status: u16) -> Outcome {
    let os_code = match class {
        Class::ConnectRefused => 111,
        Class::ConnectUnreachable => 113,
        Class::WriteReset | Class::WaitReset | Class::BodyReset => RESET,
        _ => 0,
    };
    // Of a body that began: whoever lost the head cannot know.
    let truncated = matches!(class, Class::BodyReset | Class::BodyClosed) && status != 0;
    Outcome { class, stage, status, os_code, truncated }
}

const fn server(fault: Fault, name: &'static str, outcomes: &'static [Outcome]) -> Spec {
    Spec { fault, name, outcomes, late: false, by: By::Server, need: Need::Nothing }
}

const fn route(fault: Fault, name: &'static str, outcomes: &'static [Outcome]) -> Spec {
    Spec { by: By::Route, ..server(fault, name, outcomes) }
}

const fn straw(fault: Fault, name: &'static str, outcomes: &'static [Outcome]) -> Spec {
    Spec { by: By::Straw, ..server(fault, name, outcomes) }
}

const FINE: &[Outcome] = &[outcome(Class::None, Stage::Done, 200)];

/// Answers that are as they should be, in every way that leaves the connection in another state.
pub const GOOD: &[Spec] = &[
    server(Fault::Good, "good", FINE),
    server(Fault::GoodClose, "good-close", FINE),
    server(Fault::GoodIdleClose, "good-idle-close", FINE),
    server(Fault::GoodCloseRace, "good-close-race", FINE),
];

/// The same for HTTP/2.
pub const GOOD_HTTP2: &[Spec] =
    &[server(Fault::Good, "good", FINE), server(Fault::GoodGoAway, "good-goaway", FINE)];

/// The faults of HTTP/1, in the order of a request's life. A row of the table each, for every lane that can have it.
pub const HTTP1: &[Spec] = &[
    route(Fault::Refused, "closed-port", &[outcome(Class::ConnectRefused, Stage::Connect, 0)]),
    route(Fault::Rejected, "no-endpoint", &[outcome(Class::ConnectRefused, Stage::Connect, 0)]),
    route(Fault::QueueFull, "accept-queue-full", &[outcome(Class::ConnectTimeout, Stage::Connect, 0)]),
    route(Fault::Unreachable, "address-gone", &[outcome(Class::ConnectUnreachable, Stage::Connect, 0)]),
    // Whether the request was written by then is not for the server to say.
    route(
        Fault::QueueDroppedAtOnce,
        "accept-queue-dropped-at-once",
        &[outcome(Class::WriteReset, Stage::Write, 0), outcome(Class::WaitReset, Stage::Wait, 0)],
    ),
    route(Fault::QueueDropped, "accept-queue-dropped", &[outcome(Class::WaitReset, Stage::Wait, 0)]),
    straw(Fault::ResetReading, "reset-reading", &[outcome(Class::WriteReset, Stage::Write, 0)]),
    straw(Fault::CloseReading, "close-reading", &[outcome(Class::WaitClosed, Stage::Write, 0)]),
    straw(Fault::StallReading, "stall-reading", &[outcome(Class::WaitTimeout, Stage::Write, 0)]),
    straw(Fault::EarlyRefusal, "early-413", &[outcome(Class::Http4xx, Stage::Done, 413)]),
    server(Fault::ResetBeforeAnswer, "reset-before-answer", &[outcome(Class::WaitReset, Stage::Wait, 0)]),
    server(Fault::CloseUnread, "close-unread", &[outcome(Class::WaitReset, Stage::Wait, 0)]),
    server(Fault::CloseBeforeAnswer, "close-before-answer", &[outcome(Class::WaitClosed, Stage::Wait, 0)]),
    server(Fault::CloseAtSight, "close-at-sight", &[outcome(Class::WaitClosed, Stage::Wait, 0)]),
    Spec {
        by: By::Chance(Fault::GoodCloseRace),
        need: Need::Kept,
        ..server(Fault::Crossed, "close-crossed", &[outcome(Class::WaitClosed, Stage::Wait, 0)])
    },
    server(Fault::StallHeader, "stall-header", &[outcome(Class::WaitTimeout, Stage::Wait, 0)]),
    server(Fault::StallInHeader, "stall-in-header", &[outcome(Class::BodyTimeout, Stage::Body, 0)]),
    server(Fault::StallBody, "stall-body", &[outcome(Class::BodyTimeout, Stage::Body, 200)]),
    server(Fault::CutHead, "cut-head", &[outcome(Class::BodyClosed, Stage::Body, 0)]),
    server(Fault::CutBody, "cut-body", &[outcome(Class::BodyClosed, Stage::Body, 200)]),
    server(Fault::CutChunks, "cut-chunks", &[outcome(Class::BodyClosed, Stage::Body, 200)]),
    server(Fault::CutError, "cut-503", &[outcome(Class::BodyClosed, Stage::Body, 503)]),
    server(Fault::ResetHead, "reset-head", &[outcome(Class::BodyReset, Stage::Body, 0)]),
    server(Fault::ResetBody, "reset-body", &[outcome(Class::BodyReset, Stage::Body, 200)]),
    server(Fault::BadStatusLine, "bad-status-line", &[outcome(Class::BodyCorrupt, Stage::Body, 0)]),
    server(Fault::BadChunk, "bad-chunk", &[outcome(Class::BodyCorrupt, Stage::Body, 200)]),
    server(Fault::WrongSlot, "wrong-slot", &[outcome(Class::BodyCorrupt, Stage::Done, 200)]),
    Spec {
        need: Need::Echo,
        ..server(Fault::WrongBody, "wrong-body", &[outcome(Class::BodyCorrupt, Stage::Done, 200)])
    },
    server(Fault::NotFound, "404", &[outcome(Class::Http4xx, Stage::Done, 404)]),
    server(Fault::Unavailable, "503", &[outcome(Class::Http5xx, Stage::Done, 503)]),
    server(Fault::Redirect, "302", &[outcome(Class::StatusUnexpected, Stage::Done, 302)]),
    Spec { late: true, ..server(Fault::Late, "late", FINE) },
];

const fn connection(fault: Fault, name: &'static str, outcomes: &'static [Outcome]) -> Spec {
    Spec { by: By::Connection, ..server(fault, name, outcomes) }
}

/// An HTTP/2 error code instead of an error number.
const fn h2(class: Class, stage: Stage, status: u16, code: u16) -> Outcome {
    Outcome { class, stage, status, os_code: code, truncated: status != 0 }
}

/// The faults of HTTP/2.
pub const HTTP2: &[Spec] = &[
    route(Fault::Refused, "closed-port", &[outcome(Class::ConnectRefused, Stage::Connect, 0)]),
    route(Fault::Rejected, "no-endpoint", &[outcome(Class::ConnectRefused, Stage::Connect, 0)]),
    route(Fault::QueueFull, "accept-queue-full", &[outcome(Class::ConnectTimeout, Stage::Connect, 0)]),
    route(Fault::Unreachable, "address-gone", &[outcome(Class::ConnectUnreachable, Stage::Connect, 0)]),
    route(
        Fault::QueueDropped,
        "accept-queue-dropped",
        &[outcome(Class::WaitReset, Stage::Wait, 0), outcome(Class::WriteReset, Stage::Write, 0)],
    ),
    connection(Fault::ResetBeforeAnswer, "reset-before-answer", &[outcome(Class::WaitReset, Stage::Wait, 0)]),
    connection(
        Fault::CloseBeforeAnswer,
        "close-before-answer",
        &[outcome(Class::WaitClosed, Stage::Wait, 0)],
    ),
    connection(Fault::GoAwayUnprocessed, "goaway-unprocessed", &[h2(Class::H2Goaway, Stage::Wait, 0, 0)]),
    connection(Fault::GoAwayError, "goaway-error", &[h2(Class::H2Goaway, Stage::Wait, 0, 11)]),
    connection(Fault::GoAwayCut, "goaway-then-close", &[outcome(Class::WaitClosed, Stage::Wait, 0)]),
    server(Fault::StreamRefused, "stream-refused", &[h2(Class::H2StreamReset, Stage::Wait, 0, 7)]),
    server(Fault::StreamCancelled, "stream-cancelled", &[h2(Class::H2StreamReset, Stage::Wait, 0, 8)]),
    server(Fault::StreamError, "stream-error", &[h2(Class::H2StreamReset, Stage::Wait, 0, 2)]),
    server(Fault::StreamResetBody, "stream-reset-body", &[h2(Class::H2StreamReset, Stage::Body, 200, 8)]),
    server(Fault::StallHeader, "stall-header", &[outcome(Class::WaitTimeout, Stage::Wait, 0)]),
    server(Fault::StallBody, "stall-body", &[outcome(Class::BodyTimeout, Stage::Body, 200)]),
    connection(Fault::CutBody, "cut-body", &[outcome(Class::BodyClosed, Stage::Body, 200)]),
    connection(Fault::ResetBody, "reset-body", &[outcome(Class::BodyReset, Stage::Body, 200)]),
    connection(Fault::BadFrame, "bad-frame", &[outcome(Class::BodyCorrupt, Stage::Wait, 0)]),
    server(Fault::StreamTooShort, "stream-too-short", &[outcome(Class::BodyCorrupt, Stage::Body, 200)]),
    server(Fault::WrongSlot, "wrong-slot", &[outcome(Class::BodyCorrupt, Stage::Done, 200)]),
    server(Fault::NotFound, "404", &[outcome(Class::Http4xx, Stage::Done, 404)]),
    server(Fault::Unavailable, "503", &[outcome(Class::Http5xx, Stage::Done, 503)]),
    server(Fault::Redirect, "302", &[outcome(Class::StatusUnexpected, Stage::Done, 302)]),
    Spec { late: true, ..server(Fault::Late, "late", FINE) },
];

impl Wire {
    /// The faults that are possible.
    #[must_use]
    pub const fn faults(self) -> &'static [Spec] {
        match self {
            Self::Http1 => HTTP1,
            Self::Http2 => HTTP2,
        }
    }

    /// The ways to answer well.
    #[must_use]
    pub const fn good(self) -> &'static [Spec] {
        match self {
            Self::Http1 => GOOD,
            Self::Http2 => GOOD_HTTP2,
        }
    }

    /// What is expected of a fault.
    #[must_use]
    pub fn spec(self, fault: Fault) -> Option<&'static Spec> {
        self.good().iter().chain(self.faults()).find(|spec| spec.fault == fault)
    }
}

impl Fault {
    /// True if nothing is wrong with it.
    #[must_use]
    pub fn is_good(self) -> bool {
        GOOD.iter().chain(GOOD_HTTP2).any(|spec| spec.fault == self)
    }
}

impl Spec {
    /// True if the request is to end by its timeout.
    #[must_use]
    pub fn times_out(&self) -> bool {
        let timeouts = [Class::ConnectTimeout, Class::WaitTimeout, Class::BodyTimeout];
        self.outcomes.iter().any(|outcome| timeouts.contains(&outcome.class))
    }

    /// The classes that it may be recorded as, as they stand in the table.
    #[must_use]
    pub fn class_name(&self) -> String {
        if self.late {
            return "late".to_owned();
        }
        let names: Vec<&str> = self.outcomes.iter().map(|outcome| outcome.class.as_str()).collect();
        names.join("|")
    }
}
