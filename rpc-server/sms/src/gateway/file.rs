//! A gateway that writes messages to a file, and sends nothing.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use rpc_server::blocking::{BlockingPool, Caller};
use serde_json::json;

use super::{Gateway, Submission};
use crate::message::Class;
use crate::store::{Claimed, Content, sync_name};

/// Writes each message as a line of JSON, which is on disk before the message is `sent`.
pub struct FileGateway {
    file: Arc<LineFile>,
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
        let file = LineFile {
            path: file,
            writing: Mutex::new(()),
        };
        Self {
            file: Arc::new(file),
            codes,
            pool,
        }
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
        let (file, line) = (Arc::clone(&self.file), self.line(message));

        async move {
            let appended = self
                .pool
                .run(Caller::default(), move |_| file.append(&line))
                .await;
            appended.unwrap_or_else(|_| Submission::NotSent {
                error: "the server has no thread for it".into(),
            })
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

/// A file of lines. It is opened for each of them, so that it may be moved away at any time.
struct LineFile {
    path: PathBuf,
    /// Held while a line is written, so that lines do not mix.
    writing: Mutex<()>,
}

impl LineFile {
    fn append(&self, line: &str) -> Submission {
        let file = match self.write(line) {
            Ok(file) => file,
            Err(error) => {
                return Submission::NotSent {
                    error: format!("the file cannot be written: {}", error.kind()),
                };
            }
        };

        match file.sync_data() {
            Ok(()) => Submission::accepted(None),
            // The line may be on disk nevertheless.
            Err(error) => Submission::NoAnswer {
                error: format!(
                    "the file was written and not brought to the disk: {}",
                    error.kind()
                ),
            },
        }
    }

    /// Writes a line as a whole or not at all.
    fn write(&self, line: &str) -> io::Result<File> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = self.open()?;
        let before = file.metadata()?.len();

        let mut last = [b'\n'];
        if before > 0 {
            file.read_exact_at(&mut last, before - 1)?;
        }
        // A loss of power may have left a piece of a line.
        let end = if last == *b"\n" { "" } else { "\n" };

        let text = format!("{end}{line}");
        match file.write_all(text.as_bytes()) {
            Ok(()) => Ok(file),
            Err(error) => {
                // If this fails, too, the piece is a line by itself.
                let _ = take_back(&file, before, text.as_bytes());
                Err(error)
            }
        }
    }

    fn open(&self) -> io::Result<File> {
        let mut options = File::options();
        options.read(true).append(true).mode(0o600);
        match options.open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }

        let made = options.create(true).open(&self.path)?;
        sync_name(&self.path)?;
        Ok(made)
    }
}

/// Cuts off a piece of a text behind the bytes that a file had before, unless something else is there: another process may
/// have written to the file, or emptied it.
fn take_back(file: &File, before: u64, text: &[u8]) -> io::Result<()> {
    let length = file.metadata()?.len();
    let piece = length
        .checked_sub(before)
        .and_then(|bytes| text.get(..usize::try_from(bytes).ok()?));
    let Some(piece) = piece else {
        return Ok(());
    };

    let mut found = vec![0; piece.len()];
    file.read_exact_at(&mut found, before)?;
    if found == piece {
        file.set_len(before)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::claimed::message;
    use super::*;

    fn gateway(file: PathBuf) -> FileGateway {
        FileGateway::new(file, CodeTexts::LeftOut, BlockingPool::default())
    }

    #[tokio::test]
    async fn a_piece_of_a_line_that_a_loss_of_power_left_does_not_spoil_the_next_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("out.ndjson");
        fs::write(&file, r#"{"id":"01"#).unwrap();

        let gateway = gateway(file.clone());
        for text in ["a", "b"] {
            let submitted = gateway.submit(&message(text)).await;
            assert_eq!(submitted, Submission::accepted(None));
        }
        let written = fs::read_to_string(&file).unwrap();
        let lines: Vec<&str> = written.lines().collect();
        assert_eq!((lines.len(), lines[0]), (3, r#"{"id":"01"#));
        for (line, text) in lines[1..].iter().zip(["a", "b"]) {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(line["text"], text);
        }
    }

    #[test]
    fn only_a_piece_of_the_own_line_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.ndjson");
        let left = |written: &str| {
            fs::write(&path, written).unwrap();
            let file = File::options().read(true).append(true).open(&path).unwrap();
            take_back(&file, 3, b"line\n").unwrap();
            fs::read_to_string(&path).unwrap()
        };

        for piece in ["", "li", "line\n"] {
            assert_eq!(left(&format!("is\n{piece}")), "is\n");
        }
        // Another process has written behind it or before it, or emptied the file.
        for other in ["is\nline\nother\n", "is\nother", "is\na\n", "i", ""] {
            assert_eq!(left(other), other);
        }
    }

    #[tokio::test]
    async fn a_message_is_not_sent_where_its_line_cannot_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let full = gateway("/dev/full".into()).submit(&message("a")).await;
        let error = "the file cannot be written: no storage space".into();
        assert_eq!(full, Submission::NotSent { error });

        let missing = gateway(dir.path().join("none/out.ndjson"));
        let submitted = missing.submit(&message("a")).await;
        assert!(
            matches!(submitted, Submission::NotSent { .. }),
            "{submitted:?}"
        );
    }

    #[tokio::test]
    async fn a_line_that_may_not_be_on_disk_leaves_its_message_unknown() {
        // It takes every line, and cannot be synced.
        let submitted = gateway("/dev/null".into()).submit(&message("a")).await;
        let error = "the file was written and not brought to the disk: invalid input parameter";
        let expected = Submission::NoAnswer {
            error: error.into(),
        };
        assert_eq!(submitted, expected);
    }
}
