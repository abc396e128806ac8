//! Compares the transcripts of docs/services.md with the output of the command line.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc;
use std::thread;

use rpc_server::{Router, Server, Status, service};

/// The service of the document, with schemas.
#[service(schema)]
trait Orders {
    /// Places an order, and replies with its number once it is stored.
    #[rpc(cmdid = 2001, dedup, timeout_ms = 2000)]
    async fn place(
        &self,
        #[schemars(description = "What is ordered.")] item: String,
        count: u32,
    ) -> Result<u64, Status>;

    /// Counts a page view, without a reply.
    #[rpc(cmdid = 2002, oneway)]
    async fn viewed(&self, page: String);

    /// Counts the orders of at least `at_least` pieces of an item.
    #[rpc(cmdid = 2003, idempotent)]
    async fn count(&self, item: &str, #[serde(default)] at_least: u32) -> Result<u64, Status>;

    /// Counts all orders.
    #[rpc(cmdid = 2004, idempotent, deprecated = "use `orders.count`")]
    async fn total(&self) -> Result<u64, Status>;
}

#[derive(Default)]
struct Shop(Mutex<Vec<(String, u32)>>);

impl Orders for Shop {
    async fn place(&self, item: String, count: u32) -> Result<u64, Status> {
        let mut orders = self.0.lock().unwrap();
        orders.push((item, count));
        Ok(orders.len() as u64)
    }

    async fn viewed(&self, _page: String) {}

    async fn count(&self, item: &str, at_least: u32) -> Result<u64, Status> {
        let orders = self.0.lock().unwrap();
        let found = orders
            .iter()
            .filter(|(of, count)| of == item && *count >= at_least);
        Ok(found.count() as u64)
    }

    async fn total(&self) -> Result<u64, Status> {
        Ok(self.0.lock().unwrap().len() as u64)
    }
}

/// A server of the shop, until the test ends.
fn shop() -> String {
    let (started, address) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async {
            let router = Router::new().serve(OrdersServer(Shop::default())).unwrap();
            let server = Server::builder().listen("127.0.0.1:0").router(router);
            let server = server.bind().await.unwrap();
            started.send(server.addresses()[0].to_string()).unwrap();
            server.serve(std::future::pending::<()>()).await.unwrap();
        });
    });
    address.recv().unwrap()
}

/// What a shell on a terminal shows for this line: both outputs.
fn shown(address: &str, line: &str) -> String {
    let line = line.replace("rpc describe", "rpc describe --text");
    let program = Path::new(env!("CARGO_BIN_EXE_rpc"));
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("sh")
        .args(["-c", &format!("{line} 2>&1")])
        .env("RPC_ADDR", address)
        .env(
            "PATH",
            format!("{}:{path}", program.parent().unwrap().display()),
        )
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The lines of the transcripts below a heading, each with what it prints.
fn transcripts(heading: &str) -> Vec<(&'static str, String)> {
    let document = include_str!("../../../../docs/services.md");
    let section = document.split(&format!("\n## {heading}\n")).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();

    let mut lines: Vec<(&str, String)> = Vec::new();
    for block in section.split("```console\n").skip(1) {
        for line in block.split("```").next().unwrap().lines() {
            match (line.strip_prefix("$ "), lines.last_mut()) {
                (Some(command), _) => lines.push((command, String::new())),
                (None, Some((_, printed))) => {
                    printed.push_str(line);
                    printed.push('\n');
                }
                (None, None) => panic!("`{line}` is printed by no command"),
            }
        }
    }
    lines
}

#[test]
fn the_transcripts_of_the_document_are_what_the_command_line_prints() {
    for (heading, count) in [("From the command line", 4), ("A first try", 6)] {
        let address = shop();
        let lines = transcripts(heading);
        assert_eq!(lines.len(), count, "{heading}");

        for (command, printed) in lines {
            // The port is the system's.
            let shown = shown(&address, command).replace(&address, "127.0.0.1:8889");
            assert_eq!(shown, printed, "{command}");
        }
    }
}
