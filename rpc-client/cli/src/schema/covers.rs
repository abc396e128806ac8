//! Compares two schemas: whether one takes all that the other one allows.

use std::collections::HashSet;

use serde_json::Value;

use super::Schema;
use super::check::{Misfit, listed};

/// Pairs of schemas that are being compared: a schema may refer to itself.
type Under<'a> = HashSet<(*const Value, *const Value)>;

impl Schema<'_> {
    /// Checks that this schema takes each value that `other` allows, as far as their keywords say. What is wrong is
    /// said of the field, which is called `name`.
    pub(crate) fn covers(self, other: Schema<'_>, name: &str) -> Result<(), Misfit> {
        self.resolved()
            .covers_at(other.resolved(), name, &mut Under::new())
    }

    fn covers_at(
        self,
        other: Schema<'_>,
        field: &str,
        under: &mut Under<'_>,
    ) -> Result<(), Misfit> {
        let takes_all = self.node == &Value::Bool(true)
            || self.node.as_object().is_some_and(serde_json::Map::is_empty);
        if takes_all || !under.insert((self.node, other.node)) {
            return Ok(());
        }
        let misfit = |reason: String| {
            Err(Misfit {
                field: field.to_owned(),
                reason,
            })
        };

        if let Some(values) = other.values() {
            let refused = values
                .into_iter()
                .find(|value| self.check(value, field).is_err());
            return match refused {
                Some(value) => misfit(format!("{} is not taken", listed(&[value]))),
                None => Ok(()),
            };
        }
        if let Some(alternatives) = other.alternatives() {
            for alternative in alternatives {
                self.covers_at(alternative, field, under)?;
            }
            return Ok(());
        }
        if let Some(values) = self.values() {
            return misfit(format!(
                "{} is possible, but only {} is accepted",
                other.in_words(),
                listed(&values)
            ));
        }
        if let Some(alternatives) = self.alternatives() {
            let is_covered = alternatives
                .into_iter()
                .any(|it| it.covers_at(other, field, &mut under.clone()).is_ok());
            return if is_covered {
                Ok(())
            } else {
                misfit(differs(other, self))
            };
        }

        self.covers_types(other, field)?;
        self.covers_limits(other, field)?;
        self.covers_fields(other, field, under)?;
        match (self.get("items"), other.get("items")) {
            (Some(own), Some(others)) => {
                let field = format!("{field}[]");
                self.at(own).covers_at(other.at(others), &field, under)
            }
            _ => Ok(()),
        }
    }

    fn covers_types(self, other: Schema<'_>, field: &str) -> Result<(), Misfit> {
        let (own, others) = (self.types(), other.types());
        let is_taken =
            |name: &&str| own.contains(name) || *name == "integer" && own.contains(&"number");

        if own.is_empty() || !others.is_empty() && others.iter().all(is_taken) {
            return Ok(());
        }
        let reason = if others.contains(&"null") && !own.contains(&"null") {
            "null is possible, but not accepted".to_owned()
        } else {
            differs(other, self)
        };
        Err(Misfit {
            field: field.to_owned(),
            reason,
        })
    }

    fn covers_limits(self, other: Schema<'_>, field: &str) -> Result<(), Misfit> {
        let least = ["minimum", "minLength", "minItems"];
        let most = ["maximum", "maxLength", "maxItems"];

        let is_narrower = |keyword: &str, own: f64| match other.limit(keyword) {
            None => true,
            Some(others) if keyword.starts_with("min") => own > others,
            Some(others) => own < others,
        };
        for keyword in least.into_iter().chain(most) {
            if let Some(own) = self.limit(keyword)
                && is_narrower(keyword, own)
            {
                let others = other
                    .get(keyword)
                    .map_or("none".to_owned(), Value::to_string);
                return Err(Misfit {
                    field: field.to_owned(),
                    reason: format!("`{keyword}` is {own}, and was {others}"),
                });
            }
        }
        Ok(())
    }

    fn covers_fields(
        self,
        other: Schema<'_>,
        field: &str,
        under: &mut Under<'_>,
    ) -> Result<(), Misfit> {
        let at = |name: &str| format!("{field}.{name}");
        let required = self.get("required").and_then(Value::as_array);
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            if !other.is_required(name) {
                return Err(Misfit {
                    field: at(name),
                    reason: "it is required, but may be missing".to_owned(),
                });
            }
        }

        let own = self.properties();
        for (name, node) in other.properties().into_iter().flatten() {
            let others = other.at(node);
            if let Some(node) = own.and_then(|own| own.get(name)) {
                self.at(node).covers_at(others, &at(name), under)?;
                continue;
            }
            match self.get("additionalProperties") {
                Some(Value::Bool(false)) => {
                    return Err(Misfit {
                        field: at(name),
                        reason: "the field is not known, and unknown fields are refused".to_owned(),
                    });
                }
                Some(node) => self.at(node).covers_at(others, &at(name), under)?,
                None => {}
            }
        }
        Ok(())
    }
}

fn differs(allowed: Schema<'_>, taken: Schema<'_>) -> String {
    format!(
        "{} is possible, but only {} is accepted",
        allowed.in_words(),
        taken.in_words()
    )
}
