//! The head of an answer: what the engine takes from it, whatever protocol it came by.

use contract::headers;
use contract::lifecycle::ServingState;
use http::Version;
use http::response::Parts;

/// What an answer's head says of itself, of its connection and of the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head<'a> {
    pub(crate) status: u16,
    /// HTTP/1.0.
    old: bool,
    says_close: bool,
    says_keep_alive: bool,
    /// Of `Transfer-Encoding`: whether the last coding is `chunked`.
    pub(crate) chunked: Option<bool>,
    pub(crate) length: Length,
    /// What the pod says of itself: 1 serving, 2 lame duck, 3 draining; 0 for nothing.
    pub(crate) pod_state: u16,
    /// Which of the pod's answers it is; 0 for nothing.
    pub(crate) sequence: u32,
    /// The pod's name.
    pub(crate) pod: Option<&'a str>,
    pub(crate) answers: Answers,
}

/// The request that an answer says it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    /// It does not say: the server is not ours.
    Unsaid,
    Slot(u64),
    /// It says what no request ever said.
    Nonsense,
}

/// What `Content-Length` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    Absent,
    Of(u64),
    /// No number, or several that differ.
    Wrong,
}

impl<'a> Head<'a> {
    /// Of an answer that another library has read.
    pub(crate) fn of(parts: &'a Parts) -> Self {
        let fields = parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        Self::new(parts.status.as_u16(), parts.version < Version::HTTP_11, fields)
    }

    pub(crate) fn new(status: u16, old: bool, fields: impl Iterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut this = Self {
            status,
            old,
            says_close: false,
            says_keep_alive: false,
            chunked: None,
            length: Length::Absent,
            pod_state: 0,
            sequence: 0,
            pod: None,
            answers: Answers::Unsaid,
        };
        for (name, value) in fields {
            this.note(name, value);
        }
        this
    }

    fn note(&mut self, name: &str, value: &'a [u8]) {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("connection") {
            let says = |word| list(value).any(|option| option.eq_ignore_ascii_case(word));
            self.says_close |= says("close");
            self.says_keep_alive |= says("keep-alive");
        } else if is("content-length") {
            list(value).for_each(|length| self.note_length(length));
        } else if is("transfer-encoding") {
            let chunked = list(value).last().is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
            self.chunked = Some(chunked);
        } else if is(headers::SLOT) {
            self.answers = number(value).map_or(Answers::Nonsense, Answers::Slot);
        } else if is(headers::POD) {
            self.pod = str::from_utf8(value).ok();
        } else if is(headers::STATE) {
            self.pod_state = pod_state(value);
        } else if is(headers::SEQUENCE) {
            self.sequence = number(value).unwrap_or(0);
        }
    }

    fn note_length(&mut self, said: &str) {
        // A sign would be no part of it, although a number may have one.
        let length = Some(said).filter(|said| said.bytes().all(|digit| digit.is_ascii_digit()));
        self.length = match (self.length, length.and_then(|digits| digits.parse().ok())) {
            (Length::Absent, Some(length)) => Length::Of(length),
            (Length::Of(before), Some(length)) if before == length => self.length,
            _ => Length::Wrong,
        };
    }

    /// The answer itself comes later. (101 is one: there is nothing after it that we could read.)
    pub(crate) fn is_informational(&self) -> bool {
        matches!(self.status, 100 | 102..=199)
    }

    /// A length, or chunks, of which the last says so.
    pub(crate) fn says_its_end(&self) -> bool {
        self.chunked.unwrap_or(self.length != Length::Absent)
    }

    pub(crate) fn is_old(&self) -> bool {
        self.old
    }

    /// `Connection: close`, or HTTP/1.0 that does not offer to go on.
    pub(crate) fn announces_close(&self) -> bool {
        self.says_close || (self.old && !self.says_keep_alive)
    }
}

/// The elements of a list.
fn list(value: &[u8]) -> impl Iterator<Item = &str> {
    str::from_utf8(value).unwrap_or("?").split(',').map(str::trim)
}

/// A decimal number; any integer that fits.
fn number<N: std::str::FromStr>(value: &[u8]) -> Option<N> {
    str::from_utf8(value).ok()?.trim().parse().ok()
}

fn pod_state(value: &[u8]) -> u16 {
    match str::from_utf8(value).ok().and_then(ServingState::parse) {
        None => 0,
        Some(ServingState::Serving) => 1,
        Some(ServingState::LameDuck) => 2,
        Some(ServingState::Draining) => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::parse;

    fn head(text: &str) -> Head<'_> {
        parse(text.as_bytes()).expect("HTTP").expect("complete").1
    }

    #[test]
    fn a_close_is_announced_by_the_header_or_by_an_old_version() {
        let table = [
            ("1.1", "", false),
            ("1.1", "Connection: Close\r\n", true),
            ("1.1", "connection: upgrade, close\r\n", true),
            ("1.1", "Connection: a\r\nConnection: close\r\n", true),
            ("1.1", "Connection: keep-alive\r\n", false),
            ("1.0", "", true),
            ("1.0", "Connection: Keep-Alive\r\n", false),
        ];
        for (version, fields, announced) in table {
            let text = format!("HTTP/{version} 200 OK\r\n{fields}\r\n");
            assert_eq!(head(&text).announces_close(), announced, "{text}");
        }
    }

    #[test]
    fn the_pods_own_word_is_read_and_a_strangers_is_not() {
        let of = |value: &str| {
            let name = headers::STATE;
            let text = format!("HTTP/1.1 200 OK\r\n{name}: {value}\r\n\r\n");
            head(&text).pod_state
        };
        assert_eq!([of("serving"), of("lame-duck"), of("draining"), of("napping")], [1, 2, 3, 0]);
        assert_eq!((number::<u32>(b" 17 "), number::<u32>(b"-1")), (Some(17), None));
    }

    #[test]
    fn lengths_that_differ_or_are_none_are_wrong() {
        let of = |fields: &str| head(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n")).length;
        assert_eq!(of(""), Length::Absent);
        assert_eq!(of("Content-Length: 3\r\n"), Length::Of(3));
        assert_eq!(of("Content-Length: 3\r\ncontent-length: 3, 3\r\n"), Length::Of(3));
        for wrong in ["3\r\nContent-Length: 4", "3, 4", "+3", "-3", "", "x", "99999999999999999999"] {
            assert_eq!(of(&format!("Content-Length: {wrong}\r\n")), Length::Wrong, "{wrong}");
        }
    }
}
