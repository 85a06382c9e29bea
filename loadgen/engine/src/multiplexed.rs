//! One HTTP/2 connection, which several requests share. Nothing here sends anything twice: `h2` has no retries, and a
//! request that the peer refused is a failure like any other, however safe it would be to send it again.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use clock::Clock;
use h2::client::{Builder, SendRequest};
use http::HeaderValue;
use nix::errno::Errno;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::sleep;
use trial::id::PodId;
use trial::time::Stamp;

use crate::classify::Ending;
use crate::connection::{Destination, Wire, dial};
use crate::frames::{FrameStream, Frames};
use crate::lane::Lane;
use crate::pool::Numbered;
use crate::shared::{Room, Sharable};
use crate::stream::Notes;

/// As much as the answers of all streams may be ahead of us; of one stream an eighth.
const WINDOW: u32 = 8 << 20;
/// A connection that nobody needs any more takes leave with a GOAWAY, within this time.
const LEAVES_WITHIN: Duration = Duration::from_millis(250);

/// An established connection. When the last request on it lets go of it, it is closed in an orderly way.
#[derive(Debug)]
pub(crate) struct Multiplexed {
    pub(crate) number: u32,
    pub(crate) destination: Destination,
    pub(crate) host: HeaderValue,
    pub(crate) notes: Rc<Notes>,
    pub(crate) frames: Rc<Frames>,
    /// The pod that answered here, where the route named none and all answers come from one.
    pub(crate) pod: Cell<PodId>,
    /// When it was established.
    opened: Stamp,
    /// Requests begun on it.
    used: Cell<u32>,
    shared: Rc<State>,
    sender: SendRequest<Bytes>,
    lane: Rc<Lane>,
    task: JoinHandle<()>,
}

/// What the connection's own task must know too.
#[derive(Debug, Default)]
struct State {
    /// Requests under way.
    active: Cell<u32>,
    /// Its end has been counted as a close while it was idle, or was no such.
    end_counted: Cell<bool>,
    /// Nobody needs it any more: its end is ours.
    left: Cell<bool>,
    released: Notify,
}

impl Multiplexed {
    /// Connects. On failure says how the slot's work ended. `securing`: see [`dial`].
    pub(crate) async fn open(
        lane: &Rc<Lane>,
        destination: Destination,
        clock: Clock,
        securing: &Cell<bool>,
        number: impl FnOnce() -> u32,
    ) -> Result<Rc<Self>, Ending> {
        let notes = Notes::new(clock, lane.plan.security.is_some());
        let wire = dial(lane, destination, &notes, securing).await?;
        let frames = Frames::new(clock);
        let (number, shared) = (number(), Rc::<State>::default());
        let own = Own { notes: &notes, lane, shared: &shared, frames: &frames, number };
        let (sender, task) = match wire {
            Wire::Plain(stream) => own.begin(stream).await?,
            Wire::Secure(stream) => own.begin(*stream).await?,
        };
        lane.opened.set(lane.opened.get() + 1);
        let host = destination.host();
        let (pod, used, lane) = (Cell::new(destination.pod), Cell::new(0), Rc::clone(lane));
        let opened = clock.now();
        let this =
            Self { number, destination, host, notes, frames, pod, opened, used, shared, sender, lane, task };
        Ok(Rc::new(this))
    }

    /// A request begins: which one on this connection it is, and with what it is sent.
    pub(crate) fn begin(&self) -> (u32, SendRequest<Bytes>) {
        self.shared.active.set(self.shared.active.get() + 1);
        self.used.set(self.used.get() + 1);
        if self.used.get() > 1 {
            self.notes.look_for_the_end();
        }
        (self.used.get(), self.sender.clone())
    }

    /// It is over.
    pub(crate) fn end(&self) {
        self.shared.active.set(self.shared.active.get().saturating_sub(1));
    }

    /// A request that was to share the connection found that the peer had closed it unannounced.
    pub(crate) fn was_closed(&self) {
        // All its requests tell the same close.
        if !self.shared.end_counted.replace(true) && self.frames.goaway().is_none() {
            self.lane.count_idle_close();
        }
    }
}

/// What a connection's own task is about.
struct Own<'a> {
    notes: &'a Rc<Notes>,
    lane: &'a Rc<Lane>,
    shared: &'a Rc<State>,
    frames: &'a Rc<Frames>,
    number: u32,
}

impl Own<'_> {
    /// Begins to speak HTTP/2, in that task.
    async fn begin<T>(&self, stream: T) -> Result<(SendRequest<Bytes>, JoinHandle<()>), Ending>
    where
        T: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let io = FrameStream::new(stream, Rc::clone(self.notes), Rc::clone(self.frames));
        // Like that of HTTP/1, this handshake waits for nothing: the preface goes out with the first request.
        let (sender, driver) = Builder::new()
            .enable_push(false)
            .initial_window_size(WINDOW / 8)
            .initial_connection_window_size(WINDOW)
            .handshake(io)
            .await
            .map_err(|_| Ending::NotConnected(Errno::EIO as i32))?;
        let (lane, shared, frames) = (Rc::clone(self.lane), Rc::clone(self.shared), Rc::clone(self.frames));
        Ok((sender, spawn_local(drive(driver, lane, shared, frames, self.number))))
    }
}

/// Runs the connection to its end.
async fn drive<F>(driver: F, lane: Rc<Lane>, shared: Rc<State>, frames: Rc<Frames>, number: u32)
where
    F: Future<Output = Result<(), h2::Error>>,
{
    let released = async {
        shared.released.notified().await;
        sleep(LEAVES_WITHIN + lane.plan.one_way * 2).await;
    };
    tokio::select! {
        // What went wrong is in the notes.
        _outcome = driver => {}
        () = released => {}
    }
    lane.shared_ended(number);
    let announced = frames.goaway().is_some();
    let idle = shared.active.get() == 0 && !shared.left.get();
    if idle && !announced && !shared.end_counted.replace(true) {
        lane.count_idle_close();
    }
}

impl Numbered for Multiplexed {
    fn number(&self) -> u32 {
        self.number
    }
}

impl Sharable for Multiplexed {
    fn room(&self) -> Room {
        let settings = &self.lane.plan.settings;
        let used_up = settings.max_requests_per_connection.is_some_and(|most| self.used.get() >= most);
        if used_up
            || self.frames.goaway().is_some()
            || self.task.is_finished()
            || self.notes.eof.get()
            || self.notes.read_errno.get() != 0
            || self.lane.has_aged(self.opened)
        {
            return Room::Retired;
        }
        let most = usize::try_from(settings.max_concurrent_streams).unwrap_or(usize::MAX);
        let active = usize::try_from(self.shared.active.get()).unwrap_or(usize::MAX);
        if active < most.min(self.sender.current_max_send_streams()) { Room::Yes } else { Room::Full }
    }
}

impl Drop for Multiplexed {
    fn drop(&mut self) {
        // `h2` says goodbye once the last sender is gone, which is dropped after this.
        self.shared.left.set(true);
        self.shared.released.notify_one();
    }
}
