//! The signals that may ask a container to stop: those of an image's STOPSIGNAL or a pod's `lifecycle.stopSignal` that a
//! server can handle.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The signal that asks a container to stop: its image's STOPSIGNAL, or `lifecycle.stopSignal` (Kubernetes 1.33).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum StopSignal {
    /// What Kubernetes sends where neither the image nor the pod says otherwise.
    #[default]
    Sigterm,
    /// Keyboard interrupt.
    Sigint,
    /// Quit; the graceful stop of nginx and php-fpm.
    Sigquit,
    /// Hang-up.
    Sighup,
    /// User-defined.
    Sigusr1,
    /// User-defined; the graceful stop of Apache is `SIGWINCH`, which is not offered.
    Sigusr2,
}

impl StopSignal {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Sigterm, Self::Sigint, Self::Sigquit, Self::Sighup, Self::Sigusr1, Self::Sigusr2];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sigterm => "SIGTERM",
            Self::Sigint => "SIGINT",
            Self::Sigquit => "SIGQUIT",
            Self::Sighup => "SIGHUP",
            Self::Sigusr1 => "SIGUSR1",
            Self::Sigusr2 => "SIGUSR2",
        }
    }
}

/// Not the name of a signal in [`StopSignal::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownSignal;

impl fmt::Display for UnknownSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("allowed: ")?;
        for (index, signal) in StopSignal::ALL.iter().enumerate() {
            write!(f, "{}{}", if index == 0 { "" } else { ", " }, signal.as_str())?;
        }
        Ok(())
    }
}

impl std::error::Error for UnknownSignal {}

impl FromStr for StopSignal {
    type Err = UnknownSignal;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|signal| signal.as_str() == name).ok_or(UnknownSignal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_goes_by_one_name_in_flags_and_files() {
        for signal in StopSignal::ALL {
            assert_eq!(signal.as_str().parse(), Ok(signal));
            assert_eq!(serde_json::to_string(&signal).unwrap(), format!("\"{}\"", signal.as_str()));
        }
        assert_eq!("SIGKILL".parse::<StopSignal>(), Err(UnknownSignal));
        assert!(UnknownSignal.to_string().ends_with("SIGUSR1, SIGUSR2"));
    }
}
