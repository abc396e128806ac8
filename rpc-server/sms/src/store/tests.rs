use std::collections::BTreeMap;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::message::MessageId;
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

    async fn resend(&self, id: MessageId, may_double: bool) -> Result<u32, Refusal> {
        let resend = Resend {
            id,
            may_double,
            gateway: None,
            expires_at: None,
        };
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
        reference: Some(reference.into()),
    }
}

fn receipt_of(reference: &str, state: ReceiptState) -> Receipt {
    Receipt {
        gateway: "one".into(),
        reference: Some(reference.into()),
        id: None,
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

#[tokio::test]
async fn a_message_goes_from_its_acceptance_to_its_receipt_and_every_change_is_an_event() {
    let outbox = Outbox::new();
    let id = outbox.accepted(message("hello")).await;
    assert_eq!(
        (outbox.state(id), outbox.counts().queued),
        (State::Queued, 1)
    );

    let claimed = outbox.claim(10, NOW).await;
    assert_eq!(ids(&claimed), [id]);
    assert_eq!(claimed[0].content, Content::Text("hello".into()));
    assert_eq!(
        (outbox.state(id), outbox.counts().sending),
        (State::Sending, 1)
    );
    assert!(
        outbox.claim(10, NOW).await.is_empty(),
        "an attempt is claimed once"
    );

    assert_eq!(
        outbox.finish(&claimed[0], accepted_as("m-1"), NOW).await,
        State::Sent
    );
    assert!(
        outbox
            .receipt(receipt_of("m-1", ReceiptState::Delivered))
            .await
    );
    assert_eq!(outbox.counts(), QueueCounts::default());

    let found = outbox.message(id);
    assert_eq!(
        (found.state, found.receipt.as_deref()),
        (State::Delivered, Some("delivered"))
    );
    assert_eq!((found.to.as_str(), found.attempt), ("+86138****8000", 1));

    let filter = EventFilter {
        viewer: Viewer::All,
        id: Some(id),
        states: Vec::new(),
        after: 0,
        limit: 100,
    };
    let page = outbox.store().reader().events(&filter).unwrap();
    let states: Vec<State> = page.events.iter().map(|event| event.to).collect();
    assert_eq!(
        states,
        [State::Queued, State::Sending, State::Sent, State::Delivered]
    );
    assert_eq!(*outbox.store().last_event().borrow(), page.next);
}

#[tokio::test]
async fn a_crash_while_a_message_is_being_sent_leaves_it_unknown_and_never_resent_by_itself() {
    let mut outbox = Outbox::new();
    let id = outbox.accepted(message("hello")).await;
    let waiting = outbox.accepted(message("later")).await;
    outbox.claim(1, NOW).await;

    outbox.reopen(NOW + 1);
    assert_eq!(outbox.state(id), State::Unknown);
    assert_eq!(
        outbox.message(id).error.as_deref(),
        Some("the server ended while it was being sent")
    );
    let counts = outbox.counts();
    assert_eq!((counts.unknown, counts.queued, counts.sending), (1, 1, 0));
    assert_eq!(ids(&outbox.claim(10, NOW + 1).await), [waiting]);

    assert_eq!(
        outbox.resend(id, false).await,
        Err(Refusal::MayDouble(State::Unknown))
    );
    assert_eq!(outbox.resend(id, true).await, Ok(2));
    let again = outbox.claim(10, NOW + 1).await;
    assert_eq!(
        (ids(&again), again[0].attempt, again[0].tries),
        (vec![id], 2, 1)
    );
}

#[tokio::test]
async fn one_key_is_one_message_for_as_long_as_it_holds() {
    let mut outbox = Outbox::new();
    let keyed = |text: &str| NewMessage {
        key: Some("order-7".into()),
        ..message(text)
    };

    let first = outbox.accept(keyed("hello"), NOW).await.unwrap();
    outbox.reopen(NOW);
    let second = outbox.accept(keyed("hello"), NOW + 1).await.unwrap();
    assert_eq!((first.is_duplicate, second.is_duplicate), (false, true));
    assert_eq!((first.id, first.state), (second.id, second.state));

    assert_eq!(
        outbox.accept(keyed("other text"), NOW).await,
        Err(Refusal::KeyReused)
    );
    let of_another = NewMessage {
        owner: "bank".into(),
        ..keyed("other text")
    };
    assert!(!outbox.accept(of_another, NOW).await.unwrap().is_duplicate);

    let found = outbox
        .store()
        .reader()
        .message_of_key("shop", "order-7")
        .unwrap();
    assert_eq!(found.map(|message| message.id), Some(first.id));

    let later = NOW + outbox.config.key_ms;
    let third = outbox.accept(keyed("other text"), later).await.unwrap();
    assert!(!third.is_duplicate && third.id != first.id);
}

#[tokio::test]
async fn a_repetition_that_is_older_than_the_keys_is_refused_since_it_may_have_been_accepted() {
    let mut outbox = Outbox::new();
    let repeated = |first_sent_at| NewMessage {
        key: Some("order-7".into()),
        first_sent_at: Some(first_sent_at),
        ..message("hello")
    };

    // Before there was an outbox, or before the keys that it still has.
    let late = outbox.accept(repeated(NOW - 10_001), NOW).await;
    assert_eq!(late, Err(Refusal::KeyTooOld));
    let name = outbox.store().name().to_owned();
    outbox.reopen(NOW + 5);
    assert_eq!(outbox.store().name(), name);
    let later = NOW + 2 * outbox.config.key_ms;
    let late = outbox.accept(repeated(NOW), later).await;
    assert_eq!(late, Err(Refusal::KeyTooOld));

    assert!(
        !outbox
            .accept(repeated(later - 1), later)
            .await
            .unwrap()
            .is_duplicate
    );
    assert!(
        outbox
            .accept(repeated(NOW), later)
            .await
            .unwrap()
            .is_duplicate
    );
}

#[tokio::test]
async fn messages_go_by_priority_and_in_the_order_of_their_acceptance_and_a_refused_one_goes_back_to_the_head()
 {
    let outbox = Outbox::new();
    let mut order = Vec::new();
    for priority in [5, 5, 9, 0, 5] {
        order.push(
            outbox
                .accepted(NewMessage {
                    priority,
                    ..message("hello")
                })
                .await,
        );
    }
    let [first, second, urgent, idle, third] = order[..] else {
        unreachable!()
    };
    assert!(order.is_sorted(), "ids sort as messages were accepted");

    let claimed = outbox.claim(2, NOW).await;
    assert_eq!(ids(&claimed), [urgent, first]);

    let refused = |retry_at| AttemptEvent::Refused {
        error: "throttled".into(),
        retry_at,
        gateway: "one".into(),
    };
    assert_eq!(
        outbox.finish(&claimed[1], refused(NOW), NOW).await,
        State::Queued
    );
    assert_eq!(ids(&outbox.claim(2, NOW).await), [first, second]);

    // One that has to wait lets others go first, until its time has come.
    assert_eq!(
        outbox.finish(&claimed[0], refused(NOW + 500), NOW).await,
        State::Queued
    );
    assert_eq!(ids(&outbox.claim(9, NOW + 499).await), [third, idle]);
    assert_eq!(outbox.sweep(NOW + 499).await.due, 0);
    assert_eq!(outbox.sweep(NOW + 500).await.due, 1);
    let again = outbox.claim(9, NOW + 500).await;
    assert_eq!((ids(&again), again[0].tries), (vec![urgent], 2));
}

#[tokio::test]
async fn a_message_moves_to_the_gateway_that_is_named_for_its_next_attempt() {
    let outbox = Outbox::new();
    let id = outbox.accepted(message("hello")).await;
    let claimed = outbox.claim(1, NOW).await.remove(0);
    let to_other = AttemptEvent::Refused {
        error: "connect".into(),
        retry_at: NOW,
        gateway: "two".into(),
    };
    outbox.finish(&claimed, to_other, NOW).await;

    assert!(outbox.claim(9, NOW).await.is_empty());
    assert_eq!(
        (
            outbox.counts().queued,
            outbox.store().counts()["two"].queued
        ),
        (0, 1)
    );
    let rules = ClaimRules::default();
    let claimed = outbox
        .run(move |outbox| outbox.claim("two", 9, &rules, NOW))
        .await
        .unwrap();
    assert_eq!(ids(&claimed), [id]);
}

#[tokio::test]
async fn what_is_scheduled_waits_for_its_time_and_what_has_expired_is_not_sent() {
    let outbox = Outbox::new();
    let later = NewMessage {
        not_before: Some(NOW + 1_000),
        ..message("later")
    };
    let accepted = outbox.accept(later, NOW).await.unwrap();
    assert_eq!(
        (accepted.state, outbox.counts().scheduled),
        (State::Scheduled, 1)
    );
    let short = NewMessage {
        expires_at: Some(NOW + 500),
        ..message("short")
    };
    let short = outbox.accepted(short).await;
    let claimed_late = NewMessage {
        expires_at: Some(NOW + 2_000),
        ..message("claimed late")
    };
    let claimed_late = outbox.accepted(claimed_late).await;

    assert_eq!(outbox.sweep(NOW + 500).await.expired, 1);
    assert_eq!(outbox.state(short), State::Expired);
    assert_eq!(outbox.sweep(NOW + 1_000).await.due, 1);

    // Without a sweep in between, the claim looks itself.
    let claimed = outbox.claim(9, NOW + 2_000).await;
    assert_eq!(ids(&claimed), [accepted.id]);
    assert_eq!(outbox.state(claimed_late), State::Expired);
}

#[tokio::test]
async fn marketing_waits_for_the_end_of_quiet_hours() {
    let outbox = Outbox::new();
    let marketing = NewMessage {
        class: Class::Marketing,
        ..message("sale")
    };
    let marketing = outbox.accepted(marketing).await;
    let other = outbox.accepted(message("code")).await;

    let quiet = ClaimRules {
        marketing_not_before: Some(NOW + 60_000),
    };
    assert_eq!(ids(&outbox.claim_with(quiet, 9, NOW).await), [other]);
    assert_eq!(outbox.state(marketing), State::Queued);
    assert!(outbox.claim(9, NOW).await.is_empty());

    outbox.sweep(NOW + 60_000).await;
    assert_eq!(ids(&outbox.claim(9, NOW + 60_000).await), [marketing]);
}

#[tokio::test]
async fn a_number_that_opted_out_gets_nothing_also_if_the_message_waits_already() {
    let outbox = Outbox::new();
    let waiting = outbox.accepted(message("hello")).await;
    let number = message("x").to;

    let opt_out = |scope, now| {
        let number = number.clone();
        outbox.run(move |outbox| outbox.opt_out(&number, scope, now))
    };
    let set = opt_out(Some(OptOutScope::Marketing), NOW).await.unwrap();
    assert_eq!(set.map(|set| set.since), Some(NOW));
    outbox.accept(message("still"), NOW).await.unwrap();
    let marketing = NewMessage {
        class: Class::Marketing,
        ..message("sale")
    };
    assert_eq!(outbox.accept(marketing, NOW).await, Err(Refusal::OptedOut));

    opt_out(Some(OptOutScope::All), NOW + 5).await.unwrap();
    let again = opt_out(Some(OptOutScope::All), NOW + 9).await.unwrap();
    assert_eq!(again.map(|set| set.since), Some(NOW + 5));
    assert_eq!(
        outbox.accept(message("hello"), NOW).await,
        Err(Refusal::OptedOut)
    );

    assert!(outbox.claim(9, NOW).await.is_empty());
    let refused = outbox.message(waiting);
    assert_eq!(
        (refused.state, refused.error.as_deref()),
        (State::Failed, Some("opted_out"))
    );

    assert_eq!(opt_out(None, NOW).await, Ok(None));
    assert_eq!(outbox.store().reader().opt_out(&number).unwrap(), None);
    outbox.accept(message("hello"), NOW).await.unwrap();
}

#[tokio::test]
async fn limits_by_number_and_calling_code_hold_over_restarts() {
    let mut outbox = Outbox::with(otp_limits(&["1/60s", "2/1h"], &["3/1m"]));
    let code = |to: &str| NewMessage {
        class: Class::Otp,
        to: Number::parse(to, None).unwrap(),
        ..message("4711")
    };

    outbox.accept(code("+8613800138000"), NOW).await.unwrap();
    outbox.reopen(NOW + 10_000);
    let limited = outbox.accept(code("+8613800138000"), NOW + 10_000).await;
    assert_eq!(
        limited,
        Err(Refusal::NumberLimit {
            retry_after_ms: 50_000
        })
    );
    // Other classes have limits of their own: none here.
    outbox.accept(message("hello"), NOW + 10_000).await.unwrap();

    outbox
        .accept(code("+8613800138000"), NOW + 60_000)
        .await
        .unwrap();
    let limited = outbox.accept(code("+8613800138000"), NOW + 130_000).await;
    assert_eq!(
        limited,
        Err(Refusal::NumberLimit {
            retry_after_ms: 3_470_000
        })
    );

    for last in 1..=3 {
        outbox
            .accept(code(&format!("+861380013800{last}")), NOW + 200_000)
            .await
            .unwrap();
    }
    outbox.reopen(NOW + 201_000);
    let flood = outbox.accept(code("+8613800138009"), NOW + 201_000).await;
    assert_eq!(
        flood,
        Err(Refusal::PrefixLimit {
            retry_after_ms: 59_000
        })
    );
    outbox
        .accept(code("+4915123456789"), NOW + 201_000)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_receipt_may_come_before_the_response_twice_or_late() {
    let outbox = Outbox::new();
    let id = outbox.accepted(message("hello")).await;
    let claimed = outbox.claim(1, NOW).await.remove(0);

    assert!(
        !outbox
            .receipt(receipt_of("m-1", ReceiptState::Delivered))
            .await
    );
    assert!(!outbox.receipt(receipt_of("m-1", ReceiptState::Sent)).await);
    assert_eq!(outbox.state(id), State::Sending);
    outbox.finish(&claimed, accepted_as("m-1"), NOW).await;
    assert_eq!(outbox.state(id), State::Delivered);

    // Late and doubled ones change nothing any more.
    assert!(outbox.receipt(receipt_of("m-1", ReceiptState::Sent)).await);
    assert!(
        outbox
            .receipt(receipt_of("m-1", ReceiptState::Undelivered))
            .await
    );
    assert_eq!(outbox.state(id), State::Delivered);
}

#[tokio::test]
async fn a_receipt_of_an_earlier_attempt_stops_the_next_one_if_it_arrived() {
    let outbox = Outbox::new();
    let id = outbox.accepted(message("hello")).await;
    let claimed = outbox.claim(1, NOW).await.remove(0);
    let lost = AttemptEvent::NoAnswer {
        error: "timeout".into(),
        resend: false,
    };
    assert_eq!(outbox.finish(&claimed, lost, NOW).await, State::Unknown);
    outbox.resend(id, true).await.unwrap();

    let of_attempt = |attempt, state| Receipt {
        gateway: "one".into(),
        reference: None,
        id: Some((id, Some(attempt))),
        state,
        error: None,
    };
    assert!(
        outbox
            .receipt(of_attempt(1, ReceiptState::Undelivered))
            .await
    );
    assert_eq!(
        outbox.state(id),
        State::Queued,
        "the second attempt is made"
    );
    assert!(outbox.receipt(of_attempt(1, ReceiptState::Delivered)).await);
    assert_eq!(outbox.state(id), State::Delivered);
    assert!(outbox.claim(1, NOW).await.is_empty());
}

#[tokio::test]
async fn what_is_unknown_may_be_resent_by_rule_at_once() {
    let outbox = Outbox::new();
    let id = outbox.accepted(message("hello")).await;
    let claimed = outbox.claim(1, NOW).await.remove(0);
    let lost = AttemptEvent::NoAnswer {
        error: "timeout".into(),
        resend: true,
    };
    assert_eq!(outbox.finish(&claimed, lost, NOW).await, State::Queued);
    let again = outbox.claim(1, NOW).await.remove(0);
    assert_eq!((again.id, again.attempt, again.tries), (id, 2, 2));
}

#[tokio::test]
async fn only_owners_see_change_and_list_their_messages() {
    let outbox = Outbox::new();
    let id = outbox.accepted(message("hello")).await;
    let other = Viewer::Owner("bank".into());
    let own = Viewer::Owner("shop".into());
    let reader = outbox.store().reader();

    assert!(reader.messages(&[id], &other).unwrap().is_empty());
    assert_eq!(reader.messages(&[id], &own).unwrap().len(), 1);
    assert!(
        reader
            .list(&Filter::new(other.clone()))
            .unwrap()
            .messages
            .is_empty()
    );

    let refused = outbox
        .run(move |outbox| outbox.cancel(id, &other, NOW))
        .await;
    assert_eq!(refused, Err(Refusal::NotFound));
    let cancelled = outbox.run(move |outbox| outbox.cancel(id, &own, NOW)).await;
    assert_eq!(cancelled, Ok(State::Cancelled));
    let again = outbox
        .run(move |outbox| outbox.cancel(id, &Viewer::All, NOW))
        .await;
    assert_eq!(again, Err(Refusal::TooLate(State::Cancelled)));
    assert_eq!(outbox.resend(id, false).await, Ok(1));
}

#[tokio::test]
async fn a_list_is_filtered_and_read_page_by_page_from_the_newest_on() {
    let outbox = Outbox::new();
    let mut all = Vec::new();
    for place in 0..10_u64 {
        let tags = BTreeMap::from([("parity".to_owned(), (place % 2).to_string())]);
        let to = Number::parse(&format!("+861380013800{place}"), None).unwrap();
        let message = NewMessage {
            to,
            tags,
            ..message("hello")
        };
        all.push(outbox.accept(message, NOW + place).await.unwrap().id);
    }
    let claimed = outbox.claim(1, NOW + 10).await;
    all.reverse();

    let list = |change: &dyn Fn(&mut Filter)| {
        let mut filter = Filter::new(Viewer::All);
        change(&mut filter);
        let page = outbox.store().reader().list(&filter).unwrap();
        (
            page.messages
                .iter()
                .map(|message| message.id)
                .collect::<Vec<_>>(),
            page.next,
        )
    };

    assert_eq!(list(&|_| ()), (all.clone(), None));
    let (first, next) = list(&|filter| filter.limit = 4);
    assert_eq!((&first[..], next), (&all[..4], Some(all[3])));
    assert_eq!(list(&|filter| filter.after = next).0, all[4..]);

    assert_eq!(
        list(&|filter| filter.states = vec![State::Sending]).0,
        ids(&claimed)
    );
    assert_eq!(
        list(&|filter| filter.states = vec![State::Sending, State::Queued]).0,
        all
    );
    assert_eq!(
        list(&|filter| filter.to = Number::parse("+8613800138003", None).ok()).0,
        [all[6]]
    );
    assert_eq!(
        list(&|filter| filter.tag = Some(("parity".into(), "1".into())))
            .0
            .len(),
        5
    );
    assert_eq!(list(&|filter| filter.gateway = Some("two".into())).0, []);
    assert_eq!(list(&|filter| filter.class = Some(Class::Otp)).0, []);
    assert_eq!(
        list(&|filter| (filter.since, filter.until) = (Some(NOW + 2), Some(NOW + 4))).0,
        all[6..8]
    );
}

#[tokio::test]
async fn texts_and_numbers_are_erased_in_time_and_old_messages_forgotten() {
    let outbox = Outbox::new();
    let config = outbox.config.clone();
    let id = outbox.accepted(message("a secret text")).await;
    let claimed = outbox.claim(1, NOW).await.remove(0);
    outbox
        .finish(
            &claimed,
            AttemptEvent::RefusedForGood {
                error: "number".into(),
            },
            NOW,
        )
        .await;

    let revealed = outbox.store().reader().reveal(id).unwrap();
    assert_eq!(revealed.to.as_deref(), Some("+8613800138000"));
    assert_eq!(
        revealed.content,
        Some(Content::Text("a secret text".into()))
    );

    assert_eq!(outbox.sweep(NOW + config.erase_text_ms).await.erased, 1);
    let revealed = outbox.store().reader().reveal(id).unwrap();
    assert_eq!((revealed.to.is_some(), revealed.content), (true, None));
    assert_eq!(outbox.resend(id, false).await, Err(Refusal::TextErased));

    assert_eq!(outbox.sweep(NOW + config.erase_number_ms).await.erased, 1);
    assert_eq!(outbox.store().reader().reveal(id).unwrap().to, None);
    // The message is still found by its number.
    let filter = Filter {
        to: Some(message("x").to),
        ..Filter::new(Viewer::All)
    };
    assert_eq!(
        outbox
            .store()
            .reader()
            .list(&filter)
            .unwrap()
            .messages
            .len(),
        1
    );

    assert_eq!(outbox.sweep(NOW + config.keep_ms).await.erased, 1);
    assert!(
        outbox
            .store()
            .reader()
            .messages(&[id], &Viewer::All)
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        outbox.sweep(NOW + 2 * config.keep_ms).await,
        Swept::default()
    );
}

#[tokio::test]
async fn the_text_of_a_code_is_revealed_to_nobody() {
    let outbox = Outbox::new();
    let code = NewMessage {
        class: Class::Otp,
        ..message("4711")
    };
    let id = outbox.accepted(code).await;
    let revealed = outbox.store().reader().reveal(id).unwrap();
    assert_eq!(
        (revealed.to.as_deref(), revealed.content),
        (Some("+8613800138000"), None)
    );
}

#[tokio::test]
async fn a_sent_message_without_a_receipt_says_so_after_a_while() {
    let outbox = Outbox::new();
    let id = outbox.accepted(message("hello")).await;
    let claimed = outbox.claim(1, NOW).await.remove(0);
    outbox.finish(&claimed, accepted_as("m-1"), NOW).await;

    let wait = outbox.config.receipt_wait_ms;
    assert_eq!(outbox.sweep(NOW + wait - 1).await.without_receipt, 0);
    assert_eq!(outbox.sweep(NOW + wait).await.without_receipt, 1);
    let found = outbox.message(id);
    assert_eq!(
        (found.state, found.receipt.as_deref()),
        (State::Sent, Some("none"))
    );
    // It may still come.
    assert!(
        outbox
            .receipt(receipt_of("m-1", ReceiptState::Delivered))
            .await
    );
    assert_eq!(outbox.state(id), State::Delivered);
}

#[tokio::test]
async fn a_full_queue_refuses_further_messages_until_some_are_sent() {
    let config = StoreConfig {
        queue_max: 2,
        ..StoreConfig::default()
    };
    let outbox = Outbox::with(config);
    outbox.accepted(message("one")).await;
    outbox.accepted(message("two")).await;
    assert_eq!(
        outbox.accept(message("three"), NOW).await,
        Err(Refusal::QueueFull)
    );

    outbox.claim(1, NOW).await;
    outbox.accepted(message("three")).await;
}

#[tokio::test]
async fn a_gateway_stays_paused_over_a_restart() {
    let mut outbox = Outbox::new();
    outbox
        .run(|outbox| outbox.set_paused("one", true))
        .await
        .unwrap();
    outbox.reopen(NOW);
    assert_eq!(outbox.store().reader().paused().unwrap(), ["one"]);
    outbox
        .run(|outbox| outbox.set_paused("one", false))
        .await
        .unwrap();
    assert!(outbox.store().reader().paused().unwrap().is_empty());
}

#[tokio::test]
async fn events_are_read_in_their_order_behind_any_number_and_numbers_are_not_given_twice() {
    let mut outbox = Outbox::new();
    for _ in 0..5 {
        outbox.accepted(message("hello")).await;
    }
    let events = |outbox: &Outbox, after, limit| {
        let filter = EventFilter {
            viewer: Viewer::Owner("shop".into()),
            id: None,
            states: Vec::new(),
            after,
            limit,
        };
        outbox.store().reader().events(&filter).unwrap()
    };

    let page = events(&outbox, 0, 3);
    assert_eq!((page.events.len(), page.next, page.has_more), (3, 3, true));
    let page = events(&outbox, page.next, 3);
    assert_eq!((page.events.len(), page.next, page.has_more), (2, 5, false));

    outbox.reopen(NOW);
    outbox.accepted(message("hello")).await;
    let page = events(&outbox, 5, 3);
    assert_eq!((page.events.len(), page.next), (1, 6));
}

#[tokio::test]
async fn an_outbox_is_open_once_and_its_files_are_readable_by_their_user_alone() {
    use std::os::unix::fs::PermissionsExt;

    let outbox = Outbox::new();
    outbox.accepted(message("hello")).await;
    let second = Store::open(&outbox.file(), StoreConfig::default(), NOW)
        .err()
        .unwrap();
    assert!(matches!(second, StoreError::Locked(_)), "{second}");

    for entry in std::fs::read_dir(outbox.dir.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?}", entry.file_name());
    }
}

#[tokio::test]
async fn a_file_of_another_program_or_a_later_version_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sms.sqlite");
    let open = || Store::open(&file, StoreConfig::default(), NOW).err();

    let other = rusqlite::Connection::open(&file).unwrap();
    other
        .execute_batch("CREATE TABLE songs (name TEXT)")
        .unwrap();
    drop(other);
    assert!(matches!(open(), Some(StoreError::Foreign(_))));

    std::fs::remove_file(&file).unwrap();
    assert!(open().is_none());
    let later = rusqlite::Connection::open(&file).unwrap();
    later.pragma_update(None, "user_version", 99).unwrap();
    drop(later);
    assert!(matches!(open(), Some(StoreError::Newer { found: 99, .. })));
}

#[tokio::test]
async fn transitions_that_wait_together_are_answered_each_by_its_own_result() {
    let outbox = Outbox::new();
    let sends = (0..500).map(|place| {
        let key = Some(format!("key-{}", place % 250));
        outbox.accept(
            NewMessage {
                key,
                ..message("hello")
            },
            NOW,
        )
    });
    let accepted = futures::future::join_all(sends).await;
    let duplicates = accepted
        .iter()
        .filter(|accepted| accepted.as_ref().unwrap().is_duplicate);
    assert_eq!(duplicates.count(), 250);
    assert_eq!(outbox.counts().queued, 250);
}

#[tokio::test]
async fn a_transaction_that_fails_is_taken_back_as_a_whole_and_the_next_one_works() {
    let outbox = Outbox::new();
    let kept = outbox.accepted(message("hello")).await;

    // Another process holds the outbox, against all rules, for longer than the writer waits.
    let held = rusqlite::Connection::open(outbox.file()).unwrap();
    held.execute_batch("BEGIN IMMEDIATE").unwrap();
    let failed = outbox
        .store()
        .run(move |outbox| outbox.accept(&message("lost"), NOW))
        .await;
    assert!(
        matches!(failed, Err(StoreError::Sqlite(_) | StoreError::Broken)),
        "{failed:?}"
    );
    held.execute_batch("ROLLBACK").unwrap();

    assert_eq!(outbox.counts().queued, 1);
    let next = outbox.accepted(message("hello")).await;
    assert_eq!(ids(&outbox.claim(9, NOW).await), [kept, next]);
}

#[tokio::test]
async fn the_oldest_message_that_waits_is_found_whatever_its_priority() {
    let outbox = Outbox::new();
    let oldest = |outbox: &Outbox| outbox.store().reader().oldest_ready("one").unwrap();
    assert_eq!(oldest(&outbox), None);

    for (priority, at) in [(9, NOW + 2), (0, NOW + 1), (5, NOW + 3)] {
        let message = NewMessage {
            priority,
            ..message("hello")
        };
        outbox.accept(message, at).await.unwrap();
    }
    assert_eq!(oldest(&outbox), Some(NOW + 1));
}
