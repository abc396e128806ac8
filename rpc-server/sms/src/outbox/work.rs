//! The tasks of the outbox: each gateway's, the sweep, and the reminder that nothing is sent.

use std::sync::Arc;
use std::time::Duration;

use rpc_core::backoff::half_jitter;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, sleep_until};

use super::lane::{RestReason, Turn};
use super::tally::AttemptOutcome;
use super::{Lane, Outbox};
use crate::gateway::Submission;
use crate::message::Parts;
use crate::outcome::RuleClass;
use crate::store::{AttemptEnd, AttemptEvent, Claimed, StoreError};

/// Maximum number of messages that one claim takes.
const CLAIM_MAX: usize = 256;

/// How often the sweep looks for what is due.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Maximum number of messages that one sweep takes.
const SWEEP_MAX: usize = 1_000;

/// Time before the next attempt of a message that was refused for the moment: doubled each time, up to the longest.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(60);

/// How long the outcome of an attempt waits for a disk that does not take it, before it is tried again.
const RECORD_AGAIN: Duration = Duration::from_millis(200);

/// How often the log says that nothing is sent.
const REMIND_EVERY: Duration = Duration::from_secs(3600);

/// Serves a gateway until the outbox stops.
pub(super) async fn serve(outbox: Outbox, lane: Arc<Lane>) {
    let stop = outbox.0.stop.clone();
    let mut events = outbox.store().last_event();

    while !stop.is_cancelled() {
        let permit = tokio::select! {
            permit = Arc::clone(&lane.room).acquire_owned() => permit,
            () = stop.cancelled() => return,
        };
        let Ok(permit) = permit else { return };

        let room = lane.room.available_permits().min(CLAIM_MAX - 1) + 1;
        let until = match lane.turn(room) {
            Turn::Claim(limit) => {
                // Before the claim: what comes behind it wakes the lane again.
                events.borrow_and_update();
                if submit_next(&outbox, &lane, limit, permit).await {
                    continue;
                }
                None
            }
            Turn::RestUntil(until) => {
                drop(permit);
                divert(&outbox, &lane).await;
                Some(until)
            }
            Turn::Wait => {
                drop(permit);
                None
            }
        };

        let rest = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = rest => {}
            _ = events.changed() => {}
            () = lane.changed.notified() => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Claims what waits and begins its attempts. `false` if nothing waits.
async fn submit_next(
    outbox: &Outbox,
    lane: &Arc<Lane>,
    limit: usize,
    permit: OwnedSemaphorePermit,
) -> bool {
    if outbox
        .store()
        .counts()
        .get(lane.name())
        .is_none_or(|counts| counts.queued == 0)
    {
        return false;
    }

    let claimed = claim(outbox, lane, limit).await;
    if claimed.is_empty() {
        return false;
    }

    lane.claimed(claimed.len());
    let mut permits = Some(permit);
    for message in claimed {
        // The first has its place already, and no other task takes the rest.
        let permit = match permits.take() {
            Some(permit) => Some(permit),
            None => Arc::clone(&lane.room).try_acquire_owned().ok(),
        };
        let (outbox, lane) = (outbox.clone(), Arc::clone(lane));
        let tasks = outbox.0.tasks.clone();
        tasks.spawn(async move {
            attempt(&outbox, &lane, message).await;
            drop(permit);
        });
    }
    true
}

async fn claim(outbox: &Outbox, lane: &Lane, limit: usize) -> Vec<Claimed> {
    let (name, rules, now) = (
        lane.name().to_owned(),
        outbox.claim_rules(),
        outbox.now_ms(),
    );
    let claimed = outbox
        .store()
        .run(move |store| store.claim(&name, limit, &rules, now))
        .await;

    match claimed {
        Ok(claimed) => claimed,
        Err(StoreError::Closed) => Vec::new(),
        Err(error) => {
            tracing::warn!(gateway = lane.name(), %error, "messages cannot be claimed; trying again");
            sleep(RECORD_AGAIN).await;
            Vec::new()
        }
    }
}

/// Gives what waits for a gateway that is down to others of its route that are up.
async fn divert(outbox: &Outbox, lane: &Arc<Lane>) {
    let others_are_up = outbox.lanes().iter().any(|other| other.is_up());
    let waits = outbox
        .store()
        .counts()
        .get(lane.name())
        .is_some_and(|counts| counts.queued > 0);
    if !others_are_up || !waits {
        return;
    }

    for message in claim(outbox, lane, CLAIM_MAX).await {
        let gateway = next_gateway(outbox, lane, &message);
        let is_another = gateway != lane.name();
        let event = AttemptEvent::Refused {
            error: "the gateway is down".into(),
            // One that has no other place waits for the gateway, and is not looked at again at once.
            retry_at: outbox.now_ms() + if is_another { 0 } else { 1_000 },
            gateway,
        };
        record(outbox, &message, event).await;
    }
}

/// The gateway of the next attempt: the next one of the route that takes the message and is up, else the same.
fn next_gateway(outbox: &Outbox, lane: &Lane, message: &Claimed) -> String {
    let route = outbox.planner().route(&message.to, outbox.lanes());
    let here = route
        .iter()
        .position(|other| other.name() == lane.name())
        .unwrap_or(0);
    let takes = |other: &Lane| match &message.content {
        crate::store::Content::Text(_) => other.takes_text(),
        crate::store::Content::Template { name, .. } => other.takes_template(name),
    };

    let mut others = (1..route.len()).map(|step| route[(here + step) % route.len()]);
    let next = others.find(|other| other.is_up() && takes(other));
    next.map_or(lane.name(), Lane::name).to_owned()
}

/// Makes an attempt and records how it ended.
async fn attempt(outbox: &Outbox, lane: &Arc<Lane>, message: Claimed) {
    let submission = lane.gateway.submit(&message).await;
    let outcome = outcome_of(&submission);
    lane.tally
        .note_attempt(outcome, segments_of(&submission, &message));

    let event = judge(outbox, lane, &message, submission);
    if let AttemptEvent::RefusedForGood { error, .. } = &event {
        lane.tally.note_failure(error);
    }
    record(outbox, &message, event).await;
}

fn outcome_of(submission: &Submission) -> AttemptOutcome {
    match submission {
        Submission::NotSent { .. } => AttemptOutcome::NotSent,
        Submission::Unsendable { .. } => AttemptOutcome::Unsendable,
        Submission::NoAnswer { .. } => AttemptOutcome::Answered(RuleClass::Unknown),
        Submission::Answered { class, .. } => AttemptOutcome::Answered(*class),
    }
}

/// The segments that the gateway has accepted.
fn segments_of(submission: &Submission, message: &Claimed) -> u32 {
    match submission {
        Submission::Answered { parts, .. } if parts.count > 0 => parts.sent(),
        Submission::Answered {
            class: RuleClass::Sent,
            ..
        } => message.layout.segments,
        _ => 0,
    }
}

/// What an attempt's end means for the message and for the gateway.
fn judge(outbox: &Outbox, lane: &Lane, message: &Claimed, submission: Submission) -> AttemptEvent {
    let (class, reason, parts, retry_after) = match submission {
        Submission::NotSent { error } => {
            lane.note_error(&error);
            lane.rest(None, RestReason::Down);
            return again(outbox, lane, message, error);
        }
        Submission::Unsendable { error } => {
            lane.note_error(&error);
            return refused_for_good(error);
        }
        Submission::NoAnswer { error } => {
            lane.note_error(&error);
            return AttemptEvent::NoAnswer {
                error,
                resend: lane.resends_unknown(),
                parts: Parts::default(),
            };
        }
        Submission::Answered {
            class,
            reason,
            parts,
            retry_after,
        } => (class, reason, parts, retry_after),
    };

    let error = reason.unwrap_or_else(|| word(class).to_owned());
    match class {
        RuleClass::Sent => {
            lane.note_accepted();
            return AttemptEvent::Accepted { parts };
        }
        RuleClass::Throttled => lane.rest(retry_after, RestReason::Throttled),
        RuleClass::GatewayDown => lane.rest(retry_after, RestReason::Down),
        RuleClass::Temporary | RuleClass::Permanent => lane.note_answer(),
        RuleClass::Unknown => {}
    }
    lane.note_error(&error);

    match class {
        RuleClass::Unknown => AttemptEvent::NoAnswer {
            error,
            // The parts that were accepted would arrive twice.
            resend: lane.resends_unknown() && parts.sent() == 0,
            parts,
        },
        // For the same reason, a refusal after some parts were accepted is final.
        _ if class == RuleClass::Permanent || parts.sent() > 0 => {
            AttemptEvent::RefusedForGood { error, parts }
        }
        RuleClass::Temporary => again(outbox, lane, message, error),
        // It is not the message's fault: it goes back to the head, here or at the next gateway.
        _ => AttemptEvent::Refused {
            error,
            retry_at: outbox.now_ms(),
            gateway: next_gateway(outbox, lane, message),
        },
    }
}

fn refused_for_good(error: String) -> AttemptEvent {
    AttemptEvent::RefusedForGood {
        error,
        parts: Parts::default(),
    }
}

fn word(class: RuleClass) -> &'static str {
    match class {
        RuleClass::Sent => "sent",
        RuleClass::Temporary => "temporary",
        RuleClass::Throttled => "throttled",
        RuleClass::Permanent => "refused",
        RuleClass::GatewayDown => "gateway_down",
        RuleClass::Unknown => "the answer says nothing",
    }
}

/// The next attempt of a message that was refused for the moment, if it may have one.
fn again(outbox: &Outbox, lane: &Lane, message: &Claimed, error: String) -> AttemptEvent {
    if message.tries >= outbox.0.attempts_max {
        return refused_for_good(error);
    }

    let gateway = next_gateway(outbox, lane, message);
    let wait = if gateway == lane.name() {
        let doubled = RETRY_FIRST.saturating_mul(1 << (message.tries.saturating_sub(1)).min(6));
        half_jitter(doubled.min(RETRY_LONGEST))
    } else {
        Duration::ZERO
    };
    AttemptEvent::Refused {
        error,
        retry_at: outbox.now_ms() + u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        gateway,
    }
}

/// Records how an attempt ended, as often as it takes: what is not recorded would be unknown after a restart.
async fn record(outbox: &Outbox, message: &Claimed, event: AttemptEvent) {
    let end = AttemptEnd {
        id: message.id,
        attempt: message.attempt,
        event,
    };

    loop {
        let (end, now) = (end.clone(), outbox.now_ms());
        match outbox
            .store()
            .run(move |store| store.finish(&end, now))
            .await
        {
            // Refused: a receipt or an operator was faster.
            Ok(_) | Err(StoreError::Refused(_) | StoreError::Closed | StoreError::Broken) => return,
            Err(error) => {
                tracing::warn!(%error, "the outcome of an attempt cannot be recorded; trying again");
                sleep(RECORD_AGAIN).await;
            }
        }
    }
}

/// Does what is due until the outbox stops.
pub(super) async fn sweep(outbox: Outbox) {
    let stop = outbox.0.stop.clone();
    let mut next = Instant::now();

    loop {
        tokio::select! {
            () = sleep_until(next) => {}
            () = stop.cancelled() => return,
        }

        let now = outbox.now_ms();
        let swept = outbox
            .store()
            .run(move |store| store.sweep(now, SWEEP_MAX))
            .await;
        match swept {
            Ok(swept) if swept.is_full => next = Instant::now(),
            Ok(_) => {
                outbox.note_oldest().await;
                next = Instant::now() + SWEEP_EVERY;
            }
            Err(StoreError::Closed) => return,
            Err(error) => {
                tracing::warn!(%error, "due work of the SMS outbox failed; trying again");
                next = Instant::now() + SWEEP_EVERY;
            }
        }
    }
}

/// Says at the start and from time to time which gateways send nothing.
pub(super) async fn remind(outbox: Outbox) {
    let dry: Vec<&str> = outbox
        .lanes()
        .iter()
        .filter(|lane| lane.is_dry_run())
        .map(|lane| lane.name())
        .collect();
    if dry.is_empty() {
        return;
    }

    let gateways = dry.join(", ");
    loop {
        tracing::warn!(
            gateways,
            "SMS: these gateways write messages to a file and send nothing; configure others in [[sms.gateways]]"
        );
        tokio::select! {
            () = sleep(REMIND_EVERY) => {}
            () = outbox.0.stop.cancelled() => return,
        }
    }
}
