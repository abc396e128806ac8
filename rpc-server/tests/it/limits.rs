//! Limits: what a server takes on, and its answers at a limit.

use std::time::Duration;

use rpc_server::{Config, Context, Router, State};
use tokio::time::Instant;

use crate::rig::{ECHO, HOLD, PANIC, Rig, SLEEP};
use crate::support::{Client, TestServer, call, settle};

#[tokio::test(start_paused = true)]
async fn calls_over_the_limit_of_the_server_are_shed_whichever_connection_they_come_on() {
    let rig = Rig::new();
    let server = TestServer::with(
        Config::default().with(|config| config.admission.in_flight_max = 3),
        rig.router(),
    )
    .await;
    let (mut first, mut second) = (server.connect(), server.connect());
    first.send(call(1, HOLD, "") + &call(2, HOLD, "")).await;
    settle().await;
    // The third one is in flight, the fourth one is one too many, though they come in one piece.
    second.send(call(1, HOLD, "") + &call(2, HOLD, "")).await;
    let shed = second.expect_code(2, 8).await;
    let message = shed["message"].as_str().unwrap();
    assert!(
        message.contains("3 calls in flight, the maximum (`admission.in_flight_max`)"),
        "{message}"
    );
    assert_eq!(shed["rejected"], true);
    assert!(
        (100..=300).contains(&shed["retry_after_ms"].as_u64().unwrap()),
        "{shed}"
    );
    // Without an id as well, even where it would be done at once; and without a word where none is wanted.
    assert_eq!(
        second.ask(&format!("{{\"cmdid\":{ECHO}}}")).await["code"],
        8
    );
    second.send(call(3, ECHO, "\"oneway\":true")).await;
    // Built-in commands are for those who want to know what is going on.
    let stats = second.ask("{\"id\":9,\"cmdid\":3}").await;
    assert_eq!(
        stats["data"]["server"]["limits"]["calls_shed"], 3,
        "{stats}"
    );
    assert_eq!((server.stats().in_flight, rig.probe.started()), (3, 3));
    rig.gate.let_pass(1);
    first.expect("{\"id\":1,\"code\":0}").await;
    second.send(call(4, ECHO, "")).await;
    second.expect("{\"id\":4,\"code\":0,\"data\":{}}").await;
}

