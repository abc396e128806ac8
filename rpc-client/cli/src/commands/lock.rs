//! `rpc lock`: commands that old clients rely on stay as they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use rpc_core::{CmdId, Descriptor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Target;
use crate::commands::Description;
use crate::exit::Failure;
use crate::output::{Output, complain};
use crate::schema::{Misfit, Part, Schema};

/// Compare the commands of a server with the released ones
///
/// The lock file has the properties that clients rely on: numbers, names, kinds, retry categories (idempotent, dedup or
/// none) and schemas. --check fails if a number is reused or missing, or if a kind or category has changed. It also
/// fails if the new schema of params refuses what old clients send, or if old clients cannot read the new data.
#[derive(Args)]
#[command(after_help = "\
Examples:
  rpc lock --update                                once, and after each release
  rpc lock --check                                 in CI
  rpc describe --json > commands.json; rpc lock --check --descriptors commands.json")]
pub(crate) struct Lock {
    /// Compare, and fail if an old client would fail
    #[arg(long, required_unless_present = "update", conflicts_with = "update")]
    check: bool,
    /// Write the server's commands into the file. Commands that no longer exist stay in it, so that no number is used
    /// again
    #[arg(long)]
    update: bool,
    /// The lock file
    #[arg(long, value_name = "FILE", default_value = "cmdids.lock")]
    file: PathBuf,
    /// File with the output of `rpc describe --json`, instead of a server
    #[arg(long, value_name = "FILE")]
    descriptors: Option<PathBuf>,
}

/// The lock file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Locked {
    /// What this file is, for those who open it.
    about: String,
    commands: Vec<LockedCommand>,
}

/// A command as it was released.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct LockedCommand {
    /// Whether it was there once and is gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    removed: bool,
    #[serde(flatten)]
    descriptor: Descriptor,
}

const ABOUT: &str = "Commands as clients know them. `rpc lock --check` compares a server with this file, `rpc lock --update` renews it.";

impl Lock {
    pub(crate) async fn run(self, target: &Target) -> Result<(), Failure> {
        let served = self.served(target).await?;
        let mut output = Output::new();

        if self.update {
            let before = if self.file.exists() {
                read_lock(&self.file)?
            } else {
                Locked::default()
            };
            let locked = updated(before, served);
            let count = locked.commands.len();
            write_lock(&self.file, &locked)?;
            output.text(&format!("{} has {count} commands", self.file.display()))?;
            return output.flush();
        }

        let locked = read_lock(&self.file)?;
        let breaks = compare(&locked, &served);
        if !breaks.is_empty() {
            for line in &breaks {
                complain(line);
            }
            return Err(Failure::Lines {
                message: differences_in_words(breaks.len(), &self.file),
                exit: 1,
            });
        }

        let count = locked.commands.iter().filter(|it| !it.removed).count();
        output.text(&format!("{count} commands are as they were released"))?;
        output.flush()
    }

    /// The commands of services, by number.
    async fn served(&self, target: &Target) -> Result<Vec<Descriptor>, Failure> {
        let description = Description::given(self.descriptors.as_deref(), target).await?;
        let mut commands = description.commands;
        commands.retain(|command| !command.cmdid.is_built_in());
        commands.sort_by_key(|command| command.cmdid);
        for command in &mut commands {
            // The store is a process's own.
            if let Some(dedup) = &mut command.dedup {
                dedup.store = None;
            }
        }
        Ok(commands)
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| Failure::Usage {
        message: format!("cannot read {}: {error}", path.display()),
        hint: "`rpc lock --update` writes the lock file, --file names another one".to_owned(),
    })
}

fn read_lock(path: &Path) -> Result<Locked, Failure> {
    serde_json::from_str(&read(path)?).map_err(|error| Failure::Usage {
        message: format!("{} is not a lock file: {error}", path.display()),
        hint: "`rpc lock --update` writes one".to_owned(),
    })
}

fn write_lock(path: &Path, locked: &Locked) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(locked).unwrap_or_default() + "\n";
    std::fs::write(path, text).map_err(|error| Failure::io("cannot write the lock file", &error))
}

fn differences_in_words(count: usize, file: &Path) -> String {
    let file = file.display();
    match count {
        1 => format!("1 difference from {file}"),
        _ => format!("{count} differences from {file}"),
    }
}

/// What is served, and what is gone.
fn updated(before: Locked, served: Vec<Descriptor>) -> Locked {
    let mut commands: BTreeMap<CmdId, LockedCommand> = BTreeMap::new();
    for command in before.commands {
        let gone = LockedCommand {
            removed: true,
            ..command
        };
        commands.insert(gone.descriptor.cmdid, gone);
    }
    for descriptor in served {
        let command = LockedCommand {
            removed: false,
            descriptor,
        };
        commands.insert(command.descriptor.cmdid, command);
    }

    Locked {
        about: ABOUT.to_owned(),
        commands: commands.into_values().collect(),
    }
}

