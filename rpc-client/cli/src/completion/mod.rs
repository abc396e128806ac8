//! `rpc completion`: scripts for shells, and what they ask `rpc` for: the words that fit at a place of a command line.
//! Names of commands, their fields and the fields' values come from the server that the line names.

mod line;
mod scripts;

use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, ValueEnum};
use rpc_core::descriptor::first_paragraph;
use rpc_core::{Descriptor, Kind};

use self::line::{Line, Place};
use crate::commands::{Description, find};
use crate::exit::Failure;
use crate::output::Output;
use crate::schema::Schema;
use crate::{Arguments, Target};

/// Time that the server has to tell its commands: a person has pressed a key.
const PATIENCE: Duration = Duration::from_secs(1);

/// Print a script that completes the arguments of `rpc` in a shell
///
/// The script asks the server (`--addr` of the line, or `RPC_ADDR`) for its services, commands and fields.
#[derive(Args)]
#[command(after_help = "\
Examples:
  source <(rpc completion bash)                                        in ~/.bashrc
  source <(rpc completion zsh)                                         in ~/.zshrc, after compinit
  rpc completion fish >~/.config/fish/completions/rpc.fish")]
pub(crate) struct Completion {
    shell: Shell,
}

#[derive(Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// What the scripts call: prints the words that may replace the last one, each with a tab and its description.
#[derive(Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Complete {
    /// The line up to the cursor, `rpc` first; the last word may be empty
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// A word that fits there, and its description.
struct Candidate {
    word: String,
    about: String,
}

impl Candidate {
    fn new(word: impl Into<String>, about: impl ToString) -> Self {
        let about = about.to_string();
        Self {
            word: word.into(),
            about: first_paragraph(&about).into_owned(),
        }
    }
}

impl Completion {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let mut output = Output::new();
        let script = match self.shell {
            Shell::Bash => scripts::BASH,
            Shell::Zsh => scripts::ZSH,
            Shell::Fish => scripts::FISH,
        };
        for line in script.lines() {
            output.text(line)?;
        }
        output.flush()
    }
}

impl Complete {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let program = Arguments::command();
        let Some(line) = Line::read(&self.words, &program) else {
            return Ok(());
        };

        let mut output = Output::new();
        for Candidate { word, about } in candidates(&line).await {
            if word.starts_with(line.begun) {
                output.text(format!("{word}\t{about}").trim_end())?;
            }
        }
        output.flush()
    }
}

/// If the server cannot be asked, its words are left out: a person who types wants no message.
async fn candidates(line: &Line<'_>) -> Vec<Candidate> {
    match &line.place {
        Place::Subcommand => subcommands(line.verb),
        Place::Option => options(line),
        Place::ValueOf(option) => option
            .get_possible_values()
            .iter()
            .map(|value| {
                Candidate::new(
                    value.get_name(),
                    value.get_help().cloned().unwrap_or_default(),
                )
            })
            .collect(),
        Place::Service => match described(line).await {
            Some(description) => {
                let names = description.services().into_iter();
                names.map(|name| Candidate::new(name, "service")).collect()
            }
            None => Vec::new(),
        },
        Place::Command => match described(line).await {
            Some(description) => {
                let takes = |command: &&Descriptor| {
                    line.verb.get_name() != "notify" || command.kind != Kind::Stream
                };
                let commands = description.commands.iter().filter(takes);
                commands
                    .map(|command| Candidate::new(command.name(), &command.doc))
                    .collect()
            }
            None => Vec::new(),
        },
        Place::Field(name) => in_schema(line, name, |schema| {
            schema
                .fields()
                .into_iter()
                // Those within them are a part of their JSON.
                .filter(|field| !field.name.contains('.'))
                .map(|field| Candidate::new(format!("--{}", field.name), field.words))
                .collect()
        })
        .await
        .unwrap_or_default(),
        Place::ValueOfField(name, field) => in_schema(line, name, |schema| {
            let words = schema.words_of(field).into_iter();
            words.map(|word| Candidate::new(word, "")).collect()
        })
        .await
        .unwrap_or_default(),
    }
}

fn subcommands(verb: &clap::Command) -> Vec<Candidate> {
    let visible = verb.get_subcommands().filter(|it| !it.is_hide_set());
    visible
        .map(|it| Candidate::new(it.get_name(), it.get_about().cloned().unwrap_or_default()))
        .collect()
}

/// The options of the verb, and those of the program that stand everywhere.
fn options(line: &Line<'_>) -> Vec<Candidate> {
    let own = line.verb.get_arguments();
    let global = line.program.get_arguments();
    let mut candidates: Vec<_> = own
        .chain(global)
        .filter(|option| !option.is_hide_set())
        .filter_map(|option| {
            let help = option.get_help().cloned().unwrap_or_default();
            Some(Candidate::new(format!("--{}", option.get_long()?), help))
        })
        .collect();
    candidates.sort_by(|a, b| a.word.cmp(&b.word));
    candidates.dedup_by(|a, b| a.word == b.word);
    candidates
}

/// What the server of this line describes, where it does so in time.
async fn described(line: &Line<'_>) -> Option<Description> {
    let mut given = vec!["rpc".to_owned()];
    given.extend(line.server.iter().cloned());
    given.push("list".to_owned());
    let matches = line.program.clone().try_get_matches_from(given).ok()?;
    let target = Target::from_arg_matches(&matches).ok()?;

    let client = target.client();
    let asked = tokio::time::timeout(PATIENCE, Description::of(&client)).await;
    asked.ok()?.ok()
}

/// Reads the params of a command out of its schema, where it has one.
async fn in_schema(
    line: &Line<'_>,
    name: &str,
    read: impl FnOnce(Schema<'_>) -> Vec<Candidate>,
) -> Option<Vec<Candidate>> {
    let description = described(line).await?;
    let command = find(&description.commands, name).ok()?;
    Some(read(Schema::new(command.params.as_ref()?)))
}
