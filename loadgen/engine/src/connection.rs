//! One connection: HTTP/1 over a stream that takes notes. Nothing here sends anything twice.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use clock::Clock;
use http::HeaderValue;
use nix::errno::Errno;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::timeout;
use trial::id::{NodeId, PodId};
use trial::time::Stamp;

use crate::classify::Ending;
use crate::http1::{Failure, Http1, Reader};
use crate::lane::Lane;
use crate::pool::{Home, Numbered};
use crate::request::Template;
use crate::secure::SecureStream;
use crate::stream::{Kept, Notes, NotingStream};

/// A peer that was asked to close has this long to do it, so that it and not we holds `TIME_WAIT`: at a connection
/// per request we would run out of ports.
const PEER_CLOSES_WITHIN: Duration = Duration::from_millis(250);

/// Where a connection leads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Destination {
    /// The node whose rules chose the pod.
    pub(crate) from: NodeId,
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
#[derive(Debug)]
pub(crate) enum Wire {
    Plain(NotingStream),
    Secure(Box<SecureStream>),
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Secure(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Secure(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Secure(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Secure(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
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
    Ok(NotingStream::new(tcp, lane.plan.one_way, lane.asks_when(), Rc::clone(notes)))
}

/// An established connection. Dropping it closes it at once, whatever is under way.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) number: u32,
    pub(crate) destination: Destination,
    pub(crate) host: HeaderValue,
    pub(crate) notes: Rc<Notes>,
    /// When it was established.
    pub(crate) opened: Stamp,
    /// Requests begun on it.
    pub(crate) used: u32,
    socket: Rc<Socket>,
    /// Of a connection that is kept.
    watch: Option<JoinHandle<()>>,
}

/// What speaks on a connection, and what the task knows of it that watches it while it rests.
#[derive(Debug)]
struct Socket {
    http: RefCell<Http1<Wire>>,
    state: Cell<Rest>,
    watcher: RefCell<Option<Waker>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// A request is under way, or about to be.
    InUse,
    Resting,
    /// The peer closed it meanwhile, or spoke unasked.
    Over,
}

impl Socket {
    /// Ready when the connection ended while it rested.
    fn poll_over(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.state.get() == Rest::Resting && self.http.borrow_mut().poll_unasked(cx).is_ready() {
            self.state.set(Rest::Over);
        }
        if self.state.get() == Rest::Over { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Connection {
    /// Connects. Boxed, as it is handed on several times a request. On failure says how the slot's work ended. `securing`: see [`dial`].
    pub(crate) async fn open(
        lane: &Rc<Lane>,
        home: Home,
        destination: Destination,
        clock: Clock,
        securing: &Cell<bool>,
        number: impl FnOnce() -> u32,
    ) -> Result<Box<Self>, Ending> {
        let notes = Notes::new(clock, lane.plan.security.is_some());
        let http = RefCell::new(Http1::new(dial(lane, destination, &notes, securing).await?));
        let number = number();
        let socket = Rc::new(Socket { http, state: Cell::new(Rest::InUse), watcher: RefCell::new(None) });
        let watch = lane.keeps_connections().then(|| watch(&socket, lane, home, number));
        lane.opened.set(lane.opened.get() + 1);
        let host = destination.host();
        let opened = clock.now();
        Ok(Box::new(Self { number, destination, host, notes, opened, used: 0, socket, watch }))
    }

    /// A request begins; `looks`: see [`Notes::begin`]. Gives the body that it carries.
    pub(crate) fn begin(&mut self, template: &Template, slot: u64, looks: bool) -> Bytes {
        let kept = if self.used == 0 { Kept::No } else { Kept::Yes };
        self.used += 1;
        // What is known of its end stays known: what told it is read, and told once.
        if self.socket.state.get() != Rest::Over {
            self.socket.state.set(Rest::InUse);
        }
        self.notes.begin(kept, looks);
        self.socket.http.borrow_mut().begin(template, slot, &self.host)
    }

    /// Sends the request that was begun, and reads its answer.
    pub(crate) async fn converse(
        &self,
        room: &RefCell<Box<[u8]>>,
        reader: &mut impl Reader,
    ) -> Result<(), Failure> {
        // What the runtime knows of a kept connection costs nothing to know.
        let mut unasked = self.used > 1;
        poll_fn(|cx| {
            let mut http = self.socket.http.borrow_mut();
            let over = self.socket.state.get() == Rest::Over;
            if std::mem::take(&mut unasked) && (over || http.poll_unasked(cx).is_ready()) {
                self.notes.stale.set(true);
                return Poll::Ready(Err(Failure::Cut));
            }
            http.poll_answer(cx, &mut room.borrow_mut(), reader)
        })
        .await
    }

    /// True if the request was sent to its end: an answer may overtake it.
    pub(crate) fn is_sent(&self) -> bool {
        self.socket.http.borrow().is_sent()
    }

    /// Sends the request to its end; false if the connection is over.
    pub(crate) async fn send_rest(&self) -> bool {
        let sent = poll_fn(|cx| self.socket.http.borrow_mut().poll_sent(cx)).await;
        // A failed write is told by the read that comes after it.
        sent.is_ok() && self.notes.write_errno.get() == 0
    }

    /// True if the answer was all that came.
    pub(crate) fn is_in_order(&self) -> bool {
        self.socket.http.borrow().is_in_order()
    }

    /// It carries no request now. If it ends before the next, its lane hears of it.
    pub(crate) fn rests(&self) {
        self.socket.state.set(Rest::Resting);
        if let Some(watcher) = &*self.socket.watcher.borrow()
            && self.socket.poll_over(&mut Context::from_waker(watcher)).is_ready()
        {
            watcher.wake_by_ref();
        }
    }

    /// Leaves the close to the peer, for a short while.
    pub(crate) async fn let_peer_close(self, one_way: Duration) {
        let closed = poll_fn(|cx| self.socket.http.borrow_mut().poll_shutdown(cx));
        let _closed = timeout(PEER_CLOSES_WITHIN + one_way * 2, closed).await;
    }
}

/// Waits for the end of a connection that rests, in a task of its own.
fn watch(socket: &Rc<Socket>, lane: &Rc<Lane>, home: Home, number: u32) -> JoinHandle<()> {
    // Not the connection's owner: dropped, that closes it at once.
    let (socket, lane) = (Rc::downgrade(socket), Rc::clone(lane));
    spawn_local(async move {
        poll_fn(|cx| match socket.upgrade() {
            Some(socket) => {
                socket.watcher.borrow_mut().get_or_insert_with(|| cx.waker().clone());
                socket.poll_over(cx)
            }
            None => Poll::Ready(()),
        })
        .await;
        lane.connection_ended(home, number);
    })
}

impl Numbered for Box<Connection> {
    fn number(&self) -> u32 {
        self.number
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(watch) = &self.watch {
            watch.abort();
        }
    }
}
