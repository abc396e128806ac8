//! `rpc call` and `rpc notify`.

mod timed;

use std::collections::HashSet;
use std::io::{self, Read};

use clap::Args;
use futures::StreamExt;
use rpc_client::{Client, CmdId, Command};
use rpc_core::{Descriptor, Kind, RawJson};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::Target;
use crate::commands::{Description, find};
use crate::exit::Failure;
use crate::output::Output;
use crate::schema::{Misfit, Schema};

/// Maximum number of items that are written to standard output in one piece.
const ITEMS_PER_WRITE: usize = 256;

/// Call a command and print its data as one line of JSON
///
/// A reply without data prints nothing; a stream prints a line for each item. If you give the command by its name,
/// `rpc` checks the params before it sends them, and you may write them as flags.
#[derive(Args)]
#[command(after_help = "\
Examples:
  rpc call log.append --level info --service order --message paid
  rpc call log.append '{\"level\":\"info\",\"service\":\"order\",\"message\":\"paid\"}'
  rpc call 1                                       the commands of the server
  rpc call 1002 '{\"after\":0,\"limit\":10}' | jq .entries
  echo '{\"name\":\"world\"}' | rpc call 100 - --timeout 200ms
  rpc call 100 --meta traceparent=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
  rpc call --timing 0                              time on the network, in the server's queue and in the handler")]
pub(crate) struct Call {
    #[command(flatten)]
    request: Request,
    /// Call a command that streams, and print a line for each item; without --timeout there is no deadline
    #[arg(long)]
    stream: bool,
    /// Print to standard error how long the call spent on the network, waiting at the server, and in its handler. For a
    /// stream, the times run until its end; time during which `rpc` waits for standard output counts as network time
    #[arg(long)]
    timing: bool,
}

/// Send a call without waiting for its result
///
/// `rpc notify` ends when the server has read the request; the result of the call is not reported. With --ordered it
/// ends when the request has been sent.
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
    /// Name or number of the command; `rpc list` shows them. With a number, the params are not checked
    #[arg(value_name = "NAME")]
    command: String,
    /// The params as JSON; `-` reads them from standard input. After a name, the fields may be flags instead: `--FIELD
    /// VALUE …`
    #[arg(
        value_name = "JSON",
        default_value = "{}",
        allow_negative_numbers = true
    )]
    params: String,
    /// Arguments after a name, beginning with a flag; see [`Fields::split_from`](crate::commands::Fields::split_from).
    #[arg(skip)]
    fields: Vec<String>,
    /// Add metadata; may be given several times, with different keys
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    meta: Vec<(String, String)>,
    /// Send the call without an `id`, for a server that does not know ids, such as tornado-TCP
    #[arg(long)]
    ordered: bool,
}

/// A request that is ready to be sent.
struct Prepared {
    cmdid: CmdId,
    kind: Kind,
    params: RawJson<'static>,
}

