//! What an answer says: of itself, of its connection and of the pod.

use std::{error, io};

use bytes::Bytes;
use contract::lifecycle::ServingState;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Version};

/// How much of an answer's body is what was sent.
pub(super) struct BodyEcho<'a> {
    sent: &'a Bytes,
    bytes_in: usize,
    /// So much of it so far; `None` once something was not.
    matching: Option<usize>,
}

impl<'a> BodyEcho<'a> {
    pub(super) fn of(sent: &'a Bytes) -> Self {
        Self { sent, bytes_in: 0, matching: Some(0) }
    }

    pub(super) fn add(&mut self, data: &[u8]) {
        self.bytes_in = self.bytes_in.saturating_add(data.len());
        let same = self.matching.filter(|&at| self.sent[at..].starts_with(data));
        self.matching = same.map(|at| at + data.len());
    }

    pub(super) fn bytes_in(&self) -> u32 {
        u32::try_from(self.bytes_in).unwrap_or(u32::MAX)
    }

    pub(super) fn is_same(&self) -> bool {
        self.matching == Some(self.sent.len())
    }
}

/// Parses a decimal header; any integer that fits.
pub(super) fn number<N: std::str::FromStr>(value: &HeaderValue) -> Option<N> {
    value.to_str().ok()?.trim().parse().ok()
}

pub(super) fn pod_state(value: &HeaderValue) -> u16 {
    match value.to_str().ok().and_then(ServingState::parse) {
        None => 0,
        Some(ServingState::Serving) => 1,
        Some(ServingState::LameDuck) => 2,
        Some(ServingState::Draining) => 3,
    }
}

/// `Connection: close`, or HTTP/1.0 that does not offer to go on.
pub(super) fn announces_close(version: Version, headers: &HeaderMap) -> bool {
    let says = |word: &str| {
        let values = headers.get_all(CONNECTION).into_iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|option| option.trim().eq_ignore_ascii_case(word))
    };
    says("close") || (version < Version::HTTP_11 && !says("keep-alive"))
}

/// True if the head says where the body ends: a length, or chunks, of which the last says so.
pub(super) fn says_its_end(headers: &HeaderMap) -> bool {
    // As hyper reads them: with Transfer-Encoding, a length does not count, and chunked must come last.
    if headers.contains_key(TRANSFER_ENCODING) {
        let last = headers.get_all(TRANSFER_ENCODING).into_iter().next_back();
        let coding = last.and_then(|value| value.to_str().ok()).and_then(|value| value.rsplit(',').next());
        return coding.is_some_and(|coding| coding.trim().eq_ignore_ascii_case("chunked"));
    }
    headers.contains_key(CONTENT_LENGTH)
}

/// True if the bytes were no HTTP: a bad head, or a bad chunk of the body.
pub(super) fn is_unparsable(failure: &hyper::Error) -> bool {
    let cause = error::Error::source(failure).and_then(|cause| cause.downcast_ref::<io::Error>());
    let bad_chunk =
        cause.is_some_and(|io| matches!(io.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput));
    failure.is_parse() || bad_chunk
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_is_announced_by_the_header_or_by_an_old_version() {
        let table = [
            (Version::HTTP_11, None, false),
            (Version::HTTP_11, Some("Close"), true),
            (Version::HTTP_11, Some("upgrade, close"), true),
            (Version::HTTP_11, Some("keep-alive"), false),
            (Version::HTTP_10, None, true),
            (Version::HTTP_10, Some("Keep-Alive"), false),
        ];
        for (version, connection, announced) in table {
            let mut map = HeaderMap::new();
            if let Some(value) = connection {
                map.insert(CONNECTION, HeaderValue::from_static(value));
            }
            assert_eq!(announces_close(version, &map), announced, "{version:?} {connection:?}");
        }
    }

    #[test]
    fn only_a_length_or_chunks_say_where_a_body_ends() {
        let table: [(&[(http::HeaderName, &str)], bool); 6] = [
            (&[], false),
            (&[(CONTENT_LENGTH, "3")], true),
            (&[(TRANSFER_ENCODING, "Chunked")], true),
            (&[(TRANSFER_ENCODING, "gzip, chunked")], true),
            (&[(TRANSFER_ENCODING, "gzip")], false),
            (&[(TRANSFER_ENCODING, "gzip"), (CONTENT_LENGTH, "3")], false),
        ];
        for (given, said) in table {
            let map = given.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
            assert_eq!(says_its_end(&map.collect()), said, "{given:?}");
        }
    }

    #[test]
    fn the_pods_own_word_is_read_and_a_strangers_is_not() {
        assert_eq!(pod_state(&HeaderValue::from_static("serving")), 1);
        assert_eq!(pod_state(&HeaderValue::from_static("lame-duck")), 2);
        assert_eq!(pod_state(&HeaderValue::from_static("draining")), 3);
        assert_eq!(pod_state(&HeaderValue::from_static("napping")), 0);
        assert_eq!(number::<u32>(&HeaderValue::from_static("17")), Some(17));
        assert_eq!(number::<u32>(&HeaderValue::from_static("-1")), None);
    }
}
