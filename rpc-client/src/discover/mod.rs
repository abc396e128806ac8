//! Where the endpoints of a service come from, and how a change of them is noticed.
//!
//! | target | its endpoints |
//! | --- | --- |
//! | `127.0.0.1:8889`, `log.internal:8889`, `unix:/run/rpc.sock` | this one; a name of several hosts is one endpoint |
//! | `10.0.0.1:8889,10.0.0.2:8889` | these, for good |
//!
//! Whatever fails later, the last good answer is kept: an empty or unreadable list never takes away
//! endpoints that were known.

mod fixed;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::watch;

use crate::config::Config;
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
    /// `HOST:PORT` or `unix:PATH`.
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
    /// Begins to watch. Each item is the whole list as it is now, or why there is none at the moment;
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
        Source::Unreadable(error) => {
            watch::channel(Resolved::Failed(Cause::with_source(error.to_string(), error.clone()))).1
        }
        Source::Discovered(source) => {
            let (resolved, receiver) = watch::channel(Resolved::Pending);
            tokio::spawn(keep_watching(Arc::clone(&target.text), source.watch(config), resolved));
            receiver
        }
    }
}

async fn keep_watching(
    target: Arc<str>,
    mut lists: BoxStream<'static, Result<Vec<Address>, Error>>,
    resolved: watch::Sender<Resolved>,
) {
    loop {
        let list = tokio::select! {
            () = resolved.closed() => return,
            list = lists.next() => list,
        };
        let cause = match list {
            Some(Ok(addresses)) if !addresses.is_empty() => {
                resolved.send_if_modified(|resolved| known(&target, resolved, addresses));
                continue;
            }
            Some(Ok(_)) => Cause::new(format!("cannot find the endpoints of {target}: the list is empty")),
            Some(Err(error)) => {
                let error: Arc<dyn std::error::Error + Send + Sync> = error.into();
                let message = format!("cannot find the endpoints of {target}: {error}");
                Cause { message, source: Some(error) }
            }
            None => {
                let cause =
                    Cause::new(format!("cannot find the endpoints of {target}: its source has ended"));
                resolved.send_if_modified(|resolved| failed(&target, resolved, cause));
                return;
            }
        };
        resolved.send_if_modified(|resolved| failed(&target, resolved, cause));
    }
}

fn known(target: &str, resolved: &mut Resolved, mut addresses: Vec<Address>) -> bool {
    // Sources give them in any order, DNS in a different one each time.
    addresses.sort_unstable_by(|a, b| (a.priority, &a.text).cmp(&(b.priority, &b.text)));
    addresses.dedup_by(|a, b| a.text == b.text && a.priority == b.priority);
    if matches!(resolved, Resolved::Known(before) if **before == *addresses) {
        return false;
    }
    tracing::info!(target_name = target, endpoints = addresses.len(), "endpoints found");
    *resolved = Resolved::Known(addresses.into());
    true
}

fn failed(target: &str, resolved: &mut Resolved, cause: Cause) -> bool {
    if let Resolved::Known(addresses) = resolved {
        tracing::warn!(target_name = target, endpoints = addresses.len(), reason = %cause.message, "the last known endpoints stay");
        return false;
    }
    tracing::warn!(target_name = target, reason = %cause.message, "no endpoints yet");
    *resolved = Resolved::Failed(cause);
    true
}

impl Target {
    /// A target whose endpoints come from a source of the user's own; `name` is what logs and errors
    /// call it.
    pub fn discovered(name: impl Into<Arc<str>>, source: impl Discover) -> Self {
        Self { text: name.into(), source: Source::Discovered(Arc::new(source)) }
    }

    /// The endpoints, where they are given by the target itself and never change.
    pub(crate) fn fixed(&self) -> Option<&Arc<[Address]>> {
        match &self.source {
            Source::Fixed(addresses) => Some(addresses),
            Source::Discovered(_) | Source::Unreadable(_) => None,
        }
    }

    /// The text that it was made of.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.text
    }

    fn unreadable(text: &str, error: InvalidTarget) -> Self {
        Self { text: text.into(), source: Source::Unreadable(error) }
    }
}

impl FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        let source = Source::Fixed(fixed::parse(text)?);
        Ok(Self { text: text.into(), source })
    }
}

impl From<&str> for Target {
    fn from(text: &str) -> Self {
        text.parse().unwrap_or_else(|error| Self::unreadable(text, error))
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
        Self { text: text.into(), priority: 0, weight: 1 }
    }
}

impl From<String> for Address {
    fn from(text: String) -> Self {
        Self { text: text.into(), priority: 0, weight: 1 }
    }
}

impl InvalidTarget {
    fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

impl fmt::Display for InvalidTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for InvalidTarget {}
