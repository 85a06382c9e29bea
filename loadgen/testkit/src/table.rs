//! The table, as it is shown.

use std::fmt::Write;

use crate::row::Row;

/// For people.
#[must_use]
pub fn text(rows: &[Row]) -> String {
    let mut out = format!(
        "{:<30} {:<24} {:<7} {:>9} {:>9} {:>8} {:>8} {:>8} {:>9} {:>7}\n",
        "fault", "class", "lane", "requests", "seen", "planted", "recorded", "recall", "precision", "resent"
    );
    for row in rows {
        let tally = &row.tally;
        // A String takes whatever is written.
        let _written = writeln!(
            out,
            "{:<30} {:<24} {:<7} {:>9} {:>9} {:>8} {:>8} {:>8} {:>9} {:>7}",
            row.fault,
            row.class,
            row.lane,
            tally.requests,
            tally.seen,
            tally.planted,
            tally.recorded,
            share(tally.recall(), tally.right == tally.planted),
            share(tally.precision(), tally.right == tally.recorded),
            tally.resent,
        );
        for example in &tally.examples {
            let _written = writeln!(out, "  {example}");
        }
    }
    out
}

/// 100 % is said of what is whole alone.
fn share(ratio: Option<f64>, whole: bool) -> String {
    match ratio {
        None => "-".to_owned(),
        Some(_) if whole => "100 %".to_owned(),
        Some(ratio) => format!("{:.3} %", (ratio * 100.0).min(99.999)),
    }
}

/// For programs: a list of rows.
///
/// # Errors
/// None that is known: rows have nothing that JSON could not say.
pub fn json(rows: &[Row]) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(rows)
}
