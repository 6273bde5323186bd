//! Each invariant catches the bug that is planted for it, and what it says leads back to the run.

use sim::sabotage::Sabotage;

/// Enough seeds that every saboteur finds an occasion; without sabotage the suite finds nothing wrong with them.
const SEEDS: std::ops::Range<u64> = 0..200;

fn caught(sabotage: Sabotage) {
    caught_saying(sabotage, "");
}

/// For an invariant with more than one half: what is said names the one that was broken.
fn caught_saying(sabotage: Sabotage, words: &str) {
    let failures = SEEDS.filter_map(|seed| Some((seed, sim::run_with(seed, Some(sabotage)).err()?)));
    let failures: Vec<_> = failures.take(2).collect();
    assert_eq!(failures.len(), 2, "{sabotage:?} was hardly noticed");
    for (seed, failure) in failures {
        assert_eq!(failure.violation.invariant, sabotage.caught_by(), "{failure}");
        assert!(failure.violation.message.contains(words), "{failure}");
        assert!(failure.to_string().contains(&format!("SIDEGATE_SIM_SEED={seed}")), "{failure}");
        let clean = sim::run(seed);
        assert!(clean.is_ok(), "without sabotage: {clean:?}");
    }
}

#[test]
fn a_frame_for_another_consumer_is_noticed() {
    caught(Sabotage::Misdeliver);
}

#[test]
fn swapped_bytes_are_noticed() {
    caught(Sabotage::SwapBytes);
}

#[test]
fn a_shared_port_is_noticed() {
    caught(Sabotage::ShareAPort);
}

#[test]
fn a_missing_verdict_is_noticed() {
    caught(Sabotage::SwallowAVerdict);
}

#[test]
fn a_wrong_checksum_is_noticed() {
    caught(Sabotage::SpoilAChecksum);
}

#[test]
fn connections_that_never_end_are_noticed() {
    caught(Sabotage::SwallowAnswers);
}

#[test]
fn a_leaked_port_is_noticed() {
    caught(Sabotage::LeakAPort);
}

#[test]
fn an_error_in_a_routers_name_is_noticed() {
    caught(Sabotage::LeaveTheRouter);
}

#[test]
fn a_quote_that_was_not_mapped_back_is_noticed() {
    caught(Sabotage::LeaveTheQuote);
}

#[test]
fn an_error_that_is_too_long_is_noticed() {
    caught(Sabotage::QuoteTooMuch);
}

#[test]
fn a_damaged_error_that_goes_on_is_noticed() {
    caught(Sabotage::HealTheDamaged);
}

#[test]
fn a_flood_of_errors_is_noticed() {
    caught(Sabotage::FloodErrors);
}

#[test]
fn a_flow_that_ends_on_an_error_is_noticed() {
    caught(Sabotage::EndOnAnError);
}

#[test]
fn an_intruders_error_that_goes_on_is_noticed() {
    caught(Sabotage::PassOnTheUnknown);
}

#[test]
fn somebody_who_is_turned_away_in_anothers_stead_is_noticed() {
    caught(Sabotage::TurnAwayAnother);
}

#[test]
fn an_identifier_that_was_not_renewed_is_noticed() {
    caught(Sabotage::KeepIdentifiers);
}

#[test]
fn an_overlap_that_goes_on_is_noticed() {
    caught(Sabotage::LetOverlap);
}

#[test]
fn a_fragment_for_another_consumer_is_noticed() {
    caught(Sabotage::MisdeliverAFragment);
}

#[test]
fn a_kept_fragment_that_was_leaked_is_noticed() {
    caught(Sabotage::LoseAKeptFragment);
}

#[test]
fn a_frame_for_a_device_that_is_gone_is_noticed() {
    caught(Sabotage::ForwardToNowhere);
}

#[test]
fn a_device_that_nobody_knows_to_be_gone_is_noticed() {
    caught(Sabotage::KeepTheGone);
}

#[test]
fn work_that_is_left_to_a_device_that_takes_none_is_noticed() {
    caught(Sabotage::KeepOffloading);
}

#[test]
fn timestamps_that_are_left_out_are_noticed() {
    caught_saying(Sabotage::LeaveOutTimestamps, "without the timestamps that were agreed upon");
}

#[test]
fn a_connection_that_ends_in_a_panic_is_noticed() {
    caught(Sabotage::Panic);
}

#[test]
fn memory_that_was_leaked_is_noticed() {
    caught(Sabotage::LeakMemory);
}

#[test]
fn memory_that_was_overspent_is_noticed() {
    caught(Sabotage::OverspendMemory);
}

#[test]
fn segments_that_are_too_long_are_noticed() {
    caught_saying(Sabotage::IgnoreTheMss, "and the MSS is");
}

#[test]
fn bytes_beyond_every_window_are_noticed() {
    caught_saying(Sabotage::MisreadWindows, "no window has ever had room for");
}

#[test]
fn a_sick_target_that_passes_for_well_is_noticed() {
    caught(Sabotage::CallTheSickWell);
}

#[test]
fn targets_that_nobody_asks_are_noticed() {
    caught(Sabotage::AskNobody);
}

#[test]
fn a_newcomer_at_a_target_that_takes_none_is_noticed() {
    caught(Sabotage::SendToTheSick);
}

#[test]
fn flows_that_outlive_their_end_are_noticed() {
    caught_saying(Sabotage::PardonAll, "was to end");
}

#[test]
fn flows_that_are_ended_without_a_reason_are_noticed() {
    caught_saying(Sabotage::EndTheInnocent, "what there is to say against it");
}

#[test]
fn flows_that_are_ended_in_silence_are_noticed() {
    caught_saying(Sabotage::EndInSilence, "is not told");
}

#[test]
fn a_header_about_another_client_is_noticed() {
    caught(Sabotage::TellOfAnother);
}

#[test]
fn a_header_that_comes_too_early_is_noticed() {
    caught_saying(Sabotage::TellTooEarly, "before its client has spoken");
}

#[test]
fn a_health_check_that_poses_as_a_client_is_noticed() {
    caught_saying(Sabotage::AnnounceAChecker, "a header with");
}

#[test]
fn an_acknowledgement_of_the_header_that_goes_on_is_noticed() {
    caught_saying(Sabotage::AcknowledgeTheHeader, "it acknowledged");
}

#[test]
fn selective_acknowledgements_in_the_wrong_numbers_are_noticed() {
    caught_saying(Sabotage::LeaveTheBlocks, "its selective acknowledgements");
}

#[test]
fn a_window_with_the_headers_room_in_it_is_noticed() {
    caught_saying(Sabotage::GrantTheWholeWindow, "its window");
}

#[test]
fn a_clock_that_jumps_is_noticed() {
    caught_saying(Sabotage::LeaveTheClock, "its timestamps");
}

#[test]
fn a_number_that_was_not_shifted_is_noticed() {
    caught_saying(Sabotage::LeaveTheNumber, "its sequence number");
}

#[test]
fn a_target_that_is_dialled_at_once_is_noticed() {
    caught(Sabotage::DialAtOnce);
}

#[test]
fn a_quote_in_the_other_sides_numbers_is_noticed() {
    caught(Sabotage::QuoteTheOtherSide);
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_is_noticed() {
    caught_saying(Sabotage::AcknowledgeTheUnsent, "what was never sent");
}
