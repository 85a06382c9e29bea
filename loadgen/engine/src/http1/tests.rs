//! Held against hyper's client, which is not ours: the same bytes are to mean the same, however they are cut into pieces.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::task::Waker;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use trial::settings::{Lane, LaneKind, Request, StatusRange, Target};

use super::*;

/// A peer that reads whatever it gets, and once it got something gives these pieces, one a read, and then its end.
#[derive(Debug)]
struct Peer {
    got: Vec<u8>,
    gives: VecDeque<Vec<u8>>,
    /// Takes so much a write.
    takes: usize,
    reader: Option<Waker>,
}

impl Peer {
    fn giving(pieces: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let gives = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        Self { got: Vec::new(), gives, takes: usize::MAX, reader: None }
    }
}

impl AsyncRead for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.got.is_empty() {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if let Some(mut piece) = self.gives.pop_front() {
            let rest = piece.split_off(piece.len().min(buf.remaining()));
            buf.put_slice(&piece);
            if !rest.is_empty() {
                self.gives.push_front(rest);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Peer {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let taken = buf.len().min(self.takes);
        self.got.extend_from_slice(&buf[..taken]);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Answer { status: u16, body: Vec<u8> },
    Failed(Failure),
}

#[derive(Default)]
struct Taken {
    status: u16,
    until_close: bool,
    body: Vec<u8>,
}

impl Reader for Taken {
    fn head(&mut self, head: &Head<'_>, until_close: bool) {
        assert_eq!(self.status, 0, "one answer has one head");
        (self.status, self.until_close) = (head.status, until_close);
    }

    fn data(&mut self, data: &[u8]) {
        self.body.extend_from_slice(data);
    }
}

fn template(kind: LaneKind, method: &str, body: Option<&str>) -> Template {
    let settings = Request {
        method: method.to_owned(),
        path: "/a?b=c".to_owned(),
        headers: BTreeMap::from([("X-Two".to_owned(), "words here".to_owned())]),
        body: body.map(str::to_owned),
        expect_status: StatusRange { first: 200, last: 299 },
    };
    let lane = Lane { delay: Duration::ZERO, ..Lane::new(kind, 1.0) };
    Template::new(&settings, &lane, &Target::Service, false).unwrap()
}

fn host() -> HeaderValue {
    HeaderValue::from_static("127.0.0.1:80")
}

async fn ours(template: &Template, peer: Peer) -> (Outcome, Http1<Peer>, Taken) {
    let mut http = Http1::new(peer);
    http.begin(template, 7, &host());
    let (mut taken, mut room) = (Taken::default(), vec![0; 1 << 12]);
    let ended = poll_fn(|cx| http.poll_answer(cx, &mut room, &mut taken)).await;
    let outcome = match ended {
        Ok(()) => Outcome::Answer { status: taken.status, body: taken.body.clone() },
        Err(failure) => Outcome::Failed(failure),
    };
    (outcome, http, taken)
}

async fn hypers(template: &Template, peer: Peer) -> Outcome {
    let failed = |error: &hyper::Error| {
        let io = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
        let bad = io
            .is_some_and(|io| matches!(io.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput));
        Outcome::Failed(if error.is_parse() || bad { Failure::Unparsable } else { Failure::Cut })
    };
    let (mut sender, driver) =
        hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(peer)).await.unwrap();
    let driver = tokio::spawn(driver);
    let outcome = match sender.send_request(template.build(7, &host()).0).await {
        Err(error) => failed(&error),
        Ok(response) => {
            let status = response.status().as_u16();
            match response.into_body().collect().await {
                Ok(body) => Outcome::Answer { status, body: body.to_bytes().to_vec() },
                Err(error) => failed(&error),
            }
        }
    };
    driver.abort();
    outcome
}

const ANSWERS: &[&str] = &[
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200\r\ncontent-length:3\r\n\r\nabc",
    "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 1\r\n\r\nx",
    "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\nuntil the end",
    "HTTP/1.1 200 OK\r\n\r\n",
    "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    "HTTP/1.0 200 OK\r\n\r\nabc",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n00A;x=\"y\"\r\n0123456789\r\n0\r\nDigest: a\r\nB: c\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 2\r\n\r\n1\r\nz\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nContent-Length: 2\r\n\r\nas it comes",
    "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\nContent-Length: 2\r\n\r\nok",
    // Cut short.
    "",
    "HTTP/1.1 20",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    // Not HTTP, or not rightly.
    "SSH-2.0-OpenSSH_9.2\r\n",
    "<html>hello</html>",
    "HTTP/1.1 2x0 OK\r\n\r\n",
    "HTTP/1.1 000 Nothing\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
    "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n",
    "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloworld\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11111111111111111\r\nhello",
];

fn cut(text: &str, at: &[usize]) -> Vec<Vec<u8>> {
    let mut at: Vec<usize> = at.iter().map(|at| at % (text.len() + 1)).collect();
    at.extend([0, text.len()]);
    at.sort_unstable();
    at.windows(2).map(|ends| text.as_bytes()[ends[0]..ends[1]].to_vec()).collect()
}

#[tokio::test]
async fn the_same_bytes_mean_what_they_mean_to_hyper() {
    for method in ["GET", "HEAD"] {
        let template = template(LaneKind::Reused, method, None);
        for text in ANSWERS {
            let whole = ours(&template, Peer::giving(cut(text, &[]))).await.0;
            assert_eq!(whole, hypers(&template, Peer::giving(cut(text, &[]))).await, "{method}: {text:?}");
            for at in 1..text.len() {
                let cut_in_two = ours(&template, Peer::giving(cut(text, &[at]))).await.0;
                assert_eq!(cut_in_two, whole, "{method}: {text:?} cut at {at}");
            }
        }
    }
}

proptest! {
    #[test]
    fn pieces_do_not_matter(text in prop::sample::select(ANSWERS), at in prop::collection::vec(0_usize..400, 0..30)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let template = template(LaneKind::Reused, "GET", None);
            let whole = ours(&template, Peer::giving(cut(text, &[]))).await.0;
            prop_assert_eq!(ours(&template, Peer::giving(cut(text, &at))).await.0, whole);
            Ok(())
        })?;
    }

