//! `rpc list` and `rpc describe`: the commands of a server.

use clap::Args;
use rpc_client::{CmdId, RawJson};
use rpc_core::descriptor::first_paragraph;
use rpc_core::{Descriptor, ErrorDescriptor, Kind, RetryCategory};
use serde_json::{Value, json};

use crate::Target;
use crate::commands::{Description, find, kind_of};
use crate::exit::Failure;
use crate::output::Output;
use crate::schema::Schema;

/// List the commands of the server, or of one of its services
///
/// Prints a line for each command: its number, name and kind, and a short description.
#[derive(Args)]
#[command(after_help = "\
Examples:
  rpc list
  rpc list log")]
pub(crate) struct List {
    /// The service, for example `log`; by default all services
    service: Option<String>,
}

/// Show one command with its fields, or list all commands
///
/// On a terminal the output is text: one command with its fields, and a call to copy. Elsewhere it is one line of JSON
/// as the server sent it, with the JSON Schemas of params and data.
#[derive(Args)]
#[command(after_help = "\
Examples:
  rpc describe
  rpc describe log.append
  rpc describe 1001
  rpc describe | jq '.commands[].cmdid'")]
pub(crate) struct Describe {
    /// Name or number of the command
    command: Option<String>,
    /// Print JSON even on a terminal
    #[arg(long, conflicts_with = "text")]
    json: bool,
    /// Print text even into a pipe or a file
    #[arg(long)]
    text: bool,
}

impl List {
    pub(crate) async fn run(self, target: &Target) -> Result<(), Failure> {
        let mut description = Description::of(&target.client()).await?;
        if let Some(service) = &self.service {
            let names: Vec<_> = description.services();
            let known = names.join(", ");
            description.commands.retain(|it| it.service == *service);
            if description.commands.is_empty() {
                return Err(Failure::Usage {
                    message: format!("the server has no service `{service}`"),
                    hint: format!("it has {known}"),
                });
            }
        }

        let mut output = Output::new();
        table(&mut output, &description.commands)?;
        output.flush()
    }
}

impl Describe {
    pub(crate) async fn run(self, target: &Target) -> Result<(), Failure> {
        let client = target.client();
        let number = self.command.as_deref().map(str::parse::<u32>);
        let params = match number {
            Some(Ok(cmdid)) => json!({ "cmdid": cmdid }),
            _ => json!({}),
        };
        let data = client.command(CmdId::DESCRIBE).call_raw(&params).await?;
        let data = data.unwrap_or(RawJson::NULL);

        let is_json = self.json || !self.text && !Output::is_terminal();
        let mut output = Output::new();
        let Some(name) = &self.command else {
            if is_json {
                output.value(data.as_str())?;
            } else {
                list(&mut output, &Description::decode(&data)?)?;
            }
            return output.flush();
        };

        // A number was the server's to find.
        if is_json && matches!(number, Some(Ok(_))) {
            output.value(data.as_str())?;
        } else {
            let description = Description::decode(&data)?;
            let command = find(&description.commands, name)?;
            if is_json {
                output.value(&serde_json::to_string(command).unwrap_or_default())?;
            } else {
                show(&mut output, command)?;
            }
        }
        output.flush()
    }
}

/// Widest column of names. A name may be longer; the server may send any, and formatting has its limits.
const NAME_WIDTH_MAX: usize = 60;

fn list(output: &mut Output, description: &Description) -> Result<(), Failure> {
    let Description {
        protocol,
        server,
        commands,
    } = description;

    let name = format!("{} {}, protocol {protocol}", server.name, server.version);
    output.text(&name)?;
    output.text("")?;
    table(output, commands)
}

