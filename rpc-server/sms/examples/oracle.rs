//! Answers lines of JSON strings on standard input with what this crate thinks of them, one line each, for
//! `.ci/sms`, which asks other implementations the same.
//!
//! `oracle layout` prints the encoding and the number of segments of a text; `oracle number` the country and the
//! kind of a number, or `-` and the reason that it is refused.

use std::io::{BufWriter, Write};

use rpc_sms::number::Number;
use rpc_sms::text::Layout;

fn main() {
    let mode = std::env::args().nth(1).unwrap_or_default();
    let answer = match mode.as_str() {
        "layout" => layout,
        "number" => number,
        _ => panic!("`oracle {mode}`: give `layout` or `number`"),
    };

    let mut out = BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lines() {
        let line = line.expect("standard input can be read");
        let text: String = serde_json::from_str(&line).expect("each line is a JSON string");
        writeln!(out, "{}", answer(&text)).expect("standard output can be written");
    }
}

fn layout(text: &str) -> String {
    let Layout { encoding, segments } = Layout::of(text);
    format!("{} {segments}", encoding.as_str())
}

fn number(text: &str) -> String {
    match Number::parse(text, None) {
        Ok(number) => format!("{} {}", number.country(), number.kind().as_str()),
        Err(error) => format!("- {error}"),
    }
}
