//! Short and long connections, as the Tornado keep-alive note looked at them with Wireshark: two calls are two connections, or
//! one. It is the server that says which ports the calls came from, and `ss` that says what the system has.
//!
//! `keepalive --type short` and `--type long` show one of them, `keepalive` both.

use std::collections::BTreeSet;
use std::process::{Command, ExitCode};

use rpc_client::{Client, Config, Mode};
use rpc_examples::gateway::{Known, Offer, Serving, StockClient, gateway};
use rpc_examples::process::Outcome;
use rpc_examples::web::{Connections, Http};

const USAGE: &str = "usage: keepalive [--type short|long]";
const EXIT_USAGE: u8 = 2;

/// How long the connections of the callers live.
#[derive(Clone, Copy)]
enum Type {
    Short,
    Long,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let types = match arguments[..] {
        [] => vec![Type::Short, Type::Long],
        ["--type", "short"] => vec![Type::Short],
        ["--type", "long"] => vec![Type::Long],
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(EXIT_USAGE);
        }
    };

    for kind in types {
        if let Err(error) = show(kind).await {
            eprintln!("keepalive: {error}");
            return ExitCode::FAILURE;
        }
    }
    println!(
        "Look at the ports: a caller's own connection lives as long as it chooses, the gateway's is one."
    );
    ExitCode::SUCCESS
}

async fn show(kind: Type) -> Outcome<()> {
    let (name, mode, connections) = match kind {
        Type::Short => ("short", Mode::Short, Connections::Short),
        Type::Long => ("long", Mode::Single, Connections::Kept),
    };
    println!("--type {name}: two calls");

    // A service of its own for each row, so that all that is counted is this row's.
    let stock = Serving::stock().await?;
    let config = Config::default().with(|config| config.pool.mode = mode);
    let client = StockClient::new(Client::with_config(&*stock.address, config));
    let known = [client.count("fig").await?, client.count("fig").await?];
    print_row("direct", &known, &stock)?;

    let (stock, prices) = (Serving::stock().await?, Serving::prices().await?);
    let gateway = gateway(&stock, &prices).await?;
    let (http, url) = (
        Http::new(connections),
        format!("http://{}/offers/fig", gateway.address),
    );
    let mut known = Vec::new();
    for _ in 0..2 {
        let offer: Offer = serde_json::from_str(&http.get(&url).await?)?;
        known.push(offer.stock);
    }
    print_row("gateway", &known, &stock)
}

fn print_row(name: &str, known: &[Known], service: &Serving) -> Outcome<()> {
    let ports: Vec<&str> = known.iter().map(|it| port_of(&it.peer)).collect();
    println!(
        "  {name:8} from ports {}; the service counts {}, {}",
        ports.join(" and "),
        service.connections(),
        seen_by_ss(port_of(&service.address))?
    );
    Ok(())
}

fn port_of(address: &str) -> &str {
    address.rsplit(':').next().unwrap_or(address)
}

/// The connections to this port that the system has, by `ss`.
fn seen_by_ss(port: &str) -> Outcome<String> {
    let filter = format!("( sport = :{port} or dport = :{port} )");
    let output = match Command::new("ss").args(["-tanH", &filter]).output() {
        Ok(output) => String::from_utf8(output.stdout)?,
        Err(error) => return Ok(format!("ss cannot be asked ({error})")),
    };

    // Over the loopback each end that is still open has a line: the client's port stands for both.
    let (mut open, mut closed) = (BTreeSet::new(), BTreeSet::new());
    for line in output.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [state, _, _, local, peer, ..] = fields[..] else {
            continue;
        };
        let ends = [port_of(local), port_of(peer)];
        let Some(client) = ends.into_iter().find(|&end| end != port && end != "*") else {
            continue;
        };
        match state {
            "ESTAB" => open.insert(client.to_owned()),
            _ => closed.insert(client.to_owned()),
        };
    }
    Ok(format!(
        "ss sees {} open and {} closed",
        open.difference(&closed).count(),
        closed.len()
    ))
}
