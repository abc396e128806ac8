//! The endpoints of a target as they are known now, each with its connections.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::group::Members;
use crate::discover::{self, Resolved, Target};
use crate::endpoint::pool::Dialer;
use crate::error::{Cause, Error, Kind};

/// Follows what the target's source says. An endpoint that stays keeps its connections; one that is
/// gone keeps them until the calls on them have ended.
pub(crate) struct Directory {
    target: Target,
    dialer: Dialer,
    /// Read by every call and written when the endpoints change; held for a copy of an `Arc`, or while
    /// the members are put together.
    known: RwLock<Known>,
}

struct Known {
    members: Arc<Members>,
    /// None before the first call, and for ever where the endpoints never change.
    source: Option<Source>,
    /// Why there are no members, and since when.
    failure: Option<(Cause, Instant)>,
}

/// What is said of the endpoints, by a task of the runtime that made the first call.
struct Source {
    said: watch::Receiver<Resolved>,
    /// Whether the last word has been said, and heard.
    is_over: bool,
    runtime: Runtime,
}

/// A task that does nothing, and ends before this only where its runtime does.
struct Runtime(AbortHandle);

impl Directory {
    pub(crate) fn new(target: Target, dialer: Dialer) -> Self {
        let addresses = target.fixed().cloned().unwrap_or_default();
        let members = Members::new(&addresses, &Members::default(), &dialer);
        let known = Known {
            members: Arc::new(members),
            source: None,
            failure: None,
        };

        Self {
            target,
            dialer,
            known: RwLock::new(known),
        }
    }

    /// The members as they were last, without asking anybody.
    pub(crate) fn last_known(&self) -> Arc<Members> {
        Arc::clone(&self.read().members)
    }

    /// The members as they are now; none where nothing is known yet. The first call begins to watch.
    pub(crate) fn members(&self) -> Arc<Members> {
        let known = self.read();
        if self.target.fixed().is_some() || known.source.as_ref().is_some_and(Source::is_heard) {
            return Arc::clone(&known.members);
        }

        drop(known);
        self.refresh()
    }

    /// The members, as soon as there are any.
    ///
    /// # Errors
    /// The reason for having none, if that has been so for longer than `reconnect.fail_fast_after_ms`; the deadline,
    /// where it comes first.
    pub(crate) async fn wait(&self, deadline: Option<Instant>) -> Result<Arc<Members>, Error> {
        let mut has_stopped = false;
        loop {
            let members = self.members();
            if !members.is_empty() {
                return Ok(members);
            }

            let (source, failure) = {
                let known = self.read();
                (
                    known.source.as_ref().map(|source| source.said.clone()),
                    known.failure.clone(),
                )
            };

            let patience = failure
                .as_ref()
                .map(|(_, since)| *since + self.dialer.common.config.reconnect.fail_fast_after());
            let until = [patience, deadline].into_iter().flatten().min();
            let has_time = until.is_none_or(|until| Instant::now() < until);

            if let (Some(mut source), true) = (source, has_time) {
                let change = source.changed();
                let changed = match until {
                    Some(until) => tokio::time::timeout_at(until, change)
                        .await
                        .unwrap_or(Ok(())),
                    None => change.await,
                };
                if changed.is_ok() {
                    continue;
                }

                // The source has ended, and what was said last is a failure or nothing. Without a
                // word, the source is begun anew once, in case only its runtime ended.
                if failure.is_none() {
                    if has_stopped {
                        let cause = Cause::new(
                            "the source of the endpoints has ended and named no endpoint",
                        );
                        return Err(Error::new(Kind::NotSent(cause), self.target.name(), None));
                    }
                    has_stopped = true;
                    continue;
                }
            }

            let kind = match failure {
                Some((cause, _)) => Kind::NotSent(cause),
                None => Kind::Deadline { was_sent: false },
            };
            return Err(Error::new(kind, self.target.name(), None));
        }
    }

    fn refresh(&self) -> Arc<Members> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let source = match known.source.take() {
            Some(source) if source.runtime.is_there() => source,
            // The first call, or the first after the runtime ended that the source was watched on.
            _ => Source::new(&self.target, &self.dialer),
        };

        let resolved = known.source.insert(source).hear();
        match resolved {
            Resolved::Known(addresses) => {
                known.failure = None;
                known.members = Arc::new(Members::new(&addresses, &known.members, &self.dialer));
            }
            Resolved::Failed(cause) => {
                let since = known
                    .failure
                    .take()
                    .map_or_else(Instant::now, |(_, since)| since);
                known.failure = Some((cause, since));
            }
            Resolved::Pending => {}
        }

        Arc::clone(&known.members)
    }

    /// Changes are single steps, so a panic elsewhere leaves nothing half done.
    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    fn new(target: &Target, dialer: &Dialer) -> Self {
        let runtime = Runtime(tokio::spawn(std::future::pending::<()>()).abort_handle());
        Self {
            said: discover::watch(target, &dialer.common.config),
            is_over: false,
            runtime,
        }
    }

    /// Whether there is nothing new, and the source has not ended.
    fn is_heard(&self) -> bool {
        match self.said.has_changed() {
            Ok(has_changed) => !has_changed,
            Err(_) => self.is_over && self.runtime.is_there(),
        }
    }

    fn hear(&mut self) -> Resolved {
        // Before the look: what is said between the two is heard by the next.
        self.is_over = self.said.has_changed().is_err();
        self.said.borrow_and_update().clone()
    }
}

impl Runtime {
    fn is_there(&self) -> bool {
        !self.0.is_finished()
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.0.abort();
    }
}
