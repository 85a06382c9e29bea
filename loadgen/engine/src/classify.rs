//! What a request's end means: pure functions from what was seen to the classes of a record.

use nix::errno::Errno;
use trial::record::{Class, Stage};
use trial::settings::StatusRange;

use crate::frames::REFUSED_STREAM;

/// How work on a slot ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The answer is complete, and this is what it is worth.
    Answered(Class),
    /// No connection: the operating system's error number.
    NotConnected(i32),
    /// A connection, but no TLS on it: an error number that says why, 0 for the peer's FIN.
    NotSecured(i32),
    /// The answer is not HTTP.
    Unparsable,
    /// The connection ended first; what was seen says how.
    Cut,
    /// A GOAWAY of this error code took the request with it; the peer says it did not process it, or does not.
    GoneAway {
        /// The error code.
        code: u32,
        /// The peer never looked at the request.
        unprocessed: bool,
    },
    /// The peer reset the request's stream with this error code.
    StreamReset(u32),
    /// The time was over.
    TimedOut,
    /// The run was ended.
    Interrupted,
    /// The engine had too much to do to send it.
    Unsent,
}

/// What was seen of a request by its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent observations, each of which was made or not")]
pub(crate) struct Seen {
    /// TLS was being agreed on.
    pub(crate) securing: bool,
    /// What came later was not TLS, or broken.
    pub(crate) not_tls: bool,
    /// The connection was established.
    pub(crate) connected: bool,
    /// The kernel took the whole request.
    pub(crate) written: bool,
    /// A byte of the answer was read.
    pub(crate) first_byte: bool,
    /// The answer's head was read.
    pub(crate) head: bool,
    /// The peer's FIN was read.
    pub(crate) eof: bool,
    /// Error number of a read, else 0.
    pub(crate) read_errno: i32,
    /// Error number of a write, else 0.
    pub(crate) write_errno: i32,
}

/// What goes into the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) class: Class,
    pub(crate) stage: Stage,
    pub(crate) os_code: u16,
    pub(crate) truncated: bool,
    pub(crate) unprocessed: bool,
}

/// Judges a request.
pub(crate) fn judge(ending: Ending, seen: &Seen) -> Judgement {
    let stage = seen.stage();
    let plain = |class| Judgement { class, stage, os_code: 0, truncated: false, unprocessed: false };
    match ending {
        Ending::Answered(class) => Judgement { stage: Stage::Done, ..plain(class) },
        Ending::NotConnected(errno) => not_connected(errno),
        Ending::NotSecured(errno) => {
            Judgement { stage: Stage::Tls, os_code: os_code(errno), ..plain(Class::Tls) }
        }
        Ending::TimedOut if stage == Stage::Tls => {
            Judgement { os_code: os_code(Errno::ETIMEDOUT as i32), ..plain(Class::Tls) }
        }
        // HTTP was not even reached.
        Ending::Unparsable if seen.not_tls => cut(seen, stage),
        Ending::Unparsable => plain(Class::BodyCorrupt),
        Ending::Interrupted => plain(Class::Interrupted),
        Ending::Unsent => plain(Class::None),
        Ending::TimedOut => plain(match stage {
            Stage::Connect => Class::ConnectTimeout,
            Stage::Body => Class::BodyTimeout,
            _ => Class::WaitTimeout,
        }),
        Ending::Cut => cut(seen, stage),
        Ending::GoneAway { code, unprocessed } => {
            Judgement { os_code: h2_code(code), truncated: seen.head, unprocessed, ..plain(Class::H2Goaway) }
        }
        Ending::StreamReset(code) => Judgement {
            os_code: h2_code(code),
            truncated: seen.head,
            unprocessed: code == REFUSED_STREAM,
            ..plain(Class::H2StreamReset)
        },
    }
}

