//! Discovery: the sources of a service's endpoints, and how a change of them is noticed.
//!
//! | target | its endpoints |
//! | --- | --- |
//! | `127.0.0.1:8889`, `[fe80::1%eth0]:8889`, `log.internal:8889`, `unix:/run/rpc.sock` | this one; a name with several addresses is one endpoint: each is dialed, IPv6 first, the next one 250 ms after the one before (RFC 8305) |
//! | `tls:log.internal:8889` | the same over TLS (feature `tls`) |
//! | `10.0.0.1:8889,10.0.0.2:8889` | these, for good |
//! | `dns:log.internal:8889` | every address of the host, looked up as the system does it, each `discovery.resolve_interval_ms` |
//! | `dns://10.0.0.53/log.internal:8889` | the same from this DNS server (`IP` or `IP:PORT`), again when its answer's time to live is over (feature `srv`) |
//! | `srv:_rpc._tcp.log.internal`, `srv://10.0.0.53/_rpc._tcp.log.internal` | the hosts and ports of the SRV records, with their priorities and weights (feature `srv`) |
//! | `file:/etc/rpc/log` | what the file lists: one address a line, with `#` for comments, or a JSON array of addresses and of objects with `address`, `priority`, `weight`; read each `discovery.file_interval_ms` |
//! | `etcd:http://10.0.0.7:2379/rpc/log/`, `etcd:http://a:2379,b:2379/rpc/log/` | one for each key with the prefix `rpc/log/`: its value, an address or a JSON object as in a file, or without a value the key's last part; watched (feature `etcd`) |
//!
//! A file is best replaced by renaming another one over it: that is taken as it is, while one that is
//! written to is taken when it has stayed the same for one interval.
//!
//! Whatever fails later, the last good answer is kept: an empty or unreadable list never takes away
//! endpoints that were known.

mod dns;
#[cfg(feature = "etcd")]
mod etcd;
mod file;
mod fixed;
mod list;
#[cfg(feature = "srv")]
mod srv;

use std::fmt;
use std::mem;
use std::str::FromStr;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::sync::watch;

use crate::config::{Config, ConfigError};
use crate::error::Cause;

/// What a client calls: one address, or the place where the addresses are found. The
/// [module](self) lists the forms of the text.
///
/// Text becomes a target by [`FromStr`], which refuses what it cannot read, or by `From`, with which
/// the first call fails instead, with the same words.
///
/// ```
/// use rpc_client::Target;
///
/// let three: Target = "10.0.0.1:8889,10.0.0.2:8889,10.0.0.3:8889".parse().unwrap();
/// assert_eq!(three.to_string(), "10.0.0.1:8889,10.0.0.2:8889,10.0.0.3:8889");
/// assert!("10.0.0.1".parse::<Target>().is_err(), "the port is missing");
/// ```
#[derive(Clone)]
pub struct Target {
    text: Arc<str>,
    source: Source,
}

#[derive(Clone)]
enum Source {
    Fixed(Arc<[Address]>),
    Discovered(Arc<dyn Discover>),
    Unreadable(InvalidTarget),
    /// The settings of the client cannot work.
    Misconfigured(ConfigError),
}

/// One endpoint of a service.
///
/// ```
/// use rpc_client::discover::Address;
///
/// let address = Address { weight: 3, ..Address::from("10.0.0.1:8889") };
/// assert_eq!((&*address.text, address.priority), ("10.0.0.1:8889", 0));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// `HOST:PORT`, `tls:HOST:PORT` or `unix:PATH`.
    pub text: Arc<str>,
    /// As in DNS (RFC 2782): endpoints of a higher number are for when those of all lower ones cannot
    /// be reached. 0 where the source knows no priorities.
    pub priority: u16,
    /// Its share among those of one priority, in proportion to theirs. 1 where the source knows no
    /// weights; 0 only beside others of more.
    pub weight: u16,
}

