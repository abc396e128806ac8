//! Names of other languages, made of those that a server sends.

use std::collections::BTreeSet;

/// `log_entry`, `logEntry` and `log-entry` as `LogEntry`: the name of a class.
pub(crate) fn pascal(text: &str) -> String {
    let words = words(text);
    let words = words.iter().map(|word| {
        let (first, rest) = word.split_at(1);
        first.to_uppercase() + rest
    });
    beginning_with_a_letter(words.collect(), "N")
}

/// The same as `logEntry`: the name of a method in TypeScript.
pub(crate) fn camel(text: &str) -> String {
    let name = pascal(text);
    let (first, rest) = name.split_at(1);
    first.to_lowercase() + rest
}

/// The same as `log_entry`: the name of a method or an argument in Python.
pub(crate) fn snake(text: &str) -> String {
    let name = words(text).join("_").to_lowercase();
    beginning_with_a_letter(name, "n")
}

/// The same as `LOG_ENTRY`: the name of a constant.
pub(crate) fn shouted(text: &str) -> String {
    snake(text).to_uppercase()
}

/// Runs of ASCII letters and digits, cut where a small letter is followed by a capital.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut last = ' ';
    for char in text.chars() {
        let begins = !last.is_ascii_alphanumeric()
            || char.is_ascii_uppercase() && !last.is_ascii_uppercase();
        if char.is_ascii_alphanumeric() {
            match words.last_mut().filter(|_| !begins) {
                Some(word) => word.push(char),
                None => words.push(char.to_string()),
            }
        }
        last = char;
    }
    words
}

fn beginning_with_a_letter(name: String, letter: &str) -> String {
    match name.chars().next() {
        Some(first) if first.is_ascii_alphabetic() => name,
        _ => format!("{letter}{name}"),
    }
}

/// Whether other languages take it for a name as it is.
pub(crate) fn is_identifier(text: &str) -> bool {
    let is_letter = |char: char| char.is_ascii_alphabetic() || char == '_';
    text.starts_with(is_letter) && text.chars().all(|it| is_letter(it) || it.is_ascii_digit())
}

/// The names of one scope, each of them given once.
#[derive(Default)]
pub(crate) struct Names {
    taken: BTreeSet<String>,
}

impl Names {
    /// A scope in which these names mean something already.
    pub(crate) fn without(reserved: &[&str]) -> Self {
        Self {
            taken: reserved.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    /// Takes a name, so that no other thing gets it.
    pub(crate) fn take(&mut self, name: &str) {
        self.taken.insert(name.to_owned());
    }

    /// The first of these names that is free; the last one with a number where none is.
    pub(crate) fn claim(&mut self, candidates: &[String]) -> String {
        let last = candidates.last().cloned().unwrap_or_default();
        let numbered = (2..).map(|number| format!("{last}{number}"));
        let free = candidates
            .iter()
            .cloned()
            .chain(numbered)
            .find(|name| !self.taken.contains(name));

        let name = free.unwrap_or_default();
        self.taken.insert(name.clone());
        name
    }

    /// A name for a member: with `_` behind it where it is taken.
    pub(crate) fn claim_member(&mut self, name: &str) -> String {
        self.claim(&[name.to_owned(), format!("{name}_")])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_of_whatever_a_server_sends() {
        let made = |text| [pascal(text), camel(text), snake(text)];
        assert_eq!(
            made("append_batch"),
            ["AppendBatch", "appendBatch", "append_batch"]
        );
        assert_eq!(made("SoldOut"), ["SoldOut", "soldOut", "sold_out"]);
        assert_eq!(made("X-Y z"), ["XYZ", "xYZ", "x_y_z"]);
        assert_eq!(made("2nd"), ["N2nd", "n2nd", "n2nd"]);
        assert_eq!(made("é\n\"\"\""), ["N", "n", "n"]);
    }

    #[test]
    fn a_name_that_is_taken_becomes_another_one() {
        let mut names = Names::without(&["from"]);
        assert_eq!(names.claim_member("from"), "from_");
        assert_eq!(names.claim_member("from"), "from_2");
        let candidates = ["Level".to_owned(), "LogLevel".to_owned()];
        assert_eq!(names.claim(&candidates), "Level");
        assert_eq!(names.claim(&candidates), "LogLevel");
        assert_eq!(names.claim(&candidates), "LogLevel2");
    }
}
