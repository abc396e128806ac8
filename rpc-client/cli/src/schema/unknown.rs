//! Fields that a schema does not know, and the known one that was most likely meant.

use serde_json::{Map, Value};

use super::Schema;
use super::check::Misfit;

/// Slips of the hand by which a field may differ from the one that was meant.
const SLIPS_MAX: usize = 2;
/// Letters of a name for each slip, where the server would ignore the field: any two short names are alike.
const LETTERS_PER_SLIP: usize = 4;

/// Keywords by which other schemas know of fields of the same object.
const COMPOSING: [&str; 9] = [
    "allOf",
    "anyOf",
    "oneOf",
    "if",
    "patternProperties",
    "dependentSchemas",
    "unevaluatedProperties",
    "propertyNames",
    "not",
];

impl<'a> Schema<'a> {
    /// Refuses a field that is forbidden, and one that the server would ignore though a known one was meant.
    pub(super) fn check_unknown(
        self,
        object: &Map<String, Value>,
        field: &str,
    ) -> Result<(), Misfit> {
        for name in self.unknown_fields(object) {
            let misfit = |reason: String| {
                Err(Misfit {
                    field: format!("{field}.{name}"),
                    reason,
                })
            };

            if self.get("additionalProperties") == Some(&Value::Bool(false)) {
                let names: Vec<_> = self.names().collect();
                return misfit(match names.as_slice() {
                    [] => "unknown; there are no fields".to_owned(),
                    names => format!("unknown{}", self.meant(name, "", names)),
                });
            }
            if let Some(meant) = self.slip(name, object) {
                return misfit(format!(
                    "unknown, and ignored by the server; did you mean `{meant}`?"
                ));
            }
        }

        Ok(())
    }

    /// The end of a message about an unknown field: what was meant, and which fields there are, as they are written.
    pub(super) fn meant(self, name: &str, prefix: &str, names: &[&str]) -> String {
        let all: Vec<_> = names.iter().map(|name| format!("{prefix}{name}")).collect();
        let all = all.join(", ");
        match self.nearest(name) {
            Some((_, near)) => format!("; did you mean `{prefix}{near}`? The fields are {all}"),
            None => format!("; the fields are {all}"),
        }
    }

    /// What to add where a field is missing: those that are there and not known may stand for it.
    pub(super) fn instead(self, object: &Map<String, Value>) -> String {
        let unknown_fields: Vec<_> = self.unknown_fields(object).collect();
        match unknown_fields.as_slice() {
            [] => String::new(),
            [one] => format!("; `{one}` is not a field"),
            more => format!("; `{}` are not fields", more.join("`, `")),
        }
    }

    /// The fields of an object that are not known, where this schema is to know them all.
    fn unknown_fields(self, object: &Map<String, Value>) -> impl Iterator<Item = &str> {
        let known = self.properties();
        let is_known = move |name: &str| known.is_some_and(|known| known.contains_key(name));
        let is_forbidden = self.get("additionalProperties") == Some(&Value::Bool(false));
        let knows_all = is_forbidden || self.knows_all_fields();

        let names = object.keys().map(String::as_str);
        names.filter(move |name| knows_all && !is_known(name))
    }

    /// Whether it names fields, and neither it nor another schema of the same object allows others.
    fn knows_all_fields(self) -> bool {
        let is_open = self.get("additionalProperties").is_some();
        let is_composed = COMPOSING.iter().any(|keyword| self.get(keyword).is_some());
        self.properties().is_some() && !self.is_part && !is_open && !is_composed
    }

    /// The known field that was plainly meant by a name, and is not there itself.
    fn slip(self, name: &str, object: &Map<String, Value>) -> Option<&'a str> {
        let (slips, near) = self.nearest(name)?;
        let is_plain = slips * LETTERS_PER_SLIP <= near.chars().count();
        (is_plain && !object.contains_key(near)).then_some(near)
    }

    /// The known field that is most like a name, and the slips between them.
    fn nearest(self, name: &str) -> Option<(usize, &'a str)> {
        let near = self.names().map(|known| {
            let slips = strsim::osa_distance(name, known);
            (slips, known)
        });
        near.filter(|(slips, known)| *slips <= SLIPS_MAX && *slips < known.chars().count())
            .min()
    }

    /// The names of its fields.
    pub(super) fn names(self) -> impl Iterator<Item = &'a str> {
        let known = self.properties().into_iter().flatten();
        known.map(|(name, _)| name.as_str())
    }
}
