use super::*;

fn check(line: &[u8]) -> bool {
    check_after(&mut HeaderCache::default(), line)
}

/// Whatever the fast path makes of a line, the general reader must make of it too.
fn check_after(cache: &mut HeaderCache, line: &[u8]) -> bool {
    let Some(usual) = Request::read_after(cache, line) else {
        return false;
    };

    // Typed first, as a handler would: an object of anything.
    let typed = usual
        .request()
        .params
        .decode::<serde_json::Map<String, serde_json::Value>>()
        .is_ok();

    if !usual.is_sound() {
        assert!(!typed, "{}", line.escape_ascii());
        return false;
    }

    let general = message::Request::decode(line)
        .unwrap_or_else(|bad| panic!("{}: {bad}", line.escape_ascii()));
    let usual = usual.request();
    assert_eq!(
        (
            usual.id,
            usual.cmdid,
            usual.timestamp,
            usual.timeout,
            usual.oneway,
            usual.params.as_str()
        ),
        (
            general.id,
            general.cmdid,
            general.timestamp,
            general.timeout,
            general.oneway,
            general.params.as_str()
        ),
        "{}",
        line.escape_ascii()
    );
    assert!(general.credit.is_none() && general.meta.is_empty());
    true
}

#[test]
fn lines_as_they_are_usually_written_are_taken() {
    for line in [
        r#"{"id":0,"cmdid":100,"params":{}}"#,
        r#"{"id":9007199254740991,"cmdid":4294967295,"timeout_ms":5000,"params":{"a":[1,{"b":"é\n"}]}}"#,
        r#"{"cmdid":1,"timestamp":1732233600,"params":{"a":1}}"#,
        r#"{"cmdid": 1, "timestamp": 1732233600, "params": {"a": 1}}"#,
        r#"{"id":1,"cmdid":5,"params": null }"#,
        r#"{"cmdid":105,"oneway":true,"params":{}}"#,
        r#"{"id":1,"cmdid":105,"timeout_ms":50,"oneway":true,"params":{}}"#,
        r#"{"cmdid": 105, "oneway": true, "params": {}}"#,
    ] {
        assert!(check(line.as_bytes()), "{line}");
    }
}

#[test]
fn other_lines_are_left_to_the_general_reader() {
    for line in [
        r#"{"cmdid":100}"#,
        r#"{"cmdid":100,"params":{},"id":1}"#,
        r#"{"cmdid":100,"params":{},"params":{}}"#,
        r#"{"id":1,"id":1,"cmdid":100,"params":{}}"#,
        r#"{"id":01,"cmdid":100,"params":{}}"#,
        r#"{"id":9007199254740992,"cmdid":100,"params":{}}"#,
        r#"{"id":1.0,"cmdid":100,"params":{}}"#,
        r#"{"id":1,"cmdid":4294967296,"params":{}}"#,
        r#"{"id":1,"cmdid":-1,"params":{}}"#,
        r#"{"id":1,"params":{}}"#,
        r#"{"cmdid":100,"oneway":false,"params":{}}"#,
        r#"{"cmdid":100,"oneway":truer,"params":{}}"#,
        r#"{"cmdid":100,"oneway":true,"oneway":true,"params":{}}"#,
        r#"{"oneway":true,"cmdid":100,"params":{}}"#,
        r#"{"cmdid":4,"oneway":true,"params":{"id":1}}"#,
        r#"{"id":1,"cmdid":100,"params":}"#,
        r#"{"id":1,"cmdid":100,"params":{}"#,
        r#"{"id":1,"cmdid":100,"params":{}}}"#,
        r#"{"id":1,"cmdid":100,"params":{"a":}}"#,
        r#"{"id":1,"cmdid":100,"params":1}{"cmdid":100}"#,
        "{\"cmdid\":100,\"params\":\u{c}{}}",
        "{\"cmdid\":100,\"params\":{}\u{c}}",
        r#"{"id":1,"cmdid":100,"timeout_ms":12345678901234567,"params":{}}"#,
        "",
        "{",
        "}",
        "{}",
    ] {
        assert!(!check(line.as_bytes()), "{line}");
    }

    assert!(!check(b"{\"id\":1,\"cmdid\":100,\"params\":\"\xff\"}"));
}

