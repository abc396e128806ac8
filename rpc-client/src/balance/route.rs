//! The way from a call to a connection: the only one there is, or one of the balancer's.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;

use super::directory::Directory;
use super::group::Members;
use super::member::{EndpointStats, InFlightGuard, ServerStanding};
use super::{Choice, Chooser, Lease, RouteHint};
use crate::config::Mode;
use crate::connection::Connection;
use crate::discover::Target;
use crate::endpoint::Endpoint;
use crate::endpoint::pool::Dialer;
use crate::error::Error;

/// Where a client's calls go.
#[expect(clippy::large_enum_variant, reason = "a client has one of them")]
pub(crate) enum Route {
    /// One endpoint with one connection: there is nothing to choose and nothing to count.
    Sole(Arc<Endpoint>),
    Balanced(Balanced),
}

/// Several endpoints, or several connections to one.
pub(crate) struct Balanced {
    chooser: Chooser,
    directory: Directory,
}

impl Route {
    pub(crate) fn new(target: &Target, dialer: Dialer) -> Self {
        if let Some([address]) = target.fixed().map(|addresses| &**addresses)
            && dialer.common.config.pool.mode == Mode::Single
        {
            return Self::Sole(dialer.endpoint(&address.text));
        }

        let chooser = Chooser::new(Arc::clone(&dialer.common.config));
        Self::Balanced(Balanced {
            chooser,
            directory: Directory::new(target.clone(), dialer),
        })
    }

    /// A connection that most likely takes a call, without waiting for one.
    pub(crate) fn try_lease(&self, hint: RouteHint<'_>, now: Instant) -> Option<Lease> {
        match self {
            Self::Sole(endpoint) => endpoint.latest().map(Lease::of_sole),
            Self::Balanced(balanced) => match balanced.choose(hint, now)? {
                Choice::Ready(lease) => Some(lease),
                Choice::Unopened(_) => None,
            },
        }
    }

    /// A connection that takes calls, as soon as there is one.
    ///
    /// # Errors
    /// Where none can be had, at any of the endpoints, or not before the deadline. Nothing was sent.
    pub(crate) async fn lease(
        &self,
        hint: RouteHint<'_>,
        deadline: Option<Instant>,
    ) -> Result<Lease, Error> {
        match self {
            Self::Sole(endpoint) => match endpoint.current() {
                Some(connection) => Ok(Lease::of_sole(connection)),
                None => endpoint.connection(deadline).await.map(Lease::of_sole),
            },
            Self::Balanced(balanced) => balanced.lease(hint, deadline).await,
        }
    }

    /// Whether there is a connection that takes calls.
    pub(crate) fn is_connected(&self) -> bool {
        match self {
            Self::Sole(endpoint) => endpoint.current().is_some(),
            Self::Balanced(balanced) => balanced
                .directory
                .last_known()
                .iter()
                .any(|member| member.pool().is_connected()),
        }
    }

    /// Whether there can be a connection for another try.
    pub(crate) fn can_try_again(&self) -> bool {
        match self {
            Self::Sole(endpoint) => endpoint.can_connect() || endpoint.current().is_some(),
            Self::Balanced(_) => true,
        }
    }

    /// Whether any endpoint is not among these.
    pub(crate) fn has_other_than(&self, addresses: &[Arc<str>]) -> bool {
        match self {
            Self::Sole(_) => false,
            Self::Balanced(balanced) => balanced
                .directory
                .last_known()
                .iter()
                .any(|member| !addresses.contains(member.address())),
        }
    }

    /// The connections that calls were put on last, be they over by now.
    pub(crate) fn latest(&self) -> Vec<Arc<Connection>> {
        match self {
            Self::Sole(endpoint) => endpoint.latest().into_iter().collect(),
            Self::Balanced(balanced) => balanced
                .directory
                .last_known()
                .iter()
                .flat_map(|member| member.pool().latest())
                .collect(),
        }
    }

    pub(crate) fn endpoints(&self) -> Vec<EndpointStats> {
        match self {
            Self::Sole(endpoint) => vec![EndpointStats::of_sole(endpoint)],
            Self::Balanced(balanced) => balanced
                .directory
                .last_known()
                .iter()
                .map(|member| member.stats())
                .collect(),
        }
    }
}

impl Balanced {
    fn choose(&self, hint: RouteHint<'_>, now: Instant) -> Option<Choice> {
        self.chooser.choose(&self.directory.members(), hint, now)
    }

    async fn lease(&self, hint: RouteHint<'_>, deadline: Option<Instant>) -> Result<Lease, Error> {
        let mut tried = hint.avoid.to_vec();
        loop {
            let members = self.directory.wait(deadline).await?;
            let now = Instant::now();
            match self.chooser.choose(
                &members,
                RouteHint {
                    avoid: &tried,
                    ..hint
                },
                now,
            ) {
                Some(Choice::Ready(lease)) => return Ok(lease),
                Some(Choice::Unopened(guard)) => match guard.connection(deadline).await {
                    Ok(connection) => return Ok(Lease::counted(connection, guard)),
                    Err(error) => {
                        let address = Arc::clone(guard.address());
                        guard.finish(Some(&error), ServerStanding::Serving);
                        tried.push(address);

                        let is_last = members
                            .iter()
                            .all(|member| tried.contains(member.address()));
                        if is_last || error.is_deadline() {
                            return Err(error);
                        }
                    }
                },
                None => return first_to_connect(&members, deadline).await,
            }
        }
    }
}

/// Connects to all of a group and takes the first connection that can be had; where none can, to those of
/// the next group.
async fn first_to_connect(members: &Members, deadline: Option<Instant>) -> Result<Lease, Error> {
    let mut last = None;
    for group in members.groups() {
        let now = Instant::now();
        let attempt = async |member| {
            let mut guard = InFlightGuard::of(member, now);
            let connection = guard.connection(deadline).await?;
            guard.begins(Instant::now());
            Ok(Lease::counted(connection, guard))
        };

        let mut attempts: FuturesUnordered<_> = group.members.iter().map(attempt).collect();
        while let Some(attempt) = attempts.next().await {
            match attempt {
                Ok(first) => return Ok(first),
                Err(error) => last = Some(error),
            }
        }
    }

    Err(last.expect("a directory that has been waited for has members"))
}
