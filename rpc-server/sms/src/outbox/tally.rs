//! Counts of what becomes of messages, since the start.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::message::Class;
use crate::outcome::RuleClass;
use crate::store::{Refusal, StoreError};

/// The reason of failures whose words are the provider's: a label has no words of others.
const OTHER: &str = "other";

/// The codes of the service that refuse messages, each with its label.
const REFUSALS: [(u32, &str); 8] = [
    (1100, "number_invalid"),
    (1101, "number_opted_out"),
    (1102, "destination_refused"),
    (1103, "number_limit"),
    (1104, "prefix_limit"),
    (1106, "text_refused"),
    (1107, "template_unknown"),
    (1110, "no_gateway"),
];

/// What the outbox has too little of for a message. Callers see one code for all of it, and operators do a different thing
/// about each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shortage {
    /// As many messages wait as may.
    Queue,
    /// The disk is full.
    Disk,
    /// The disk does not write as fast as messages come.
    Writer,
}

impl Shortage {
    const ALL: [Self; 3] = [Self::Queue, Self::Disk, Self::Writer];

    pub(crate) fn of(error: &StoreError) -> Option<Self> {
        match error {
            StoreError::Refused(Refusal::QueueFull) => Some(Self::Queue),
            StoreError::Full => Some(Self::Disk),
            StoreError::Busy => Some(Self::Writer),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue_full",
            Self::Disk => "disk_full",
            Self::Writer => "disk_busy",
        }
    }
}

/// The reason that a message was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefusedFor {
    Code(u32),
    Shortage(Shortage),
}

/// The end of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttemptOutcome {
    /// An answer of this class, or none in time, which is unknown.
    Answered(RuleClass),
    /// It was not written.
    NotSent,
    /// It cannot stand where the gateway's settings put it.
    Unsendable,
}

impl AttemptOutcome {
    pub(super) const ALL: [Self; 8] = [
        Self::Answered(RuleClass::Sent),
        Self::Answered(RuleClass::Temporary),
        Self::Answered(RuleClass::Throttled),
        Self::Answered(RuleClass::Permanent),
        Self::Answered(RuleClass::GatewayDown),
        Self::Answered(RuleClass::Unknown),
        Self::NotSent,
        Self::Unsendable,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Answered(RuleClass::Sent) => "sent",
            Self::Answered(RuleClass::Temporary) => "temporary",
            Self::Answered(RuleClass::Throttled) => "throttled",
            Self::Answered(RuleClass::Permanent) => "permanent",
            Self::Answered(RuleClass::GatewayDown) => "gateway_down",
            Self::Answered(RuleClass::Unknown) => "unknown",
            Self::NotSent => "not_sent",
            Self::Unsendable => "unsendable",
        }
    }

    fn place(self) -> usize {
        let place = Self::ALL.iter().position(|outcome| *outcome == self);
        place.expect("the list has all")
    }
}

/// What a gateway has done.
pub(super) struct GatewayTally {
    attempts: [AtomicU64; AttemptOutcome::ALL.len()],
    segments: AtomicU64,
    /// Failures by the reasons of the gateway's rules, and [`OTHER`]. Locked for an addition.
    failures: Mutex<BTreeMap<String, u64>>,
    /// When the oldest message that waits was accepted, in milliseconds since 1970; 0 if none waits.
    oldest_at: AtomicU64,
}

