//! The tests that a database can fail, once more on MariaDB.
//!
//! A test of another file joins by a line here; it has to be `pub`.

use crate::world::on_mariadb;

macro_rules! once_more {
    ($($module:ident::$test:ident,)*) => {
        $(
            #[test]
            fn $test() {
                on_mariadb(crate::$module::$test);
            }
        )*
    };
}

once_more! {
    acts::an_act_is_recorded_once_in_the_chain_of_its_tenant,
    acts::acts_that_come_together_share_a_commit,
    acts::a_kill_at_a_commit_neither_loses_nor_doubles_an_act,
    acts::an_act_log_is_no_workflow,
    children::a_parent_gets_what_its_child_has_decided,
    children::a_workflow_goes_on_as_a_new_one,
    exchange::an_acknowledgement_brings_the_next_turn_with_it,
    exchange::a_doubled_result_gets_the_same_acknowledgement,
    faults::a_start_whose_commit_fails_is_not_there_and_can_be_repeated,
    faults::a_commit_that_turns_out_to_be_there_is_answered_as_such,
    faults::a_result_whose_commit_fails_is_neither_lost_nor_doubled,
    faults::one_workflow_that_the_store_refuses_does_not_hold_up_the_others,
    faults::a_process_that_was_taken_over_cannot_write_any_more,
    faults::an_incident_that_a_commit_clears_gives_all_turns_back,
    faults::a_note_about_a_workflow_that_an_incident_has_stopped_leaves_it_stopped,
    lanes::workflows_of_all_lanes_come_to_their_end,
    keeping::a_workflow_is_found_by_what_its_start_its_input_and_later_changes_say,
    keeping::a_workflow_that_is_started_again_is_found_by_what_it_was_found_by,
    keeping::counts_are_exact_whatever_happens_to_workflows,
    keeping::a_closed_workflow_is_deleted_after_its_time_unless_it_is_held,
    keeping::a_workflow_that_cannot_be_opened_can_be_held_all_the_same,
    keeping::batches_of_a_partition_go_on_after_its_last_row_was_purged,
    lifecycle::nothing_starts_on_a_draft_and_everything_on_what_is_live,
    lifecycle::a_retired_version_takes_no_starts_and_the_live_one_is_not_retired,
    lifecycle::the_alias_moves_only_for_who_has_seen_where_it_is,
    migrations::a_version_is_emptied_page_by_page,
    nodes::a_node_that_dies_is_replaced_within_five_seconds,
    nodes::a_node_that_stops_in_good_order_is_not_waited_for,
    nodes::a_commit_of_a_node_that_stood_still_is_fenced,
    nodes::a_third_node_gets_its_share_and_its_death_gives_it_back,
    nodes::streams_go_on_where_the_last_owner_was,
    operations::a_signal_is_waited_for_without_a_limit_and_across_a_restart,
    operations::an_answer_that_comes_in_a_pause_after_a_restart_is_kept_for_the_end_of_the_pause,
    operations::many_workflows_are_paused_a_page_at_a_time_and_found_as_paused,
    operations::what_is_terminated_is_over_at_once_and_the_audit_stream_says_by_whom,
    operations::a_failed_workflow_goes_on_from_where_it_failed_with_what_it_had,
    parcels::a_child_of_another_node_starts_ends_and_tells_its_parent,
    parcels::a_schedule_is_fired_by_the_owner_of_its_partition_and_by_the_next_one,
    prompts::a_hundred_different_answers_have_one_winner,
    recovery::a_kill_at_any_commit_leaves_the_same_history,
    recovery::a_worker_goes_on_across_a_restart_of_core,
    recovery::a_workflow_without_its_key_is_gone_and_the_others_go_on,
    schedules::a_schedule_starts_a_workflow_at_each_of_its_times,
    schedules::a_name_that_no_schedule_can_have_is_unknown_and_no_fault,
    schedules::a_schedule_changes_only_as_its_caller_has_seen_it,
    schedules::a_time_is_fired_once_whatever_commit_the_process_dies_at,
    start_modes::a_key_means_its_workflow_for_ever_unless_the_start_says_otherwise,
    start_modes::a_start_whose_answer_was_lost_is_answered_with_what_it_has_started,
    start_modes::a_start_may_refuse_or_terminate_the_workflow_that_its_key_has_started,
    start_modes::starts_at_once_with_one_key_leave_one_workflow_running_whatever_they_say,
    start_modes::a_start_that_replaces_another_happens_wholly_or_not_at_all,
    start_modes::a_workflow_is_started_again_on_another_version_and_both_know_of_each_other,
    starts::a_hundred_starts_with_one_key_make_one_workflow,
    starts::starts_that_arrive_together_share_a_commit,
    starts::a_list_is_paged_and_shows_only_the_tenants_own,
    streams::every_commit_is_published_in_order_and_chained,
    streams::nothing_is_published_twice_across_a_restart_in_good_order,
    task_tokens::a_token_ends_its_task_once_also_after_a_restart,
    timers::a_deadline_that_passed_while_nobody_ran_is_judged_at_the_next_start,
}
