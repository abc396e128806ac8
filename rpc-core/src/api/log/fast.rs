//! The fast path: entries as clients usually write them, read without serde at a sixth of its cost.
//!
//! Such an entry has its members in any order, each once and none `null`, and no white space except for one space behind a
//! colon or a comma. All other params are left to serde. As in [`frame::fast`](crate::frame::fast), the readers in here
//! never judge a text: `None` means only that it is not usual, and where they answer, the answer is that of serde. For
//! rpc-daemon; not a public API.

use std::borrow::Cow;

use super::{AppendRef, FieldsRef, Level, TS_MAX};
use crate::frame::Scanner;

/// Reads the params of `append`. Its texts are borrowed if nothing in them is escaped.
pub fn entry(text: &str) -> Option<AppendRef<'_>> {
    let mut reader = Reader::new(text)?;
    let entry = reader.entry()?;
    reader.end()?;
    Some(entry)
}

/// Reads the params of `emit` with several entries, and hands on one after the other; also those before something that is
/// not usual.
pub fn emit<'t>(text: &'t str, each: impl FnMut(&AppendRef<'t>)) -> Option<()> {
    let mut reader = Reader::new(text)?;
    reader.expect("{")?;
    reader.entries(each)?;
    reader.expect("}")?;
    reader.end()
}

/// Reads the params of `append_batch`, and hands on one entry after the other, as [`emit`] does. Returns the producer and
/// the number of the batch.
pub fn batch<'t>(text: &'t str, each: impl FnMut(&AppendRef<'t>)) -> Option<(Cow<'t, str>, u64)> {
    let mut reader = Reader::new(text)?;
    reader.expect("{")?;
    reader.take_token("\"producer\":").then_some(())?;
    let producer = reader.text()?;
    reader.take_token(",").then_some(())?;
    reader.take_token("\"batch\":").then_some(())?;
    let number = reader.integer()?;
    reader.take_token(",").then_some(())?;
    reader.entries(each)?;
    reader.expect("}")?;
    reader.end()?;
    Some((producer, number))
}

/// Reads text from its begin to its end.
struct Reader<'t> {
    rest: &'t str,
}

impl<'t> Reader<'t> {
    /// A reader of text without control characters, which may be in no string.
    fn new(text: &'t str) -> Option<Self> {
        let least = text.bytes().fold(u8::MAX, u8::min);
        (least >= b' ').then_some(Self { rest: text })
    }

