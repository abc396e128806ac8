use crate::support::{Server, rpc_at, silent_peer};

#[test]
fn each_round_trip_has_its_line_and_all_have_a_summary() {
    let server = Server::start();
    let lines = server.rpc(&["ping", "-i", "1ms"]).data();
    let lines: Vec<&str> = lines.lines().collect();
    let [pings @ .., summary, figures] = lines.as_slice() else {
        panic!("{lines:?}")
    };
    assert_eq!(pings.len(), 4);
    for (number, line) in (1..).zip(pings) {
        let start = format!("{}: ping {number} answered in ", server.address);
        assert!(line.starts_with(&start) && line.ends_with(" ms"), "{line}");
    }
    assert!(
        summary.starts_with(&format!(
            "{}: 4 sent, 4 answered, 0.0% lost, ",
            server.address
        )),
        "{summary}"
    );
    let names: Vec<&str> = figures.split_whitespace().step_by(2).collect();
    assert_eq!(names, ["min", "p50", "p99", "max", "mean", "ms"]);
}

#[test]
fn many_pings_have_the_summary_only_unless_asked_for() {
    let server = Server::start();
    assert_eq!(
        server
            .rpc(&["ping", "-c", "1000", "-i", "0"])
            .data()
            .lines()
            .count(),
        2
    );
    assert_eq!(
        server
            .rpc(&["ping", "-c", "30", "-i", "0", "-v"])
            .data()
            .lines()
            .count(),
        32
    );
}

#[test]
fn a_connection_that_the_server_has_held_back_is_said_to_have_been() {
    let data = tempfile::tempdir().unwrap();
    let mut config = rpc_daemon::DaemonConfig {
        listen: vec!["127.0.0.1:0".into()],
        data_dir: data.path().to_owned(),
        ..rpc_daemon::DaemonConfig::default()
    };
    config.throttle.frames_per_second = 20;
    let server = Server::with(config, Some(data));

    let slow = server.rpc(&["ping", "-c", "2", "-i", "1ms"]);
    assert_eq!((slow.exit, &*slow.stderr), (0, ""));

    let fast = server.rpc(&["ping", "-c", "30", "-i", "0"]);
    assert_eq!(fast.exit, 0, "{fast:?}");
    assert!(
        fast.stderr.contains("held this connection back")
            && fast.stderr.contains("`throttle.frames_per_second`"),
        "{fast:?}"
    );
}

#[test]
fn a_ping_that_is_not_answered_is_lost_and_decides_the_exit_code() {
    let silent = silent_peer();
    let ran = rpc_at(
        &silent,
        &["ping", "-c", "2", "-i", "0", "--timeout", "20ms"],
        "",
    );
    assert_eq!(ran.exit, 4, "{}", ran.stderr);
    assert!(
        ran.stdout
            .starts_with(&format!("{silent}: 2 sent, 0 answered, 100.0% lost, ")),
        "{}",
        ran.stdout
    );
    assert_eq!(ran.stdout.lines().count(), 1);
}

#[test]
fn an_interrupt_still_gets_the_summary() {
    let server = Server::start();
    let mut ping = server.start_rpc(&["ping", "-c", "2", "-i", "1h"]);
    ping.next_line();
    ping.interrupt();
    let ran = ping.finish();
    assert_eq!((ran.exit, ran.stderr.as_str()), (0, ""));
    assert!(
        ran.stdout.contains(": 1 sent, 1 answered, 0.0% lost, "),
        "{}",
        ran.stdout
    );
}
