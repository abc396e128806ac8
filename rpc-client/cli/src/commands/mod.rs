//! Commands by their names: what a server says of them, and how one is named among the arguments.

pub(crate) mod describe;
pub(crate) mod lock;

use std::ffi::OsString;
use std::path::Path;

use rpc_client::{Client, CmdId, RawJson};
use rpc_core::Descriptor;
use serde::Deserialize;
use serde_json::json;

use crate::Target;
use crate::exit::Failure;

/// What `describe` answers.
#[derive(Deserialize)]
pub(crate) struct Description {
    pub(crate) protocol: u32,
    pub(crate) server: Name,
    pub(crate) commands: Vec<Descriptor>,
}

#[derive(Deserialize)]
pub(crate) struct Name {
    pub(crate) name: String,
    pub(crate) version: String,
}

impl Description {
    /// Asks the server.
    pub(crate) async fn of(client: &Client) -> Result<Self, Failure> {
        Ok(client.call(CmdId::DESCRIBE, &json!({})).await?)
    }

    /// What this file holds; without one, what the server says.
    pub(crate) async fn given(file: Option<&Path>, target: &Target) -> Result<Self, Failure> {
        let Some(path) = file else {
            return Self::of(&target.client()).await;
        };

        let hint = || "it is a file with what `rpc describe --json` prints".to_owned();
        let text = std::fs::read_to_string(path).map_err(|error| Failure::Usage {
            message: format!("cannot read {}: {error}", path.display()),
            hint: hint(),
        })?;
        serde_json::from_str(&text).map_err(|error| Failure::Usage {
            message: format!("{}: {error}", path.display()),
            hint: hint(),
        })
    }

    pub(crate) fn decode(data: &RawJson<'_>) -> Result<Self, Failure> {
        data.decode().map_err(|error| {
            Failure::Io(format!(
                "the server's answer to `describe` cannot be read: {error}"
            ))
        })
    }

    /// The names of the services, each once, in the order of their commands.
    pub(crate) fn services(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for command in &self.commands {
            if !names.contains(&command.service.as_ref()) {
                names.push(&command.service);
            }
        }
        names
    }
}

/// The command with this name or number. A name without its service will do where only one has it.
pub(crate) fn find<'c>(commands: &'c [Descriptor], name: &str) -> Result<&'c Descriptor, Failure> {
    let number: Option<u32> = name.parse().ok();
    let found = commands
        .iter()
        .find(|command| Some(command.cmdid.number()) == number || command.name() == name);
    if let Some(command) = found {
        return Ok(command);
    }

    let mut methods = commands.iter().filter(|command| command.method == name);
    if let (Some(only), None) = (methods.next(), methods.next()) {
        return Ok(only);
    }

    // Names that share its beginning, or its service.
    let service = name.split('.').next().unwrap_or(name);
    let near: Vec<_> = commands
        .iter()
        .filter(|command| command.service == service || command.method == name)
        .map(Descriptor::name)
        .collect();
    let hint = if near.is_empty() {
        "`rpc list` shows what there is".to_owned()
    } else {
        format!("there are {}", near.join(", "))
    };
    Err(Failure::Usage {
        message: format!("the server has no command `{name}`"),
        hint,
    })
}

pub(crate) fn kind_of(command: &Descriptor) -> String {
    serde_json::to_value(command.kind)
        .ok()
        .and_then(|kind| kind.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// Flags of a command's fields, which only the server knows: they are taken out of the arguments before those are parsed.
pub(crate) struct Fields {
    /// The arguments up to the name of the command.
    pub(crate) arguments: Vec<OsString>,
    /// The arguments after it.
    pub(crate) fields: Vec<String>,
}

impl Fields {
    /// Splits the arguments behind the name of a command that is called or notified, where a flag follows. So an option
    /// of `rpc` comes before the name there.
    pub(crate) fn split_from(arguments: Vec<OsString>, program: &clap::Command) -> Self {
        let at = name_of_command(&arguments, program).filter(|at| {
            let is_number = arguments[*at]
                .to_str()
                .is_some_and(|name| name.parse::<u32>().is_ok());
            let next = arguments.get(at + 1).and_then(|next| next.to_str());
            !is_number && next.is_some_and(|next| next.starts_with("--") && next != "--help")
        });
        let Some(at) = at else {
            return Self {
                arguments,
                fields: Vec::new(),
            };
        };

        let fields = arguments[at + 1..]
            .iter()
            .map(|field| field.to_string_lossy().into_owned())
            .collect();
        Self {
            arguments: arguments[..=at].to_vec(),
            fields,
        }
    }
}

/// The place of the command's name among the arguments of `rpc call` and `rpc notify`.
fn name_of_command(arguments: &[OsString], program: &clap::Command) -> Option<usize> {
    let mut verb: Option<&clap::Command> = None;
    let mut place = 1;
    while let Some(argument) = arguments.get(place) {
        let text = argument.to_str()?;
        if let Some(long) = text.strip_prefix("--") {
            let of_verb = verb.into_iter().flat_map(clap::Command::get_arguments);
            let option = program
                .get_arguments()
                .chain(of_verb)
                .find(|option| option.get_long() == Some(long));
            // One that has its value behind `=` is not found, and has it already.
            if option.is_some_and(|option| option.get_action().takes_values()) {
                place += 1;
            }
        } else if !text.starts_with('-') {
            match verb {
                Some(_) => return Some(place),
                None if text == "call" || text == "notify" => verb = program.find_subcommand(text),
                None => return None,
            }
        }
        place += 1;
    }
    None
}
