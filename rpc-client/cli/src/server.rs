//! `rpc health` and `rpc stats`: what a server says of itself.

use std::str::Chars;

use clap::Args;
use rpc_client::{CmdId, RawJson};
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
