//! Settings that take effect while the daemon serves: at SIGHUP.

use std::collections::BTreeMap;
use std::fmt;

use toml::{Table, Value};

use super::command_limits::CommandLimits;
use super::config::DaemonConfig;
use super::listeners;
use rpc_core::printable::Printable;
use rpc_server::ServerHandle;
use rpc_server::loggers::Loggers;

/// The target of what an auditor wants to read; the library writes to it, too.
const AUDIT: &str = "rpc_server::audit";

/// What takes effect without a restart, besides the contents of certificates' files.
const RELOADABLE: [&str; 9] = [
    "access_log.failures",
    "access_log.per_million",
    "commands",
    "grants",
    "limits.connections_max",
    "limits.connections_per_address",
    "log_level",
    "loggers",
    "tokens_file",
];

/// Puts changed settings into effect while a daemon serves. It is made by
/// [`Daemon::reloader`](super::Daemon::reloader).
pub struct Reloader {
    handle: ServerHandle,
    current: DaemonConfig,
    command_limits: CommandLimits,
    loggers: Option<Loggers>,
}

/// What came of reading the settings again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reloaded {
    /// What took effect.
    pub changed: Vec<String>,
    /// What could not be read, and why; what was there before stays.
    pub failed: Vec<String>,
    /// Keys whose new values wait for a restart.
    pub needs_restart: Vec<String>,
}

impl Reloader {
    pub(super) fn new(
        handle: ServerHandle,
        current: DaemonConfig,
        command_limits: CommandLimits,
        loggers: Option<Loggers>,
    ) -> Self {
        Self {
            handle,
            current,
            command_limits,
            loggers,
        }
    }

    /// Reads certificates and tokens again, and puts them, grants, limits of commands, loggers and the log level of `next` into effect;
    /// each that is wrong stays as it was. `set_log_level` does so with the log.
    ///
    /// It reads files, and blocks for as long as that takes.
    pub fn reload<E: fmt::Display>(
        &mut self,
        next: DaemonConfig,
        set_log_level: impl FnOnce(&str) -> Result<(), E>,
    ) -> Reloaded {
        let mut done = Reloaded::default();

        for tls in self.handle.certificates() {
            let file = tls.files().certificate.display().to_string();
            match tls.reload() {
                Ok(true) => done.changed.push(format!("certificate {file}")),
                Ok(false) => {}
                Err(error) => done.failed.push(format!("certificate: {error}")),
            }
        }

        match listeners::tokens(&next) {
            Ok(tokens) => {
                if self.handle.set_tokens(tokens) {
                    done.changed.push("tokens".into());
                }
                self.current.tokens_file.clone_from(&next.tokens_file);
            }
            Err(error) => done.failed.push(error.to_string()),
        }

        if next.grants != self.current.grants {
            match listeners::grants(&next.grants) {
                Ok(grants) => {
                    self.handle.set_grants(grants);
                    self.current.grants.clone_from(&next.grants);
                    done.changed.push("grants".into());
                }
                Err(error) => done.failed.push(error.to_string()),
            }
        }

        if next.log_level != self.current.log_level {
            match set_log_level(&next.log_level) {
                Ok(()) => {
                    done.changed.push(format!("log_level {}", next.log_level));
                    self.current.log_level.clone_from(&next.log_level);
                }
                Err(error) => done.failed.push(format!("log_level: {error}")),
            }
        }

        if next.commands != self.current.commands {
            let waiting = self.command_limits.set(&next.commands);
            self.current.commands.clone_from(&next.commands);
            done.changed.push("commands".into());
            done.needs_restart
                .extend(waiting.iter().map(|cmdid| format!("commands of {cmdid}")));
        }

        self.reload_loggers(&next, &mut done);
        self.reload_limits(&next, &mut done);
        done.needs_restart.extend(differences(&self.current, &next));
        done
    }
}

