//! Endpoints out of a file, which is read again and again.
//!
//! Polling, and not the system's notices of changes: those miss files on network file systems and the
//! swapped links of mounted configuration, and a read of a small file a second costs nothing.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};

use super::{Address, Discover, Error, InvalidTarget, list};
use crate::config::Config;

/// A file with one address a line, or a JSON array of them.
pub(super) struct File {
    path: Arc<PathBuf>,
}

impl File {
    pub(super) fn parse(path: &str) -> Result<Self, InvalidTarget> {
        if path.is_empty() {
            return Err(InvalidTarget::new(
                "the path is missing: a file is file:PATH, for example file:/etc/rpc/log",
            ));
        }

        Ok(Self {
            path: Arc::new(path.into()),
        })
    }
}

impl Discover for File {
    fn watch(&self, config: &Config) -> BoxStream<'static, Result<Vec<Address>, Error>> {
        let reader = Reader {
            path: Arc::clone(&self.path),
            interval: Duration::from_millis(config.discovery.file_interval_ms.max(1)),
            bytes_max: config.discovery.bytes_max,
            taken: None,
            unsettled: None,
        };

        stream::unfold(reader, |mut reader| async move {
            Some((reader.next().await, reader))
        })
        .boxed()
    }
}

struct Reader {
    path: Arc<PathBuf>,
    interval: Duration,
    bytes_max: u64,
    /// The last result: a list, or the reason for having none.
    taken: Option<Result<Content, String>>,
    /// A text that was found in place of the one that was taken, and may still be being written.
    unsettled: Option<String>,
}

#[derive(Clone, PartialEq, Eq)]
struct Content {
    /// Tells a file that was replaced, which is whole, from one that was written to.
    inode: u64,
    text: String,
}

impl Reader {
    /// The next change.
    async fn next(&mut self) -> Result<Vec<Address>, Error> {
        loop {
            if self.taken.is_some() {
                tokio::time::sleep(self.interval).await;
            }

            if let Some(change) = self.look().await {
                return change;
            }
        }
    }

    async fn look(&mut self) -> Option<Result<Vec<Address>, Error>> {
        let (path, bytes_max) = (Arc::clone(&self.path), self.bytes_max);
        let content = match tokio::task::spawn_blocking(move || read(&path, bytes_max)).await {
            Ok(Ok(content)) => content,
            Ok(Err(error)) => {
                return self.say(Err(format!("cannot read {}: {error}", self.path.display())));
            }
            Err(error) => {
                return self.say(Err(format!("cannot read {}: {error}", self.path.display())));
            }
        };

        if let Some(Ok(taken)) = &self.taken {
            let was_written_in_place = taken.inode == content.inode && taken.text != content.text;
            if was_written_in_place && self.unsettled.as_ref() != Some(&content.text) {
                self.unsettled = Some(content.text);
                return None;
            }
        }

        self.unsettled = None;
        self.say(Ok(content))
    }

    /// Nothing where it is what was said before.
    fn say(&mut self, now: Result<Content, String>) -> Option<Result<Vec<Address>, Error>> {
        if self.taken.as_ref() == Some(&now) {
            return None;
        }

        let said = match &now {
            Ok(content) => list::parse(&content.text)
                .map_err(|error| format!("{}: {error}", self.path.display()).into()),
            Err(reason) => Err(reason.as_str().into()),
        };

        self.taken = Some(now);
        Some(said)
    }
}

fn read(path: &PathBuf, bytes_max: u64) -> io::Result<Content> {
    if !std::fs::metadata(path)?.is_file() {
        // To open a pipe would wait for its writer.
        return Err(io::Error::other("it is not a regular file"));
    }

    let file = std::fs::File::open(path)?;
    let inode = inode(&file.metadata()?);

    let mut text = String::new();
    if file
        .take(bytes_max.saturating_add(1))
        .read_to_string(&mut text)? as u64
        > bytes_max
    {
        return Err(io::Error::other(format!(
            "it is over `discovery.bytes_max` of {bytes_max} bytes"
        )));
    }

    Ok(Content { inode, text })
}

#[cfg(unix)]
fn inode(metadata: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

/// Without such a number, every change waits until it has settled.
#[cfg(not(unix))]
fn inode(_metadata: &std::fs::Metadata) -> u64 {
    0
}
