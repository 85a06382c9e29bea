//! What a reader must know beside the figures, and what to do next.

use trial::plan::Role;
use trial::report::Report;

use super::arms::NAME_SHARE;
use super::page::Page;
use crate::facts::{Names, foremost};
use crate::style::Style;

const SHOWN_NOTES: usize = 10;

pub(super) fn write(page: &mut Page, report: &Report) {
    let notes = of_pods(report);
    if !notes.is_empty() {
        page.heading("Notes", "");
    }
    for (text, pods) in notes.iter().take(SHOWN_NOTES) {
        let pods = match pods.as_slice() {
            [first, second, third, others @ ..] if !others.is_empty() => {
                format!("{first}, {second}, {third} and {} more", others.len())
            }
            pods => pods.join(", "),
        };
        page.sentence(Style::Plain, "  • ", "    ", &format!("{pods}: {text}"));
    }
    if notes.len() > SHOWN_NOTES {
        page.spans(&[(
            Style::Dim,
            &format!("    … and {} more: see report.json", notes.len() - SHOWN_NOTES),
        )]);
    }
    if !report.run.caveats.is_empty() {
        page.heading("Caveats", "what this run could not show");
    }
    for caveat in &report.run.caveats {
        page.sentence(Style::Plain, "  • ", "    ", caveat);
    }
    if !report.advice.is_empty() {
        page.heading("Advice", "");
    }
    let names = Names::of(&report.arms, page.width() * NAME_SHARE / 100);
    let (shown, more) = foremost(&report.advice);
    for advice in shown {
        let text = format!("{}{}", names.prefix(advice.arm.as_ref()), advice.text);
        page.sentence(Style::Plain, "  → ", "    ", &text);
        if let Some(patch) = &advice.patch {
            page.verbatim("      ", patch);
        }
    }
    if !more.is_empty() {
        page.sentence(Style::Dim, "    ", "    ", &format!("… and {} more: see report.json", more.len()));
    }
}

/// Each note once, with the pods of trial arms that it is about.
fn of_pods(report: &Report) -> Vec<(&str, Vec<&str>)> {
    let mut notes: Vec<(&str, Vec<&str>)> = Vec::new();
    let pods = report.arms.iter().filter(|arm| arm.role == Role::Trial).flat_map(|arm| &arm.pods);
    for (pod, text) in
        pods.flat_map(|pod| pod.notes.iter().map(move |note| (pod.name.as_str(), note.as_str())))
    {
        match notes.iter_mut().find(|(known, _)| *known == text) {
            Some((_, pods)) => pods.push(pod),
            None => notes.push((text, vec![pod])),
        }
    }
    notes
}