/// A source of endpoints, for [`Target::discovered`].
///
/// ```
/// use futures::stream::{self, BoxStream, StreamExt};
/// use rpc_client::discover::{Address, Discover, Error, Target};
/// use rpc_client::Config;
///
/// /// What an orchestrator wrote into the environment.
/// struct Environment(&'static str);
///
/// impl Discover for Environment {
///     fn watch(&self, _config: &Config) -> BoxStream<'static, Result<Vec<Address>, Error>> {
///         let list = std::env::var(self.0).map_err(Error::from);
///         let addresses = list.map(|list| list.split(',').map(Address::from).collect());
///         stream::iter([addresses]).boxed()
///     }
/// }
///
/// let target = Target::discovered("environment:LOG_SERVERS", Environment("LOG_SERVERS"));
/// # let _ = target;
/// ```
pub trait Discover: Send + Sync + 'static {
    /// Begins to watch. Each item is the whole list as it is now, or the reason for having none at the moment;
    /// then, and for an empty list too, the last good one stays in force. The stream tries again by
    /// itself, with pauses; where it ends, the last list stays for good.
    ///
    /// Called once by each client, in its first call; the stream is polled in a task of that call's
    /// runtime, and dropped with the client.
    fn watch(&self, config: &Config) -> BoxStream<'static, Result<Vec<Address>, Error>>;
}

/// Why a source of endpoints has no answer; its text is for an operator.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Text that is no [`Target`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidTarget {
    reason: String,
}

/// What is known of a target's endpoints.
#[derive(Clone)]
pub(crate) enum Resolved {
    /// Nothing yet.
    Pending,
    /// At least one.
    Known(Arc<[Address]>),
    /// Nothing so far, and why. A later answer replaces it; it never replaces an answer.
    Failed(Cause),
}

/// Watches the target's endpoints, in a task where they can change, until all receivers are gone.
///
/// A receiver whose sender is gone holds the last word: so it is at once for a list that is fixed and
/// for an unreadable target, which need no task.
pub(crate) fn watch(target: &Target, config: &Config) -> watch::Receiver<Resolved> {
    match &target.source {
        Source::Fixed(addresses) => watch::channel(Resolved::Known(Arc::clone(addresses))).1,
        Source::Unreadable(error) => never_known(error),
        Source::Misconfigured(error) => never_known(error),
        Source::Discovered(source) => {
            let (resolved, receiver) = watch::channel(Resolved::Pending);
            let (name, lists) = (Arc::clone(&target.text), source.watch(config));
            tokio::spawn(keep_watching(
                name,
                lists,
                config.discovery.endpoints_max,
                resolved,
            ));
            receiver
        }
    }
}

/// Endpoints that will never be known, for this reason.
fn never_known<E>(error: &E) -> watch::Receiver<Resolved>
where
    E: std::error::Error + Clone + Send + Sync + 'static,
{
    let cause = Cause::with_source(error.to_string(), error.clone());
    watch::channel(Resolved::Failed(cause)).1
}

async fn keep_watching(
    target: Arc<str>,
    mut lists: BoxStream<'static, Result<Vec<Address>, Error>>,
    endpoints_max: usize,
    resolved: watch::Sender<Resolved>,
) {
    loop {
        let list = tokio::select! {
            () = resolved.closed() => return,
            list = lists.next() => list,
        };

        let failure: Error = match list {
            Some(Ok(addresses)) if (1..=endpoints_max).contains(&addresses.len()) => {
                resolved.send_if_modified(|resolved| known(&target, resolved, addresses));
                continue;
            }
            Some(Ok(addresses)) if addresses.is_empty() => "the list is empty".into(),
            Some(Ok(addresses)) => format!(
                "the list has {} endpoints, more than `discovery.endpoints_max` = {endpoints_max}",
                addresses.len()
            )
            .into(),
            Some(Err(error)) => error,
            // The last word, be it a list or a reason, stays; this one is used only without it.
            None if !matches!(*resolved.borrow(), Resolved::Pending) => return,
            None => {
                resolved.send_if_modified(|resolved| {
                    failed(&target, resolved, "its source has ended".into())
                });
                return;
            }
        };

        resolved.send_if_modified(|resolved| failed(&target, resolved, failure));
    }
}

