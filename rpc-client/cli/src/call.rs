//! `rpc call` and `rpc notify`.

use std::collections::HashSet;
use std::io::{self, Read};

use clap::Args;
use futures::StreamExt;
use rpc_client::{Client, Command, RawJson};
use serde_json::value::RawValue;

use crate::Target;
use crate::exit::Failure;
use crate::output::Output;

/// Items that are written to standard output in one piece, where so many are there.
const ITEMS_PER_WRITE: usize = 256;

/// Call a command and print its data as one line of JSON
///
/// A reply without data prints nothing.
#[derive(Args)]
#[command(after_help = "\
Examples:
  rpc call 1                                       what commands there are
  rpc call 1002 '{\"after\":0,\"limit\":10}' | jq .entries
  echo '{\"name\":\"world\"}' | rpc call 100 - --timeout 200ms
  rpc call 100 --meta traceparent=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]
pub(crate) struct Call {
    #[command(flatten)]
    request: Request,
    /// Print each item of a command that streams as a line; without --timeout there is no deadline
    #[arg(long)]
    stream: bool,
}

/// Call a command that is not answered
///
/// It ends when the server has read the request; what the server makes of it is not reported. With --ordered it
/// ends when the request has left.
#[derive(Args)]
#[command(after_help = "\
Example:
  rpc notify 1001 '{\"level\":\"info\",\"service\":\"cron\",\"message\":\"backup done\"}'")]
pub(crate) struct Notify {
    #[command(flatten)]
    request: Request,
}

#[derive(Args)]
struct Request {
    /// Number of the command; `rpc describe` lists them
    cmdid: u32,
    /// The params; `-` reads them from standard input
    #[arg(
        value_name = "JSON",
        default_value = "{}",
        allow_negative_numbers = true
    )]
    params: String,
    /// Add metadata; may be given several times, with different keys
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    meta: Vec<(String, String)>,
    /// Send it without an id, for a server that knows none, such as tornado-TCP's
    #[arg(long)]
    ordered: bool,
}

impl Request {
    /// Checked before anything is sent, or connected.
    fn params(&self) -> Result<RawJson<'static>, Failure> {
        refuse_repetition("--meta", self.meta.iter().map(|(key, _)| key.as_str()))?;

        let mut text = String::new();
        let source = if self.params == "-" {
            io::stdin()
                .read_to_string(&mut text)
                .map_err(|error| Failure::stdin(&error))?;
            "params from standard input"
        } else {
            text.clone_from(&self.params);
            "params"
        };

        RawJson::parse(&text).map_err(|error| Failure::Usage {
            message: format!("{source}: {error}"),
            hint: format!(
                "it reads `{}`; single quotes keep the shell from JSON: '{{\"key\":\"value\"}}'",
                shortened(text.trim_end())
            ),
        })
    }

    fn command<'c>(&self, client: &'c Client) -> Command<'c> {
        let mut command = client.command(self.cmdid);
        for (key, value) in &self.meta {
            command = command.meta(key, value);
        }

        if self.ordered {
            command.ordered()
        } else {
            command
        }
    }
}

impl Call {
    pub(crate) async fn run(self, target: &Target) -> Result<(), Failure> {
        let params = self.request.params()?;
        let client = target.client();
        let mut command = self.request.command(&client);
        if let Some(timeout) = target.timeout {
            command = command.timeout(timeout);
        }

        let mut output = Output::new();
        if self.stream {
            let items = command.stream::<_, Box<RawValue>>(&params).await?;
            let mut items = items.ready_chunks(ITEMS_PER_WRITE);
            while let Some(ready) = items.next().await {
                for item in ready {
                    // What came before a failure counts.
                    match item {
                        Ok(item) => output.json(item.get())?,
                        Err(error) => {
                            output.flush()?;
                            return Err(error.into());
                        }
                    }
                }
                output.flush()?;
            }
        } else if let Some(data) = command.call_raw(&params).await? {
            output.json(data.as_str())?;
        }

        output.flush()
    }
}

impl Notify {
    pub(crate) async fn run(self, target: &Target) -> Result<(), Failure> {
        let params = self.request.params()?;
        let client = target.client();
        self.request.command(&client).notify(&params).await?;
        Ok(client.flush().await?)
    }
}

/// `KEY=VALUE`.
pub(crate) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("it must be KEY=VALUE".into()),
    }
}

/// Refuses a key that is given twice, of which the server would see one value only.
pub(crate) fn refuse_repetition<'k>(
    option: &str,
    keys: impl Iterator<Item = &'k str>,
) -> Result<(), Failure> {
    let mut known = HashSet::new();
    for key in keys {
        if !known.insert(key) {
            return Err(Failure::Usage {
                message: format!("`{option}` names the key `{key}` twice"),
                hint: "give each key once".to_owned(),
            });
        }
    }

    Ok(())
}

/// Enough to recognise it by.
fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
