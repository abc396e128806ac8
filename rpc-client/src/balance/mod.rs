//! Load balancing: the choice of an endpoint, made anew for each call, over connections that stay.

mod directory;
mod eject;
mod group;
mod latency;
mod lease;
mod member;
mod route;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::{Balance, Config};
use crate::connection::Connection;
use crate::endpoint::pool::SlotNumber;

pub(crate) use group::hash;
use group::{Group, Members, two_of};
pub(crate) use lease::Lease;
pub use member::EndpointStats;
use member::Member;
pub(crate) use member::{InFlightGuard, ServerStanding};
pub(crate) use route::Route;

/// What a call asks of the choice.
#[derive(Clone, Copy, Default)]
pub(crate) struct RouteHint<'a> {
    /// Calls with the same key go to the same endpoint.
    pub(crate) key: Option<u64>,
    /// Addresses that the call has been at: used only if there is no other.
    pub(crate) avoid: &'a [Arc<str>],
}

/// What was chosen.
pub(crate) enum Choice {
    /// With a connection that takes calls.
    Ready(Lease),
    /// Each call opens a connection of its own: the mode `short`.
    Unopened(InFlightGuard),
}

/// Chooses among members by the policy.
pub(crate) struct Chooser {
    config: Arc<Config>,
    turn: AtomicUsize,
}

/// A member that can take a call now, and its connection unless each call opens its own.
struct Candidate<'m> {
    member: &'m Arc<Member>,
    slot: SlotNumber,
    connection: Option<Arc<Connection>>,
}

/// How gladly a member is taken; the first is the best.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Eligibility {
    Good,
    Ejected,
    Avoided,
}

