//! Log levels as text: a level for all modules, and levels for some, as `info,rpc_server=debug`.

/// What a log level may be, for messages that refuse another one.
pub const LOG_LEVEL_FORM: &str = "must be error, warn, info, debug, trace or off, or a module with one of them, for \
    example \"rpc_server=debug\"";

/// The levels, from the one that shows nothing to the one that shows everything.
pub const LOG_LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The words of a log level that are not levels, such as `inof` in `inof,rpc_server=debug`: a filter of `tracing` would
/// take one for the name of a module, and show only that. Words with a span, a module or a level of their own are left
/// to the filter.
pub fn wrong_log_levels(log_level: &str) -> impl Iterator<Item = &str> {
    log_level
        .split(',')
        .filter(|word| !word.contains(['=', '[', ']', '{', '}', '"']) && !is_level(word))
}

/// As `tracing` reads levels: in any case, or as a number.
fn is_level(word: &str) -> bool {
    matches!(word.as_bytes(), [b'0'..=b'5'])
        || LOG_LEVELS
            .iter()
            .any(|level| level.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::wrong_log_levels;

    #[test]
    fn words_that_are_neither_levels_nor_modules_with_one_are_found() {
        for (log_level, wrong) in [
            ("info", &[][..]),
            ("WARN,rpc_server=debug", &[]),
            ("off,[call{cmdid=5}]=trace", &[]),
            ("3", &[]),
            ("", &[""]),
            ("inof,6,rpc_server=debug, debug", &["inof", "6", " debug"]),
        ] {
            assert_eq!(
                wrong_log_levels(log_level).collect::<Vec<_>>(),
                wrong,
                "{log_level}"
            );
        }
    }
}
