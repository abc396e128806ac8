//! A setting that cannot work.

use std::fmt;

/// A setting that cannot work, by itself or beside another one.
///
/// Its `Display` is one line for an operator: the setting as a file spells it, its value, and what it must be.
///
/// ```
/// use rpc_core::config::Tcp;
///
/// let tcp = Tcp { keepalive_probes: 0, ..Tcp::default() };
/// let error = tcp.check().unwrap_err();
/// assert_eq!(error.setting(), "tcp.keepalive_probes");
/// assert_eq!(error.to_string(), "`tcp.keepalive_probes` is 0 and must be at least 1");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    setting: &'static str,
    message: String,
}

impl ConfigError {
    /// The setting of this path, as `"retry.attempts_max"`, and the whole line that is shown.
    pub fn new(setting: &'static str, message: impl Into<String>) -> Self {
        Self {
            setting,
            message: message.into(),
        }
    }

    /// A setting that is 0 and must not be.
    pub fn zero(setting: &'static str) -> Self {
        Self::new(setting, format!("`{setting}` is 0 and must be at least 1"))
    }

    /// Checks settings that must be at least 1, each with its path.
    ///
    /// # Errors
    /// The first one that is 0.
    pub fn unless_positive(settings: &[(&'static str, u64)]) -> Result<(), Self> {
        match settings.iter().find(|(_, value)| *value == 0) {
            Some((setting, _)) => Err(Self::zero(setting)),
            None => Ok(()),
        }
    }

    /// The path of the setting, as `"limits.frame_bytes_max"`.
    pub fn setting(&self) -> &'static str {
        self.setting
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigError {}