impl Chooser {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        // Clients that start together do not all begin with the same endpoint.
        Self {
            config,
            turn: AtomicUsize::new(fastrand::usize(..1 << 16)),
        }
    }

    /// Chooses a member that can take the call now; none where none is connected.
    ///
    /// One that is not connected is told to connect, and not chosen before it is; one that is ejected,
    /// or to be avoided, only if there is no other. A group is used where those before it have none.
    pub(crate) fn choose(
        &self,
        members: &Members,
        hint: RouteHint<'_>,
        now: Instant,
    ) -> Option<Choice> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let first = members.groups().first()?;
        let chosen = match (members.groups().len(), &*first.members) {
            (1, [only]) => Candidate::of(only),
            _ => self
                .at_a_glance(first, hint, now, turn)
                .or_else(|| self.among_all(members.groups(), hint, now, turn)),
        };

        let Candidate {
            member,
            slot,
            connection,
        } = chosen?;
        let guard = InFlightGuard::new(member, slot, now);
        Some(match connection {
            Some(connection) => Choice::Ready(Lease::counted(connection, guard)),
            None => Choice::Unopened(guard),
        })
    }

    /// The usual case: what the policy names first is in good eligibility, and the others need no look.
    fn at_a_glance<'m>(
        &self,
        group: &'m Group,
        hint: RouteHint<'_>,
        now: Instant,
        turn: usize,
    ) -> Option<Candidate<'m>> {
        let good = |at: usize| {
            let member = &group.members[at];
            let candidate = Candidate::of(member)?;
            (eligibility(member, hint, now) == Eligibility::Good).then_some(candidate)
        };

        match (hint.key, self.config.balance.policy) {
            (Some(key), _) => good(group.home_of(key, |_| true)?),
            (None, Balance::RoundRobin) => good(group.at_turn(turn)),
            (None, Balance::PowerOfTwo) => {
                let (first, second) = group.two_at_random();
                if first == second {
                    return good(first);
                }

                // Both are looked at, so that one that is not connected is told to connect.
                let (first, second) = (good(first), good(second));
                Some(self.less_costly(first?, second?, now))
            }
        }
    }

    /// The policy's choice among those of the best eligibility, in the first group that has any.
    fn among_all<'m>(
        &self,
        groups: &'m [Group],
        hint: RouteHint<'_>,
        now: Instant,
        turn: usize,
    ) -> Option<Candidate<'m>> {
        let mut avoided = None;
        for group in groups {
            let Some((eligibility, candidate)) = self.among(group, hint, now, turn) else {
                continue;
            };

            if eligibility < Eligibility::Avoided {
                return Some(candidate);
            }
            avoided = avoided.or(Some(candidate));
        }

        avoided
    }

    fn among<'m>(
        &self,
        group: &'m Group,
        hint: RouteHint<'_>,
        now: Instant,
        turn: usize,
    ) -> Option<(Eligibility, Candidate<'m>)> {
        let ejected = group
            .members
            .iter()
            .filter(|member| member.is_ejected(now))
            .count();
        // With more ejected, the rest could not bear the load: then all are used.
        let is_panic =
            ejected * 100 > group.members.len() * self.config.ejection.percent_max as usize;

        let mut candidates: Vec<(usize, Eligibility, Candidate<'m>)> = group
            .members
            .iter()
            .enumerate()
            .filter_map(|(at, member)| {
                let eligibility = match eligibility(member, hint, now) {
                    Eligibility::Ejected if is_panic => Eligibility::Good,
                    eligibility => eligibility,
                };
                Some((at, eligibility, Candidate::of(member)?))
            })
            .collect();

        let best = candidates
            .iter()
            .map(|(_, eligibility, _)| *eligibility)
            .min()?;
        candidates.retain(|(_, eligibility, _)| *eligibility == best);

        let at = match (hint.key, self.config.balance.policy) {
            (Some(key), _) => {
                let home = group.home_of(key, |at| candidates.iter().any(|(of, ..)| *of == at))?;
                candidates.iter().position(|(of, ..)| *of == home)?
            }
            // Each further round passes over the missing ones at another place, so that it is not
            // always the same neighbour that gets their share.
            (None, Balance::RoundRobin) => turn / group.members.len() % candidates.len(),
            (None, Balance::PowerOfTwo) if candidates.len() > 1 => {
                let (first, second) = two_of(candidates.len());
                // The later one first, so that the other one keeps its place.
                let (_, _, later) = candidates.swap_remove(first.max(second));
                let (_, _, earlier) = candidates.swap_remove(first.min(second));
                return Some((best, self.less_costly(later, earlier, now)));
            }
            (None, Balance::PowerOfTwo) => 0,
        };

        Some((best, candidates.swap_remove(at).2))
    }

    fn less_costly<'m>(
        &self,
        first: Candidate<'m>,
        second: Candidate<'m>,
        now: Instant,
    ) -> Candidate<'m> {
        let floor = Duration::from_millis(self.config.balance.latency_floor_ms).as_secs_f64();
        let (a, b) = (first.member.load(now), second.member.load(now));

        let is_second = match (a.latency_s, b.latency_s) {
            (Some(a_latency), Some(b_latency)) => {
                b.in_flight * b_latency.max(floor) < a.in_flight * a_latency.max(floor)
            }
            // One of them is new: it gets its share until its latency is known.
            _ => b.in_flight < a.in_flight,
        };

        if is_second { second } else { first }
    }
}

impl<'m> Candidate<'m> {
    fn of(member: &'m Arc<Member>) -> Option<Self> {
        if member.pool().is_short() {
            return Some(Self {
                member,
                slot: 0,
                connection: None,
            });
        }

        let Some((slot, connection)) = member.pool().ready() else {
            member.pool().begin_connecting();
            return None;
        };

        Some(Self {
            member,
            slot,
            connection: Some(connection),
        })
    }
}

fn eligibility(member: &Member, hint: RouteHint<'_>, now: Instant) -> Eligibility {
    if hint.avoid.contains(member.address()) {
        Eligibility::Avoided
    } else if member.is_ejected(now) {
        Eligibility::Ejected
    } else {
        Eligibility::Good
    }
}
