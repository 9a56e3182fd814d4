//! Each defect that can be planted in the gossip is found by a test that passes without it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cluster::{GOSSIP_MUTANTS, Planted};

use crate::{random, rules};

/// Random histories that a defect may survive.
const SEED_COUNT: u64 = 60;

/// What finds a defect.
enum Finder {
    /// A rule, by hand.
    Rule(fn()),
    /// Random histories.
    Histories,
}

use Finder::{Histories, Rule};

const FINDERS: &[(&str, Finder)] = &[
    ("no refutation", Histories),
    ("no refutation", Rule(rules::a_server_that_is_doubted_refutes_and_doubts_itself)),
    ("a suspect not told so", Histories),
    ("a suspect not told so", Rule(rules::a_suspect_hears_of_it_first_of_all)),
    ("alive of the same life ends a suspicion", Rule(rules::only_a_later_life_ends_a_suspicion)),
    ("a suspicion without an end", Histories),
    (
        "a suspicion as short as if all shared it",
        Rule(rules::one_accuser_alone_waits_for_the_longest_time),
    ),
    ("no last word", Rule(rules::a_suspect_is_asked_for_a_last_word_before_it_is_taken_for_dead)),
    ("own health ignored", Rule(rules::an_ill_server_probes_less_often_and_recovers_by_pongs)),
    ("own lateness held against others", Rule(rules::a_server_that_stood_still_accuses_nobody)),
    ("rumours told for ever", Histories),
    ("rumours told for ever", Rule(rules::a_rumour_is_told_a_limited_number_of_times)),
    ("an older report taken for a newer", Rule(rules::the_newest_report_of_a_life_counts)),
    (
        "gone for good and remembered",
        Rule(rules::who_has_gone_for_good_is_forgotten_and_comes_back_by_the_map_alone),
    ),
    (
        "a pull that fails not tried elsewhere",
        Rule(rules::who_is_behind_pulls_from_one_at_a_time_and_then_from_another),
    ),
    ("a pull that fails not tried elsewhere", Histories),
    (
        "a newer map kept to oneself",
        Rule(rules::a_newer_map_is_told_to_three_at_once_but_not_more_often_than_the_limit),
    ),
];

fn is_found(finder: &Finder) -> bool {
    match finder {
        Rule(rule) => catch_unwind(AssertUnwindSafe(rule)).is_err(),
        Histories => (0..SEED_COUNT).any(|seed| random::live(seed).is_err()),
    }
}

#[test]
fn every_planted_defect_is_found() {
    for (name, _) in GOSSIP_MUTANTS {
        assert!(FINDERS.iter().any(|(known, _)| known == name), "nothing looks for {name:?}");
    }
    for (name, finder) in FINDERS {
        let planted = Planted::new(name);
        assert!(is_found(finder), "{name:?} is not found");
        drop(planted);
        if let Rule(rule) = finder {
            rule();
        }
    }
}
