//! Workflow commands of GitHub Actions: the verdict and its counterexamples as annotations of a check.

use trial::compare::{Comparison, Outcome};
use trial::plan::Role;
use trial::report::{Report, Verdict};

use crate::facts::one_of_each;

/// GitHub shows ten of a kind for a step; so many leave room for others.
const SHOWN: usize = 5;

/// Lines for standard output, each a workflow command: one for the verdict, and for a failed run one for the first failure
/// of each kind (lane, class, pod).
#[must_use]
pub fn annotations(report: &Report) -> String {
    let scenario = &report.run.scenario;
    let because = report.reasons.first().map_or("", String::as_str);
    let mut lines = vec![match report.verdict {
        Verdict::Pass => command("notice", &format!("drainproof: {scenario} passed"), because),
        Verdict::Fail => command("error", &format!("drainproof: {scenario} failed"), because),
        Verdict::Inconclusive => {
            command("error", &format!("drainproof: {scenario} is inconclusive"), because)
        }
    }];
    if report.verdict == Verdict::Fail {
        let failed = |arm: &&trial::report::Arm| arm.role == Role::Trial && arm.verdict == Verdict::Fail;
        for arm in report.arms.iter().filter(failed) {
            for failure in one_of_each(&arm.failures) {
                let title = format!("{} in lane {} ({})", failure.class, failure.lane, arm.name);
                lines.push(command("error", &title, &failure.sentence));
            }
        }
        lines.truncate(1 + SHOWN);
    }
    lines.join("\n") + "\n"
}

/// One line: what a comparison with the baseline says, and why.
#[must_use]
pub fn comparison(comparison: &Comparison) -> String {
    let kind = if comparison.outcome == Outcome::NotWorse { "notice" } else { "error" };
    let title = format!("drainproof: {} is {}", comparison.new.scenario, comparison.outcome.as_str());
    let because = comparison.reasons.first().map_or("", String::as_str);
    command(kind, &title, because) + "\n"
}

/// What went wrong beside a report, as a command without its line's end.
#[must_use]
pub fn complaint(message: &str) -> String {
    command("error", "drainproof", message)
}

fn command(kind: &str, title: &str, message: &str) -> String {
    format!("::{kind} title={}::{}", property(title), data(message))
}

/// As the runner's toolkit escapes them; other control characters have no place in a line.
fn data(text: &str) -> String {
    let text = text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_command_whatever_it_holds() {
        assert_eq!(
            command("error", "a: b, c", "50 %\n::set-env"),
            "::error title=a%3A b%2C c::50 %25%0A::set-env"
        );
    }
}
