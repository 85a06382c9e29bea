//! Whether a pod still listens, seen from outside: for servers that report no lifecycle.
//!
//! The kernel lists listening sockets first in `/proc/net/tcp`, so a look reads a few lines however many connections
//! there are.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use cluster::Emitter;
use trial::event::Event;
use trial::id::PodId;

use crate::process::sweep;

/// How often one looks; the edge is known to this.
const EVERY: Duration = Duration::from_millis(20);

/// Looks until the listener is gone, and says so; says nothing if the process ended first.
pub(super) async fn watch(emitter: Emitter, pod: PodId, pid: u32, address: SocketAddr) {
    if !is_listening(address) {
        return;
    }
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        ticks.tick().await;
        if !is_listening(address) {
            if sweep::is_alive(pid) {
                emitter.emit(Event::ListenerSeenClosed { pod });
            }
            return;
        }
    }
}

fn is_listening(address: SocketAddr) -> bool {
    ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().any(|path| {
        let Ok(file) = File::open(path) else { return false };
        BufReader::new(file)
            .lines()
            .skip(1)
            .map_while(Result::ok)
            .map_while(|line| listener(&line))
            .any(|(any_or_v4, port)| port == address.port() && any_or_v4.is_none_or(|ip| ip == address.ip()))
    })
}

/// Address (`None` for any) and port of a listening socket's line; `None` for the first that does not listen.
fn listener(line: &str) -> Option<(Option<IpAddr>, u16)> {
    let mut fields = line.split_whitespace().skip(1);
    let (local, _remote, state) = (fields.next()?, fields.next()?, fields.next()?);
    if state != "0A" {
        return None;
    }
    let (address, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let ip = match address.len() {
        // IPv4 stands as one little-endian word.
        8 => IpAddr::from(u32::from_str_radix(address, 16).ok()?.to_le_bytes()),
        // Any IPv6 listener may take IPv4 too; `::` is what servers use for that.
        _ if address.bytes().all(|digit| digit == b'0') => return Some((None, port)),
        _ => return Some((Some(IpAddr::from([0_u8; 16])), port)),
    };
    Some(((!ip.is_unspecified()).then_some(ip), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_listener_is_seen_while_it_listens_and_not_after() {
        let socket = TcpListener::bind("127.0.0.9:0").unwrap();
        let address = socket.local_addr().unwrap();
        assert!(is_listening(address));
        let other = SocketAddr::new("127.0.0.10".parse().unwrap(), address.port());
        assert!(!is_listening(other), "another address with the same port");
        drop(socket);
        assert!(!is_listening(address));
    }

    #[test]
    fn lines_of_the_kernel_are_read() {
        let line =
            "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1";
        assert_eq!(listener(line), Some((Some("127.0.0.1".parse().unwrap()), 8080)));
        assert_eq!(listener(&line.replace("0A", "01")), None);
        assert_eq!(listener(&line.replace("0100007F", "00000000")), Some((None, 8080)));
    }
}
