//! Runs the operator's day of docs/sms.md, and compares what it prints.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use rpc_daemon::DaemonConfig;
use rpc_daemon::config::{Overrides, ServiceName};
use rpc_server::Tokens;
use rpc_sms::testing::{CountingGateway, Mode};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::Server;
use crate::transcript;

const DOCUMENT: &str = include_str!("../../../../docs/sms.md");
const TOKEN: &str = "operator-s-token-0123456789abcdef";
const ID_LENGTH: usize = 26;
const TIME_LENGTH: usize = "2026-01-05T10:20:30Z".len();

/// A heading of the day, with its commands and what each prints.
struct Scene {
    heading: &'static str,
    commands: Vec<(&'static str, String)>,
}

fn day() -> &'static str {
    transcript::operators_day(DOCUMENT)
}

fn scenes() -> Vec<Scene> {
    let scene = |text: &'static str| Scene {
        heading: text.lines().next().unwrap(),
        commands: transcript::commands(text),
    };
    day().split("\n### ").skip(1).map(scene).collect()
}

/// The settings of the document with other addresses.
fn config(dir: &Path, north: &str, south: &str) -> DaemonConfig {
    let settings = day().split("```toml\n").nth(1).unwrap();
    let settings = settings.split("```").next().unwrap();
    let tokens = dir.join("tokens");
    let hash = Tokens::hash(TOKEN).unwrap();
    fs::write(&tokens, format!("operator {hash}\n")).unwrap();
    fs::write(dir.join("token"), TOKEN).unwrap();

    let mut settings = settings.to_owned();
    for (there, here) in [
        ("/etc/rpc-server/tokens", tokens.to_str().unwrap()),
        ("https://north.example.net", north),
        ("https://south.example.net", south),
    ] {
        assert!(settings.contains(there), "{there}");
        settings = settings.replace(there, here);
    }
    let file = dir.join("rpc-server.toml");
    fs::write(&file, settings).unwrap();

    let loaded = DaemonConfig::load(Some(&file), [], Overrides::default()).unwrap();
    DaemonConfig {
        listen: vec!["127.0.0.1:0".into()],
        data_dir: dir.join("data"),
        services: vec![ServiceName::Sms],
        ..loaded.config
    }
}

/// The names of one side for the same things, in the order in which they came.
#[derive(Default)]
struct Ids(Vec<String>);

