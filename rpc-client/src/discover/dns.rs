//! Endpoints out of DNS: looked up again and again, for as long as the endpoints are in use.

use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use rpc_core::backoff::Backoff;
use tokio::time::Instant;

use super::{Address, Discover, Error, InvalidTarget};
use crate::config::Config;

/// One question to DNS, in whichever way it is asked.
pub(super) trait Lookup: Clone + Send + Sync + 'static {
    fn look_up(&self) -> BoxFuture<'static, Result<Answer, Error>>;
}

/// What DNS says now.
pub(super) struct Answer {
    pub(super) addresses: Vec<Address>,
    /// How long it stays true; `None` where the resolver keeps that to itself.
    pub(super) ttl: Option<Duration>,
}

/// Asks once in a while.
pub(super) struct Dns<L>(pub(super) L);

impl<L: Lookup> Discover for Dns<L> {
    fn watch(&self, config: &Config) -> BoxStream<'static, Result<Vec<Address>, Error>> {
        let shortest = Duration::from_millis(config.discovery.resolve_interval_min_ms);
        let rounds = Rounds {
            lookup: self.0.clone(),
            shortest,
            longest: Duration::from_millis(config.discovery.resolve_interval_ms).max(shortest),
            backoff: Backoff::new(
                shortest,
                Duration::from_millis(config.discovery.resolve_interval_ms),
            ),
            next: None,
        };

        stream::unfold(rounds, |mut rounds| async move {
            Some((rounds.next().await, rounds))
        })
        .boxed()
    }
}

struct Rounds<L> {
    lookup: L,
    shortest: Duration,
    longest: Duration,
    backoff: Backoff,
    next: Option<Instant>,
}

impl<L: Lookup> Rounds<L> {
    async fn next(&mut self) -> Result<Vec<Address>, Error> {
        if let Some(next) = self.next {
            tokio::time::sleep_until(next).await;
        }

        let answer = self.lookup.look_up().await;
        let pause = match &answer {
            Ok(answer) => {
                self.backoff.reset();
                answer
                    .ttl
                    .unwrap_or(self.longest)
                    .clamp(self.shortest, self.longest)
            }
            Err(_) => self.backoff.next_delay(),
        };

        self.next = Some(Instant::now() + pause);
        answer.map(|answer| answer.addresses)
    }
}

/// The addresses of a host, as the system finds them: `/etc/hosts` and whatever else it is set up to ask.
#[derive(Clone)]
pub(super) struct SystemLookup {
    host: String,
    port: u16,
}

impl SystemLookup {
    /// `HOST:PORT`.
    pub(super) fn parse(text: &str) -> Result<Self, InvalidTarget> {
        let (host, port) = host_and_port(text)?;
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl Lookup for SystemLookup {
    fn look_up(&self) -> BoxFuture<'static, Result<Answer, Error>> {
        let Self { host, port } = self.clone();
        async move {
            let found = tokio::net::lookup_host((host, port)).await?;
            let addresses = found
                .map(|address| Address::from(address.to_string()))
                .collect();
            Ok(Answer {
                addresses,
                ttl: None,
            })
        }
        .boxed()
    }
}

/// A host's name and a port.
pub(super) fn host_and_port(text: &str) -> Result<(&str, u16), InvalidTarget> {
    let right = "a host in DNS is dns:HOST:PORT, for example dns:log.internal:8889";
    let refused = || InvalidTarget::new(format!("`{text}` is not a host and port: {right}"));

    let address = super::fixed::check(text).map_err(|_| refused())?;
    let (host, port) = address.rsplit_once(':').ok_or_else(refused)?;
    match port.parse() {
        Ok(port) if host != "unix" => {
            Ok((host.trim_start_matches('[').trim_end_matches(']'), port))
        }
        _ => Err(refused()),
    }
}
