//! The metrics as Prometheus reads them: the text format, version 0.0.4.
//!
//! Written here and not by a crate: the counters live in shards and are added up when asked for, while
//! those crates want to own the counters, and the format has three rules.

use rpc_core::metrics::prometheus::{Seconds, Text};

use crate::metrics::{CommandName, Counts, Report};
use crate::report::Reporter;

pub(super) fn render(reporter: &Reporter) -> String {
    let mut text = Text::default();
    let report = reporter.report(0);

    server(&mut text, &report);
    connections(&mut text, &report);
    traffic(&mut text, &report);
    commands(&mut text, reporter);
    blocking(&mut text, &report);
    limits(&mut text, &report);
    access(&mut text, &report);
    runtime(&mut text, reporter, &report);
    process(&mut text, &report);

    text.finish()
}

fn server(text: &mut Text, report: &Report) {
    let build = &report.build;
    let labels = [
        ("name", &*build.name),
        ("version", &*build.version),
        ("library", build.library),
    ];
    text.family(
        "rpc_server_info",
        "gauge",
        "Name and version of the server, as labels.",
    )
    .sample(&labels, 1);

    text.family(
        "rpc_server_ready",
        "gauge",
        "1 if /readyz answers 200, otherwise 0.",
    )
    .sample(&[], u64::from(report.health.is_ready));
}

fn connections(text: &mut Text, report: &Report) {
    let stats = &report.server;

    text.family("rpc_server_connections_open", "gauge", "Open connections.")
        .sample(&[], stats.connections_open);

    text.family(
        "rpc_server_connections_accepted_total",
        "counter",
        "Accepted connections.",
    )
    .sample(&[], stats.connections_accepted);
    text.family(
        "rpc_server_connections_refused_total",
        "counter",
        "Refused connections.",
    )
    .sample(&[], stats.connections_refused);
    text.family(
        "rpc_server_connections_retired_total",
        "counter",
        "Connections that were sent `goaway`.",
    )
    .sample(&[], stats.connections_retired);
}

/// What came over all connections, and what went.
fn traffic(text: &mut Text, report: &Report) {
    let stats = &report.server;

    text.family("rpc_server_requests_total", "counter", "Requests read.")
        .sample(&[], stats.requests);
    text.family(
        "rpc_server_bad_frames_total",
        "counter",
        "Lines that are not a request.",
    )
    .sample(&[], stats.bad_frames);

    text.family("rpc_server_received_bytes_total", "counter", "Bytes read.")
        .sample(&[], stats.bytes_in);
    text.family("rpc_server_sent_bytes_total", "counter", "Bytes written.")
        .sample(&[], stats.bytes_out);
}

fn commands(text: &mut Text, reporter: &Reporter) {
    let all: Vec<_> = reporter.metrics.command_totals().collect();
    let cmdids: Vec<String> = all.iter().map(|(name, _)| label_of(name)).collect();

    let labels = |place: usize| {
        let name = all[place].0;
        [
            ("cmdid", &*cmdids[place]),
            ("service", &*name.service),
            ("method", &*name.method),
        ]
    };

    text.family(
        "rpc_server_calls_total",
        "counter",
        "Ended calls, by command and code.",
    );
    for (place, (_, totals)) in all.iter().enumerate() {
        let mut by_code = totals.by_code();

        // Its rate is asked for before the first one.
        by_code.entry("OK").or_default();
        codes(text, &labels(place), &by_code);
    }

    text.family(
        "rpc_server_calls_in_flight",
        "gauge",
        "Calls and streams in flight.",
    );
    for (place, (_, totals)) in all.iter().enumerate() {
        text.sample(&labels(place), totals.in_flight);
    }

    text.family(
        "rpc_server_params_bytes_total",
        "counter",
        "Bytes of params received.",
    );
    for (place, (_, totals)) in all.iter().enumerate() {
        text.sample(&labels(place), totals.params_bytes);
    }

    text.family(
        "rpc_server_data_bytes_total",
        "counter",
        "Bytes of data in replies, streams not included.",
    );
    for (place, (_, totals)) in all.iter().enumerate() {
        text.sample(&labels(place), totals.data_bytes);
    }

    text.family(
        "rpc_server_call_duration_seconds",
        "histogram",
        "Time from the receipt of a request until its reply is written.",
    );
    for (place, (_, totals)) in all.iter().enumerate() {
        text.histogram(&labels(place), &totals.latency);
    }

    text.family(
        "rpc_server_verdicts_total",
        "counter",
        "Replies that belong to no call: answers to bad lines, and refusals of connections.",
    );
    codes(text, &[], &reporter.metrics.verdicts());

    let waits = reporter.metrics.waits();
    text.family(
        "rpc_server_wait_seconds",
        "histogram",
        "Time that ordered calls waited for their turn, and time that connections were not read from because there \
         was no room.",
    );
    text.histogram(&[("for", "turn")], &waits.in_order)
        .histogram(&[("for", "room")], &waits.for_room);
}

/// Codes of services are many: they have one label together.
fn codes(text: &mut Text, labels: &[(&str, &str)], counts: &Counts) {
    for (code, count) in counts {
        let code = if *code == "OF_SERVICES" {
            "service"
        } else {
            code
        };

        let labels: Vec<_> = labels.iter().copied().chain([("code", code)]).collect();
        text.sample(&labels, count);
    }
}

fn label_of(name: &CommandName) -> String {
    name.cmdid
        .map_or_else(|| "other".to_owned(), |cmdid| cmdid.to_string())
}

