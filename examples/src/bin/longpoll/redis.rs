//! A Redis of the program's own, and the two commands of it that are needed here, as bytes.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rpc_examples::process::Outcome;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// How long it may take to start.
const START: Duration = Duration::from_secs(10);

/// A `redis-server` that keeps nothing on disk. It ends with this.
pub(crate) struct Redis {
    child: Child,
    _dir: TempDir,
    /// Where it listens.
    pub(crate) socket: PathBuf,
}

impl Redis {
    pub(crate) async fn start() -> Outcome<Self> {
        let dir = tempfile::tempdir()?;
        let socket = dir.path().join("redis");
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no"])
            .arg("--unixsocket")
            .arg(&socket)
            .arg("--dir")
            .arg(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| {
                format!("`redis-server` cannot be started: {error}; apt-get install redis-server")
            })?;

        let redis = Self {
            child,
            _dir: dir,
            socket,
        };
        let deadline = Instant::now() + START;
        while UnixStream::connect(&redis.socket).await.is_err() {
            if Instant::now() > deadline {
                return Err("redis-server does not listen after 10 s".into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(redis)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A list of Redis that one side pushes to, and the other pops from.
pub(crate) struct List {
    stream: BufReader<UnixStream>,
    name: &'static str,
}

impl List {
    pub(crate) async fn open(socket: &Path, name: &'static str) -> Outcome<Self> {
        let stream = BufReader::new(UnixStream::connect(socket).await?);
        Ok(Self { stream, name })
    }

    /// `LPUSH`: puts values at the beginning.
    pub(crate) async fn push(&mut self, values: &[String]) -> Outcome<()> {
        let mut words = vec!["LPUSH", self.name];
        words.extend(values.iter().map(String::as_str));
        self.send(&words).await?;

        self.line().await.map(drop)
    }

    /// `BLMPOP`: waits until there is something, and takes at most `values_max` from the end.
    pub(crate) async fn pop(&mut self, values_max: usize) -> Outcome<Vec<Vec<u8>>> {
        let count = values_max.to_string();
        self.send(&["BLMPOP", "0", "1", self.name, "RIGHT", "COUNT", &count])
            .await?;

        // An array of two: the name of the list, and an array of the values.
        self.length('*').await?;
        self.value().await?;
        let length = self.length('*').await?;
        let mut values = Vec::with_capacity(length);
        for _ in 0..length {
            values.push(self.value().await?);
        }
        Ok(values)
    }

    async fn send(&mut self, words: &[&str]) -> Outcome<()> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            let _ = write!(request, "${}\r\n{word}\r\n", word.len());
        }
        Ok(self.stream.write_all(request.as_bytes()).await?)
    }

    /// A line of the answer; one that begins with `-` is an error.
    async fn line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Err("Redis has closed the connection".into());
        }
        match line.strip_prefix('-') {
            Some(error) => Err(format!("Redis: {}", error.trim_end()).into()),
            None => Ok(line.trim_end().to_owned()),
        }
    }

    async fn length(&mut self, kind: char) -> Outcome<usize> {
        let line = self.line().await?;
        let length = line
            .strip_prefix(kind)
            .and_then(|length| length.parse().ok());
        length.ok_or_else(|| format!("Redis answered {line:?}, not `{kind}` and a length").into())
    }

    async fn value(&mut self) -> Outcome<Vec<u8>> {
        let length = self.length('$').await?;
        let mut value = vec![0; length + 2];
        self.stream.read_exact(&mut value).await?;
        value.truncate(length);
        Ok(value)
    }
}