#[tokio::test(start_paused = true)]
async fn ordered_calls_that_wait_count_for_the_server_and_what_is_shed_keeps_its_place() {
    let rig = Rig::new();
    let server = TestServer::with(
        Config::default().with(|config| config.admission.in_flight_max = 2),
        rig.router(),
    )
    .await;
    let mut client = server.connect();
    let hold = format!("{{\"cmdid\":{HOLD}}}\n");
    client.send(hold.repeat(3)).await;
    settle().await;
    // One runs, one waits for its turn, and the line for the third one waits behind them.
    assert_eq!(
        (rig.probe.started(), server.stats().limits.calls_shed),
        (1, 1)
    );
    rig.gate.let_pass(2);
    for code in [0, 0, 8] {
        client.expect_code(None, code).await;
    }
    assert_eq!((server.stats().in_flight, rig.probe.started()), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn whatever_ends_a_call_gives_its_place_among_all_back() {
    async fn stream() -> rpc_server::Reply {
        rpc_server::Reply::stream(futures::stream::pending::<Result<u64, rpc_server::Status>>())
    }
    let rig = Rig::new();
    let router = rig.router().route(200, stream).unwrap();
    let server = TestServer::with(
        Config::default().with(|config| config.admission.in_flight_max = 1),
        router,
    )
    .await;
    let mut other = server.connect();
    for (line, ending) in [
        (call(1, HOLD, ""), call(9, 4, "\"params\":{\"id\":1}")),
        (call(1, 200, ""), call(9, 4, "\"params\":{\"id\":1}")),
        (call(1, HOLD, "\"timeout_ms\":50"), String::new()),
        (
            call(1, PANIC, "\"params\":{\"at\":\"later\"}"),
            "gate".into(),
        ),
        (call(1, HOLD, ""), "cut".into()),
        (format!("{{\"cmdid\":{HOLD}}}\n").repeat(2), "cut".into()),
    ] {
        let (near, far) = tokio::io::duplex(1024);
        let connection = tokio::spawn(server.handle.serve_connection(far, "pipe"));
        let mut client = Client::new(near);
        client.send(&line).await;
        settle().await;
        assert_eq!(
            other.ask(&format!("{{\"id\":1,\"cmdid\":{ECHO}}}")).await["code"],
            8,
            "while {line}"
        );
        match ending.as_str() {
            "gate" => rig.gate.let_pass(1),
            "cut" => connection.abort(),
            cancel => client.send(cancel).await,
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(server.stats().in_flight, 0, "after {line}");
        assert_eq!(
            other.ask(&format!("{{\"id\":1,\"cmdid\":{ECHO}}}")).await["code"],
            0,
            "after {line}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_at_its_limit_still_answers_pings_and_takes_cancels() {
    let rig = Rig::new();
    let config = Config::default().with(|config| config.admission.in_flight_per_connection = 2);
    let server = TestServer::with(config, rig.router()).await;
    let mut client = server.connect();
    client.send(call(1, HOLD, "") + &call(2, HOLD, "")).await;
    settle().await;
    client.send("\n{\"id\":3,\"cmdid\":0,\"params\":1}\n").await;
    client.expect("{\"id\":3,\"code\":0,\"data\":1}").await;
    client.send("{\"cmdid\":0,\"params\":2}\n").await;
    client.expect("{\"code\":0,\"data\":2}").await;
    client
        .send(call(4, 4, "\"params\":{\"id\":1}") + &call(5, ECHO, ""))
        .await;
    client.expect_code(1, 1).await;
    client.expect("{\"id\":5,\"code\":0,\"data\":{}}").await;
    // A ping that stands in the order waits for its turn, and so for a place.
    client
        .send(format!(
            "{{\"cmdid\":{HOLD}}}\n{{\"cmdid\":0,\"params\":3}}\n"
        ))
        .await;
    client.expect_silence_for(Duration::from_secs(1)).await;
    // Once now, and once for the call behind the cancel, which frees its place a moment later.
    assert_eq!(server.stats().limits.in_flight_pauses, 2);
    rig.gate.let_pass(2);
    let mut rest = [
        client.line().await,
        client.line().await,
        client.line().await,
    ];
    rest.sort();
    assert_eq!(
        rest,
        [
            "{\"code\":0,\"data\":3}\n",
            "{\"code\":0}\n",
            "{\"id\":2,\"code\":0}\n"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_time_passed_while_its_line_waited_for_room_is_not_run() {
    let rig = Rig::new();
    let config = Config::default().with(|config| config.admission.in_flight_per_connection = 1);
    let server = TestServer::with(config, rig.router()).await;
    let mut client = server.connect();
    let late =
        call(2, ECHO, "\"timeout_ms\":499") + &call(3, ECHO, "\"timeout_ms\":2000,\"params\":[]");
    client
        .send(call(1, SLEEP, "\"params\":{\"ms\":500}") + &late)
        .await;
    client.expect_code(1, 0).await;
    let expired = client.expect_code(2, 4).await;
    assert!(
        expired["message"]
            .as_str()
            .unwrap()
            .ends_with("it did not run"),
        "{expired}"
    );
    client.expect("{\"id\":3,\"code\":0,\"data\":[]}").await;
    assert_eq!(server.stats().limits.calls_expired, 1);
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_call_counts_from_when_its_bytes_were_read() {
    async fn remaining(context: Context) -> Result<u64, rpc_server::Status> {
        let left = context
            .deadline()
            .expect("it has one")
            .saturating_duration_since(Instant::now().into_std());
        Ok(u64::try_from(left.as_millis()).expect("it is short"))
    }
    let rig = Rig::new();
    let router = rig.router().route(200, remaining).unwrap();
    let config = Config::default().with(|config| config.admission.in_flight_per_connection = 1);
    let server = TestServer::with(config, router).await;
    let mut client = server.connect();
    let waits = call(2, 200, "\"timeout_ms\":2000,\"params\":{}");
    client
        .send(call(1, SLEEP, "\"params\":{\"ms\":500}") + &waits)
        .await;
    client.expect_code(1, 0).await;
    client.expect("{\"id\":2,\"code\":0,\"data\":1500}").await;
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_time_passed_while_others_of_its_batch_computed_is_not_run() {
    /// Computes, as far as the connection can tell: time passes and nothing else of its thread goes on.
    async fn compute(State(rig): State<Rig>) {
        rig.probe.enter().finish();
        std::thread::sleep(Duration::from_millis(3));
    }
    let rig = Rig::new();
    let router = rig
        .router()
        .merge(Router::with_state(rig.clone()).route(200, compute).unwrap())
        .unwrap();
    let server = TestServer::with(Config::default(), router).await;
    tokio::time::resume();
    let mut client = server.connect();
    client
        .send(
            (0..64)
                .map(|id| call(id, 200, "\"timeout_ms\":10,\"params\":{}"))
                .collect::<String>(),
        )
        .await;
    let mut codes = Vec::new();
    for _ in 0..64 {
        codes.push(client.reply().await["code"].as_u64().unwrap());
    }
    // The clock is looked at once for 16 calls: the first chunk runs, however long it takes.
    assert_eq!((codes[0], codes[63]), (0, 4), "{codes:?}");
    assert!(rig.probe.finished() < 64);
    assert_eq!(
        server.stats().limits.calls_expired,
        codes.iter().filter(|code| **code == 4).count() as u64
    );
}

#[tokio::test(start_paused = true)]
async fn clocks_that_are_hours_apart_have_no_effect() {
    let server = TestServer::start(Rig::new().router()).await;
    let mut client = server.connect();
    for timestamp in [0_u64, 1, 4_102_444_800, (1 << 53) - 1] {
        client
            .send(call(
                1,
                SLEEP,
                &format!("\"timestamp\":{timestamp},\"timeout_ms\":100,\"params\":{{\"ms\":99}}"),
            ))
            .await;
        client.expect("{\"id\":1,\"code\":0,\"data\":99}").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_never_speaks_is_kept_unless_it_has_to_speak_by_a_time() {
    let rig = Rig::new();
    let patient = TestServer::start(rig.router()).await;
    let mut silent = patient.connect();
    silent.expect_silence_for(Duration::from_secs(86_400)).await;
    assert_eq!(silent.ask("{\"cmdid\":0,\"params\":1}").await["data"], 1);

    let config = Config::default().with(|config| config.accept.first_frame_timeout_ms = 3_000);
    let strict = TestServer::with(config, rig.router()).await;
    for begun in ["", "\n\n", "{\"id\":7,\"cmdid\":0"] {
        let mut client = strict.connect();
        client.send(begun).await;
        client
            .expect_silence_for(Duration::from_millis(2_998))
            .await;
        let told = client.expect_code((begun.len() > 2).then_some(7), 4).await;
        assert!(
            told["message"]
                .as_str()
                .unwrap()
                .contains("`accept.first_frame_timeout_ms` of 3000 ms"),
            "{told}"
        );
        client.expect_end().await;
    }
    let mut speaks = strict.connect();
    assert_eq!(speaks.ask("{\"cmdid\":0,\"params\":1}").await["data"], 1);
    speaks.expect_silence_for(Duration::from_secs(86_400)).await;
    assert_eq!(strict.stats().limits.first_frame_timeouts, 3);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_asked_to_go_and_one_with_a_call_in_flight_is_not() {
    let rig = Rig::new();
    let config = Config::default().with(|config| {
        config.timeouts.idle_timeout_ms = 5_000;
        config.timeouts.handler_timeout_ms = 600_000;
    });
    let server = TestServer::with(config, rig.router()).await;
    let (mut multiplexed, mut plain, mut busy) =
        (server.connect(), server.connect(), server.connect());
    busy.send(call(1, HOLD, "")).await;
    for _ in 0..3 {
        multiplexed.send(call(1, ECHO, "")).await;
        multiplexed.expect_code(1, 0).await;
        assert_eq!(plain.ask("{\"cmdid\":0,\"params\":1}").await["data"], 1);
        // Empty lines are no requests.
        tokio::time::sleep(Duration::from_millis(4_900)).await;
        multiplexed.send("\n").await;
    }
    multiplexed.send(call(1, ECHO, "")).await;
    multiplexed.expect_code(1, 0).await;
    let last = Instant::now();
    let goaway = multiplexed.line().await;
    assert!(
        goaway.starts_with(
            "{\"event\":\"goaway\",\"message\":\"the connection was idle for `timeouts.idle_timeout_ms`"
        ),
        "{goaway}"
    );
    assert_eq!(last.elapsed().as_millis(), 5_000);
    // What was on its way then is answered.
    multiplexed.send(call(2, ECHO, "")).await;
    multiplexed.expect_code(2, 0).await;
    multiplexed.expect_end().await;
    plain.expect_end().await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(
        (
            server.stats().connections_open,
            server.stats().limits.idle_timeouts
        ),
        (1, 2)
    );
    rig.gate.let_pass(1);
    busy.expect("{\"id\":1,\"code\":0}").await;
    let last = Instant::now();
    busy.line().await;
    assert_eq!(
        last.elapsed().as_millis(),
        5_000,
        "counted from the end of its call"
    );
}

/// A thousand times so many lines are far more than a server takes that slows them down.
const FLOOD: usize = 1_000;

/// Floods with one line until the server ends its side; returns what it said last.
async fn flood(client: &mut Client<tokio::io::DuplexStream>, line: &str) -> String {
    use tokio::io::AsyncWriteExt;
    let (read, mut write) = tokio::io::split(&mut client.io);
    let lines = line.repeat(1_000);
    let writes = async {
        for _ in 0..FLOOD {
            // It ends with the connection.
            if write.write_all(lines.as_bytes()).await.is_err() {
                return;
            }
        }
        panic!("the server has taken all of it: {line}");
    };
    let reads = async {
        let mut last = String::new();
        let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(read));
        while let Ok(Some(line)) = lines.next_line().await {
            last = line;
        }
        last
    };
    let mut reads = std::pin::pin!(reads);
    tokio::select! {
        biased;
        last = &mut reads => return last,
        () = writes => {}
    }
    reads.await
}

#[tokio::test(start_paused = true)]
async fn floods_of_lines_that_lead_to_nothing_are_slowed_down_and_then_closed() {
    let rig = Rig::new();
    let config = Config::default().with(|config| {
        config.throttle.frames_per_second = 1_000;
        config.admission.in_flight_max = 1;
        config.timeouts.handler_timeout_ms = 600_000;
    });
    let server = TestServer::with(config, rig.router()).await;
    let mut holder = server.connect();
    holder.send(call(1, HOLD, "")).await;
    settle().await;
    for (n, line) in [
        "\n".to_owned(),
        "{\"cmdid\":0}\n".to_owned(),
        call(5, 4, "\"params\":{\"id\":77}"),
        call(5, 5, "\"params\":{\"id\":77,\"n\":1}"),
        call(5, ECHO, "\"oneway\":true"),
    ]
    .into_iter()
    .enumerate()
    {
        let (begun, requests) = (Instant::now(), server.stats().requests);
        let mut client = server.connect();
        // It has to be heard once, so that the end is not that of a bad beginning.
        assert_eq!(client.ask("{\"cmdid\":0,\"params\":1}").await["data"], 1);
        let last = flood(&mut client, &line).await;
        assert!(
            last.starts_with(
                "{\"code\":8,\"message\":\"more than `throttle.frames_per_second` of 1000"
            ),
            "{line}: {last}"
        );
        assert_eq!(begun.elapsed().as_secs(), 10, "{line}");
        let requests = server.stats().requests - requests;
        assert!(
            if line == "\n" {
                requests == 1
            } else {
                (10_000..12_500).contains(&requests)
            },
            "{line}: {requests}"
        );
        let limits = server.stats().limits;
        assert_eq!(limits.cheap_frame_closures, n as u64 + 1);
        assert!(
            limits.cheap_frame_pauses >= 90 * (n as u64 + 1),
            "{limits:?}"
        );
    }
    // Nobody else has noticed.
    rig.gate.let_pass(1);
    holder.expect("{\"id\":1,\"code\":0}").await;
}

#[tokio::test(start_paused = true)]
async fn bad_lines_calls_without_time_and_calls_with_wrong_params_are_slowed_down_too() {
    let rig = Rig::new();
    let config = Config::default().with(|config| {
        config.throttle.frames_per_second = 100;
        config.throttle.timeout_ms = 2_000;
    });
    let server = TestServer::with(config, rig.router()).await;
    for line in [
        // A bad id does not count as a bad line in a row; others do not where good lines stand between them.
        "{\"id\":-1,\"cmdid\":100}\n".to_owned(),
        "no JSON\n".to_owned() + &call(1, ECHO, ""),
        call(1, ECHO, "\"timeout_ms\":0"),
        call(1, SLEEP, "\"params\":\"no number\""),
        call(1, SLEEP, "\"params\":\"no number\",\"oneway\":true"),
    ] {
        let begun = Instant::now();
        let mut client = server.connect();
        assert_eq!(client.ask("{\"cmdid\":0,\"params\":1}").await["data"], 1);
        let last = flood(&mut client, &line).await;
        assert!(
            last.contains("more than `throttle.frames_per_second` of 100"),
            "{line}: {last}"
        );
        assert_eq!(begun.elapsed().as_secs(), 2, "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn unknown_commands_and_calls_that_are_cancelled_at_once_are_slowed_down_too() {
    let rig = Rig::new();
    let config = Config::default().with(|config| {
        config.throttle.frames_per_second = 100;
        config.throttle.timeout_ms = 2_000;
    });
    let server = TestServer::with(config, rig.router()).await;
    let reset = call(1, HOLD, "") + &call(2, 4, "\"params\":{\"id\":1}");
    for line in [call(1, 99_999, "\"params\":{}"), reset] {
        let begun = Instant::now();
        let mut client = server.connect();
        assert!(
            flood(&mut client, &line)
                .await
                .contains("`throttle.frames_per_second` of 100"),
            "{line}"
        );
        assert_eq!(begun.elapsed().as_secs(), 2, "{line}");
    }
    assert!(rig.probe.started() < 400, "{}", rig.probe.started());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_slowed_down_is_logged_once_and_stats_tells_it_how_often_it_was() {
    let (logged, server) = (
        crate::logged::Logged::begin(),
        TestServer::with(
            Config::default().with(|config| config.throttle.frames_per_second = 100),
            Rig::new().router(),
        )
        .await,
    );
    let mut client = server.connect();
    let stats = client.ask("{\"cmdid\":3}").await;
    assert_eq!(stats["data"]["connection"]["held_back"], 0, "{stats}");

    client.send("{\"cmdid\":0}\n".repeat(150)).await;
    for _ in 0..150 {
        client.reply().await;
    }
    let stats = client.ask("{\"cmdid\":3}").await;
    let held_back = stats["data"]["connection"]["held_back"].as_u64().unwrap();
    assert!((4..=7).contains(&held_back), "{stats}");

    let text = logged.text();
    let lines = text
        .lines()
        .filter(|line| line.contains("read from more slowly"));
    let lines: Vec<_> = lines.collect();
    assert_eq!(lines.len(), 1, "{text}");
    assert!(
        lines[0].contains("peer=pipe") && lines[0].contains("`throttle.frames_per_second`"),
        "{}",
        lines[0]
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_stays_within_the_rate_of_cheap_lines_is_never_slowed_down() {
    let server = TestServer::with(
        Config::default().with(|config| config.throttle.frames_per_second = 100),
        Rig::new().router(),
    )
    .await;
    let mut client = server.connect();
    for _ in 0..3_000 {
        assert_eq!(client.ask("{\"cmdid\":0,\"params\":1}").await["data"], 1);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(server.stats().limits.cheap_frame_pauses, 0);
}

#[tokio::test(start_paused = true)]
async fn panics_and_handlers_that_never_return_are_counted_and_the_callers_own_time_is_not() {
    let rig = Rig::new();
    let server = TestServer::with(
        Config::default().with(|config| config.timeouts.handler_timeout_ms = 1_000),
        rig.router(),
    )
    .await;
    let mut client = server.connect();
    client
        .send(
            call(1, PANIC, "\"params\":{\"at\":\"start\"}")
                + &call(2, HOLD, "")
                + &call(3, HOLD, "\"timeout_ms\":10"),
        )
        .await;
    client.expect_code(1, 13).await;
    client.expect_code(3, 4).await;
    client.expect_code(2, 4).await;
    client
        .send(call(
            4,
            PANIC,
            "\"oneway\":true,\"params\":{\"at\":\"start\"}",
        ))
        .await;
    settle().await;
    let limits = server.stats().limits;
    assert_eq!((limits.handler_panics, limits.handler_timeouts), (2, 1));
}
