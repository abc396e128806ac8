//! The commands of the SMS service.

mod answers;
#[cfg(test)]
mod audited;
mod convert;
mod serve;
#[cfg(test)]
mod tests;
mod watch;

pub use rpc_core::api::sms::SmsService;
pub use serve::SmsCommands;

use std::sync::Arc;

use futures::stream::Stream;
use rpc_core::api::sms::{
    self as api, Cancelled, Checked, Events, GatewayList, List, MessageList, MessageQuery,
    Messages, OptOutAction, OptOutState, Paused, ReceiptMatch, Resent, Revealed, Send, Sent, Sms,
    SmsError,
};
use rpc_core::{Context, Status};
use rpc_server::blocking::Caller;

use crate::message::MessageId;
use crate::number::Number;
use crate::outbox::{Outbox, Problem, RefusedFor, Shortage};
use crate::outcome::is_code;
use crate::store::{Filter, GatewaySwitch, OptOut, Receipt, Resend, StoreError, Viewer};
use convert::{as_message, id_of, status_of};

/// Maximum length of an idempotency key in bytes, by docs/protocol.md.
const KEY_BYTES_MAX: usize = 128;
/// Maximum number of ids in one call of `status`.
const IDS_MAX: usize = 100;
/// Messages of a page of `list`.
const LIMIT_DEFAULT: u32 = 100;
const LIMIT_MAX: u32 = 500;
/// Maximum length of texts that receipts bring, in bytes.
const RECEIPT_BYTES_MAX: usize = 256;

/// The SMS service over an outbox.
#[derive(Clone)]
pub struct SmsHandlers {
    outbox: Outbox,
}

impl SmsHandlers {
    /// The handlers of an outbox.
    pub fn new(outbox: Outbox) -> Self {
        Self { outbox }
    }

    fn grants(&self) -> &crate::config::GrantSettings {
        &self.outbox.planner().settings().grants
    }

    /// Whose messages a caller sees.
    fn viewer(&self, context: &Context) -> Viewer {
        match context.identity() {
            Some(identity) if is_named(&self.grants().all, identity) => Viewer::All,
            identity => Viewer::Owner(identity.unwrap_or_default().to_owned()),
        }
    }

    /// Runs a read in a thread for blocking work.
    async fn read<T: std::marker::Send + 'static>(
        &self,
        read: impl FnOnce(&Outbox) -> Result<T, StoreError> + std::marker::Send + 'static,
    ) -> Result<T, SmsError> {
        let outbox = self.outbox.clone();
        let read = self
            .outbox
            .pool()
            .run(Caller::default(), move |_| read(&outbox));
        let result = read.await.map_err(|error| SmsError::Other(error.into()))?;
        result.map_err(answers::of_store)
    }

    fn number(&self, to: &str) -> Result<Number, SmsError> {
        let number = self.outbox.planner().number(to);
        number.map_err(|error| answers::of_problem(Problem::Number(error)))
    }

    /// Accepts a message, or says why not.
    async fn accept(&self, context: Context, send: &Send) -> Result<Sent, NotAccepted> {
        let key = Key::of(&context)?;
        if key.key.is_none() && self.outbox.planner().requires_key() {
            return Err(invalid(
                "`send` needs the metadata `idempotency-key` here, since `require_key` of [sms] is set",
            )
            .into());
        }

        let now = self.outbox.now_ms();
        let mut plan = self
            .outbox
            .planner()
            .plan(send, self.outbox.lanes(), now)
            .map_err(answers::of_problem)?;
        if !plan.problems.is_empty() {
            return Err(answers::of_problem(plan.problems.swap_remove(0)).into());
        }

        let owner = context.identity().unwrap_or_default().to_owned();
        let mut message = self
            .outbox
            .planner()
            .message(&plan, send.clone(), owner, now);
        message.first_sent_at = key
            .age_ms
            .filter(|_| key.key.is_some())
            .map(|age| now.saturating_sub(age));
        message.key = key.key;

        let accepted = self
            .outbox
            .store()
            .run(move |store| store.accept(&message, now))
            .await;
        let accepted = accepted.map_err(|error| NotAccepted {
            shortage: Shortage::of(&error),
            error: answers::of_store(error),
        })?;
        Ok(Sent {
            id: accepted.id.to_string(),
            status: accepted.state,
            encoding: plan.layout.encoding,
            segments: plan.layout.segments,
            country: plan.to.country().to_owned(),
            duplicate: accepted.is_duplicate,
            dry_run: plan.is_dry_run,
        })
    }
}

