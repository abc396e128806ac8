//! The daemon's config: a TOML file, the environment over it, flags over both.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use toml::{Table, Value};

use super::limits::{self, CommandSettings};
use super::listeners::{self, GrantSettings, ListenerSettings};
use super::store::LogConfig;
use rpc_server::AdminConfig;
use rpc_server::Config;
use rpc_server::TracesConfig;

/// What environment variables begin with: `RPC_SERVER_LIMITS_FRAME_BYTES_MAX` is
/// `limits.frame_bytes_max`.
const ENV_PREFIX: &str = "RPC_SERVER_";
/// Set the config file itself, not a key of it.
const ENV_CONFIG: &str = "RPC_SERVER_CONFIG";

/// What a printed config begins with.
const HEAD: &str = "\
# Settings of the daemon `rpc-server`, as `rpc-server --print-config` prints them. A setting that is
# left out has its default. Where no space follows the `#`, as in `#cmdid = 0`, a setting is not set.
# Environment variables (`RPC_SERVER_LIMITS_FRAME_BYTES_MAX` is `limits.frame_bytes_max`) go over this
# file, and flags over both.

";

/// In `listen`, the sockets that were handed over.
pub(crate) const INHERITED: &str = "inherited";

/// All settings of the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DaemonConfig {
    /// Addresses to listen on: HOST:PORT, where port 0 lets the system choose, unix:PATH, or "inherited" for
    /// the sockets that systemd or another parent hands over (`LISTEN_FDS`), so that a restart refuses nobody.
    pub listen: Vec<String>,
    /// Whether others than this machine may connect to the addresses of `listen`, which have neither TLS nor
    /// authentication. Without it such an address is refused.
    pub allow_plaintext: bool,
    /// Listeners with a policy of their own, each with `address`, and where it is not the default:
    /// `certificate_file` and `key_file` (TLS), `client_ca_file` and `client_certificates` ("off", "optional",
    /// "required"), `require_authentication`, `admin_pages`, `first_frame_timeout_ms`, `allow_plaintext`. With
    /// any of them, and without `listen`, there is no other.
    pub listeners: Vec<ListenerSettings>,
    /// File of the tokens that callers may show: lines of an identity and the SHA-256 of its token, which
    /// `rpc-server --hash-token` prints. Empty: none.
    pub tokens_file: PathBuf,
    /// What each `identity` may call: `commands` as "1001", "2000-2099" or "*". Once there is any, what is not
    /// granted is refused; the identity "*" is everybody.
    pub grants: Vec<GrantSettings>,
    /// Threads that serve TCP connections, each its own share of them; 0 serves all on one runtime with
    /// a thread for each core.
    pub workers: usize,
    /// Directory of all data; made where it is missing.
    pub data_dir: PathBuf,
    /// Format of the log on standard error: "text" or "json".
    pub log_format: LogFormat,
    /// What is logged: "error", "warn", "info", "debug" or "trace", also by module, as
    /// `info,rpc_server=debug`.
    pub log_level: String,
    /// Services to offer: "test" (cmdid 10000), "log" (1001, 1002), "conformance" (10001-10008, for
    /// the vectors; not for production).
    pub services: Vec<ServiceName>,
    /// Limits of single commands, each with `cmdid`, and `in_flight_max` or `requests_per_second` or both: calls
    /// of it that may run at one time, and that may begin in a second.
    pub commands: Vec<CommandSettings>,
    /// Limits of the server and of each connection.
    pub limits: Config,
    /// The log service's store.
    pub log: LogSettings,
    /// Pages about the daemon over HTTP, for people, Prometheus and health checks. Whoever reaches the port
    /// may read them.
    pub admin: AdminConfig,
    /// Traces of calls, sent to a collector of OpenTelemetry (OTLP over HTTP, JSON), in a daemon that is built
    /// with the feature `otel`. Where the caller has decided whether its trace is sampled, that holds. Headers
    /// for the collector and further attributes of the service are taken from the environment:
    /// `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_RESOURCE_ATTRIBUTES`.
    pub traces: TracesConfig,
}

