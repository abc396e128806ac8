//! Checks of the settings: what they say by themselves, and what a start finds on this machine.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rpc_core::config::{LOG_LEVEL_FORM, LOG_LEVELS, wrong_log_levels};
use rpc_server::{ConfigError, ListenOptions, loggers};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use super::keys::nearest;
use super::load::printable;
use super::{DaemonConfig, INHERITED, ServiceName};
use crate::listeners::{self, ListenerSettings};
use crate::{services, store, store_dir};

/// Smallest queue of the log: a line with what a peer has sent fits into it.
const LOG_LINES_BYTES_MIN: usize = 16 * 1024;

/// Everything that is wrong with the settings, each mistake in one line: its key, its value, and what
/// would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(Vec<String>);

impl Mistakes {
    /// `Ok` if the list is empty.
    pub(super) fn none_of(mistakes: Vec<String>) -> Result<(), Self> {
        if mistakes.is_empty() {
            return Ok(());
        }

        Err(Self::from(mistakes))
    }

    /// The mistakes, one line each.
    pub fn lines(&self) -> &[String] {
        &self.0
    }
}

impl From<Vec<String>> for Mistakes {
    fn from(mistakes: Vec<String>) -> Self {
        Self(mistakes.iter().map(|line| printable(line)).collect())
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl Error for Mistakes {}

impl DaemonConfig {
    /// Checks everything that a start checks, without binding an address and without opening the store:
    /// the values, whether addresses can be resolved and are not reached unprotected, certificates,
    /// keys, tokens and secrets, whether the commands of `[[commands]]` exist, whether the data directory can be
    /// written to (a file is created there, and removed).
    ///
    /// It blocks: files are read, and names looked up.
    ///
    /// # Errors
    /// All mistakes.
    pub fn check(&self) -> Result<(), Mistakes> {
        let mut mistakes = self.mistakes_of_values();

        let plain = self.listen.iter().filter(|address| is_address(address));
        mistakes.extend(plain.filter_map(|address| {
            let options = ListenOptions::new(address).allow_plaintext(self.allow_plaintext);
            options
                .check()
                .err()
                .map(|error| format!("`listen`: {error}"))
        }));

        let own = self.listeners.iter().filter(|listener| {
            is_address(&listener.address) && listener.mistakes(&self.tokens_file).is_empty()
        });
        mistakes.extend(own.filter_map(mistake_of_listener));

        if self.admin.enabled && is_address(&self.admin.listen) {
            let options =
                ListenOptions::new(&self.admin.listen).allow_plaintext(self.admin.allow_plaintext);
            let checked = options.check();
            mistakes.extend(
                checked
                    .err()
                    .map(|error| format!("`admin.listen`: {error}")),
            );
        }

        mistakes.extend(listeners::tokens(self).err().map(|error| error.to_string()));
        mistakes.extend(self.unknown_commands());
        #[cfg(feature = "sms")]
        if self.services.contains(&ServiceName::Sms) {
            mistakes.extend(self.sms.mistakes_of_files());
        }

        let mut dirs = self.services.iter().filter_map(|service| match service {
            ServiceName::Log => Some(store_dir(&self.data_dir)),
            #[cfg(feature = "sms")]
            ServiceName::Sms => Some(self.data_dir.clone()),
            ServiceName::Test | ServiceName::Conformance => None,
        });
        let wrong = dirs.find_map(|dir| mistake_of_store_dir(&dir));
        mistakes.extend(
            wrong.map(|message| format!("`data_dir` = \"{}\": {message}", self.data_dir.display())),
        );

        let files = self
            .loggers
            .iter()
            .filter(|logger| !logger.file.as_os_str().is_empty());
        mistakes.extend(files.filter_map(|logger| {
            let message = mistake_of_log_file(&logger.file)?;
            let (name, file) = (&logger.name, logger.file.display());
            Some(format!(
                "[[loggers]] \"{name}\": `file` = \"{file}\": {message}"
            ))
        }));

        Mistakes::none_of(mistakes)
    }

    /// Checks what the settings say by themselves: no file is read, no name is looked up.
    ///
    /// # Errors
    /// All mistakes.
    pub fn check_values(&self) -> Result<(), Mistakes> {
        Mistakes::none_of(self.mistakes_of_values())
    }

    fn mistakes_of_values(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        let mut note = |checked: Result<(), ConfigError>| {
            mistakes.extend(checked.err().map(|error| error.to_string()));
        };

        note(self.limits.check());
        note(self.timeouts.check());
        note(self.accept.check());
        note(self.admission.check());
        note(self.throttle.check());
        note(self.blocking.check());
        note(self.drain.check());
        note(self.tcp.check());
        note(self.token_failures.check());
        note(self.access_log.check());
        note(self.log.check());
        #[cfg(feature = "syslog")]
        note(self.syslog.check());
        note(self.admin.check());
        note(self.traces.check());

        let loggers = loggers::check(&self.loggers);
        mistakes.extend(loggers.err().map(|error| error.to_string()));

        for grant in &self.grants {
            let checked = listeners::grants(std::slice::from_ref(grant));
            mistakes.extend(checked.err().map(|error| error.to_string()));
        }

        if self.listen.is_empty() && self.listeners.is_empty() {
            mistakes.push(
                "`listen` is empty and must name at least one address, for example \"127.0.0.1:8889\""
                    .into(),
            );
        }

        for listener in &self.listeners {
            mistakes.extend(listener.mistakes(&self.tokens_file));
        }

        let named = self.listeners.iter().map(|listener| &listener.address);
        let wrong = self
            .listen
            .iter()
            .chain(named.filter(|address| !address.is_empty()))
            .filter(|address| !is_address(address) && *address != INHERITED);
        mistakes.extend(wrong.map(|address| {
            format!(
                "`listen`: \"{address}\" must be HOST:PORT, unix:PATH or \"{INHERITED}\", for example \
                 \"127.0.0.1:8889\""
            )
        }));

        let mut seen = BTreeSet::new();
        let twice = self
            .commands
            .iter()
            .filter(|command| !seen.insert(command.cmdid));
        mistakes.extend(twice.map(|command| {
            let cmdid = command.cmdid;
            format!("[[commands]] names cmdid {cmdid} twice; remove one")
        }));

        #[cfg(feature = "sms")]
        if self.services.contains(&ServiceName::Sms) {
            mistakes.extend(self.sms.mistakes());
        }

        #[cfg(feature = "syslog")]
        {
            mistakes.extend(self.syslog.mistakes());
            if !self.syslog.listen.is_empty() && !self.services.contains(&ServiceName::Log) {
                mistakes.push(
                    "`syslog.listen` needs the service \"log\": add it to `services`, or leave `syslog.listen` empty"
                        .into(),
                );
            }
        }

        mistakes.extend(self.contradictions());
        mistakes.extend(mistakes_of_log_level("log_level", &self.log_level));
        if self.log_lines_bytes_max < LOG_LINES_BYTES_MIN {
            let bytes = self.log_lines_bytes_max;
            mistakes.push(format!(
                "`log_lines_bytes_max` is {bytes} and must be at least {LOG_LINES_BYTES_MIN}, or long lines are never logged"
            ));
        }

        mistakes
    }

    /// Settings of the log service that other settings keep from working.
    fn contradictions(&self) -> Vec<String> {
        if !self.services.contains(&ServiceName::Log) {
            return Vec::new();
        }

        let mut mistakes = Vec::new();
        let (reply, page) = (self.limits.reply_bytes_max, store::REPLY_BYTES_MIN);
        if reply < page {
            mistakes.push(format!(
                "`limits.reply_bytes_max` is {reply}, but a page of the log service may have {page} bytes: raise the \
                 limit to that, or remove \"log\" from `services`"
            ));
        }

        let (retention, segment) = (self.log.retention_bytes, self.log.segment_bytes);
        if (1..segment).contains(&retention) {
            mistakes.push(format!(
                "`log.retention_bytes` is {retention} and less than `log.segment_bytes` ({segment}), but the newest \
                 file is always kept: lower `log.segment_bytes`, for example to an eighth of `log.retention_bytes`"
            ));
        }

        let (retention, segment) = (self.log.retention_age_s, self.log.segment_age_s);
        if retention > 0 && (segment == 0 || retention < segment) {
            mistakes.push(format!(
                "`log.retention_age_s` is {retention}, but the newest file, which is always kept, may get older by \
                 `log.segment_age_s` ({segment}; 0: no limit): lower `log.segment_age_s`, for example to an eighth of \
                 `log.retention_age_s`"
            ));
        }

        mistakes
    }

    /// The limits of commands that no service has.
    fn unknown_commands(&self) -> Vec<String> {
        let known: BTreeSet<u32> = self
            .services
            .iter()
            .flat_map(|service| services::commands(*service))
            .collect();
        let names: Vec<String> = known.iter().map(u32::to_string).collect();

        let unknown = self.commands.iter().map(|command| command.cmdid);
        unknown
            .filter(|cmdid| !known.contains(cmdid))
            .map(|cmdid| {
                let names = names.join(", ");
                format!(
                    "[[commands]] `cmdid` = {cmdid}: no service of `services` has this command; \
                     their commands are {names}"
                )
            })
            .collect()
    }
}

fn is_address(address: &str) -> bool {
    address.starts_with("unix:") || address.contains(':')
}

/// The first thing on this machine that keeps a listener of its own from being bound.
fn mistake_of_listener(listener: &ListenerSettings) -> Option<String> {
    let mistake = match listener.options() {
        Ok(options) => options.check().err()?.to_string(),
        Err(error) => error.to_string(),
    };

    Some(format!("[[listeners]] \"{}\": {mistake}", listener.address))
}

/// What is wrong with a log level, which `source` has set: a setting, a variable or a flag.
pub(super) fn mistakes_of_log_level(source: &str, log_level: &str) -> Vec<String> {
    let known = LOG_LEVELS.map(str::to_owned);
    let wrong: Vec<String> = wrong_log_levels(log_level)
        .map(|word| {
            let meant = nearest(word, &known);
            format!("`{source}` = \"{log_level}\": \"{word}\" {LOG_LEVEL_FORM}{meant}")
        })
        .collect();
    if !wrong.is_empty() {
        return wrong;
    }

    let checked = log_filter(log_level);
    let mistake = checked.err().map(|error| {
        format!("`{source}` = \"{log_level}\": {error}; write a level, for example \"info\", or \"rpc_server=debug\"")
    });
    mistake.into_iter().collect()
}

/// The filter of the daemon's log for a `log_level`. What the level says of `rpc_server` counts for the modules of the
/// daemon itself as well: for an operator both are one program.
///
/// # Errors
/// Where the level is not one that a filter takes.
pub fn log_filter(log_level: &str) -> Result<EnvFilter, ParseError> {
    let of_daemon = log_level.split(',').filter_map(|directive| {
        let rest = directive.strip_prefix("rpc_server")?;
        (rest.starts_with('=') || rest.starts_with("::")).then(|| format!("rpc_daemon{rest}"))
    });
    // By this span the log knows which lines a logger of a command writes to the console.
    let loggers = format!("{}=error", loggers::SPAN_TARGET);
    let directives: Vec<String> = of_daemon.chain([log_level.to_owned(), loggers]).collect();

    EnvFilter::try_new(directives.join(","))
}

/// What keeps a file, which need not exist yet, from being appended to.
fn mistake_of_log_file(file: &Path) -> Option<String> {
    if let Ok(found) = fs::metadata(file) {
        let opened = match found.is_dir() {
            true => Err(io::Error::from(io::ErrorKind::IsADirectory)),
            false => File::options().append(true).open(file).map(drop),
        };
        return opened
            .err()
            .map(|error| format!("it cannot be written to: {error}; name another file"));
    }

    mistake_of_store_dir(file.parent()?)
}

/// What keeps the store from being opened in a directory, which need not exist yet.
fn mistake_of_store_dir(dir: &Path) -> Option<String> {
    let there = dir.ancestors().find_map(|ancestor| {
        // The last ancestor of a relative path is empty, and means the current directory.
        let ancestor = match ancestor.as_os_str().is_empty() {
            true => Path::new("."),
            false => ancestor,
        };

        match fs::metadata(ancestor) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                None
            }
            found => Some((ancestor, found)),
        }
    });

    let (there, found) = there?;
    let shown = there.display();
    let usable = match found {
        Ok(found) if found.is_dir() => try_to_write(there, dir),
        Ok(_) => return Some(format!("{shown} is not a directory; name one")),
        Err(error) => Err(error),
    };

    usable.err().map(|error| {
        format!(
            "{shown} cannot be written to: {error}; name a directory that the daemon's user may write to"
        )
    })
}

/// Creates a file in a directory and removes it; what is in the store's directory already must be open
/// to this process, too.
fn try_to_write(there: &Path, store: &Path) -> io::Result<()> {
    let probe = there.join(format!(".rpc-server-check-{}", std::process::id()));
    File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&probe)?;
    fs::remove_file(&probe)?;

    match File::options().write(true).open(store.join("lock")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
