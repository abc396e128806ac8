//! Streams as lines and as events, and their ends by a drain.

use std::time::Duration;

use futures::{StreamExt, stream};
use rpc_core::Resume;
use rpc_server::{Config, Descriptor, Kind, ListenOptions, Params, Reply, Route, Router, Server};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::{Http, Rig, head, post, read_chunks, response, router};
use crate::crowd::pipeline;
use crate::sockets::{pass, until};
use crate::support::{Client, Gate, PATIENCE, TestServer};

#[tokio::test]
async fn a_stream_is_lines_or_events_and_one_that_fails_does_not_look_whole() {
    let http = Http::start().await;
    let mut client = http.connect().await;
    for to in [0, 1, 3, 5_000] {
        client
            .send(post("/test.items", "", &format!("{{\"to\":{to}}}")))
            .await;
        let reply = response(&mut client).await;
        if to == 0 {
            assert_eq!((reply.status, &*reply.body), (204, ""));
            continue;
        }
        assert_eq!((reply.status, reply.is_whole), (200, true));
        assert_eq!(reply.header("content-type"), "application/x-ndjson");
        let items = reply
            .body
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        assert!(items.map(|item| item["n"].as_u64().unwrap()).eq(0..to));
    }

    let events = "Accept: text/event-stream\r\n";
    client.send(post("/test.items", events, "{\"to\":2}")).await;
    let reply = response(&mut client).await;
    assert_eq!(reply.header("content-type"), "text/event-stream");
    let item = |n: u64| format!("data: {{\"n\":{n},\"text\":\"x\"}}\n\n");
    let end = "event: end\ndata: {\"code\":0}\n\n";
    assert_eq!(reply.body, format!("{}{}{end}", item(0), item(1)));

    let failing = "{\"to\":1,\"fails\":true}";
    client.send(post("/test.items", events, failing)).await;
    let failure = "{\"code\":15,\"message\":\"the rest is gone\"}";
    let reply = response(&mut client).await;
    let error = format!("event: error\ndata: {failure}\n\n");
    assert_eq!(reply.body, item(0) + &error);

    client.send(post("/test.items", "", failing)).await;
    let reply = response(&mut client).await;
    assert_eq!(
        reply.body,
        format!("{{\"n\":0,\"text\":\"x\"}}\n{failure}\n")
    );
    assert!(!reply.is_whole, "the body has no end");
    client.expect_end().await;

    // Before the first item it is a failure like any other.
    let failed = http
        .ask(&post("/test.items", "", "{\"to\":0,\"fails\":true}"))
        .await;
    assert_eq!((failed.status, failed.code()), (500, "15"));
}

/// Waits until the server has written nothing for a while, in which every task has had many turns: the sockets are full.
async fn until_no_bytes_move(http: &Http) {
    let mut before = None;
    let mut written = http.server.stats().bytes_out;
    let wait = async {
        while before != Some(written) {
            before = Some(written);
            for _ in 0..1_000 {
                tokio::task::yield_now().await;
            }
            written = http.server.stats().bytes_out;
        }
    };
    timeout(PATIENCE, wait).await.expect("the sockets fill");
}

async fn with_closed_gate() -> (Http, Gate) {
    let gate = Gate::closed();
    let rig = Rig {
        gate: Some(gate.clone()),
        ..Rig::default()
    };
    let http = Http::of(Server::builder(), rig, |options| options).await;
    (http, gate)
}

#[tokio::test]
async fn the_head_of_a_stream_is_sent_before_its_first_item() {
    let (http, gate) = with_closed_gate().await;
    for (kind, item, failure) in [
        ("application/x-ndjson", "1\n", "{\"code\":15,"),
        ("text/event-stream", "data: 1\n\n", "event: error\n"),
    ] {
        for fails in [false, true] {
            let mut client = http.connect().await;
            let accept = format!("Accept: {kind}\r\n");
            let late = json!({"waits": "before_its_item", "fails": fails}).to_string();
            client.send(post("/test.late", &accept, &late)).await;

            // The gate is closed.
            let head = head(&mut client).await;
            assert_eq!((head.status, head.code()), (200, "0"));
            assert_eq!(head.header("content-type"), kind);

            gate.let_pass(1);
            let mut body = String::new();
            let is_whole = read_chunks(&mut client, &mut body).await;
            let begins = if fails { failure } else { item };
            assert!(body.starts_with(begins), "{kind}: {body}");
            assert_eq!(is_whole, !fails || kind == "text/event-stream");
        }
    }
}

