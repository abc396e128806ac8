//! A thousand bad lines in four places of a connection, each with the verdict that docs/protocol.md gives it.
//!
//! The lines are made from a table of damages and a seed. What is right about each is judged here, by
//! `serde_json` and the document's own words, and not by the reader that is under test.

use std::fmt;

use fastrand::Rng;
use rpc_server::{Router, State};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::rig::{HOLD, Rig};
use crate::support::{Probe, TestServer, call, settle};

const SEED: u64 = 20_261_124;
const LINES: usize = 1_000;

/// Counts that it ran, which no bad line may lead to.
const COUNT: u32 = 200;

async fn count(State(probe): State<Probe>) {
    probe.enter().finish();
}

/// What the document says of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    /// Code 3 with this `id` or none; `is_id_alone`: its only fault is its `id`.
    Bad {
        id: Option<u64>,
        is_id_alone: bool,
    },
}

#[derive(Debug)]
struct BadLine {
    damage: &'static str,
    line: Vec<u8>,
    id: Option<u64>,
    is_id_alone: bool,
}

/// A sound request, and what may be damaged in it.
struct Base {
    /// The `id` of the request, which comes first.
    id: Option<u64>,
    /// Name and value of the other fields, in any order.
    fields: Vec<(&'static str, String)>,
}

impl Base {
    fn random(rng: &mut Rng) -> Self {
        let id = rng.bool().then(|| rng.u64(0..1 << 53));
        let params = [
            "{}",
            "null",
            "[1,2.5e3,\"x\"]",
            "{\"a\":{\"b\":[true,false]}}",
            "\"\\u00e9\\ud83d\\ude00 é\"",
            "-17",
        ];
        let mut fields = vec![
            ("cmdid", COUNT.to_string()),
            ("params", params[rng.usize(..params.len())].into()),
        ];
        let optional = [
            ("timestamp", "1700000000"),
            ("timeout_ms", "5000"),
            ("oneway", "false"),
            ("meta", "{\"k\":\"v\"}"),
            ("extra", "[{\"deep\":[]}]"),
        ];
        for (name, value) in optional {
            if rng.bool() {
                fields.push((name, value.into()));
            }
        }
        rng.shuffle(&mut fields);
        Self { id, fields }
    }

    /// What comes before the fields that may be damaged.
    fn head(&self) -> String {
        match self.id {
            Some(id) => format!("{{\"id\":{id},"),
            None => "{".into(),
        }
    }

    fn text(&self) -> String {
        let fields: Vec<String> = self
            .fields
            .iter()
            .map(|(name, value)| format!("\"{name}\":{value}"))
            .collect();
        format!("{}{}}}", self.head(), fields.join(","))
    }

    fn set(&mut self, name: &'static str, value: &str) {
        match self.fields.iter_mut().find(|(field, _)| *field == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.fields.push((name, value.into())),
        }
    }
}

fn pick<'a>(rng: &mut Rng, of: &[&'a str]) -> &'a str {
    of[rng.usize(..of.len())]
}

/// A place behind the `id`, so that what breaks off there has it.
fn place(rng: &mut Rng, base: &Base, text: &[u8]) -> usize {
    rng.usize(base.head().len()..text.len())
}