impl Request {
    /// Checks what is known, before anything of it is sent: by a number the form of the params, by a name also their
    /// fields, as the server describes them.
    async fn prepare(&self, client: &Client) -> Result<Prepared, Failure> {
        refuse_repetition("--meta", self.meta.iter().map(|(key, _)| key.as_str()))?;

        if let Ok(number) = self.command.parse::<u32>() {
            return Ok(Prepared {
                cmdid: number.into(),
                kind: Kind::Unary,
                params: self.params_as_json()?,
            });
        }

        if self.command.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Failure::Usage {
                message: format!(
                    "`{}` is not a cmdid: those are 0 to 4294967295",
                    self.command
                ),
                hint: "`rpc list` shows the commands".to_owned(),
            });
        }

        // Before the server is asked anything.
        let json = if self.fields.is_empty() {
            Some(self.params_as_json()?)
        } else {
            None
        };
        let description = Description::of(client).await?;
        let command = find(&description.commands, &self.command)?;

        let params = match json {
            None => self.params_of_flags(command)?,
            Some(json) => json,
        };
        check(command, &params)?;
        Ok(Prepared {
            cmdid: command.cmdid,
            kind: command.kind,
            params,
        })
    }

    fn params_as_json(&self) -> Result<RawJson<'static>, Failure> {
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
                "`rpc` received `{}`; put JSON into single quotes, so that the shell does not change it: \
                 '{{\"key\":\"value\"}}'",
                shortened(text.trim_end())
            ),
        })
    }

    fn params_of_flags(&self, command: &Descriptor) -> Result<RawJson<'static>, Failure> {
        let refuse = |message: String| Failure::Usage {
            message,
            hint: format!("`rpc describe {}` shows what it takes", command.name()),
        };
        let Some(schema) = &command.params else {
            let message = format!(
                "the server does not say which fields {} has",
                command.name()
            );
            return Err(refuse(message));
        };

        let params = Schema::new(schema)
            .params_of(&self.fields)
            .map_err(refuse)?;
        RawJson::parse(&params).map_err(|error| refuse(error.to_string()))
    }

    fn command<'c>(&self, client: &'c Client, cmdid: CmdId) -> Command<'c> {
        let mut command = client.command(cmdid);
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
    /// Adds the flags of the fields.
    pub(crate) fn set_fields(&mut self, fields: Vec<String>) {
        self.request.fields = fields;
    }

    pub(crate) async fn run(self, target: &Target) -> Result<(), Failure> {
        let client = target.client();
        let Prepared {
            cmdid,
            kind,
            params,
        } = self.request.prepare(&client).await?;
        let mut command = self.request.command(&client, cmdid);
        if let Some(timeout) = target.timeout {
            command = command.timeout(timeout);
        }

        if kind == Kind::Oneway {
            if self.timing {
                return Err(Failure::Usage {
                    message: format!("`--timing`: {} has no reply", self.request.command),
                    hint: "it is for commands that are answered; leave it out".to_owned(),
                });
            }
            command.notify(&params).await?;
            return Ok(client.flush().await?);
        }

        let is_stream = self.stream || kind == Kind::Stream;
        match self.timing {
            true if is_stream => timed::stream(&client, command, &params).await,
            true => timed::call(&client, &command, &params).await,
            false if is_stream => print_items(&command, &params).await,
            false => {
                let mut output = Output::new();
                if let Some(data) = command.call_raw(&params).await? {
                    output.value(data.as_str())?;
                }
                output.flush()
            }
        }
    }
}

/// Prints each item of a stream as it comes.
async fn print_items(command: &Command<'_>, params: &RawJson<'static>) -> Result<(), Failure> {
    let mut output = Output::new();
    let items = command.stream::<_, Box<RawValue>>(params).await?;
    let mut items = items.ready_chunks(ITEMS_PER_WRITE);

    while let Some(ready) = items.next().await {
        for item in ready {
            // What came before a failure counts.
            match item {
                Ok(item) => output.item(item.get())?,
                Err(error) => {
                    output.flush()?;
                    return Err(error.into());
                }
            }
        }
        output.flush()?;
    }
    output.flush()
}

impl Notify {
    /// Adds the flags of the fields.
    pub(crate) fn set_fields(&mut self, fields: Vec<String>) {
        self.request.fields = fields;
    }

    pub(crate) async fn run(self, target: &Target) -> Result<(), Failure> {
        let client = target.client();
        let Prepared { cmdid, params, .. } = self.request.prepare(&client).await?;
        self.request.command(&client, cmdid).notify(&params).await?;
        Ok(client.flush().await?)
    }
}

/// What the schema says against the params.
fn check(command: &Descriptor, params: &RawJson<'_>) -> Result<(), Failure> {
    let Some(schema) = &command.params else {
        return Ok(());
    };
    // Text that only a server can judge, as a lone surrogate, is left to it.
    let Ok(value) = params.decode::<Value>() else {
        return Ok(());
    };

    Schema::new(schema)
        .check(&value, "params")
        .map_err(|misfit| {
            let Misfit { field, reason } = misfit;
            Failure::Usage {
                message: format!("`{field}`: {reason}"),
                hint: format!("`rpc describe {}` shows what it takes", command.name()),
            }
        })
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
