//! One connection: hyper's HTTP/1 client over a stream that takes notes. Nothing here sends anything twice.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use clock::Clock;
use http::HeaderValue;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use nix::errno::Errno;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::timeout;
use trial::id::PodId;
use trial::time::Stamp;

use crate::classify::Ending;
use crate::lane::Lane;
use crate::pool::{Home, Numbered};
use crate::secure::SecureStream;
use crate::stream::{Notes, NotingStream};

/// A peer that was asked to close has this long to do it, so that it and not we holds `TIME_WAIT`: at a connection
/// per request we would run out of ports.
const PEER_CLOSES_WITHIN: Duration = Duration::from_millis(250);

/// Where a connection leads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Destination {
    pub(crate) pod: PodId,
    pub(crate) address: SocketAddr,
    pub(crate) fallback: bool,
}

impl Destination {
    /// The name that a request goes to where it was given none.
    pub(crate) fn host(&self) -> HeaderValue {
        HeaderValue::from_str(&self.address.to_string())
            .unwrap_or_else(|_| HeaderValue::from_static("localhost"))
    }
}

/// A stream to an HTTP server.
pub(crate) enum Wire {
    Plain(NotingStream),
    Secure(Box<SecureStream>),
}

/// Connects, and secures the connection if the lane's are secured. `securing` is true meanwhile.
pub(crate) async fn dial(
    lane: &Lane,
    destination: Destination,
    notes: &Rc<Notes>,
    securing: &Cell<bool>,
) -> Result<Wire, Ending> {
    let tcp = connect(lane, destination, notes).await.map_err(Ending::NotConnected)?;
    let Some(security) = &lane.plan.security else { return Ok(Wire::Plain(tcp)) };
    securing.set(true);
    let secured = security.handshake(tcp, destination, notes).await.map_err(Ending::NotSecured);
    securing.set(false);
    secured.map(|stream| Wire::Secure(Box::new(stream)))
}

/// On failure gives the operating system's error number. Half a round trip has passed since the client set out; the
/// other half passes before it learns anything.
async fn connect(lane: &Lane, destination: Destination, notes: &Rc<Notes>) -> Result<NotingStream, i32> {
    let errno = |error: io::Error| error.raw_os_error().unwrap_or(Errno::EIO as i32);
    let connected = TcpStream::connect(destination.address).await;
    lane.travel().await;
    let tcp = connected.map_err(errno)?;
    tcp.set_nodelay(true).map_err(errno)?;
    Ok(NotingStream::new(tcp, lane.plan.one_way, Rc::clone(notes)))
}

/// Begins to speak HTTP/1, in a task of the connection's own.
async fn begin<T>(
    stream: T,
    lane: &Rc<Lane>,
    home: Home,
    number: u32,
) -> Result<(SendRequest<Full<Bytes>>, JoinHandle<()>), Ending>
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
{
    // A handshake of HTTP/1 exchanges nothing, so it cannot fail for the network's reasons.
    let (sender, driver) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|_| Ending::NotConnected(Errno::EIO as i32))?;
    let owner = Rc::clone(lane);
    let task = spawn_local(async move {
        // What went wrong is in the notes; hyper's words for it are not needed.
        let _outcome = driver.await;
        owner.connection_ended(home, number);
    });
    Ok((sender, task))
}

/// An established connection. Dropping it closes it at once, whatever is under way.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) number: u32,
    pub(crate) destination: Destination,
    pub(crate) host: HeaderValue,
    pub(crate) sender: SendRequest<Full<Bytes>>,
    pub(crate) notes: Rc<Notes>,
    /// When it was established.
    pub(crate) opened: Stamp,
    /// Requests begun on it.
    pub(crate) used: u32,
    task: JoinHandle<()>,
}

impl Connection {
    /// Connects. On failure says how the slot's work ended. `securing`: see [`dial`].
    pub(crate) async fn open(
        lane: &Rc<Lane>,
        home: Home,
        destination: Destination,
        clock: Clock,
        securing: &Cell<bool>,
        number: impl FnOnce() -> u32,
    ) -> Result<Self, Ending> {
        let notes = Notes::new(clock, lane.plan.security.is_some());
        let wire = dial(lane, destination, &notes, securing).await?;
        let number = number();
        let (sender, task) = match wire {
            Wire::Plain(stream) => begin(stream, lane, home, number).await?,
            Wire::Secure(stream) => begin(*stream, lane, home, number).await?,
        };
        lane.opened.set(lane.opened.get() + 1);
        let host = destination.host();
        Ok(Self { number, destination, host, sender, notes, opened: clock.now(), used: 0, task })
    }

    /// Leaves the close to the peer, for a short while.
    pub(crate) async fn let_peer_close(mut self, one_way: Duration) {
        let _closed = timeout(PEER_CLOSES_WITHIN + one_way * 2, &mut self.task).await;
    }
}

impl Numbered for Connection {
    fn number(&self) -> u32 {
        self.number
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}