type Damage = (&'static str, fn(&mut Rng, Base) -> Vec<u8>);

const DAMAGES: &[Damage] = &[
    ("a byte is missing", |rng, base| {
        let mut text = base.text().into_bytes();
        text.remove(place(rng, &base, &text));
        text
    }),
    ("a byte is too many", |rng, base| {
        let mut text = base.text().into_bytes();
        let at = place(rng, &base, &text);
        text.insert(at, rng.u8(..));
        text
    }),
    ("a byte is another", |rng, base| {
        let mut text = base.text().into_bytes();
        let at = place(rng, &base, &text);
        text[at] = rng.u8(..);
        text
    }),
    ("two bytes have changed places", |rng, base| {
        let mut text = base.text().into_bytes();
        let (one, other) = (place(rng, &base, &text), place(rng, &base, &text));
        text.swap(one, other);
        text
    }),
    ("it breaks off", |rng, base| {
        let mut text = base.text().into_bytes();
        text.truncate(place(rng, &base, &text));
        text
    }),
    ("a field has a wrong type", |rng, mut base| {
        let (name, values): (_, &[&str]) = [
            (
                "cmdid",
                &[
                    "true",
                    "null",
                    "[]",
                    "{}",
                    "\"x\"",
                    "\"1.5\"",
                    "\"\"",
                    "-1",
                    "4294967296",
                    "1e300",
                    "1e400",
                    "\"-3\"",
                ][..],
            ),
            (
                "timestamp",
                &["true", "null", "[1]", "{}", "\"now\"", "\"0x10\"", "1e400"],
            ),
            ("timeout_ms", &["-1", "1.5", "\"5\"", "null", "true", "1e3"]),
            ("oneway", &["0", "1", "null", "\"true\"", "[]"]),
            ("credit", &["-1", "2.5", "\"5\"", "null", "{}"]),
            (
                "meta",
                &[
                    "[]",
                    "null",
                    "\"k\"",
                    "5",
                    "{\"k\":1}",
                    "{\"k\":null}",
                    "{\"k\":{}}",
                ],
            ),
        ][rng.usize(..6)];
        let value = pick(rng, values);
        base.set(name, value);
        base.text().into_bytes()
    }),
    ("the `id` has a wrong type", |rng, base| {
        let wrong = pick(
            rng,
            &[
                "7.0",
                "1e2",
                "-0",
                "-1",
                "\"7\"",
                "null",
                "true",
                "[7]",
                "{}",
                "9007199254740992",
                "18446744073709551616",
            ],
        );
        let whole = Base { id: None, ..base }.text();
        format!("{{\"id\":{wrong},{}", &whole[1..]).into_bytes()
    }),
    ("a field stands twice", |rng, base| {
        let text = base.text();
        let known: Vec<_> = base
            .fields
            .iter()
            .filter(|(name, _)| *name != "extra")
            .collect();
        let (name, value) = known[rng.usize(..known.len())];
        format!("{},\"{name}\":{value}}}", &text[..text.len() - 1]).into_bytes()
    }),
    ("the `id` stands twice", |rng, base| {
        let text = base.text();
        format!(
            "{{\"id\":{},\"id\":{},{}",
            rng.u32(..),
            rng.u32(..),
            &text[1..]
        )
        .into_bytes()
    }),
    ("there is no `cmdid`", |_, mut base| {
        base.fields.retain(|(name, _)| *name != "cmdid");
        base.text().into_bytes()
    }),
    ("it is nested too deep", |rng, mut base| {
        let depth = [129, 1_000, 100_000][rng.usize(..3)];
        let (open, close) = if rng.bool() {
            ("[", "]")
        } else {
            ("{\"a\":", "}")
        };
        let is_closed = rng.bool();
        let inner = if is_closed {
            format!("{}1{}", open.repeat(depth), close.repeat(depth))
        } else {
            open.repeat(depth)
        };
        base.set(if rng.bool() { "params" } else { "extra" }, &inner);
        base.text().into_bytes()
    }),
    ("a value is not JSON", |rng, mut base| {
        let wrong = [
            "NaN",
            "Infinity",
            "-",
            "01",
            "+1",
            "1.",
            ".5",
            "0x10",
            "1e",
            "'a'",
            "\"\\x41\"",
            "\"\\u12g4\"",
            "\"a",
            "undefined",
            "tru",
            "[1,]",
            "[1 2]",
            "{\"a\" 1}",
            "{\"a\":1,}",
            "{a:1}",
            "/* */ 1",
            "1 // one",
            "\"\u{1}\"",
            "\"a\u{0}b\"",
            "\"\t\"",
            "{1:2}",
            "]",
            "}}",
        ];
        let value = pick(rng, &wrong);
        base.set(if rng.bool() { "params" } else { "extra" }, value);
        base.text().into_bytes()
    }),
    ("it is no UTF-8", |rng, mut base| {
        base.set(if rng.bool() { "params" } else { "extra" }, "\"~~~~\"");
        let mut text = base.text().into_bytes();
        let at = text
            .windows(4)
            .position(|four| four == b"~~~~")
            .expect("it was put there");
        let wrong: [&[u8]; 6] = [
            b"\xff",
            b"\xc0\x80",
            b"\xed\xa0\x80",
            b"\xf4\x90\x80\x80",
            b"\x80",
            b"\xe2\x82",
        ];
        let wrong = wrong[rng.usize(..6)];
        text[at..at + wrong.len()].copy_from_slice(wrong);
        text
    }),
    ("it is not one object", |rng, base| {
        let text = base.text();
        let line = match rng.u8(..6) {
            // The first one has its `id`, and what is behind it breaks the line off.
            0 => format!("{text}{text}"),
            1 => format!("{text} {{}}"),
            2 => {
                return Base { id: None, ..base }
                    .text()
                    .replace('{', "[")
                    .replace('}', "]")
                    .into_bytes();
            }
            3 => {
                return pick(
                    rng,
                    &[
                        "null", "5", "\"text\"", "true", "nonsense", "   ", "[]", "\u{0}",
                    ],
                )
                .into();
            }
            4 => format!("{text},"),
            _ => format!("{text}]"),
        };
        line.into_bytes()
    }),
    ("it begins with something else", |rng, base| {
        let whole = Base { id: None, ..base }.text();
        format!(
            "{}{whole}",
            pick(
                rng,
                &["\u{feff}", ",", "[", "x", "\u{b}", "\u{a0}", "data: "]
            )
        )
        .into_bytes()
    }),
];

/// Lines of which the document says that they are bad.
fn bad_lines() -> Vec<BadLine> {
    let mut rng = Rng::with_seed(SEED);
    let mut lines = Vec::new();
    while lines.len() < LINES {
        let (damage, apply) = DAMAGES[lines.len() % DAMAGES.len()];
        // Not each change of a byte is a damage.
        let found = (0..1_000).find_map(|_| {
            let base = Base::random(&mut rng);
            let head = base.head().into_bytes();
            let id = base.id;
            let line = apply(&mut rng, base);
            if line.is_empty() || line == b"\r" || line.contains(&b'\n') {
                return None;
            }
            // Where it breaks off behind its head, what stood in the head has been read.
            let id = id.filter(|_| line.starts_with(&head));
            match judge(&line, id) {
                Verdict::Good => None,
                Verdict::Bad { id, is_id_alone } => Some(BadLine {
                    damage,
                    line,
                    id,
                    is_id_alone,
                }),
            }
        });
        lines.push(found.expect("a damage makes a bad line soon"));
    }
    lines
}

/// The fields of an object in their order, with those that repeat.
struct Fields(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Fields;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// `docs/protocol.md`, "The fine points". `id_before`: that of a line that breaks off, where it stands whole
/// before that point.
fn judge(line: &[u8], id_before: Option<u64>) -> Verdict {
    let broken = Verdict::Bad {
        id: id_before,
        is_id_alone: false,
    };
    let Ok(text) = std::str::from_utf8(line) else {
        return broken;
    };
    if depth(text) > 128 {
        return broken;
    }
    let Ok(Fields(fields)) = serde_json::from_str(text) else {
        return broken;
    };
    let all = |name: &str| {
        fields
            .iter()
            .filter(|(field, _)| field == name)
            .map(|(_, raw)| raw.get())
            .collect::<Vec<_>>()
    };
    let ids = all("id");
    let is_id_repeated = ids.len() > 1;
    let id = ids.first().map(|raw| {
        (raw.bytes().all(|b| b.is_ascii_digit()))
            .then(|| raw.parse().ok().filter(|id: &u64| *id < 1 << 53))
            .flatten()
    });
    let is_id_wrong = id == Some(None);
    let mut is_wrong = is_id_repeated || all("cmdid").is_empty();
    for (name, fits) in [
        ("cmdid", is_cmdid as fn(&str) -> bool),
        ("timestamp", is_timestamp),
        ("params", |_| true),
        ("timeout_ms", is_count),
        ("oneway", |raw| matches!(raw, "true" | "false")),
        ("credit", is_count),
        (
            "meta",
            |raw| matches!(serde_json::from_str(raw), Ok(Value::Object(map)) if map.values().all(Value::is_string)),
        ),
    ] {
        let values = all(name);
        is_wrong |= values.len() > 1 || values.iter().any(|raw| !fits(raw));
    }
    match (is_wrong, is_id_wrong) {
        (false, false) => Verdict::Good,
        (false, true) => Verdict::Bad {
            id: None,
            is_id_alone: true,
        },
        (true, _) => Verdict::Bad {
            id: id.flatten().filter(|_| !is_id_repeated),
            is_id_alone: false,
        },
    }
}

/// The deepest level; the text's own object is the first. Brackets in strings do not count.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// As `int(...)` takes it: an integer, a float that is truncated, a string of digits.
fn as_int(raw: &str) -> Option<f64> {
    match raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')) {
        Some(text) => {
            let text = text.trim();
            let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
            let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            is_number.then(|| text.parse().ok()).flatten()
        }
        None if raw.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => {
            raw.parse().ok().map(f64::trunc)
        }
        None => None,
    }
}

fn is_cmdid(raw: &str) -> bool {
    as_int(raw).is_some_and(|number| (0.0..=f64::from(u32::MAX)).contains(&number))
}

fn is_timestamp(raw: &str) -> bool {
    as_int(raw).is_some_and(f64::is_finite)
}

fn is_count(raw: &str) -> bool {
    // The document promises 2^53-1 and leaves open what is beyond, which is not tried here.
    raw.bytes().all(|b| b.is_ascii_digit()) && raw.parse::<u64>().is_ok()
}

#[tokio::test(start_paused = true)]
async fn a_thousand_bad_lines_in_four_places_have_their_verdicts_and_nothing_of_them_runs() {
    let (rig, probe) = (Rig::new(), Probe::default());
    let counting = Router::with_state(probe.clone())
        .route(COUNT, count)
        .unwrap();
    let server = TestServer::start(rig.router().merge(counting).unwrap()).await;
    let lines = bad_lines();
    for damage in DAMAGES {
        assert!(
            lines.iter().filter(|line| line.damage == damage.0).count() >= LINES / DAMAGES.len()
        );
    }
    for (n, bad) in lines.iter().enumerate() {
        let what = format!(
            "line {n}, {}: {}",
            bad.damage,
            String::from_utf8_lossy(&bad.line[..bad.line.len().min(300)])
        );
        let mut line = bad.line.clone();
        line.push(b'\n');
        let expect = (bad.id, Some(3));
        let of = |reply: &Value| (reply["id"].as_u64(), reply["code"].as_u64());
        let ping = "{\"cmdid\":0,\"params\":\"still here\"}\n";
        let answer = "{\"code\":0,\"data\":\"still here\"}";

        // First of all.
        let mut client = server.connect();
        client.send(&line).await;
        assert_eq!(of(&client.reply().await), expect, "first, {what}");
        if bad.is_id_alone {
            client.send(ping).await;
            client.expect(answer).await;
        } else {
            client.expect_end().await;
        }

        // Behind a good line.
        let mut client = server.connect();
        client.send(ping).await;
        client.expect(answer).await;
        client.send([&line[..], ping.as_bytes()].concat()).await;
        assert_eq!(
            of(&client.reply().await),
            expect,
            "after a good one, {what}"
        );
        client.expect(answer).await;

        // In the order, behind a call that runs and before one that waits.
        let mut client = server.connect();
        client.send(format!("{{\"cmdid\":{HOLD}}}\n")).await;
        client.send([&line[..], ping.as_bytes()].concat()).await;
        if bad.id.is_some() {
            assert_eq!(
                of(&client.reply().await),
                expect,
                "beside the order, {what}"
            );
        }
        settle().await;
        rig.gate.let_pass(1);
        client.expect("{\"code\":0}").await;
        if bad.id.is_none() {
            assert_eq!(of(&client.reply().await), expect, "in the order, {what}");
        }
        client.expect(answer).await;

        // Beside a call with an id that runs.
        let mut client = server.connect();
        client.send(call(1 << 52, HOLD, "")).await;
        client.send([&line[..], ping.as_bytes()].concat()).await;
        assert_eq!(of(&client.reply().await), expect, "multiplexed, {what}");
        client.expect(answer).await;
        rig.gate.let_pass(1);
        client.expect("{\"id\":4503599627370496,\"code\":0}").await;
    }
    assert_eq!(server.stats().bad_frames, 4 * LINES as u64);
    assert_eq!(probe.started(), 0, "nothing of a bad line runs");
}

#[test]
fn the_judge_knows_good_lines_and_the_fine_points() {
    let good = [
        "{\"id\":7,\"cmdid\":\" +200 \",\"timestamp\":-1.5,\"params\":1e400,\"x\":1,\"x\":2}",
        " {\"cmdid\":200.9,\"params\":\"\\ud800\",\"meta\":{\"a\":\"b\"}} ",
    ];
    for line in good {
        assert_eq!(judge(line.as_bytes(), None), Verdict::Good, "{line}");
    }
    let of = |line: &str| judge(line.as_bytes(), None);
    let bad = |id, is_id_alone| Verdict::Bad { id, is_id_alone };
    assert_eq!(of("{\"cmdid\":true,\"id\":7}"), bad(Some(7), false));
    assert_eq!(of("{\"cmdid\":1,\"id\":7.0}"), bad(None, true));
    assert_eq!(of("{\"cmdid\":1,\"id\":7,\"id\":7}"), bad(None, false));
    assert_eq!(of("{\"\\u0063mdid\":1,\"cmdid\":1}"), bad(None, false));
}
