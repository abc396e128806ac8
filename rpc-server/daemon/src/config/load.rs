//! Reads the settings: a TOML file, the environment over it, flags over both.

use std::path::{Path, PathBuf};

use toml::{Table, Value};
use tracing_subscriber::EnvFilter;

use super::keys::{keys_of_lists, known_keys, misspelled, nearest};
use super::{DaemonConfig, LogFormat};

/// What environment variables begin with: `RPC_SERVER_LIMITS_FRAME_BYTES_MAX` is
/// `limits.frame_bytes_max`.
const ENV_PREFIX: &str = "RPC_SERVER_";
/// Set the config file itself, not a key of it.
const ENV_CONFIG: &str = "RPC_SERVER_CONFIG";

/// What the command line may set.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--listen`, in the place of all configured addresses.
    pub listen: Vec<String>,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// `--log-format`.
    pub log_format: Option<LogFormat>,
}

/// Settings as they were read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loaded {
    /// The settings.
    pub config: DaemonConfig,
    /// What an operator should look at although the settings are right, each in one line: the log is
    /// not started yet when they are read.
    pub warnings: Vec<String>,
}

impl DaemonConfig {
    /// Puts the file, the environment and the flags together, and checks the result.
    ///
    /// Of the environment, a variable that begins with `RPC_SERVER_` and names no setting is a
    /// warning: a Service called `rpc-server` in Kubernetes puts several of them into every pod. An
    /// empty variable counts as not set.
    ///
    /// # Errors
    /// One line that names the file or variable, the key, and what would be right; for an unknown
    /// key the nearest known one.
    pub fn load(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
        flags: Overrides,
    ) -> Result<Loaded, String> {
        Self::put_together(file, env, flags).map_err(|message| printable(&message))
    }

    fn put_together(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
        flags: Overrides,
    ) -> Result<Loaded, String> {
        let keys = known_keys();
        let mut table = match file {
            Some(path) => read_file(path, &keys)?,
            None => Table::new(),
        };

        let mut unknown = Vec::new();
        for (name, value) in env {
            if !name.starts_with(ENV_PREFIX) || name == ENV_CONFIG || value.is_empty() {
                continue;
            }

            match keys.iter().find(|key| env_name(key) == name) {
                Some(key) => set_from_env(&mut table, &name, &value, key)?,
                None => unknown.push(name),
            }
        }

        let says_where = table.contains_key("listen");
        let mut config: Self = table
            .try_into()
            .map_err(|error: toml::de::Error| one_line(error.message()))?;
        if !flags.listen.is_empty() {
            config.listen = flags.listen;
        } else if !says_where && !config.listeners.is_empty() {
            config.listen.clear();
        }

        config.data_dir = flags.data_dir.unwrap_or(config.data_dir);
        config.log_format = flags.log_format.unwrap_or(config.log_format);

        config.check()?;
        EnvFilter::try_new(&config.log_level)
            .map_err(|error| format!("`log_level` is \"{}\": {error}", config.log_level))?;

        Ok(Loaded {
            config,
            warnings: unknown_variables(unknown, &keys).into_iter().collect(),
        })
    }
}

fn read_file(path: &Path, keys: &[String]) -> Result<Table, String> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
    let table: Table = text
        .parse()
        .map_err(|error: toml::de::Error| format!("{name}: {}", in_place(&text, &error)))?;

    let of_lists = keys_of_lists();
    for (key, value) in &table {
        let inner_of = |table: &Table| -> Vec<String> {
            table.keys().map(|inner| format!("{key}.{inner}")).collect()
        };

        let found = match value {
            Value::Table(table) => inner_of(table),
            Value::Array(items) if items.iter().any(Value::is_table) => items
                .iter()
                .filter_map(Value::as_table)
                .flat_map(inner_of)
                .collect(),
            _ => vec![key.clone()],
        };

        if let Some(unknown) = found
            .iter()
            .find(|found| !keys.contains(found) && !of_lists.contains(found))
        {
            let all: Vec<String> = keys.iter().chain(&of_lists).cloned().collect();
            return Err(format!(
                "{name}: unknown key `{unknown}`{}",
                nearest(unknown, &all)
            ));
        }
    }

    // Read once more as what it must be: this error has a line and a column.
    toml::from_str::<DaemonConfig>(&text)
        .map_err(|error| format!("{name}: {}", in_place(&text, &error)))?;

    Ok(table)
}

/// What is wrong with a file, and where, in one line.
fn in_place(text: &str, error: &toml::de::Error) -> String {
    let message = one_line(error.message());
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else {
        return message;
    };

    let line = before.matches('\n').count() + 1;
    let column = before
        .chars()
        .rev()
        .take_while(|character| *character != '\n')
        .count()
        + 1;

    format!("line {line}, column {column}: {message}")
}

/// The variable that sets a key.
fn env_name(key: &str) -> String {
    format!("{ENV_PREFIX}{}", key.replace('.', "_").to_uppercase())
}

/// The warning about variables that name no setting.
fn unknown_variables(mut unknown: Vec<String>, keys: &[String]) -> Option<String> {
    if unknown.is_empty() {
        return None;
    }

    let known: Vec<String> = keys
        .iter()
        .map(|key| env_name(key))
        .chain([ENV_CONFIG.to_owned()])
        .collect();
    let shown = |name: &String| match misspelled(name, &known) {
        Some(meant) => format!("`{name}` (did you mean `{meant}`?)"),
        None => format!("`{name}`"),
    };

    unknown.sort();
    let names: Vec<String> = unknown.iter().map(shown).collect();
    Some(printable(&format!(
        "environment variables that begin with `{ENV_PREFIX}` but set nothing are ignored: {}",
        names.join(", ")
    )))
}

fn set_from_env(table: &mut Table, name: &str, value: &str, key: &str) -> Result<(), String> {
    let defaults = Table::try_from(DaemonConfig::default()).expect("a config is a TOML table");
    let (section, field) = match key.split_once('.') {
        Some((section, field)) => (Some(section), field),
        None => (None, key),
    };
    let default = match section {
        Some(section) => &defaults[section][field],
        None => &defaults[field],
    };

    let wrong = |kind: &str| format!("`{name}` is \"{value}\" and must be {kind}");
    let value = match default {
        Value::Integer(_) => Value::Integer(value.parse().map_err(|_| wrong("an integer"))?),
        Value::Boolean(_) => Value::Boolean(value.parse().map_err(|_| wrong("true or false"))?),
        Value::Array(_) => Value::Array(
            value
                .split(',')
                .map(|item| Value::String(item.trim().to_owned()))
                .collect(),
        ),
        _ => Value::String(value.to_owned()),
    };

    let target = match section {
        Some(section) => {
            let entry = table
                .entry(section)
                .or_insert_with(|| Value::Table(Table::new()));
            entry
                .as_table_mut()
                .ok_or_else(|| format!("`{section}` must be a section"))?
        }
        None => table,
    };
    target.insert(field.to_owned(), value);

    // A value of the right kind may still be a wrong one; say so by the variable's name.
    table
        .clone()
        .try_into::<DaemonConfig>()
        .map_err(|error| format!("`{name}`: {}", one_line(error.message())))?;

    Ok(())
}

/// A message without control characters: keys, names and values are shown as they are, and a quoted
/// one may hold line breaks.
fn printable(message: &str) -> String {
    let escape = |character: char| match character.is_control() {
        true => character.escape_default().collect(),
        false => String::from(character),
    };
    message.chars().map(escape).collect()
}

pub(super) fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}
