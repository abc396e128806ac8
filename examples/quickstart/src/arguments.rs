//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

pub(crate) const USAGE: &str = "usage: quickstart [--stay] [FILE]

Ships every line of FILE to a daemon in this process over one shared connection, reads the entries
back, and does the same over HTTP to compare. Without FILE it takes a log of this machine.

  --stay    keep the daemon afterwards, until Ctrl-C";

/// What the program is asked to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Help,
    Run(Options),
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// The file whose lines are shipped; without it a log of this machine.
    pub(crate) file: Option<PathBuf>,
    /// Whether the daemon goes on when all is done.
    pub(crate) stay: bool,
}

/// Reads the command line; `None` if it cannot be understood.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Option<Asked> {
    let mut options = Options::default();

    for argument in arguments {
        match argument.to_str() {
            Some("--help" | "-h") => return Some(Asked::Help),
            Some("--stay") => options.stay = true,
            Some(unknown) if unknown.starts_with('-') => return None,
            _ if options.file.is_some() => return None,
            _ => options.file = Some(argument.into()),
        }
    }

    Some(Asked::Run(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Option<Asked> {
        parse(arguments.iter().map(OsString::from))
    }

    #[test]
    fn flags_and_the_file_come_in_any_order() {
        let asked = Some(Asked::Run(Options {
            file: Some("a.log".into()),
            stay: true,
        }));
        assert_eq!(parsed(&["--stay", "a.log"]), asked);
        assert_eq!(parsed(&["a.log", "--stay"]), asked);

        assert_eq!(parsed(&[]), Some(Asked::Run(Options::default())));
        assert_eq!(parsed(&["a.log", "-h"]), Some(Asked::Help));
        assert_eq!(parsed(&["--stai"]), None);
        assert_eq!(parsed(&["a.log", "b.log"]), None);
    }
}