/// The threads for work that blocks.
fn blocking(text: &mut Text, report: &Report) {
    let blocking = &report.blocking;

    text.family(
        "rpc_server_blocking_threads_max",
        "gauge",
        "Maximum number of threads for blocking work.",
    )
    .sample(&[], blocking.threads_max);
    text.family(
        "rpc_server_blocking_running",
        "gauge",
        "Pieces of blocking work that run, each in a thread.",
    )
    .sample(&[], blocking.running);
    text.family(
        "rpc_server_blocking_waiting",
        "gauge",
        "Pieces of blocking work that wait for a thread.",
    )
    .sample(&[], blocking.waiting);

    text.family(
        "rpc_server_blocking_started_total",
        "counter",
        "Pieces of blocking work that have begun.",
    )
    .sample(&[], blocking.started);
    text.family(
        "rpc_server_blocking_refused_total",
        "counter",
        "Pieces of blocking work refused at `blocking.waiting_per_connection`.",
    )
    .sample(&[], blocking.refused);
    text.family(
        "rpc_server_blocking_abandoned_total",
        "counter",
        "Pieces of blocking work not begun because their calls ended first.",
    )
    .sample(&[], blocking.abandoned);
}

fn limits(text: &mut Text, report: &Report) {
    text.family("rpc_server_limit", "gauge", "The value of each limit.");
    for limit in &report.limits {
        text.sample(&[("limit", limit.name)], limit.max);
    }

    text.family(
        "rpc_server_limit_used",
        "gauge",
        "The amount of each limit that is in use.",
    );
    for limit in &report.limits {
        text.sample(&[("limit", limit.name)], limit.used);
    }

    let each = report.server.limits.each();
    let (states, events): (Vec<_>, Vec<_>) = each
        .into_iter()
        .partition(|(name, ..)| LIMIT_STATES.contains(name));

    text.family(
        "rpc_server_limit_events_total",
        "counter",
        "Number of times each limit took effect.",
    );
    for (name, _, count) in events {
        text.sample(&[("event", name)], count);
    }

    text.family(
        "rpc_server_limit_state",
        "gauge",
        "Current values of the adaptive limits.",
    );
    for (name, _, value) in states {
        text.sample(&[("state", name)], value);
    }
}

fn access(text: &mut Text, report: &Report) {
    let access = &report.server.access;
    let events = [
        ("tls_handshakes", access.tls_handshakes),
        ("tls_handshakes_refused", access.tls_handshakes_refused),
        ("authentications", access.authentications),
        ("token_failures", access.token_failures),
        ("token_failures_limited", access.token_failures_limited),
        ("authentication_timeouts", access.authentication_timeouts),
        ("unauthenticated_calls", access.unauthenticated_calls),
        ("calls_without_grant", access.calls_without_grant),
    ];

    text.family(
        "rpc_server_access_events_total",
        "counter",
        "Authentications by outcome.",
    );
    for (name, count) in events {
        text.sample(&[("event", name)], count);
    }

    text.family(
        "rpc_server_tls_handshakes_under_way",
        "gauge",
        "TLS handshakes in progress.",
    )
    .sample(&[], access.tls_handshakes_under_way);

    if access.certificate_expires_unix_seconds > 0 {
        let help = "Time at which the first certificate expires, in seconds since 1970.";
        text.family("rpc_server_certificate_expires_seconds", "gauge", help)
            .sample(&[], access.certificate_expires_unix_seconds);
    }
}

/// Of the figures of limits, those that are no counts of events.
const LIMIT_STATES: [&str; 3] = ["accept_degraded", "in_flight_limit", "memory_bytes_peak"];

fn runtime(text: &mut Text, reporter: &Reporter, report: &Report) {
    let runtime = &report.runtime;

    text.family(
        "rpc_server_runtime_lag_seconds",
        "histogram",
        "Delay of a runtime timer that should fire every 250 ms.",
    );
    text.histogram(&[], &reporter.metrics.runtime_lag.lag());

    text.family(
        "rpc_server_runtime_lag_recent_max_seconds",
        "gauge",
        "Longest delay of a 250 ms timer of the runtime in the last 30 s.",
    );
    text.sample(&[], Seconds(runtime.lag_recent_max_us));

    text.family(
        "rpc_server_tasks_alive",
        "gauge",
        "Live tasks of the runtime.",
    )
    .sample(&[], runtime.tasks_alive);
    text.family(
        "rpc_server_tasks_queued",
        "gauge",
        "Tasks waiting for a thread.",
    )
    .sample(&[], runtime.tasks_queued);

    text.family(
        "rpc_server_runtime_threads",
        "gauge",
        "Threads that run tasks.",
    )
    .sample(&[], runtime.threads);
}

/// By the names that Prometheus's own libraries give them.
fn process(text: &mut Text, report: &Report) {
    let process = &report.process;
    let mut one = |name, kind, help, value: Option<f64>| {
        if let Some(value) = value {
            text.family(name, kind, help).sample(&[], value);
        }
    };

    // Far below 2^52.
    #[expect(clippy::cast_precision_loss)]
    let whole = |figure: Option<u64>| figure.map(|figure| figure as f64);

    one(
        "process_resident_memory_bytes",
        "gauge",
        "Memory in use.",
        whole(process.resident_bytes),
    );

    one(
        "process_open_fds",
        "gauge",
        "Open descriptors.",
        whole(process.open_descriptors),
    );
    one(
        "process_max_fds",
        "gauge",
        "Maximum number of open file descriptors.",
        whole(process.descriptors_max),
    );

    one(
        "process_threads",
        "gauge",
        "Threads.",
        whole(process.threads),
    );
    one(
        "process_cpu_seconds_total",
        "counter",
        "Processor time used.",
        process.cpu_seconds,
    );
    one(
        "process_start_time_seconds",
        "gauge",
        "Start time of the process, in seconds since 1970.",
        process.started_at,
    );
}
