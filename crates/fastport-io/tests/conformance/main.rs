//! The conformance suite: one set of tests for every backend, and for every way in which a backend falls back.
//!
//! A test is a function that is generic over the provider and gets a configuration; it stands in the file of its subject,
//! and in the table below. The modules at the end instantiate the table, so that each test has a path such as
//! `io_uring::no_buffer_ring::reset::a_reset_by_the_peer_is_reported_as_reset`.
//!
//! A backend that cannot run on this system is passed over with a message; with `FASTPORT_REQUIRE_BACKENDS` set it fails.

mod harness;
mod rig;

mod accept;
mod batches;
mod cancel;
mod close;
mod connect;
mod half_close;
mod ids;
mod info;
mod limits;
mod mixed;
mod pool;
mod races;
mod receive;
mod receive_stream;
mod regions;
mod reset;
mod send;
mod sockets;
mod stats;
mod timers;
mod wake;

#[cfg(windows)]
mod emulated;

mod dropping;
#[cfg(target_os = "linux")]
mod process;

use fastport_io::{BusyPoll, ProviderConfig};

/// The table of all tests, for one provider and one configuration. `run_alone` is for those that look at the process.
macro_rules! suite {
    ($provider:ty, $backend:expr, $config:expr) => {
        const _: fn() = <$provider as crate::harness::BoundToItsThread<_>>::is_bound;
        suite! { @everywhere $provider, $backend, $config }
        suite! { @of_systems $provider, $backend, $config }
    };
    // What a simulated network can do as well as a real one.
    (@everywhere $provider:ty, $backend:expr, $config:expr) => {
        suite! { @run $provider, $backend, $config,
            connect {
                both_ends_know_each_other_s_address
                a_connection_over_ipv6_carries_data_both_ways
                a_refused_connection_is_reported_as_refused
                sends_behind_a_refused_connect_fail_each_for_itself
                sends_queued_behind_a_connect_go_out_in_order
                a_receive_can_wait_before_the_connect_is_made
                a_second_connect_changes_nothing
                an_address_of_another_family_is_an_error_of_the_connect
                transfers_on_an_unconnected_socket_fail
                a_connecting_socket_can_be_closed
            }
            accept {
                a_connection_made_before_the_accept_is_delivered
                queued_accepts_are_served_in_the_order_of_their_submission
                an_accept_stream_delivers_every_connection_once
                an_accept_stream_can_be_cancelled_and_started_again
                an_accepted_socket_that_nobody_takes_is_closed
                a_connection_that_is_reset_in_the_queue_does_not_end_the_stream
                only_a_listener_accepts
                a_closed_listener_refuses
                two_listeners_are_served_side_by_side
            }
            receive {
                a_receive_takes_what_is_there
                a_receive_waits_for_data
                a_receive_leaves_what_does_not_fit
                queued_receives_are_filled_in_the_order_of_their_submission
                a_pool_buffer_receives_and_goes_back
                the_end_of_file_comes_after_the_data_and_stays
                a_waiting_receive_is_ended_by_the_end_of_file
                a_ping_pong_of_small_messages_loses_none
            }
            receive_stream {
                a_stream_delivers_all_bytes_in_order
                a_stream_takes_data_that_was_there_before
                a_stream_ends_by_0_bytes_after_the_data
                a_cancelled_stream_leaves_later_data_for_the_next_one
                one_shot_receives_and_streams_may_follow_each_other
                nothing_can_be_queued_behind_a_stream
                a_stream_cannot_be_started_behind_one_shot_operations
                a_silent_stream_holds_no_buffer
                a_lease_keeps_its_bytes_while_more_arrives
                leases_can_be_sent_back_in_place
                closing_a_socket_ends_its_stream_and_frees_its_buffers
            }
            send {
                eight_mebibytes_to_a_slow_reader_arrive_whole
                two_large_buffers_to_a_slow_reader_arrive_as_one
                both_directions_can_be_full_at_once
                two_buffers_go_out_in_order
                queued_sends_keep_their_order
                every_kind_of_memory_can_be_sent
                a_send_holds_its_memory_until_it_completes
                a_byte_ring_is_sent_across_its_wrap
                what_is_sent_at_once_stands_before_the_send_of_the_rest
                nothing_is_sent_at_once_past_a_send_in_flight
                many_sends_at_once_reach_each_its_own_peer
                each_of_many_sends_at_once_succeeds_or_fails_for_itself
                a_send_at_once_that_meets_a_reset_is_told_and_remembered
                a_send_at_once_to_a_socket_that_takes_no_operation_is_refused
                a_send_to_a_peer_that_is_gone_fails_as_reset
            }
            half_close {
                the_side_that_connected_may_end_first
                the_side_that_accepted_may_end_first
                a_stream_that_waits_sees_the_half_close
                after_ending_the_own_data_a_send_fails
                a_send_after_the_own_end_leaves_a_waiting_receive_alone
                ending_both_directions_ends_both_sides
                only_a_connection_can_be_shut_down
            }
            reset {
                a_reset_by_the_peer_is_reported_as_reset
                a_reset_before_the_receive_is_reported_as_reset
                a_reset_ends_a_receive_stream_with_an_error
                a_reset_before_a_receive_stream_ends_it_with_an_error
                a_reset_during_a_send_is_reported_as_reset
                a_close_with_unread_data_is_a_reset_for_the_sender
                a_reset_with_both_directions_busy_is_no_end_of_file
                a_receive_after_a_send_that_was_reset_is_no_end_of_file
                every_queued_operation_of_a_reset_socket_completes_once
                the_reset_of_one_connection_leaves_the_others_alone
            }
            close {
                a_graceful_close_delivers_what_was_sent
                an_abortive_close_resets_the_peer
                a_fresh_socket_can_be_closed
                a_close_ends_all_operations_of_its_socket_first
                a_closing_socket_takes_no_operation_and_a_closed_one_is_unknown
                both_sides_may_close_at_once
                a_close_beside_a_waiting_timeout_leaves_the_timeout_alone
            }
            cancel {
                an_accept_can_be_cancelled
                an_accept_stream_can_be_cancelled
                a_connect_can_be_cancelled
                a_connect_that_is_cancelled_at_once_is_made_or_not
                a_receive_can_be_cancelled_and_gives_its_buffer_back
                a_receive_stream_can_be_cancelled
                a_receive_into_a_region_can_be_cancelled
                a_blocked_send_can_be_cancelled
                a_send_that_is_cancelled_at_once_ends_though_its_peer_reads_nothing
                a_timeout_can_be_cancelled
                a_close_cannot_be_cancelled
                cancelling_twice_is_harmless
                cancelling_a_finished_operation_is_a_harmless_error
                a_waiting_operation_is_cancelled_out_of_its_queue
                a_cancelled_send_that_has_not_begun_leaves_no_gap
                cancelling_the_head_starts_the_next
                both_directions_are_cancelled_apart_from_each_other
                a_thousand_operations_are_cancelled_in_one_go
            }
            timers {
                timeouts_complete_in_the_order_of_their_deadlines
                thousands_of_timeouts_keep_their_order
                a_timeout_ends_a_wait_without_limit
                a_cancelled_timeout_does_not_hold_up_the_others
                a_timeout_beyond_the_clock_is_refused_and_a_distant_one_waits
                a_timeout_limits_a_connect
                timeouts_are_in_time_while_data_flows
            }
            wake {
                a_wake_from_another_thread_ends_a_wait
                no_wake_is_lost_among_many
                a_wake_while_data_flows_loses_neither
                a_waker_outlives_its_provider
            }
            batches {
                completions_beyond_the_batch_come_with_the_next_calls
                a_batch_is_appended_to_and_a_full_one_takes_nothing
                a_batch_of_one_delivers_everything_in_order
                more_operations_than_the_queue_holds_all_complete
                a_flood_of_completions_overflows_nothing
                a_send_batch_stops_at_the_one_that_is_refused
                a_flush_hands_over_without_collecting
                a_close_beyond_the_batch_still_comes_last
            }
            pool {
                thousands_of_streams_share_eight_buffers
                streams_that_wait_for_buffers_share_a_shallow_queue
                streams_wait_in_line_and_the_oldest_goes_on_first
                a_busy_stream_does_not_take_all_buffers_from_a_quiet_one
                the_pool_grows_before_anyone_waits
                a_waiting_stream_can_be_cancelled_and_leaves_the_line
                a_waiting_stream_can_be_closed
                the_end_of_a_waiting_stream_is_not_lost
                buffers_taken_by_the_caller_come_back_to_the_streams
                a_message_larger_than_a_buffer_comes_in_pieces
            }
            regions {
                bytes_travel_from_region_to_region
                a_large_region_is_sent_whole_to_a_slow_reader
                the_end_of_file_reaches_a_region_too
                a_range_outside_its_region_is_refused
                a_region_in_use_can_be_neither_touched_nor_unregistered
                a_refused_transfer_does_not_hold_its_region
                a_dead_region_is_an_error_even_if_its_place_is_taken
                beyond_the_limit_a_region_comes_back
                memory_of_the_caller_can_be_registered
                a_pool_of_the_provider_grows_is_sent_from_and_outlives_it
            }
            sockets {
                a_detached_socket_can_come_back
                a_socket_can_move_to_another_provider
                an_accepted_socket_can_be_attached_to_another_provider
                a_busy_socket_is_not_detached
                an_attached_socket_can_be_looked_at
            }
            ids {
                every_context_comes_back_unchanged
                operations_never_share_an_id
                cancelling_a_dead_operation_spares_its_successor
                a_dead_socket_id_does_not_reach_the_socket_in_its_place
                a_new_socket_with_an_old_descriptor_sees_none_of_the_old_events
            }
            mixed {
                any_sequence_of_operations_keeps_the_contract
            }
            limits {
                a_configuration_out_of_range_is_refused_by_name
                the_ends_of_the_range_work
                empty_transfers_are_refused_and_come_back
                beyond_the_limit_of_operations_calls_give_back_what_they_were_handed
                a_provider_at_its_limit_of_operations_lets_go_on_drop
                numbers_that_never_were_ids_are_errors
            }
            stats {
                the_counts_add_up
                what_waits_for_the_next_batch_counts_as_pending
                failures_are_counted_once_each
                latencies_are_those_of_transfers
            }
            info {
                features_are_found_by_name_in_any_case
                a_feature_that_was_switched_off_is_not_claimed
                a_feature_that_was_asked_for_is_there_or_missed_in_a_note
                a_note_is_a_sentence
            }
        }
    };
    // What takes real time, real descriptors, or peers that are plain sockets of the standard library.
    (@of_systems $provider:ty, $backend:expr, $config:expr) => {
        mod of_systems {
            suite! { @run $provider, $backend, $config,
                races {
                    a_connection_is_not_lost_to_a_late_cancel_of_its_accept
                    a_connection_is_not_lost_to_a_late_cancel_of_its_accept_stream
                    a_connection_that_is_late_for_its_closed_listener_is_delivered_or_closed
                    data_is_not_lost_to_a_late_cancel_of_its_receive
                    data_is_not_lost_to_a_late_cancel_of_its_stream
                    a_cancelled_send_is_cut_nowhere_but_at_its_end
                }
                sockets {
                    a_detached_socket_is_an_ordinary_one
                    what_is_no_socket_comes_back_with_a_reason
                    a_plain_blocking_socket_serves_as_well
                }
                timers {
                    a_timeout_is_never_early
                    a_poll_returns_at_once_and_a_limited_wait_in_time
                    the_time_of_the_batch_moves_on
                }
                wake {
                    a_wake_before_the_wait_is_remembered_once
                    a_waker_wakes_its_own_provider_only
                }
                info {
                    the_backend_and_its_depths_are_told
                }
            }
            suite! { @run_alone $provider, $backend, $config,
                dropping {
                    a_provider_that_was_opened_and_dropped_leaves_nothing
                    a_provider_that_could_not_be_opened_leaves_nothing
                    a_drop_with_everything_in_flight_leaves_nothing
                    a_drop_before_anything_was_handed_over_leaves_nothing
                    a_drop_with_more_in_flight_than_the_queue_holds_leaves_nothing
                    sockets_and_leases_that_nobody_took_go_with_the_provider
                    leases_outlive_their_provider
                    a_closed_socket_gives_its_descriptor_back_before_the_close_completes
                    accepted_sockets_that_are_dropped_are_closed
                    a_cancelled_accept_keeps_no_descriptor
                    a_completion_that_nobody_looks_at_frees_its_buffer
                }
            }
            #[cfg(target_os = "linux")]
            suite! { @run_alone $provider, $backend, $config,
                process {
                    an_accept_without_descriptors_fails_and_can_be_tried_again
                    a_dead_peer_raises_no_signal
                }
            }
        }
    };
    (@$how:ident $provider:ty, $backend:expr, $config:expr, $($subject:ident { $($test:ident)+ })+) => {
        $(mod $subject {
            $(#[test]
            fn $test() {
                let test = crate::$subject::$test::<$provider>;
                let name = concat!(module_path!(), "::", stringify!($test));
                crate::harness::Case { name, backend: $backend, config: $config, test }.$how();
            })+
        })+
    };
}

