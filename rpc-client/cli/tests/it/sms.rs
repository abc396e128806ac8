use rpc_client::blocking;
use rpc_client::sms::{MessageId, MessageQuery, Send, SmsBlockingClient, SmsClient, SmsError};
use serde_json::{Value, json};

use crate::support::{Ran, Running, Server, rpc_at, start_rpc_at};

const NUMBER: &str = "+8613800138000";

fn json_of(ran: Ran) -> Value {
    serde_json::from_str(&ran.data()).unwrap()
}

/// Sends a message and answers its id.
fn send(server: &Server, text: &str) -> String {
    let sent = json_of(server.rpc(&["sms", "send", NUMBER, text]));
    sent["id"].as_str().unwrap().to_owned()
}

/// Waits until a message has a status.
fn until(server: &Server, id: &str, status: &str) {
    let watch = [
        "sms", "watch", "--id", id, "--status", status, "--after", "0", "--count", "1",
    ];
    let event = json_of(server.rpc(&watch));
    assert_eq!((&event["id"], &event["to"]), (&json!(id), &json!(status)));
}

/// A watch of two messages that are sent; it has shown the first.
fn watch_of_two(server: &Server, address: &str) -> Running {
    let first = send(server, "before");
    until(server, &first, "sent");

    let arguments = [
        "sms", "watch", "--after", "0", "--status", "sent", "--count", "2",
    ];
    let mut watch = start_rpc_at(address, &arguments);
    assert_eq!(next_event(&mut watch)["id"], first);
    watch
}

fn next_event(watch: &mut Running) -> Value {
    serde_json::from_str(&watch.next_line()).unwrap()
}

#[test]
fn a_message_is_sent_followed_and_listed_as_json_in_a_pipe() {
    let server = Server::start();
    let arguments = [
        "sms",
        "send",
        NUMBER,
        "your code is 4711",
        "--class",
        "otp",
        "--idempotency-key",
        "login-1",
        "--tag",
        "order=17",
    ];
    let sent = json_of(server.rpc(&arguments));
    assert_eq!(
        (&sent["status"], &sent["segments"], &sent["dry_run"]),
        (&json!("queued"), &json!(1), &json!(true))
    );
    let again = json_of(server.rpc(&arguments));
    assert_eq!(
        (&again["id"], &again["duplicate"]),
        (&sent["id"], &json!(true))
    );

    let id = sent["id"].as_str().unwrap();
    until(&server, id, "sent");
    let message = json_of(server.rpc(&["sms", "status", id]));
    assert_eq!(message["tags"], json!({"order": "17"}));
    assert_eq!(message["to"], "+86138****8000");
    assert_eq!(
        json_of(server.rpc(&["sms", "status", "--idempotency-key", "login-1"])),
        message
    );
    let listed = server.rpc(&[
        "sms", "list", "--status", "sent", "--class", "otp", "--since", "1h",
    ]);
    assert_eq!(json_of(listed), message);
    server
        .rpc(&["sms", "list", "--status", "failed"])
        .assert(0, "", "");
}

