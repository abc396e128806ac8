//! JSON for a terminal: indented and coloured, with its tokens as the server sent them.

use std::borrow::Cow;

/// How tokens are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colours {
    On,
    Off,
}

impl Colours {
    /// Those that the environment asks for: none where `NO_COLOR` is set to anything (no-color.org), or for a terminal
    /// that has none.
    pub(crate) fn of_environment() -> Self {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");

        if is_set("NO_COLOR") || is_dumb {
            Self::Off
        } else {
            Self::On
        }
    }
}

/// How a value is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// A line for each value of an object or array.
    Indented,
    /// One line for all.
    Line,
}

/// A token of JSON.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Key,
    Text,
    Number,
    /// `true`, `false`, `null`.
    Word,
}

impl Token {
    /// The colour's number in SGR (ECMA-48 section 8.3.117).
    fn colour(self) -> &'static str {
        match self {
            Self::Key => "34",
            Self::Text => "32",
            Self::Number => "36",
            Self::Word => "35",
        }
    }
}

/// Lays out a JSON value. Its tokens stay as they are: read into values, large numbers would change.
pub(crate) fn lay_out(json: &str, layout: Layout, colours: Colours) -> String {
    let mut view = View {
        out: String::with_capacity(json.len() * 2),
        depth: 0,
        layout,
        colours,
    };
    let mut rest = json.trim();

    while let Some(first) = rest.chars().next() {
        let length = match first {
            '{' | '[' => view.open(rest),
            '}' | ']' => view.close(first),
            ',' => view.comma(),
            ':' => view.colon(),
            ' ' | '\t' | '\n' | '\r' => 1,
            _ => view.token(rest),
        };
        rest = &rest[length..];
    }

    view.out
}

struct View {
    out: String,
    depth: usize,
    layout: Layout,
    colours: Colours,
}

/// Each method writes the token that the text begins with, and returns its length.
impl View {
    fn open(&mut self, text: &str) -> usize {
        self.out.push_str(&text[..1]);

        let behind = text[1..].trim_start();
        if behind.starts_with(['}', ']']) {
            self.out.push_str(&behind[..1]);
            return text.len() - behind.len() + 1;
        }

        self.depth += 1;
        self.break_line();
        1
    }

    fn close(&mut self, bracket: char) -> usize {
        self.depth = self.depth.saturating_sub(1);
        self.break_line();
        self.out.push(bracket);
        1
    }

    fn comma(&mut self) -> usize {
        self.out.push(',');
        match self.layout {
            Layout::Indented => self.break_line(),
            Layout::Line => self.out.push(' '),
        }
        1
    }

    fn colon(&mut self) -> usize {
        self.out.push_str(": ");
        1
    }

    fn token(&mut self, text: &str) -> usize {
        let length = token_length(text);
        let (token, behind) = text.split_at(length);

        let kind = match token.as_bytes()[0] {
            b'"' if behind.trim_start().starts_with(':') => Token::Key,
            b'"' => Token::Text,
            b'-' | b'0'..=b'9' => Token::Number,
            _ => Token::Word,
        };
        self.out.push_str(&self.coloured(token, kind));
        length
    }

    fn coloured<'t>(&self, token: &'t str, kind: Token) -> Cow<'t, str> {
        match self.colours {
            Colours::On => Cow::Owned(format!("\x1b[{}m{token}\x1b[0m", kind.colour())),
            Colours::Off => Cow::Borrowed(token),
        }
    }

    fn break_line(&mut self) {
        if self.layout == Layout::Indented {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n("  ", self.depth));
        }
    }
}

/// The length of the string, number or word that the text begins with.
fn token_length(text: &str) -> usize {
    if !text.starts_with('"') {
        let ends = |char: char| char.is_ascii_whitespace() || ",:{}[]\"".contains(char);
        return text.find(ends).unwrap_or(text.len());
    }

    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str =
        r#"{"b": 12345678901234567890123,"a":[ ],"c":[1.50,{"d":"\",:{\"\\"}], "e":{}}"#;

    #[test]
    fn json_for_people_has_the_tokens_that_the_server_sent() {
        let indented = lay_out(JSON, Layout::Indented, Colours::Off);
        assert_eq!(
            indented.lines().collect::<Vec<_>>(),
            [
                "{",
                r#"  "b": 12345678901234567890123,"#,
                r#"  "a": [],"#,
                r#"  "c": ["#,
                "    1.50,",
                "    {",
                r#"      "d": "\",:{\"\\""#,
                "    }",
                "  ],",
                r#"  "e": {}"#,
                "}",
            ]
        );

        assert_eq!(
            lay_out(JSON, Layout::Line, Colours::Off),
            r#"{"b": 12345678901234567890123, "a": [], "c": [1.50, {"d": "\",:{\"\\"}], "e": {}}"#
        );
    }

    #[test]
    fn colours_tell_keys_texts_numbers_and_words_apart_and_leave_the_text_as_it_is() {
        assert_eq!(
            lay_out(r#"{"a":["b",-1,null]}"#, Layout::Line, Colours::On),
            "{\x1b[34m\"a\"\x1b[0m: [\x1b[32m\"b\"\x1b[0m, \x1b[36m-1\x1b[0m, \x1b[35mnull\x1b[0m]}"
        );

        for layout in [Layout::Indented, Layout::Line] {
            let mut coloured = lay_out(JSON, layout, Colours::On);
            for code in ["\x1b[0m", "\x1b[34m", "\x1b[32m", "\x1b[36m", "\x1b[35m"] {
                coloured = coloured.replace(code, "");
            }
            assert_eq!(coloured, lay_out(JSON, layout, Colours::Off));
        }
    }

    #[test]
    fn what_is_not_json_is_shown_as_it_is_without_an_end() {
        for text in ["", "\"", "\"\\", "}", "][", "{\"a\"", "é", "1 2"] {
            let shown = lay_out(text, Layout::Line, Colours::Off);
            assert_eq!(shown.replace(' ', ""), text.replace(' ', ""), "{text}");
        }
    }
}
