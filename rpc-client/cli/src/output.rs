//! Output: data to standard output, everything else to standard error.

use std::fmt::Write as _;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rpc_core::printable::{PrintableJson, is_printable};
use tokio::io::AsyncWrite;

use crate::exit::Failure;
use crate::view::{Colours, Layout, lay_out};

/// Lines for standard output, gathered until [`flush`](Self::flush).
pub(crate) struct Output<W: Write = Stdout> {
    writer: BufWriter<W>,
    reader: Reader,
}

/// Where the lines of an output go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// It obeys control characters.
    Terminal,
    /// A file or a program, which wants the bytes as they are.
    Other,
}

impl Output {
    pub(crate) fn new() -> Self {
        let reader = if Self::is_terminal() {
            Reader::Terminal
        } else {
            Reader::Other
        };
        Self::to(io::stdout(), reader)
    }

    pub(crate) fn is_terminal() -> bool {
        io::stdout().is_terminal()
    }
}

impl<W: Write> Output<W> {
    fn to(writer: W, reader: Reader) -> Self {
        let writer = BufWriter::with_capacity(64 * 1024, writer);
        Self { writer, reader }
    }

    /// A line for people: what would steer a terminal is escaped, wherever it goes.
    pub(crate) fn text(&mut self, line: &str) -> Result<(), Failure> {
        self.line(&printable(line))
    }

    /// One JSON value: as it is, but for a terminal escaped within its strings, so that it means the same.
    pub(crate) fn json(&mut self, json: &str) -> Result<(), Failure> {
        match self.reader {
            Reader::Other => self.line(json),
            Reader::Terminal => self.line(&PrintableJson(json).to_string()),
        }
    }

    /// One JSON value to look at: on a terminal indented and coloured, elsewhere as [`json`](Self::json) writes it.
    pub(crate) fn value(&mut self, json: &str) -> Result<(), Failure> {
        self.show(json, Layout::Indented)
    }

    /// One of many JSON values: on a terminal coloured, one a line, elsewhere as [`json`](Self::json) writes it.
    pub(crate) fn item(&mut self, json: &str) -> Result<(), Failure> {
        self.show(json, Layout::Line)
    }

    fn show(&mut self, json: &str, layout: Layout) -> Result<(), Failure> {
        match self.reader {
            Reader::Other => self.line(json),
            Reader::Terminal => {
                // Escaped first: the colours are what the terminal is to obey.
                let escaped = PrintableJson(json).to_string();
                self.line(&lay_out(&escaped, layout, Colours::of_environment()))
            }
        }
    }

    /// A line for people whose texts are escaped already: what steers a terminal in it is meant.
    pub(crate) fn laid_out(&mut self, line: &str) -> Result<(), Failure> {
        self.line(line)
    }

    fn line(&mut self, line: &str) -> Result<(), Failure> {
        let written = self
            .writer
            .write_all(line.as_bytes())
            .and_then(|()| self.writer.write_all(b"\n"));
        written.map_err(|error| Failure::stdout(&error))
    }

    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.writer.flush().map_err(|error| Failure::stdout(&error))
    }
}

/// Lines of JSON on their way to a terminal, as [`Output::json`] writes them there. They leave when this is
/// flushed; until then they are kept, so a writer flushes after some of them.
pub(crate) struct Escaped<W> {
    terminal: W,
    /// What has come and is not a whole line yet.
    line: Vec<u8>,
    /// What is to be written.
    ready: Vec<u8>,
}

impl<W> Escaped<W> {
    pub(crate) fn new(terminal: W) -> Self {
        Self {
            terminal,
            line: Vec::new(),
            ready: Vec::new(),
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if let Some(line) = self.line.strip_suffix(b"\n") {
                let line = String::from_utf8_lossy(line);
                let escaped = format!("{}\n", PrintableJson(&line));
                self.ready.extend_from_slice(escaped.as_bytes());
                self.line.clear();
            }
        }
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Escaped<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self {
            terminal, ready, ..
        } = &mut *self;
        while !ready.is_empty() {
            let written = ready!(Pin::new(&mut *terminal).poll_write(cx, ready))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            ready.drain(..written);
        }

        Pin::new(terminal).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.terminal).poll_shutdown(cx)
    }
}

/// Writes a line to standard error. There is no better place to say that this failed.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{}", printable(line));
}

/// Text for one line of a terminal: what would steer the terminal or the direction of the text is shown, not
/// obeyed. A tab stays, and so does text that has been through here before.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\n' => out.push_str("\\n"),
            '\t' => out.push('\t'),
            char if is_printable(char) => out.push(char),
            char => {
                let _ = write!(out, "\\u{:04x}", u32::from(char));
            }
        }
    }

    out
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[test]
    fn what_would_steer_a_terminal_is_shown_instead() {
        assert_eq!(printable("a\tb é"), "a\tb é");
        assert_eq!(
            printable("\u{1b}[2J\nrpc: fine\u{9b}\u{61c}\u{202e}"),
            "\\u001b[2J\\nrpc: fine\\u009b\\u061c\\u202e"
        );
    }

    #[tokio::test]
    async fn lines_of_json_are_escaped_in_whatever_pieces_they_come() {
        let lines = "{\"a\":\"\u{9b}é\"}\n[1]\n".as_bytes();
        for size in 1..=lines.len() {
            let mut terminal = Vec::new();
            let mut escaped = Escaped::new(&mut terminal);
            for piece in lines.chunks(size) {
                escaped.write_all(piece).await.unwrap();
                escaped.flush().await.unwrap();
            }

            assert_eq!(
                String::from_utf8(terminal).unwrap(),
                "{\"a\":\"\\u009bé\"}\n[1]\n"
            );
        }
    }

    #[test]
    fn a_value_is_laid_out_for_a_terminal_and_passed_through_elsewhere() {
        let json = "{\"a\":\"\u{9b}2J\"}";
        let written = |reader| {
            let mut bytes = Vec::new();
            let mut output = Output::to(&mut bytes, reader);
            assert!(output.value(json).is_ok() && output.flush().is_ok());
            drop(output);
            String::from_utf8(bytes).unwrap()
        };

        assert_eq!(written(Reader::Other), format!("{json}\n"));

        let shown = written(Reader::Terminal);
        assert!(
            shown.starts_with("{\n  ") && shown.contains("\\u009b2J"),
            "{shown}"
        );
        assert!(!shown.contains('\u{9b}'), "{shown}");
    }

    #[test]
    fn json_is_escaped_for_a_terminal_and_passed_through_elsewhere() {
        let json = "{\"a\":\t\"\u{9b}2J\u{202e}\\n é\"}";
        let written = |reader| {
            let mut bytes = Vec::new();
            let mut output = Output::to(&mut bytes, reader);
            assert!(output.json(json).is_ok() && output.flush().is_ok());
            drop(output);
            String::from_utf8(bytes).unwrap()
        };

        assert_eq!(written(Reader::Other), format!("{json}\n"));
        assert_eq!(
            written(Reader::Terminal),
            "{\"a\": \"\\u009b2J\\u202e\\n é\"}\n"
        );
    }
}
