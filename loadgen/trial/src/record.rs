//! One record per schedule slot: 64 bytes in memory, whatever happened.

use serde::{Deserialize, Serialize};

use crate::id::{LaneId, NodeId, PodId};
use crate::time::Stamp;

/// What became of one slot. Offsets are in units of 100 ns after `intended`; [`Record::UNSEEN`] where not observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Record {
    /// Index of the slot in its lane's schedule, from 0.
    pub slot: u64,
    /// When the slot was due.
    pub intended: Stamp,
    /// When work on it began (dialling, or writing on a kept connection).
    pub start: u32,
    /// When the request's last byte was handed to the kernel.
    pub write_done: u32,
    /// When the answer's first byte was read.
    pub first_byte: u32,
    /// When the answer was complete, or the failure was seen.
    pub end: u32,
    /// Connection number within the worker, from 1; 0 if there was none.
    pub conn: u32,
    /// Which request on that connection this was, from 1.
    pub nth: u32,
    /// Body bytes received.
    pub bytes_in: u32,
    /// The pod that the connection was routed to, or that answered.
    pub pod: PodId,
    /// HTTP status, 0 if none was read.
    pub status: u16,
    /// The operating system's error number or the HTTP/2 error code behind a failure, else 0.
    pub os_code: u16,
    /// What went wrong.
    pub class: Class,
    /// How far it came.
    pub stage: Stage,
    /// See [`Flags`].
    pub flags: Flags,
    /// Which agent of several.
    pub agent: u8,
    /// Which worker of the agent.
    pub worker: u8,
    /// Which lane.
    pub lane: LaneId,
    /// The node that the load came from.
    pub node: NodeId,
    /// What the pod said of itself in the answer: 0 unknown, 1 serving, 2 lame duck, 3 draining.
    pub pod_state: u16,
    /// The pod's own count of requests, from the answer; 0 unknown.
    pub sequence: u32,
}

const _: () = assert!(size_of::<Record>() == 64, "the figures for memory rest on this");

impl Record {
    /// "Not observed" in an offset.
    pub const UNSEEN: u32 = u32::MAX;

    /// A slot that has not been worked on.
    #[must_use]
    pub const fn due(slot: u64, intended: Stamp, lane: LaneId) -> Self {
        Self {
            slot,
            intended,
            start: Self::UNSEEN,
            write_done: Self::UNSEEN,
            first_byte: Self::UNSEEN,
            end: Self::UNSEEN,
            conn: 0,
            nth: 0,
            bytes_in: 0,
            pod: PodId::NONE,
            status: 0,
            os_code: 0,
            class: Class::None,
            stage: Stage::Due,
            flags: Flags(0),
            agent: 0,
            worker: 0,
            lane,
            node: NodeId(0),
            pod_state: 0,
            sequence: 0,
        }
    }

    /// The offset of `at` for one of the offset fields, saturating just below [`Record::UNSEEN`] (7 minutes).
    #[must_use]
    pub fn offset(&self, at: Stamp) -> u32 {
        let units = at.as_nanos().saturating_sub(self.intended.as_nanos()) / 100;
        u32::try_from(units).unwrap_or(u32::MAX).min(u32::MAX - 1)
    }

    /// The stamp behind an offset field.
    #[must_use]
    pub fn at(&self, offset: u32) -> Option<Stamp> {
        (offset != Self::UNSEEN)
            .then(|| Stamp::from_nanos(self.intended.as_nanos() + u64::from(offset) * 100))
    }

    /// True if the slot was never sent.
    #[must_use]
    pub const fn is_unsent(&self) -> bool {
        self.flags.has(Flags::UNSENT)
    }

    /// Latency from the intended time in nanoseconds, for answered requests.
    #[must_use]
    pub fn latency_ns(&self) -> Option<u64> {
        (self.end != Self::UNSEEN).then(|| u64::from(self.end) * 100)
    }

    /// Schedule lag in nanoseconds: how long after the intended time work began.
    #[must_use]
    pub fn lag_ns(&self) -> Option<u64> {
        (self.start != Self::UNSEEN).then(|| u64::from(self.start) * 100)
    }
}

/// What `os_code` stands for in class `tls`: Linux's error numbers, also for what TLS itself says.
pub mod tls {
    /// The peer ended the connection with a FIN.
    pub const CLOSED: u16 = 0;
    /// The peer was gone (`EPIPE`).
    pub const BROKEN_PIPE: u16 = 32;
    /// What came was not TLS, was broken, or was an alert (`EPROTO`).
    pub const NOT_TLS: u16 = 71;
    /// The server does not offer HTTP/2 (`EPROTONOSUPPORT`).
    pub const NO_HTTP2: u16 = 93;
    /// The peer ended the connection with a RST (`ECONNRESET`).
    pub const RESET: u16 = 104;
    /// Not complete when the request's time was over (`ETIMEDOUT`).
    pub const TIMED_OUT: u16 = 110;
    /// The server's certificate was not accepted (`EKEYREJECTED`).
    pub const NOT_ACCEPTED: u16 = 129;
}

/// Bits that a record may carry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags(pub u16);

