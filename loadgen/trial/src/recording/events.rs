//! Lines of `events.ndjson`.

use crate::event::TimedEvent;

/// So many complaints are spelled out; a file that is not ours at all would otherwise give one a line.
const COMPLAINTS_KEPT: usize = 20;

/// Reads events, one JSON object a line; the second part says which lines could not be read.
///
/// The last line may be cut short, as kill −9 leaves it: that is no complaint (the missing `completed` event tells).
/// A broken line before it is one, and makes the run inconclusive.
#[must_use]
pub fn parse_events(text: &str) -> (Vec<TimedEvent>, Vec<String>) {
    let mut events = Vec::new();
    let mut complaints = Vec::new();
    let mut broken = 0_usize;
    for (index, raw) in text.split_inclusive('\n').enumerate() {
        let whole = raw.ends_with('\n');
        let line = raw.trim();
        if line.is_empty() {
            continue;
        }
        match serde_json::from_str(line) {
            Ok(event) => events.push(event),
            Err(_) if !whole => {}
            Err(error) => {
                broken += 1;
                if complaints.len() < COMPLAINTS_KEPT {
                    complaints.push(format!("line {} of the events is broken: {error}", index + 1));
                }
            }
        }
    }
    if broken > COMPLAINTS_KEPT {
        complaints.push(format!("{} more lines of the events are broken", broken - COMPLAINTS_KEPT));
    }
    (events, complaints)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, HookOutcome};
    use crate::id::{ArmId, PodId};
    use crate::time::Stamp;

    fn lines(events: &[TimedEvent]) -> String {
        events.iter().map(|event| serde_json::to_string(event).unwrap() + "\n").collect()
    }

    fn sample() -> Vec<TimedEvent> {
        let pod = PodId(1);
        let outcome = HookOutcome::Failed { message: "exit 1".into() };
        [
            Event::PreStopEnded { pod, inferred: true, outcome },
            Event::Exited { pod, code: None, signal: Some(9), inferred: false },
            Event::Completed { rows: 3, overflowed: 0 },
        ]
        .into_iter()
        .map(|event| TimedEvent { at_ns: Stamp::from_nanos(7), arm: ArmId(2), event })
        .collect()
    }

    #[test]
    fn whole_lines_come_back_as_they_were() {
        assert_eq!(parse_events(&lines(&sample())), (sample(), vec![]));
    }

    #[test]
    fn a_cut_last_line_is_no_complaint_whatever_was_cut() {
        let text = lines(&sample());
        for end in 0..text.len() {
            let (events, complaints) = parse_events(&text[..end]);
            assert!(complaints.is_empty(), "cut at {end}: {complaints:?}");
            assert!(sample().starts_with(&events));
        }
    }

    #[test]
    fn a_broken_line_in_the_middle_is_a_complaint_with_its_number() {
        let text = lines(&sample()).replacen("\"exited\"", "\"exi", 1);
        let (events, complaints) = parse_events(&text);
        assert_eq!(events.len(), 2);
        assert!(complaints[0].starts_with("line 2 of the events"), "{complaints:?}");
        assert_eq!(parse_events(&"x\n".repeat(500)).1.len(), COMPLAINTS_KEPT + 1);
    }
}