/// The defaults with a change.
fn config(change: impl FnOnce(&mut ProviderConfig)) -> ProviderConfig {
    let mut config = ProviderConfig::default();
    change(&mut config);
    config
}

fn busy_polling(busy_poll: BusyPoll) -> ProviderConfig {
    config(|config| config.busy_poll = busy_poll)
}

/// The suite for io_uring, with some features switched on or off.
#[cfg(target_os = "linux")]
macro_rules! io_uring {
    ($name:ident: $($option:ident = $value:expr),*) => {
        mod $name {
            suite!(
                fastport_io::IoUring,
                fastport_io::Backend::IoUring,
                crate::config(|_config| { $(_config.io_uring.$option = $value;)* })
            );
        }
    };
}

#[cfg(target_os = "linux")]
mod io_uring {
    io_uring!(defaults:);
    io_uring!(no_defer_taskrun: defer_taskrun = false);
    io_uring!(no_single_issuer: single_issuer = false);
    io_uring!(no_task_flags: defer_taskrun = false, single_issuer = false, coop_taskrun = false);
    io_uring!(no_extended_wait: extended_wait = false);
    io_uring!(no_multishot_accept: multishot_accept = false);
    io_uring!(no_multishot_receive: multishot_receive = false);
    io_uring!(no_buffer_ring: buffer_ring = false, multishot_receive = false);
    io_uring!(no_fixed_buffers: fixed_buffers = false);
    io_uring!(fixed_files: fixed_files = true);
    io_uring!(zero_copy: zero_copy_send_bytes = Some(1));
    // What a kernel of the year 2020 leaves.
    io_uring!(plain: defer_taskrun = false, single_issuer = false, coop_taskrun = false, extended_wait = false,
        multishot_accept = false, multishot_receive = false, buffer_ring = false, fixed_buffers = false);

