//! Params from flags: `--level info --count 2` by the fields of a schema.

use serde_json::{Map, Value};

use super::Schema;

impl Schema<'_> {
    /// The params that these flags say: `--name value`, `--name=value`, and `--name` alone for `true`.
    ///
    /// # Errors
    /// What is wrong with a flag, and which ones there are.
    pub(crate) fn params_of(self, flags: &[String]) -> Result<Value, String> {
        let schema = self.resolved();
        let mut params = Map::new();
        let mut rest = flags.iter().peekable();

        while let Some(flag) = rest.next() {
            let Some(text) = flag.strip_prefix("--").filter(|text| !text.is_empty()) else {
                return Err(format!(
                    "`{flag}` is not a flag: params are JSON, or flags as `--field value`"
                ));
            };
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (text, None),
            };
            let (name, field) = schema.field_of(name)?;

            let value = match value {
                Some(value) => field.value_of(name, value)?,
                None if field.is_flag()
                    && rest.peek().is_none_or(|next| next.starts_with("--")) =>
                {
                    Value::Bool(true)
                }
                None => match rest.next() {
                    Some(value) => field.value_of(name, value)?,
                    None => return Err(format!("`{flag}` lacks its value: {}", field.in_words())),
                },
            };
            insert(&mut params, name, value, field.types().contains(&"array"))?;
        }

        Ok(Value::Object(params))
    }

    /// The field that a flag means; `-` stands for `_`, too.
    fn field_of(&self, flag: &str) -> Result<(&str, Self), String> {
        let fields = self.properties();
        let found = fields.into_iter().flatten().find(|(name, _)| {
            *name == flag || name.len() == flag.len() && name.replace('_', "-") == flag
        });
        if let Some((name, node)) = found {
            return Ok((name, self.at(node).without_null()));
        }

        let names = fields
            .into_iter()
            .flatten()
            .map(|(name, _)| format!("--{name}"));
        let names: Vec<_> = names.collect();
        Err(if names.is_empty() {
            format!("`--{flag}`: the command takes no fields")
        } else {
            format!(
                "`--{flag}` is not a field of the params; the fields are {}",
                names.join(", ")
            )
        })
    }

    /// The words that a flag takes, where they are counted.
    pub(crate) fn words_of(self, flag: &str) -> Vec<String> {
        let schema = self.resolved();
        let Ok((_, field)) = schema.field_of(flag) else {
            return Vec::new();
        };
        if field.is_flag() {
            return vec!["true".to_owned(), "false".to_owned()];
        }

        let values = field.values().unwrap_or_default();
        let words = values.into_iter().map(|value| match value {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        });
        words.collect()
    }

    fn is_flag(self) -> bool {
        self.types() == ["boolean"]
    }

    /// Text as the field takes it: as it is where that is a text, else as JSON.
    fn value_of(self, name: &str, text: &str) -> Result<Value, String> {
        let types = self.types();
        let is_text = |value: &&Value| value.is_string();
        if types.contains(&"string") || self.values().is_some_and(|it| it.iter().all(is_text)) {
            return Ok(Value::String(text.to_owned()));
        }
        // One of a list that is built up by repeating the flag.
        if types.contains(&"array")
            && !text.starts_with('[')
            && let Some(items) = self.get("items")
        {
            return self.at(items).value_of(name, text);
        }

        match serde_json::from_str(text) {
            Ok(value) => Ok(value),
            // What takes anything takes a text.
            Err(_) if types.is_empty() => Ok(Value::String(text.to_owned())),
            Err(_) => Err(format!("`--{name} {text}`: it takes {}", self.in_words())),
        }
    }
}

fn insert(
    params: &mut Map<String, Value>,
    name: &str,
    value: Value,
    is_list: bool,
) -> Result<(), String> {
    if is_list {
        let list = params
            .entry(name)
            .or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(list) = list {
            match value {
                Value::Array(values) => list.extend(values),
                value => list.push(value),
            }
        }
        return Ok(());
    }

    match params.insert(name.to_owned(), value) {
        None => Ok(()),
        Some(_) => Err(format!("`--{name}` is given twice")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn params(flags: &[&str]) -> Result<Value, String> {
        let schema = json!({
            "type": "object",
            "properties": {
                "level": {"enum": ["low", "high"]},
                "count": {"type": ["integer", "null"]},
                "wait_ms": {"type": "integer"},
                "all": {"type": "boolean"},
                "items": {"type": "array", "items": {"type": "string"}},
                "more": true,
            },
        });
        let flags: Vec<_> = flags.iter().map(|&flag| flag.to_owned()).collect();
        Schema::new(&schema).params_of(&flags)
    }

    #[test]
    fn flags_become_params_as_the_schema_says() {
        assert_eq!(
            params(&["--level", "low", "--count=3", "--all", "--wait-ms", "5"]),
            Ok(json!({"level": "low", "count": 3, "all": true, "wait_ms": 5}))
        );
        assert_eq!(
            params(&["--items", "1", "--items", "b", "--more", "x y"]),
            Ok(json!({"items": ["1", "b"], "more": "x y"}))
        );
        assert_eq!(params(&["--all", "false"]), Ok(json!({"all": false})));
        assert_eq!(
            params(&["--items", "[\"a\",\"b\"]"]),
            Ok(json!({"items": ["a", "b"]}))
        );
    }

    #[test]
    fn a_wrong_flag_is_told_what_would_be_right() {
        let error = |flags: &[&str]| params(flags).unwrap_err();
        assert_eq!(
            error(&["--levle", "low"]),
            "`--levle` is not a field of the params; the fields are --all, --count, --items, --level, --more, --wait_ms"
        );
        assert_eq!(error(&["--count", "x"]), "`--count x`: it takes an integer");
        assert_eq!(error(&["--count"]), "`--count` lacks its value: an integer");
        assert_eq!(
            error(&["--count", "1", "--count", "2"]),
            "`--count` is given twice"
        );
        assert_eq!(
            error(&["low"]),
            "`low` is not a flag: params are JSON, or flags as `--field value`"
        );
    }
}