fn known(target: &str, resolved: &mut Resolved, mut addresses: Vec<Address>) -> bool {
    // Sources give them in any order, DNS in a different one each time.
    addresses.sort_unstable_by(|a, b| (a.priority, &a.text).cmp(&(b.priority, &b.text)));
    addresses.dedup_by(|a, b| a.text == b.text && a.priority == b.priority);

    if matches!(resolved, Resolved::Known(before) if **before == *addresses) {
        return false;
    }

    tracing::info!(
        target_name = target,
        endpoints = addresses.len(),
        "endpoints found"
    );
    *resolved = Resolved::Known(addresses.into());
    true
}

fn failed(target: &str, resolved: &mut Resolved, error: Error) -> bool {
    let error: Arc<dyn std::error::Error + Send + Sync> = error.into();

    if let Resolved::Known(addresses) = resolved {
        let endpoints = addresses.len();
        tracing::warn!(target_name = target, endpoints, reason = %error, "the last known endpoints stay");
        return false;
    }

    tracing::warn!(target_name = target, reason = %error, "no endpoints yet");
    let message = format!("cannot find the endpoints of {target}: {error}");
    *resolved = Resolved::Failed(Cause {
        message,
        source: Some(error),
        code: None,
    });
    true
}

fn source(text: &str) -> Result<Source, InvalidTarget> {
    let Some((scheme, rest)) = text.split_once(':') else {
        return fixed::parse(text).map(Source::Fixed);
    };

    let source: Arc<dyn Discover> = match scheme {
        // A host may have such a name: what follows it is a port then, and no host.
        "dns" | "srv" | "file" | "etcd" if rest.parse::<u16>().is_ok() => {
            return fixed::parse(text).map(Source::Fixed);
        }
        #[cfg(feature = "srv")]
        "dns" if rest.starts_with("//") => Arc::new(dns::Dns(srv::RecordLookup::host(rest)?)),
        #[cfg(not(feature = "srv"))]
        "dns" if rest.starts_with("//") => return Err(InvalidTarget::without("srv", text)),
        "dns" => Arc::new(dns::Dns(dns::SystemLookup::parse(rest)?)),
        #[cfg(feature = "srv")]
        "srv" => Arc::new(dns::Dns(srv::RecordLookup::service(rest)?)),
        #[cfg(not(feature = "srv"))]
        "srv" => return Err(InvalidTarget::without("srv", text)),
        "file" => Arc::new(file::File::parse(rest)?),
        #[cfg(feature = "etcd")]
        "etcd" => Arc::new(etcd::Etcd::parse(rest)?),
        #[cfg(not(feature = "etcd"))]
        "etcd" => return Err(InvalidTarget::without("etcd", text)),
        _ => return fixed::parse(text).map(Source::Fixed),
    };

    Ok(Source::Discovered(source))
}

impl Target {
    /// A target whose endpoints come from a source of the user's own; `name` is what logs and errors
    /// call it.
    pub fn discovered(name: impl Into<Arc<str>>, source: impl Discover) -> Self {
        Self {
            text: name.into(),
            source: Source::Discovered(Arc::new(source)),
        }
    }

    /// The endpoints as a stream: what is known first, and each change of it; `Err` if there is no answer yet. So a
    /// source of your own can use this one and pick from what it finds.
    ///
    /// It is watched by a task of this runtime, for as long as the stream is held; a client does this by
    /// itself.
    pub fn endpoints(&self, config: &Config) -> BoxStream<'static, Result<Vec<Address>, Error>> {
        stream::unfold(
            (watch(self, config), true),
            |(mut resolved, mut is_first)| async move {
                loop {
                    if !mem::take(&mut is_first) && resolved.changed().await.is_err() {
                        return None;
                    }

                    let now = match &*resolved.borrow_and_update() {
                        Resolved::Pending => continue,
                        Resolved::Known(addresses) => Ok(addresses.to_vec()),
                        Resolved::Failed(cause) => Err(cause.message.clone().into()),
                    };

                    return Some((now, (resolved, false)));
                }
            },
        )
        .boxed()
    }

    /// The endpoints, where they are given by the target itself and never change.
    pub(crate) fn fixed(&self) -> Option<&Arc<[Address]>> {
        match &self.source {
            Source::Fixed(addresses) => Some(addresses),
            Source::Discovered(_) | Source::Unreadable(_) | Source::Misconfigured(_) => None,
        }
    }

    /// With text that could not be read taken for the name of one endpoint.
    pub(crate) fn or_as_it_is(self) -> Self {
        match self.source {
            Source::Unreadable(_) => {
                let address = Address::from(&*self.text);
                Self {
                    source: Source::Fixed([address].into()),
                    ..self
                }
            }
            Source::Fixed(_) | Source::Discovered(_) | Source::Misconfigured(_) => self,
        }
    }

    /// Instead of this target, one whose calls fail with what is wrong with the settings.
    pub(crate) fn misconfigured(self, error: ConfigError) -> Self {
        Self {
            source: Source::Misconfigured(error),
            ..self
        }
    }

    /// The text that it was made of.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.text
    }

    fn unreadable(text: &str, error: InvalidTarget) -> Self {
        Self {
            text: text.into(),
            source: Source::Unreadable(error),
        }
    }
}