    mod busy {
        suite!(fastport_io::IoUring, fastport_io::Backend::IoUring, crate::busy_polling(fastport_io::BusyPoll::Always));
    }

    mod shared {
        suite!(
            fastport_io::shared::SharedProvider<fastport_io::IoUring>,
            fastport_io::Backend::IoUring,
            fastport_io::ProviderConfig::default()
        );
    }
}

#[cfg(target_os = "linux")]
mod epoll {
    mod defaults {
        suite!(fastport_io::Epoll, fastport_io::Backend::Epoll, fastport_io::ProviderConfig::default());
    }

    mod busy {
        suite!(fastport_io::Epoll, fastport_io::Backend::Epoll, crate::busy_polling(fastport_io::BusyPoll::Always));
    }

    mod spinning {
        suite!(
            fastport_io::Epoll,
            fastport_io::Backend::Epoll,
            crate::busy_polling(fastport_io::BusyPoll::Spin(std::time::Duration::from_micros(50)))
        );
    }

    /// What a kernel before 6.18 leaves.
    mod no_batched_sends {
        suite!(
            fastport_io::Epoll,
            fastport_io::Backend::Epoll,
            crate::config(|config| config.epoll.batched_sends = false)
        );
    }

    mod shared {
        suite!(
            fastport_io::shared::SharedProvider<fastport_io::Epoll>,
            fastport_io::Backend::Epoll,
            fastport_io::ProviderConfig::default()
        );
    }
}

