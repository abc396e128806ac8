use super::*;

fn text_of(json: &str) -> String {
    text(&serde_json::from_str(json).unwrap())
}

#[test]
fn an_entry_is_one_line_whatever_is_in_it() {
    let entry = r#"{"seq":7,"ts":1700000000123,"level":"warn","service":"order",
        "message":"refused\n\u001b[31m"}"#;
    assert_eq!(
        text_of(entry),
        "2023-11-14T22:13:20.123Z warn  order: refused\\n\\u001b[31m"
    );

    let entry = r#"{"seq":7,"ts":1700000000123,"level":"warn","service":"order","message":"refused",
        "trace":"4bf9","fields":{"a":"one","b":"one two","c":9.50,"d":"","e":12345678901234567890123}}"#;
    let fields = r#"a=one b="one two" c=9.50 d="" e=12345678901234567890123"#;
    assert_eq!(
        text_of(entry),
        format!("2023-11-14T22:13:20.123Z warn  order: refused trace=4bf9 {fields}")
    );
}

#[test]
fn a_time_that_has_no_date_is_shown_as_the_number_that_it_is() {
    let check = |ts: &str, shown: &str| {
        let entry = format!(r#"{{"ts":{ts},"level":"info","service":"s","message":"m"}}"#);
        assert_eq!(text_of(&entry), format!("{shown} info  s: m"));
    };

    check("0", "1970-01-01T00:00:00.000Z");
    check("253402300799999", "9999-12-31T23:59:59.999Z");
    for ts in [
        "253402300800000",
        "1700000000000000",
        "18446744073709551615",
        "1e300",
        "-1",
        "1700000000.5",
    ] {
        check(ts, ts);
    }
}
