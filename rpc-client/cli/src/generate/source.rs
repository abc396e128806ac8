//! Source text of other languages: lines, and what a server says made safe within them.

use rpc_core::printable::is_printable;

/// Longest line, where that can be had.
pub(crate) const WIDTH: usize = 120;

/// A part of an expression.
pub(crate) enum Piece {
    Text(String),
    /// The text between brackets, with commas.
    List {
        begin: String,
        pieces: Vec<Piece>,
        end: &'static str,
    },
}

impl Piece {
    pub(crate) fn list(begin: impl Into<String>, pieces: Vec<Piece>, end: &'static str) -> Self {
        Self::List {
            begin: begin.into(),
            pieces,
            end,
        }
    }

    fn on_one_line(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::List { begin, pieces, end } => {
                let pieces: Vec<_> = pieces.iter().map(Self::on_one_line).collect();
                format!("{begin}{}{end}", pieces.join(", "))
            }
        }
    }
}

impl<T: Into<String>> From<T> for Piece {
    fn from(text: T) -> Self {
        Self::Text(text.into())
    }
}

/// Lines at a depth.
pub(crate) struct Source {
    text: String,
    indent: &'static str,
    depth: usize,
}

impl Source {
    pub(crate) fn new(indent: &'static str) -> Self {
        Self {
            text: String::new(),
            indent,
            depth: 0,
        }
    }

    pub(crate) fn line(&mut self, line: &str) {
        if !line.is_empty() {
            self.text.push_str(&self.indent.repeat(self.depth));
            self.text.push_str(line);
        }
        self.text.push('\n');
    }

    pub(crate) fn lines<L: AsRef<str>>(&mut self, lines: impl IntoIterator<Item = L>) {
        for line in lines {
            self.line(line.as_ref());
        }
    }

    /// Empty lines, but none at the beginning.
    pub(crate) fn blank(&mut self, lines: usize) {
        if !self.text.is_empty() {
            self.text.push_str(&"\n".repeat(lines));
        }
    }

    /// What `write` writes, a step further in.
    pub(crate) fn inner(&mut self, write: impl FnOnce(&mut Self)) {
        self.depth += 1;
        write(self);
        self.depth -= 1;
    }

    /// An expression and what follows it: on one line where it fits, otherwise with a line for each of its pieces.
    pub(crate) fn piece(&mut self, piece: &Piece, tail: &str) {
        let line = format!("{}{tail}", piece.on_one_line());
        match piece {
            Piece::List { begin, pieces, end } if line.chars().count() > self.width() => {
                self.line(begin.trim_end());
                self.inner(|out| pieces.iter().for_each(|piece| out.piece(piece, ",")));
                self.line(&format!("{}{tail}", end.trim_start()));
            }
            _ => self.line(&line),
        }
    }

    /// How long a line may be at this depth.
    pub(crate) fn width(&self) -> usize {
        WIDTH - self.depth * self.indent.len()
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

/// Text from a server as lines of a comment or a docstring: what cannot be seen is shown as an escape.
pub(crate) fn doc_lines(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for paragraph in paragraphs(text) {
        let mut line = String::new();
        // The further lines of a list item are indented to the text after its mark.
        let hanging = if paragraph.starts_with("- ") { " " } else { "" };
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
                lines.push(std::mem::replace(&mut line, hanging.to_owned()));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&visible(word));
        }
        lines.push(line);
    }
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

/// The paragraphs of a text, each on one line, with its list items, tags and lines of code apart: the lines of doc comments
/// are wrapped, and are wrapped again at another width.
fn paragraphs(text: &str) -> Vec<String> {
    const MARKS: [&str; 6] = ["- ", "* ", "@", "#", "|", "```"];

    let mut paragraphs: Vec<String> = Vec::new();
    let mut is_code = false;
    let mut is_open = false;
    for line in text.lines().map(str::trim_end) {
        let is_fence = line.starts_with("```");
        let is_new = is_code || MARKS.iter().any(|mark| line.starts_with(mark));

        match paragraphs.last_mut() {
            Some(paragraph) if is_open && !is_new && !line.is_empty() => {
                paragraph.push(' ');
                paragraph.push_str(line);
            }
            _ => paragraphs.push(line.to_owned()),
        }
        is_code ^= is_fence;
        is_open = !line.is_empty() && !is_fence;
    }
    paragraphs
}

fn visible(text: &str) -> String {
    let escape = |char: char| match char {
        char if is_printable(char) => char.to_string(),
        char => format!("\\u{:04x}", u32::from(char)),
    };
    text.chars().map(escape).collect()
}

/// A literal of a text, as both Python and TypeScript read it.
pub(crate) fn quoted(text: &str) -> String {
    let mut literal = String::from('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => literal.extend(['\\', char]),
            char => literal.push_str(&visible(&char.to_string())),
        }
    }
    literal.push('"');
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_a_server_stays_within_its_quotes_and_lines() {
        assert_eq!(quoted("a\"b\\\n\u{202e}é"), "\"a\\\"b\\\\\\u000a\\u202eé\"");
        assert_eq!(
            doc_lines("one two three\n\nfour\u{1b}\n", 8),
            ["one two", "three", "", "four\\u001b"]
        );
    }

    #[test]
    fn paragraphs_that_were_wrapped_are_wrapped_anew_and_lists_tags_and_code_are_not_joined() {
        let text = "one\ntwo three\n- four\n  five\n- six\n@tag\n\n```\na\nb\n```\nseven\neight";
        assert_eq!(
            doc_lines(text, 13),
            [
                "one two three",
                "- four five",
                "- six",
                "@tag",
                "",
                "```",
                "a",
                "b",
                "```",
                "seven eight"
            ]
        );
    }
}
