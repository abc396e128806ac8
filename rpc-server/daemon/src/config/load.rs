//! Reads the settings: a TOML file, the environment over it, flags over both.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::de::{DeArray, DeString, DeTable, DeValue, Deserializer};
use toml::{Spanned, Table, Value};

use super::check::{Mistakes, mistakes_of_log_level};
use super::keys::{keys_of_lists, known_keys, misspelled, nearest, with_nearest};
use super::{DaemonConfig, LogFormat};
use rpc_server::config::moved;

/// What environment variables begin with: `RPC_SERVER_LIMITS_FRAME_BYTES_MAX` is
/// `limits.frame_bytes_max`.
const ENV_PREFIX: &str = "RPC_SERVER_";
/// Set the config file itself, not a key of it.
const ENV_CONFIG: &str = "RPC_SERVER_CONFIG";
/// Sets the log level, as in other programs that log with `tracing`, unless `RPC_SERVER_LOG_LEVEL` does.
const ENV_RUST_LOG: &str = "RUST_LOG";

/// What the command line may set.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--listen`, instead of all configured addresses.
    pub listen: Vec<String>,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// `--log-format`.
    pub log_format: Option<LogFormat>,
    /// `--log-level`.
    pub log_level: Option<String>,
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
    /// Puts the file, the environment and the flags together. What the settings say is not judged yet:
    /// [`check`](Self::check) does that, or [`check_values`](Self::check_values).
    ///
    /// Of the environment, a variable that begins with `RPC_SERVER_` and names no setting is a
    /// warning: a Service called `rpc-server` in Kubernetes puts several of them into every pod. An
    /// empty variable counts as not set. `RUST_LOG` sets `log_level`, unless `RPC_SERVER_LOG_LEVEL` or the flag does.
    ///
    /// # Errors
    /// All that cannot be read, each in one line that names the file or variable, the key, and what
    /// would be right; for an unknown key the nearest known one.
    pub fn load(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
        flags: Overrides,
    ) -> Result<Loaded, Mistakes> {
        let keys = known_keys();
        let mut mistakes = Vec::new();
        let mut table = match file {
            Some(path) => read_file(path, &keys, &mut mistakes),
            None => Table::new(),
        };

        let mut unknown = Vec::new();
        let mut log_level = LogLevel::of_flag(flags.log_level);
        for (name, value) in env {
            log_level.set_from_env(&name, &value);
            if !name.starts_with(ENV_PREFIX) || name == ENV_CONFIG || value.is_empty() {
                continue;
            }

            if let Some(key) = keys.iter().find(|key| env_name(key) == name) {
                mistakes.extend(set_from_env(&mut table, &name, &value, key).err());
            } else if let Some(path) = moved_variable(&name) {
                let variable = env_name(path);
                mistakes.push(format!("`{name}` has moved: it is `{variable}` now"));
            } else {
                unknown.push(name);
            }
        }

        let says_where = table.contains_key("listen");
        let mut config = match table.try_into::<Self>() {
            Ok(config) => config,
            // It was said already, with its place.
            Err(_) if !mistakes.is_empty() => Self::default(),
            Err(error) => {
                let message = one_line(error.message());
                let named = file.map(|file| format!("{}: {message}", file.display()));
                return Err(Mistakes::from(vec![named.unwrap_or(message)]));
            }
        };
        mistakes.extend(log_level.mistakes());
        Mistakes::none_of(mistakes)?;

        if !flags.listen.is_empty() {
            config.listen = flags.listen;
        } else if !says_where && !config.listeners.is_empty() {
            config.listen.clear();
        }

        config.data_dir = flags.data_dir.unwrap_or(config.data_dir);
        config.log_format = flags.log_format.unwrap_or(config.log_format);
        config.log_level = log_level.value.unwrap_or(config.log_level);

        Ok(Loaded {
            config,
            warnings: unknown_variables(unknown, &keys).into_iter().collect(),
        })
    }
}

/// The log level that the flag or the environment sets, by the one that goes before the others.
struct LogLevel {
    source: LogLevelSource,
    value: Option<String>,
}

/// What can set the log level besides the file; a later one goes before an earlier one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum LogLevelSource {
    RustLog,
    Variable,
    Flag,
}

impl LogLevelSource {
    /// The variable that this is, as messages and the environment have it.
    fn name(self) -> String {
        match self {
            Self::RustLog => ENV_RUST_LOG.to_owned(),
            Self::Variable => env_name(LOG_LEVEL),
            Self::Flag => "--log-level".to_owned(),
        }
    }
}

/// The key of the log level in a file.
const LOG_LEVEL: &str = "log_level";

impl LogLevel {
    fn of_flag(value: Option<String>) -> Self {
        let source = match value {
            Some(_) => LogLevelSource::Flag,
            None => LogLevelSource::RustLog,
        };
        Self { source, value }
    }

    fn set_from_env(&mut self, name: &str, value: &str) {
        let sources = [LogLevelSource::RustLog, LogLevelSource::Variable];
        let source = sources.into_iter().find(|source| source.name() == name);
        if let Some(source) = source.filter(|source| *source >= self.source && !value.is_empty()) {
            self.source = source;
            self.value = Some(value.to_owned());
        }
    }