impl Ids {
    /// The text with its ids numbered, and without times and waits, which are new in each run.
    fn plain(&mut self, text: &str) -> String {
        let mut plain = String::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if let Some(id) = id_at_start(rest) {
                let number = self.number(id);
                let _ = write!(plain, "{number:0>ID_LENGTH$}");
                rest = &rest[ID_LENGTH..];
            } else if is_time(rest) {
                plain.push_str("a-time-as-long-as-it");
                rest = &rest[TIME_LENGTH..];
            } else if let Some(behind) = behind_a_wait(rest) {
                plain.push_str("a while");
                rest = behind;
            } else {
                plain.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
        plain
    }

    fn number(&mut self, id: &str) -> usize {
        let known = self.0.iter().position(|known| known == id);
        known.unwrap_or_else(|| {
            self.0.push(id.to_owned());
            self.0.len() - 1
        })
    }
}

fn id_at_start(text: &str) -> Option<&str> {
    let id = text.get(..ID_LENGTH)?;
    let is_id = id.starts_with("01")
        && id
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
    is_id.then_some(id)
}

fn is_time(text: &str) -> bool {
    let shape = "dddd-dd-ddTdd:dd:ddZ";
    text.get(..TIME_LENGTH).is_some_and(|text| {
        text.chars()
            .zip(shape.chars())
            .all(|(given, wanted)| match wanted {
                'd' => given.is_ascii_digit(),
                other => given == other,
            })
    })
}

/// What follows the milliseconds of a wait, if the text begins with one.
fn behind_a_wait(text: &str) -> Option<&str> {
    let behind = text.trim_start_matches(|character: char| character.is_ascii_digit());
    let is_wait =
        behind.len() < text.len() && (behind.starts_with(" ms") || behind.starts_with('}'));
    is_wait.then_some(behind)
}

struct Day {
    server: Server,
    dir: TempDir,
    /// The document's ids and those of this run.
    theirs: Ids,
    ours: Ids,
}

impl Day {
    /// What a shell on a terminal shows for this line: both outputs.
    fn shown(&self, line: &str) -> String {
        let mut line = line.to_owned();
        for (place, id) in self.theirs.0.iter().enumerate() {
            if let Some(ours) = self.ours.0.get(place) {
                line = line.replace(id, ours);
            }
        }
        for shows in [
            "send", "watch", "gateways", "list", "resend", "reveal", "optout", "check",
        ] {
            line = line.replace(
                &format!("rpc sms {shows}"),
                &format!("rpc sms {shows} --text"),
            );
        }

        let program = Path::new(env!("CARGO_BIN_EXE_rpc"));
        let path = std::env::var("PATH").unwrap_or_default();
        let output = Command::new("sh")
            .args(["-c", &format!("{line} 2>&1")])
            .env("RPC_ADDR", &self.server.address)
            .env("RPC_TOKEN_FILE", self.dir.path().join("token"))
            .env(
                "PATH",
                format!("{}:{path}", program.parent().unwrap().display()),
            )
            .output()
            .unwrap();
        let shown = String::from_utf8(output.stdout).unwrap();
        shown.replace(&self.server.address, "127.0.0.1:8889")
    }

    /// The lines of JSON that a command prints in a pipe.
    fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let token = self.dir.path().join("token");
        let with_token = ["--token-file", token.to_str().unwrap()];
        let lines = self.server.rpc(&[&with_token, arguments].concat()).data();
        lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn play(&mut self, scene: &Scene) {
        for (command, printed) in &scene.commands {
            let shown = self.shown(command);
            let expected = self.theirs.plain(printed);
            assert_eq!(self.ours.plain(&shown), expected, "{command}\n{shown}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_day_is_as_the_document_tells_it() {
    let answer = || Mode::answer(200, r#"{"id":"m-1"}"#);
    let south = CountingGateway::start(answer()).await.unwrap();
    // Its port is free again, and nothing listens there.
    let north = CountingGateway::start(answer()).await.unwrap();
    let north_url = north.url().to_owned();
    drop(north);

    let dir = tempfile::tempdir().unwrap();
    let server = Server::with(config(dir.path(), &north_url, south.url()), None);
    let mut day = Day {
        server,
        dir,
        theirs: Ids::default(),
        ours: Ids::default(),
    };
    let scenes = scenes();
    let headings: Vec<&str> = scenes.iter().map(|scene| scene.heading).collect();
    let [down, lost, opt_out, flood] = scenes.as_slice() else {
        panic!("{headings:?}");
    };
    day.play(down);

    // It is back, and breaks its connections.
    let address = north_url.strip_prefix("http://").unwrap();
    let _north = CountingGateway::start_on(address, Mode::ResetAfter)
        .await
        .unwrap();
    while day.json(&["sms", "gateways"])[0]["state"] != "up" {}
    for guest in 1..=3 {
        let number = format!("+44770090020{guest}");
        day.json(&["sms", "send", &number, "your table is free"]);
        while day.json(&["sms", "gateways"])[0]["unknown"] != guest {}
    }
    day.play(lost);
    day.play(opt_out);

    for place in 0..5 {
        let number = format!("+44770090040{place}");
        day.json(&[
            "sms",
            "send",
            &number,
            "your code is 1234",
            "--class",
            "otp",
        ]);
        while day
            .json(&["sms", "list", "--class", "otp", "--status", "sent"])
            .len()
            <= place
        {}
    }
    day.play(flood);
}