impl Reloader {
    /// Opens the files of loggers that have changed.
    fn reload_loggers(&mut self, next: &DaemonConfig, done: &mut Reloaded) {
        let Some(loggers) = &self.loggers else {
            return;
        };
        if next.loggers == self.current.loggers {
            return;
        }

        match loggers.set(&next.loggers) {
            Ok(waiting) => {
                self.current.loggers.clone_from(&next.loggers);
                done.changed.push("loggers".into());
                let waiting = waiting.iter().map(|cmdid| format!("loggers of {cmdid}"));
                done.needs_restart.extend(waiting);
            }
            Err(error) => done.failed.push(error.to_string()),
        }
    }

    /// Puts those limits of the server into effect that need no restart.
    fn reload_limits(&mut self, next: &DaemonConfig, done: &mut Reloaded) {
        let mut changed = self.current.clone();
        changed.access_log.clone_from(&next.access_log);
        changed.limits.connections_max = next.limits.connections_max;
        changed.limits.connections_per_address = next.limits.connections_per_address;
        if changed == self.current {
            return;
        }

        match self.handle.set_limits(&changed.server()) {
            Ok(()) => {
                done.changed.extend(changes(&self.current, &changed));
                self.current = changed;
            }
            Err(error) => done.failed.push(error.to_string()),
        }
    }
}

/// Each setting that differs, with its new value.
fn changes(current: &DaemonConfig, next: &DaemonConfig) -> Vec<String> {
    let current = flat(current);
    let changed = flat(next)
        .into_iter()
        .filter(|(key, value)| current.get(key) != Some(value));
    changed
        .map(|(key, value)| format!("{key} {value}"))
        .collect()
}

impl Reloaded {
    /// Says it in the log.
    pub fn report(&self) {
        for what in &self.changed {
            tracing::info!(target: AUDIT, "reloaded: {}", Printable(what));
        }

        for what in &self.failed {
            tracing::error!("not reloaded, the old state stays: {}", Printable(what));
        }

        if !self.needs_restart.is_empty() {
            let keys = self.needs_restart.join(", ");
            tracing::warn!(%keys, "changed in the settings; this needs a restart");
        }

        if *self == Self::default() {
            tracing::info!("reloaded: nothing has changed");
        }
    }
}

/// The keys that differ, but for those that take effect at once.
fn differences(current: &DaemonConfig, next: &DaemonConfig) -> Vec<String> {
    let (current, next) = (flat(current), flat(next));
    let keys = current
        .keys()
        .chain(next.keys().filter(|key| !current.contains_key(*key)));
    keys.filter(|key| !RELOADABLE.contains(&key.as_str()) && current.get(*key) != next.get(*key))
        .cloned()
        .collect()
}

/// Every key with its value, as `limits.frame_bytes_max`.
fn flat(config: &DaemonConfig) -> BTreeMap<String, Value> {
    let mut flat = BTreeMap::new();
    for (key, value) in Table::try_from(config).expect("a config is a TOML table") {
        match value {
            Value::Table(section) => {
                flat.extend(
                    section
                        .into_iter()
                        .map(|(inner, value)| (format!("{key}.{inner}"), value)),
                );
            }
            value => {
                flat.insert(key, value);
            }
        }
    }

    flat
}

/// A failure to read the settings at all: everything stays as it is.
pub fn report_unreadable(message: &str) {
    tracing::error!(
        "not reloaded, all settings stay as they were: {}",
        Printable(message)
    );
}

#[cfg(test)]
mod tests {
    use rpc_server::config::Limits;

    use super::*;

    #[test]
    fn what_waits_for_a_restart_is_named_by_its_key() {
        let current = DaemonConfig::default();
        let next = DaemonConfig {
            listen: vec!["127.0.0.1:1".into()],
            log_level: "debug".into(),
            tokens_file: "/x".into(),
            limits: Limits {
                frame_bytes_max: 5,
                ..Limits::default()
            },
            ..DaemonConfig::default()
        };

        assert_eq!(
            differences(&current, &next),
            ["limits.frame_bytes_max", "listen"]
        );
        assert!(differences(&current, &current).is_empty());
    }
}