/// What old clients would stumble over, a line each.
fn compare(locked: &Locked, served: &[Descriptor]) -> Vec<String> {
    let mut breaks = Vec::new();
    for LockedCommand {
        removed,
        descriptor: old,
    } in &locked.commands
    {
        let new = served.iter().find(|command| command.cmdid == old.cmdid);
        let (cmdid, name) = (old.cmdid, old.name());

        match new {
            None if *removed => {}
            None => breaks.push(format!(
                "{cmdid} {name}: the command is missing, and old clients may call it"
            )),
            Some(new) if new.name() != name => breaks.push(format!(
                "{cmdid} {name}: the number is used again, for {}",
                new.name()
            )),
            Some(new) => breaks.extend(
                differences(old, new)
                    .into_iter()
                    .map(|what| format!("{cmdid} {name}: {what}")),
            ),
        }
    }
    breaks
}

fn differences(old: &Descriptor, new: &Descriptor) -> Vec<String> {
    let mut found = Vec::new();
    if old.kind != new.kind {
        found.push(format!(
            "its kind was {:?}, and is {:?}",
            old.kind, new.kind
        ));
    }
    let (was, is) = (old.retry_category(), new.retry_category());
    if was != is {
        found.push(format!(
            "its retry category has changed from {was:?} to {is:?}"
        ));
    }

    let params = params_break(old.params.as_ref(), new.params.as_ref());
    if let Some(Misfit { field, reason }) = params {
        found.push(format!("old clients cannot call it: `{field}`: {reason}"));
    }
    let data = data_break(old.data.as_ref(), new.data.as_ref());
    if let Some(Misfit { field, reason }) = data {
        found.push(format!(
            "old clients cannot read its data: `{field}`: {reason}"
        ));
    }
    found
}

/// What new params refuse that old clients send. Nothing is known of params without a schema.
fn params_break(old: Option<&Value>, new: Option<&Value>) -> Option<Misfit> {
    let (old, new) = (Schema::new(old?), Schema::new(new?));
    new.covers(old, Part::Params).err()
}

/// What new data have that old clients cannot read.
fn data_break(old: Option<&Value>, new: Option<&Value>) -> Option<Misfit> {
    let (old, new) = (Schema::new(old?), Schema::new(new?));
    old.covers(new, Part::Data).err()
}

#[cfg(test)]
mod tests {
    use rpc_core::{Kind, RetryCategory};

    use super::*;

    /// Two schemas of one command, and what is to be said of them.
    #[derive(Deserialize)]
    struct Pair {
        name: String,
        #[serde(default)]
        params: Option<[Value; 2]>,
        #[serde(default)]
        data: Option<[Value; 2]>,
        #[serde(default)]
        breaks: Option<String>,
    }

    #[test]
    fn each_pair_of_schemas_gets_its_verdict() {
        let pairs: Vec<Pair> =
            serde_json::from_str(include_str!("../../tests/lock_pairs.json")).unwrap();
        assert!(pairs.len() >= 25, "{}", pairs.len());

        for pair in pairs {
            let misfit = match (&pair.params, &pair.data) {
                (Some([old, new]), None) => params_break(Some(old), Some(new)),
                (None, Some([old, new])) => data_break(Some(old), Some(new)),
                _ => panic!("{} has params or data", pair.name),
            };
            let found = misfit.map(|it| format!("{}: {}", it.field, it.reason));
            assert_eq!(found, pair.breaks, "{}", pair.name);
        }
    }

    fn command(cmdid: u32, method: &'static str) -> Descriptor {
        let mut descriptor = Descriptor::new("orders", method);
        descriptor.cmdid = cmdid.into();
        descriptor
    }

    #[test]
    fn numbers_that_are_gone_or_used_again_and_changed_kinds_are_found() {
        let released = vec![command(100, "place"), command(101, "find")];
        let locked = updated(Locked::default(), released.clone());
        assert_eq!(compare(&locked, &released), Vec::<String>::new());

        let served = [command(101, "forget")];
        assert_eq!(
            compare(&locked, &served),
            [
                "100 orders.place: the command is missing, and old clients may call it",
                "101 orders.find: the number is used again, for orders.forget",
            ]
        );

        let served = [
            command(100, "place").kind(Kind::Stream),
            command(101, "find").retry(RetryCategory::Dedup),
            command(102, "more"),
        ];
        assert_eq!(
            compare(&locked, &served),
            [
                "100 orders.place: its kind was Unary, and is Stream",
                "101 orders.find: its retry category has changed from Neither to Dedup",
            ]
        );

        // What was taken away on purpose stays known.
        let locked = updated(locked, vec![command(101, "find")]);
        assert_eq!(
            compare(&locked, &[command(101, "find")]),
            Vec::<String>::new()
        );
        let served = [command(100, "other"), command(101, "find")];
        assert_eq!(
            compare(&locked, &served),
            ["100 orders.place: the number is used again, for orders.other"]
        );
    }
}
