//! The options of one call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rpc_core::scope::Series;
use rpc_core::trace::{TRACEPARENT, TRACESTATE, TraceContext};
use rpc_core::typed::{IDEMPOTENCY_KEY, new_idempotency_key};
use rpc_core::{LastTiming, Meta, Request, RetryCategory};
use tokio::time::Instant;

use crate::connection::CallKind;
use crate::time::Inherited;

/// What a call is asked for beside its command and params.
#[derive(Clone, Default)]
pub(crate) struct Options {
    pub(crate) timeout: Option<Duration>,
    pub(crate) kind: CallKind,
    pub(crate) idempotency: Idempotency,
    /// What few calls have: it would make the future of every call larger.
    extra: Option<Box<Extra>>,
}

#[derive(Clone, Default)]
struct Extra {
    meta: BTreeMap<String, String>,
    /// The deadline, where it is before that of the time limit.
    until: Option<Instant>,
    key: Option<u64>,
    series: Option<Arc<Series>>,
}

/// What a caller has said of a call that may have run: whether it may run twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Idempotency {
    #[default]
    Unknown,
    Idempotent,
    /// The call has a key: its server says whether it recognises a repetition by that.
    ByKey,
}

impl Idempotency {
    /// Of a request that is sent as it is.
    pub(super) fn of(request: &Request<'_>) -> Self {
        match request.scope.retry {
            RetryCategory::Idempotent => Self::Idempotent,
            RetryCategory::Dedup => Self::ByKey,
            RetryCategory::Neither | RetryCategory::DedupByCaller => {
                let key = request.meta.get(IDEMPOTENCY_KEY);
                key.map_or(Self::Unknown, |_| Self::ByKey)
            }
        }
    }

    /// The category of a request with these options.
    pub(crate) fn category(self) -> RetryCategory {
        match self {
            Self::Unknown => RetryCategory::Neither,
            Self::Idempotent => RetryCategory::Idempotent,
            Self::ByKey => RetryCategory::Dedup,
        }
    }
}

impl Options {
    /// Whether there is nothing but a time limit, in which case no request need be built.
    pub(crate) fn are_usual(&self) -> bool {
        self.extra.is_none() && self.kind == CallKind::Multiplexed
    }

    /// The instant by which the call must end, where one was named.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.extra.as_ref()?.until
    }

    /// The key that says where the call belongs.
    pub(crate) fn key(&self) -> Option<u64> {
        self.extra.as_ref()?.key
    }

    /// What the call has in common with others in its place, and where its timing goes.
    pub(crate) fn series(&self) -> Option<&Arc<Series>> {
        self.extra.as_ref()?.series.as_ref()
    }

    /// Where the timing of the call goes, if that was asked for.
    pub(super) fn timing(&self) -> Option<&LastTiming> {
        self.series()?.timing()
    }

    /// The metadata of one call: with a key of its own, where it is to have one and its caller has given none.
    pub(crate) fn meta(&self) -> Option<Meta<'static>> {
        let given = self.extra.as_ref().map(|extra| &extra.meta);
        let meta = given.map(Meta::from_entries);
        let has_key = given.is_some_and(|meta| meta.contains_key(IDEMPOTENCY_KEY));
        if has_key || self.idempotency != Idempotency::ByKey {
            return meta;
        }

        let key = new_idempotency_key();
        let meta = meta.unwrap_or_default();
        Some(meta.with([(IDEMPOTENCY_KEY, key.as_str())]))
    }

    /// Of several instants the earliest holds.
    pub(super) fn end_by(&mut self, deadline: Instant) {
        let until = &mut self.extra().until;
        *until = Some(until.map_or(deadline, |until| until.min(deadline)));
    }

    pub(super) fn add_meta(&mut self, key: String, value: String) {
        if key == IDEMPOTENCY_KEY && self.idempotency == Idempotency::Unknown {
            self.idempotency = Idempotency::ByKey;
        }
        self.extra().meta.insert(key, value);
    }

    pub(super) fn be_one_of(&mut self, series: Arc<Series>) {
        self.extra().series = Some(series);
    }

    pub(super) fn belong_to(&mut self, key: u64) {
        self.extra().key = Some(key);
    }

    /// Makes the call a part of another one.
    pub(super) fn inherit(&mut self, inherited: &Inherited) {
        if let Some(TraceContext { parent, state, .. }) = &inherited.trace
            && !self.extra().meta.contains_key(TRACEPARENT)
        {
            let meta = &mut self.extra().meta;
            meta.insert(TRACEPARENT.to_owned(), parent.to_string());
            meta.extend(state.clone().map(|state| (TRACESTATE.to_owned(), state)));
        }

        if let Some(deadline) = inherited.deadline {
            self.end_by(Instant::from_std(deadline));
        }
    }

    fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }
}
