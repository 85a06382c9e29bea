//! An HTTPS server that does to each slot what it was told to, and logs it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::support::listen;

/// What to do to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsFault {
    None,
    Unavailable,
    /// `close_notify` and FIN, before the answer.
    CutInOrder,
    /// FIN alone, before the answer.
    CutFin,
    CutRst,
    /// Plain text where a record of TLS should be.
    PlainText,
    /// FIN in the middle of the answer.
    BodyFin,
    BodyRst,
    /// Answers and closes without having said that it will.
    CloseUnannounced,
}

/// What to do to each connection, before any request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handshake {
    Done,
    Fin,
    Rst,
    PlainText,
    Stall,
}

/// A certificate for 127.0.0.1 and `shop.test`, and the authority that signed it.
pub(crate) struct Certified {
    pub(crate) authority: String,
    config: ServerConfig,
}

impl Certified {
    /// `alpn`: what the server offers.
    pub(crate) fn new(alpn: &[&[u8]]) -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let names = vec!["127.0.0.1".to_owned(), "shop.test".to_owned()];
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Self { authority: authority.pem(), config }
    }
}

type Plan = Arc<dyn Fn(u64) -> TlsFault + Send + Sync>;

pub(crate) struct TlsServer {
    pub(crate) address: SocketAddr,
    pub(crate) authority: String,
    log: Arc<Mutex<Vec<(u64, TlsFault)>>>,
    accepted: Arc<AtomicUsize>,
}

impl TlsServer {
    /// Serves HTTP/1 until the process ends.
    pub(crate) fn http1(plan: impl Fn(u64) -> TlsFault + Send + Sync + 'static) -> Self {
        Self::start(Certified::new(&[b"http/1.1"]), Handshake::Done, plan)
    }

    pub(crate) fn start(
        certified: Certified,
        handshake: Handshake,
        plan: impl Fn(u64) -> TlsFault + Send + Sync + 'static,
    ) -> Self {
        let log = Arc::<Mutex<Vec<(u64, TlsFault)>>>::default();
        let (plan, written): (Plan, _) = (Arc::new(plan), Arc::clone(&log));
        let acceptor = TlsAcceptor::from(Arc::new(certified.config));
        let (address, accepted) = listen(move |tcp| {
            serve(tcp, acceptor.clone(), handshake, Arc::clone(&plan), Arc::clone(&written))
        });
        Self { address, authority: certified.authority, log, accepted }
    }

    /// Answers every stream of HTTP/2 with 200 until the process ends.
    pub(crate) fn h2() -> Self {
        let certified = Certified::new(&[b"h2", b"http/1.1"]);
        let log = Arc::<Mutex<Vec<(u64, TlsFault)>>>::default();
        let written = Arc::clone(&log);
        let acceptor = TlsAcceptor::from(Arc::new(certified.config));
        let (address, accepted) = listen(move |tcp| serve_h2(tcp, acceptor.clone(), Arc::clone(&written)));
        Self { address, authority: certified.authority, log, accepted }
    }

