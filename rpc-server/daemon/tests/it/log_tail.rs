//! `log.tail`, and `log.read` from the end, over the wire.

use rpc_core::api::log::{TAIL_LAST_MAX, TEXT_BYTES_MAX};
use serde_json::{Value, json};
use tokio::io::DuplexStream;

use crate::life::Life;
use crate::support::Client;

fn line(id: u64, cmdid: u32, params: &Value) -> String {
    json!({"id": id, "cmdid": cmdid, "params": params}).to_string()
}

async fn append(client: &mut Client<DuplexStream>, message: &str) {
    let entry = json!({"level": "info", "service": "s", "message": message});
    let reply = client.ask(&line(1, 1001, &entry)).await;
    assert_eq!(reply["code"], 0, "{reply}");
}

/// The numbers of the entries of a page or an item, and where it ends.
fn seen(reply: &Value) -> (Vec<u64>, u64) {
    let data = &reply["data"];
    let entries = data["entries"].as_array().unwrap();
    let numbers = entries.iter().map(|entry| entry["seq"].as_u64().unwrap());
    (numbers.collect(), data["next"].as_u64().unwrap())
}

#[tokio::test]
async fn a_tail_sends_the_last_entries_and_what_comes_and_goes_on_behind_its_cursor() {
    let data = tempfile::tempdir().unwrap();
    let mut life = Life::on(data.path()).await;
    let client = &mut life.client;
    for message in ["a1", "b", "a2"] {
        append(client, message).await;
    }

    client
        .send(line(7, 1006, &json!({"last": 1, "contains": "a"})) + "\n")
        .await;
    let first = client.reply().await;
    assert_eq!((&first["id"], &first["more"]), (&json!(7), &json!(true)));
    assert_eq!(seen(&first), (vec![3], 3));
    assert!(first["data"].get("lost").is_none());

    // The item and the reply of the append come in any order.
    let entry = json!({"level": "info", "service": "s", "message": "a3"});
    client.send(line(1, 1001, &entry) + "\n").await;
    let mut replies = [client.reply().await, client.reply().await];
    replies.sort_by_key(|reply| reply["id"].as_u64());
    let [appended, second] = replies;
    assert_eq!(
        (&appended["id"], &appended["data"]),
        (&json!(1), &json!({"seq": 4}))
    );
    assert_eq!((&second["id"], seen(&second)), (&json!(7), (vec![4], 4)));

    // The stream is given up, and another one goes on where it was.
    client
        .send(r#"{"cmdid":4,"params":{"id":7}}"#.to_owned() + "\n")
        .await;
    let ended = client.reply().await;
    assert_eq!((&ended["id"], &ended["code"]), (&json!(7), &json!(1)));
    append(client, "a4").await;

    // As a client resumes it: with the params of the first call, and the cursor.
    let cursor = json!({"log": first["data"]["log"], "after": second["data"]["next"], "last": 1, "contains": "a"});
    client.send(line(8, 1006, &cursor) + "\n").await;
    assert_eq!(seen(&client.reply().await), (vec![5], 5));
}

#[tokio::test]
async fn a_tail_does_not_keep_a_server_from_stopping_and_ends_with_code_14() {
    let data = tempfile::tempdir().unwrap();
    let mut life = Life::on(data.path()).await;
    life.client.send(line(7, 1006, &json!({})) + "\n").await;
    assert_eq!(seen(&life.client.reply().await), (vec![], 0));

    life.begin_to_stop();
    let mut end = life.client.reply().await;
    while end["id"] != 7 {
        end = life.client.reply().await;
    }
    assert_eq!(end["code"], 14, "{end}");
    life.end().await;
}

#[tokio::test]
async fn params_of_a_tail_that_make_no_sense_are_refused() {
    let data = tempfile::tempdir().unwrap();
    let mut life = Life::on(data.path()).await;
    for (params, code, expected) in [
        (
            json!({"last": TAIL_LAST_MAX + 1}),
            3,
            "`params.last` is 1001 and must be from 0 to 1000".to_owned(),
        ),
        (
            json!({"text": "x".repeat(TEXT_BYTES_MAX + 1)}),
            3,
            "`params.text` has 1025 bytes and may have at most 1024; shorten it".to_owned(),
        ),
        (
            json!({"from": 2, "to": 2}),
            3,
            "`params.to` is 2 and must be above `params.from`, which is 2".to_owned(),
        ),
        (
            json!({"after": 1}),
            11,
            "`params.after` is 1, but the last entry of the log is 0: later entries are lost"
                .to_owned(),
        ),
    ] {
        let reply = life.client.ask(&line(1, 1006, &params)).await;
        assert_eq!(
            (&reply["code"], &reply["message"]),
            (&json!(code), &json!(expected))
        );
    }

    let reply = life
        .client
        .ask(&line(1, 1006, &json!({"log": "other", "after": 0})))
        .await;
    assert_eq!(
        (&reply["code"], &reply["details"]["last"]),
        (&json!(9), &json!(0))
    );
}

#[tokio::test]
async fn the_last_entries_are_read_from_the_end_down_page_by_page() {
    let data = tempfile::tempdir().unwrap();
    let mut life = Life::on(data.path()).await;
    let client = &mut life.client;
    for message in ["a", "b", "c", "d", "e"] {
        append(client, message).await;
    }

    let mut read = async |params: Value| client.ask(&line(1, 1002, &params)).await;
    let page = read(json!({"order": "desc", "limit": 2})).await;
    assert_eq!(seen(&page), (vec![5, 4], 4));
    assert_eq!(page["data"]["more"], true);

    let page = read(json!({"order": "desc", "before": 4, "limit": 1000})).await;
    assert_eq!(seen(&page), (vec![3, 2, 1], 1));
    assert!(page["data"].get("more").is_none());

    let page = read(json!({"order": "desc", "after": 3})).await;
    assert_eq!(seen(&page), (vec![5, 4], 4));
    assert!(page["data"].get("more").is_none());

    let page = read(json!({"limit": 4})).await;
    assert_eq!(page["data"]["more"], true);

    for params in [
        json!({"before": 4}),
        json!({"order": "asc", "before": 4}),
        json!({"order": "desc", "wait_ms": 1}),
        json!({"order": "up"}),
    ] {
        let reply = read(params.clone()).await;
        assert_eq!(reply["code"], 3, "{params}: {reply}");
    }
}
