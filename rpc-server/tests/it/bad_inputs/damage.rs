//! Lines of which the document says that they are bad: good ones that are damaged.

use fastrand::Rng;

use super::judge::{Verdict, judge};
use super::{COUNT, LINES, SEED};

#[derive(Debug)]
pub(super) struct BadLine {
    pub(super) damage: &'static str,
    pub(super) line: Vec<u8>,
    pub(super) id: Option<u64>,
    pub(super) is_id_alone: bool,
}

/// A sound request, and what may be damaged in it.
pub(super) struct Base {
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

pub(super) type Damage = (&'static str, fn(&mut Rng, Base) -> Vec<u8>);

pub(super) const DAMAGES: &[Damage] = &[
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
pub(super) fn bad_lines() -> Vec<BadLine> {
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
