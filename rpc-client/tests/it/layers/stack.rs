//! The layers themselves.

use std::io::Write;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rpc_client::layers::{Retry, Timeout, Trace};
use rpc_client::log::{Append, Level, LogClient};
use rpc_client::{Code, Config, Reply, ServiceClient, Status, layer_fn, service_fn};
use serde_json::json;
use tokio::time::Instant;
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{Seen, pair};

/// Keeps what is logged on this thread while it lives.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn record(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_ansi(false)
            .without_time()
            .with_writer(log)
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    /// The lines of the layer.
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines()
            .filter(|line| line.contains("layers::trace"))
            .map(str::to_owned)
            .collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn a_trace_names_command_code_and_time_and_nothing_of_the_content() {
    let log = Log::default();
    let _recording = log.record();
    let secret = service_fn(|request| async move {
        match request.params.as_str() {
            "\"refuse the secret\"" => {
                Err(Status::resource_exhausted("the secret is too long").with_rejected())
            }
            "\"wait\"" => std::future::pending().await,
            _ => Reply::new("a secret of the server"),
        }
    });
    let client = ServiceClient::new(secret).layer(Trace);
    client
        .call::<_, String>(4711, "a secret of the caller")
        .await
        .unwrap();
    client
        .call::<_, String>(4712, "refuse the secret")
        .await
        .unwrap_err();
    {
        let given_up = client.call::<_, String>(4713, "wait");
        tokio::pin!(given_up);
        assert!(futures::poll!(&mut given_up).is_pending());
    }
    let lines = log.lines();
    assert_eq!(lines.len(), 3, "{lines:?}");
    for (line, expected) in lines.iter().zip([
        [
            "DEBUG rpc_call{cmdid=4711 otel.kind=\"client\"",
            "called cmdid=4711 code=0",
            "elapsed_ms=",
        ],
        [
            "WARN rpc_call{cmdid=4712 otel.kind=\"client\"",
            "cmdid=4712 code=8 rejected=true",
            "elapsed_ms=",
        ],
        [
            "DEBUG rpc_call{cmdid=4713 otel.kind=\"client\"",
            "a call was given up cmdid=4713",
            "elapsed_ms=",
        ],
    ]) {
        assert!(expected.iter().all(|part| line.contains(part)), "{line}");
        assert!(!line.contains("secret") && !line.contains("wait"), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_timeout_around_a_client_ends_the_call_here_and_at_the_server() {
    let seen = Seen::default();
    let (client, server) = pair(seen.clone(), Config::default()).await;
    let hasty = client.layer(Timeout::new(Duration::from_millis(70)));
    for (own, expected_ms) in [(None, 70), (Some(1000), 70), (Some(20), 20)] {
        let mut command = hasty.command(101);
        if let Some(own) = own {
            command = command.timeout(Duration::from_millis(own));
        }
        let started = Instant::now();
        assert_eq!(
            command.call::<_, ()>(&json!({})).await.unwrap_err().code(),
            Code::DEADLINE_EXCEEDED
        );
        let waited = u64::try_from(started.elapsed().as_millis()).unwrap();
        assert!(
            (expected_ms..expected_ms + 3).contains(&waited),
            "{waited} ms"
        );
    }
    assert_eq!(
        hasty
            .call::<_, u64>(100, &json!({"value": 7}))
            .await
            .unwrap(),
        7
    );
    assert_eq!(
        (
            seen.dropped.load(Ordering::SeqCst),
            server.stats().in_flight
        ),
        (3, 0)
    );
}

#[tokio::test]
async fn the_layer_that_is_added_last_sees_a_call_first_and_typed_clients_take_it() {
    let seen: Arc<Mutex<Vec<&str>>> = Arc::default();
    let note = |name: &'static str| {
        let seen = Arc::clone(&seen);
        layer_fn(move |inner: rpc_client::BoxService| {
            let seen = Arc::clone(&seen);
            service_fn(move |request| {
                seen.lock().unwrap().push(name);
                inner.call_boxed(request)
            })
        })
    };
    let log = service_fn(|_| async { Reply::new(&json!({"seq": 12})) });
    let client = ServiceClient::new(rpc_client::BoxService::new(log)).layer(note("inner"));
    let client = ServiceClient::new(rpc_client::BoxService::new(client)).layer(note("outer"));
    let seq = LogClient::new(client)
        .append(&Append::new(Level::Info, "order", "hello"))
        .await
        .unwrap()
        .seq;
    assert_eq!(
        (seq, &**seen.lock().unwrap()),
        (12, &["outer", "inner"][..])
    );
}

#[tokio::test(start_paused = true)]
async fn a_timeout_limits_the_beginning_of_a_stream_and_not_its_length() {
    let (client, mut peer) = crate::support::Peer::new(Config::default());
    let client = client.layer(Timeout::new(Duration::from_millis(50)));
    let begun = client
        .command(104)
        .timeout(Duration::from_millis(70))
        .stream::<_, u64>(&())
        .await;
    let mut items = begun.unwrap();
    let request = peer.line().await;
    assert!(request.get("timeout_ms").is_none(), "{request}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let id = &request["id"];
    peer.send(&format!(r#"{{"id":{id},"code":0,"more":true,"data":1}}"#))
        .await;
    assert_eq!(
        futures::StreamExt::next(&mut items).await.unwrap().unwrap(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_service_rejects_is_tried_again_within_deadline_attempts_and_budget() {
    let tries = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let count = Arc::clone(&tries);
    // Rejects two calls of three, and says when to come back.
    let service = service_fn(move |_| {
        let n = count.fetch_add(1, Ordering::SeqCst) + 1;
        let busy = Status::resource_exhausted("busy").with_rejected();
        let busy = busy.with_retry_after(Duration::from_millis(100));
        std::future::ready(if n.is_multiple_of(3) {
            Reply::new(&n)
        } else {
            Err(busy)
        })
    });
    let client = ServiceClient::new(service).layer(Retry::new(&Config::default()));
    let begin = Instant::now();
    assert_eq!(client.call::<_, u64>(100, &()).await.unwrap(), 3);
    assert!(
        begin.elapsed() >= Duration::from_millis(200),
        "{:?}",
        begin.elapsed()
    );
    // No time for the pause: the rejection itself is told, at once.
    let hurried = client.command(100).timeout(Duration::from_millis(50));
    let begin = Instant::now();
    assert!(hurried.call::<_, u64>(&()).await.unwrap_err().is_rejected());
    assert_eq!(
        (begin.elapsed(), tries.load(Ordering::SeqCst)),
        (Duration::ZERO, 4)
    );
}

#[tokio::test(start_paused = true)]
async fn what_may_have_run_is_tried_again_only_where_the_command_is_idempotent() {
    let tries = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let count = Arc::clone(&tries);
    let lost = service_fn(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        std::future::ready(Err(Status::unavailable("lost on the way")))
    });
    let client = ServiceClient::new(lost).layer(Retry::new(&Config::default()));
    assert_eq!(
        client.call::<_, ()>(100, &()).await.unwrap_err().code(),
        Code::UNAVAILABLE
    );
    assert_eq!(tries.load(Ordering::SeqCst), 1);

    let keyed = client.command(100).idempotency_key("order-7");
    assert!(!keyed.call::<_, ()>(&()).await.unwrap_err().is_rejected());
    assert_eq!(tries.load(Ordering::SeqCst), 2, "its store is not known");

    let idempotent = client.command(100).idempotent();
    assert!(
        !idempotent
            .call::<_, ()>(&())
            .await
            .unwrap_err()
            .is_rejected()
    );
    assert_eq!(tries.load(Ordering::SeqCst), 5, "three more");
}
