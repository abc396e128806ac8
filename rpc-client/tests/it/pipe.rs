use rpc_client::Config;
use rpc_client::pipe::pipe;
use serde_json::Value;

use crate::support::{Seen, pair};

async fn run(input: &str) -> (Vec<Value>, rpc_client::pipe::Piped) {
    let (client, _server) = pair(Seen::default(), Config::default()).await;
    let mut output = Vec::new();
    let piped = pipe(&client, input.as_bytes(), &mut output, |_| {})
        .await
        .unwrap();
    let lines = String::from_utf8(output).unwrap();
    (
        lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
        piped,
    )
}

#[tokio::test(start_paused = true)]
async fn replies_come_in_the_order_of_their_arrival_under_the_ids_of_the_lines() {
    let input = "{\"id\":7,\"cmdid\":100,\"params\":{\"value\":1,\"ms\":200}}\n\n{\"id\":8,\"cmdid\":100,\"params\":{\"value\":2}}\n";
    let (replies, piped) = run(input).await;
    assert_eq!(
        replies,
        [
            serde_json::json!({"id":8,"code":0,"data":2}),
            serde_json::json!({"id":7,"code":0,"data":1})
        ]
    );
    assert_eq!((piped.requests, piped.replies, piped.failures), (2, 2, 0));
}

#[tokio::test]
async fn ten_thousand_lines_without_id_are_answered_in_their_order() {
    let input: String = (0..10_000)
        .map(|n| format!("{{\"cmdid\":100,\"params\":{{\"value\":{n}}}}}\n"))
        .collect::<Vec<_>>()
        .concat();
    let (replies, _) = run(&input).await;
    assert_eq!(replies.len(), 10_000);
    for (n, reply) in replies.iter().enumerate() {
        assert_eq!(reply["data"], n);
    }
}

#[tokio::test(start_paused = true)]
async fn the_verdict_on_a_bad_line_takes_its_place_among_the_ordered_replies() {
    let input = "{\"cmdid\":100,\"params\":{\"value\":1,\"ms\":50}}\nnonsense\n{\"cmdid\":100,\"params\":{\"value\":2}}\n";
    let (replies, _) = run(input).await;
    let codes: Vec<_> = replies
        .iter()
        .map(|reply| reply["code"].as_u64().unwrap())
        .collect();
    assert_eq!(codes, [0, 3, 0]);
}

#[tokio::test]
async fn every_line_gets_its_answer_whatever_is_wrong_with_it() {
    let input =
        "{\"cmdid\":999}\nnonsense\n{\"id\":3}\n{\"cmdid\":102,\"oneway\":true}\n{\"cmdid\":102}";
    let (replies, piped) = run(input).await;
    let mut codes: Vec<u64> = replies
        .iter()
        .map(|reply| reply["code"].as_u64().unwrap())
        .collect();
    codes.sort_unstable();
    assert_eq!(codes, [0, 3, 3, 12]);
    assert!(replies.iter().any(|reply| reply["id"] == 3));
    assert_eq!((piped.requests, piped.replies, piped.failures), (3, 4, 3));
}
