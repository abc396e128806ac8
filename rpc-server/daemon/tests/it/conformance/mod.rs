//! The conformance vectors against a daemon in this process: a runner as conformance/README.md
//! describes it, over TCP, over a Unix socket, and over pipes with paused time.

mod pattern;
mod reply;
mod run;
mod vector;
mod wire;

use std::path::PathBuf;

use futures::StreamExt;
use futures::stream;
use rpc_daemon::config::ServiceName;
use rpc_daemon::listeners::ListenerSettings;
use rpc_daemon::{Daemon, DaemonConfig};
use rpc_server::{ServerHandle, Tokens};

use run::run;
use vector::Vector;
use wire::{Pace, Target};

/// What a daemon knows that wants a token.
const TOKEN: &str = "a token of the vectors, which is long enough";

/// A daemon with all that the vectors want, for as long as it is kept.
struct Serving {
    _data: tempfile::TempDir,
    tcp: Target,
    unix: Target,
    handle: ServerHandle,
}

async fn serve() -> Serving {
    serve_as(|config| config).await
}

/// One that wants a token.
async fn serve_with_token() -> Serving {
    serve_as(|mut config| {
        config.tokens_file = config.data_dir.with_file_name("tokens");
        let hash = Tokens::hash(TOKEN).unwrap();
        std::fs::write(&config.tokens_file, format!("vectors {hash}\n")).unwrap();
        for listener in &mut config.listeners {
            listener.require_authentication = true;
        }
        config
    })
    .await
}

async fn serve_as(changed: impl FnOnce(DaemonConfig) -> DaemonConfig) -> Serving {
    let data = tempfile::tempdir().unwrap();
    let socket: PathBuf = data.path().join("socket");
    let with_http = |address: String| ListenerSettings {
        address,
        http_calls: true,
        ..ListenerSettings::default()
    };
    let mut config = DaemonConfig {
        listen: Vec::new(),
        listeners: vec![
            with_http("127.0.0.1:0".into()),
            with_http(format!("unix:{}", socket.display())),
        ],
        data_dir: data.path().join("data"),
        services: vec![
            ServiceName::Test,
            ServiceName::Log,
            ServiceName::Conformance,
        ],
        ..DaemonConfig::default()
    };
    // Vectors whose bytes come one by one, on a machine with much else to do, take longer than peers have by default.
    config.drain.goaway_grace_ms = 3_000;
    config.timeouts.linger_timeout_ms = 8_000;
    let daemon = Daemon::bind(&changed(config)).await.unwrap();
    let tcp = Target::Tcp(daemon.addresses()[0].tcp().unwrap());
    let handle = daemon.handle();
    tokio::spawn(daemon.run(std::future::pending()));
    Serving {
        _data: data,
        tcp,
        unix: Target::Unix(socket),
        handle,
    }
}

/// Runs the vectors, a number of them side by side, and reports all that fail by their names.
async fn check(vectors: Vec<Vector>, target: &Target, pace: Pace, side_by_side: usize) {
    let count = vectors.len();
    let outcomes = stream::iter(vectors).map(|vector| async move {
        let outcome = run(&vector, target, pace).await;
        outcome.err().map(|why| format!("{}: {why}", vector.name))
    });
    let failed: Vec<_> = outcomes
        .buffer_unordered(side_by_side)
        .filter_map(std::future::ready)
        .collect()
        .await;
    assert!(
        failed.is_empty(),
        "{} of {count} vectors failed:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

/// Those for a server that wants no token.
fn vectors(chosen: impl Fn(&Vector) -> bool) -> Vec<Vector> {
    let all = vector::load().into_iter();
    all.filter(|vector| !vector.token && chosen(vector))
        .collect()
}

#[tokio::test]
async fn the_daemon_has_every_command_that_the_vectors_need() {
    let commands = wire::commands_of(&serve().await.tcp).await;
    let vectors = vector::load();
    let missing: Vec<_> = vectors
        .iter()
        .flat_map(|vector| &vector.needs)
        .filter(|cmdid| !commands.contains(cmdid))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[tokio::test]
async fn the_vectors_for_a_server_that_wants_a_token_pass() {
    let serving = serve_with_token().await;
    let load = || vector::load().into_iter().filter(|vector| vector.token);
    assert!(load().count() > 10);

    for target in [&serving.tcp, &serving.unix] {
        check(load().collect(), target, Pace::AsTheVectorSays, 4).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_vector_passes_over_tcp() {
    let vectors = vectors(|vector| !vector.slow);
    assert!(
        vectors.len() > 550,
        "only {} vectors were found",
        vectors.len()
    );
    check(vectors, &serve().await.tcp, Pace::AsTheVectorSays, 16).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_vector_passes_over_a_unix_socket_with_every_byte_sent_alone() {
    // A megabyte of single bytes shows nothing that a few thousand do not.
    let vectors = vectors(|vector| !vector.slow && vector.bytes_sent() < 8 * 1024);
    assert!(
        vectors.len() > 500,
        "only {} vectors were found",
        vectors.len()
    );
    check(vectors, &serve().await.unix, Pace::EveryByteAlone, 16).await;
}

#[tokio::test]
async fn every_vector_passes_over_a_pipe_of_a_few_bytes() {
    // Commands with replies of megabytes.
    const FILL: u64 = 10_003;
    let serving = serve().await;
    let pipe = Target::Pipe {
        server: serving.handle.clone(),
        bytes: 13,
    };
    // A pipe has the policy of no listener, and takes no calls over HTTP.
    let is_small = |vector: &Vector| {
        vector.bytes_sent() < 8 * 1024 && !vector.needs.contains(&FILL) && !vector.http_calls
    };
    let vectors = vectors(|vector| !vector.slow && is_small(vector));
    assert!(
        vectors.len() > 500,
        "only {} vectors were found",
        vectors.len()
    );
    check(vectors, &pipe, Pace::AsTheVectorSays, 16).await;
}

#[tokio::test(start_paused = true)]
async fn the_slow_vectors_pass_with_paused_time() {
    let serving = serve().await;
    let pipe = Target::Pipe {
        server: serving.handle.clone(),
        bytes: 64 * 1024,
    };
    let vectors = vectors(|vector| vector.slow);
    assert!(!vectors.is_empty());
    check(vectors, &pipe, Pace::AsTheVectorSays, 1).await;
}