impl Default for DaemonConfig {
    fn default() -> Self {
        Self {
            listen: vec!["127.0.0.1:8889".into()],
            allow_plaintext: false,
            listeners: Vec::new(),
            tokens_file: PathBuf::new(),
            grants: Vec::new(),
            workers: 0,
            data_dir: "rpc-data".into(),
            log_format: LogFormat::Text,
            log_level: "info".into(),
            services: vec![ServiceName::Test, ServiceName::Log],
            commands: Vec::new(),
            limits: Config::default(),
            log: LogSettings::default(),
            admin: AdminConfig::default(),
            traces: TracesConfig::default(),
        }
    }
}

/// The format of the daemon's own log.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A service that the daemon can offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServiceName {
    /// tornado-TCP's test command.
    Test,
    /// Entries appended and read back.
    Log,
    /// What the conformance vectors call.
    Conformance,
}

/// Settings of the log service's store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// Size in bytes at which a file is closed and the next one begun.
    pub segment_bytes: u64,
    /// Bytes of entries that may wait for the disk; more are refused with code 8.
    pub queue_bytes_max: usize,
    /// Size in bytes of all files together over which the oldest are deleted; 0 keeps all.
    pub retention_bytes: u64,
    /// Whether an entry is answered only once it would survive a power failure (fdatasync); false:
    /// once the system has it.
    pub fsync: bool,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            queue_bytes_max: 8 << 20,
            retention_bytes: 0,
            fsync: true,
        }
    }
}

impl LogSettings {
    pub(crate) fn store(&self) -> LogConfig {
        LogConfig {
            segment_bytes: self.segment_bytes,
            queue_bytes_max: self.queue_bytes_max,
            retention_bytes: self.retention_bytes,
            fsync: self.fsync,
        }
    }
}

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

impl DaemonConfig {
    /// Puts the file, the environment and the flags together, and checks the result.
    ///
    /// # Errors
    /// One line that names the file or variable, the key, and what would be right; for an unknown
    /// key the nearest known one.
    pub fn load(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
        flags: Overrides,
    ) -> Result<Self, String> {
        // Keys, names and values are shown as they are, and a quoted one may hold line breaks.
        Self::put_together(file, env, flags).map_err(|message| {
            let escape = |character: char| match character.is_control() {
                true => character.escape_default().collect(),
                false => String::from(character),
            };
            message.chars().map(escape).collect()
        })
    }

    fn put_together(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
        flags: Overrides,
    ) -> Result<Self, String> {
        let keys = known_keys();
        let mut table = match file {
            Some(path) => read_file(path, &keys)?,
            None => Table::new(),
        };

        for (name, value) in env {
            if name.starts_with(ENV_PREFIX) && name != ENV_CONFIG {
                set_from_env(&mut table, &name, &value, &keys)?;
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
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        self.limits
            .check()
            .map_err(|message| format!("[limits] {message}"))?;

        if self.listen.is_empty() && self.listeners.is_empty() {
            return Err(
                "`listen` is empty and must name at least one address, as \"127.0.0.1:8889\""
                    .into(),
            );
        }

        let is_address = |address: &str| address.starts_with("unix:") || address.contains(':');
        for listener in &self.listeners {
            listener.check(!self.tokens_file.as_os_str().is_empty())?;
        }
        listeners::grants(&self.grants)?;

        let mut addresses = self
            .listen
            .iter()
            .chain(self.listeners.iter().map(|listener| &listener.address));
        if let Some(address) = addresses.find(|a| !is_address(a) && *a != INHERITED) {
            return Err(format!(
                "`listen`: \"{address}\" must be HOST:PORT, unix:PATH or \"{INHERITED}\", as \"127.0.0.1:8889\""
            ));
        }

        limits::check(&self.commands)?;
        tracing_subscriber::EnvFilter::try_new(&self.log_level)
            .map_err(|error| format!("`log_level` is \"{}\": {error}", self.log_level))?;
        self.admin
            .check()
            .map_err(|message| format!("[admin] {message}"))?;
        self.traces
            .check()
            .map_err(|message| format!("[traces] {message}"))?;

        if self.log.segment_bytes == 0 || self.log.queue_bytes_max == 0 {
            return Err("[log] `segment_bytes` and `queue_bytes_max` must be at least 1".into());
        }

        Ok(())
    }

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
            push_comment(&mut out, &schema["properties"][section]);
            let _ = writeln!(out, "[{section}]\n");

            for (key, value) in values.as_table().expect("sections are tables") {
                push_key(&mut out, &properties[key], key, value);
            }
        }

        out
    }
}