/// A message that was not accepted.
struct NotAccepted {
    error: SmsError,
    /// What the outbox has too little of, if that is the reason.
    shortage: Option<Shortage>,
}

impl From<SmsError> for NotAccepted {
    fn from(error: SmsError) -> Self {
        Self {
            error,
            shortage: None,
        }
    }
}

fn is_named(identities: &[String], identity: &str) -> bool {
    identities.iter().any(|named| named == identity)
}

/// Refuses callers that are not named.
fn require(identities: &[String], context: &Context, setting: &str) -> Result<(), SmsError> {
    let is_granted = context
        .identity()
        .is_some_and(|identity| is_named(identities, identity));
    if is_granted {
        return Ok(());
    }

    let message = format!("this needs an identity that `{setting}` of [sms.grants] names");
    Err(SmsError::Other(Status::permission_denied(message)))
}

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> SmsError {
    SmsError::Other(Status::invalid_argument(message))
}

/// The idempotency key of a call.
struct Key {
    key: Option<String>,
    /// How long ago the call was sent first, in milliseconds.
    age_ms: Option<u64>,
}

impl Key {
    fn of(context: &Context) -> Result<Self, SmsError> {
        let key = context.meta(rpc_core::typed::IDEMPOTENCY_KEY);
        if let Some(key) = &key
            && !(1..=KEY_BYTES_MAX).contains(&key.len())
        {
            let bytes = key.len();
            return Err(invalid(format!(
                "`idempotency-key` has {bytes} bytes and must have 1 to {KEY_BYTES_MAX}"
            )));
        }

        let age = context.meta(rpc_core::typed::IDEMPOTENCY_AGE_MS);
        let age_ms = age.map(|age| age.parse()).transpose();
        Ok(Self {
            key,
            age_ms: age_ms
                .map_err(|_| invalid("`idempotency-age-ms` must be a number of milliseconds"))?,
        })
    }
}

impl Sms for SmsHandlers {
    async fn send(&self, context: Context, send: &Send) -> Result<Sent, SmsError> {
        match self.accept(context, send).await {
            Ok(accepted) => {
                if !accepted.duplicate {
                    self.outbox.note_accepted(send.class.unwrap_or_default());
                }
                Ok(accepted)
            }
            Err(NotAccepted { error, shortage }) => {
                let status = Status::from(error);
                let code = RefusedFor::Code(status.code().number());
                self.outbox
                    .note_refused(shortage.map_or(code, RefusedFor::Shortage));
                // As it is: it may say when to try again.
                Err(SmsError::Other(status))
            }
        }
    }

    async fn status(&self, context: Context, query: &MessageQuery) -> Result<Messages, SmsError> {
        let viewer = self.viewer(&context);
        let messages = match (query.id.clone(), query.ids.clone(), query.key.clone()) {
            (Some(id), None, None) => {
                let id = id_of(&id)?;
                let found = self
                    .read(move |outbox| outbox.store().reader().messages(&[id], &viewer))
                    .await?;
                if found.is_empty() {
                    return Err(answers::not_found());
                }
                found
            }
            (None, Some(ids), None) => {
                if ids.len() > IDS_MAX {
                    return Err(invalid(format!(
                        "`ids` has {} ids and may have at most {IDS_MAX}",
                        ids.len()
                    )));
                }
                let ids: Vec<MessageId> =
                    ids.iter().map(|id| id_of(id)).collect::<Result<_, _>>()?;
                self.read(move |outbox| outbox.store().reader().messages(&ids, &viewer))
                    .await?
            }
            (None, None, Some(key)) => {
                let owner = context.identity().unwrap_or_default().to_owned();
                let found = self
                    .read(move |outbox| outbox.store().reader().message_of_key(&owner, &key))
                    .await?;
                vec![found.ok_or_else(answers::not_found)?]
            }
            _ => return Err(invalid("give one of `id`, `ids` and `key`")),
        };

        Ok(Messages {
            messages: messages.into_iter().map(as_message).collect(),
        })
    }

