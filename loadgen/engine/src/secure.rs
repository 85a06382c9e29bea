//! TLS between HTTP and the stream that takes notes.
//!
//! What the kernel says (FIN, RST, bytes taken) is noted below TLS; what belongs to a request or its answer above it,
//! since a handshake, a session ticket or an alert is neither.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use nix::errno::Errno;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use trial::settings::{LaneKind, Load, Target};

use crate::connection::Destination;
use crate::error::EngineError;
use crate::stream::{Notes, NotingStream};

/// What is read at once where a peer sent something before it was asked.
const UNASKED: usize = 4096;

/// So much is read below TLS of what nobody asked for: some session tickets, and an alert.
const AHEAD_MAX: usize = 64 << 10;

/// How a lane's connections are secured.
#[derive(Debug, Clone)]
pub(crate) struct Security {
    config: Arc<ClientConfig>,
    /// The name that the certificate must carry; `None` for the address.
    name: Option<ServerName<'static>>,
    h2: bool,
}

/// The certificates of authorities in a PEM file.
///
/// # Errors
/// None is in it, or one cannot be read; completes "the certificates of the authority: …".
pub fn authorities(pem: &str) -> Result<usize, EngineError> {
    given(pem).map(|roots| roots.len())
}

fn given(pem: &str) -> Result<RootCertStore, EngineError> {
    let refuse = |reason: String| EngineError::Authority { reason };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| refuse(format!("not in PEM form: {error}")))?;
        roots.add(certificate).map_err(|error| refuse(error.to_string()))?;
    }
    if roots.is_empty() { Err(refuse("no BEGIN CERTIFICATE in it".to_owned())) } else { Ok(roots) }
}

/// Those that this machine trusts.
fn of_the_machine() -> Result<RootCertStore, EngineError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let reason = "none are installed here, and none were given (load.tls.ca, --cacert)".to_owned();
        return Err(EngineError::Authority { reason });
    }
    Ok(roots)
}

impl Security {
    /// Of each lane's connections, in the order of the lanes; `None` if the load is not secured.
    pub(crate) fn of(load: &Load) -> Result<Option<Vec<Self>>, EngineError> {
        if !load.is_secure() {
            return Ok(None);
        }
        let stated = load.tls.as_ref();
        let roots = match stated.and_then(|tls| tls.ca.as_deref()) {
            Some(pem) => given(pem)?,
            None => of_the_machine()?,
        };
        let name = match (stated.and_then(|tls| tls.server_name.as_deref()), &load.target) {
            (Some(name), _) => Some(server_name(name)?),
            (None, Target::Url(url)) => host(url).map(server_name).transpose()?,
            (None, Target::Service) => None,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let plain = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| EngineError::Authority { reason: error.to_string() })?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // Lanes do not share sessions: what one of them does is not to depend on another.
        let of_lane = |kind: LaneKind| {
            let h2 = kind == LaneKind::H2;
            let mut config = plain.clone();
            config.alpn_protocols = vec![if h2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
            config.resumption = rustls::client::Resumption::in_memory_sessions(256);
            Self { config: Arc::new(config), name: name.clone(), h2 }
        };
        Ok(Some(load.lanes.iter().map(|lane| of_lane(lane.kind)).collect()))
    }

    /// The handshake. On failure an error number that says why: what the connection died of (0 for the peer's FIN),
    /// `EKEYREJECTED` for a certificate that is not accepted, `EPROTONOSUPPORT` for a peer without HTTP/2, else `EPROTO`.
    pub(crate) async fn handshake(
        &self,
        tcp: NotingStream,
        destination: Destination,
        notes: &Rc<Notes>,
    ) -> Result<SecureStream, i32> {
        let name =
            self.name.clone().unwrap_or_else(|| ServerName::IpAddress(destination.address.ip().into()));
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let tls = connector.connect(name, tcp).await.map_err(|error| why(&error, notes))?;
        let chosen = tls.get_ref().1.alpn_protocol();
        if self.h2 && chosen != Some(b"h2") {
            return Err(Errno::EPROTONOSUPPORT as i32);
        }
        Ok(SecureStream { tls, notes: Rc::clone(notes), ahead: Vec::new() })
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, EngineError> {
    ServerName::try_from(name.to_owned()).map_err(|_| EngineError::ServerName { value: name.to_owned() })
}

/// The host in a URL, without brackets and port.
fn host(url: &str) -> Option<&str> {
    let authority = url.split_once("://")?.1.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if let Some(bracketed) = host.strip_prefix('[') {
        return bracketed.split(']').next();
    }
    host.split(':').next()
}

fn why(error: &io::Error, notes: &Notes) -> i32 {
    // A failed write is hidden below, and told as whatever the next read found.
    let told = [notes.read_errno.get(), notes.write_errno.get(), error.raw_os_error().unwrap_or(0)];
    if let Some(errno) = told.into_iter().find(|errno| *errno != 0) {
        return errno;
    }
    let of_tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match of_tls {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            Errno::EKEYREJECTED as i32
        }
        Some(rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol)) => {
            Errno::EPROTONOSUPPORT as i32
        }
        None if notes.eof.get() => 0,
        Some(_) | None => Errno::EPROTO as i32,
    }
}

/// A secured stream, which notes what belongs to requests and answers.
#[derive(Debug)]
pub(crate) struct SecureStream {
    tls: TlsStream<NotingStream>,
    notes: Rc<Notes>,
    /// What was read while looking for the peer's end.
    ahead: Vec<u8>,
}

impl SecureStream {
    /// As below TLS before the first byte of a request: is the peer's end already there? A ticket or an alert may stand
    /// before it, so what has come is read, and not only looked at.
    fn look(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !self.notes.takes_a_look() || !self.ahead.is_empty() {
            return Ok(());
        }
        self.tls.get_mut().0.read_ahead(cx, AHEAD_MAX);
        let mut room = [0; UNASKED];
        let mut buf = ReadBuf::new(&mut room);
        match Pin::new(&mut self.tls).poll_read(cx, &mut buf) {
            Poll::Pending => return Ok(()),
            Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                self.notes.note_answer(buf.filled().len());
                self.ahead.extend_from_slice(buf.filled());
                if self.notes.takes_unasked() {
                    return Ok(());
                }
            }
            Poll::Ready(Ok(())) => self.notes.note_end(),
            Poll::Ready(Err(error)) => self.note_error(&error),
        }
        self.notes.stale.set(true);
        Err(io::ErrorKind::NotConnected.into())
    }