impl FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        Ok(Self {
            text: text.into(),
            source: source(text)?,
        })
    }
}

impl From<&str> for Target {
    fn from(text: &str) -> Self {
        text.parse()
            .unwrap_or_else(|error| Self::unreadable(text, error))
    }
}

impl From<String> for Target {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<&String> for Target {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<&Target> for Target {
    fn from(target: &Target) -> Self {
        target.clone()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Target").field(&self.text).finish()
    }
}

impl From<&str> for Address {
    fn from(text: &str) -> Self {
        Self {
            text: text.into(),
            priority: 0,
            weight: 1,
        }
    }
}

impl From<String> for Address {
    fn from(text: String) -> Self {
        Self {
            text: text.into(),
            priority: 0,
            weight: 1,
        }
    }
}

impl InvalidTarget {
    fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
        }
    }

    #[cfg(not(all(feature = "srv", feature = "etcd")))]
    fn without(feature: &str, text: &str) -> Self {
        Self::new(format!(
            "`{text}` needs rpc-client's feature `{feature}`, without which this program was built"
        ))
    }
}

impl fmt::Display for InvalidTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for InvalidTarget {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_target_is_told_by_its_first_word() {
        let is_fixed = |text: &str| text.parse::<Target>().unwrap().fixed().is_some();
        for text in ["a:1", "unix:/x", "a:1,b:2", "dns:53", "file:1", "[::1]:1"] {
            assert!(is_fixed(text), "{text}");
        }

        for text in ["dns:a:1", "dns:[::1]:1", "file:/x", "file:x"] {
            assert!(!is_fixed(text), "{text}");
        }
    }

    #[test]
    fn text_that_is_no_target_is_refused_with_what_would_be_right() {
        let check = |text: &str, words: &str| {
            let error = text.parse::<Target>().unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        };

        check("localhost", "HOST:PORT or unix:PATH");
        check("dns:", "dns:HOST:PORT");
        check("dns:unix:1", "dns:HOST:PORT");
        check("dns:/x:1", "dns:HOST:PORT");
        check("file:", "the path is missing");

        if cfg!(feature = "srv") {
            check("dns://a/b:1", "`a` is not a DNS server");
            check("dns://127.0.0.1", "dns:HOST:PORT");
            check("srv:", "srv:_SERVICE._tcp.DOMAIN");
            check("srv:_rpc._tcp.a:1", "srv:_SERVICE._tcp.DOMAIN");
        } else {
            check("dns://127.0.0.1/b:1", "feature `srv`");
            check("srv:_rpc._tcp.a", "feature `srv`");
        }

        check(
            "etcd:x",
            if cfg!(feature = "etcd") {
                "etcd:http://HOST:PORT/PREFIX"
            } else {
                "feature `etcd`"
            },
        );
    }

    #[test]
    fn an_unreadable_target_fails_all_that_ask_for_its_endpoints() {
        let resolved = watch(&Target::from("localhost"), &Config::default());
        let Resolved::Failed(cause) = &*resolved.borrow() else {
            panic!("it cannot be known")
        };

        assert!(
            cause.message.contains("`localhost` is not an address"),
            "{}",
            cause.message
        );
    }
}
