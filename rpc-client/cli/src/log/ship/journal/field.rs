//! Values of fields as `journalctl` writes them in JSON.

use std::fmt;

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};

/// The texts of a field: one as a rule, several if the field comes several times, and none if it was too long for
/// `journalctl`. Bytes that are not UTF-8 are replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Texts(Vec<String>);

impl Texts {
    pub(super) fn of(text: &str) -> Self {
        Self(vec![text.to_owned()])
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let part = Part::deserialize(deserializer)?;
        Ok(Self(match part {
            Part::Nothing => Vec::new(),
            // As no journal has it; it is as good as its text.
            Part::Byte(byte) => vec![byte.to_string()],
            Part::Texts(texts) => texts,
        }))
    }
}

/// A value, or one inside of an array.
enum Part {
    Nothing,
    Byte(u8),
    Texts(Vec<String>),
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PartVisitor)
    }
}

struct PartVisitor;

impl<'de> Visitor<'de> for PartVisitor {
    type Value = Part;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, an array of bytes, or an array of these")
    }

    fn visit_unit<E>(self) -> Result<Part, E> {
        Ok(Part::Nothing)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Part, E> {
        let byte = u8::try_from(number);
        byte.map(Part::Byte)
            .map_err(|_| E::custom("a byte is at most 255"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Part, E> {
        Ok(Part::Texts(vec![text.to_owned()]))
    }

    /// The bytes of one text, or several texts.
    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Part, A::Error> {
        let mut bytes = Vec::new();
        let mut texts = Vec::new();
        while let Some(part) = parts.next_element()? {
            match part {
                Part::Nothing => {}
                Part::Byte(byte) => bytes.push(byte),
                Part::Texts(more) => texts.extend(more),
            }
        }

        if texts.is_empty() {
            texts.push(String::from_utf8_lossy(&bytes).into_owned());
        }
        Ok(Part::Texts(texts))
    }
}
