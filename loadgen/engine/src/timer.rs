//! A timer as exact as the kernel's: tokio's own wakes in whole milliseconds.

use std::os::fd::{AsFd, AsRawFd, RawFd};

use clock::Clock;
use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::unix::AsyncFd;
use trial::time::Stamp;

use crate::error::EngineError;

/// A timerfd on `CLOCK_MONOTONIC`.
#[derive(Debug)]
pub(crate) struct Timer(AsyncFd<Fd>);

#[derive(Debug)]
struct Fd(TimerFd);

impl AsRawFd for Fd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Timer {
    /// Must be called within the runtime that will wait.
    pub(crate) fn new() -> Result<Self, EngineError> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let fd = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags).map_err(EngineError::Timer)?;
        #[expect(
            deprecated,
            reason = "its successor is an unsafe fn, for types whose descriptor may change; ours cannot"
        )]
        AsyncFd::new(Fd(fd)).map(Self).map_err(EngineError::Runtime)
    }

    /// Waits until the clock reads `at`; returns at once if it already does. Cancel-safe.
    pub(crate) async fn wait_until(&self, clock: Clock, at: Stamp) -> Result<(), Errno> {
        let expiration = Expiration::OneShot(TimeSpec::from_duration(clock.raw(at)));
        // Setting the timer also forgets an expiry that was not read, so none ever is: that saves a call each time.
        self.0.get_ref().0.set(expiration, TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
        loop {
            let mut guard = self
                .0
                .readable()
                .await
                .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
            guard.clear_ready();
            // A readiness left over from an earlier wait comes too early.
            if clock.now() >= at {
                return Ok(());
            }
        }
    }
}
