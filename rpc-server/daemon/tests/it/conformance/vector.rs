//! Vectors as data.

use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Vector {
    pub(super) name: String,
    #[serde(rename = "row")]
    _row: String,
    pub(super) steps: Vec<Step>,
    #[serde(default)]
    pub(super) needs: Vec<u64>,
    #[serde(default)]
    pub(super) slow: bool,
    /// Whether the server must take calls over HTTP.
    #[serde(default)]
    pub(super) http_calls: bool,
    /// Whether the server must want a token.
    #[serde(default)]
    pub(super) token: bool,
    #[serde(default, rename = "note")]
    _note: String,
}

#[derive(Deserialize)]
pub(super) struct Step {
    /// The name of the connection; `a` where it is missing.
    pub(super) on: Option<String>,
    pub(super) split: Option<Split>,
    pub(super) times: Option<u64>,
    pub(super) raw_prefix: Option<String>,
    pub(super) raw_contains: Option<String>,
    pub(super) raw_lacks: Option<String>,
    #[serde(flatten)]
    pub(super) kind: Kind,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Split {
    Pieces(usize),
    EveryByte(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Send(String),
    SendHex(String),
    SendRepeat(Repeat),
    Drip(Drip),
    HalfClose(IgnoredAny),
    Reset(IgnoredAny),
    Open(String),
    PauseMs(u64),
    Expect(Value),
    ExpectAnyOrder(Vec<Value>),
    ExpectEvent(Value),
    ExpectRawPrefix(String),
    ExpectOpen(IgnoredAny),
    ExpectSilence(Value),
    ExpectClosed(IgnoredAny),
}

#[derive(Deserialize)]
pub(super) struct Repeat {
    pub(super) text: String,
    pub(super) times: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Drip {
    pub(super) text: String,
    /// How many times the text is repeated in a piece.
    #[serde(default = "once")]
    pub(super) repeat: usize,
    pub(super) times: u64,
    pub(super) every_ms: u64,
}

fn once() -> usize {
    1
}

impl Vector {
    /// How much its steps send, but for what `${...}` adds.
    pub(super) fn bytes_sent(&self) -> usize {
        let of_step = |step: &Step| match &step.kind {
            Kind::Send(text) => text.len(),
            Kind::SendHex(hex) => hex.len() / 2,
            Kind::SendRepeat(Repeat { text, times }) => {
                text.len() * usize::try_from(*times).unwrap()
            }
            _ => 0,
        };
        self.steps.iter().map(of_step).sum()
    }
}

/// All vectors, by the names of their files.
pub(super) fn load() -> Vec<Vector> {
    #[derive(Deserialize)]
    struct Document {
        vectors: Vec<Vector>,
    }
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/vectors");
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "json")
    });
    files.sort();
    let read = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let document: Document = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        document.vectors
    };
    files.into_iter().flat_map(read).collect()
}
