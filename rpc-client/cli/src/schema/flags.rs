//! Params from flags: `--level info --count 2` by the fields of a schema.

use std::collections::BTreeMap;

use rpc_client::RawJson;
use serde_json::Value;

use super::Schema;

impl Schema<'_> {
    /// The params that these flags say: `--name value`, `--name=value`, and `--name` alone for `true`. JSON among them
    /// stays as it was written, numbers that no program holds, too.
    ///
    /// # Errors
    /// What is wrong with a flag, and which ones there are.
    pub(crate) fn params_of(self, flags: &[String]) -> Result<String, String> {
        let schema = self.resolved();
        let mut params = BTreeMap::new();
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
                    "true".to_owned()
                }
                None => match rest.next() {
                    Some(value) => field.value_of(name, value)?,
                    None => return Err(format!("`{flag}` lacks its value: {}", field.in_words())),
                },
            };
            if field.types().contains(&"array") {
                add_to_list(&mut params, name, value);
            } else {
                insert(&mut params, name, value)?;
            }
        }

        let fields = params.iter().map(|(name, given)| {
            let value = match given {
                Given::One(json) => json.clone(),
                Given::List(items) => format!("[{}]", items.join(",")),
            };
            format!("{}:{value}", json_of(name))
        });
        let fields: Vec<_> = fields.collect();
        Ok(format!("{{{}}}", fields.join(",")))
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

        let names: Vec<_> = self.names().collect();
        Err(if names.is_empty() {
            format!("`--{flag}`: the command takes no fields")
        } else {
            let meant = self.meant(flag, "--", &names);
            format!("`--{flag}` is not a field of the params{meant}")
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

    /// The JSON of a text as the field takes it: as it is where that is a text, else as JSON.
    fn value_of(self, name: &str, text: &str) -> Result<String, String> {
        let types = self.types();
        let is_text = |value: &&Value| value.is_string();
        if types.contains(&"string") || self.values().is_some_and(|it| it.iter().all(is_text)) {
            return Ok(json_of(text));
        }
        // One of a list that is built up by repeating the flag.
        if types.contains(&"array")
            && !text.starts_with('[')
            && let Some(items) = self.get("items")
        {
            return self.at(items).value_of(name, text);
        }

        match RawJson::parse(text) {
            Ok(json) => Ok(json.as_str().trim().to_owned()),
            // What takes anything takes a text.
            Err(_) if types.is_empty() => Ok(json_of(text)),
            Err(_) => Err(format!("`--{name} {text}`: it takes {}", self.in_words())),
        }
    }
}

/// What a flag has said, as JSON.
enum Given {
    One(String),
    /// Flags that build up a list.
    List(Vec<String>),
}

fn json_of(text: &str) -> String {
    Value::from(text).to_string()
}

/// Takes a value of a list, or several as an array.
fn add_to_list<'a>(params: &mut BTreeMap<&'a str, Given>, name: &'a str, json: String) {
    let list = params
        .entry(name)
        .or_insert_with(|| Given::List(Vec::new()));
    let Given::List(items) = list else {
        return;
    };

    let inner = json
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    match inner.map(str::trim) {
        Some("") => {}
        Some(several) => items.push(several.to_owned()),
        None => items.push(json),
    }
}

/// Takes a value that may be given once.
fn insert<'a>(
    params: &mut BTreeMap<&'a str, Given>,
    name: &'a str,
    json: String,
) -> Result<(), String> {
    match params.insert(name, Given::One(json)) {
        None => Ok(()),
        Some(_) => Err(format!("`--{name}` is given twice")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn params(flags: &[&str]) -> Result<Value, String> {
        let text = params_as_text(flags)?;
        Ok(serde_json::from_str(&text).unwrap())
    }

    fn params_as_text(flags: &[&str]) -> Result<String, String> {
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
    fn json_in_flags_stays_as_it_was_written() {
        let number = "12345678901234567890123";
        assert_eq!(
            params_as_text(&["--count", number, "--more", "{\"a\": 1.50, \"b\":1e400}"]),
            Ok(format!(
                "{{\"count\":{number},\"more\":{{\"a\": 1.50, \"b\":1e400}}}}"
            ))
        );
        assert_eq!(
            params_as_text(&[
                "--items",
                "[ ]",
                "--items",
                "[\"a\", \"b\"]",
                "--items",
                "c"
            ]),
            Ok("{\"items\":[\"a\", \"b\",\"c\"]}".to_owned())
        );
    }

    #[test]
    fn a_wrong_flag_is_told_what_would_be_right() {
        let error = |flags: &[&str]| params(flags).unwrap_err();
        assert_eq!(
            error(&["--levle", "low"]),
            "`--levle` is not a field of the params; did you mean `--level`? The fields are --all, --count, --items, --level, --more, --wait_ms"
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