#[test]
fn nesting_is_bounded_without_a_scan() {
    let nested = |depth: usize| {
        let params = ["[".repeat(depth), "]".repeat(depth)].concat();
        format!("{{\"cmdid\":100,\"params\":{params}}}")
    };

    assert!(
        check(nested(127).as_bytes()) && message::Request::decode(nested(127).as_bytes()).is_ok()
    );
    assert!(
        !check(nested(128).as_bytes()) && message::Request::decode(nested(128).as_bytes()).is_err()
    );
}

#[test]
fn the_fast_path_agrees_with_the_general_reader_on_damaged_lines() {
    let whole =
        br#"{"id":71,"cmdid":100,"timeout_ms":50,"oneway":true,"params":{"level":"info","n":[1,-2.5e3,true]}}"#;
    let alphabet = br#"{}[]",:\ 0179eidcmparstonwyu_-."#;
    let mut random = fastrand::Rng::with_seed(3);
    let mut cache = HeaderCache::default();
    let mut taken = 0;

    for _ in 0..200_000 {
        let mut line = whole.to_vec();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(0..line.len());
            match random.u8(0..3) {
                0 => line[at] = alphabet[random.usize(0..alphabet.len())],
                1 => drop(line.remove(at)),
                _ => line.insert(at, alphabet[random.usize(0..alphabet.len())]),
            }
        }

        let is_taken = check(&line);
        assert_eq!(
            check_after(&mut cache, &line),
            is_taken,
            "{}",
            line.escape_ascii()
        );
        taken += u32::from(is_taken);
    }

    assert!(taken > 10_000, "{taken}");
}

#[test]
fn what_the_line_before_had_is_not_taken_for_what_this_one_has() {
    let mut cache = HeaderCache::default();
    let mut read = |line: &str| {
        let usual = Request::read_after(&mut cache, line.as_bytes())?;
        let request = usual.request();
        Some((
            request.id,
            request.cmdid.number(),
            request.timestamp,
            request.timeout.map(|t| t.as_millis()),
            request.oneway,
        ))
    };

    let long = "\"cmdid\": 4294967295, \"timestamp\": 1732233600123, \"timeout_ms\": 86400000, \"oneway\": true, \"params\": {}";
    for _ in 0..2 {
        assert_eq!(
            read(r#"{"id":1,"cmdid":7,"params":{}}"#),
            Some((Some(1), 7, None, None, false))
        );
        assert_eq!(
            read(r#"{"id":2,"cmdid":7,"params":{}}"#),
            Some((Some(2), 7, None, None, false))
        );
        assert_eq!(
            read(r#"{"cmdid":7,"params":{}}"#),
            Some((None, 7, None, None, false))
        );
        assert_eq!(
            read(r#"{"cmdid":7,"oneway":true,"params":{}}"#),
            Some((None, 7, None, None, true))
        );
        assert_eq!(
            read(r#"{"cmdid":8,"timestamp":5,"params":{}}"#),
            Some((None, 8, Some(5), None, false))
        );
        assert_eq!(
            read(r#"{"id":3,"cmdid":7,"timeout_ms":50,"params":{}}"#),
            Some((Some(3), 7, None, Some(50), false))
        );
        assert_eq!(read(r#"{"id":3,"cmdid":7,"timeout_ms":50}"#), None);
        assert_eq!(
            read(&format!("{{{long}}}")),
            Some((
                None,
                u32::MAX,
                Some(1_732_233_600_123),
                Some(86_400_000),
                true
            ))
        );
    }
}
