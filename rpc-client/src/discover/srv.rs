//! SRV records, a DNS server of the caller's choice, and the time for which an answer holds: the
//! system's own lookup of hosts has none of them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::lookup_ip::LookupIp;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, rdata::SRV};
use hickory_resolver::{Resolver, TokioResolver};

use super::dns::{Answer, Lookup, host_and_port};
use super::{Address, Error, InvalidTarget};

/// Hosts of SRV records that are looked up at the same time.
const HOSTS_AT_ONCE: usize = 16;

/// A question to the servers of `/etc/resolv.conf`, or to one server.
#[derive(Clone)]
pub(super) struct RecordLookup {
    server: Option<SocketAddr>,
    question: Question,
}

#[derive(Clone)]
enum Question {
    Host { host: String, port: u16 },
    Service { name: String },
}

impl RecordLookup {
    /// `//SERVER/HOST:PORT`, where the server is `IP` or `IP:PORT`.
    pub(super) fn host(text: &str) -> Result<Self, InvalidTarget> {
        let (server, rest) = split(text)?;
        let (host, port) = host_and_port(rest)?;
        Ok(Self {
            server,
            question: Question::Host {
                host: host.to_owned(),
                port,
            },
        })
    }

    /// `NAME`, or `//SERVER/NAME`.
    pub(super) fn service(text: &str) -> Result<Self, InvalidTarget> {
        let (server, name) = split(text)?;
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || matches!(c, ':' | '/')) {
            return Err(InvalidTarget::new(format!(
                "`{name}` is not the name of a service: SRV records are found by srv:_SERVICE._tcp.DOMAIN, \
                 for example srv:_rpc._tcp.log.internal"
            )));
        }

        Ok(Self {
            server,
            question: Question::Service {
                name: name.to_owned(),
            },
        })
    }

    /// Made anew for each question, so that a changed `/etc/resolv.conf` is read and nothing is cached.
    fn resolver(&self) -> Result<TokioResolver, Error> {
        let provider = TokioRuntimeProvider::default();
        let mut builder = match self.server {
            None => Resolver::builder(provider)?,
            Some(server) => {
                let mut name_server = NameServerConfig::udp_and_tcp(server.ip());
                for connection in &mut name_server.connections {
                    connection.port = server.port();
                }

                let config = ResolverConfig::from_name_servers(vec![name_server]);
                Resolver::builder_with_config(config, provider)
            }
        };

        let options = builder.options_mut();
        options.cache_size = 0;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        Ok(builder.build()?)
    }
}

impl Lookup for RecordLookup {
    fn look_up(&self) -> BoxFuture<'static, Result<Answer, Error>> {
        let lookup = self.clone();
        async move {
            let resolver = lookup.resolver()?;

            match &lookup.question {
                Question::Host { host, port } => {
                    let found = resolver.lookup_ip(host.as_str()).await?;
                    let address = |ip| Address::from(SocketAddr::new(ip, *port).to_string());
                    let addresses = found.iter().map(address).collect();
                    Ok(Answer {
                        addresses,
                        ttl: Some(left(found.valid_until())),
                    })
                }
                Question::Service { name } => look_up_service(&resolver, name).await,
            }
        }
        .boxed()
    }
}

/// A host that cannot be found leaves the others; only when none is found does the lookup fail.
async fn look_up_service(resolver: &TokioResolver, name: &str) -> Result<Answer, Error> {
    let found = resolver.srv_lookup(name).await?;
    let mut hosts = Vec::new();
    for record in found.answers() {
        match &record.data {
            // A root as the target says that there is no such service (RFC 2782).
            RData::SRV(srv) if !srv.target.is_root() => {
                hosts.push(look_up_host(resolver, srv.clone()));
            }
            _ => {}
        }
    }

    let mut hosts = stream::iter(hosts).buffer_unordered(HOSTS_AT_ONCE);
    let mut answer = Answer {
        addresses: Vec::new(),
        ttl: Some(left(found.valid_until())),
    };
    let mut failure = None;

    while let Some((srv, ips)) = hosts.next().await {
        let SRV {
            priority,
            weight,
            port,
            ref target,
            ..
        } = srv;

        match ips {
            Ok(ips) => {
                answer.ttl = answer.ttl.min(Some(left(ips.valid_until())));
                answer.addresses.extend(ips.iter().map(|ip| {
                    let address = Address::from(SocketAddr::new(ip, port).to_string());
                    Address {
                        priority,
                        weight,
                        ..address
                    }
                }));
            }
            Err(error) => {
                tracing::warn!(service = name, host = %target, reason = %error, "a host of the service was not found");
                // It may be there at the next look, which is therefore not put off.
                answer.ttl = Some(Duration::ZERO);
                failure = Some(error);
            }
        }
    }

    match failure {
        Some(error) if answer.addresses.is_empty() => Err(error.into()),
        _ => Ok(answer),
    }
}

async fn look_up_host(resolver: &TokioResolver, srv: SRV) -> (SRV, Result<LookupIp, NetError>) {
    let ips = resolver.lookup_ip(srv.target.clone()).await;
    (srv, ips)
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

/// Takes `//SERVER/` off the front.
fn split(text: &str) -> Result<(Option<SocketAddr>, &str), InvalidTarget> {
    let Some(rest) = text.strip_prefix("//") else {
        return Ok((None, text));
    };

    let (server, rest) = rest.split_once('/').unwrap_or((rest, ""));
    let with_port = server.parse::<SocketAddr>().ok();
    let plain = || {
        server
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse()
            .ok()
    };
    let server = with_port
        .or_else(|| plain().map(|ip| SocketAddr::new(ip, 53)))
        .ok_or_else(|| {
            InvalidTarget::new(format!(
                "`{server}` is not a DNS server: write IP or IP:PORT, for example 10.0.0.53"
            ))
        })?;

    Ok((Some(server), rest))
}
