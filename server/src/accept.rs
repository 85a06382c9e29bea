//! The listener: opened with an explicit backlog, and closed without losing who waits in its queue.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    time::Duration,
};

use nix::errno::Errno;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Connections that the kernel completes on our behalf before we accept them.
const BACKLOG: u32 = 1024;
/// Out of files (or memory) nothing but time helps: the connection stays in the queue, and the listener ready.
const BACK_OFF: Duration = Duration::from_millis(50);

/// Opens the listener.
///
/// # Errors
/// As the kernel refuses it.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restarted pod must not wait for the TIME_WAIT of its predecessor's connections.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The next connection. Safe to cancel.
pub(crate) async fn next(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return prepared(stream),
            Err(error) if of_one_connection(&error) => {
                tracing::debug!(%error, "a connection ended before it was accepted");
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept; trying again in {BACK_OFF:?}");
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
}

/// Takes every connection that is in the accept queue, then closes the listener: a client whose connection the
/// kernel has completed counts on being served, and closing would reset it.
pub(crate) fn close(listener: TcpListener) -> Vec<TcpStream> {
    // Through the standard library, because tokio may not yet know that the listener is ready.
    let Ok(listener) = listener.into_std() else { return vec![] };
    let mut queued = vec![];
    loop {
        match listener.accept() {
            Ok((stream, _)) => queued.extend(adopted(stream)),
            Err(error) if of_one_connection(&error) => {}
            Err(error) => {
                if error.kind() != ErrorKind::WouldBlock {
                    tracing::warn!(%error, "the accept queue could not be emptied");
                }
                return queued;
            }
        }
    }
}

fn adopted(stream: std::net::TcpStream) -> Option<TcpStream> {
    stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)).map(prepared).ok()
}

fn prepared(stream: TcpStream) -> TcpStream {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY was refused");
    }
    stream
}

/// Errors that `accept(2)` reports about the connection, not about the listener.
fn of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::ECONNABORTED | Errno::ECONNRESET | Errno::EINTR | Errno::EPROTO)
    )
}