    /// Goes past `expected`, if it comes next. Inlined: with the length known, this is one comparison or two.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "a tenth of the whole")]
    fn take(&mut self, expected: &str) -> bool {
        let rest = self.rest.strip_prefix(expected);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "see above")]
    fn expect(&mut self, expected: &str) -> Option<()> {
        self.take(expected).then_some(())
    }

    /// Goes past a comma, or a key with its colon, if that comes next.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "see above")]
    fn take_token(&mut self, token: &str) -> bool {
        let is_next = self.take(token);
        if is_next {
            // Python's `json` puts a space behind each.
            self.take(" ");
        }
        is_next
    }

    fn end(&self) -> Option<()> {
        self.rest.is_empty().then_some(())
    }

    /// Reads `"entries":[…]`.
    fn entries(&mut self, mut each: impl FnMut(&AppendRef<'t>)) -> Option<()> {
        self.take_token("\"entries\":").then_some(())?;
        self.expect("[")?;
        loop {
            each(&self.entry()?);
            if !self.take_token(",") {
                return self.expect("]");
            }
        }
    }

    fn entry(&mut self) -> Option<AppendRef<'t>> {
        let mut members = Members::default();
        self.expect("{")?;
        loop {
            self.member(&mut members)?;
            if !self.take_token(",") {
                break;
            }
        }
        self.expect("}")?;

        Some(AppendRef {
            level: members.level?,
            service: members.service?,
            message: members.message?,
            ts: members.ts,
            trace: members.trace,
            fields: members.fields,
        })
    }

    /// Reads one member, which must not have come before.
    fn member(&mut self, members: &mut Members<'t>) -> Option<()> {
        if self.take_token("\"level\":") {
            put(&mut members.level, self.level()?)
        } else if self.take_token("\"service\":") {
            put(&mut members.service, self.text()?)
        } else if self.take_token("\"message\":") {
            put(&mut members.message, self.text()?)
        } else if self.take_token("\"ts\":") {
            let ts = self.integer().filter(|ts| *ts <= TS_MAX)?;
            put(&mut members.ts, ts)
        } else if self.take_token("\"trace\":") {
            put(&mut members.trace, self.text()?)
        } else if self.take_token("\"fields\":") {
            put(&mut members.fields, self.fields()?)
        } else {
            None
        }
    }

    fn level(&mut self) -> Option<Level> {
        let names = [
            ("\"info\"", Level::Info),
            ("\"debug\"", Level::Debug),
            ("\"warn\"", Level::Warn),
            ("\"error\"", Level::Error),
            ("\"trace\"", Level::Trace),
            ("\"fatal\"", Level::Fatal),
        ];
        let found = names.into_iter().find(|(name, _)| self.take(name));
        found.map(|(_, level)| level)
    }

    #[inline]
    fn text(&mut self) -> Option<Cow<'t, str>> {
        let inside = self.rest.strip_prefix('"')?;
        let length = memchr::memchr2(b'"', b'\\', inside.as_bytes())?;
        let (text, behind) = inside.split_at_checked(length)?;
        let Some(behind) = behind.strip_prefix('"') else {
            return self.escaped_text();
        };

        self.rest = behind;
        Some(Cow::Borrowed(text))
    }

    /// Reads a text with escapes.
    #[cold]
    fn escaped_text(&mut self) -> Option<Cow<'t, str>> {
        let mut scanner = Scanner::new(self.rest.as_bytes());
        scanner.string().ok()?;
        let (quoted, behind) = self.rest.split_at_checked(scanner.position())?;
        self.rest = behind;
        serde_json::from_str(quoted).ok().map(Cow::Owned)
    }

    /// Reads an integer of at most 16 digits.
    fn integer(&mut self) -> Option<u64> {
        let (mut value, mut length) = (0, 0);
        // 17 digits fit, and are too many.
        for byte in self.rest.bytes().take(17) {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            value = value * 10 + u64::from(digit);
            length += 1;
        }

        let has_leading_zero = length > 1 && self.rest.starts_with('0');
        self.rest = self.rest.get(length..)?;
        (matches!(length, 1..=16) && !has_leading_zero).then_some(value)
    }

    fn fields(&mut self) -> Option<FieldsRef<'t>> {
        let mut scanner = Scanner::new(self.rest.as_bytes());
        scanner.value(1).ok()?;
        let (text, behind) = self.rest.split_at_checked(scanner.position())?;
        self.rest = behind;
        FieldsRef::read(text).ok()
    }
}

/// The members that have come.
#[derive(Default)]
struct Members<'t> {
    level: Option<Level>,
    service: Option<Cow<'t, str>>,
    message: Option<Cow<'t, str>>,
    ts: Option<u64>,
    trace: Option<Cow<'t, str>>,
    fields: Option<FieldsRef<'t>>,
}

