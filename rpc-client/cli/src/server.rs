//! `rpc health`, `rpc stats`, `rpc describe`: what a server says of itself.

use std::str::Chars;

use clap::Args;
use rpc_client::{CmdId, RawJson};
use rpc_core::Descriptor;
use serde::Deserialize;
use serde_json::json;

use crate::Target;
use crate::exit::Failure;
use crate::output::Output;

/// Say whether the server, or one of its services, takes calls
///
/// Prints `serving`, `not_serving` or `draining`, and exits with 0 for `serving` only.
#[derive(Args)]
#[command(after_help = "\
Example:
  until rpc health log; do sleep 1; done")]
pub(crate) struct Health {
    /// The service, as `log`; without it the whole server
    service: Option<String>,
}

impl Health {
    pub(crate) async fn run(self, target: &Target) -> Result<(), Failure> {
        #[derive(Deserialize)]
        struct Reported {
            status: String,
        }

        let params = match self.service {
            Some(service) => json!({ "service": service }),
            None => json!({}),
        };
        let Reported { status } = target.client().call(CmdId::HEALTH, &params).await?;

        let mut output = Output::new();
        output.text(&status)?;
        output.flush()?;

        if status == "serving" {
            Ok(())
        } else {
            Err(Failure::Answered)
        }
    }
}

/// Print the counters of the server and of this connection
///
/// For people on a terminal, one line of JSON elsewhere.
#[derive(Args)]
#[command(after_help = "\
Example:
  rpc stats | jq .server.requests")]
pub(crate) struct Stats {
    /// Print one line of JSON on a terminal, too
    #[arg(long)]
    json: bool,
}

impl Stats {
    pub(crate) async fn run(self, target: &Target) -> Result<(), Failure> {
        let stats = target
            .client()
            .command(CmdId::STATS)
            .call_raw(&json!({}))
            .await?;
        let stats = stats.unwrap_or(RawJson::NULL);

        let mut output = Output::new();
        if self.json || !Output::is_terminal() {
            output.json(stats.as_str())?;
        } else {
            for line in pretty(stats.as_str()).lines() {
                output.text(line)?;
            }
        }
        output.flush()
    }
}

/// List the commands of the server, or show one of them
#[derive(Args)]
#[command(after_help = "\
Examples:
  rpc describe
  rpc describe 1001                                with the JSON Schema of params and data
  rpc describe --json | jq '.commands[].cmdid'")]
pub(crate) struct Describe {
    /// Number of the command
    cmdid: Option<u32>,
    /// Print what the server sent, as one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct Description {
    protocol: u32,
    server: Name,
    commands: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Name {
    name: String,
    version: String,
}

impl Describe {
    pub(crate) async fn run(self, target: &Target) -> Result<(), Failure> {
        let params = match self.cmdid {
            Some(cmdid) => json!({ "cmdid": cmdid }),
            None => json!({}),
        };

        let client = target.client();
        let mut output = Output::new();

        if self.json {
            let data = client.command(CmdId::DESCRIBE).call_raw(&params).await?;
            output.json(data.unwrap_or(RawJson::NULL).as_str())?;
            return output.flush();
        }

        let description: Description = client.call(CmdId::DESCRIBE, &params).await?;
        if self.cmdid.is_some() {
            for command in &description.commands {
                show(&mut output, command)?;
            }
        } else {
            list(&mut output, &description)?;
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
        let (cmdid, name, kind) = (command.cmdid.number(), command.name(), kind(command));
        let line = format!("{cmdid:>digits$}  {name:width$}  {kind:6}  {}", command.doc);
        output.text(line.trim_end())?;
    }

    Ok(())
}

fn show(output: &mut Output, command: &Descriptor) -> Result<(), Failure> {
    let idempotent = if command.idempotent {
        ", idempotent"
    } else {
        ""
    };
    let head = format!(
        "{} {} ({}{idempotent})",
        command.cmdid,
        command.name(),
        kind(command)
    );
    output.text(&head)?;
    output.text(&command.doc)?;

    for (name, schema) in [("params", &command.params), ("data", &command.data)] {
        if let Some(schema) = schema {
            output.text("")?;
            for line in format!("{name}: {schema:#}").lines() {
                output.text(line)?;
            }
        }
    }

    Ok(())
}

fn kind(command: &Descriptor) -> String {
    serde_json::to_value(command.kind)
        .ok()
        .and_then(|kind| kind.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// JSON with a line for each value of an object or array. Its tokens stay as they are: read into values, large
/// numbers would change.
fn pretty(json: &str) -> String {
    let mut out = String::new();
    let mut depth = 0_usize;
    let mut chars = json.chars();

    while let Some(char) = chars.next() {
        match char {
            '"' => {
                out.push(char);
                push_rest_of_string(&mut out, &mut chars);
            }
            '{' | '[' => {
                out.push(char);
                skip_white_space(&mut chars);
                if chars.as_str().starts_with(['}', ']']) {
                    out.extend(chars.next());
                } else {
                    depth += 1;
                    push_line_break(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                push_line_break(&mut out, depth);
                out.push(char);
            }
            ',' => {
                out.push(char);
                push_line_break(&mut out, depth);
            }
            ':' => out.push_str(": "),
            char if char.is_ascii_whitespace() => {}
            char => out.push(char),
        }
    }

    out
}

fn push_line_break(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

/// All of a string behind its first quote.
fn push_rest_of_string(out: &mut String, chars: &mut Chars<'_>) {
    while let Some(char) = chars.next() {
        out.push(char);
        match char {
            '"' => return,
            '\\' => out.extend(chars.next()),
            _ => {}
        }
    }
}

fn skip_white_space(chars: &mut Chars<'_>) {
    *chars = chars
        .as_str()
        .trim_start_matches(|char: char| char.is_ascii_whitespace())
        .chars();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_for_people_has_the_tokens_that_the_server_sent() {
        let json = r#"{"b": 12345678901234567890123,"a":[ ],"c":[1.50,{"d":"\",:{\"\\"}], "e":{}}"#;

        assert_eq!(
            pretty(json).lines().collect::<Vec<_>>(),
            [
                "{",
                r#"  "b": 12345678901234567890123,"#,
                r#"  "a": [],"#,
                r#"  "c": ["#,
                "    1.50,",
                "    {",
                r#"      "d": "\",:{\"\\""#,
                "    }",
                "  ],",
                r#"  "e": {}"#,
                "}",
            ]
        );
    }
}
