//! Replays the transcripts of docs/protocol.md against a server.

use std::time::Duration;

use futures::stream;
use rpc_server::{Params, Reply, Router, State, Status};
use serde::{Deserialize, Serialize};

use crate::support::{Gate, TestServer, settle};

/// A line of a transcript.
#[derive(Debug)]
enum Step {
    /// `→`: the client sends it.
    Sends(&'static str),
    /// `←`: it comes from the server, as it is, and next.
    Comes(&'static str),
    /// In parentheses: what happens in between.
    Happens(&'static str),
}

/// The transcripts of the document, by their headings.
fn transcripts() -> Vec<(&'static str, Vec<Step>)> {
    let document = include_str!("../../../docs/protocol.md");
    let section = document.split("\n## Transcripts\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();

    let parts = section.split("\n### ").skip(1).map(|part| {
        let heading = part.lines().next().unwrap();
        let block = part.split("```text\n").nth(1).unwrap();
        (
            heading,
            block
                .split("```")
                .next()
                .unwrap()
                .lines()
                .map(step)
                .collect(),
        )
    });
    parts.collect()
}

fn step(line: &'static str) -> Step {
    let happens = line
        .trim()
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'));
    match (line.strip_prefix("→ "), line.strip_prefix("← "), happens) {
        (Some(sent), None, None) => Step::Sends(sent),
        (None, Some(received), None) => Step::Comes(received),
        (None, None, Some(what)) => Step::Happens(what),
        _ => panic!("`{line}` is not a line of a transcript"),
    }
}

#[derive(Serialize)]
struct Order {
    order: u64,
}

#[derive(Deserialize)]
struct Range {
    from: u64,
    to: Option<u64>,
}

/// Waits until the order may be placed.
async fn place(State(gate): State<Gate>) -> Result<Order, Status> {
    gate.pass().await;
    Ok(Order { order: 1 })
}

async fn watch(Params(Range { from, to }): Params<Range>) -> Reply {
    let orders = from..=to.unwrap_or(u64::MAX);
    Reply::stream(stream::iter(
        orders.map(|order| Ok::<_, Status>(Order { order })),
    ))
}

#[tokio::test(start_paused = true)]
async fn the_transcripts_of_the_protocol_s_document_are_what_a_server_says() {
    let transcripts = transcripts();
    let headings: Vec<_> = transcripts.iter().map(|(heading, _)| *heading).collect();
    assert_eq!(headings, ["A stream", "A cancel", "A goaway"]);

    for (heading, steps) in transcripts {
        let gate = Gate::closed();
        let router = Router::with_state(gate.clone())
            .route(2001, place)
            .and_then(|router| router.route(2004, watch))
            .unwrap();
        let mut server = TestServer::start(router).await;
        let mut client = server.connect();

        for step in steps {
            match step {
                Step::Sends(line) => client.send(format!("{line}\n")).await,
                Step::Comes(line) => {
                    assert_eq!(client.line().await, format!("{line}\n"), "{heading}");
                }
                Step::Happens("the server waits for credit") => {
                    client.expect_silence_for(Duration::from_secs(5)).await;
                }
                Step::Happens("the server begins to drain") => {
                    settle().await;
                    server.begin_to_drain();
                }
                Step::Happens("the order is placed") => gate.let_pass(1),
                Step::Happens("the server closes the connection") => client.expect_end().await,
                Step::Happens(what) => panic!("`{what}` cannot be done"),
            }
        }
    }
}
