//! The record of a key in the files.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// A key, as the line of its entry has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::store) struct KeyOf<'a> {
    /// The key.
    #[serde(borrow)]
    pub(in crate::store) id: Cow<'a, str>,
    /// The identity that it belongs to; empty for callers that have not authenticated.
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    pub(in crate::store) by: Cow<'a, str>,
    /// The fingerprint of the params, as 32 hexadecimal digits.
    #[serde(with = "hex")]
    pub(in crate::store) hash: u128,
}

/// A key of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KnownKey<'a> {
    #[serde(borrow)]
    pub(super) key: KeyOf<'a>,
    /// The number of its entry.
    pub(super) seq: u64,
    /// How old it was, in milliseconds.
    pub(super) age_ms: i64,
}

impl KeyOf<'_> {
    pub(super) fn into_owned(self) -> KeyOf<'static> {
        KeyOf {
            id: self.id.into_owned().into(),
            by: self.by.into_owned().into(),
            hash: self.hash,
        }
    }
}

impl KnownKey<'_> {
    pub(super) fn into_owned(self) -> KnownKey<'static> {
        KnownKey {
            key: self.key.into_owned(),
            ..self
        }
    }
}

/// Numbers as hexadecimal digits.
pub(super) mod hex {
    use std::borrow::Cow;

    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    const DIGITS: usize = 32;

    pub(in super::super) fn serialize<S: Serializer>(
        number: &u128,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{number:032x}"))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<u128, D::Error> {
        let digits = Cow::<str>::deserialize(deserializer)?;
        let number = u128::from_str_radix(&digits, 16).ok();
        number
            .filter(|_| digits.len() == DIGITS)
            .ok_or_else(|| D::Error::custom("it must have 32 hexadecimal digits"))
    }
}
