use serde_json::json;

use super::super::batch::{Batch, JSON_BYTES_MAX};
use super::*;

#[track_caller]
fn entry(line: &Value) -> Append {
    let entry = Entry::parse(line.to_string().as_bytes()).unwrap();
    assert_eq!(entry.place.cursor, "s=1;i=2");
    serde_json::from_str(&entry.json).unwrap()
}

/// A line with these fields and those that each has.
fn line(fields: Value) -> Value {
    let mut line = json!({"__CURSOR": "s=1;i=2", "__REALTIME_TIMESTAMP": "1764500000001999"});
    let Value::Object(fields) = fields else {
        panic!("{fields}")
    };
    line.as_object_mut().unwrap().extend(fields);
    line
}

fn fields(append: &Append) -> Value {
    append
        .fields
        .as_ref()
        .map_or(Value::Null, |fields| fields.decode().unwrap())
}

#[test]
fn an_entry_has_the_level_service_message_and_time_of_the_journal_and_its_useful_fields() {
    let found = entry(&line(json!({
        "PRIORITY": "3", "SYSLOG_IDENTIFIER": "nginx", "_SYSTEMD_UNIT": "nginx.service", "MESSAGE": "refused",
        "_PID": "12", "_HOSTNAME": "web1", "SYSLOG_FACILITY": "3", "_CMDLINE": "nginx --password=secret",
        "ORDER_ID": "4211", "UNIT": "other.service", "_SOMETHING_NEW": "x", "__MONOTONIC_TIMESTAMP": "1",
    })));
    assert_eq!(
        (found.level, &*found.service, &*found.message),
        (Level::Error, "nginx", "refused")
    );
    assert_eq!(found.ts, Some(1_764_500_000_001));
    assert_eq!(
        fields(&found),
        json!({
            "host": "web1", "procid": "12", "unit": "nginx.service", "facility": "daemon", "order_id": "4211",
            "UNIT": "other.service",
        })
    );
}

#[test]
fn an_entry_without_a_name_a_level_or_a_message_is_one_too() {
    let check = |given: Value, level: Level, service: &str, message: &str| {
        let found = entry(&line(given));
        assert_eq!(
            (found.level, &*found.service, &*found.message),
            (level, service, message)
        );
    };

    check(json!({}), Level::Info, "journal", "");
    check(
        json!({"_SYSTEMD_UNIT": "a.service", "PRIORITY": "x"}),
        Level::Info,
        "a.service",
        "",
    );
    check(
        json!({"SYSLOG_IDENTIFIER": "", "_COMM": "sh", "PRIORITY": "9", "MESSAGE": null}),
        Level::Info,
        "sh",
        "",
    );
    for (priority, level) in
        ["0", "4", "5", "7"]
            .into_iter()
            .zip([Level::Fatal, Level::Warn, Level::Info, Level::Debug])
    {
        check(json!({"PRIORITY": priority}), level, "journal", "");
    }
}

#[test]
fn messages_of_bytes_and_fields_that_come_several_times_are_texts() {
    let bytes: Vec<u8> = b"two\nlines \x1b[31m \xff\0".to_vec();
    let found = entry(&line(json!({
        "MESSAGE": bytes, "TWICE": ["a", [98, 255]], "EMPTY": [], "TOO_LONG": null,
    })));
    assert_eq!(found.message, "two\nlines \u{1b}[31m \u{fffd}\0");
    assert_eq!(
        fields(&found),
        json!({"twice": ["a", "b\u{fffd}"], "empty": ""})
    );

    let found = entry(&line(json!({"MESSAGE": ["a", "b", [1, 99]]})));
    assert_eq!(found.message, "a\nb\n\u{1}c");
}

#[test]
fn what_is_too_long_is_cut_and_the_entry_says_so_and_the_largest_one_fits_into_a_batch() {
    let mut given =
        json!({"MESSAGE": "\u{1}".repeat(100_000), "SYSLOG_IDENTIFIER": "é".repeat(200)});
    for number in 0..100 {
        given[format!("FIELD_{number}")] = "\u{1}".repeat(5_000).into();
    }
    let given = line(given);
    let found = entry(&given);
    assert_eq!(
        (found.message.len(), found.service.len()),
        (MESSAGE_BYTES_MAX, SERVICE_BYTES_MAX)
    );
    let Value::Object(fields) = fields(&found) else {
        panic!("{found:?}")
    };
    assert_eq!(
        (fields.len(), &fields["truncated"]),
        (4, &Value::Bool(true))
    );
    assert_eq!(fields["field_0"].as_str().unwrap().len(), VALUE_BYTES_MAX);

    let parsed = Entry::parse(given.to_string().as_bytes()).unwrap();
    assert!(
        Batch::default().has_room_for(&parsed),
        "{} of {JSON_BYTES_MAX}",
        parsed.json.len()
    );
}

#[test]
fn a_line_that_is_not_an_entry_is_not_taken_for_one() {
    for line in [
        "",
        "-- No entries --",
        "-- Boot 2f3c --",
        "[]",
        "{}",
        r#"{"__CURSOR":"s=1","MESSAGE":"no time"}"#,
        r#"{"__REALTIME_TIMESTAMP":"1","MESSAGE":"no cursor"}"#,
        r#"{"__CURSOR":"s=1","__REALTIME_TIMESTAMP":"soon"}"#,
        r#"{"__CURSOR":"s=1","__REALTIME_TIMESTAMP":"1","MESSAGE":"#,
    ] {
        assert_eq!(Entry::parse(line.as_bytes()), None, "{line}");
    }
}