    async fn cancel(
        &self,
        context: Context,
        message: &api::MessageId,
    ) -> Result<Cancelled, SmsError> {
        let (id, viewer, now) = (
            id_of(&message.id)?,
            self.viewer(&context),
            self.outbox.now_ms(),
        );
        let cancelled = self
            .outbox
            .store()
            .run(move |store| store.cancel(id, &viewer, now))
            .await;
        Ok(Cancelled {
            id: id.to_string(),
            status: cancelled.map_err(answers::of_store)?,
        })
    }

    async fn list(&self, context: Context, list: &List) -> Result<MessageList, SmsError> {
        let limit = list.limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(invalid(format!(
                "`limit` is {limit} and must be from 1 to {LIMIT_MAX}"
            )));
        }

        let tag = list.tag.as_deref().map(|tag| {
            let tag = tag
                .split_once('=')
                .map(|(name, value)| (name.to_owned(), value.to_owned()));
            tag.ok_or_else(|| invalid("`tag` must be a name and a value, for example \"order=7\""))
        });
        let filter = Filter {
            viewer: self.viewer(&context),
            states: list.status.clone(),
            to: list.to.as_deref().map(|to| self.number(to)).transpose()?,
            gateway: list.gateway.clone(),
            class: list.class,
            tag: tag.transpose()?,
            since: list.since,
            until: list.until,
            after: list.after.as_deref().map(id_of).transpose()?,
            limit: limit as usize,
        };

