//! A gateway that writes messages to a file, and sends nothing.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use futures::FutureExt;
use futures::future::BoxFuture;
use rpc_server::blocking::{BlockingPool, Caller};
use serde_json::json;

use super::{Gateway, Submission};
use crate::message::Class;
use crate::store::{Claimed, Content};

/// Writes each message as a line of JSON.
pub struct FileGateway {
    file: PathBuf,
    codes: CodeTexts,
    pool: BlockingPool,
}

/// Whether the texts of codes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeTexts {
    /// The messages are written without them.
    LeftOut,
    /// They are.
    Written,
}

impl FileGateway {
    /// A gateway that appends to a file, which is made where it is missing.
    pub fn new(file: PathBuf, codes: CodeTexts, pool: BlockingPool) -> Self {
        Self { file, codes, pool }
    }

    fn line(&self, message: &Claimed) -> String {
        let is_shown = message.class != Class::Otp || self.codes == CodeTexts::Written;
        let (text, template, vars) = match &message.content {
            _ if !is_shown => (None, None, None),
            Content::Text(text) => (Some(text), None, None),
            Content::Template { name, vars } => (None, Some(name), Some(vars)),
        };

        let mut line = json!({
            "id": message.id,
            "attempt": message.attempt,
            "to": message.to.e164(),
            "sender": message.sender,
            "class": message.class,
            "text": text,
            "template": template,
            "vars": vars.and_then(|vars| serde_json::from_str::<serde_json::Value>(vars).ok()),
            "segments": message.layout.segments,
        });
        if let Some(fields) = line.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
        format!("{line}\n")
    }
}

impl Gateway for FileGateway {
    fn submit<'a>(&'a self, message: &'a Claimed) -> BoxFuture<'a, Submission> {
        let (file, line) = (self.file.clone(), self.line(message));

        async move {
            let written = self
                .pool
                .run(Caller::default(), move |_| append(&file, &line))
                .await;
            match written {
                Ok(Ok(())) => Submission::accepted(None),
                Ok(Err(error)) => Submission::NotSent {
                    error: format!("the file cannot be written: {}", error.kind()),
                },
                Err(_) => Submission::NotSent {
                    error: "the server has no thread for it".into(),
                },
            }
        }
        .boxed()
    }

    fn is_dry_run(&self) -> bool {
        true
    }

    fn takes_template(&self, _template: &str) -> bool {
        true
    }
}

/// A line is written at once, so that those of several threads do not mix.
fn append(file: &PathBuf, line: &str) -> io::Result<()> {
    let mut file = File::options()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(file)?;
    file.write_all(line.as_bytes())
}
