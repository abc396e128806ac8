//! Entries: numbered, and read back as they were given.

use serde_json::json;

use super::{APPEND, READ, Serving, append, line, read};

#[tokio::test]
async fn entries_are_numbered_from_1_and_read_back_as_they_were_given() {
    let serving = Serving::start().await;
    let mut client = serving.connect();
    let entry = json!({
        "level": "warn", "service": "order ä", "message": "line\nbreak \u{1b}[31m", "ts": 5, "trace": "t",
        "fields": {"user": 4211, "list": [1, {"a": null}]},
    });
    assert_eq!(
        client.ask(&line(APPEND, &entry)).await["data"],
        json!({"seq": 1})
    );
    assert_eq!(append(&mut client, "info", "s", "m").await, 2);
    let page = client.ask(&line(READ, &json!({}))).await["data"].take();
    let mut expected = entry;
    expected["seq"] = 1.into();
    // Beside the time that it was given, it has that of its receipt.
    expected["rx"] = page["entries"][0]["rx"].clone();
    assert!(expected["rx"].as_u64().unwrap() > 1_700_000_000_000);
    assert_eq!((&page["entries"][0], &page["next"]), (&expected, &json!(2)));
    // What was not given is left out, but for the time.
    let second = page["entries"][1].as_object().unwrap();
    assert_eq!(
        second.keys().collect::<Vec<_>>(),
        ["level", "message", "seq", "service", "ts"]
    );
    assert!(second["ts"].as_u64().unwrap() > 1_700_000_000_000);
}

#[tokio::test]
async fn fields_come_back_byte_for_byte_or_are_refused() {
    let serving = Serving::start().await;
    let mut client = serving.connect();
    let append_fields = |fields: &str| {
        format!(
            r#"{{"cmdid":{APPEND},"params":{{"level":"info","service":"s","message":"m","fields":{fields}}}}}"#
        )
    };

    let kept = [
        r#"{"order":12345678901234567890123,"price":1.50,"e":1E2}"#,
        r#"{"z":1, "a" : [ 1,2 ],"nested":{"x":1,"x":2}}"#,
        r#"{"text":"\u0041\/\n"}"#,
    ];
    for fields in kept {
        assert_eq!(
            client.ask(&append_fields(fields)).await["code"],
            0,
            "{fields}"
        );
    }
    for fields in [r#"{"a":1,"a":2}"#, r#"{"a":1,"\u0061":2}"#] {
        let reply = client.ask(&append_fields(fields)).await;
        let why = "`params.fields`: the field `a` comes twice; give each field a name of its own";
        assert_eq!(reply["code"], 3, "{reply}");
        assert!(reply["message"].as_str().unwrap().contains(why), "{reply}");
    }

    client.send(line(READ, &json!({})) + "\n").await;
    let page = client.line().await;
    for fields in kept {
        assert!(page.contains(&format!("\"fields\":{fields}")), "{page}");
    }
}

#[tokio::test]
async fn appends_of_many_connections_are_numbered_without_a_gap() {
    let serving = Serving::start().await;
    let mut clients: Vec<_> = (0..8).map(|_| serving.connect()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        let entry = json!({"level": "info", "service": n.to_string(), "message": "m"});
        for id in 0..50 {
            client
                .send(format!(
                    "{{\"id\":{id},\"cmdid\":{APPEND},\"params\":{entry}}}\n"
                ))
                .await;
        }
    }
    let mut numbers = Vec::new();
    for client in &mut clients {
        for _ in 0..50 {
            numbers.push(client.reply().await["data"]["seq"].as_u64().unwrap());
        }
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=400).collect::<Vec<_>>());
    assert_eq!(
        read(&mut clients[0], json!({"limit": 1000})).await,
        (numbers, 400)
    );
}

#[tokio::test]
async fn each_filter_and_the_cursor_choose_what_is_read() {
    let serving = Serving::start().await;
    let mut client = serving.connect();
    for (level, service, message) in [
        ("trace", "a", "one"),
        ("debug", "b", "two"),
        ("info", "a", "three"),
        ("warn", "b", "four one"),
        ("error", "a", "five"),
        ("fatal", "aa", "six"),
    ] {
        append(&mut client, level, service, message).await;
    }
    for (params, entries, next) in [
        (json!({}), vec![1, 2, 3, 4, 5, 6], 6),
        (json!(null), vec![], 0),
        (json!({"after": 4}), vec![5, 6], 6),
        (json!({"after": 6}), vec![], 6),
        (json!({"limit": 2}), vec![1, 2], 2),
        (json!({"after": 2, "limit": 1}), vec![3], 3),
        (json!({"level": "trace"}), vec![1, 2, 3, 4, 5, 6], 6),
        (json!({"level": "warn"}), vec![4, 5, 6], 6),
        (json!({"level": "fatal"}), vec![6], 6),
        (json!({"service": "a"}), vec![1, 3, 5], 6),
        (json!({"service": ""}), vec![], 6),
        (json!({"contains": "one"}), vec![1, 4], 6),
        (json!({"contains": "ONE"}), vec![], 6),
        (
            json!({"level": "info", "service": "b", "contains": "o"}),
            vec![4],
            6,
        ),
        (json!({"service": "a", "limit": 2}), vec![1, 3], 3),
    ] {
        if params.is_null() {
            assert_eq!(client.ask(&line(READ, &params)).await["code"], 3);
            continue;
        }
        assert_eq!(
            read(&mut client, params.clone()).await,
            (entries, next),
            "{params}"
        );
    }
}

#[tokio::test]
async fn describe_gives_the_schemas_of_both_commands() {
    let serving = Serving::start().await;
    let mut client = serving.connect();
    let described = client
        .ask("{\"cmdid\":1,\"params\":{\"cmdid\":1001}}")
        .await["data"]["commands"][0]
        .take();
    assert_eq!(
        (&described["service"], &described["method"]),
        (&json!("log"), &json!("append"))
    );
    assert_eq!(
        described["params"]["required"],
        json!(["level", "service", "message"])
    );
    assert!(
        described["data"]["properties"]["seq"].is_object(),
        "{described}"
    );
    let described = client
        .ask("{\"cmdid\":1,\"params\":{\"cmdid\":1002}}")
        .await["data"]["commands"][0]
        .take();
    assert_eq!(described["idempotent"], true);
    for field in ["after", "limit", "wait_ms", "level", "service", "contains"] {
        assert!(
            described["params"]["properties"][field].is_object(),
            "{field}: {described}"
        );
    }
}