fn table(output: &mut Output, commands: &[Descriptor]) -> Result<(), Failure> {
    let digits = commands
        .iter()
        .map(|command| command.cmdid.to_string().len())
        .max()
        .unwrap_or(0)
        .max("CMDID".len());
    let width = commands
        .iter()
        .map(|command| command.name().chars().count())
        .max()
        .unwrap_or(0)
        .clamp("NAME".len(), NAME_WIDTH_MAX);

    output.text(&format!(
        "{:>digits$}  {:width$}  {:6}  DOES",
        "CMDID", "NAME", "KIND"
    ))?;
    for command in commands {
        let (cmdid, name, kind) = (command.cmdid.number(), command.name(), kind_of(command));
        let does = first_paragraph(&command.doc);
        let note = if command.deprecated.is_some() {
            "(deprecated) "
        } else {
            ""
        };
        let line = format!("{cmdid:>digits$}  {name:width$}  {kind:6}  {note}{does}");
        output.text(line.trim_end())?;
    }

    Ok(())
}

fn show(output: &mut Output, command: &Descriptor) -> Result<(), Failure> {
    output.text(&head(command))?;
    if let Some(instead) = &command.deprecated {
        let line = format!("deprecated: {instead}");
        output.text(line.trim_end_matches([' ', ':']))?;
    }
    for line in command.doc.lines() {
        output.text(line)?;
    }

    if let Some(params) = &command.params {
        show_schema(output, "params", params)?;
    }
    if let Some(data) = &command.data {
        let name = if command.kind == Kind::Stream {
            "each item"
        } else {
            "data"
        };
        show_schema(output, name, data)?;
    }
    show_errors(output, &command.errors)?;

    if let Some(params) = &command.params {
        output.text("")?;
        let verb = if command.kind == Kind::Oneway {
            "notify"
        } else {
            "call"
        };
        let example = Schema::new(params).example().to_string();
        // The shell's own quote inside of quotes.
        let example = example.replace('\'', r"'\''");
        output.text(&format!(
            "example: rpc {verb} {} '{example}'",
            command.name()
        ))?;
    }
    Ok(())
}

/// Number, name, and what a client may do with it.
fn head(command: &Descriptor) -> String {
    let mut facts = vec![kind_of(command)];
    match command.retry_category() {
        RetryCategory::Neither => {}
        RetryCategory::Idempotent => facts.push("idempotent".to_owned()),
        RetryCategory::Dedup => facts.push("dedup by idempotency-key".to_owned()),
        RetryCategory::DedupByCaller => {
            facts.push("dedup by the caller's idempotency-key".to_owned());
        }
    }
    if let Some(limit) = command.timeout_ms {
        facts.push(format!("default timeout {limit} ms"));
    }
    if command.no_timeout {
        facts.push("no timeout".to_owned());
    }

    format!(
        "{} {} ({})",
        command.cmdid,
        command.name(),
        facts.join(", ")
    )
}

fn show_schema(output: &mut Output, name: &str, document: &Value) -> Result<(), Failure> {
    let schema = Schema::new(document);
    let fields = schema.fields();
    output.text("")?;
    output.text(&format!("{name}: {}", schema.in_words()))?;

    let width =
        |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0).min(NAME_WIDTH_MAX);
    let names = width(&mut fields.iter().map(|field| field.name.chars().count()));
    let words = width(&mut fields.iter().map(|field| field.words.chars().count()));
    let presences = width(&mut fields.iter().map(|field| field.presence.chars().count()));
    for field in fields {
        let line = format!(
            "  {:names$}  {:words$}  {:presences$}  {}",
            field.name, field.words, field.presence, field.doc
        );
        output.text(line.trim_end())?;
    }
    Ok(())
}

fn show_errors(output: &mut Output, errors: &[ErrorDescriptor]) -> Result<(), Failure> {
    if errors.is_empty() {
        return Ok(());
    }

    output.text("")?;
    output.text("errors:")?;
    for error in errors {
        let doc = first_paragraph(&error.doc);
        let line = format!("  {}  {}  {doc}", error.code, error.name);
        output.text(line.trim_end())?;
    }
    Ok(())
}
