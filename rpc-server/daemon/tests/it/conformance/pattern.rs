//! Patterns, and what `${...}` stands for in them.

use std::collections::HashMap;

use serde_json::Value;
use serde_json::value::RawValue;

use super::TOKEN;
use super::reply::Members;

/// The values of one run of one vector.
pub(super) struct Context {
    values: HashMap<String, String>,
    /// The number of the repetition.
    pub(super) n: u64,
}

impl Context {
    pub(super) fn new() -> Self {
        let run = format!("run{:016x}", fastrand::u64(..));
        Self {
            values: HashMap::from([
                ("run".to_owned(), run),
                ("token".to_owned(), TOKEN.to_owned()),
            ]),
            n: 0,
        }
    }

    /// Puts the values in the places of their names.
    pub(super) fn fill(&self, text: &str) -> String {
        let mut parts = text.split("${");
        let mut filled = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (name, rest) = part.split_once('}').expect("a name ends");
            match name {
                "n" => filled += &self.n.to_string(),
                name => {
                    filled += self
                        .values
                        .get(name)
                        .unwrap_or_else(|| panic!("nothing sets {name}"));
                }
            }
            filled += rest;
        }
        filled
    }
}

/// Why the JSON text `value` does not match `pattern`.
pub(super) fn mismatch(pattern: &Value, value: &str, context: &mut Context) -> Result<(), String> {
    let value = value.trim();
    match pattern {
        Value::Object(members) => {
            if let Some((operator, operand)) = members.iter().next()
                && members.len() == 1
                && operator.starts_with('$')
            {
                return operator_mismatch(operator, operand, value, context);
            }
            let came = Members::parse(value)?;
            if let Some(name) = came.names().find(|name| !members.contains_key(*name)) {
                return Err(format!("{name} was not expected"));
            }
            members_mismatch(members, &came, context)
        }
        Value::Array(patterns) => {
            let elements = elements(value)?;
            if elements.len() != patterns.len() {
                return Err(format!("{value} is not an array of {}", patterns.len()));
            }
            patterns
                .iter()
                .zip(&elements)
                .try_for_each(|(one, other)| mismatch(one, other.get(), context))
        }
        Value::String(text) => fits(
            string(value).is_ok_and(|came| came == context.fill(text)),
            text,
            value,
        ),
        Value::Number(number) => fits(
            is_number(value) && normal(value) == normal(&number.to_string()),
            &number.to_string(),
            value,
        ),
        Value::Bool(_) | Value::Null => {
            let pattern = pattern.to_string();
            fits(pattern == value, &pattern, value)
        }
    }
}

fn members_mismatch(
    patterns: &serde_json::Map<String, Value>,
    came: &Members,
    context: &mut Context,
) -> Result<(), String> {
    for (name, pattern) in patterns {
        let value = came.get(name).ok_or_else(|| format!("{name} is missing"))?;
        mismatch(pattern, value, context).map_err(|why| format!("{name}: {why}"))?;
    }
    Ok(())
}

fn operator_mismatch(
    operator: &str,
    operand: &Value,
    value: &str,
    context: &mut Context,
) -> Result<(), String> {
    let expected = format!("{operator} {operand}");
    let is = |is_so: bool| fits(is_so, &expected, value);
    match (operator, operand) {
        ("$any", _) => Ok(()),
        ("$type", Value::String(name)) => {
            let found = type_name(value);
            is(found == name || name == "number" && found == "integer")
        }
        ("$contains", Value::String(text)) => {
            let text = context.fill(text).to_lowercase();
            is(string(value).is_ok_and(|came| came.to_lowercase().contains(&text)))
        }
        ("$length", Value::Number(length)) => {
            let came = match type_name(value) {
                "string" => string(value)?.chars().count(),
                _ => elements(value)?.len(),
            };
            is(length.as_u64() == Some(came as u64))
        }
        ("$between", Value::Array(bounds)) => {
            let came: Option<f64> = is_number(value).then(|| value.parse().ok()).flatten();
            let bound = |at: usize| bounds[at].as_f64().expect("a bound is a number");
            is(came.is_some_and(|came| (bound(0)..=bound(1)).contains(&came)))
        }
        ("$n", _) => is(value == context.n.to_string()),
        ("$capture", Value::String(name)) => {
            let captured = string(value).unwrap_or_else(|_| value.to_owned());
            context.values.insert(name.clone(), captured);
            Ok(())
        }
        ("$includes", Value::Object(patterns)) => {
            members_mismatch(patterns, &Members::parse(value)?, context)
        }
        ("$one_of", Value::Array(patterns)) => is(patterns
            .iter()
            .any(|pattern| mismatch(pattern, value, context).is_ok())),
        ("$each", pattern) => elements(value)?
            .iter()
            .try_for_each(|element| mismatch(pattern, element.get(), context)),
        ("$has", Value::Array(patterns)) => {
            let elements = elements(value)?;
            is(patterns.iter().all(|pattern| {
                elements
                    .iter()
                    .any(|element| mismatch(pattern, element.get(), context).is_ok())
            }))
        }
        _ => panic!("no such pattern: {expected}"),
    }
}

