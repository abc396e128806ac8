//! The commands of a server by the paths that call them.

use std::collections::HashMap;
use std::sync::Arc;

use rpc_core::{CmdId, Descriptor, Kind, Resume};

/// A command that can be called over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) cmdid: CmdId,
    pub(super) is_stream: bool,
    /// The members of its items' cursors, where it is resumable.
    pub(super) resumable: Option<Arc<[Resume]>>,
}

/// All commands by name and by number.
pub(super) struct Catalog {
    by_name: HashMap<String, Target>,
    by_number: HashMap<CmdId, Target>,
}

impl Catalog {
    pub(super) fn new<'a>(commands: impl IntoIterator<Item = &'a Descriptor>) -> Self {
        let (mut by_name, mut by_number) = (HashMap::new(), HashMap::new());
        for command in commands {
            if !is_callable(command.cmdid) {
                continue;
            }

            let target = Target {
                cmdid: command.cmdid,
                is_stream: command.kind == Kind::Stream,
                resumable: (!command.resumable.is_empty())
                    .then(|| command.resumable.as_slice().into()),
            };
            // Of two commands with one name the first one has it; both have their numbers.
            by_name
                .entry(command.name())
                .or_insert_with(|| target.clone());
            by_number.insert(command.cmdid, target);
        }

        Self { by_name, by_number }
    }

    /// The command that a path names, `/log.append` or `/1001`. A number that no command has is a command that the
    /// server may still answer.
    pub(super) fn find(&self, path: &str) -> Option<Target> {
        let name = path.strip_prefix('/')?;
        if let Some(target) = self.by_name.get(name) {
            return Some(target.clone());
        }

        // The digits alone: `parse` would take a sign as well.
        let is_number = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
        let cmdid = CmdId::new(is_number.then(|| name.parse().ok()).flatten()?);
        let unknown = Target {
            cmdid,
            is_stream: false,
            resumable: None,
        };
        is_callable(cmdid).then(|| self.by_number.get(&cmdid).cloned().unwrap_or(unknown))
    }
}

/// Whether a request can make a call of the command: those that act on the connection itself have no meaning here.
fn is_callable(cmdid: CmdId) -> bool {
    !cmdid.is_control() && cmdid != CmdId::AUTHENTICATE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_command_by_its_name_or_its_number_and_none_that_acts_on_the_connection() {
        let mut append = Descriptor::new("log", "append");
        append.cmdid = CmdId::new(1001);
        let mut tail = Descriptor::new("log", "tail").kind(Kind::Stream);
        tail.cmdid = CmdId::new(1003);
        let built_in = rpc_core::builtins::descriptors();
        let catalog = Catalog::new(built_in.iter().chain([&append, &tail]));

        let found = |path| {
            catalog
                .find(path)
                .map(|found| (found.cmdid.number(), found.is_stream))
        };
        assert_eq!(found("/log.append"), Some((1001, false)));
        assert_eq!(found("/1001"), Some((1001, false)));
        assert_eq!(found("/log.tail"), found("/1003"));
        assert_eq!(found("/1003"), Some((1003, true)));
        assert_eq!(found("/rpc.describe"), Some((1, false)));
        assert_eq!(found("/7777"), Some((7777, false)));

        for path in [
            "/",
            "",
            "log.append",
            "/log",
            "/log.append/",
            "//1001",
            "/+1001",
            "/-1",
            "/4294967296",
            "/4",
            "/5",
            "/6",
            "/rpc.cancel",
            "/rpc.authenticate",
        ] {
            assert_eq!(found(path), None, "{path}");
        }
    }
}