    fn note_error(&self, error: &io::Error) {
        if error.raw_os_error().is_none() && !self.notes.is_over() {
            self.notes.not_tls.set(true);
        }
    }

    fn took(&self, result: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(taken)) = result {
            self.notes.note_taken(*taken);
            if self.notes.is_over() {
                // TLS took it, and nobody else will.
                self.notes.write_blocked.set(true);
            }
        }
    }
}

impl AsyncRead for SecureStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.ahead.is_empty() {
            let part = this.ahead.len().min(buf.remaining());
            buf.put_slice(&this.ahead[..part]);
            this.ahead.drain(..part);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let result = ready!(Pin::new(&mut this.tls).poll_read(cx, buf));
        match &result {
            Ok(()) if buf.filled().len() == before => this.notes.note_end(),
            Ok(()) => this.notes.note_answer(buf.filled().len() - before),
            Err(error) => this.note_error(error),
        }
        Poll::Ready(result)
    }
}

impl AsyncWrite for SecureStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.look(cx)?;
        let result = Pin::new(&mut this.tls).poll_write(cx, buf);
        this.took(&result);
        result
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.look(cx)?;
        let result = Pin::new(&mut this.tls).poll_write_vectored(cx, bufs);
        this.took(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_to_be_proven_is_the_urls_host() {
        assert_eq!(host("https://shop.example:8443/x"), Some("shop.example"));
        assert_eq!(host("https://me:secret@shop.example"), Some("shop.example"));
        assert_eq!(host("https://[::1]:8443"), Some("::1"));
        assert!(server_name("::1").is_ok() && server_name("127.0.0.1").is_ok());
        assert!(server_name("a b").is_err());
    }

    #[test]
    fn what_holds_no_certificate_is_no_authority() {
        let error = |pem: &str| authorities(pem).expect_err("nothing in it").to_string();
        assert!(error("hello").contains("no BEGIN CERTIFICATE in it"), "{}", error("hello"));
        let broken = "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
        assert!(error(broken).contains("not in PEM form"), "{}", error(broken));
    }
}
