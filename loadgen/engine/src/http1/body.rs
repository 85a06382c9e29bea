//! Where the body of an answer ends: RFC 9112, section 6.3.

use super::Failure;
use crate::head::{Head, Length};

/// A line between chunks, or what stands after the last one, that is longer is none.
const BETWEEN_MAX: usize = 16 << 10;
const TRAILERS_MAX: usize = 100;

/// What is still to come of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes.
    Length(u64),
    Chunked(Chunks),
    /// All that comes.
    UntilClose,
}

/// What is still to come of a body in chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunks {
    /// The next one's size.
    Size,
    /// So many bytes of one.
    Data(u64),
    /// The end of its line.
    LineEnd,
    /// What stands after the last.
    Trailers,
    Over,
}

impl Body {
    /// `head_only`: the answer to a `HEAD`.
    pub(super) fn of(head: &Head<'_>, head_only: bool) -> Result<Self, Failure> {
        if head_only || matches!(head.status, 100..=199 | 204 | 304) {
            return Ok(Self::Length(0));
        }
        match (head.chunked, head.length) {
            // HTTP/1.0 knows no such thing: where the body ends is anyone's guess.
            (Some(_), _) if head.is_old() => Err(Failure::Unparsable),
            // Whatever the length says.
            (Some(true), _) => Ok(Self::Chunked(Chunks::Size)),
            (Some(false), _) | (None, Length::Absent) => Ok(Self::UntilClose),
            (None, Length::Of(length)) => Ok(Self::Length(length)),
            (None, Length::Wrong) => Err(Failure::Unparsable),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunks::Over))
    }

    /// Takes what belongs to the body, as far as it goes; how much that was. What is left is to come again, with more behind it.
    pub(super) fn feed(&mut self, bytes: &[u8], mut data: impl FnMut(&[u8])) -> Result<usize, Failure> {
        match self {
            Self::UntilClose => {
                data(bytes);
                Ok(bytes.len())
            }
            Self::Length(left) => Ok(take(left, bytes, &mut data)),
            Self::Chunked(chunks) => {
                let mut at = 0;
                while let Some(used) = chunks.step(&bytes[at..], &mut data)? {
                    at += used;
                }
                Ok(at)
            }
        }
    }
}

/// At most so many bytes.
fn take(left: &mut u64, bytes: &[u8], data: &mut impl FnMut(&[u8])) -> usize {
    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
    if count > 0 {
        data(&bytes[..count]);
    }
    *left -= count as u64;
    count
}

impl Chunks {
    /// One thing after the other; `None` if the next is not complete.
    fn step(&mut self, bytes: &[u8], data: &mut impl FnMut(&[u8])) -> Result<Option<usize>, Failure> {
        let next = match self {
            Self::Over => return Ok(None),
            Self::Data(left) => {
                let count = take(left, bytes, data);
                if *left == 0 {
                    *self = Self::LineEnd;
                    return Ok(Some(count));
                }
                return Ok((count > 0).then_some(count));
            }
            Self::LineEnd => match bytes {
                [b'\r', b'\n', ..] => Some((2, Self::Size)),
                [] | [b'\r'] => None,
                _ => return Err(Failure::Unparsable),
            },
            // An empty size would be read as none.
            Self::Size if matches!(bytes, [first, ..] if !first.is_ascii_hexdigit()) => {
                return Err(Failure::Unparsable);
            }
            Self::Size => complete(httparse::parse_chunk_size(bytes))?
                .map(|(used, size)| (used, if size == 0 { Self::Trailers } else { Self::Data(size) })),
            Self::Trailers => {
                let mut fields = [httparse::EMPTY_HEADER; TRAILERS_MAX];
                complete(httparse::parse_headers(bytes, &mut fields))?.map(|(used, _)| (used, Self::Over))
            }
        };
        match next {
            Some((used, next)) => {
                *self = next;
                Ok(Some(used))
            }
            None if bytes.len() > BETWEEN_MAX => Err(Failure::Unparsable),
            None => Ok(None),
        }
    }
}

fn complete<T, E>(parsed: Result<httparse::Status<T>, E>) -> Result<Option<T>, Failure> {
    match parsed {
        Ok(httparse::Status::Complete(whole)) => Ok(Some(whole)),
        Ok(httparse::Status::Partial) => Ok(None),
        Err(_) => Err(Failure::Unparsable),
    }
}