    /// Requests that came, in order of their slots.
    pub(crate) fn log(&self) -> Vec<(u64, TlsFault)> {
        let mut log = self.log.lock().unwrap().clone();
        log.sort_by_key(|(slot, _)| *slot);
        log
    }

    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

fn reset(tcp: &TcpStream) {
    SockRef::from(tcp).set_linger(Some(Duration::ZERO)).unwrap();
}

/// `None` where the client went away.
async fn serve(
    mut tcp: TcpStream,
    acceptor: TlsAcceptor,
    handshake: Handshake,
    plan: Plan,
    log: Arc<Mutex<Vec<(u64, TlsFault)>>>,
) -> Option<()> {
    if handshake != Handshake::Done {
        // The client's hello is read first, so that the close is not taken for that of a connection nobody accepted.
        let _length = tcp.read(&mut [0; 4096]).await.ok()?;
        match handshake {
            Handshake::Rst => reset(&tcp),
            Handshake::PlainText => tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.ok()?,
            Handshake::Stall => std::future::pending().await,
            Handshake::Fin | Handshake::Done => {}
        }
        return Some(());
    }
    let mut tls = acceptor.accept(tcp).await.ok()?;
    loop {
        let (slot, body) = request(&mut tls).await?;
        let fault = plan(slot);
        log.lock().unwrap().push((slot, fault));
        let length = body.len();
        let whole =
            format!("HTTP/1.1 200 OK\r\ndrainproof-slot: {slot}\r\ncontent-length: {length}\r\n\r\n{body}");
        match fault {
            TlsFault::None => tls.write_all(whole.as_bytes()).await.ok()?,
            TlsFault::Unavailable => {
                let answer = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
                tls.write_all(answer.as_bytes()).await.ok()?;
            }
            TlsFault::CutInOrder => return tls.shutdown().await.ok(),
            TlsFault::CutFin => return Some(()),
            TlsFault::CutRst => {
                reset(tls.get_ref().0);
                return Some(());
            }
            TlsFault::PlainText => {
                tls.get_mut().0.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
                // Until the client has had enough.
                tls.get_mut().0.read_to_end(&mut Vec::new()).await.ok()?;
                return Some(());
            }
            TlsFault::BodyFin | TlsFault::BodyRst => {
                tls.write_all(&whole.as_bytes()[..whole.len() - 1]).await.ok()?;
                tls.flush().await.ok()?;
                if fault == TlsFault::BodyRst {
                    // What was sent is to be read before the RST takes it away.
                    delivered(tls.get_ref().0).await;
                    reset(tls.get_ref().0);
                }
                return Some(());
            }
            TlsFault::CloseUnannounced => {
                tls.write_all(whole.as_bytes()).await.ok()?;
                return tls.shutdown().await.ok();
            }
        }
        tls.flush().await.ok()?;
    }
}

/// The client has read all that was sent to it: a RST takes away what still lies in its kernel.
async fn delivered(tcp: &TcpStream) {
    let (client, server) = (tcp.peer_addr().unwrap().port(), tcp.local_addr().unwrap().port());
    let ends = |line: &str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let mut port = || u16::from_str_radix(fields.next()?.rsplit_once(':')?.1, 16).ok();
        let of_both = port() == Some(client) && port() == Some(server);
        let unread = fields.nth(1).and_then(|queues| queues.split_once(':')).map(|(_, unread)| unread);
        of_both && unread != Some("00000000")
    };
    while std::fs::read_to_string("/proc/net/tcp").unwrap().lines().any(ends) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The slot of the next request, and the body of its answer: its own, if it has one.
async fn request(tls: &mut TlsStream<TcpStream>) -> Option<(u64, String)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tls.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let value = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.and_then(|value| value.parse::<u64>().ok())
    };
    let mut body = b"ok\n".to_vec();
    if let Some(length) = value("content-length") {
        body = vec![0; usize::try_from(length).unwrap()];
        tls.read_exact(&mut body).await.ok()?;
    }
    Some((value("drainproof-slot")?, String::from_utf8(body).unwrap()))
}

async fn serve_h2(
    tcp: TcpStream,
    acceptor: TlsAcceptor,
    log: Arc<Mutex<Vec<(u64, TlsFault)>>>,
) -> Option<()> {
    let tls = acceptor.accept(tcp).await.ok()?;
    let mut connection = h2::server::handshake(tls).await.ok()?;
    while let Some(stream) = connection.accept().await {
        let (request, mut respond) = stream.ok()?;
        assert_eq!(request.uri().scheme_str(), Some("https"));
        let slot = request.headers().get("drainproof-slot")?.to_str().ok()?.parse().ok()?;
        log.lock().unwrap().push((slot, TlsFault::None));
        let answer = http::Response::builder().header("drainproof-slot", slot).body(()).ok()?;
        let mut body = respond.send_response(answer, false).ok()?;
        body.send_data(Bytes::from_static(b"ok\n"), true).ok()?;
    }
    Some(())
}
