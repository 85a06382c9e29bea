//! Exit codes are an interface: gates and scripts rest on them.

use trial::report::Verdict;

/// What the process exits with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCode {
    /// Pass; rendered; done.
    Success,
    /// It could not run: not ready, not writable, not reachable.
    CouldNotRun,
    /// A flag, a scenario or an input file is wrong.
    Usage,
    /// Fail.
    Fail,
    /// Inconclusive.
    Inconclusive,
    /// It ran, but something of it is left.
    CleanupIncomplete,
    /// SIGINT.
    Interrupted,
    /// SIGTERM.
    Terminated,
}

impl ExitCode {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::CouldNotRun => 1,
            Self::Usage => 2,
            Self::Fail => 3,
            Self::Inconclusive => 4,
            Self::CleanupIncomplete => 5,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}

impl ExitCode {
    /// Of two findings the one that a gate must not miss: fail, then inconclusive.
    #[must_use]
    pub fn or_worse(self, other: Self) -> Self {
        let worse = [Self::Fail, Self::Inconclusive].into_iter().find(|code| [self, other].contains(code));
        worse.unwrap_or(self)
    }
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Pass => Self::Success,
            Verdict::Fail => Self::Fail,
            Verdict::Inconclusive => Self::Inconclusive,
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_exits_with_the_number_that_its_report_says() {
        for verdict in [Verdict::Pass, Verdict::Fail, Verdict::Inconclusive] {
            assert_eq!(ExitCode::from(verdict).code(), verdict.exit_code());
        }
    }

    #[test]
    fn the_worse_of_two_findings_counts() {
        let (pass, fail, inconclusive) = (ExitCode::Success, ExitCode::Fail, ExitCode::Inconclusive);
        assert_eq!(pass.or_worse(pass), pass);
        for other in [pass, fail, inconclusive] {
            assert_eq!((fail.or_worse(other), other.or_worse(fail)), (fail, fail));
        }
        assert_eq!((pass.or_worse(inconclusive), inconclusive.or_worse(pass)), (inconclusive, inconclusive));
    }
}