/// Every test has a network of its own, without faults; see `harness`.
#[cfg(feature = "sim")]
mod sim {
    mod defaults {
        suite! { @everywhere fastport_io::sim::Sim, fastport_io::Backend::Sim, fastport_io::ProviderConfig::default() }
    }
}

/// The suite for IOCP, with some options changed.
#[cfg(windows)]
macro_rules! iocp {
    ($name:ident: $($option:ident = $value:expr),*) => {
        mod $name {
            suite!(
                fastport_io::Iocp,
                fastport_io::Backend::Iocp,
                crate::config(|_config| { $(_config.iocp.$option = $value;)* })
            );
        }
    };
}

#[cfg(windows)]
mod iocp {
    iocp!(defaults:);
    iocp!(every_packet_posted: skip_completion_on_success = false);
    iocp!(one_accept_waiting: preposted_accepts = 1);

    mod busy {
        suite!(fastport_io::Iocp, fastport_io::Backend::Iocp, crate::busy_polling(fastport_io::BusyPoll::Always));
    }
}

#[cfg(all(unix, any(not(target_os = "linux"), fastport_libkqueue)))]
mod kqueue {
    mod defaults {
        suite!(fastport_io::Kqueue, fastport_io::Backend::Kqueue, fastport_io::ProviderConfig::default());
    }

    mod busy {
        suite!(fastport_io::Kqueue, fastport_io::Backend::Kqueue, crate::busy_polling(fastport_io::BusyPoll::Always));
    }
}

/// The suite for Registered I/O over the emulator, from a seed, with some options changed.
#[cfg(windows)]
macro_rules! rio {
    ($name:ident: $seed:literal $(, $option:ident = $value:expr)*) => {
        mod $name {
            suite!(
                fastport_io::Rio,
                fastport_io::Backend::Rio,
                crate::emulated::config($seed, |_options| { $(_options.$option = $value;)* })
            );
        }
    };
}

#[cfg(windows)]
mod rio {
    rio!(defaults: 1);
    rio!(polling: 2, notification = fastport_io::RioNotification::Polling);
    // The queue grows with every connection, and most sends find no slot to be copied to.
    rio!(cramped: 3, completion_entries = 3,
        copy_pool = fastport_io::PoolConfig { slot_bytes: 64, initial_slots: 1, max_slots: 2 });
}
