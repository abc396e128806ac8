//! The times of a call, told to a caller that asks for them.

use std::time::Duration;

use futures::{StreamExt, stream};
use rpc_server::Reply;
use serde_json::Value;

use crate::rig::{ECHO, HOLD, Rig, SLEEP};
use crate::support::{TestServer, call};

#[tokio::test(start_paused = true)]
async fn a_caller_that_asks_is_told_what_its_call_waited_for_and_how_long_its_handler_ran() {
    let server = TestServer::start(Rig::new().router()).await;
    let mut client = server.connect();
    let asks = "\"meta\":{\"timing\":\"1\"},\"params\":";

    // Of two ordered calls the second waits for the first; the times follow the code and the data in the line.
    let ordered = format!("{{\"cmdid\":{SLEEP},{asks}{{\"ms\":30}}}}\n");
    client.send(ordered.repeat(2)).await;
    for queue_ms in [0, 30] {
        let reply = client.expect_code(None, 0).await;
        assert_eq!(timing_in_ms(&reply), [queue_ms, 30], "{reply}");
    }

    client.send(call(1, ECHO, &format!("{asks}[1,2]"))).await;
    client
        .expect(r#"{"id":1,"code":0,"data":[1,2],"timing":{"queue_us":0,"run_us":0}}"#)
        .await;

    // A handler that is cut off has run, and a call that its caller asks nothing about says nothing.
    let rest = format!("\"timeout_ms\":20,{asks}{{}}");
    client.send(call(2, HOLD, &rest)).await;
    let late = client.expect_code(2, 4).await;
    assert_eq!(timing_in_ms(&late), [0, 20], "{late}");

    for meta in ["{}", "{\"timing\":\"0\"}", "{\"timing\":\"true\"}"] {
        let rest = format!("\"meta\":{meta},\"params\":7");
        client.send(call(3, ECHO, &rest)).await;
        client.expect(r#"{"id":3,"code":0,"data":7}"#).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_stream_and_a_cancelled_call_tell_their_times_too() {
    let rig = Rig::new();
    let router = rig.router().route(107, ticks).unwrap();
    let server = TestServer::start(router).await;
    let mut client = server.connect();
    let asks = "\"meta\":{\"timing\":\"1\"}";

    client.send(call(1, HOLD, asks)).await;
    client.expect_silence_for(Duration::from_millis(15)).await;
    client.send("{\"cmdid\":4,\"params\":{\"id\":1}}\n").await;
    let cancelled = client.expect_code(1, 1).await;
    assert_eq!(timing_in_ms(&cancelled), [0, 15], "{cancelled}");

    // Without a reply there is nothing to tell.
    client
        .send(call(2, ECHO, &format!("\"oneway\":true,{asks}")))
        .await;
    client.expect_silence_for(Duration::from_millis(1)).await;

    client.send(call(3, 107, asks)).await;
    for item in 0..2 {
        client
            .expect(&format!(r#"{{"id":3,"code":0,"more":true,"data":{item}}}"#))
            .await;
    }
    let end = client.reply().await;
    assert_eq!(timing_in_ms(&end), [0, 20], "{end}");
}

/// Two items, each after 10 ms.
async fn ticks() -> Reply {
    let items = stream::iter(0..2).then(|item| async move {
        tokio::time::sleep(Duration::from_millis(10)).await;
        Ok(item)
    });
    Reply::stream(items)
}

/// What the reply says that its call waited and ran. The timers of the runtime round up to whole milliseconds.
fn timing_in_ms(reply: &Value) -> [u64; 2] {
    ["queue_us", "run_us"].map(|part| reply["timing"][part].as_u64().unwrap() / 1_000)
}