impl GatewayTally {
    /// A tally whose failures have these reasons.
    pub(super) fn new<'r>(reasons: impl Iterator<Item = &'r str>) -> Self {
        let failures = reasons.chain([OTHER]).map(|reason| (reason.to_owned(), 0));
        Self {
            attempts: Default::default(),
            segments: AtomicU64::new(0),
            failures: Mutex::new(failures.collect()),
            oldest_at: AtomicU64::new(0),
        }
    }

    /// Counts an attempt, and the segments of it that the gateway has accepted.
    pub(super) fn note_attempt(&self, outcome: AttemptOutcome, segments: u32) {
        self.attempts[outcome.place()].fetch_add(1, Ordering::Relaxed);
        self.segments
            .fetch_add(u64::from(segments), Ordering::Relaxed);
    }

    /// Counts a message that failed for good.
    pub(super) fn note_failure(&self, reason: &str) {
        let mut failures = self.failures.lock().expect("no holder panics");
        let is_known = failures.contains_key(reason);
        if let Some(count) = failures.get_mut(if is_known { reason } else { OTHER }) {
            *count += 1;
        }
    }

    pub(super) fn set_oldest(&self, accepted_at: Option<u64>) {
        self.oldest_at
            .store(accepted_at.unwrap_or(0), Ordering::Relaxed);
    }

    /// When the oldest message that waits was accepted.
    pub(super) fn oldest(&self) -> Option<u64> {
        Some(self.oldest_at.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }

    pub(super) fn attempts(&self, outcome: AttemptOutcome) -> u64 {
        self.attempts[outcome.place()].load(Ordering::Relaxed)
    }

    pub(super) fn segments(&self) -> u64 {
        self.segments.load(Ordering::Relaxed)
    }

    pub(super) fn failures(&self) -> BTreeMap<String, u64> {
        self.failures.lock().expect("no holder panics").clone()
    }
}

/// What `send` has answered.
#[derive(Default)]
pub(super) struct SendTally {
    accepted: [AtomicU64; Class::ALL.len()],
    /// In the order of [`REFUSALS`], then of [`Shortage::ALL`], and those with other codes.
    refused: [AtomicU64; REFUSALS.len() + Shortage::ALL.len() + 1],
}

impl SendTally {
    pub(super) fn note_accepted(&self, class: Class) {
        self.accepted[place_of(class)].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_refused(&self, reason: RefusedFor) {
        let place = match reason {
            RefusedFor::Code(code) => REFUSALS.iter().position(|(known, _)| *known == code),
            RefusedFor::Shortage(shortage) => {
                let place = Shortage::ALL.iter().position(|known| *known == shortage);
                place.map(|place| REFUSALS.len() + place)
            }
        };
        let place = place.unwrap_or(self.refused.len() - 1);
        self.refused[place].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn accepted(&self, class: Class) -> u64 {
        self.accepted[place_of(class)].load(Ordering::Relaxed)
    }

    /// The refused ones, each count with its label.
    pub(super) fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let codes = REFUSALS.iter().map(|(_, label)| *label);
        let shortages = Shortage::ALL.iter().map(|shortage| shortage.as_str());
        let labels = codes.chain(shortages).chain([OTHER]);
        let counts = self.refused.iter();
        labels.zip(counts.map(|count| count.load(Ordering::Relaxed)))
    }
}

fn place_of(class: Class) -> usize {
    let place = Class::ALL.iter().position(|known| *known == class);
    place.expect("the list has all")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_that_no_rule_names_are_counted_together() {
        let tally = GatewayTally::new(["auth", "blocked"].into_iter());
        for reason in ["blocked", "+8613800138000", "your code is 4711", "blocked"] {
            tally.note_failure(reason);
        }

        let expected = [("auth", 0), ("blocked", 2), (OTHER, 2)];
        let expected = expected.map(|(reason, count)| (reason.to_owned(), count));
        assert_eq!(tally.failures(), BTreeMap::from(expected));
    }

    #[test]
    fn refusals_are_counted_by_their_codes_and_shortages() {
        let tally = SendTally::default();
        for code in [1104, 1104, 3, 8] {
            tally.note_refused(RefusedFor::Code(code));
        }
        for error in [
            StoreError::Full,
            StoreError::Busy,
            Refusal::QueueFull.into(),
            StoreError::Full,
        ] {
            let shortage = Shortage::of(&error).unwrap();
            tally.note_refused(RefusedFor::Shortage(shortage));
        }
        assert_eq!(Shortage::of(&Refusal::NotFound.into()), None);

        let counted: Vec<_> = tally.refused().filter(|(_, count)| *count > 0).collect();
        let expected = [
            ("prefix_limit", 2),
            ("queue_full", 1),
            ("disk_full", 2),
            ("disk_busy", 1),
            (OTHER, 2),
        ];
        assert_eq!(counted, expected);
    }
}
