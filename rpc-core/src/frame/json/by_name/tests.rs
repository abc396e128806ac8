use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::*;

#[derive(Debug, PartialEq, Deserialize)]
struct Login {
    token: String,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Order {
    logins: Vec<Login>,
    by_key: BTreeMap<String, Login>,
    maybe: Option<Newtype>,
    shape: Shape,
    pair: (u8, Login),
}

#[derive(Debug, PartialEq, Deserialize)]
struct Newtype(Login);

#[derive(Debug, PartialEq, Deserialize)]
enum Shape {
    Point,
    Sized(Login),
    Both(u8, Login),
    Named { login: Login },
}

const WHOLE: &str = r#"{"logins":[{"token":"a"}],"by_key":{"k":{"token":"b"}},"maybe":{"token":"c"},"shape":{"Named":{"login":{"token":"d"}}},"pair":[1,{"token":"e"}]}"#;

#[test]
fn an_array_does_not_pass_for_a_struct_at_any_depth() {
    decode::<Order>(WHOLE).unwrap();

    let positional = [
        r#"[[{"token":"a"}],{},null,"Point",[1,{"token":"e"}]]"#.into(),
        WHOLE.replace(
            r#"{"Named":{"login":{"token":"d"}}}"#,
            r#"{"Named":[{"token":"d"}]}"#,
        ),
        WHOLE.replace(r#"{"Named":{"login":{"token":"d"}}}"#, r#"{"Sized":["d"]}"#),
        WHOLE.replace(
            r#"{"Named":{"login":{"token":"d"}}}"#,
            r#"{"Both":[1,["d"]]}"#,
        ),
    ]
    .into_iter()
    .chain(["a", "b", "c", "d", "e"].map(|token| {
        WHOLE.replace(
            &format!(r#"{{"token":"{token}"}}"#),
            &format!(r#"["{token}"]"#),
        )
    }));

    for json in positional {
        // Serde's own reading takes it: the test would not see another mistake.
        serde_json::from_str::<Order>(&json).unwrap_or_else(|error| panic!("{json}: {error}"));
        let error = decode::<Order>(&json).expect_err(&json).to_string();
        assert!(
            error.starts_with("invalid type: sequence, expected struct"),
            "{json}: {error}"
        );
    }
}

#[test]
fn everything_else_is_read_as_serde_json_reads_it() {
    fn check<'t, T: Deserialize<'t> + PartialEq + fmt::Debug>(json: &'t str) {
        match (decode::<T>(json), serde_json::from_str::<T>(json)) {
            (Ok(ours), Ok(its)) => assert_eq!(ours, its, "{json}"),
            (Err(ours), Err(its)) => assert_eq!(ours.to_string(), its.to_string(), "{json}"),
            (ours, its) => panic!("{json}: {ours:?}, and serde_json: {its:?}"),
        }
    }

    for json in [
        WHOLE,
        "{}",
        "null",
        "1",
        "\"x\"",
        "{\"logins\":1}",
        "{\"logins\":[",
        "",
    ] {
        check::<Order>(json);
        check::<Option<Login>>(json);
        check::<serde_json::Value>(json);
    }

    check::<(u8, i64, f64, bool, char)>("[1,-2,1.5,true,\"c\"]");
    check::<(u8, u8)>("[1,2,3]");
    check::<Vec<Option<u128>>>("[null,340282366920938463463374607431768211455]");
    check::<&str>("\"borrowed\"");
    check::<String>("\"\\u00e9\"");
    check::<Shape>("\"Point\"");
    check::<Shape>("{\"Other\":1}");
    check::<()>("null");
    check::<BTreeMap<u8, u8>>("{\"1\":2}");
    check::<u8>("1 2");

    let raw: Box<RawValue> = decode("[1, {\"a\": 2}]").unwrap();
    assert_eq!(raw.get(), "[1, {\"a\": 2}]");
}