impl Seen {
    fn stage(&self) -> Stage {
        if self.securing {
            Stage::Tls
        } else if !self.connected {
            Stage::Connect
        } else if self.first_byte {
            Stage::Body
        } else if self.written {
            Stage::Wait
        } else {
            Stage::Write
        }
    }
}

fn not_connected(errno: i32) -> Judgement {
    let (class, stage) = match Errno::from_raw(errno) {
        Errno::ECONNREFUSED => (Class::ConnectRefused, Stage::Connect),
        Errno::ETIMEDOUT => (Class::ConnectTimeout, Stage::Connect),
        Errno::EADDRNOTAVAIL | Errno::EADDRINUSE | Errno::EAGAIN => (Class::ClientPorts, Stage::Connect),
        Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM => {
            (Class::ClientFiles, Stage::Connect)
        }
        // The handshake was complete, and reset before we looked: an accept queue that was dropped.
        Errno::ECONNRESET | Errno::EPIPE => (Class::WriteReset, Stage::Write),
        // EHOSTUNREACH, ENETUNREACH, EHOSTDOWN; EPERM and EACCES where a local rule drops the packet.
        _ => (Class::ConnectUnreachable, Stage::Connect),
    };
    Judgement { class, stage, os_code: os_code(errno), truncated: false, unprocessed: false }
}

/// The connection ended first.
fn cut(seen: &Seen, stage: Stage) -> Judgement {
    let read = Errno::from_raw(seen.read_errno);
    let (class, errno) = if seen.not_tls && seen.read_errno == 0 {
        (Class::Tls, Errno::EPROTO as i32)
    } else if seen.first_byte {
        match read {
            Errno::ETIMEDOUT => (Class::BodyTimeout, seen.read_errno),
            _ if seen.read_errno != 0 => (Class::BodyReset, seen.read_errno),
            _ if seen.eof => (Class::BodyClosed, 0),
            // hyper gave up although the connection did not: the framing of the body was wrong.
            _ => (Class::BodyCorrupt, 0),
        }
    } else if seen.write_errno != 0 {
        let broken = Errno::from_raw(seen.write_errno) == Errno::EPIPE;
        (if broken { Class::WriteBrokenPipe } else { Class::WriteReset }, seen.write_errno)
    } else if seen.read_errno != 0 {
        let class = match (read, seen.written) {
            (Errno::ETIMEDOUT, _) => Class::WaitTimeout,
            (_, true) => Class::WaitReset,
            (_, false) => Class::WriteReset,
        };
        (class, seen.read_errno)
    } else {
        (Class::WaitClosed, 0)
    };
    let truncated = seen.head && matches!(class, Class::BodyClosed | Class::BodyReset);
    let stage = if seen.write_errno != 0 && !seen.first_byte { Stage::Write } else { stage };
    Judgement { class, stage, os_code: os_code(errno), truncated, unprocessed: false }
}

/// Error codes of HTTP/2 are small; others saturate.
fn h2_code(code: u32) -> u16 {
    u16::try_from(code).unwrap_or(u16::MAX)
}

fn os_code(errno: i32) -> u16 {
    u16::try_from(errno).unwrap_or(0)
}

/// Whether something in the answer belongs to the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Echo {
    /// The server does not say (it is not ours).
    Absent,
    /// It is the request's.
    Same,
    /// It is another's.
    Other,
}

/// Judges a complete answer by its status and by what it echoes.
pub(crate) fn answer(status: u16, expected: StatusRange, slot: Echo, body: Echo) -> Class {
    // An answer to somebody else's request has no status of ours.
    if slot == Echo::Other {
        return Class::BodyCorrupt;
    }
    if (expected.first..=expected.last).contains(&status) {
        // A server that does not echo the slot owes no echo of the body either.
        return if slot == Echo::Same && body == Echo::Other { Class::BodyCorrupt } else { Class::None };
    }
    match status {
        400..=499 => Class::Http4xx,
        500..=599 => Class::Http5xx,
        _ => Class::StatusUnexpected,
    }
}

#[cfg(test)]
mod tests;
