//! A connection's bytes: their pieces, their pace, their end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rpc_server::Config;
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter, DuplexStream, ReadBuf,
};
use tokio::time::Instant;

use crate::rig::{ECHO, HOLD, Rig, SLEEP, filled};
use crate::support::{Client, TestServer, call, settle};

#[tokio::test(start_paused = true)]
async fn a_long_line_that_ends_with_the_stream_is_answered_with_its_id_wherever_that_stands() {
    let rig = Rig::new();
    let server = TestServer::start(rig.router()).await;
    let long = "x".repeat(300_000);

    for (line, id) in [
        (format!("{{\"id\":7,\"cmdid\":0,\"params\":\"{long}"), "7"),
        (format!("{{\"params\":\"{long}\",\"id\":8,\"cmdid\":"), "8"),
    ] {
        let mut client = server.connect();
        client.send(line).await;
        client.half_close().await;
        let reply = client.read_to_end().await;
        assert!(
            reply.starts_with(&format!("{{\"id\":{id},\"code\":3,")),
            "{reply}"
        );
        assert!(reply.contains("in the middle of a line"), "{reply}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_ends_its_side_gets_every_reply_and_then_the_end() {
    let rig = Rig::new();
    let server = TestServer::start(rig.router()).await;
    let mut client = server.connect();
    client
        .send(format!("{{\"cmdid\":{HOLD}}}\n").repeat(3) + &call(1, HOLD, "") + &call(2, ECHO, ""))
        .await;
    client.half_close().await;
    client.expect("{\"id\":2,\"code\":0,\"data\":{}}").await;
    client.expect_silence_for(Duration::from_secs(7)).await;
    rig.gate.let_pass(4);
    let mut lines: Vec<_> = client
        .read_to_end()
        .await
        .lines()
        .map(str::to_owned)
        .collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "{\"code\":0}",
            "{\"code\":0}",
            "{\"code\":0}",
            "{\"id\":1,\"code\":0}"
        ]
    );
    assert_eq!(rig.probe.finished(), 4);
    settle().await;
    drop(client);
    settle().await;
    assert_eq!(server.stats().connections_open, 0);
}

