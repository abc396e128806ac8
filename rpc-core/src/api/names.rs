//! The error of a name that is not known.

use std::error::Error;
use std::fmt;

/// A name that is not known, as of a level or of a status.
///
/// ```
/// use rpc_core::api::UnknownName;
/// use rpc_core::api::log::Level;
///
/// let error: UnknownName = "loud".parse::<Level>().unwrap_err();
/// assert_eq!(error.name(), "loud");
/// assert!(error.known().contains(&"info"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownName {
    what: String,
    name: String,
    known: Vec<&'static str>,
}

impl UnknownName {
    /// `what` is the type of the name, as it is written in Rust.
    pub(super) fn new(
        what: &str,
        name: &str,
        known: impl IntoIterator<Item = &'static str>,
    ) -> Self {
        Self {
            what: in_words(what),
            name: name.to_owned(),
            known: known.into_iter().collect(),
        }
    }

    /// The name that is not known.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The known names.
    pub fn known(&self) -> &[&'static str] {
        &self.known
    }
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, name, known } = self;
        let known = known.join(", ");
        write!(f, "unknown {what} `{name}`, expected one of {known}")
    }
}

impl Error for UnknownName {}

/// The words of a type's name: `opt out scope` of `OptOutScope`.
fn in_words(name: &str) -> String {
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_says_what_the_name_is_of_and_which_there_are() {
        let error = UnknownName::new("OptOutScope", "al", ["all", "sender"]);
        assert_eq!(
            error.to_string(),
            "unknown opt out scope `al`, expected one of all, sender"
        );
    }
}
