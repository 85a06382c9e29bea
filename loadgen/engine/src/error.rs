//! What keeps an engine from running.

use std::io;

use nix::errno::Errno;

/// Failed to run the engine. Completes "failed to start the load: …".
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A method that HTTP does not allow.
    #[error("method `{value}` is not a token")]
    Method {
        /// As given.
        value: String,
    },
    /// Neither a path nor a path with a query.
    #[error("path `{value}` cannot be requested")]
    Path {
        /// As given.
        value: String,
    },
    /// A header that cannot be sent.
    #[error("header `{name}` cannot be sent: {reason}")]
    Header {
        /// Its name as given; values may be secret.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// A rate that is no positive number.
    #[error("rate {rate} of lane {lane} is not a positive number")]
    Rate {
        /// Name of the lane.
        lane: &'static str,
        /// As given.
        rate: f64,
    },
    /// More lanes than a record can name.
    #[error("{count} lanes are more than 255")]
    Lanes {
        /// As given.
        count: usize,
    },
    /// Whom certificates are to be signed by.
    #[error("the certificates of the authority: {reason}")]
    Authority {
        /// What is wrong with them.
        reason: String,
    },
    /// A name that no certificate can carry.
    #[error("`{value}` is no name that a certificate could carry")]
    ServerName {
        /// As given.
        value: String,
    },
    /// The client of lane `pooled`.
    #[error("the client of lane pooled: {reason}")]
    Client {
        /// In its own words.
        reason: String,
    },
    /// No thread for the engine.
    #[error("the engine's thread did not start")]
    Thread(#[source] io::Error),
    /// No runtime on that thread.
    #[error("the engine's runtime did not start")]
    Runtime(#[source] io::Error),
    /// No timerfd.
    #[error("the timer that paces the load was refused")]
    Timer(#[source] Errno),
    /// A bug: the engine's thread is gone, and with it the records it held.
    #[error("the engine's thread ended unexpectedly")]
    Died,
}