#[tokio::test]
async fn a_stream_whose_reader_leaves_before_its_first_item_is_given_up() {
    let (http, _gate) = with_closed_gate().await;
    let mut client = http.connect().await;
    let late = json!({"waits": "before_its_item", "fails": false}).to_string();
    client.send(post("/test.late", "", &late)).await;
    head(&mut client).await;
    assert_eq!(http.rig.probe.running(), 1);

    drop(client);
    until(|| http.rig.probe.running() == 0).await;
}

#[tokio::test]
async fn a_stream_that_has_not_begun_has_no_head_and_its_failure_is_a_status() {
    let (http, gate) = with_closed_gate().await;
    for (fails, status, code) in [(false, 200, "0"), (true, 500, "15")] {
        let mut client = http.connect().await;
        let late = json!({"waits": "before_it_begins", "fails": fails}).to_string();
        client.send(post("/test.late", "", &late)).await;
        until(|| http.rig.probe.running() == 1).await;

        gate.let_pass(1);
        let response = response(&mut client).await;
        assert_eq!((response.status, response.code()), (status, code));
        assert!(response.is_whole);
    }
}

#[tokio::test]
async fn a_stream_over_the_wire_has_no_line_before_its_first_item() {
    let (http, gate) = with_closed_gate().await;
    let mut client = http.connect().await;
    let late = json!({"waits": "before_its_item", "fails": false});
    client
        .send(format!("{{\"id\":1,\"cmdid\":108,\"params\":{late}}}\n"))
        .await;
    until(|| http.rig.probe.running() == 1).await;
    let answer = client.ask("{\"id\":2,\"cmdid\":0}").await;
    assert_eq!(answer["id"], 2);

    gate.let_pass(1);
    assert!(client.line().await.contains("\"more\":true,\"data\":1"));
}

#[tokio::test]
async fn a_stream_waits_for_its_reader_and_ends_with_it() {
    let config = Config::default().with(|config| config.timeouts.write_stall_timeout_ms = 60_000);
    let http = Http::with(config, |options| options).await;
    for leaves in [true, false] {
        let mut client = http.connect().await;
        client
            .send(post("/test.items", "", "{\"bytes\":10000}"))
            .await;
        client.line().await;
        until(|| http.rig.probe.running() == 1).await;
        if leaves {
            drop(client);
            until(|| http.rig.probe.running() == 0).await;
        }

        // Otherwise it takes nothing, and is cut once the sockets are full. The jumps take less than the 600 s of the
        // call, which would end it as well.
        for _ in 0..8 {
            if http.rig.probe.running() == 0 {
                break;
            }
            until_no_bytes_move(&http).await;
            pass(Duration::from_secs(61)).await;
        }
        until(|| http.server.stats().connections_open == 0).await;
    }
    assert_eq!(http.server.stats().limits.write_stalls, 1);

    let stats = http.ask(&post("/rpc.stats", "", "")).await.json();
    let mut limits = stats["limits"].as_array().unwrap().iter();
    let memory = limits.find(|limit| limit["name"] == "limits.memory_bytes_max");
    let memory = memory.unwrap();
    assert!(memory["used"].as_u64().unwrap() < 100_000, "{memory}");
}

#[tokio::test]
async fn a_drain_answers_the_call_under_way_and_ends_connections_between_calls() {
    let rig = Rig {
        gate: Some(Gate::closed()),
        ..Rig::default()
    };
    let mut http = Http::of(Server::builder(), rig, |options| options).await;
    let mut resting = http.connect().await;
    resting.send(post("/test.echo", "", "{}")).await;
    assert_eq!(response(&mut resting).await.status, 200);
    let mut busy = http.connect().await;
    busy.send(post("/test.hold", "", "{}")).await;
    until(|| http.rig.probe.running() == 1).await;

    http.server.begin_to_drain();
    resting.expect_end().await;
    http.rig.gate.as_ref().unwrap().let_pass(1);
    let answered = response(&mut busy).await;
    assert_eq!(
        (answered.status, answered.header("connection")),
        (204, "close")
    );
    busy.expect_end().await;
    assert!(http.server.drained().await.is_clean);
}

