//! Texts with placeholders, as `Bearer {secret.token}`.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::{MappingError, did_you_mean};

/// A place in a text that a value takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placeholder {
    /// `to`: the number, as +8613800138000.
    To,
    /// `to_digits`: the number without its `+`.
    ToDigits,
    /// `to_national`: the number without its calling code.
    ToNational,
    /// `country`: the country of the number, as CN.
    Country,
    /// `text`: the text of the message.
    Text,
    /// `sender`: who it seems to come from.
    Sender,
    /// `id`: the id of the message, with `-2` behind it in the second attempt.
    Id,
    /// `template`: the provider's name of the template.
    Template,
    /// `vars_json`: the variables of the template, as JSON.
    VarsJson,
    /// `segments`: the number of segments.
    Segments,
    /// `unicode`: true where the text is UCS-2, else false.
    Unicode,
    /// `unicode2`: 2 where the text is UCS-2, else 0, as Kannel's `coding`.
    Unicode2,
    /// `unicode.YES|NO`: YES where the text is UCS-2, else NO.
    IfUnicode(String, String),
    /// `callback`: the address that the gateway's receipts are taken at.
    Callback,
    /// `now_s`: seconds since 1970.
    NowS,
    /// `now_iso`: the time in UTC, as 2026-11-30T08:00:00Z.
    NowIso,
    /// `nonce`: 32 random digits of base 16, others for each attempt.
    Nonce,
    /// `secret.NAME`: a secret of the gateway.
    Secret(String),
    /// `var.NAME`: a variable of the template.
    Var(String),
}

/// The placeholders that stand alone.
const NAMES: [(&str, Placeholder); 16] = [
    ("to", Placeholder::To),
    ("to_digits", Placeholder::ToDigits),
    ("to_national", Placeholder::ToNational),
    ("country", Placeholder::Country),
    ("text", Placeholder::Text),
    ("sender", Placeholder::Sender),
    ("id", Placeholder::Id),
    ("template", Placeholder::Template),
    ("vars_json", Placeholder::VarsJson),
    ("segments", Placeholder::Segments),
    ("unicode", Placeholder::Unicode),
    ("unicode2", Placeholder::Unicode2),
    ("callback", Placeholder::Callback),
    ("now_s", Placeholder::NowS),
    ("now_iso", Placeholder::NowIso),
    ("nonce", Placeholder::Nonce),
];

impl Placeholder {
    fn parse(name: &str) -> Result<Self, MappingError> {
        let named = |prefix| {
            name.strip_prefix(prefix)
                .filter(|rest: &&str| !rest.is_empty())
                .map(str::to_owned)
        };
        if let Some(secret) = named("secret.") {
            return Ok(Self::Secret(secret));
        }
        if let Some((yes, no)) = named("unicode.")
            .as_deref()
            .and_then(|rest| rest.split_once('|'))
        {
            return Ok(Self::IfUnicode(yes.to_owned(), no.to_owned()));
        }
        if let Some(variable) = named("var.") {
            return Ok(Self::Var(variable));
        }

        let found = NAMES.iter().find(|(known, _)| *known == name);
        found
            .map(|(_, placeholder)| placeholder.clone())
            .ok_or_else(|| {
                let known = NAMES.map(|(known, _)| known);
                let near = did_you_mean(name, known);
                let known = known.join(", ");
                MappingError::new(format!(
                    "there is no placeholder {{{name}}}{near} They are {known}, unicode.YES|NO, var.NAME and secret.NAME"
                ))
            })
    }
}

/// A text with placeholders, read once and rendered for each attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormatString(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Value(Placeholder),
}

impl FormatString {
    /// Reads a text. `{{` and `}}` stand for braces.
    ///
    /// # Errors
    /// A placeholder that does not exist, a brace without its counterpart.
    pub fn parse(text: &str) -> Result<Self, MappingError> {
        let (mut parts, mut literal, mut rest) = (Vec::new(), String::new(), text);

        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            let behind = &rest[at + 1..];

            if let Some(next) = behind.strip_prefix(brace) {
                literal.push_str(brace);
                rest = next;
                continue;
            }

            let end = behind.find('}').filter(|_| brace == "{").ok_or_else(|| {
                MappingError::new(format!(
                    "`{brace}` has no counterpart; write {{{{ or }}}} for a brace itself"
                ))
            })?;
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(Part::Value(Placeholder::parse(&behind[..end])?));
            rest = &behind[end + 1..];
        }

        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self(parts))
    }

    /// Its placeholders.
    pub fn placeholders(&self) -> impl Iterator<Item = &Placeholder> {
        self.0.iter().filter_map(|part| match part {
            Part::Value(placeholder) => Some(placeholder),
            Part::Literal(_) => None,
        })
    }

    /// The text with values in the places of its placeholders.
    pub fn render<'v>(&self, value: impl Fn(&Placeholder) -> Cow<'v, str>) -> String {
        let mut rendered = String::new();
        for part in &self.0 {
            match part {
                Part::Literal(literal) => rendered.push_str(literal),
                Part::Value(placeholder) => rendered.push_str(&value(placeholder)),
            }
        }
        rendered
    }
}

/// Encodes a value for a place in an address or a form (RFC 3986, section 2.1): nothing breaks out of it.
pub fn percent_encoded(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_checked_and_braces_can_be_written() {
        let text = FormatString::parse("a{{b}}c {to} {secret.key} {var.x} {unicode.a|b}").unwrap();
        let found: Vec<_> = text.placeholders().cloned().collect();
        assert_eq!(
            found,
            [
                Placeholder::To,
                Placeholder::Secret("key".into()),
                Placeholder::Var("x".into()),
                Placeholder::IfUnicode("a".into(), "b".into()),
            ]
        );
        assert_eq!(text.render(|_| "v".into()), "a{b}c v v v v");

        for (wrong, expected) in [
            (
                "{too}",
                "no placeholder {too}; did you mean \"to\"? They are to, to_digits",
            ),
            ("{secret.}", "no placeholder {secret.}"),
            ("{unicode.a}", "unicode.YES|NO"),
            ("{to", "`{` has no counterpart"),
            ("to}", "`}` has no counterpart"),
            ("{}", "no placeholder {}"),
        ] {
            let error = FormatString::parse(wrong).unwrap_err().to_string();
            assert!(error.contains(expected), "{wrong}: {error}");
        }
    }

    #[test]
    fn each_byte_that_could_mean_something_is_encoded() {
        assert_eq!(
            percent_encoded("aZ9-._~ +&=?/%ü\r\n"),
            "aZ9-._~%20%2B%26%3D%3F%2F%25%C3%BC%0D%0A"
        );
    }
}