fn schema() -> Json {
    schemars::schema_for!(DaemonConfig).to_value()
}

/// The properties of a section, behind the reference that the schema makes of it.
fn section_schema<'s>(schema: &'s Json, section: &str) -> &'s Json {
    properties_behind(schema, &schema["properties"][section])
}

/// The properties of the tables of a list; null where it is no list of tables.
fn list_schema<'s>(schema: &'s Json, list: &str) -> &'s Json {
    properties_behind(schema, &schema["properties"][list]["items"])
}

/// The properties of the type that this refers to.
fn properties_behind<'s>(schema: &'s Json, reference: &Json) -> &'s Json {
    let name = reference["$ref"]
        .as_str()
        .and_then(|path| path.rsplit('/').next())
        .unwrap_or_default();
    &schema["$defs"][name]["properties"]
}

/// Every key there is, as `limits.frame_bytes_max`.
fn known_keys() -> Vec<String> {
    let schema = schema();
    let object = |value: &Json| {
        value
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, _)| key.clone())
            .collect()
    };

    let top: Vec<String> = object(&schema["properties"]);
    let mut keys = Vec::new();
    for key in top {
        let inner: Vec<String> = object(section_schema(&schema, &key));
        if inner.is_empty() {
            keys.push(key);
        } else {
            keys.extend(inner.iter().map(|inner| format!("{key}.{inner}")));
        }
    }

    keys
}