        let page = self
            .read(move |outbox| outbox.store().reader().list(&filter))
            .await?;
        Ok(MessageList {
            messages: page.messages.into_iter().map(as_message).collect(),
            next: page.next.map(|id| id.to_string()),
        })
    }

    fn watch(
        &self,
        context: Context,
        watch: api::Watch,
    ) -> impl Stream<Item = Result<Events, SmsError>> + std::marker::Send {
        watch::items(self, &context, watch)
    }

    async fn resend(&self, context: Context, resend: &api::Resend) -> Result<Resent, SmsError> {
        if resend.may_double {
            require(&self.grants().may_double, &context, "may_double")?;
        }
        let (id, viewer, now) = (
            id_of(&resend.id)?,
            self.viewer(&context),
            self.outbox.now_ms(),
        );
        if let Some(gateway) = &resend.gateway
            && self.outbox.lane(gateway).is_none()
        {
            return Err(answers::of_problem(Problem::NoGateway(
                "there is no such gateway".into(),
            )));
        }

        let by_viewer = viewer.clone();
        let found = self
            .read(move |outbox| outbox.store().reader().messages(&[id], &by_viewer))
            .await?;
        let class = found.first().ok_or_else(answers::not_found)?.class;
        let resend = Resend {
            id,
            may_double: resend.may_double,
            gateway: resend.gateway.clone(),
            expires_at: self.outbox.planner().expires_at(class, now),
        };

        let attempt = self
            .outbox
            .store()
            .run(move |store| store.resend(&resend, &viewer, now))
            .await;
        Ok(Resent {
            id: id.to_string(),
            status: api::Status::Queued,
            attempt: attempt.map_err(answers::of_store)?,
        })
    }

    async fn check(&self, context: Context, send: &Send) -> Result<Checked, SmsError> {
        let now = self.outbox.now_ms();
        let plan = self
            .outbox
            .planner()
            .plan(send, self.outbox.lanes(), now)
            .map_err(answers::of_problem)?;
        let mut reasons: Vec<String> = plan.problems.iter().map(Problem::message).collect();

        // What only the outbox knows: opt-outs, limits, its own size.
        let owner = context.identity().unwrap_or_default().to_owned();
        let message = self
            .outbox
            .planner()
            .message(&plan, send.clone(), owner, now);
        let checked = self
            .outbox
            .store()
            .run(move |store| store.check(&message, now))
            .await;
        match checked {
            Ok(()) => {}
            Err(StoreError::Refused(refusal)) => reasons.push(refusal.to_string()),
            Err(error) => return Err(answers::of_store(error)),
        }

        Ok(Checked {
            to: plan.to.to_string(),
            country: plan.to.country().to_owned(),
            kind: plan.to.kind().as_str().to_owned(),
            encoding: plan.layout.encoding,
            segments: plan.layout.segments,
            allowed: reasons.is_empty(),
            reasons,
            gateway: plan.gateway,
        })
    }

    async fn reveal(
        &self,
        context: Context,
        message: &api::MessageId,
    ) -> Result<Revealed, SmsError> {
        require(&self.grants().reveal, &context, "reveal")?;
        let id = id_of(&message.id)?;
        let viewer = self.viewer(&context);
        let revealed = self
            .read(move |outbox| {
                let found = outbox.store().reader().messages(&[id], &viewer)?;
                if found.is_empty() {
                    return Err(crate::store::Refusal::NotFound.into());
                }
                outbox.store().reader().reveal(id)
            })
            .await?;

        tracing::info!(
            target: "rpc_server::audit",
            peer = context.peer().map(tracing::field::display),
            identity = context.identity(),
            id = %id,
            "an SMS was revealed"
        );
        Ok(convert::as_revealed(revealed))
    }

    async fn receipt(&self, receipt: &api::Receipt) -> Result<ReceiptMatch, SmsError> {
        let Some(lane) = self.outbox.lane(&receipt.gateway) else {
            return Err(answers::of_problem(Problem::NoGateway(
                "there is no such gateway".into(),
            )));
        };
        if receipt.reference.is_none() && receipt.id.is_none() {
            return Err(invalid(
                "give `ref`, the provider's name for the message, or its `id`",
            ));
        }
        for (name, text) in [("ref", &receipt.reference), ("error", &receipt.error)] {
            if let Some(text) = text.as_ref().filter(|text| text.len() > RECEIPT_BYTES_MAX) {
                let bytes = text.len();
                return Err(invalid(format!(
                    "`{name}` has {bytes} bytes and may have at most {RECEIPT_BYTES_MAX}"
                )));
            }
        }

        let now = self.outbox.now_ms();
        let receipt = Receipt {
            gateway: receipt.gateway.clone(),
            reference: receipt.reference.clone(),
            id: receipt.id.as_deref().map(convert::attempt_of).transpose()?,
            scope: lane.receipt_scope(),
            state: status_of(receipt.state),
            error: receipt.error.clone().filter(|error| is_code(error)),
        };
        let matched = self
            .outbox
            .store()
            .run(move |store| store.receipt(&receipt, now))
            .await;
        Ok(ReceiptMatch {
            matched: matched.map_err(answers::of_store)?,
        })
    }

    async fn optout(&self, opt_out: &api::OptOut) -> Result<OptOutState, SmsError> {
        let number = self.number(&opt_out.to)?;
        let now = self.outbox.now_ms();
        let scope = convert::scope_of(opt_out.scope.unwrap_or(api::OptOutScope::All));

        let state: Option<OptOut> = match opt_out.action {
            OptOutAction::Get => {
                self.read(move |outbox| outbox.store().reader().opt_out(&number))
                    .await?
            }
            action => {
                let scope = (action == OptOutAction::Add).then_some(scope);
                let set = self
                    .outbox
                    .store()
                    .run(move |store| store.opt_out(&number, scope, now))
                    .await;
                set.map_err(answers::of_store)?
            }
        };
        Ok(OptOutState {
            opted_out: state.is_some(),
            scope: state.map(|state| convert::as_scope(state.scope)),
            since: state.map(|state| state.since),
        })
    }

    async fn gateways(&self) -> Result<GatewayList, SmsError> {
        let now = self.outbox.now_ms();
        let gateways = self
            .read(move |outbox| {
                let counts = outbox.store().counts();
                let lanes = outbox.lanes().iter().map(|lane| {
                    let oldest = outbox.store().reader().oldest_ready(lane.name())?;
                    let counts = counts.get(lane.name()).copied().unwrap_or_default();
                    Ok(convert::as_gateway(
                        lane,
                        counts,
                        oldest.map(|at| now.saturating_sub(at)),
                    ))
                });
                lanes.collect::<Result<Vec<_>, StoreError>>()
            })
            .await?;
        Ok(GatewayList { gateways })
    }

    async fn pause(&self, pause: &api::Pause) -> Result<Paused, SmsError> {
        let lane = self.outbox.lane(&pause.gateway).map(Arc::clone);
        let lane = lane.ok_or_else(|| {
            answers::of_problem(Problem::NoGateway("there is no such gateway".into()))
        })?;
        let switch = match pause.paused {
            true => GatewaySwitch::Paused,
            false => GatewaySwitch::On,
        };
        self.outbox
            .switch(&lane, switch)
            .await
            .map_err(answers::of_store)?;

        tracing::info!(
            gateway = lane.name(),
            paused = pause.paused,
            "an SMS gateway was paused or resumed"
        );
        Ok(Paused {})
    }
}