fn fits(is_so: bool, expected: &str, value: &str) -> Result<(), String> {
    let shown: String = value.chars().take(200).collect();
    if is_so {
        Ok(())
    } else {
        Err(format!("{shown} is not {expected}"))
    }
}

fn elements(value: &str) -> Result<Vec<Box<RawValue>>, String> {
    serde_json::from_str(value).map_err(|error| format!("it is not an array: {error}"))
}

fn string(value: &str) -> Result<String, String> {
    serde_json::from_str(value)
        .map_err(|error| format!("it is not a string of Unicode text: {error}"))
}

fn is_number(value: &str) -> bool {
    value.starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

fn type_name(value: &str) -> &'static str {
    match value.as_bytes()[0] {
        b'{' => "object",
        b'[' => "array",
        b'"' => "string",
        b't' | b'f' => "boolean",
        b'n' => "null",
        _ if value.contains(['.', 'e', 'E']) => "number",
        _ => "integer",
    }
}

/// A number as its sign, its digits without zeros at either end, and the power of ten of the last
/// one: equal for equal values.
fn normal(number: &str) -> (bool, String, i64) {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (negative, mantissa) = mantissa
        .strip_prefix('-')
        .map_or((false, mantissa), |rest| (true, rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_end_matches('0');
    let dropped = i64::try_from(digits.len() - significant.len()).unwrap();
    let exponent: i64 = exponent.trim_start_matches('+').parse().unwrap();
    let significant = significant.trim_start_matches('0');
    if significant.is_empty() {
        return (false, String::new(), 0);
    }
    (
        negative,
        significant.to_owned(),
        exponent - i64::try_from(fraction.len()).unwrap() + dropped,
    )
}

#[test]
fn each_kind_of_pattern_fits_only_what_it_should() {
    for (pattern, value, expected) in [
        (r#"{"a":1}"#, r#"{"a":1}"#, true),
        (r#"{"a":1}"#, r#"{"a":1.0}"#, true),
        (r#"{"a":1}"#, r#"{"a":10e-1}"#, true),
        (r#"{"a":1}"#, r#"{"a":10}"#, false),
        (r#"{"a":0}"#, r#"{"a":-0.0}"#, true),
        (r#"{"a":1}"#, r#"{"a":1,"b":2}"#, false),
        (r#"{"a":1,"b":2}"#, r#"{"a":1}"#, false),
        (r#"{"a":1}"#, r#"{"a":true}"#, false),
        (r#"{"a":1}"#, r#"{"a":"1"}"#, false),
        (r#"{"a":true}"#, r#"{"a":1}"#, false),
        (r#"{"a":null}"#, r#"{"a":null}"#, true),
        (r#"{"a":null}"#, r#"{"a":0}"#, false),
        (r#"{"a":"x"}"#, r#"{"a":"\u0078"}"#, true),
        (r#"{"a":"x"}"#, r#"{"a":"X"}"#, false),
        ("[1,2]", "[1,2]", true),
        ("[1,2]", "[2,1]", false),
        ("[1]", "[1,1]", false),
        (r#"{"$any":true}"#, "null", true),
        (r#"{"$type":"integer"}"#, "5", true),
        (r#"{"$type":"integer"}"#, "5.0", false),
        (r#"{"$type":"integer"}"#, "true", false),
        (r#"{"$type":"number"}"#, "5", true),
        (r#"{"$type":"object"}"#, "[]", false),
        (r#"{"$contains":"CMDID"}"#, r#""the cmdid is""#, true),
        (r#"{"$contains":"cmdid"}"#, r#""the command is""#, false),
        (r#"{"$contains":"5"}"#, "5", false),
        (r#"{"$includes":{"a":1}}"#, r#"{"a":1,"b":2}"#, true),
        (r#"{"$includes":{"a":1}}"#, r#"{"b":2}"#, false),
        (r#"{"$one_of":[1,2]}"#, "2", true),
        (r#"{"$one_of":[1,2]}"#, "3", false),
        (r#"{"$each":{"$type":"string"}}"#, r#"["a","b"]"#, true),
        (r#"{"$each":{"$type":"string"}}"#, r#"["a",5]"#, false),
        (r#"{"$has":[2,1]}"#, "[1,2,3]", true),
        (r#"{"$has":[4]}"#, "[1,2,3]", false),
        (r#"{"$length":3}"#, r#""äöü""#, true),
        (r#"{"$length":3}"#, "[1,2]", false),
        (r#"{"$between":[1,3]}"#, "3", true),
        (r#"{"$between":[1,3]}"#, "4", false),
        (r#"{"$n":true}"#, "7", true),
        (r#"{"$n":true}"#, "8", false),
        (r#""${n}!""#, r#""7!""#, true),
        (r#""${n}!""#, r#""${n}!""#, false),
    ] {
        let mut context = Context {
            n: 7,
            ..Context::new()
        };
        let matched = mismatch(&serde_json::from_str(pattern).unwrap(), value, &mut context);
        assert_eq!(
            matched.is_ok(),
            expected,
            "{pattern} against {value}: {matched:?}"
        );
    }
}