/// The keys of the tables that may be given several times, as `listeners.address`.
fn keys_of_lists() -> Vec<String> {
    let schema = schema();
    let mut keys = Vec::new();

    for (list, _) in schema["properties"].as_object().into_iter().flatten() {
        let inner = list_schema(&schema, list).as_object().into_iter().flatten();
        keys.extend(inner.map(|(inner, _)| format!("{list}.{inner}")));
    }

    keys
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

fn set_from_env(table: &mut Table, name: &str, value: &str, keys: &[String]) -> Result<(), String> {
    let env_name = |key: &String| format!("{ENV_PREFIX}{}", key.replace('.', "_").to_uppercase());
    let Some(key) = keys.iter().find(|key| env_name(key) == name) else {
        let names: Vec<String> = keys.iter().map(env_name).collect();
        return Err(format!(
            "unknown environment variable `{name}`{}",
            nearest(name, &names)
        ));
    };

    let defaults = Table::try_from(DaemonConfig::default()).expect("a config is a TOML table");
    let (section, field) = match key.split_once('.') {
        Some((section, field)) => (Some(section), field),
        None => (None, key.as_str()),
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

fn nearest(unknown: &str, known: &[String]) -> String {
    let last = |key: &str| key.rsplit('.').next().unwrap_or(key).to_owned();
    let likeness = |key: &&String| {
        let whole = strsim::jaro_winkler(unknown, key);

        // The right key in the wrong section is near, too.
        whole.max(strsim::jaro_winkler(&last(unknown), &last(key)) - 0.01)
    };

    let best = known
        .iter()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    best.map(|key| format!("; did you mean `{key}`?"))
        .unwrap_or_default()
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn load(text: &str, env: &[(&str, &str)]) -> Result<DaemonConfig, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let env = env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        DaemonConfig::load(Some(file.path()), env, Overrides::default())
    }

    #[track_caller]
    fn refused(text: &str, env: &[(&str, &str)], part: &str) {
        let message = load(text, env).unwrap_err();
        assert!(message.contains(part), "{message}");
    }

    #[test]
    fn the_printed_config_reads_back_as_itself_and_has_every_key_explained() {
        let config = DaemonConfig {
            limits: Config {
                frame_bytes_max: 77,
                ..Config::default()
            },
            ..DaemonConfig::default()
        };

        let text = config.to_commented_toml();
        assert_eq!(load(&text, &[]).unwrap(), config);

        let (mut section, mut before, mut printed) = (String::new(), "", BTreeSet::new());
        for line in text.lines() {
            let bare = line.strip_prefix('#').unwrap_or(line);
            if bare.starts_with('[') {
                section = format!("{}.", bare.trim_matches(['[', ']']));
            } else if let Some((key, _)) = bare.split_once(" =").filter(|_| !bare.starts_with(' '))
            {
                assert!(before.starts_with("# "), "{section}{key} is not explained");
                printed.insert(format!("{section}{key}"));
            }

            before = line;
        }

        let of_lists = keys_of_lists();
        let is_list = |key: &String| {
            of_lists
                .iter()
                .any(|of_list| of_list.starts_with(&format!("{key}.")))
        };
        let known: BTreeSet<_> = known_keys()
            .into_iter()
            .filter(|key| !is_list(key))
            .chain(of_lists.clone())
            .collect();

        assert_eq!(printed, known);
    }

    #[test]
    fn listeners_of_their_own_take_the_place_of_the_default_one_and_are_printed() {
        let text = "tokens_file = \"/t\"\n[[listeners]]\naddress = \"0.0.0.0:1\"\nrequire_authentication = true\n\
                    first_frame_timeout_ms = 5\n[[grants]]\nidentity = \"a\"\ncommands = [\"1\", \"2-3\"]\n";
        let config = load(text, &[]).unwrap();
        assert!(config.listen.is_empty());
        assert_eq!(config.listeners[0].first_frame_timeout_ms, Some(5));
        assert!(config.listeners[0].admin_pages);
        assert_eq!(load(&config.to_commented_toml(), &[]).unwrap(), config);

        let both = load(&format!("listen = [\"127.0.0.1:2\"]\n{text}"), &[]).unwrap();
        assert_eq!((both.listen.len(), both.listeners.len()), (1, 1));
    }

    #[test]
    fn environment_goes_over_the_file_and_flags_over_both() {
        let file =
            "listen = [\"127.0.0.1:1\"]\n[limits]\nframe_bytes_max = 5\nconnections_max = 6\n";
        let env = [
            ("RPC_SERVER_LIMITS_FRAME_BYTES_MAX", "9"),
            ("RPC_SERVER_LISTEN", "127.0.0.1:2, unix:/x"),
            ("RPC_SERVER_CONFIG", "ignored here"),
            ("PATH", "/bin"),
        ];

        let config = load(file, &env).unwrap();
        assert_eq!(
            (config.limits.frame_bytes_max, config.limits.connections_max),
            (9, 6)
        );
        assert_eq!(config.listen, ["127.0.0.1:2", "unix:/x"]);

        let flags = Overrides {
            listen: vec!["[::1]:3".into()],
            ..Overrides::default()
        };
        assert_eq!(
            DaemonConfig::load(None, [], flags).unwrap().listen,
            ["[::1]:3"]
        );
    }

    #[test]
    fn commands_have_limits_of_their_own() {
        let text = "[[commands]]\ncmdid = 1001\nin_flight_max = 8\n[[commands]]\ncmdid = 1002\nrequests_per_second = 5\n";
        let config = load(text, &[]).unwrap();
        assert_eq!(
            (
                config.commands[0].in_flight_max,
                config.commands[1].requests_per_second
            ),
            (8, 5)
        );
        assert_eq!(load(&config.to_commented_toml(), &[]).unwrap(), config);

        refused(
            &format!("{text}[[commands]]\ncmdid = 1001"),
            &[],
            "names cmdid 1001 twice",
        );
        refused(
            "[[commands]]\ncmdid = 1001\nin_flight = 8",
            &[],
            "did you mean `commands.in_flight_max`?",
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right() {
        refused(
            "[limits]\nframe_byte_max = 1",
            &[],
            "unknown key `limits.frame_byte_max`; did you mean `limits.frame_bytes_max`?",
        );
        refused("lissen = []", &[], "did you mean `listen`?");
        refused(
            "frame_bytes_max = 1",
            &[],
            "did you mean `limits.frame_bytes_max`?",
        );
        refused(
            "[limit]\nframe_bytes_max = 1",
            &[],
            "did you mean `limits.frame_bytes_max`?",
        );
        refused(
            "[limits]\nframe_bytes_max = \"x\"",
            &[],
            "line 2, column 19: invalid type",
        );

        for broken in [
            "\u{b}",
            "listen = [\n\n\"a\"",
            "\"a\\nb\" = 1",
            "[limits]\n\"a\\nb\" = 1",
        ] {
            let message = load(broken, &[]).unwrap_err();
            assert!(!message.contains('\n'), "more than one line: {message}");
        }

        refused(
            "[limits]\nframe_bytes_max = 0",
            &[],
            "`frame_bytes_max` is 0 and must be at least 1",
        );
        refused(
            "listen = [\"8889\"]",
            &[],
            "must be HOST:PORT, unix:PATH or \"inherited\"",
        );
        refused("services = [\"sms\"]", &[], "unknown variant `sms`");

        refused(
            "[[listeners]]\nadress = \"a:1\"",
            &[],
            "did you mean `listeners.address`?",
        );
        refused("[[listeners]]\n", &[], "`address` is missing");
        refused(
            "[[listener]]\naddress = \"a:1\"",
            &[],
            "did you mean `listeners.address`?",
        );

        refused(
            "[[grants]]\nidentity = \"a\"\ncommands = [\"x\"]",
            &[],
            "[[grants]] of \"a\": \"x\" must be a cmdid",
        );
        refused(
            "[[grants]]\ncommands = [\"1\"]",
            &[],
            "`identity` is missing",
        );

        let listener = |rest: &str| format!("[[listeners]]\naddress = \"a:1\"\n{rest}");
        refused(
            &listener("key_file = \"k\""),
            &[],
            "belong together; one is missing",
        );
        refused(
            &listener("client_certificates = \"required\""),
            &[],
            "needs TLS",
        );
        let tls = "certificate_file = \"c\"\nkey_file = \"k\"\n";
        refused(
            &listener(&format!("{tls}client_certificates = \"required\"")),
            &[],
            "`client_ca_file` and",
        );
        refused(
            &listener("require_authentication = true"),
            &[],
            "needs something to show",
        );

        refused(
            "[traces]\nendpont = \"\"",
            &[],
            "did you mean `traces.endpoint`?",
        );
        refused(
            "[traces]\nsampled_per_million = 0.5",
            &[],
            "line 2, column 23: invalid type",
        );
        let https = [("RPC_SERVER_TRACES_ENDPOINT", "https://collector")];
        refused(
            "",
            &https,
            "[traces] `endpoint`: \"https://collector\" must be the URL of a collector",
        );

        refused(
            "",
            &[("RPC_SERVER_LIMIT_FRAME_BYTES_MAX", "1")],
            "did you mean `RPC_SERVER_LIMITS_FRAME_BYTES_MAX`?",
        );
        refused(
            "",
            &[("RPC_SERVER_LIMITS_FRAME_BYTES_MAX", "1k")],
            "must be an integer",
        );
        refused(
            "",
            &[("RPC_SERVER_LOG_FORMAT", "xml")],
            "`RPC_SERVER_LOG_FORMAT`: unknown variant `xml`",
        );

        let missing =
            DaemonConfig::load(Some(Path::new("/nowhere/x.toml")), [], Overrides::default());
        assert!(missing.unwrap_err().starts_with("/nowhere/x.toml: "));
    }
}
