//! Tests of the outbox on disk, by subject.

mod attempts;
mod keys;
mod limits;
#[path = "../../../../tests/needs/mod.rs"]
mod needs;
mod parts;
mod parts_by_id;
mod power;
mod reading;
mod receipts;
mod versions;
mod writing;

use std::collections::BTreeMap;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::message::{MessageId, Parts};
use crate::number::Number;
use crate::states::State;
use crate::text::Layout;

/// The time of the tests, in milliseconds since 1970.
const NOW: u64 = 1_800_000_000_000;

struct Outbox {
    dir: TempDir,
    config: StoreConfig,
    store: Option<Store>,
}

impl Outbox {
    fn new() -> Self {
        Self::with(StoreConfig::default())
    }

    fn with(config: StoreConfig) -> Self {
        let mut outbox = Self {
            dir: tempfile::tempdir().unwrap(),
            config,
            store: None,
        };
        outbox.reopen(NOW);
        outbox
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("sms.sqlite")
    }

    fn reopen(&mut self, now: u64) {
        self.store = None;
        self.store = Some(Store::open(&self.file(), self.config.clone(), now).unwrap());
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    async fn run<T: Send + 'static>(
        &self,
        transition: impl FnOnce(&mut dyn Transitions) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Refusal> {
        match self.store().run(transition).await {
            Ok(value) => Ok(value),
            Err(StoreError::Refused(refusal)) => Err(refusal),
            Err(error) => panic!("{error}"),
        }
    }

    async fn accept(&self, message: NewMessage, now: u64) -> Result<Accepted, Refusal> {
        self.run(move |outbox| outbox.accept(&message, now)).await
    }

    async fn accepted(&self, message: NewMessage) -> MessageId {
        self.accept(message, NOW).await.unwrap().id
    }

    async fn claim(&self, limit: usize, now: u64) -> Vec<Claimed> {
        self.claim_with(ClaimRules::default(), limit, now).await
    }

    async fn claim_with(&self, rules: ClaimRules, limit: usize, now: u64) -> Vec<Claimed> {
        self.run(move |outbox| outbox.claim("one", limit, &rules, now))
            .await
            .unwrap()
    }

    async fn finish(&self, claimed: &Claimed, event: AttemptEvent, now: u64) -> State {
        let end = AttemptEnd {
            id: claimed.id,
            attempt: claimed.attempt,
            event,
        };
        self.run(move |outbox| outbox.finish(&end, now))
            .await
            .unwrap()
    }

    async fn sweep(&self, now: u64) -> Swept {
        self.run(move |outbox| outbox.sweep(now, 100))
            .await
            .unwrap()
    }

    async fn receipt(&self, receipt: Receipt) -> bool {
        self.run(move |outbox| outbox.receipt(&receipt, NOW))
            .await
            .unwrap()
    }

    async fn resend(&self, id: MessageId) -> Result<u32, Refusal> {
        self.attempt_again(Resend {
            id,
            may_double: false,
            gateway: None,
            expires_at: None,
        })
        .await
    }

    /// Sends a message again that may arrive twice then.
    async fn resend_doubtful(&self, id: MessageId) -> Result<u32, Refusal> {
        self.attempt_again(Resend {
            id,
            may_double: true,
            gateway: None,
            expires_at: None,
        })
        .await
    }

    async fn attempt_again(&self, resend: Resend) -> Result<u32, Refusal> {
        self.run(move |outbox| outbox.resend(&resend, &Viewer::All, NOW))
            .await
    }

    fn message(&self, id: MessageId) -> Message {
        self.store()
            .reader()
            .messages(&[id], &Viewer::All)
            .unwrap()
            .remove(0)
    }

    fn state(&self, id: MessageId) -> State {
        self.message(id).state
    }

    fn counts(&self) -> QueueCounts {
        self.store()
            .counts()
            .get("one")
            .copied()
            .unwrap_or_default()
    }
}

fn message(text: &str) -> NewMessage {
    NewMessage {
        owner: "shop".into(),
        key: None,
        first_sent_at: None,
        digest: [u8::try_from(text.len()).unwrap(); 32],
        to: Number::parse("+8613800138000", None).unwrap(),
        content: Content::Text(text.into()),
        sender: None,
        class: Class::Transactional,
        priority: 5,
        not_before: None,
        expires_at: None,
        tags: BTreeMap::new(),
        layout: Layout::of(text),
        gateway: "one".into(),
    }
}

fn ids(claimed: &[Claimed]) -> Vec<MessageId> {
    claimed.iter().map(|claimed| claimed.id).collect()
}

fn accepted_as(reference: &str) -> AttemptEvent {
    AttemptEvent::Accepted {
        parts: Parts::whole(Some(reference.into())),
    }
}

fn receipt_of(reference: &str, state: ReceiptState) -> Receipt {
    Receipt {
        gateway: "one".into(),
        reference: Some(reference.into()),
        id: None,
        scope: ReceiptScope::Message,
        state,
        error: None,
    }
}

fn otp_limits(per_number: &[&str], per_prefix: &[&str]) -> StoreConfig {
    let rates = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    let limits = ClassLimits {
        per_number: rates(per_number),
        per_prefix: rates(per_prefix),
    };
    StoreConfig {
        limits: HashMap::from([(Class::Otp, limits)]),
        ..StoreConfig::default()
    }
}
