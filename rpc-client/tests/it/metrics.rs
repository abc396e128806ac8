//! Metrics of a client.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use rpc_client::metrics::{CommandReport, Report};
use rpc_client::{Client, Code, Config};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::support::{Peer, Seen, in_memory, pair, router, tcp};

fn command(report: &Report, cmdid: impl Into<Option<u32>>) -> CommandReport {
    let cmdid = cmdid.into();
    let found = report
        .commands
        .iter()
        .find(|command| command.cmdid == cmdid);
    found
        .unwrap_or_else(|| panic!("no {cmdid:?} in {report:?}"))
        .clone()
}

fn counts<const N: usize>(counts: [(&'static str, u64); N]) -> BTreeMap<&'static str, u64> {
    counts.into()
}

#[tokio::test]
async fn the_clients_counts_are_the_servers() {
    let (address, server) = tcp(Seen::default()).await;
    // Without retries each call is one try, which the server sees once.
    let config = Config::default().with(|config| config.retry.attempts_max = 1);
    let client = Client::with_config(&address, config);

    let calls = (0..500_u64).map(|n| {
        let client = client.clone();
        async move {
            let params = json!({"value": n, "ms": n % 3});
            match n % 10 {
                0 => drop(client.call::<_, Value>(100, &json!("wrong")).await),
                1 => drop(client.call::<_, Value>(103, &()).await),
                2 => drop(client.call::<_, Value>(106, &()).await),
                3 => drop(client.call::<_, Value>(999, &()).await),
                4 => {
                    let params = json!({"value": 3});
                    let items = client.stream::<_, u64>(104, &params).await.unwrap();
                    assert_eq!(items.count().await, 3);
                }
                5 => {
                    let deadline = std::time::Instant::now() + Duration::from_secs(60);
                    let command = client.command(100).deadline(deadline);
                    command.call::<_, Value>(&params).await.unwrap();
                }
                _ => drop(client.call::<_, Value>(100, &params).await.unwrap()),
            }
        }
    });
    futures::future::join_all(calls).await;

    let ours = client.report();
    assert_eq!(
        command(&ours, 100).answered,
        counts([("OK", 250), ("INVALID_ARGUMENT", 50)])
    );
    assert_eq!(command(&ours, 104).answered, counts([("OK", 50)]));

    let mut by_code: BTreeMap<String, u64> = BTreeMap::new();
    for counted in &ours.commands {
        assert_eq!(counted.unanswered, BTreeMap::new(), "{counted:?}");
        assert_eq!(
            (counted.in_flight, counted.calls()),
            (0, counted.latency.count)
        );
        for (code, count) in &counted.answered {
            *by_code.entry((*code).to_owned()).or_default() += count;
        }
    }
    let theirs: BTreeMap<String, u64> = server
        .stats()
        .replies
        .into_iter()
        .map(|(code, count)| (code.to_owned(), count))
        .collect();
    assert_eq!(by_code, theirs);
    assert_eq!((ours.connections_open, ours.connections_opened), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_try_without_an_answer_is_counted_by_its_reason() {
    let (client, mut peer) = Peer::new(Config::default());
    let call = |timeout| {
        let client = client.clone();
        tokio::spawn(async move {
            let command = client.command(100).timeout(timeout);
            command.call::<_, u64>(&1).await
        })
    };
    let minute = Duration::from_secs(60);

    // Its caller drops it.
    let dropped = call(minute);
    peer.line().await;
    assert_eq!(command(&client.report(), 100).in_flight, 1);
    dropped.abort();
    assert!(dropped.await.unwrap_err().is_cancelled());
    assert_eq!(peer.line().await["cmdid"], 4);

    // Its time is up.
    let late = call(Duration::from_millis(30));
    peer.line().await;
    assert!(late.await.unwrap().unwrap_err().is_deadline());
    assert_eq!(peer.line().await["cmdid"], 4);

    // Its reply makes no sense.
    let unreadable = call(minute);
    let id = peer.line().await["id"].clone();
    peer.send(&format!(r#"{{"id":{id},"code":"x"}}"#)).await;
    assert_eq!(
        unreadable.await.unwrap().unwrap_err().code(),
        Code::INTERNAL
    );
    assert_eq!(peer.line().await["cmdid"], 4);

    // Its connection is lost, and cannot be opened again.
    let lost = call(minute);
    peer.line().await;
    drop(peer);
    assert!(lost.await.unwrap().unwrap_err().may_have_run());
    call(minute).await.unwrap().unwrap_err();

    let report = client.report();
    let counted = command(&report, 100);
    let expected = [
        ("given_up", 1),
        ("deadline", 1),
        ("unreadable", 1),
        ("lost", 1),
        ("not_sent", 1),
    ];
    assert_eq!(counted.unanswered, counts(expected));
    assert_eq!(counted.answered, BTreeMap::new());
    assert_eq!((counted.in_flight, counted.calls()), (0, 5));
    assert_eq!((counted.latency.count, report.connections_open), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn latencies_retries_oneways_and_reconnects_are_counted() {
    let (client, _server) = pair(Seen::default(), Config::default()).await;
    for _ in 0..10 {
        let params = json!({"value": 1, "ms": 100});
        client.call::<_, u64>(100, &params).await.unwrap();
    }
    // Rejected each time, and tried three times.
    client.call::<_, ()>(103, &()).await.unwrap_err();
    client.notify(102, &()).await.unwrap();
    client.flush().await.unwrap();

    let report = client.report();
    let slept = command(&report, 100).latency;
    assert_eq!(slept.count, 10);
    assert!((1_000_000..1_040_000).contains(&slept.sum_us), "{slept:?}");
    assert!((90_000..112_000).contains(&slept.p99_us), "{slept:?}");

    let rejected = command(&report, 103);
    assert_eq!(rejected.answered, counts([("RESOURCE_EXHAUSTED", 3)]));
    assert_eq!((rejected.retries, rejected.calls()), (2, 1));
    assert_eq!(command(&report, 102).oneway, 1);

    let (connect, _server) = in_memory(router(Seen::default())).await;
    let config = Config::default().with(|config| config.timeouts.idle_timeout_ms = 1_000);
    let builder = Client::builder("again").connector(connect);
    let client = builder.config(config).build();
    for _ in 0..3 {
        let params = json!({"value": 1});
        client.call::<_, u64>(100, &params).await.unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(!client.is_connected());
    }
    let report = client.report();
    assert_eq!((report.connections_opened, report.reconnects), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn commands_beyond_the_limit_are_counted_together() {
    let config = Config::default().with(|config| config.limits.metrics_commands_max = 2);
    let (client, mut peer) = Peer::new(config);
    let answer = async {
        for _ in 0..100 {
            let id = peer.line().await["id"].clone();
            let reply = format!("{{\"id\":{id},\"code\":0,\"data\":1}}\n");
            peer.output.write_all(reply.as_bytes()).await.unwrap();
        }
    };
    let calls = async {
        for cmdid in 100..200 {
            client.call::<_, u64>(cmdid, &()).await.unwrap();
        }
    };
    tokio::join!(calls, answer);

    let report = client.report();
    let cmdids: Vec<_> = report
        .commands
        .iter()
        .map(|command| command.cmdid)
        .collect();
    assert_eq!(cmdids, [Some(100), Some(101), None]);
    assert_eq!(command(&report, None).answered, counts([("OK", 98)]));

    let text = report.to_prometheus();
    for line in [
        "rpc_client_answered_total{target=\"played\",cmdid=\"100\",code=\"OK\"} 1",
        "rpc_client_answered_total{target=\"played\",cmdid=\"other\",code=\"OK\"} 98",
        "rpc_client_in_flight{target=\"played\",cmdid=\"101\"} 0",
        "rpc_client_duration_seconds_count{target=\"played\",cmdid=\"other\"} 98",
        "rpc_client_connections_open{target=\"played\"} 1",
        "# TYPE rpc_client_duration_seconds histogram",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}
