//! Checks a value against a schema.

use serde_json::Value;

use super::Schema;

/// Depth at which a check ends: a schema may refer to itself.
const DEPTH_MAX: usize = 128;

/// What is wrong with a value, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// The field, as `params.items[1].count`.
    pub(crate) field: String,
    /// What is wrong with it and what would be right.
    pub(crate) reason: String,
}

impl Schema<'_> {
    /// Checks a value, which the message calls `name`.
    pub(crate) fn check(self, value: &Value, name: &str) -> Result<(), Misfit> {
        self.resolved().check_at(value, name, 0)
    }

    fn check_at(self, value: &Value, field: &str, depth: usize) -> Result<(), Misfit> {
        if depth > DEPTH_MAX || self.node.is_boolean() && self.node != &Value::Bool(false) {
            return Ok(());
        }

        let misfit = |reason: String| {
            Err(Misfit {
                field: field.to_owned(),
                reason,
            })
        };

        if let Some(values) = self.values() {
            return if values.contains(&value) {
                Ok(())
            } else {
                misfit(format!(
                    "{} is not one of {}",
                    shown(value),
                    listed(&values)
                ))
            };
        }
        if !self.types().is_empty() && !self.types().iter().any(|name| is_of(value, name)) {
            return misfit(format!("{} is not {}", shown(value), self.in_words()));
        }

        self.check_alternatives(value, field, depth)?;
        if let Err(reason) = self.check_limits(value) {
            return misfit(reason);
        }
        self.check_object(value, field, depth)?;
        self.check_list(value, field, depth)
    }

    fn check_alternatives(self, value: &Value, field: &str, depth: usize) -> Result<(), Misfit> {
        let all = self.get("allOf").and_then(Value::as_array);
        for part in all.into_iter().flatten() {
            self.part_at(part).check_at(value, field, depth + 1)?;
        }

        let Some(alternatives) = self.alternatives() else {
            return Ok(());
        };
        let mut misfits = Vec::new();
        for alternative in &alternatives {
            match alternative.check_at(value, field, depth + 1) {
                Ok(()) => return Ok(()),
                Err(misfit) => misfits.push(misfit),
            }
        }

        // The one that a person means, where that is plain: not `null`, or the one that went wrong deepest.
        let deepest = misfits
            .into_iter()
            .max_by_key(|misfit| misfit.field.len())
            .filter(|misfit| misfit.field.len() > field.len());
        Err(deepest.unwrap_or_else(|| Misfit {
            field: field.to_owned(),
            reason: format!("{} is not {}", shown(value), self.in_words()),
        }))
    }

    fn check_limits(self, value: &Value) -> Result<(), String> {
        let limit = |keyword| self.get(keyword).and_then(Value::as_f64);
        if let Some(number) = value.as_f64() {
            if let Some(least) = limit("minimum").filter(|least| number < *least) {
                return Err(format!("{value} is less than {least}"));
            }
            if let Some(most) = limit("maximum").filter(|most| number > *most) {
                return Err(format!("{value} is more than {most}"));
            }
        }

        let length = |keyword| self.get(keyword).and_then(Value::as_u64);
        if let Some(text) = value.as_str() {
            let count = text.chars().count() as u64;
            if let Some(least) = length("minLength").filter(|least| count < *least) {
                return Err(format!(
                    "it has {count} characters, and at least {least} are needed"
                ));
            }
            if let Some(most) = length("maxLength").filter(|most| count > *most) {
                return Err(format!(
                    "it has {count} characters, and at most {most} are allowed"
                ));
            }
        }

        if let Some(items) = value.as_array() {
            let count = items.len() as u64;
            if let Some(least) = length("minItems").filter(|least| count < *least) {
                return Err(format!(
                    "it has {count} items, and at least {least} are needed"
                ));
            }
            if let Some(most) = length("maxItems").filter(|most| count > *most) {
                return Err(format!(
                    "it has {count} items, and at most {most} are allowed"
                ));
            }
        }

        Ok(())
    }

    fn check_object(self, value: &Value, field: &str, depth: usize) -> Result<(), Misfit> {
        let Some(object) = value.as_object() else {
            return Ok(());
        };
        // First, since a slip in a name also leaves the field out that was meant.
        self.check_unknown(object, field)?;

        let required = self.get("required").and_then(Value::as_array);
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            if !object.contains_key(name) {
                let wanted = self.properties().and_then(|known| known.get(name));
                let words = wanted.map(|node| format!("; it is {}", self.at(node).in_words()));
                return Err(Misfit {
                    field: format!("{field}.{name}"),
                    reason: format!(
                        "missing{}{}",
                        words.unwrap_or_default(),
                        self.instead(object)
                    ),
                });
            }
        }

        let known = self.properties();
        let others = self.get("additionalProperties");
        for (name, value) in object {
            if let Some(node) = known.and_then(|known| known.get(name)).or(others) {
                let field = format!("{field}.{name}");
                self.at(node).check_at(value, &field, depth + 1)?;
            }
        }

        Ok(())
    }

    fn check_list(self, value: &Value, field: &str, depth: usize) -> Result<(), Misfit> {
        let Some(items) = value.as_array() else {
            return Ok(());
        };
        let prefix = self.get("prefixItems").and_then(Value::as_array);
        let prefix: &[Value] = prefix.map_or(&[], Vec::as_slice);

        for (place, item) in items.iter().enumerate() {
            if let Some(node) = prefix.get(place).or_else(|| self.get("items")) {
                let field = format!("{field}[{place}]");
                self.at(node).check_at(item, &field, depth + 1)?;
            }
        }
        Ok(())
    }
}

fn is_of(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => {
            value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|it| it.fract() == 0.0)
        }
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    }
}

/// Enough of a value to recognise it by.
fn shown(value: &Value) -> String {
    const CHARS_MAX: usize = 40;

    let text = value.to_string();
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Values as a person writes them: texts without their quotes.
pub(super) fn listed(values: &[&Value]) -> String {
    let texts: Vec<_> = values
        .iter()
        .map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
        .collect();
    texts.join(", ")
}

#[cfg(test)]
mod tests;