#[test]
fn lists_go_on_over_pages_to_the_limit_that_is_given() {
    let server = Server::start();
    let ids: Vec<String> = (0..3)
        .map(|place| send(&server, &place.to_string()))
        .collect();

    let listed = |arguments: &[&str]| -> Vec<String> {
        let lines = server.rpc(&[&["sms", "list"], arguments].concat()).data();
        let message = |line: &str| serde_json::from_str::<Value>(line).unwrap();
        lines
            .lines()
            .map(|line| message(line)["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let newest_first: Vec<String> = ids.iter().rev().cloned().collect();
    assert_eq!(listed(&["--all"]), newest_first);
    assert_eq!(listed(&["--limit", "2"]), newest_first[..2]);

    let two = server.rpc(&["sms", "status", &ids[0], &ids[1]]).data();
    assert_eq!(two.lines().count(), 2);
}

#[test]
fn an_operator_pauses_a_gateway_takes_back_and_sends_again() {
    let server = Server::start();
    server.rpc(&["sms", "pause", "dry"]).assert(0, "", "");
    let id = send(&server, "hello");
    let gateway = json_of(server.rpc(&["sms", "gateways"]));
    assert_eq!(
        (&gateway["name"], &gateway["state"], &gateway["queued"]),
        (&json!("dry"), &json!("paused"), &json!(1))
    );

    let cancelled = json_of(server.rpc(&["sms", "cancel", &id]));
    assert_eq!(cancelled, json!({"id": id, "status": "cancelled"}));
    let resent = json_of(server.rpc(&["sms", "resend", &id]));
    assert_eq!(resent, json!({"id": id, "status": "queued", "attempt": 1}));
    server
        .rpc(&["sms", "pause", "dry", "--off"])
        .assert(0, "", "");
    until(&server, &id, "sent");

    let late = server.rpc(&["sms", "cancel", &id]);
    assert_eq!((late.exit, late.stdout.as_str()), (1, ""));
    assert!(
        late.stderr.contains("code 1109") && late.stderr.contains("the message is already sent"),
        "{late:?}"
    );
    for arguments in [
        &["sms", "reveal", &id][..],
        &["sms", "resend", &id, "--may-double"],
    ] {
        let refused = server.rpc(arguments);
        assert_eq!(refused.exit, 1);
        assert!(refused.stderr.contains("code 7"), "{refused:?}");
    }
}

#[test]
fn a_number_opts_out_and_check_says_so_without_sending() {
    let server = Server::start();
    let optout =
        |arguments: &[&str]| json_of(server.rpc(&[&["sms", "optout"], arguments].concat()));
    assert_eq!(optout(&["get", NUMBER]), json!({"opted_out": false}));
    assert_eq!(
        optout(&["add", NUMBER, "--scope", "marketing"])["opted_out"],
        true
    );

    let check =
        |class: &str| json_of(server.rpc(&["sms", "check", NUMBER, "hi", "--class", class]));
    assert_eq!(check("transactional")["allowed"], true);
    let refused = check("marketing");
    assert_eq!(refused["allowed"], false);
    assert!(
        !refused["reasons"].as_array().unwrap().is_empty(),
        "{refused}"
    );

    let sent = server.rpc(&["sms", "send", NUMBER, "hi", "--class", "marketing"]);
    assert!(sent.stderr.contains("code 1101"), "{sent:?}");
    assert_eq!(optout(&["remove", NUMBER]), json!({"opted_out": false}));
    server.rpc(&["sms", "list"]).assert(0, "", "");
}

#[test]
fn tables_have_a_line_for_each_message_and_records_one_for_each_field() {
    let server = Server::start();
    let id = send(&server, "hello");
    until(&server, &id, "sent");

    let table = server.rpc(&["sms", "list", "--text"]).data();
    let lines: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines.len(), 2, "{table}");
    assert_eq!(
        lines[0],
        [
            "ID", "STATUS", "TO", "CLASS", "GATEWAY", "ATTEMPT", "UPDATED", "ERROR"
        ]
    );
    assert_eq!(
        lines[1][..6],
        [&id, "sent", "+86138****8000", "transactional", "dry", "1"]
    );

    let record = server.rpc(&["sms", "status", &id, "--text"]).data();
    assert!(
        record.contains(&format!("\nid          {id}\n")),
        "{record}"
    );
    let gateways = server.rpc(&["sms", "gateways", "--text"]).data();
    assert!(
        gateways.starts_with("NAME  KIND  STATE  QUEUED"),
        "{gateways}"
    );
    let watched = [
        "sms", "watch", "--id", &id, "--after", "0", "--count", "2", "--text",
    ];
    let watched = server.rpc(&watched).data();
    assert!(
        watched.contains(&format!("  {id}  queued -> sending  gateway: dry")),
        "{watched}"
    );
}

#[test]
fn what_is_wrong_with_the_arguments_is_said_before_anything_is_sent() {
    let refused = |arguments: &[&str], expected: &str| {
        // Nothing listens there.
        let ran = rpc_at("127.0.0.1:1", &[&["sms"], arguments].concat(), "");
        assert_eq!(ran.exit, 2, "{ran:?}");
        assert!(ran.stderr.contains(expected), "{ran:?}");
    };

    refused(&["send", NUMBER], "<TEXT>");
    refused(
        &["send", NUMBER, "hi", "--template", "login"],
        "cannot be used with",
    );
    refused(
        &["send", NUMBER, "hi", "--class", "code"],
        "unknown class `code`, expected one of otp, transactional, marketing",
    );
    refused(
        &["send", NUMBER, "hi", "--tag", "a=1", "--tag", "a=2"],
        "names the key `a` twice",
    );
    refused(
        &["list", "--status", "lost"],
        "unknown status `lost`, expected one of scheduled",
    );
    refused(&["status"], "<ID>");
    refused(
        &["optout", "drop", NUMBER],
        "expected one of add, remove, get",
    );
}

#[test]
fn watch_of_an_address_that_is_not_one_ends_and_does_not_try_again() {
    let ran = rpc_at("localhost", &["sms", "watch"], "");
    assert_eq!((ran.exit, &*ran.stdout), (2, ""));
    assert!(!ran.stderr.contains("trying again"), "{}", ran.stderr);
}

#[test]
fn watch_goes_on_after_a_restart_of_the_server_and_misses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let address = format!("unix:{}", dir.path().join("rpc.sock").display());
    let server = Server::start_at(&address, dir.path());
    let mut watch = watch_of_two(&server, &address);

    drop(server);
    let server = Server::start_at(&address, dir.path());
    let second = send(&server, "after");
    let event = next_event(&mut watch);
    assert_eq!(event["id"], second);
    assert_eq!(watch.finish().exit, 0);
}

#[test]
fn watch_of_an_outbox_that_is_replaced_says_what_is_lost_and_shows_the_new_one_from_its_start() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let address = format!("unix:{}", old.path().join("rpc.sock").display());
    let server = Server::start_at(&address, old.path());
    let mut watch = watch_of_two(&server, &address);

    drop(server);
    let server = Server::start_at(&address, new.path());
    let second = send(&server, "after");
    let event = next_event(&mut watch);
    assert_eq!((&event["id"], &event["event"]), (&json!(second), &json!(3)));
    let finished = watch.finish();
    assert_eq!(finished.exit, 0);
    let lost = format!(
        "rpc: {address}: the server has another outbox now; changes of the old outbox after change 3 are lost; \
         continuing with the first change of the new outbox"
    );
    assert!(finished.stderr.contains(&lost), "{}", finished.stderr);
}

#[test]
fn typed_clients_send_and_see_the_codes_of_the_service() {
    let server = Server::start();
    let address = server.address.as_str();
    let query = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let sms = SmsClient::new(rpc_client::Client::new(address));
        let wrong = sms.send(&Send::new("12345", "hello")).await;
        assert!(
            matches!(wrong, Err(SmsError::NumberInvalid { .. })),
            "{wrong:?}"
        );

        let sent = sms.send(&Send::new(NUMBER, "hello")).await.unwrap();
        let query = MessageQuery {
            id: Some(sent.id.clone()),
            ..MessageQuery::default()
        };
        let found = sms.status(&query).await.unwrap();
        assert_eq!(found.messages[0].id, sent.id);
        query
    });

    let sms = SmsBlockingClient::new(blocking::Client::new(address));
    assert_eq!(sms.status(&query).unwrap().messages.len(), 1);
    let unknown = MessageId {
        id: "01KDVDNA0000000000000004HM".into(),
    };
    let cancelled = sms.cancel(&unknown);
    assert!(
        matches!(cancelled, Err(SmsError::Other(_))),
        "{cancelled:?}"
    );
}
