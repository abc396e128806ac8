//! A thousand bad lines in four places of a connection, each with the verdict that docs/protocol.md gives it.
//!
//! The lines are made from a table of damages and a seed. What is right about each is judged by
//! `serde_json` and the document's own words, and not by the reader that is under test.

use rpc_server::{Router, State};
use serde_json::Value;

use crate::rig::{HOLD, Rig};
use crate::support::{Probe, TestServer, call, settle};
use damage::{DAMAGES, bad_lines};

mod damage;
mod judge;

const SEED: u64 = 20_261_124;
const LINES: usize = 1_000;

/// Counts that it ran, which no bad line may lead to.
const COUNT: u32 = 200;

async fn count(State(probe): State<Probe>) {
    probe.enter().finish();
}

#[tokio::test(start_paused = true)]
async fn a_thousand_bad_lines_in_four_places_have_their_verdicts_and_nothing_of_them_runs() {
    let (rig, probe) = (Rig::new(), Probe::default());
    let counting = Router::with_state(probe.clone())
        .route(COUNT, count)
        .unwrap();
    let server = TestServer::start(rig.router().merge(counting).unwrap()).await;
    let lines = bad_lines();
    for damage in DAMAGES {
        assert!(
            lines.iter().filter(|line| line.damage == damage.0).count() >= LINES / DAMAGES.len()
        );
    }
    for (n, bad) in lines.iter().enumerate() {
        let what = format!(
            "line {n}, {}: {}",
            bad.damage,
            String::from_utf8_lossy(&bad.line[..bad.line.len().min(300)])
        );
        let mut line = bad.line.clone();
        line.push(b'\n');
        let expect = (bad.id, Some(3));
        let of = |reply: &Value| (reply["id"].as_u64(), reply["code"].as_u64());
        let ping = "{\"cmdid\":0,\"params\":\"still here\"}\n";
        let answer = "{\"code\":0,\"data\":\"still here\"}";

        // First of all.
        let mut client = server.connect();
        client.send(&line).await;
        assert_eq!(of(&client.reply().await), expect, "first, {what}");
        if bad.is_id_alone {
            client.send(ping).await;
            client.expect(answer).await;
        } else {
            client.expect_end().await;
        }

        // Behind a good line.
        let mut client = server.connect();
        client.send(ping).await;
        client.expect(answer).await;
        client.send([&line[..], ping.as_bytes()].concat()).await;
        assert_eq!(
            of(&client.reply().await),
            expect,
            "after a good one, {what}"
        );
        client.expect(answer).await;

        // In the order, behind a call that runs and before one that waits.
        let mut client = server.connect();
        client.send(format!("{{\"cmdid\":{HOLD}}}\n")).await;
        client.send([&line[..], ping.as_bytes()].concat()).await;
        if bad.id.is_some() {
            assert_eq!(
                of(&client.reply().await),
                expect,
                "beside the order, {what}"
            );
        }
        settle().await;
        rig.gate.let_pass(1);
        client.expect("{\"code\":0}").await;
        if bad.id.is_none() {
            assert_eq!(of(&client.reply().await), expect, "in the order, {what}");
        }
        client.expect(answer).await;

        // Beside a call with an id that runs.
        let mut client = server.connect();
        client.send(call(1 << 52, HOLD, "")).await;
        client.send([&line[..], ping.as_bytes()].concat()).await;
        assert_eq!(of(&client.reply().await), expect, "multiplexed, {what}");
        client.expect(answer).await;
        rig.gate.let_pass(1);
        client.expect("{\"id\":4503599627370496,\"code\":0}").await;
    }
    assert_eq!(server.stats().bad_frames, 4 * LINES as u64);
    assert_eq!(probe.started(), 0, "nothing of a bad line runs");
}
