//! From a URL to the address that load goes to, asked for once, before any load.

use std::net::{SocketAddr, ToSocketAddrs};

/// Host and port of an `http://` or `https://` URL.
///
/// # Errors
/// It is of another kind.
pub(crate) fn authority(url: &str) -> Result<String, String> {
    let (rest, port) = match url.split_once("://") {
        Some(("http", rest)) => (rest, 80),
        Some(("https", rest)) => (rest, 443),
        _ => return Err("only http:// and https:// are supported".to_owned()),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    Ok(if has_port { host.to_owned() } else { format!("{host}:{port}") })
}

/// The address of a host and port.
///
/// # Errors
/// The name does not resolve.
pub(crate) fn look_up(authority: &str) -> Result<SocketAddr, String> {
    authority
        .to_socket_addrs()
        .map_err(|error| format!("the name does not resolve: {error}"))?
        .next()
        .ok_or_else(|| "the name resolves to no address".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_host_and_port_whatever_stands_around_them() {
        assert_eq!(authority("http://a.example/x?y#z").unwrap(), "a.example:80");
        assert_eq!(authority("http://me:secret@127.0.0.1:81/").unwrap(), "127.0.0.1:81");
        assert_eq!(authority("http://[::1]").unwrap(), "[::1]:80");
        assert_eq!(authority("https://a").unwrap(), "a:443");
        assert!(authority("ftp://a").unwrap_err().contains("http://"));
        assert_eq!(look_up("127.0.0.1:81").unwrap().port(), 81);
        assert!(look_up("no such name:80").unwrap_err().contains("does not resolve"));
    }
}
