use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, json};

use super::*;

fn ours(value: &(impl Serialize + ?Sized)) -> Result<String, Error> {
    let mut out = Vec::new();
    push_value(&mut out, value).map(|()| String::from_utf8(out).unwrap())
}

fn check(value: &(impl Serialize + ?Sized)) {
    match (ours(value), serde_json::to_string(value)) {
        (Ok(ours), Ok(its)) => assert_eq!(ours, its),
        (Err(ours), Err(its)) => assert_eq!(ours.to_string(), its.to_string()),
        (ours, its) => panic!("{ours:?}, and serde_json: {its:?}"),
    }
}

#[derive(Serialize)]
enum Kind {
    Unit,
    Newtype(&'static str),
    Tuple(u8, Option<bool>),
    Struct { a: u8, b: Vec<Kind> },
}

#[derive(Serialize)]
#[serde(tag = "type")]
enum Tagged {
    Raw(Box<RawValue>),
}

#[derive(Serialize)]
struct Nothing;

#[derive(Serialize)]
struct Newtype<T>(T);

#[derive(Serialize)]
struct Pair(i8, char);

#[derive(Serialize)]
struct Fields {
    #[serde(rename = "with \"quotes\" and \n")]
    renamed: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<u8>,
    #[serde(flatten)]
    flat: BTreeMap<&'static str, u8>,
    empty: [u8; 0],
}

struct Bytes;

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&[0, 7, 255])
    }
}

struct NoDisplay;

impl Display for NoDisplay {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Err(fmt::Error)
    }
}

struct Shown<T>(T);

impl<T: Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

#[test]
fn every_kind_of_value_is_written_as_serde_json_writes_it() {
    check(&(i8::MIN, i16::MIN, i32::MIN, i64::MIN, i128::MIN));
    check(&(u8::MAX, u16::MAX, u32::MAX, u64::MAX, u128::MAX));
    check(&[
        0.0_f64,
        -0.0,
        1.0,
        0.1,
        1e300,
        -1e-7,
        123_456_789.125,
        f64::NAN,
        f64::INFINITY,
    ]);
    check(&[0.1_f32, 16_777_216.0, f32::MIN_POSITIVE, f32::NEG_INFINITY]);

    check(&(true, false, (), 'a', '"', '\u{1f600}', "", Bytes));
    check(&[None, Some(Some(1)), Some(None)]);

    check(&(
        Nothing,
        Newtype(Nothing),
        Newtype(Some("x")),
        Pair(-1, '\n'),
    ));
    check(&[
        Kind::Unit,
        Kind::Newtype("\t"),
        Kind::Tuple(1, None),
        Kind::Struct { a: 1, b: vec![] },
        Kind::Struct {
            a: 2,
            b: vec![Kind::Unit, Kind::Tuple(2, Some(true))],
        },
    ]);

    for flat in [BTreeMap::new(), BTreeMap::from([("x", 1), ("y\\", 2)])] {
        check(&Fields {
            renamed: 1,
            skipped: None,
            flat,
            empty: [],
        });
    }

    check(&(Shown("a \"b\"\u{1}"), format_args!("{}-{}", "\n", 1)));

    // `serde_json` panics.
    assert!(ours(&Shown(NoDisplay)).is_err());

    check(&json!({"a": [1, -2, 3.5, null, {"b": "c", "": {}}], "d\"": []}));
    check(&Vec::<u8>::new());
}

#[test]
fn keys_are_strings_or_what_can_be_one() {
    fn map<K: Serialize>(key: K) -> impl Serialize {
        struct One<K>(K);

        impl<K: Serialize> Serialize for One<K> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map([("before", 1)].map(|(_, n)| (&self.0, n)))
            }
        }

        One(key)
    }

    check(&map("a\"\\"));
    check(&map('"'));
    check(&map(-1_i8));
    check(&map(u128::MAX));
    check(&map(1.5_f64));
    check(&map(-1e30_f32));
    check(&map(true));
    check(&map(Kind::Unit));
    check(&map(Newtype(7)));
    check(&map(Newtype("x")));
    check(&map(Some("x")));
    check(&map(Shown("\u{7f}")));

    for refused in [
        ours(&map(())),
        ours(&map(None::<u8>)),
        ours(&map([1])),
        ours(&map(Bytes)),
        ours(&map(Kind::Newtype("x"))),
        ours(&map(json!({}))),
        ours(&map(f64::NAN)),
        ours(&map(Nothing)),
    ] {
        assert_eq!(refused.unwrap_err().to_string(), "key must be a string");
    }
}

#[test]
fn json_that_is_there_already_is_written_as_it_is_but_on_one_line() {
    let raw = |text: &str| RawValue::from_string(text.into()).unwrap();
    for text in ["1", "\"a\\n\"", "{\"b\": [1, 2]}", "1e400", "null"] {
        check(&raw(text));
        check(&(1, raw(text), Map::new()));
        check(&BTreeMap::from([("key", raw(text))]));
    }

    assert!(
        ours(&Tagged::Raw(raw("{}"))).is_err()
            && serde_json::to_string(&Tagged::Raw(raw("{}"))).is_err()
    );

    assert_eq!(ours(&[raw("{\n\"a\":\r\n1}")]).unwrap(), "[{ \"a\":  1}]");
}

#[test]
fn random_values_are_written_as_serde_json_writes_them() {
    fn value(random: &mut fastrand::Rng, depth: u8) -> serde_json::Value {
        let text = |random: &mut fastrand::Rng| {
            (0..random.usize(..24))
                .map(|_| random.char('\0'..='\u{ff}'))
                .collect::<String>()
        };

        match random.u8(..if depth == 0 { 6 } else { 8 }) {
            0 => json!(null),
            1 => json!(random.bool()),
            2 => json!(random.i64(..)),
            3 => json!(f64::from_bits(random.u64(..))),
            4 | 5 => json!(text(random)),
            6 => (0..random.u8(..5))
                .map(|_| value(random, depth - 1))
                .collect(),
            _ => (0..random.u8(..5))
                .map(|_| (text(random), value(random, depth - 1)))
                .collect(),
        }
    }

    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..5_000 {
        check(&value(&mut random, 4));
    }
}