    #[test]
    fn whatever_comes_there_is_an_outcome(bytes in prop::collection::vec(any::<u8>(), 0..300), plain in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let head = if plain { &b""[..] } else { b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" };
        let template = template(LaneKind::Reused, "GET", None);
        runtime.block_on(ours(&template, Peer::giving([[head, &bytes].concat()])));
    }
}

#[tokio::test]
async fn what_comes_after_the_answer_spoils_the_connection() {
    let template = template(LaneKind::Reused, "GET", None);
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let (_, http, _) = ours(&template, Peer::giving(cut(answer, &[]))).await;
    assert!(http.is_in_order() && http.is_sent());
    let (outcome, http, _) = ours(&template, Peer::giving(cut(&format!("{answer}H"), &[]))).await;
    assert_eq!(outcome, Outcome::Answer { status: 200, body: b"ok".to_vec() });
    assert!(!http.is_in_order());
}

#[tokio::test]
async fn requests_are_written_as_hyper_writes_them() {
    let lanes = [
        (LaneKind::Reused, "GET", None),
        (LaneKind::New, "GET", None),
        (LaneKind::Post, "GET", None),
        (LaneKind::Reused, "PUT", Some("words")),
        (LaneKind::Reused, "DELETE", Some("text")),
    ];
    for (kind, method, body) in lanes {
        let template = template(kind, method, body);
        let mut text = Vec::new();
        let sent = template.write(7, &host(), &mut text);
        // hyper's words, as a server of its own would read them: the order of the fields is free.
        let mut duplex = tokio::io::duplex(1 << 12);
        let (mut sender, driver) =
            hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(duplex.0)).await.unwrap();
        tokio::spawn(driver);
        let request = tokio::spawn(async move { sender.send_request(template.build(7, &host()).0).await });
        let mut theirs = Vec::new();
        // Whatever else it had to say it would have said at once.
        while theirs.len() < text.len() {
            let mut some = [0; 1 << 10];
            let more = tokio::io::AsyncReadExt::read(&mut duplex.1, &mut some);
            let Ok(more) = tokio::time::timeout(Duration::from_secs(1), more).await else { break };
            theirs.extend_from_slice(&some[..more.unwrap()]);
        }
        request.abort();
        let parts = |bytes: &[u8]| {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            let (first, fields) = head.split_once("\r\n").unwrap();
            let mut fields: Vec<_> = fields.split("\r\n").map(str::to_owned).collect();
            fields.sort_unstable();
            (first.to_owned(), fields, body.to_owned())
        };
        assert_eq!(parts(&text), parts(&theirs));
        assert!(text.ends_with(&sent));
    }
}

#[test]
fn who_is_expected_to_send_something_says_that_there_is_nothing() {
    for (method, said) in [("PUT", true), ("POST", true), ("PATCH", true), ("GET", false), ("DELETE", false)]
    {
        let mut text = Vec::new();
        template(LaneKind::Reused, method, Some("")).write(7, &host(), &mut text);
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text.ends_with("\r\ncontent-length: 0\r\n\r\n"), said, "{text}");
    }
}

#[tokio::test]
async fn an_answer_may_overtake_the_request() {
    let large = "x".repeat(100_000);
    let template = template(LaneKind::Reused, "PUT", Some(&large));
    let mut peer = Peer::giving(cut("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n", &[]));
    peer.takes = 1000;
    let mut http = Http1::new(Slow(peer, false));
    http.begin(&template, 7, &host());
    let (mut taken, mut room) = (Taken::default(), vec![0; 1 << 12]);
    let ended = poll_fn(|cx| http.poll_answer(cx, &mut room, &mut taken)).await;
    assert_eq!((ended, taken.status, http.is_sent()), (Ok(()), 413, false));
    poll_fn(|cx| http.poll_sent(cx)).await.unwrap();
    assert!(http.is_sent() && http.stream.0.got.ends_with(large.as_bytes()));
    assert!(http.out.capacity() <= BUFFER_MAX, "what it took is let go");
}

/// Takes a write every other time.
#[derive(Debug)]
struct Slow(Peer, bool);

impl AsyncRead for Slow {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Slow {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.1 = !self.1;
        if !self.1 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