#[tokio::test]
async fn a_stream_that_a_drain_cuts_says_so_in_its_last_line_and_does_not_look_whole() {
    for (accept, event) in [("application/x-ndjson", ""), ("text/event-stream", "error")] {
        let config = Config::default().with(|config| config.drain.timeout_ms = 0);
        let mut http = Http::with(config, |options| options).await;
        let mut client = http.connect().await;
        let headers = format!("Accept: {accept}\r\n");
        client.send(post("/test.wait", &headers, "{}")).await;
        until(|| http.server.stats().in_flight == 1).await;
        http.server.begin_to_drain();
        assert!(!http.server.drained().await.is_clean);

        let response = response(&mut client).await;
        let (first, end) = response.body.trim_end().split_once('\n').unwrap();
        assert!(first.ends_with('1'), "{first}");
        assert!(end.contains("\"code\":14,"), "{end}");
        assert!(end.contains("drain.timeout_ms"), "{end}");
        assert!(end.contains(event), "{end}");
        assert_eq!(response.is_whole, !event.is_empty(), "{accept}");
    }
}

#[tokio::test]
async fn events_of_a_resumable_stream_have_their_cursors_as_ids_and_go_on_behind_the_last_one() {
    async fn follow(Params(params): Params<Value>) -> Reply {
        let (after, to) = (
            params["after"].as_u64().unwrap(),
            params["to"].as_u64().unwrap(),
        );
        Reply::stream(stream::iter(after + 1..=to).map(|n| Ok(json!({"n": n}))))
    }
    let named = Descriptor::new("test", "follow").kind(Kind::Stream);
    let named = named.resumable([Resume::new("n", "after")]);
    let follow = Router::new()
        .route(200, Route::new(follow).describe(named))
        .unwrap();
    let router = router(&Rig::default()).merge(follow).unwrap();
    let options = ListenOptions::new("127.0.0.1:0").http_calls(true);
    let server = Server::builder().listen_with(options).router(router);
    let server = server.bind().await.unwrap();
    let address = server.addresses()[0].tcp().unwrap();
    let _server = TestServer::of(server);

    let ask = async |path: &str, last: &str| {
        let headers = format!("Accept: text/event-stream\r\n{last}");
        let mut client = Client::new(TcpStream::connect(address).await.unwrap());
        client
            .send(post(path, &headers, "{\"after\":0,\"to\":3}"))
            .await;
        response(&mut client).await
    };
    let event = |n: u64| format!("id: {{\"after\":{n}}}\ndata: {{\"n\":{n}}}\n\n");
    let end = "event: end\ndata: {\"code\":0}\n\n";
    let all = ask("/test.follow", "").await;
    assert_eq!(
        all.body,
        [event(1), event(2), event(3), end.into()].concat()
    );
    let rest = ask("/test.follow", "Last-Event-ID: {\"after\":2}\r\n").await;
    assert_eq!(rest.body, event(3) + end);
    let none = ask("/test.follow", "Last-Event-ID: {\"after\":3}\r\n").await;
    assert_eq!((none.status, none.body), (200, end.to_owned()));

    for (path, last) in [
        ("/test.follow", "17"),
        ("/test.follow", "{\"to\":9}"),
        ("/test.follow", "{\"after\":2,\"to\":9}"),
        ("/test.items", "{\"after\":2}"),
        ("/test.echo", "{\"after\":2}"),
    ] {
        let refused = ask(path, &format!("Last-Event-ID: {last}\r\n")).await;
        assert_eq!(
            (refused.status, refused.code()),
            (400, "3"),
            "{path} {last}"
        );
    }
}

#[tokio::test]
async fn streams_that_are_not_read_do_not_keep_other_connections_from_their_turns() {
    let http = Http::start().await;
    let mut stalled = Vec::new();
    for _ in 0..3 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 * 1024).unwrap();
        let mut client = Client::new(socket.connect(http.address).await.unwrap());
        client.send(post("/test.slow", "", "")).await;
        stalled.push(client);
    }
    until(|| http.server.stats().in_flight == 3).await;

    // Until they have taken all that the sockets hold.
    let mut pinging = http.connect().await;
    let mut items = 0;
    while items == 0 || items != http.rig.probe.started() {
        items = http.rig.probe.started();
        for _ in 0..100 {
            pinging.ask("{\"cmdid\":0}").await;
        }
    }

    pipeline(http.address).await;
    assert_eq!(http.server.stats().in_flight, 3);
}