/// Puts a value where none was.
fn put<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::log::{Append, AppendBatch, Emit};
    use crate::frame::RawJson;

    const USUAL: [&str; 8] = [
        r#"{"level":"info","service":"s","message":"m"}"#,
        r#"{"message":"é, 100 %","level":"fatal","service":""}"#,
        r#"{"level": "info", "service": "s", "message": "m", "ts": 7, "trace": "t", "fields": {"a": 1}}"#,
        r#"{"level":"warn","service":"s","message":"a\u0062\n\"c\" \\","trace":"\ud83d\ude00"}"#,
        r#"{"level":"debug","service":"s","message":"m","ts":0}"#,
        r#"{"level":"trace","service":"s","message":"m","ts":253402300799999}"#,
        r#"{"level":"error","service":"s","message":"m","fields":{"b":1.50,"a":[{"c":"}"}]}}"#,
        r#"{"level":"info","service":"s","message":"m","fields":{}}"#,
    ];

    /// Whether a text is usual, in which case serde reads the same from it.
    fn is_usual(text: &str) -> bool {
        let Some(entry) = entry(text) else {
            return false;
        };

        let json = RawJson::parse(text).expect(text);
        let by_serde: AppendRef<'_> = json.decode_borrowed().expect(text);
        assert_eq!(entry, by_serde, "{text}");
        true
    }

    #[test]
    fn usual_entries_are_read_as_serde_reads_them() {
        for text in USUAL {
            assert!(is_usual(text), "{text}");
        }

        let others = [
            "",
            "{}",
            r#"{"level":"info","service":"s"}"#,
            r#"{"level":"info","service":"s","message":"m"} "#,
            r#"{"level":"info","service":"s","message":"m"}}"#,
            r#"{"level":"info","service":"s","message":"m",}"#,
            r#"{"level":"info","service":"s","message":"m","message":"m"}"#,
            r#"{"level":"info","service":"s","message":"m","trace":null}"#,
            r#"{"level":"info","service":"s","message":"m","extra":1}"#,
            r#"{"level":"warning","service":"s","message":"m"}"#,
            r#"{"level":"info","service":"s","message":"m","ts":07}"#,
            r#"{"level":"info","service":"s","message":"m","ts":253402300800000}"#,
            r#"{"level":"info","service":"s","message":"m","ts":11111111111111111}"#,
            r#"{"level":"info","service":"s","message":"m","ts":1.5}"#,
            r#"{"level":"info","service":"s","message":"\ud800"}"#,
            r#"{"level":"info","service":"s","message":"\x"}"#,
            r#"{"level":"info","service":"s","message":"m"#,
            r#"{"level":"info","service":"s","message":"m","fields":[]}"#,
            r#"{"level":"info","service":"s","message":"m","fields":{"a":1,"a":2}}"#,
            "{\"level\":\"info\",\"service\":\"s\",\"message\":\"\t\"}",
        ];
        for text in others {
            assert!(!is_usual(text), "{text}");
        }
    }

    #[test]
    fn a_usual_entry_borrows_what_is_not_escaped() {
        let text = r#"{"level":"info","service":"s","message":"a\tb"}"#;
        let AppendRef {
            service, message, ..
        } = entry(text).unwrap();
        assert!(matches!(service, Cow::Borrowed("s")));
        assert!(matches!(message, Cow::Owned(text) if text == "a\tb"));
    }

    #[test]
    fn whatever_is_changed_in_an_entry_what_is_read_is_what_serde_reads() {
        let mut random = fastrand::Rng::with_seed(7);
        let pieces = [
            "\"",
            "\\",
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            " ",
            "0",
            "1",
            "e",
            "null",
            "é",
            "\t",
            "\"ts\":1,",
            "\"fields\":{},",
            "\\u0061",
        ];

        let changes = 30_000;
        let mut usual = 0;
        for _ in 0..changes {
            let mut text: Vec<char> = random.choice(USUAL).unwrap().chars().collect();
            for _ in 0..random.usize(1..3) {
                let at = random.usize(..text.len());
                let until = (at + random.usize(..3)).min(text.len());
                text.splice(at..until, random.choice(pieces).unwrap().chars());
            }
            usual += u32::from(is_usual(&String::from_iter(text)));
        }
        assert!((1_000..changes - 1_000).contains(&usual), "{usual}");
    }

    #[test]
    fn the_entries_of_emits_and_batches_are_handed_on_in_their_order() {
        let entries = USUAL.join(",");
        let (mut emitted, mut batched) = (0, 0);

        let text = format!(r#"{{"entries":[{entries}]}}"#);
        let by_serde: Emit = serde_json::from_str(&text).unwrap();
        let mut each = by_serde.entries.iter();
        let read = emit(&text, |entry| {
            assert_eq!(each.next().map(AppendRef::from).as_ref(), Some(entry));
            emitted += 1;
        });
        assert!(read.is_some());

        let text = format!(r#"{{"producer":"p", "batch": 7, "entries":[{entries}]}}"#);
        let by_serde: AppendBatch = serde_json::from_str(&text).unwrap();
        let mut each = by_serde.entries.iter();
        let read = batch(&text, |entry| {
            assert_eq!(each.next().map(AppendRef::from).as_ref(), Some(entry));
            batched += 1;
        });
        assert_eq!(read, Some(("p".into(), 7)));
        assert_eq!((emitted, batched), (USUAL.len(), USUAL.len()));
    }

    #[test]
    fn other_emits_and_batches_are_left_to_serde() {
        let entry: &Append = &Append::new(Level::Info, "s", "m");
        let entry = serde_json::to_string(entry).unwrap();
        let of = |text: &str| text.replace('E', &entry);

        for text in [
            "E",
            r#"{"entries":[]}"#,
            r#"{"entries":[E,]}"#,
            r#"{"entries":[E}"#,
            r#"{"entries":[E]"#,
            r#"{"entries":[E]}}"#,
            r#"{"entries":[E],"level":"info"}"#,
            r#"{"entries":E}"#,
        ] {
            assert!(emit(&of(text), |_| ()).is_none(), "{text}");
        }
        for text in [
            r#"{"entries":[E]}"#,
            r#"{"producer":"p","batch":-1,"entries":[E]}"#,
            r#"{"producer":"p","batch":1.0,"entries":[E]}"#,
            r#"{"producer":1,"batch":1,"entries":[E]}"#,
            r#"{"producer":"p","batch":1,"entries":[E],"batch":1}"#,
            r#"{"producer":"p","batch":1,"entries":[]}"#,
        ] {
            assert!(batch(&of(text), |_| ()).is_none(), "{text}");
        }
    }
}
