use super::*;

#[track_caller]
fn good(line: &str) -> Request<'_> {
    Request::decode(line.as_bytes()).unwrap_or_else(|bad| panic!("{line}: {bad}"))
}

#[track_caller]
fn bad(line: impl AsRef<[u8]>, id: Option<u64>, part_of_message: &str) {
    let line = line.as_ref();
    let bad = Request::decode(line).expect_err(&line.escape_ascii().to_string());

    assert_eq!(bad.id, id, "{}: {bad}", line.escape_ascii());
    assert!(
        bad.message.contains(part_of_message),
        "{}: {bad}",
        line.escape_ascii()
    );
}

#[test]
fn the_fields_come_in_any_order_and_have_their_defaults() {
    let request = good(r#"{"cmdid":10000}"#);
    assert_eq!(
        (request.id, request.cmdid.number(), request.params.as_str()),
        (None, 10000, "{}")
    );
    assert!(
        request.timeout.is_none()
            && !request.oneway
            && request.credit.is_none()
            && request.meta.is_empty()
    );

    let request = good(
        r#" { "x" : [1,{"cmdid":3}], "meta":{"a":"b"}, "params" : [ 1 ] ,"credit":2,"oneway":true,"timeout_ms":0,"timestamp":-5,"cmdid":0,"id":0 } "#,
    );
    assert_eq!(
        (request.id, request.cmdid, request.timestamp),
        (Some(0), CmdId::PING, Some(-5))
    );
    assert_eq!(
        (request.params.as_str(), request.credit, request.oneway),
        ("[ 1 ]", Some(2), true)
    );
    assert_eq!(request.timeout, Some(Duration::ZERO));
    assert_eq!(request.meta.get("a").as_deref(), Some("b"));
    assert_eq!(request.into_owned().params.as_str(), "[ 1 ]");
}

#[test]
fn cmdid_and_timestamp_are_taken_as_python_int_takes_them() {
    for (value, cmdid) in [
        ("7", 7),
        ("7.9", 7),
        ("-0.5", 0),
        ("1e3", 1000),
        (r#""7""#, 7),
        (r#"" +07 ""#, 7),
        (r#""\u0037""#, 7),
    ] {
        assert_eq!(
            good(&format!(r#"{{"cmdid":{value}}}"#)).cmdid.number(),
            cmdid,
            "{value}"
        );
    }

    for value in [
        "-1",
        "4294967296",
        "1e400",
        "null",
        "true",
        "[]",
        "{}",
        r#""""#,
        r#""1.5""#,
        r#""0x7""#,
        r#""1_0""#,
        r#"" ""#,
    ] {
        bad(
            format!(r#"{{"id":3,"cmdid":{value}}}"#),
            Some(3),
            "`cmdid` must be an integer",
        );
    }

    assert_eq!(
        good(r#"{"cmdid":1,"timestamp":"1437000000"}"#).timestamp,
        Some(1_437_000_000)
    );
    assert_eq!(
        good(r#"{"cmdid":1,"timestamp":1437000000.75}"#).timestamp,
        Some(1_437_000_000)
    );

    bad(
        r#"{"cmdid":1,"timestamp":{}}"#,
        None,
        "`timestamp` must be an integer",
    );
}

#[test]
fn the_id_is_found_wherever_it_can_be_read() {
    bad(
        r#"{"cmdid":"x","id":7}"#,
        Some(7),
        "`cmdid` must be an integer",
    );
    bad(r#"{"id":7}"#, Some(7), "`cmdid` is missing");
    bad(r#"{"id":7,"cmdid":1,"#, Some(7), "expected a key");
    bad(r#"{"cmdid":1,"params":{,"id":7}"#, None, "expected a key");

    bad(
        b"{\"cmdid\":1,\"x\":\"\xff\",\"id\":7}",
        None,
        "invalid UTF-8 at byte 16",
    );
    bad(
        b"{\"id\":7,\"cmdid\":1,\"x\":\"\xff\"}",
        Some(7),
        "invalid UTF-8 at byte 23",
    );

    bad(
        r#"{"id":7,"cmdid":0}{"id":8,"cmdid":0}"#,
        Some(7),
        "second object",
    );
    bad(r#"{"id":7,"id":7,"cmdid":0}"#, None, "`id` appears twice");
    bad(
        r#"{"id":7,"cmdid":0,"\u0063mdid":0}"#,
        Some(7),
        "`cmdid` appears twice",
    );

    assert_eq!(
        id_of_part(br#"{"id":7,"cmdid":1,"params":{"a":"xx"#),
        Some(7)
    );
    assert_eq!(id_of_part(br#"{"id":7"#), None, "it may have been 71");
    assert_eq!(id_of_part(br#"{"cmdid":1"#), None);
}

#[test]
fn an_id_of_another_type_is_a_fault_of_its_own_kind() {
    for id in [
        "1.0",
        "1e2",
        "-1",
        "-0",
        r#""1""#,
        "null",
        "9007199254740992",
        "[1]",
        "99999999999999999999999999999999999999",
    ] {
        let line = format!(r#"{{"id":{id},"cmdid":0}}"#);
        bad(&line, None, "`id` must be an integer from 0 to 2^53-1");
        assert_eq!(
            Request::decode(line.as_bytes()).unwrap_err().kind,
            BadFrameKind::Id
        );
    }

    assert_eq!(
        good(r#"{"id":9007199254740991,"cmdid":0}"#).id,
        Some(ID_MAX)
    );

    let worse = Request::decode(br#"{"id":"1","cmdid":[]}"#).unwrap_err();
    assert_eq!(worse.kind, BadFrameKind::Malformed);
    let without_command = Request::decode(br#"{"id":"1"}"#).unwrap_err();
    assert_eq!(without_command.kind, BadFrameKind::Malformed);
}

#[test]
fn what_is_not_an_object_is_named() {
    bad("[1]", None, "array");
    bad("\u{feff}{\"cmdid\":0}", None, "byte order mark");
    bad("   ", None, "must be one JSON object");
    bad("1", None, "must be one JSON object");
    bad(r#"{"cmdid":0} x"#, None, "after the object");

    bad(
        r#"{"cmdid":0,"timeout_ms":1.5}"#,
        None,
        "`timeout_ms` must be",
    );
    bad(r#"{"cmdid":0,"timeout_ms":null}"#, None, "and is null");
    bad(
        r#"{"cmdid":0,"oneway":1}"#,
        None,
        "`oneway` must be true or false",
    );
    bad(r#"{"cmdid":0,"credit":-1}"#, None, "`credit` must be");

    for meta in [
        "[]",
        "1",
        r#"{"a":1}"#,
        r#"{"a":"b","c":{}}"#,
        r#"{"a":"\ud800"}"#,
    ] {
        bad(format!(r#"{{"cmdid":0,"meta":{meta}}}"#), None, "`meta`");
    }

    assert!(good(r#"{"cmdid":0,"meta":{ }}"#).meta.entries().is_empty());
}

#[test]
fn the_frame_itself_is_one_of_its_128_levels() {
    let nested = |depth: usize| {
        format!(
            r#"{{"cmdid":0,"params":{}{}}}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        )
    };

    good(&nested(127));
    bad(nested(128), None, "nested deeper than 128");
}
