//! Metrics, and the figures of the pages.

use std::collections::BTreeMap;
use std::time::Duration;

use rpc_server::{AdminConfig, Descriptor, Params, Route, Server, Status};
use serde_json::Value;

use super::{ask, get, start_usual};
use crate::rig::{ECHO, Rig};
use crate::support::{TestServer, call, settle};

async fn fail(Params(secret): Params<String>) -> Result<(), Status> {
    Err(Status::invalid_argument(format!("{secret} is wrong")))
}

/// What two pages tell of a server after a peer's calls.
struct Pages {
    metrics: String,
    stats: String,
}

impl Pages {
    /// Starts a server and calls it: 300 commands that are not there, one that fails, and one that answers. All params
    /// hold "pass-4211".
    async fn after_calls_of_a_peer() -> Self {
        let rig = Rig::new();
        let odd = Descriptor::new("a\"b\\c\nd", "<script>");
        let router = rig
            .router()
            .route(300, Route::new(fail).describe(odd))
            .unwrap();
        let builder = Server::builder()
            .router(router)
            .admin(AdminConfig::default());
        let server = TestServer::of(builder.bind().await.unwrap());

        let mut client = server.connect();
        for n in 0..300 {
            client
                .send(call(
                    n,
                    987_654_000 + u32::try_from(n).unwrap(),
                    "\"params\":\"pass-4211\"",
                ))
                .await;
            client.expect_code(n, 12).await;
        }

        client
            .send(call(
                1,
                300,
                "\"params\":\"pass-4211\",\"meta\":{\"token\":\"pass-4211\"}",
            ))
            .await;
        client.expect_code(1, 3).await;
        client.send(call(2, ECHO, "\"params\":\"pass-4211\"")).await;
        client.expect_code(2, 0).await;

        Self {
            metrics: ask(&server, &get("/metrics")).await.body,
            stats: ask(&server, &get("/stats.json")).await.body,
        }
    }

    /// The value of the only sample that begins like this.
    fn sample(&self, start: &str) -> &str {
        let found: Vec<_> = self
            .metrics
            .lines()
            .filter(|line| line.starts_with(start))
            .collect();
        assert_eq!(found.len(), 1, "{start}: {found:?}");

        found[0].rsplit_once(' ').unwrap().1
    }
}

#[tokio::test(start_paused = true)]
async fn metrics_of_a_service_come_behind_those_of_the_server() {
    let reads = std::sync::atomic::AtomicU32::new(0);
    let of_service = move || {
        let read = 1 + reads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        format!("# TYPE shop_orders gauge\nshop_orders {read}\n")
    };
    let builder = Server::builder()
        .router(Rig::new().router())
        .admin(AdminConfig::default())
        .admin_metrics(of_service);
    let server = TestServer::of(builder.bind().await.unwrap());

    for read in 1..3 {
        let metrics = ask(&server, &get("/metrics")).await.body;
        assert!(metrics.starts_with("# HELP rpc_server_info"), "{metrics}");
        let end = format!("\n# TYPE shop_orders gauge\nshop_orders {read}\n");
        assert!(metrics.ends_with(&end), "{metrics}");
    }
}

#[tokio::test(start_paused = true)]
async fn metrics_and_figures_hold_no_word_of_a_peer() {
    let Pages { metrics, stats } = Pages::after_calls_of_a_peer().await;

    assert!(!metrics.contains("pass-4211") && !stats.contains("pass-4211"));
    assert!(
        !metrics.contains("987654") && !stats.contains("987654"),
        "a caller of what is not there adds nothing"
    );
}

#[tokio::test(start_paused = true)]
async fn metrics_and_figures_are_bounded_whatever_a_peer_calls() {
    let pages = Pages::after_calls_of_a_peer().await;

    let json = &pages.stats;
    let stats: Value = serde_json::from_str(json).unwrap();
    assert_eq!(stats["commands"].as_array().unwrap().len(), 3, "{json}");

    assert_eq!(
        pages.sample(
            r#"rpc_server_calls_total{cmdid="other",service="other",method="other",code="UNIMPLEMENTED"}"#
        ),
        "300"
    );
    assert!(
        pages
            .metrics
            .lines()
            .filter(|line| line.starts_with("rpc_server_calls_total"))
            .count()
            < 40
    );
}

#[tokio::test(start_paused = true)]
async fn metrics_are_well_formed_and_each_sample_belongs_to_a_family_before_it() {
    let pages = Pages::after_calls_of_a_peer().await;

    let mut families = BTreeMap::new();
    for line in pages.metrics.lines() {
        if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, kind) = typed.split_once(' ').unwrap();
            assert_eq!(
                families.insert(name.to_owned(), kind.to_owned()),
                None,
                "{name} is there twice"
            );
        } else if !line.starts_with("# HELP ") {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");

            let name = sample.split('{').next().unwrap();
            let is_of = |(family, kind): (&String, &String)| match kind.as_str() {
                "histogram" => ["_bucket", "_sum", "_count"]
                    .iter()
                    .any(|end| name == format!("{family}{end}")),
                "counter" => name == family && name.ends_with("_total"),
                _ => name == family,
            };
            assert!(
                families.iter().any(is_of),
                "{line} belongs to no family before it"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn metrics_count_and_time_the_calls_of_each_command() {
    let pages = Pages::after_calls_of_a_peer().await;

    assert_eq!(
        pages.sample(
            r#"rpc_server_calls_total{cmdid="300",service="a\"b\\c\nd",method="<script>",code="INVALID_ARGUMENT"}"#
        ),
        "1"
    );
    assert_eq!(
        pages.sample(r#"rpc_server_call_duration_seconds_count{cmdid="100","#),
        "1"
    );
    assert_eq!(
        pages.sample(
            r#"rpc_server_call_duration_seconds_bucket{cmdid="100",service="rig",method="echo",le="+Inf"}"#
        ),
        "1"
    );

    assert_eq!(pages.sample("rpc_server_ready"), "1");
}

#[tokio::test(start_paused = true)]
async fn metrics_tell_of_blocking_work_without_a_label() {
    let pages = Pages::after_calls_of_a_peer().await;

    for (name, value) in [
        ("threads_max", "64"),
        ("running", "0"),
        ("waiting", "0"),
        ("started_total", "0"),
        ("refused_total", "0"),
        ("abandoned_total", "0"),
    ] {
        let sample = format!("rpc_server_blocking_{name} ");
        assert_eq!(pages.sample(&sample), value, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_blocks_its_thread_is_seen_as_lag() {
    let (_rig, server) = start_usual().await;
    settle().await;
    // The paused clock stands for the thread that does not come back to its timers.
    tokio::time::advance(Duration::from_millis(900)).await;
    settle().await;
    let stats: Value = serde_json::from_str(&ask(&server, &get("/stats.json")).await.body).unwrap();
    let lag = stats["runtime"]["lag_recent_max_us"].as_u64().unwrap();
    assert!((500_000..900_000).contains(&lag), "{lag}");
    let response = ask(&server, &get("/readyz")).await;
    assert_eq!(response.status, 200, "late is not away");
    assert!(
        response.body.contains("a handler blocks its thread"),
        "{}",
        response.body
    );
}