#[tokio::test(start_paused = true)]
async fn a_part_line_at_the_end_of_the_stream_has_one_answer_however_long_the_rest_takes() {
    let rig = Rig::new();
    let server = TestServer::start(rig.router()).await;
    let mut client = server.connect();
    client
        .send(call(1, SLEEP, "\"params\":{\"ms\":25000}") + "{\"id\":2,\"cmdid\":0")
        .await;
    client.half_close().await;
    client.expect_code(2, 3).await;
    client.expect("{\"id\":1,\"code\":0,\"data\":25000}").await;
    client.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn any_split_of_the_bytes_gives_the_same_replies() {
    const SENT: &str = concat!(
        "{\"cmdid\":0,\"params\":\"first\"}\n\n\r\n",
        "{\"id\":1,\"cmdid\":0,\"params\":{\"a\":\"\\u00e4 ä 🦀\"}}\r\n",
        "{\"id\":2,\"cmdid\":0,\"params\":[1, 2 ,3]} \n no JSON\n",
        "{\"id\":3,\"cmdid\":98}\n{\"id\":-4,\"cmdid\":0}\n",
        "{\"cmdid\":99,\"params\":{\"long\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}}\n",
        "{\"id\":5,\"id\":5,\"cmdid\":0}\n{\"oneway\":true,\"cmdid\":0}\n",
        "{\"cmdid\":\"0\",\"params\":null,\"timestamp\":1.5}\n{\"cmdid\":0,\"params\":\"last\"}\n{\"id\":6,",
    );
    let rig = Rig::new();
    let server = TestServer::start(rig.router()).await;
    let mut whole = server.connect();
    whole.send(SENT).await;
    whole.half_close().await;
    let replies = whole.read_to_end().await;
    assert_eq!(replies.lines().count(), 11, "{replies}");
    let mut random = fastrand::Rng::with_seed(5);
    for piece_max in [1, 2, 3, 7, 60, 200] {
        for pipe in [1, 5, 64, 4096] {
            let pipe_ends = tokio::io::split(server.connect_through(pipe).io.into_inner());
            let (mut reader, mut writer) = pipe_ends;
            let sizes: Vec<usize> = (0..SENT.len())
                .map(|_| random.usize(1..=piece_max))
                .collect();
            tokio::spawn(async move {
                let mut rest = SENT.as_bytes();
                for size in sizes {
                    let (piece, later) = rest.split_at(size.min(rest.len()));
                    writer.write_all(piece).await.unwrap();
                    // The server reads each piece by itself.
                    tokio::task::yield_now().await;
                    rest = later;
                }
                writer.shutdown().await.unwrap();
            });
            let mut came = String::new();
            reader.read_to_string(&mut came).await.unwrap();
            assert_eq!(
                came, replies,
                "pieces of up to {piece_max} through a pipe of {pipe}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_line_in_many_pieces_is_one_line() {
    let rig = Rig::new();
    let server = TestServer::start(rig.router()).await;
    let mut client = server.connect_through(1000);
    let data = filled(1_000_000);
    client
        .send(call(1, ECHO, &format!("\"params\":{data}")) + &call(2, ECHO, "\"params\":2"))
        .await;
    client
        .expect(&format!("{{\"id\":1,\"code\":0,\"data\":{data}}}"))
        .await;
    client.expect("{\"id\":2,\"code\":0,\"data\":2}").await;
}

#[tokio::test(start_paused = true)]
async fn a_line_that_is_not_ended_in_time_is_refused_at_its_time_and_not_executed() {
    let rig = Rig::new();
    let server = TestServer::start(rig.router()).await;
    let mut client = server.connect();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let start = Instant::now();
    for byte in format!("{{\"cmdid\":{HOLD}}}").bytes() {
        // Each byte comes in time for itself; the line does not.
        client.send([byte]).await;
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    client
        .expect_silence_for(Duration::from_millis(9_999).saturating_sub(start.elapsed()))
        .await;
    let refused = client.expect_code(None, 4).await;
    assert_eq!(start.elapsed().as_secs(), 10);
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("`timeouts.frame_timeout_ms` of 10000 ms"),
        "{refused}"
    );
    client.expect_end().await;
    assert_eq!(rig.probe.started(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_line_begins_with_its_own_first_byte() {
    let rig = Rig::new();
    let server = TestServer::start(rig.router()).await;
    let mut client = server.connect();
    for n in 0..20 {
        // A part in time, the end of it and the next part in one piece.
        let (end, part) = (if n == 0 { "" } else { "ams\":1}\n" }, "{\"cmdid\":0,\"par");
        client.send(format!("{end}{part}")).await;
        if n > 0 {
            client.expect("{\"code\":0,\"data\":1}").await;
        }
        tokio::time::sleep(Duration::from_millis(9_900)).await;
    }
    client.send("ams\":1}\n\n").await;
    client.expect("{\"code\":0,\"data\":1}").await;
    client
        .expect_silence_for(Duration::from_secs(24 * 3600))
        .await;
    client.send("{\"cmdid\":0}\n").await;
    client.expect("{\"code\":0,\"data\":{}}").await;
}

#[tokio::test(start_paused = true)]
async fn a_line_that_waits_for_room_is_not_a_slow_one() {
    let rig = Rig::new();
    let config = Config::default().with(|config| {
        config.admission.in_flight_per_connection = 1;
        config.timeouts.handler_timeout_ms = 60_000;
    });
    let server = TestServer::with(config, rig.router()).await;
    let mut client = server.connect();
    // The second line has begun before it is there, and the third one is never looked at before.
    client.send(call(1, HOLD, "") + "{\"id\":2,").await;
    settle().await;
    client
        .send(format!("\"cmdid\":{ECHO}}}\n{{\"id\":3,"))
        .await;
    tokio::time::sleep(Duration::from_secs(15)).await;
    rig.gate.let_pass(1);
    client.expect("{\"id\":1,\"code\":0}").await;
    client.expect("{\"id\":2,\"code\":0,\"data\":{}}").await;
    client.send("\"cmdid\":0}\n").await;
    client.expect("{\"id\":3,\"code\":0,\"data\":{}}").await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_over_a_stream_with_a_buffer_of_its_own_is_flushed() {
    let rig = Rig::new();
    let server = TestServer::start(rig.router()).await;
    let (near, far) = tokio::io::duplex(4096);
    tokio::spawn(
        server
            .handle
            .serve_connection(BufWriter::new(far), "buffered"),
    );
    let mut client = Client::new(near);
    for n in 0..3 {
        client.send(call(1, ECHO, &format!("\"params\":{n}"))).await;
        client
            .expect(&format!("{{\"id\":1,\"code\":0,\"data\":{n}}}"))
            .await;
    }
    client
        .send(call(1, ECHO, &format!("\"params\":{}", filled(50_000))))
        .await;
    assert!(client.line().await.len() > 50_000);
    client.half_close().await;
    client.expect_end().await;
}

/// A stream that can never say goodbye.
struct NoGoodbye(DuplexStream);

impl AsyncRead for NoGoodbye {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for NoGoodbye {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_cannot_be_shut_down_is_given_up_after_the_linger_timeout() {
    let rig = Rig::new();
    let server = TestServer::start(rig.router()).await;
    let (near, far) = tokio::io::duplex(4096);
    tokio::spawn(server.handle.serve_connection(NoGoodbye(far), "no goodbye"));
    let mut client = Client::new(near);
    client.send("{\"cmdid\":0}\n").await;
    client.half_close().await;
    client.expect("{\"code\":0,\"data\":{}}").await;
    client.expect_silence_for(Duration::from_millis(999)).await;
    client.expect_end().await;
    assert_eq!(server.stats().connections_open, 0);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_told_off_and_stays_is_closed_after_the_linger_timeout() {
    let rig = Rig::new();
    let server = TestServer::start(rig.router()).await;
    let mut client = server.connect();
    client.send("nonsense\n").await;
    client.expect_code(None, 3).await;
    client.expect_end().await;
    // It may go on writing meanwhile; nothing of it is executed.
    for _ in 0..9 {
        client.send(call(1, HOLD, "")).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_millis(890)).await;
    assert_eq!(
        (server.stats().connections_open, rig.probe.started()),
        (1, 0)
    );
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(
        (server.stats().connections_open, rig.probe.started()),
        (0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_told_off_has_the_time_of_a_line_whatever_it_goes_on_to_send() {
    let config = Config::default().with(|config| config.timeouts.frame_timeout_ms = 3_000);
    let server = TestServer::with(config, Rig::new().router()).await;
    for more in ["x", "\x16\x03", "GET / HTTP/1.1\r\n\r\n"] {
        let mut client = server.connect();
        client.send("nonsense\n").await;
        client.expect_code(None, 3).await;
        client.expect_end().await;

        let start = Instant::now();
        while server.stats().connections_open == 1 {
            assert!(start.elapsed() < Duration::from_secs(5), "{more:?}");
            client.send(more).await;
            tokio::time::sleep(Duration::from_millis(900)).await;
        }
        assert!(start.elapsed() > Duration::from_secs(3), "{more:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn counters_tell_what_a_connection_has_done() {
    let rig = Rig::new();
    let server = TestServer::start(rig.router()).await;
    let mut client = server.connect();
    client.send("{\"cmdid\":0}\n").await;
    client.expect("{\"code\":0,\"data\":{}}").await;
    client.send(call(1, HOLD, "") + "nonsense\n").await;
    client.expect_code(None, 3).await;
    client.send("{\"cmdid\":3}\n").await;
    let stats = client.expect_code(None, 0).await;
    let own = &stats["data"]["connection"];
    assert_eq!(
        (&own["requests"], &own["bad_frames"], &own["in_flight"]),
        (&3.into(), &1.into(), &1.into())
    );
    assert_eq!(own["replies"], 2, "{own}");
    let all = server.stats();
    assert_eq!(
        (
            all.connections_open,
            all.requests,
            all.bad_frames,
            all.in_flight
        ),
        (1, 3, 1, 1)
    );
    assert_eq!(all.replies["OK"] + all.replies["INVALID_ARGUMENT"], 3);
    drop(client);
    rig.gate.let_pass(1);
    settle().await;
    assert_eq!(
        (server.stats().connections_open, server.stats().in_flight),
        (0, 0)
    );
}

/// Counts how often it is asked for bytes.
struct CountReads(DuplexStream, std::sync::Arc<std::sync::atomic::AtomicUsize>);

impl AsyncRead for CountReads {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for CountReads {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn a_connection_looks_again_and_again_only_where_it_is_to_spin() {
    for (spin_us, looks) in [(0, 1..=4), (60_000_000, 50..=usize::MAX)] {
        let rig = Rig::new();
        let server = TestServer::with(
            Config::default().with(|config| config.timeouts.spin_us = spin_us),
            rig.router(),
        )
        .await;
        let (near, far) = tokio::io::duplex(1024);
        let reads = std::sync::Arc::default();
        let far = CountReads(far, std::sync::Arc::clone(&reads));
        tokio::spawn(server.handle.serve_connection(far, "pipe"));
        let mut client = Client::new(near);
        client.send(call(1, ECHO, "")).await;
        client.expect("{\"id\":1,\"code\":0,\"data\":{}}").await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let reads = reads.load(std::sync::atomic::Ordering::Relaxed);
        assert!(
            looks.contains(&reads),
            "{reads} looks with `timeouts.spin_us` {spin_us}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_header_of_the_proxy_protocol_is_named_in_the_refusal_and_in_the_log() {
    let v1 = b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 8889\r\n{\"cmdid\":0}\n";
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\xdc\x04\x22\xb9{\"cmdid\":0}\n";
    for (version, header) in [("1", &v1[..]), ("2", &v2[..])] {
        for piece in [header.len(), 1] {
            let logged = crate::logged::Logged::begin();
            let server = TestServer::start(Rig::new().router()).await;
            let mut client = server.connect();
            for bytes in header.chunks(piece) {
                client.send(bytes).await;
                settle().await;
            }

            let refused = client.expect_code(None, 3).await;
            let message = refused["message"].as_str().unwrap();
            let named = format!("PROXY protocol, version {version}");
            assert!(message.contains(&named), "{message}");
            client.expect_end().await;

            let line = logged.line_with("a header of the PROXY protocol").await;
            assert!(
                line.contains("WARN") && line.contains("peer=pipe"),
                "{line}"
            );
        }
    }

    // Behind a good line it is a bad line like any other.
    let server = TestServer::start(Rig::new().router()).await;
    let mut client = server.connect();
    assert_eq!(client.ask("{\"cmdid\":0}").await["code"], 0);
    let refused = client.ask("PROXY TCP4").await;
    assert!(
        !refused["message"].as_str().unwrap().contains("version"),
        "{refused}"
    );
}
