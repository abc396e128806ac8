//! A gateway with its queue, its limits and its health.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rpc_core::api::sms::GatewayState;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::tally::GatewayTally;
use crate::config::{GatewaySettings, OnUnknown};
use crate::gateway::Gateway;
use crate::store::{GatewaySwitch, ReceiptScope};

/// How long a gateway that failed is left alone: doubled each time, up to the longest.
const REST_FIRST: Duration = Duration::from_secs(1);
const REST_LONGEST: Duration = Duration::from_secs(60);

/// Longest time that a provider may ask to be left alone.
const RETRY_AFTER_LONGEST: Duration = Duration::from_secs(3600);

/// A gateway, and what is known of it.
pub struct Lane {
    settings: GatewaySettings,
    pub(super) gateway: Box<dyn Gateway>,
    /// Attempts that may run at the same time.
    pub(super) room: Arc<Semaphore>,
    /// Told when something changes that the lane waits for.
    pub(super) changed: Notify,
    pub(super) tally: GatewayTally,
    health: Mutex<Health>,
}

/// The health of a gateway. Locked for a few assignments.
struct Health {
    switch: GatewaySwitch,
    rest: Option<Rest>,
    /// Rests in a row, which makes the next one longer.
    rests: u32,
    /// Messages that may be given now, and when that was counted.
    tokens: f64,
    counted: Instant,
    accepted: u64,
    errors: u64,
    last_error: Option<String>,
}

/// A time for which a gateway is left alone.
#[derive(Clone, Copy)]
struct Rest {
    until: Instant,
    why: RestReason,
}

/// Why a gateway is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RestReason {
    /// It has asked for it.
    Throttled,
    /// It cannot be reached, or takes no message at all.
    Down,
}

/// What is known of a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneState {
    /// Its state.
    pub state: GatewayState,
    /// Messages that it has accepted since the start.
    pub accepted: u64,
    /// Attempts that ended otherwise since the start.
    pub errors: u64,
    /// What went wrong last.
    pub last_error: Option<String>,
}

/// What a lane may do now.
pub(super) enum Turn {
    /// At most as many messages may be claimed.
    Claim(usize),
    /// Nothing before then.
    RestUntil(Instant),
    /// Nothing until something changes.
    Wait,
}

impl Lane {
    pub(super) fn new(
        settings: GatewaySettings,
        gateway: Box<dyn Gateway>,
        switch: GatewaySwitch,
    ) -> Self {
        let room = Semaphore::new(settings.in_flight_max as usize);
        let rules = &settings.http.response.rules;
        let reasons = rules.iter().filter_map(|rule| rule.reason.as_deref());
        Self {
            gateway,
            room: Arc::new(room),
            changed: Notify::new(),
            tally: GatewayTally::new(reasons),
            health: Mutex::new(Health {
                switch,
                rest: None,
                rests: 0,
                tokens: f64::from(settings.rate_per_second),
                counted: Instant::now(),
                accepted: 0,
                errors: 0,
                last_error: None,
            }),
            settings,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Its kind, as "file".
    pub fn kind(&self) -> &'static str {
        self.settings.kind.as_str()
    }

    /// Messages that it may be given in a second, where that is limited.
    pub fn rate_per_second(&self) -> Option<u32> {
        Some(self.settings.rate_per_second).filter(|rate| *rate > 0)
    }

    /// Whether it sends nothing.
    pub fn is_dry_run(&self) -> bool {
        self.gateway.is_dry_run()
    }

    /// Whether it takes texts.
    pub fn takes_text(&self) -> bool {
        self.gateway.takes_text()
    }

    /// Whether it knows a template.
    pub fn takes_template(&self, template: &str) -> bool {
        self.gateway.takes_template(template)
    }

    /// What its receipts are about.
    pub fn receipt_scope(&self) -> ReceiptScope {
        self.settings.http.response.receipt_scope()
    }

    /// What is known of it now.
    pub fn state(&self) -> LaneState {
        let health = self.health();
        let rest = health.rest.filter(|rest| rest.until > Instant::now());
        let state = match rest {
            _ if health.switch == GatewaySwitch::Paused => GatewayState::Paused,
            Some(Rest {
                why: RestReason::Throttled,
                ..
            }) => GatewayState::Throttled,
            Some(_) => GatewayState::Down,
            None => GatewayState::Up,
        };

        LaneState {
            state,
            accepted: health.accepted,
            errors: health.errors,
            last_error: health.last_error.clone(),
        }
    }

    /// Whether new messages are better given to another one.
    pub fn is_up(&self) -> bool {
        self.state().state == GatewayState::Up
    }

    pub(super) fn resends_unknown(&self) -> bool {
        self.settings.on_unknown == OnUnknown::Resend
    }

    pub(super) fn switch(&self, to: GatewaySwitch) {
        self.health().switch = to;
        self.changed.notify_one();
    }

    /// What the lane may do, where `room` attempts may begin.
    pub(super) fn turn(&self, room: usize) -> Turn {
        let now = Instant::now();
        let mut health = self.health();
        if health.switch == GatewaySwitch::Paused {
            return Turn::Wait;
        }
        if let Some(rest) = health.rest.filter(|rest| rest.until > now) {
            return Turn::RestUntil(rest.until);
        }

        // Behind a rest, one message tries.
        let room = if health.rests > 0 { room.min(1) } else { room };
        let rate = f64::from(self.settings.rate_per_second);
        if rate == 0.0 {
            return Turn::Claim(room);
        }

        let earned = now.duration_since(health.counted).as_secs_f64() * rate;
        health.tokens = (health.tokens + earned).min(rate);
        health.counted = now;
        if health.tokens < 1.0 {
            let missing = Duration::from_secs_f64((1.0 - health.tokens) / rate);
            return Turn::RestUntil(now + missing.max(Duration::from_millis(1)));
        }

        // At most the rate, which is a small number.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at least 1, at most the rate"
        )]
        let tokens = health.tokens as usize;
        Turn::Claim(room.min(tokens))
    }

    /// Takes as many messages from what the rate allows.
    pub(super) fn claimed(&self, messages: usize) {
        #[expect(clippy::cast_precision_loss, reason = "a few hundred at most")]
        let messages = messages as f64;
        let mut health = self.health();
        if self.settings.rate_per_second > 0 {
            health.tokens -= messages;
        }
    }

    pub(super) fn note_accepted(&self) {
        let mut health = self.health();
        health.accepted += 1;
        health.rest = None;
        health.rests = 0;
    }

    pub(super) fn note_error(&self, error: &str) {
        let mut health = self.health();
        health.errors += 1;
        health.last_error = Some(error.to_owned());
    }

    /// It answers, though not with what was hoped for: it is there.
    pub(super) fn note_answer(&self) {
        let mut health = self.health();
        health.rest = None;
        health.rests = 0;
    }

    /// Leaves it alone for as long as it asks, or for longer each time.
    pub(super) fn rest(&self, asked: Option<Duration>, why: RestReason) {
        let mut health = self.health();
        let now = Instant::now();

        // Attempts that ran side by side fail together, and count once.
        let is_resting = health.rest.is_some_and(|rest| rest.until > now);
        if is_resting && asked.is_none() {
            return;
        }

        let doubled = REST_FIRST.saturating_mul(1 << health.rests.min(6));
        let time = asked.map_or(doubled.min(REST_LONGEST), |asked| {
            asked.min(RETRY_AFTER_LONGEST)
        });
        health.rests = health.rests.saturating_add(1);
        health.rest = Some(Rest {
            until: now + time,
            why,
        });
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().expect("no holder panics")
    }
}
