use super::super::entry::EntryRef;
use super::parts::SERVICES_SEEN;
use super::*;

fn encoded(params: &str) -> String {
    let entry: Append = serde_json::from_str(params).expect(params);
    let mut line = Vec::new();
    let entries = NewEntries::from(&entry).received_at(9);
    entries.write(3, &mut line, &mut Index::default(), FirstLine::GoesOn);
    String::from_utf8(line).unwrap()
}

#[test]
fn the_members_of_a_line_come_in_a_fixed_order() {
    let params = r#"{"fields":{"b":1.50,"a":[]},"trace":"t","ts":7,"message":"m","service":"s","level":"fatal"}"#;
    let line = r#"{"seq":3,"ts":7,"level":"fatal","service":"s","message":"m","trace":"t","fields":{"b":1.50,"a":[]},"rx":9}"#;
    assert_eq!(encoded(params), format!("{line}\n"));
}

#[test]
fn an_entry_without_a_time_has_that_of_its_receipt_and_not_twice() {
    let line = r#"{"seq":3,"ts":9,"level":"info","service":"s","message":"m"}"#;
    for params in [
        r#"{"level":"info","service":"s","message":"m"}"#,
        r#"{"level":"info","service":"s","message":"m","ts":null}"#,
    ] {
        assert_eq!(encoded(params), format!("{line}\n"));
    }
}

#[test]
fn no_newline_of_the_caller_reaches_the_line() {
    let params = "{\"level\":\"info\",\"service\":\"a\\nb\",\"message\":\"c\\r\\nd\",\"trace\":\"e\\nf\",\
                  \"fields\":{\n\"k\"\r\n:\t[1,\n2, \"\\n\"]}}";
    let line = encoded(params);

    assert_eq!(line.matches(['\n', '\r']).count(), 1, "{line}");
    assert!(
        line.ends_with("\"fields\":{ \"k\"  :\t[1, 2, \"\\n\"]}}\n"),
        "{line}"
    );
}

