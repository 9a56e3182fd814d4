//! Plants each known defect and demands that the test that guards against it fails.

use std::panic::catch_unwind;

use bitcask::{MUTANTS, Planted};

use crate::{copies, defects as check, ended, requests};

/// Which test guards against which defect.
const GUARDS: [(&str, fn()); 41] = [
    (
        "append behind a partial record",
        check::what_is_acknowledged_after_a_failed_append_is_not_lost_behind_its_remains,
    ),
    ("checksum without place", check::a_record_in_the_place_of_another_is_not_taken),
    (
        "commit point before its records",
        copies::a_commit_point_on_disk_is_never_ahead_of_the_sync_of_its_records,
    ),
    ("commit point falls", copies::a_commit_point_never_falls),
    (
        "commit point owed for ever",
        copies::a_commit_point_is_kept_when_the_log_is_durable_where_it_was_asked_for,
    ),
    (
        "copy of a pending record uncounted",
        copies::the_copies_of_a_pending_record_are_counted_when_it_is_published,
    ),
    (
        "corruption taken for a tear",
        check::damage_in_what_was_synced_is_no_tear_and_costs_only_itself,
    ),
    (
        "ended value dropped before older records",
        ended::a_value_that_has_ended_hides_an_older_one_after_a_merge_too,
    ),
    ("fresh checksum for damage", check::a_damaged_value_never_gets_a_fresh_checksum),
    ("hint taken unchecked", check::a_hint_file_is_used_whole_or_not_at_all),
    (
        "inputs removed before the log is durable",
        check::a_durable_value_outlives_an_overwrite_that_a_power_cut_takes_back,
    ),
    ("last record wins", check::an_older_lsn_that_comes_later_changes_nothing),
    ("lock file blocks", check::a_lock_file_left_behind_does_not_block_the_start),
    (
        "lower request lsn wins",
        requests::the_highest_lsn_wins_whatever_the_order_of_numbers_and_of_records,
    ),
    (
        "merge drops what a pending record will replace",
        copies::a_merge_keeps_the_published_record_of_a_key_that_has_a_newer_one_pending,
    ),
    (
        "merge drops what is pending",
        copies::a_merge_keeps_what_is_pending_in_this_life_and_the_next,
    ),
    ("merge drops what it cannot read", check::a_merge_that_meets_damage_leaves_the_file_alone),
    ("merge stops writes", || check::merge_held_up(Some("merge stops writes"))),
    ("merge without gain", check::merges_end_when_there_is_nothing_more_to_gain),
    ("name never synced", check::what_was_synced_survives_a_power_cut_with_its_files_names),
    (
        "name of a merged file never synced",
        check::what_was_merged_survives_a_power_cut_with_its_files_names,
    ),
    ("no sync at rotation", check::a_file_is_durable_before_the_next_one_takes_a_write),
    ("overwrite in two records", check::an_overwrite_torn_at_any_byte_keeps_old_or_new),
    (
        "pending record not relocated",
        copies::a_merge_keeps_what_is_pending_in_this_life_and_the_next,
    ),
    (
        "pending record published at opening",
        copies::an_opening_publishes_up_to_the_commit_point_and_offers_the_rest_as_pending,
    ),
    ("recovered in place", check::what_a_restart_after_a_failed_sync_serves_is_durable),
    ("request below the floor", requests::requests_below_the_floor_are_forgotten_for_good),
    (
        "request dropped with its record",
        requests::a_clients_newest_request_outlives_its_record_merges_and_restarts_r24,
    ),
    (
        "request noted before it is published",
        requests::a_pending_records_request_counts_once_it_is_published,
    ),
    (
        "request of an overwritten record lost",
        requests::a_clients_newest_request_outlives_its_record_merges_and_restarts_r24,
    ),
    (
        "scan ends at damage",
        check::a_damaged_length_costs_one_record_and_no_merge_deletes_the_others,
    ),
    ("sync tried again", check::after_a_failed_sync_nothing_is_taken_and_nothing_is_called_durable),
    (
        "tombstone dropped above the commit point",
        copies::a_tombstone_stays_while_it_is_above_the_commit_point_that_is_kept,
    ),
    ("tombstone dropped above the floor", check::a_tombstone_stays_until_it_is_below_the_floor),
    (
        "tombstone dropped before older records",
        check::a_deleted_key_stays_deleted_when_its_tombstones_file_is_merged,
    ),
    (
        "tombstone dropped over a pending record",
        copies::a_tombstone_stays_while_an_older_record_of_the_slot_is_pending,
    ),
    ("tombstone told by its value", check::a_value_that_looks_like_a_tombstone_is_a_value),
    ("twenty errors a file", check::forty_damaged_records_cost_no_more_than_themselves),
    ("unreadable is not found", check::what_cannot_be_read_is_an_error_and_never_not_found),
    ("value counted as ended before its end", ended::values_that_end_later_are_no_reason_to_merge),
    ("zeros taken for corruption", check::zeros_behind_the_last_record_are_a_torn_tail),
];

#[test]
fn every_planted_defect_is_found_by_its_test() {
    let guarded: Vec<&str> = GUARDS.iter().map(|(name, _)| *name).collect();
    assert_eq!(guarded, MUTANTS, "each defect has its guard, in the same order");
    let missed: Vec<&str> = GUARDS
        .iter()
        .filter(|(name, guard)| {
            let _planted = Planted::new(name);
            catch_unwind(guard).is_ok()
        })
        .map(|(name, _)| *name)
        .collect();
    assert_eq!(missed, [""; 0], "planted, and no test failed");
}
