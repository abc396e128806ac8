use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{self, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use rpc_client::{Client, Config};
use rpc_core::scope::Parent;
use rpc_core::{Meta, RawJson, Request, Scope, Service, Status};
use rpc_server::{Context, Router, State};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::support::{Seen, in_memory, router};

/// Answers with the time and the trace that the caller sent.
async fn told(context: Context) -> Result<(Option<u64>, Option<String>), Status> {
    let timeout = context
        .timeout()
        .map(|timeout| u64::try_from(timeout.as_millis()).unwrap());
    Ok((timeout, context.meta("traceparent")))
}

async fn asks_the_other(
    State(other): State<Client>,
    context: Context,
) -> Result<(Option<u64>, Option<String>), Status> {
    tokio::time::sleep(Duration::from_millis(100)).await;
    Ok(other.within(&context).call(200, &()).await?)
}

#[tokio::test(start_paused = true)]
async fn a_handlers_calls_have_what_is_left_of_its_time_and_its_trace() {
    let (connect, _other) = in_memory(Router::new().route(200, told).unwrap()).await;
    let other = Client::builder("other").connector(connect).build();
    let router = Router::with_state(other.clone())
        .route(100, asks_the_other)
        .unwrap();
    let (connect, _server) = in_memory(router).await;
    let client = Client::builder("first").connector(connect).build();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    let call = client
        .command(100)
        .timeout(Duration::from_millis(700))
        .meta("traceparent", trace);
    let (timeout, traceparent): (Option<u64>, Option<String>) = call.call(&()).await.unwrap();
    assert_eq!((timeout, traceparent.as_deref()), (Some(600), Some(trace)));
    // Its own limit holds where that is shorter: 5 s of the client, and not the 30 s of the server.
    let unlimited = client.command(100).timeout(Duration::from_secs(60));
    let (timeout, _): (Option<u64>, Option<String>) = unlimited.call(&()).await.unwrap();
    assert_eq!(timeout, Some(5_000));
    // The client itself is as before.
    let (timeout, traceparent): (Option<u64>, Option<String>) = other.call(200, &()).await.unwrap();
    assert_eq!((timeout, traceparent), (Some(5_000), None));
}

#[tokio::test(start_paused = true)]
async fn a_call_without_end_tells_a_number_that_every_server_can_read() {
    let (connect, _server) = in_memory(Router::new().route(200, told).unwrap()).await;
    let client = Client::builder("memory").connector(connect).build();
    let endless = client.command(200).timeout(Duration::MAX);
    // The usual way, and that of calls with more to say.
    for call in [endless.clone(), endless.meta("a", "b")] {
        let (timeout, _): (Option<u64>, Option<String>) = call.call(&()).await.unwrap();
        assert_eq!(timeout, Some(30 * 365 * 24 * 3_600_000));
    }
}

#[tokio::test(start_paused = true)]
async fn a_trace_is_handed_on_through_layers_too_and_what_is_not_one_is_not() {
    let (connect, _server) = in_memory(Router::new().route(200, told).unwrap()).await;
    let client = Client::builder("memory").connector(connect).build();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for (meta, expected) in [(trace, Some(trace)), ("nonsense", None)] {
        let mut parent = Request::new(100, RawJson::EMPTY_OBJECT);
        parent.meta = Meta::default().with([("traceparent", meta)]);
        let layered = client.within(&parent).layer(rpc_client::layers::Trace);
        let (_, traceparent): (Option<u64>, Option<String>) = layered.call(200, &()).await.unwrap();
        assert_eq!(traceparent.as_deref(), expected);
        let (_, traceparent): (Option<u64>, Option<String>) =
            client.within(&parent).call(200, &()).await.unwrap();
        assert_eq!(traceparent.as_deref(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn of_several_deadlines_the_earliest_ends_the_call() {
    let (connect, _server) = in_memory(router(Seen::default())).await;
    let client = Client::builder("memory").connector(connect).build();
    let begin = Instant::now();
    let after = |ms| (begin + Duration::from_millis(ms)).into_std();
    let scope = |ms| {
        let mut scope = Scope::default();
        scope.deadline = Some(after(ms));
        scope
    };
    let check = async |call: rpc_client::Command<'_>, ms: u128| {
        let begin = Instant::now();
        let error = call.call::<_, ()>(&()).await.unwrap_err();
        assert!(error.is_deadline(), "{error}");
        let elapsed = begin.elapsed().as_millis();
        assert!((ms..ms + 5).contains(&elapsed), "{elapsed} and not {ms}");
    };
    check(client.command(101).deadline(after(50)), 50).await;
    check(
        client
            .command(101)
            .deadline(after(9_000))
            .timeout(Duration::from_millis(70)),
        70,
    )
    .await;
    check(
        client
            .within(&scope(250))
            .command(101)
            .deadline(after(9_000)),
        130,
    )
    .await;
    check(
        client
            .within(&scope(9_000))
            .within(&scope(300))
            .command(101),
        50,
    )
    .await;
    // One that has passed already fails without a word to the server.
    let late = client
        .within(&scope(1))
        .call::<_, ()>(101, &())
        .await
        .unwrap_err();
    assert!(late.is_deadline(), "{late}");
}

#[tokio::test(start_paused = true)]
async fn a_service_inherits_by_the_scope_of_its_request() {
    let (connect, _server) = in_memory(router(Seen::default())).await;
    let client = Client::builder("memory").connector(connect).build();
    let begin = Instant::now();
    let deadline = (begin + Duration::from_millis(80)).into_std();
    let mut request = Request::new(101, RawJson::EMPTY_OBJECT);
    request.id = Some(1);
    request.scope.deadline = Some(deadline);
    assert_eq!(Parent::deadline(&request), Some(deadline));
    let status = Service::call(&client, request).await.unwrap_err();
    assert_eq!(status.code(), rpc_client::Code::DEADLINE_EXCEEDED);
    assert!(
        begin.elapsed() < Duration::from_millis(90),
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn after_many_timed_out_and_dropped_calls_nothing_is_in_flight() {
    let seen = Seen::default();
    let (connect, server) = in_memory(router(seen.clone())).await;
    let config = Config::default().with(|config| config.limits.in_flight_per_connection = 8);
    let client = Client::builder("memory")
        .connector(connect)
        .config(config)
        .build();
    let rounds = 2_000;
    for _ in 0..rounds {
        let late = client.command(101).timeout(Duration::from_millis(1));
        let timed_out = join_all((0..4).map(|_| late.call::<_, ()>(&())));
        let dropped = tokio::time::timeout(
            Duration::from_micros(500),
            join_all((0..4).map(|_| client.call::<_, ()>(101, &()))),
        );
        let (timed_out, dropped) = tokio::join!(timed_out, dropped);
        assert!(dropped.is_err() && timed_out.iter().all(Result::is_err));
    }
    // All eight places are free: the calls run side by side, none waits for another one to end.
    let begin = Instant::now();
    let params = json!({"value": 1, "ms": 100});
    let calls = join_all((0..8).map(|_| client.call::<_, u64>(100, &params))).await;
    assert!(calls.iter().all(|call| *call.as_ref().unwrap() == 1));
    assert!(
        begin.elapsed() < Duration::from_millis(150),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(
        seen.ran.load(Ordering::SeqCst),
        seen.dropped.load(Ordering::SeqCst)
    );
    assert_eq!(server.stats().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_in_time_where_the_ones_before_it_do_not_even_leave() {
    let (io, _peer_that_never_reads) = tokio::io::duplex(16);
    let client = Client::over(io, "memory", Config::default());
    let begin = Instant::now();
    let patient = client.command(100).timeout(Duration::from_secs(60));
    // The first one is being written, the second one waits behind it.
    let mut calls = [(); 2].map(|()| Box::pin(patient.call::<_, ()>(&())));
    for call in &mut calls {
        assert!(call.as_mut().now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    let brief = client.command(100).timeout(Duration::from_millis(50));
    let error = brief.call::<_, ()>(&()).await.unwrap_err();
    assert!(error.is_deadline(), "{error}");
    assert!(
        begin.elapsed() < Duration::from_millis(60),
        "{:?}",
        begin.elapsed()
    );
}

/// A server that answers calls which no client has made, without a pause.
struct Flood {
    reads: u32,
}

impl AsyncRead for Flood {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.reads > 0 {
            self.reads -= 1;
            buf.put_slice(
                "{\"id\":4095,\"code\":0,\"data\":1}\n"
                    .repeat(64)
                    .as_bytes(),
            );
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Flood {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_in_time_while_replies_never_pause() {
    // When it ends, the call does too, and says so.
    let client = Client::over(Flood { reads: 1_000 }, "flood", Config::default());
    let call = client.command(100).timeout(Duration::from_millis(50));
    let time_passes = async {
        // Its time begins when the driver sees it.
        tokio::task::yield_now().await;
        tokio::time::advance(Duration::from_millis(60)).await;
    };
    let (ended, ()) = tokio::join!(call.call::<_, ()>(&()), time_passes);
    let error = ended.unwrap_err();
    assert!(error.is_deadline(), "{error}");
}
