//! Settings that have another place now.

/// Settings that once stood side by side, with the path that each has now. They are refused by it wherever the old name
/// is found.
pub(crate) const MOVED: &[(&str, &str)] = &[
    ("access_log_failures", "access_log.failures"),
    ("access_log_per_million", "access_log.per_million"),
    ("adaptive_concurrency", "admission.adaptive"),
    ("adaptive_in_flight_min", "admission.adaptive_min"),
    (
        "authentication_timeout_ms",
        "accept.authentication_timeout_ms",
    ),
    (
        "bad_frames_in_a_row_max",
        "throttle.bad_frames_in_a_row_max",
    ),
    ("blocking_threads_max", "blocking.threads_max"),
    (
        "blocking_waiting_per_connection",
        "blocking.waiting_per_connection",
    ),
    ("cheap_frames_per_second", "throttle.frames_per_second"),
    ("cheap_frames_timeout_ms", "throttle.timeout_ms"),
    ("connection_age_max_ms", "drain.connection_age_max_ms"),
    ("connection_bytes_max", "limits.connection_bytes_max"),
    ("connections_max", "limits.connections_max"),
    ("connections_per_address", "limits.connections_per_address"),
    ("drain_timeout_ms", "drain.timeout_ms"),
    ("first_frame_timeout_ms", "accept.first_frame_timeout_ms"),
    ("frame_bytes_max", "limits.frame_bytes_max"),
    ("frame_timeout_ms", "timeouts.frame_timeout_ms"),
    ("goaway_grace_ms", "drain.goaway_grace_ms"),
    ("handler_timeout_ms", "timeouts.handler_timeout_ms"),
    ("handshake_timeout_ms", "accept.handshake_timeout_ms"),
    ("handshakes_max", "accept.handshakes_max"),
    ("idle_timeout_ms", "timeouts.idle_timeout_ms"),
    ("in_flight_max", "admission.in_flight_max"),
    (
        "in_flight_per_connection",
        "admission.in_flight_per_connection",
    ),
    ("in_flight_per_peer", "admission.in_flight_per_peer"),
    ("keepalive_idle_ms", "tcp.keepalive_idle_ms"),
    ("keepalive_interval_ms", "tcp.keepalive_interval_ms"),
    ("keepalive_probes", "tcp.keepalive_probes"),
    ("linger_timeout_ms", "timeouts.linger_timeout_ms"),
    ("memory_bytes_max", "limits.memory_bytes_max"),
    ("output_bytes_hard_max", "limits.output_bytes_hard_max"),
    ("output_bytes_soft_max", "limits.output_bytes_soft_max"),
    ("refusals_max", "accept.refusals_max"),
    ("reply_bytes_max", "limits.reply_bytes_max"),
    (
        "requests_per_connection_max",
        "drain.requests_per_connection_max",
    ),
    ("shed_retry_after_ms", "admission.retry_after_ms"),
    ("spin_us", "timeouts.spin_us"),
    ("tcp_user_timeout_ms", "tcp.user_timeout_ms"),
    (
        "token_failure_addresses_max",
        "token_failures.addresses_max",
    ),
    ("token_failure_delay_ms", "token_failures.delay_ms"),
    ("token_failures_per_address", "token_failures.per_address"),
    ("token_failures_window_ms", "token_failures.window_ms"),
    ("write_stall_timeout_ms", "timeouts.write_stall_timeout_ms"),
];

/// The path that a setting of this name has now, where it once stood outside of its group: in a file of the daemon all
/// of them stood in `[limits]`.
///
/// ```
/// use rpc_server::config::moved;
///
/// assert_eq!(moved("handler_timeout_ms"), Some("timeouts.handler_timeout_ms"));
/// assert_eq!(moved("timeouts.handler_timeout_ms"), None);
/// ```
pub fn moved(name: &str) -> Option<&'static str> {
    let place = MOVED.iter().find(|(old, _)| *old == name);
    place.map(|(_, path)| *path)
}
