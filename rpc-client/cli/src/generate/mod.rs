//! Typed clients in other languages, written from what a server tells of its commands.

mod api;
mod lower;
mod names;
mod node;
mod python;
mod source;
mod typescript;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::Target;
use crate::commands::Description;
use crate::exit::Failure;
use crate::output::Output;
use api::Api;
use names::Names;

/// Generate a typed client for the server's commands in another language
///
/// Each service becomes a class, and each command a method. The same description always gives the same output.
#[derive(Subcommand)]
#[command(after_help = "\
Examples:
  rpc gen python --out orders.py
  rpc gen typescript --services orders,log --out src/services.ts
  rpc describe --json > commands.json; rpc gen python --descriptors commands.json")]
pub(crate) enum Gen {
    /// Generate a module for clients/python, with two classes for each service: one for asyncio and one for threads
    Python(Options),
    /// Generate a module for clients/node, with a class for each service
    Typescript(Options),
}

#[derive(Args)]
pub(crate) struct Options {
    /// File to write; by default standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Only these services, for example orders,log; by default all except the protocol's own commands
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    services: Vec<String>,
    /// File with the output of `rpc describe --json`, instead of a server
    #[arg(long, value_name = "FILE")]
    descriptors: Option<PathBuf>,
}

impl Gen {
    pub(crate) async fn run(self, target: &Target) -> Result<(), Failure> {
        let (options, reserved, write): (_, _, fn(&Api) -> String) = match self {
            Self::Python(options) => (options, python::RESERVED, python::write),
            Self::Typescript(options) => (options, typescript::RESERVED, typescript::write),
        };

        let description = Description::given(options.descriptors.as_deref(), target).await?;
        let commands = chosen(description, &options.services)?;
        let text = write(&Api::of(commands, Names::without(reserved)));

        if let Some(path) = &options.out {
            return std::fs::write(path, text)
                .map_err(|error| Failure::io(&format!("cannot write {}", path.display()), &error));
        }
        let mut output = Output::new();
        for line in text.lines() {
            output.text(line)?;
        }
        output.flush()
    }
}

/// The commands of these services, by number.
fn chosen(
    description: Description,
    services: &[String],
) -> Result<Vec<rpc_core::Descriptor>, Failure> {
    let mut commands = description.commands;
    commands.retain(|command| !command.cmdid.is_built_in());
    commands.sort_by_key(|command| command.cmdid);

    for name in services {
        if !commands.iter().any(|command| command.service == *name) {
            let mut known: Vec<_> = commands.iter().map(|it| it.service.as_ref()).collect();
            known.dedup();
            return Err(Failure::Usage {
                message: format!("`--services`: the server has no service `{name}`"),
                hint: format!("it has {}", known.join(", ")),
            });
        }
    }
    if !services.is_empty() {
        commands.retain(|command| services.iter().any(|name| *name == command.service));
    }
    if commands.is_empty() {
        return Err(Failure::Usage {
            message: "the server has no services to generate a client for".to_owned(),
            hint: "`rpc list` shows what there is".to_owned(),
        });
    }

    Ok(commands)
}

#[cfg(test)]
mod tests;
