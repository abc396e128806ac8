//! Standard output: data and nothing else.

use std::fmt::Write as _;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use crate::exit::Failure;

/// Lines for standard output, gathered until [`flush`](Self::flush).
pub(crate) struct Output(BufWriter<Stdout>);

impl Output {
    pub(crate) fn new() -> Self {
        Self(BufWriter::with_capacity(64 * 1024, io::stdout()))
    }

    pub(crate) fn line(&mut self, line: &str) -> Result<(), Failure> {
        let written = self
            .0
            .write_all(line.as_bytes())
            .and_then(|()| self.0.write_all(b"\n"));
        written.map_err(|error| Failure::stdout(&error))
    }

    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.0.flush().map_err(|error| Failure::stdout(&error))
    }

    pub(crate) fn is_terminal() -> bool {
        io::stdout().is_terminal()
    }
}

/// Text that came over the wire, for one line of a terminal: control characters are shown, not
/// obeyed.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\n' => out.push_str("\\n"),
            '\t' => out.push('\t'),
            char if char.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(char));
            }
            char => out.push(char),
        }
    }

    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_steer_a_terminal_is_shown_instead() {
        assert_eq!(printable("a\tb é"), "a\tb é");
        assert_eq!(
            printable("\u{1b}[2J\nrpc: fine\u{9b}"),
            "\\u001b[2J\\nrpc: fine\\u009b"
        );
    }
}
