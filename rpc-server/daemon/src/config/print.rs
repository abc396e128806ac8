//! Prints the settings as a TOML file with comments.

use std::fmt::Write as _;

use serde_json::Value as Json;
use toml::{Table, Value};

use super::DaemonConfig;
use super::keys::{described, list_schema, schema, section_schema};
use super::load::one_line;

/// What a printed config begins with.
const HEAD: &str = "\
# Settings of the daemon `rpc-server`, printed by `rpc-server --print-config`. A setting that is left
# out has its default. A line such as `#cmdid = 0`, without a space after the `#`, shows a setting
# that is not set. Environment variables override this file (`RPC_SERVER_LIMITS_FRAME_BYTES_MAX`
# sets `limits.frame_bytes_max`), and flags override both. An empty variable counts as not set. A
# variable with the prefix `RPC_SERVER_` that names no setting is ignored with a warning.

";

impl DaemonConfig {
    /// The config as a TOML file that says what each key is for. Of a list of tables that is empty, it has the
    /// keys of one that is commented out.
    pub fn to_commented_toml(&self) -> String {
        let schema = schema();
        let table = Table::try_from(self).expect("a config is a TOML table");
        let mut out = String::from(HEAD);

        let (sections, others): (Vec<_>, Vec<_>) =
            table.iter().partition(|(_, value)| value.is_table());
        let (lists, plain): (Vec<_>, Vec<_>) = others
            .into_iter()
            .partition(|(key, _)| list_schema(&schema, key).is_object());

        for (key, value) in plain {
            push_key(&mut out, &schema["properties"][key], key, value);
        }

        for (list, items) in lists {
            push_comment(&mut out, &schema["properties"][list]);
            let properties = list_schema(&schema, list);
            let items = items.as_array().expect("it is a list");

            if items.is_empty() {
                push_item(&mut out, list, properties, None);
            }
            for item in items {
                push_item(&mut out, list, properties, item.as_table());
            }
        }

        for (section, values) in sections {
            let properties = section_schema(&schema, section);
            push_comment(&mut out, described(&schema, section));
            let _ = writeln!(out, "[{section}]\n");

            for (key, value) in values.as_table().expect("sections are tables") {
                push_key(&mut out, &properties[key], key, value);
            }
        }

        out
    }
}

fn push_key(out: &mut String, schema: &Json, key: &str, value: &Value) {
    push_comment(out, schema);
    let _ = writeln!(out, "{key} = {value}\n");
}

/// One table of a list, or what it would have.
fn push_item(out: &mut String, list: &str, properties: &Json, item: Option<&Table>) {
    let off = if item.is_some() { "" } else { "#" };
    let _ = writeln!(out, "{off}[[{list}]]\n");

    for (key, schema) in properties.as_object().into_iter().flatten() {
        if let Some(value) = item.and_then(|item| item.get(key)) {
            push_key(out, schema, key, value);
            continue;
        }

        push_comment(out, schema);

        // None, which has no value in TOML, is a default as well.
        let default = Value::try_from(&schema["default"])
            .map(|value| format!(" {value}"))
            .unwrap_or_default();
        let _ = writeln!(out, "#{key} ={default}\n");
    }
}

/// The field's own documentation, wrapped.
fn push_comment(out: &mut String, schema: &Json) {
    let text = one_line(schema["description"].as_str().unwrap_or_default());
    let mut line = String::from("#");

    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if line.len() + word.len() >= 98 {
            let _ = writeln!(out, "{line}");
            line = String::from("#");
        }

        let _ = write!(line, " {word}");
    }

    if line.len() > 1 {
        let _ = writeln!(out, "{line}");
    }
}