    fn mistakes(&self) -> Vec<String> {
        self.value.as_ref().map_or_else(Vec::new, |value| {
            mistakes_of_log_level(&self.source.name(), value)
        })
    }
}

/// The settings of a file. What cannot be read is left out, and noted among the mistakes.
fn read_file(path: &Path, keys: &[String], mistakes: &mut Vec<String>) -> Table {
    let name = path.display();
    let mut note = |message: String| mistakes.push(format!("{name}: {message}"));

    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            note(error.to_string());
            return Table::new();
        }
    };
    let document = match DeTable::parse(&text) {
        Ok(document) => document.into_inner(),
        Err(error) => {
            note(in_place(&text, &error));
            return Table::new();
        }
    };

    let all: Vec<String> = keys.iter().cloned().chain(keys_of_lists()).collect();
    let is_known = |key: &str| {
        let section = format!("{key}.");
        all.iter()
            .any(|known| known == key || known.starts_with(&section))
    };

    for Leaf { key, alone } in leaves(&document) {
        if let Some(path) = moved_key(&key) {
            note(format!("`{key}` has moved: it is `{path}` now"));
        } else if !is_known(&key) {
            note(format!("unknown key `{key}`{}", nearest(&key, &all)));
        } else if let Err(error) = DaemonConfig::deserialize(Deserializer::from(alone)) {
            note(format!("`{key}`, {}", in_place(&text, &error)));
        }
    }

    text.parse().unwrap_or_default()
}

/// One key of a file, in a document of its own.
struct Leaf<'t> {
    /// As `limits.frame_bytes_max`.
    key: String,
    alone: Spanned<DeTable<'t>>,
}

/// Every key of a file: each is judged by itself, so that one mistake hides no other.
fn leaves<'t>(document: &DeTable<'t>) -> Vec<Leaf<'t>> {
    let table_of = |key: &Spanned<DeString<'t>>, value: &Spanned<DeValue<'t>>| {
        DeTable::from_iter([(key.clone(), value.clone())])
    };

    let has_keys = |item: &Spanned<DeValue<'t>>| {
        let table = item.get_ref().as_table();
        table.is_some_and(|table| !table.is_empty())
    };

    let mut leaves = Vec::new();
    for (key, value) in document {
        let (name, span) = (key.get_ref(), value.span());
        let whole = |inner: DeValue<'t>| {
            let inner = Spanned::new(span.clone(), inner);
            Spanned::new(span.clone(), table_of(key, &inner))
        };

        match value.get_ref() {
            DeValue::Table(section) if !section.is_empty() => {
                leaves.extend(section.iter().map(|(inner, value)| Leaf {
                    key: format!("{name}.{}", inner.get_ref()),
                    alone: whole(DeValue::Table(table_of(inner, value))),
                }));
            }

            DeValue::Array(items) if items.iter().any(has_keys) => {
                let tables = items.iter().filter_map(|item| item.get_ref().as_table());
                leaves.extend(tables.flatten().map(|(inner, value)| {
                    let alone = DeValue::Table(table_of(inner, value));
                    let list = DeArray::from_iter([Spanned::new(span.clone(), alone)]);
                    Leaf {
                        key: format!("{name}.{}", inner.get_ref()),
                        alone: whole(DeValue::Array(list)),
                    }
                }));
            }

            other => leaves.push(Leaf {
                key: name.to_string(),
                alone: whole(other.clone()),
            }),
        }
    }

    leaves
}

/// What is wrong with a file, and where, in one line.
fn in_place(text: &str, error: &toml::de::Error) -> String {
    let message = with_nearest(&one_line(error.message()));
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
pub(super) fn env_name(key: &str) -> String {
    format!("{ENV_PREFIX}{}", key.replace('.', "_").to_uppercase())
}

/// The section that all settings of the server once stood in.
const ONE_SECTION: &str = "limits";

/// The path that a setting of this key has now, where it has moved.
fn moved_key(key: &str) -> Option<&'static str> {
    let name = key.strip_prefix(ONE_SECTION)?.strip_prefix('.')?;
    moved(name).filter(|path| *path != key)
}

/// The path that a setting of this environment variable has now, where it has moved.
fn moved_variable(variable: &str) -> Option<&'static str> {
    let name = variable.strip_prefix(&env_name(ONE_SECTION))?;
    moved_key(&format!(
        "{ONE_SECTION}.{}",
        name.strip_prefix('_')?.to_lowercase()
    ))
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
                .ok_or_else(|| format!("`{section}` must be a table, as `[{section}]`"))?
        }
        None => table,
    };
    target.insert(field.to_owned(), value.clone());

    // A value of the right kind may still be a wrong one; say so by the variable's name.
    let mut alone = Table::from_iter([(field.to_owned(), value)]);
    if let Some(section) = section {
        alone = Table::from_iter([(section.to_owned(), Value::Table(alone))]);
    }
    alone
        .try_into::<DaemonConfig>()
        .map_err(|error| format!("`{name}`: {}", one_line(error.message())))?;

    Ok(())
}

/// A message without control characters: keys, names and values are shown as they are, and a quoted
/// one may hold line breaks.
pub(super) fn printable(message: &str) -> String {
    let escape = |character: char| match character.is_control() {
        true => character.escape_default().collect(),
        false => String::from(character),
    };
    message.chars().map(escape).collect()
}

pub(super) fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}