#[test]
fn params_that_would_spoil_a_page_are_refused() {
    let entry = |fields: &str| {
        format!(r#"{{"level":"info","service":"s","message":"m","fields":{fields}}}"#)
    };
    let accepted = |params: &str| serde_json::from_str::<Append>(params).is_ok();

    assert!(accepted(&entry("{}")));
    assert!(accepted(&entry("null")));
    for fields in [
        "1",
        "[]",
        "\"\"",
        r#"{"a":"\ud800"}"#,
        r#"{"a":1e999}"#,
        r#"{"a":1,"a":2}"#,
    ] {
        assert!(!accepted(&entry(fields)), "{fields}");
    }

    assert!(!accepted(
        r#"{"level":"info","service":"s","message":"m","extra":1}"#
    ));
    assert!(!accepted(r#"{"level":"INFO","service":"s","message":"m"}"#));
}

#[test]
fn lengths_and_the_index_are_those_of_the_lines_and_the_first_line_tells_of_their_origin() {
    let long = "l".repeat(300);
    let texts = ["", "m", "\u{e4}\n\"x\"", &long];
    let mut entries: Vec<Append> = Vec::new();
    for (n, ts) in [None, Some(0), Some(9), Some(10), Some(u64::MAX)]
        .into_iter()
        .enumerate()
    {
        let mut entry = Append::new(Level::ALL[n], texts[n % 4], texts[(n + 1) % 4]);
        entry.trace = ts.map(|ts| format!("t{ts}"));
        entry.ts = ts;
        entries.push(entry);
    }

    let key = KeyOf {
        id: "a \"key\"".into(),
        by: "".into(),
        hash: 7,
    };
    let new = NewEntries::from(&entries)
        .with_key(&key)
        .received_at(1_700_000_000_000);
    let (mut lines, mut index, mut expected) = (Vec::new(), Index::default(), Index::default());
    new.write(98, &mut lines, &mut index, FirstLine::GoesOn);

    let mut end = 0;
    let mut lengths = new.line_bytes();
    let mut sizes = new.sizes();
    for (seq, line) in (98..).zip(lines.split_inclusive(|byte| *byte == b'\n')) {
        let entry = EntryRef::parse(line).expect("each is an entry");
        assert_eq!((entry.seq, entry.key.is_some()), (seq, seq == 98));

        let length = line.len() - format!("\"seq\":{seq},").len();
        assert_eq!(lengths.next(), Some(length));
        assert_eq!(sizes.next(), Some((&*entry.service, length)));
        end += line.len() as u64;
        expected.add(&Brief::of(&entry), end);
    }
    assert_eq!((lengths.next(), sizes.next()), (None, None));
    assert_eq!(index, expected);

    let of_services: u64 = new.amounts().map(|of| of.bytes).sum();
    assert_eq!(of_services, new.line_bytes().sum::<usize>() as u64);
    assert_eq!(new.amounts().map(|of| of.entries).sum::<u64>(), 5);
}

#[test]
fn what_is_left_of_entries_is_as_if_the_others_had_never_come() {
    let entries: Vec<Append> = ["a", "b", "a", "c"]
        .map(|service| Append::new(Level::Info, service, service.repeat(9)))
        .into();
    let written = |new: &NewEntries| {
        let (mut lines, mut index) = (Vec::new(), Index::default());
        new.write(1, &mut lines, &mut index, FirstLine::GoesOn);
        (lines, index)
    };

    let mut left = NewEntries::from(&entries).received_at(5);
    left.retain(&[false, true, true, false]);
    let expected = NewEntries::from(&entries[1..3]).received_at(5);
    assert_eq!(written(&left), written(&expected));
    let bytes = |new: &NewEntries| new.amounts().map(|of| of.bytes).sum::<u64>();
    assert_eq!((left.len(), bytes(&left)), (2, bytes(&expected)));
}

#[test]
fn entries_that_are_read_from_json_have_the_lines_of_those_in_memory() {
    let entries: Vec<Append> = ["", "m", "\u{e4} \"x\" \\ /", "\n\t\u{1}\u{7f}", "{\"a\":1}"]
        .into_iter()
        .enumerate()
        .map(|(n, text)| {
            let mut entry = Append::new(Level::ALL[n], text, text.repeat(40));
            entry.trace = (n % 2 == 0).then(|| text.into());
            entry.ts = (n % 2 == 1).then_some(n as u64);
            entry.fields = (n > 2).then(|| r#"{"a":"\"\n"}"#.parse().unwrap());
            entry
        })
        .collect();
    let json = serde_json::to_string(&entries).unwrap();
    let written = |new: NewEntries| {
        let (new, mut lines) = (new.received_at(5), Vec::new());
        new.write(1, &mut lines, &mut Index::default(), FirstLine::GoesOn);
        String::from_utf8(lines).unwrap()
    };
    let expected = written(NewEntries::from(&entries));
    let by_serde: NewEntries = serde_json::from_str(&json).unwrap();
    assert_eq!(written(by_serde), expected);

    let emitted = NewEntries::read(&format!("{{\"entries\":{json}}}"));
    assert_eq!(written(emitted.unwrap()), expected);

    let batch = format!("{{\"producer\":\"p\",\"batch\":7,\"entries\":{json}}}");
    let (producer, number, batch) = NewBatch::read(&batch).unwrap();
    assert_eq!((&*producer, number), ("p", 7));
    assert_eq!(batch.hash(), NewBatch::from(&*entries).hash());

    for entry in &entries {
        let read = NewEntries::read_one(&serde_json::to_string(entry).unwrap());
        assert_eq!(written(read.unwrap()), written(NewEntries::from(entry)));
    }
}

#[test]
fn thousands_of_services_are_counted_without_a_look_at_each_of_them() {
    let entries: Vec<Append> = (0..10_000)
        .map(|n| Append::new(Level::Info, format!("s{}", n % 5_000), ""))
        .collect();
    let new = NewEntries::from(&entries);
    assert_eq!(new.amounts().count(), 10_000);
    let new = NewEntries::from(&entries[..SERVICES_SEEN]);
    assert_eq!(new.amounts().count(), SERVICES_SEEN);
}
