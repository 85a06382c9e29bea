//! HTTP/2 with prior knowledge, on the port that also speaks HTTP/1.

use std::{io::Write, net::TcpStream, time::Duration};

use bytes::Bytes;
use contract::{headers, lifecycle::Event};
use h2::client::{ResponseFuture, SendRequest};
use http::{Request, Response};
use tokio::{task::JoinHandle, time::timeout};

use crate::{
    client::Client,
    pod::{DEADLINE, Pod, names},
};

type Connection = JoinHandle<Result<(), h2::Error>>;

async fn connect(pod: &Pod) -> (SendRequest<Bytes>, Connection) {
    let stream = tokio::net::TcpStream::connect(&pod.address).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    (sender, tokio::spawn(connection))
}

async fn begin(sender: &SendRequest<Bytes>, path: &str) -> ResponseFuture {
    let request = Request::get(format!("http://pod{path}")).header(headers::SLOT, "42").body(()).unwrap();
    sender.clone().ready().await.unwrap().send_request(request, true).unwrap().0
}

async fn end(answer: ResponseFuture) -> (Response<()>, Bytes) {
    let (head, mut body) = timeout(DEADLINE, answer).await.unwrap().unwrap().into_parts();
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        bytes.extend_from_slice(&data.unwrap());
    }
    (Response::from_parts(head, ()), bytes.into())
}

fn header<'a>(answer: &'a Response<()>, name: &str) -> Option<&'a str> {
    answer.headers().get(name).map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn both_versions_are_spoken_on_one_port() {
    let pod = Pod::start(&[]);
    let (sender, _connection) = connect(&pod).await;
    let (one, two) = (begin(&sender, "/delay/50").await, begin(&sender, "/").await);
    for answer in [end(one).await, end(two).await] {
        assert_eq!((answer.0.status().as_u16(), answer.1.as_ref()), (200, b"ok\n".as_ref()));
        assert_eq!(header(&answer.0, headers::SLOT), Some("42"));
        assert_eq!(header(&answer.0, headers::POD), Some("web-1"));
    }
    let mut client = Client::connect(&pod);
    assert!(client.get("/").has(headers::SEQUENCE, "3"));
    // One that begins like HTTP/2, and one whose bytes come one by one.
    let mut client = Client::connect(&pod);
    client.send("P");
    client.send("OST / HTTP/1.1\r\nhost: pod\r\ncontent-length: 2\r\n\r\nhi");
    assert_eq!(client.answer().body, "hi");
    let mut torn = TcpStream::connect(&pod.address).unwrap();
    torn.set_nodelay(true).unwrap();
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0" {
        torn.write_all(&[*byte]).unwrap();
    }
    let mut first = [0; 9];
    torn.set_read_timeout(Some(DEADLINE)).unwrap();
    std::io::Read::read_exact(&mut torn, &mut first).unwrap();
    assert_eq!(first[3], 4, "SETTINGS: {first:?}");
}

#[tokio::test]
async fn a_draining_pod_says_goaway_and_answers_what_is_under_way() {
    let mut pod = Pod::start(&[]);
    let (sender, connection) = connect(&pod).await;
    end(begin(&sender, "/").await).await;
    let slow = begin(&sender, "/delay/800").await;
    // Its turn is after that of the slow one.
    end(begin(&sender, "/").await).await;
    pod.sigterm();
    let (answer, body) = end(slow).await;
    assert_eq!((answer.status().as_u16(), body.as_ref()), (200, b"ok\n".as_ref()));
    assert_eq!(header(&answer, headers::STATE), Some("draining"));
    assert_eq!(header(&answer, "connection"), None, "HTTP/2 has no such header");
    timeout(DEADLINE, connection).await.unwrap().unwrap().expect("GOAWAY without an error, then the end");
    assert!(sender.ready().await.is_err(), "no request begins after GOAWAY");
    let (lines, status) = pod.finish();
    assert_eq!(status.code(), Some(0));
    assert!(lines.iter().any(|line| matches!(line.event, Event::Drained { timed_out: false, .. })));
    assert_eq!(names(&lines).last().unwrap(), "finished");
}

#[tokio::test]
async fn a_connection_of_the_lame_duck_has_its_first_request_answered_and_is_told_to_go() {
    let mut pod = Pod::start(&["--lame-duck", "20s", "--drain-timeout", "21s"]);
    pod.sigterm();
    let (sender, connection) = connect(&pod).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (answer, _) = end(begin(&sender, "/").await).await;
    assert_eq!(header(&answer, headers::STATE), Some("lame-duck"));
    timeout(DEADLINE, connection).await.unwrap().unwrap().expect("GOAWAY without an error");
}