impl Flags {
    /// Sent on a connection that had carried a request before.
    pub const REUSED: u16 = 1;
    /// Never sent: the in-flight bound or the lag bound was reached.
    pub const UNSENT: u16 = 1 << 1;
    /// The peer's FIN or RST had been seen by the kernel before the request was written.
    pub const CLOSE_SEEN: u16 = 1 << 2;
    /// The answer carried `Connection: close`.
    pub const CLOSE_ANNOUNCED: u16 = 1 << 3;
    /// The connection was routed to a terminating pod because nothing else was ready.
    pub const FALLBACK: u16 = 1 << 4;
    /// The node's rules named no endpoint when the connection was first tried: that it waited, or was refused, is theirs and not a pod's.
    pub const REJECTED: u16 = 1 << 5;
    /// A kept connection was found closed while idle, and another was opened for this slot.
    pub const AFTER_IDLE_CLOSE: u16 = 1 << 6;
    /// The body ended before its announced length.
    pub const TRUNCATED: u16 = 1 << 7;
    /// The body had neither a length nor chunks: only the close of the connection said that it was over, and a close
    /// by the end of the process looks the same. `end` is when the close was seen.
    pub const CLOSE_DELIMITED: u16 = 1 << 8;

    /// The peer had sent a GOAWAY on the connection by the request's end.
    pub const GOAWAY_SEEN: u16 = 1 << 9;
    /// The peer said that it had not processed the request (a GOAWAY below its stream, `REFUSED_STREAM`): a client may
    /// send such a request again without risk. Ours never does.
    pub const UNPROCESSED: u16 = 1 << 10;

    /// True if the bit is set.
    #[must_use]
    pub const fn has(self, bit: u16) -> bool {
        self.0 & bit != 0
    }

    /// Sets a bit.
    pub const fn set(&mut self, bit: u16) {
        self.0 |= bit;
    }
}

macro_rules! coded {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $code:literal $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[repr(u8)]
        pub enum $name { $($(#[$vmeta])* #[serde(rename = $text)] $variant = $code),+ }

        impl $name {
            /// All values, in order of their codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name in reports.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// The code in a part of a recording.
            #[must_use]
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// Reads a code.
            #[must_use]
            pub fn from_code(code: u8) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.code() == code)
            }
        }
    };
}

coded! {
    /// What went wrong with a request. Codes are part of the recording's format and never change.
    Class {
        /// Nothing.
        None = 0 "none",
        /// The name did not resolve.
        Dns = 1 "dns",
        /// The kernel refused the connection (RST to SYN), or the node's rules rejected it.
        ConnectRefused = 2 "connect-refused",
        /// No answer to SYN in time.
        ConnectTimeout = 3 "connect-timeout",
        /// No route to host or network.
        ConnectUnreachable = 4 "connect-unreachable",
        /// TLS handshake.
        Tls = 5 "tls",
        /// EPIPE while writing the request.
        WriteBrokenPipe = 6 "write-broken-pipe",
        /// RST while writing the request.
        WriteReset = 7 "write-reset",
        /// RST before the first byte of the answer.
        WaitReset = 8 "wait-reset",
        /// FIN before the first byte of the answer.
        WaitClosed = 9 "wait-closed",
        /// No byte of an answer in time.
        WaitTimeout = 10 "wait-timeout",
        /// RST in the middle of the answer.
        BodyReset = 11 "body-reset",
        /// FIN in the middle of the answer.
        BodyClosed = 12 "body-closed",
        /// The answer was not complete in time.
        BodyTimeout = 13 "body-timeout",
        /// The answer is complete but wrong.
        BodyCorrupt = 14 "body-corrupt",
        /// HTTP/2 GOAWAY took the request with it.
        H2Goaway = 15 "h2-goaway",
        /// HTTP/2 `RST_STREAM`.
        H2StreamReset = 16 "h2-stream-reset",
        /// Status 400–499.
        Http4xx = 17 "http-4xx",
        /// Status 500–599.
        Http5xx = 18 "http-5xx",
        /// Another status than expected.
        StatusUnexpected = 19 "status-unexpected",
        /// The client had no port left. Not the service's.
        ClientPorts = 32 "client-ports",
        /// The client had no file left. Not the service's.
        ClientFiles = 33 "client-files",
        /// The run was ended while the request was under way. Not the service's.
        Interrupted = 34 "interrupted",
    }
}

impl Class {
    /// True for what the service, or the way to it, did to a request.
    #[must_use]
    pub const fn is_service_failure(self) -> bool {
        !matches!(self, Self::None) && !self.is_client_fault() && !matches!(self, Self::Interrupted)
    }

    /// True for faults of the measuring client, which void the measurement.
    #[must_use]
    pub const fn is_client_fault(self) -> bool {
        matches!(self, Self::ClientPorts | Self::ClientFiles)
    }

    /// True where no HTTP answer was judged: refused, reset, cut off or timed out.
    #[must_use]
    pub const fn is_transport(self) -> bool {
        self.is_service_failure()
            && !matches!(self, Self::Http4xx | Self::Http5xx | Self::StatusUnexpected | Self::BodyCorrupt)
    }
}

coded! {
    /// How far a request came.
    Stage {
        /// Not begun.
        Due = 0 "due",
        /// Resolving a name.
        Dns = 1 "dns",
        /// Connecting.
        Connect = 2 "connect",
        /// TLS handshake.
        Tls = 3 "tls",
        /// Writing the request.
        Write = 4 "write",
        /// Waiting for the first byte of the answer.
        Wait = 5 "wait",
        /// Reading the answer.
        Body = 6 "body",
        /// The answer is complete.
        Done = 7 "done",
    }
}
