use super::*;

fn scan(text: &[u8]) -> Result<(), SyntaxError> {
    let mut scanner = Scanner::new(text);
    scanner.skip_white_space();
    scanner.value(0)?;
    scanner.skip_white_space();

    if scanner.peek().is_some() {
        scanner.error("trailing characters")
    } else {
        Ok(())
    }
}

/// Whatever the scanner says of a text, `serde_json` must say too (both ignore the value).
fn check(text: &[u8]) {
    let theirs = serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok();
    assert_eq!(scan(text).is_ok(), theirs, "{}", text.escape_ascii());
}

#[test]
fn agrees_with_serde_json_on_hand_picked_texts() {
    let texts = [
        "",
        " ",
        "0",
        "-0",
        "-",
        "01",
        "1.",
        "1.5",
        ".5",
        "1e",
        "1e5",
        "1E+5",
        "1e-",
        "--1",
        "1e400",
        "tru",
        "true",
        "nul",
        "null",
        "false",
        "[",
        "]",
        "[]",
        "[ ]",
        "[1",
        "[1,",
        "[1,]",
        "[1 2]",
        "[1 , 2]",
        "{",
        "{}",
        "{ }",
        "{1:2}",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1}"#,
        r#"{"a":1,}"#,
        r#"{"a":1 "b":2}"#,
        r#"{"a" : [ {"b":null} , [] ] }"#,
        r#"{"a":1]"#,
        "[1}",
        "{]",
        r#"""#,
        r#""a"#,
        r#""\"#,
        r#""\""#,
        r#""\x""#,
        r#""\u12""#,
        r#""\u12g4""#,
        r#""\ud800""#,
        r#""\u0000""#,
        "\"a\tb\"",
        "\"a\u{0}b\"",
        "\"12345678\u{1f}\"",
        "\"1234567\u{7f}é😀\"",
        "1 1",
        "\u{feff}{}",
        "nan",
        "[[[[[[[[[[]]]]]]]]]]",
        r#"[[],{},[{}],"\\",{"\\\"":"\/"}]"#,
        "[1,2,3",
        "{\"a\":\n1}",
    ];

    for text in texts {
        check(text.as_bytes());
    }
}

#[test]
fn agrees_with_serde_json_on_random_texts() {
    let alphabet = br#"{}[]",:\ u01ed8-+.tfn"abc"#;
    let mut random = fastrand::Rng::with_seed(7);

    for _ in 0..200_000 {
        let length = random.usize(0..24);
        let text: Vec<u8> = (0..length)
            .map(|_| alphabet[random.usize(0..alphabet.len())])
            .collect();
        check(&text);
    }
}

#[test]
fn agrees_with_serde_json_on_damaged_json() {
    let whole =
        br#"{"id":7,"cmdid":10000,"params":{"level":"info","n":[1,-2.5e3,true,null],"s":"a\"\u00e9"}}"#;
    let mut random = fastrand::Rng::with_seed(11);

    for _ in 0..100_000 {
        let mut text = whole.to_vec();
        for _ in 0..random.usize(1..3) {
            let at = random.usize(0..text.len());
            text[at] = random.u8(0x20..0x7f);
        }

        check(&text);
    }
}

#[test]
fn depth_128_is_the_last_that_is_taken() {
    let nested = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();

    assert_eq!(scan(&nested(128)), Ok(()));
    assert_eq!(
        scan(&nested(129)).unwrap_err().what,
        "nested deeper than 128"
    );
    assert_eq!(
        scan(&vec![b'['; 100_000]).unwrap_err().what,
        "nested deeper than 128"
    );

    let objects = [r#"{"a":"#.repeat(128), "1".into(), "}".repeat(128)].concat();
    assert_eq!(scan(objects.as_bytes()), Ok(()));
}

#[test]
fn the_plain_prefix_ends_at_the_same_byte_wherever_it_stands() {
    for stop in [b'"', b'\\', 0, 0x1f] {
        for length in 0..200 {
            for fill in [b' ', b'a', 0x7f, 0x80, 0xff, b'!', b'[', b'#', b']'] {
                let mut bytes = vec![fill; 200];
                bytes[length] = stop;
                assert_eq!(
                    plain_prefix(&bytes),
                    length,
                    "{stop} after {length} times {fill}"
                );
            }
        }
    }

    for length in [0, 21, 64, 65, 128, 150] {
        assert_eq!(plain_prefix(&vec![0xff; length]), length);
    }
}
