//! The trace of a call: continued from the caller's, and handed to the handler.

use futures::{StreamExt, stream};
use rpc_core::trace::TraceParent;
use rpc_core::{Descriptor, RawJson, Request, Service, Status};
use rpc_server::{Body, Context, Reply, Route, Router};
use tracing_subscriber::fmt::format::FmtSpan;

use crate::logged::Logged;

const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

async fn told(context: Context) -> Result<(Option<String>, Option<String>), Status> {
    tracing::info!("at work");
    Ok((context.meta("traceparent"), context.meta("tracestate")))
}

async fn three() -> Reply {
    Reply::stream(stream::iter([1, 2, 3]).map(|n| {
        tracing::info!(n, "an item");
        Ok(n)
    }))
}

fn router() -> Router {
    let told = || Route::new(told).describe(Descriptor::new("shop", "told"));
    let routes = Router::new()
        .route(100, told())
        .unwrap()
        .route(101, told().spawned())
        .unwrap();
    routes.route(102, three).unwrap().traced()
}

/// What the handler sees of a call with this line.
async fn seen(cmdid: u32, meta: &str) -> (TraceParent, Option<String>) {
    let line = format!("{{\"cmdid\":{cmdid},\"meta\":{meta}}}");
    let request = Request::decode(line.as_bytes()).unwrap();
    let reply = router().call(request).await.unwrap();
    let (parent, state): (Option<String>, _) = reply.data().unwrap().decode().unwrap();
    (
        parent.expect("every traced call has one").parse().unwrap(),
        state,
    )
}

#[tokio::test]
async fn a_traced_call_continues_its_callers_trace_as_a_span_of_its_own() {
    let caller: TraceParent = CALLER.parse().unwrap();
    for cmdid in [100, 101] {
        let (own, state) = seen(
            cmdid,
            &format!(r#"{{"traceparent":"{CALLER}","tracestate":"vendor=1"}}"#),
        )
        .await;
        assert_eq!(
            (own.trace_id(), own.flags()),
            (caller.trace_id(), caller.flags())
        );
        assert_ne!(own.span_id(), caller.span_id());
        assert_eq!(state.as_deref(), Some("vendor=1"));
    }
}

#[tokio::test]
async fn a_call_without_a_sound_trace_begins_one() {
    for meta in [
        "{}",
        r#"{"traceparent":"nonsense","tracestate":"vendor=1"}"#,
    ] {
        let (first, state) = seen(100, meta).await;
        let (second, _) = seen(100, meta).await;
        assert_ne!(first.trace_id(), second.trace_id());
        assert_eq!(state, None, "a state without its trace means nothing");
    }
}

#[tokio::test]
async fn the_handlers_lines_are_in_the_span_and_a_stream_keeps_it_open() {
    let log = Logged::begin_with_spans(FmtSpan::CLOSE);
    let line = format!(r#"{{"cmdid":100,"meta":{{"traceparent":"{CALLER}"}},"params":"secret"}}"#);
    router()
        .call(Request::decode(line.as_bytes()).unwrap())
        .await
        .unwrap();
    let reply = router()
        .call(Request::new(102, RawJson::EMPTY_OBJECT))
        .await
        .unwrap();
    let Body::Stream(items) = reply.into_body() else {
        panic!("a stream")
    };
    assert_eq!(items.count().await, 3);

    let text = log.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 6, "{text}");
    assert!(
        lines[0].contains("4bf92f3577b34da6a3ce929d0e0e4736") && lines[0].contains("at work"),
        "{text}"
    );
    assert!(
        lines[0].contains("shop.told") && lines[1].contains("rpc.code=0"),
        "{text}"
    );
    assert!(
        lines[2..5]
            .iter()
            .all(|line| line.contains("an item") && line.contains("rpc.cmdid=102")),
        "{text}"
    );
    assert!(
        lines[5].contains("close") && lines[5].contains("rpc.code=0"),
        "{text}"
    );
    assert!(!text.contains("secret"), "{text}");
}
