//! Four servers of this process, each of which counts, and one with four threads.

use std::collections::BTreeMap;
use std::future::pending;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use rpc_client::Client;
use rpc_core::Status;
use rpc_examples::process::Outcome;
use rpc_server::{Config, Router, Server, ServerHandle};

use crate::Shares;

/// The command: answers with the name of the thread that runs it.
const WHO: u32 = 100;

/// Calls of one client that are in flight together.
const CALLS_AT_ONCE: usize = 8;

/// The hosts of [`Four::on_one_port`]: all of 127.0.0.0/8 is this machine.
pub(crate) const HOSTS: [Ipv4Addr; 4] = [
    Ipv4Addr::LOCALHOST,
    Ipv4Addr::new(127, 0, 0, 2),
    Ipv4Addr::new(127, 0, 0, 3),
    Ipv4Addr::new(127, 0, 0, 4),
];

/// Attempts to find a port that is free on four hosts.
const PORTS_TRIED: usize = 20;

pub(crate) struct Four {
    addresses: Vec<String>,
    handles: Vec<ServerHandle>,
}

impl Four {
    pub(crate) async fn start(change: impl Fn(&mut Config)) -> Outcome<Self> {
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut servers = Vec::new();
        for _ in 0..4 {
            servers.push(bind(free, &change).await?);
        }
        Ok(Self::serve(servers))
    }

    /// Four hosts with one port, as the addresses behind one name have it.
    pub(crate) async fn on_one_port() -> Outcome<Self> {
        'ports: for _ in 0..PORTS_TRIED {
            let mut servers: Vec<Server> = Vec::new();
            for host in HOSTS {
                let port = match servers.first() {
                    Some(first) => port_of(&first.addresses()[0].to_string())?,
                    None => 0,
                };
                match bind(SocketAddr::new(IpAddr::V4(host), port), &|_| {}).await {
                    Ok(server) => servers.push(server),
                    Err(_) => continue 'ports,
                }
            }
            return Ok(Self::serve(servers));
        }
        Err("no port is free on four hosts".into())
    }

    fn serve(servers: Vec<Server>) -> Self {
        let mut four = Self {
            addresses: Vec::new(),
            handles: Vec::new(),
        };
        for server in servers {
            four.addresses.push(server.addresses()[0].to_string());
            four.handles.push(server.handle());
            tokio::spawn(server.serve(pending()));
        }
        four
    }

    pub(crate) fn addresses(&self) -> &[String] {
        &self.addresses
    }

    pub(crate) fn port(&self) -> Outcome<u16> {
        port_of(&self.addresses[0])
    }

    /// What each of them has counted.
    pub(crate) fn shares(&self, failed: usize) -> Shares {
        let stats = || self.handles.iter().map(ServerHandle::stats);
        Shares {
            calls: stats().map(|stats| stats.requests).collect(),
            connections: stats().map(|stats| stats.connections_accepted).sum(),
            failed,
        }
    }
}

fn port_of(address: &str) -> Outcome<u16> {
    let (_, port) = address.rsplit_once(':').ok_or("an address has a port")?;
    Ok(port.parse()?)
}

async fn bind(address: SocketAddr, change: &impl Fn(&mut Config)) -> Outcome<Server> {
    let server = Server::builder()
        .listen(address.to_string())
        .config(Config::default().with(change))
        .router(Router::new().route(WHO, who)?)
        .bind()
        .await?;
    Ok(server)
}

async fn who() -> Result<String, Status> {
    Ok(std::thread::current().name().unwrap_or_default().to_owned())
}

/// Calls so often, some calls at a time, and returns how many failed.
pub(crate) async fn call(client: &Client, calls: usize) -> usize {
    let mut failed = 0;
    let mut left = calls;
    while left > 0 {
        let at_once = left.min(CALLS_AT_ONCE);
        left -= at_once;
        let together = (0..at_once).map(|_| client.call::<_, String>(WHO, &()));
        let results = futures::future::join_all(together).await;
        failed += results.iter().map(failures).sum::<usize>();
    }
    failed
}

/// How many failures this is, each of which is shown.
fn failures(result: &Result<String, rpc_client::Error>) -> usize {
    if let Err(error) = result {
        eprintln!("balance: a call failed: {error}");
    }
    usize::from(result.is_err())
}

/// Calls for this time, one call after another, and returns how many failed.
pub(crate) async fn call_for(client: &Client, time: Duration) -> usize {
    let began = Instant::now();
    let mut failed = 0;
    while began.elapsed() < time {
        failed += failures(&client.call::<_, String>(WHO, &()).await);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    failed
}

/// One server with four threads, each with a listener of its own: the system gives each connection to one of them.
pub(crate) async fn threads_of_one(connections: usize, calls: usize) -> Outcome<Shares> {
    let server = Server::builder()
        .listen("127.0.0.1:0")
        .workers(4)
        .router(Router::new().route(WHO, who)?)
        .bind()
        .await?;
    let (address, handle) = (server.addresses()[0].to_string(), server.handle());
    tokio::spawn(server.serve(pending()));

    let clients: Vec<_> = (0..connections)
        .map(|_| Client::new(address.as_str()))
        .collect();
    let mut by_thread = BTreeMap::<String, u64>::new();
    let mut failed = 0;
    for client in clients.iter().cycle().take(calls) {
        match client.call::<_, String>(WHO, &()).await {
            Ok(thread) => *by_thread.entry(thread).or_default() += 1,
            result => failed += failures(&result),
        }
    }

    Ok(Shares {
        calls: by_thread.into_values().collect(),
        connections: handle.stats().connections_accepted,
        failed,
    })
}
