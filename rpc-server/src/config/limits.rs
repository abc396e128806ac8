//! Numbers of connections and of bytes.

use std::time::Duration;

use rpc_core::config::ConfigError;
use serde::{Deserialize, Serialize};

/// Limits on connections and bytes, which bound the memory and the file descriptors that peers can use. At a limit on
/// bytes, the server stops reading from a connection, so that TCP slows the peer down. Only if that does not help,
/// calls are refused with code 8 or the connection is closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Maximum number of open connections. Further ones are refused with code 8 and closed.
    pub connections_max: usize,
    /// Idle time in milliseconds after which a connection may be asked to close when a new one arrives and
    /// `limits.connections_max` is reached; 0 turns this off. Of the connections that have used ids, the one that has
    /// been idle longest is sent `goaway`. Its calls are answered until its client closes it, or until
    /// `drain.timeout_ms` has passed. Meanwhile there may be an eighth more connections than `limits.connections_max`.
    /// Callers that connect often can push out all idle connections.
    pub make_room_after_ms: u64,
    /// Maximum number of open connections of one address; 0: no limit. The addresses of an IPv6 /64 network count as
    /// one, because one host usually gets a whole /64. Further connections are refused with code 8 and closed. Unix
    /// sockets are not counted.
    pub connections_per_address: usize,
    /// Maximum length of a request line in bytes, without its line break. A longer line is skipped, answered with code
    /// 8, and counts as a bad line.
    pub frame_bytes_max: usize,
    /// Maximum size of the `data` of a reply in bytes. A longer reply is replaced by a failure with code 8.
    pub reply_bytes_max: usize,
    /// Number of bytes of waiting replies at which the server stops reading from a connection whose reader is slow.
    pub output_bytes_soft_max: usize,
    /// Maximum number of bytes of replies that wait for a slow reader. Above this number, the connection is cut. At
    /// least `limits.output_bytes_soft_max` and `limits.reply_bytes_max` together, so that one large reply cuts no
    /// connection.
    pub output_bytes_hard_max: usize,
    /// Maximum number of bytes that one connection holds: the line being read, the params of its calls in flight (also
    /// of calls without an `id` that wait for their turn), results and items that are ready, and the output that waits.
    /// At the limit the server stops reading from the connection, and a stream without credit does not look for its
    /// next item. The server still handles lines that it has already read, as long as they are cancels, credits or
    /// built-in commands; it stops at the first other call. At least `limits.frame_bytes_max` and
    /// `limits.output_bytes_soft_max` together.
    pub connection_bytes_max: usize,
    /// Maximum number of bytes that all connections together hold, as `limits.connection_bytes_max` counts them. With
    /// 0, the limit is half of the machine's memory, or half of the smallest memory limit of the process's control
    /// groups, if that is less. Above three quarters of this limit, the server does not read from connections that hold
    /// more than an equal share (three quarters of the limit divided by the number of open connections), and builds
    /// their results one at a time. Above seven eighths, the calls of the connection that holds the most end with
    /// code 8. At least `limits.connection_bytes_max`.
    pub memory_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            make_room_after_ms: 0,
            connections_per_address: 2_500,
            frame_bytes_max: rpc_core::codec::FRAME_BYTES_MAX,
            reply_bytes_max: 4 * 1024 * 1024,
            output_bytes_soft_max: 2 * 1024 * 1024,
            output_bytes_hard_max: 8 * 1024 * 1024,
            connection_bytes_max: 16 * 1024 * 1024,
            memory_bytes_max: 0,
        }
    }
}

impl Limits {
    /// Checks the group by itself.
    ///
    /// # Errors
    /// The setting, its value, and what it must be.
    pub fn check(&self) -> Result<(), ConfigError> {
        ConfigError::unless_positive(&[
            ("limits.connections_max", self.connections_max as u64),
            ("limits.frame_bytes_max", self.frame_bytes_max as u64),
            ("limits.reply_bytes_max", self.reply_bytes_max as u64),
            (
                "limits.output_bytes_soft_max",
                self.output_bytes_soft_max as u64,
            ),
        ])?;
        self.check_bounds()
    }

    pub(crate) fn make_room_after(&self) -> Option<Duration> {
        (self.make_room_after_ms > 0).then(|| Duration::from_millis(self.make_room_after_ms))
    }

    /// Checks limits that bound each other.
    fn check_bounds(&self) -> Result<(), ConfigError> {
        let Self {
            frame_bytes_max: frame,
            reply_bytes_max: reply,
            output_bytes_soft_max: soft,
            output_bytes_hard_max: hard,
            connection_bytes_max: connection,
            memory_bytes_max: memory,
            ..
        } = *self;

        if hard < soft.saturating_add(reply) {
            let message = format!(
                "`limits.output_bytes_hard_max` ({hard}) must be at least `limits.output_bytes_soft_max` ({soft}) and \
                 `limits.reply_bytes_max` ({reply}) together, or one large reply could cut a connection"
            );
            return Err(ConfigError::new("limits.output_bytes_hard_max", message));
        }

        if connection < frame.saturating_add(soft) {
            let message = format!(
                "`limits.connection_bytes_max` ({connection}) must be at least `limits.frame_bytes_max` ({frame}) and \
                 `limits.output_bytes_soft_max` ({soft}) together, or one line and the output that waits could take all \
                 of it"
            );
            return Err(ConfigError::new("limits.connection_bytes_max", message));
        }

        if memory != 0 && memory < connection {
            let message = format!(
                "`limits.memory_bytes_max` ({memory}) must be at least `limits.connection_bytes_max` ({connection}), or 0 \
                 for half of the memory that the process may use"
            );
            return Err(ConfigError::new("limits.memory_bytes_max", message));
        }

        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_zero_is_refused_by_its_path() {
        assert_eq!(Limits::default().check(), Ok(()));

        let zero = Limits {
            frame_bytes_max: 0,
            ..Limits::default()
        };
        assert_eq!(
            zero.check().unwrap_err().to_string(),
            "`limits.frame_bytes_max` is 0 and must be at least 1"
        );
    }

    #[test]
    fn larger_replies_need_room_for_one_behind_those_that_wait() {
        let mib = 1024 * 1024;
        let with_replies_of = |reply_bytes_max| Limits {
            reply_bytes_max,
            ..Limits::default()
        };

        assert_eq!(with_replies_of(6 * mib).check(), Ok(()));
        let error = with_replies_of(6 * mib + 1).check().unwrap_err();
        assert_eq!(error.setting(), "limits.output_bytes_hard_max");
        assert!(
            error
                .to_string()
                .contains("`limits.reply_bytes_max` (6291457)"),
            "{error}"
        );
    }

    #[test]
    fn a_connection_has_room_for_a_line_and_the_output_that_waits() {
        let small = Limits {
            connection_bytes_max: 3 * 1024 * 1024 - 1,
            ..Limits::default()
        };
        assert_eq!(
            small.check().unwrap_err().setting(),
            "limits.connection_bytes_max"
        );

        let less_than_one_connection = Limits {
            memory_bytes_max: 1,
            ..Limits::default()
        };
        assert_eq!(
            less_than_one_connection.check().unwrap_err().setting(),
            "limits.memory_bytes_max"
        );
    }
}
