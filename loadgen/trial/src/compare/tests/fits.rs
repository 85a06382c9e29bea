//! The rarer reasons why reports cannot be held against each other, each provoked alone.

use super::*;

#[test]
fn more_repeats_than_can_be_counted_through_are_named() {
    let whole = report(&[Fate::Clean; 8]);
    let mut many = whole.clone();
    for number in 9..=65 {
        let again = crate::report::Arm { name: format!("web #{number}"), ..whole.arms[0].clone() };
        many.arms.push(again);
    }
    says(&compare(&many, &whole), Outcome::NotComparable, "the base has 65 repeats, more than 64");
    says(&compare(&whole, &many), Outcome::NotComparable, "the new report has 65 repeats, more than 64");
    many.arms.pop();
    assert_eq!(compare(&many, &whole).outcome, Outcome::NotWorse, "64 can be");
}

#[test]
fn repeats_that_differ_among_themselves_are_no_repeats() {
    let whole = report(&[Fate::Clean; 8]);
    let mut mixed = whole.clone();
    mixed.arms[5].settings["terminationGracePeriodSeconds"] = 7.into();
    says(&compare(&mixed, &whole), Outcome::NotComparable, "repeats in the base have different settings");
    says(
        &compare(&whole, &mixed),
        Outcome::NotComparable,
        "repeats in the new report have different settings",
    );
}

#[test]
fn a_lane_that_nothing_was_exposed_to_is_not_compared() {
    let whole = report(&[Fate::Clean; 8]);
    let mut unexposed = whole.clone();
    for arm in unexposed.arms.iter_mut().filter(|arm| arm.role == Role::Trial) {
        arm.lanes[1].terminations = Some(LaneTerminations::default());
    }
    for (base, new) in [(&whole, &unexposed), (&unexposed, &whole)] {
        let compared = compare(base, new);
        says(
            &compared,
            Outcome::NotComparable,
            "lane reused: no termination was exposed to it on both sides",
        );
        assert_eq!(lane(&compared, "reused").failed.p, None);
        assert_eq!(lane(&compared, "new").outcome, Outcome::NotWorse);
    }
}

#[test]
fn an_arm_without_lanes_is_not_compared() {
    let mut bare = report(&[Fate::Clean; 8]);
    bare.arms.iter_mut().for_each(|arm| arm.lanes.clear());
    let compared = compare(&bare, &bare);
    says(&compared, Outcome::NotComparable, "it has no lane");
    assert_eq!(compared.tests, 0);
}

#[test]
fn a_base_that_lost_slots_is_no_base() {
    let whole = report(&[Fate::Clean; 8]);
    for (unsent, interrupted) in [(3, 0), (0, 3)] {
        let mut base = whole.clone();
        let requests = &mut base.arms[2].requests;
        (requests.unsent, requests.interrupted) = (unsent, interrupted);
        let reason = "in the base, arm web #3 has 3 slots without an outcome";
        says(&compare(&base, &whole), Outcome::NotComparable, reason);
    }
}
