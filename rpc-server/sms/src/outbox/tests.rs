use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;
use futures::future::BoxFuture;
use rpc_core::api::sms::{GatewayState, Send};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::*;
use crate::config::OnUnknown;
use crate::gateway::Submission;
use crate::message::{Class, MessageId, Parts};
use crate::outcome::RuleClass;
use crate::states::State;
use crate::store::{Claimed, Viewer};

const NOW: u64 = 1_800_000_000_000;

/// A gateway that does as it is told, and keeps what it was given.
#[derive(Clone, Default)]
struct Scripted(Arc<Script>);

#[derive(Default)]
struct Script {
    /// What the next attempts end as; accepted without one.
    ends: Mutex<VecDeque<Submission>>,
    given: Mutex<Vec<(MessageId, u32)>>,
    /// Attempts wait for it where it is set.
    gate: Mutex<Option<Arc<Notify>>>,
    running: AtomicUsize,
    most: AtomicUsize,
    store: Mutex<Option<Store>>,
}

impl Scripted {
    fn then(self, end: Submission) -> Self {
        self.0.ends.lock().unwrap().push_back(end);
        self
    }

    fn given(&self) -> Vec<(MessageId, u32)> {
        self.0.given.lock().unwrap().clone()
    }

    fn ids(&self) -> Vec<MessageId> {
        self.given().into_iter().map(|(id, _)| id).collect()
    }
}

impl Gateway for Scripted {
    fn submit<'a>(&'a self, message: &'a Claimed) -> BoxFuture<'a, Submission> {
        let store = self.0.store.lock().unwrap().clone().unwrap();
        let on_disk = store
            .reader()
            .messages(&[message.id], &Viewer::All)
            .unwrap()
            .remove(0);
        assert_eq!(
            on_disk.state,
            State::Sending,
            "an attempt is on disk before it is made"
        );
        assert_eq!(on_disk.attempt, message.attempt);

        self.0
            .given
            .lock()
            .unwrap()
            .push((message.id, message.attempt));
        let gate = self.0.gate.lock().unwrap().clone();
        async move {
            let running = self.0.running.fetch_add(1, Ordering::SeqCst) + 1;
            self.0.most.fetch_max(running, Ordering::SeqCst);
            if let Some(gate) = gate {
                gate.notified().await;
            } else {
                tokio::task::yield_now().await;
            }
            self.0.running.fetch_sub(1, Ordering::SeqCst);

            let next = self.0.ends.lock().unwrap().pop_front();
            next.unwrap_or_else(|| Submission::accepted(None))
        }
        .boxed()
    }
}

struct Bench {
    dir: TempDir,
    outbox: Outbox,
}

impl Bench {
    fn new(gateways: &[(&str, &Scripted)]) -> Self {
        Self::with(gateways, |_| ())
    }

    fn with(gateways: &[(&str, &Scripted)], change: impl Fn(&mut GatewaySettings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = SmsSettings {
            attempts_max: 3,
            ..SmsSettings::default()
        };
        let store = Store::open(&dir.path().join("sms.sqlite"), settings.store(), NOW).unwrap();

        let lanes = gateways.iter().map(|(name, gateway)| {
            *gateway.0.store.lock().unwrap() = Some(store.clone());
            let mut settings = GatewaySettings {
                name: (*name).into(),
                ..GatewaySettings::default()
            };
            change(&mut settings);
            let gateway: Box<dyn Gateway> = Box::new((*gateway).clone());
            (settings, gateway)
        });
        let lanes = lanes.collect();
        let outbox = Outbox::with(
            store,
            &settings,
            lanes,
            &BlockingPool::default(),
            Clock::of_tokio(NOW),
        )
        .unwrap();
        outbox.start();
        Self { dir, outbox }
    }

    fn state_of(&self, lane: &str) -> GatewayState {
        self.outbox.lane(lane).unwrap().state().state
    }
}

fn answered(class: RuleClass, retry_after: Option<Duration>) -> Submission {
    Submission::Answered {
        class,
        reason: None,
        parts: Parts::default(),
        retry_after,
    }
}

fn not_sent() -> Submission {
    Submission::NotSent {
        error: "connection refused".into(),
    }
}

fn no_answer() -> Submission {
    Submission::NoAnswer {
        error: "no answer in time".into(),
    }
}

#[tokio::test]
async fn what_waits_is_submitted_once_and_in_order() {
    let gateway = Scripted::default();
    let bench = Bench::with(&[("one", &gateway)], |settings| settings.in_flight_max = 1);

    let mut ids = Vec::new();
    for text in ["a", "b", "c"] {
        ids.push(bench.outbox.accept(text).await);
    }
    for id in &ids {
        let sent = bench.outbox.until(*id, State::Sent).await;
        assert_eq!((sent.attempt, sent.error), (1, None));
    }
    assert_eq!(gateway.ids(), ids);
    assert_eq!(bench.outbox.lane("one").unwrap().state().accepted, 3);
}

#[tokio::test]
async fn a_message_that_a_gateway_does_not_have_goes_to_the_next_one() {
    let (first, second) = (Scripted::default().then(not_sent()), Scripted::default());
    let bench = Bench::new(&[("one", &first), ("two", &second)]);

    let id = bench.outbox.accept("hello").await;
    let sent = bench.outbox.until(id, State::Sent).await;
    assert_eq!((sent.gateway.as_str(), sent.attempt), ("two", 2));
    assert_eq!(
        (first.given(), second.given()),
        (vec![(id, 1)], vec![(id, 2)])
    );
}

#[tokio::test]
async fn messages_that_wait_for_a_gateway_that_is_down_go_to_another_one() {
    let gate = Arc::new(Notify::new());
    let first = Scripted::default().then(answered(
        RuleClass::GatewayDown,
        Some(Duration::from_secs(600)),
    ));
    *first.0.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let second = Scripted::default();
    let bench = Bench::with(&[("one", &first), ("two", &second)], |settings| {
        settings.in_flight_max = 1;
    });

    let mut ids = Vec::new();
    for text in ["a", "b", "c"] {
        ids.push(bench.outbox.accept(text).await);
    }
    bench.outbox.until(ids[0], State::Sending).await;
    gate.notify_one();
    for id in &ids {
        assert_eq!(bench.outbox.until(*id, State::Sent).await.gateway, "two");
    }
    assert_eq!(first.ids(), ids[..1]);
    assert_eq!(bench.state_of("one"), GatewayState::Down);

    // New ones are not given to it at all.
    let id = bench.outbox.accept("d").await;
    assert_eq!(bench.outbox.until(id, State::Sent).await.attempt, 1);
}

#[tokio::test(start_paused = true)]
async fn a_throttled_gateway_is_left_alone_and_goes_on_with_the_same_message() {
    let gateway = Scripted::default().then(answered(
        RuleClass::Throttled,
        Some(Duration::from_secs(30)),
    ));
    let bench = Bench::with(&[("one", &gateway)], |settings| settings.in_flight_max = 1);
    let begin = Instant::now();

    let (first, second) = (
        bench.outbox.accept("a").await,
        bench.outbox.accept("b").await,
    );
    bench.outbox.until(first, State::Sent).await;
    bench.outbox.until(second, State::Sent).await;
    assert_eq!(gateway.ids(), [first, first, second]);
    assert!(
        begin.elapsed() >= Duration::from_secs(30),
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_refused_for_the_moment_fails_after_its_attempts() {
    let temporary = || answered(RuleClass::Temporary, None);
    let gateway = Scripted::default()
        .then(temporary())
        .then(temporary())
        .then(temporary());
    let bench = Bench::new(&[("one", &gateway)]);

    let id = bench.outbox.accept("hello").await;
    let failed = bench.outbox.until(id, State::Failed).await;
    assert_eq!(
        (failed.attempt, failed.error.as_deref()),
        (3, Some("temporary"))
    );
    assert_eq!(bench.state_of("one"), GatewayState::Up, "it answers");
}

#[tokio::test]
async fn a_message_without_an_answer_is_unknown_and_not_sent_again() {
    let gateway = Scripted::default().then(no_answer());
    let bench = Bench::with(&[("one", &gateway)], |settings| settings.in_flight_max = 1);

    let (lost, next) = (
        bench.outbox.accept("a").await,
        bench.outbox.accept("b").await,
    );
    let unknown = bench.outbox.until(lost, State::Unknown).await;
    assert_eq!(unknown.error.as_deref(), Some("no answer in time"));
    bench.outbox.until(next, State::Sent).await;
    assert_eq!(gateway.given().len(), 2);
}

#[tokio::test]
async fn a_message_without_an_answer_is_sent_again_where_the_gateway_says_so() {
    let gateway = Scripted::default().then(no_answer());
    let bench = Bench::with(&[("one", &gateway)], |settings| {
        settings.on_unknown = OnUnknown::Resend;
    });

    let id = bench.outbox.accept("a").await;
    assert_eq!(bench.outbox.until(id, State::Sent).await.attempt, 2);
}

#[tokio::test]
async fn a_gateway_that_sends_again_what_is_unknown_doubles_no_part_that_was_accepted() {
    let unknown = |accepted: &[&str]| Submission::Answered {
        class: RuleClass::Unknown,
        reason: None,
        parts: Parts {
            count: 2,
            accepted: accepted
                .iter()
                .map(|name| Some((*name).to_owned()))
                .collect(),
        },
        retry_after: None,
    };
    let gateway = Scripted::default()
        .then(unknown(&["a"]))
        .then(unknown(&[]))
        .then(Submission::accepted(None));
    let bench = Bench::with(&[("one", &gateway)], |settings| {
        settings.on_unknown = OnUnknown::Resend;
        settings.in_flight_max = 1;
    });

    let in_part = bench.outbox.accept("a").await;
    let of_none = bench.outbox.accept("b").await;
    let sent = bench.outbox.until(of_none, State::Sent).await;
    assert_eq!(sent.attempt, 2);

    // All that was given by then, in its order.
    let given = [(in_part, 1), (of_none, 1), (of_none, 2)];
    assert_eq!(gateway.given(), given);
    let found = bench.outbox.message(in_part);
    assert_eq!(
        (found.state, found.parts, found.parts_sent),
        (State::Unknown, 2, 1)
    );
}

#[tokio::test]
async fn a_message_that_is_refused_for_good_fails_at_once() {
    let refused = Submission::Answered {
        class: RuleClass::Permanent,
        reason: Some("number".into()),
        parts: Parts::default(),
        retry_after: None,
    };
    let gateway = Scripted::default().then(refused);
    let bench = Bench::new(&[("one", &gateway)]);

    let id = bench.outbox.accept("a").await;
    let failed = bench.outbox.until(id, State::Failed).await;
    assert_eq!(
        (failed.attempt, failed.error.as_deref()),
        (1, Some("number"))
    );
    let state = bench.outbox.lane("one").unwrap().state();
    assert_eq!(
        (state.errors, state.last_error.as_deref()),
        (1, Some("number"))
    );
}

#[tokio::test]
async fn a_message_that_no_request_can_hold_fails_and_leaves_the_gateway_up() {
    let gateway = Scripted::default().then(Submission::Unsendable {
        error: "the header `x-text` cannot hold its value".into(),
    });
    let bench = Bench::new(&[("one", &gateway)]);

    let id = bench.outbox.accept("a").await;
    let failed = bench.outbox.until(id, State::Failed).await;
    assert_eq!(failed.attempt, 1);
    assert_eq!(bench.state_of("one"), GatewayState::Up);
}

#[tokio::test]
async fn a_paused_gateway_keeps_its_messages_and_gets_no_new_ones() {
    let (first, second) = (Scripted::default(), Scripted::default());
    let bench = Bench::new(&[("one", &first), ("two", &second)]);
    let lane = Arc::clone(bench.outbox.lane("one").unwrap());
    bench
        .outbox
        .switch(&lane, GatewaySwitch::Paused)
        .await
        .unwrap();
    assert_eq!(bench.state_of("one"), GatewayState::Paused);

    let other = bench.outbox.accept("a").await;
    assert_eq!(bench.outbox.until(other, State::Sent).await.gateway, "two");

    let lane_two = Arc::clone(bench.outbox.lane("two").unwrap());
    bench
        .outbox
        .switch(&lane_two, GatewaySwitch::Paused)
        .await
        .unwrap();
    let kept = bench.outbox.accept("b").await;
    assert_eq!(bench.outbox.message(kept).state, State::Queued);

    bench.outbox.switch(&lane, GatewaySwitch::On).await.unwrap();
    bench.outbox.until(kept, State::Sent).await;
    assert_eq!(first.ids(), [kept]);
}

#[tokio::test]
async fn no_more_attempts_run_at_the_same_time_than_may() {
    let gateway = Scripted::default();
    let bench = Bench::with(&[("one", &gateway)], |settings| settings.in_flight_max = 3);

    let mut ids = Vec::new();
    for place in 0..30 {
        ids.push(bench.outbox.accept(&place.to_string()).await);
    }
    for id in ids {
        bench.outbox.until(id, State::Sent).await;
    }
    let most = gateway.0.most.load(Ordering::SeqCst);
    assert!((1..=3).contains(&most), "{most}");
}

#[tokio::test(start_paused = true)]
async fn a_gateway_is_given_no_more_in_a_second_than_its_rate() {
    let gateway = Scripted::default();
    let bench = Bench::with(&[("one", &gateway)], |settings| {
        settings.rate_per_second = 5;
    });
    let begin = Instant::now();

    let mut ids = Vec::new();
    for place in 0..20 {
        ids.push(bench.outbox.accept(&place.to_string()).await);
    }
    for id in ids {
        bench.outbox.until(id, State::Sent).await;
    }
    // Five at once, fifteen at five in a second.
    assert!(
        begin.elapsed() >= Duration::from_millis(2_900),
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test]
async fn an_outbox_that_stops_lets_attempts_end_and_claims_no_more() {
    let gate = Arc::new(Notify::new());
    let gateway = Scripted::default();
    *gateway.0.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let bench = Bench::with(&[("one", &gateway)], |settings| settings.in_flight_max = 1);

    let (under_way, waiting) = (
        bench.outbox.accept("a").await,
        bench.outbox.accept("b").await,
    );
    bench.outbox.until(under_way, State::Sending).await;
    let mut stopping = Box::pin(bench.outbox.stop());
    assert!(futures::poll!(&mut stopping).is_pending());
    gate.notify_one();
    stopping.await;

    assert_eq!(bench.outbox.message(under_way).state, State::Sent);
    assert_eq!(bench.outbox.message(waiting).state, State::Queued);
}

#[tokio::test]
async fn the_default_gateway_writes_messages_to_a_file_without_the_texts_of_codes() {
    let dir = tempfile::tempdir().unwrap();
    let settings = SmsSettings::default();
    let outbox = Outbox::open(dir.path(), &settings, &BlockingPool::default()).unwrap();
    outbox.start();
    let bench = Bench { dir, outbox };

    let id = bench.outbox.accept("hello").await;
    bench.outbox.until(id, State::Sent).await;
    let code = Send {
        class: Some(Class::Otp),
        ..Send::new("+8613800138000", "secret 4711")
    };
    let now = bench.outbox.now_ms();
    let plan = bench
        .outbox
        .planner()
        .plan(&code, bench.outbox.lanes(), now)
        .unwrap();
    assert!(plan.is_dry_run);
    let message = bench
        .outbox
        .planner()
        .message(&plan, code, String::new(), now);
    let code = bench
        .outbox
        .store()
        .run(move |store| store.accept(&message, now))
        .await
        .unwrap();
    bench.outbox.until(code.id, State::Sent).await;

    let written = std::fs::read_to_string(bench.dir.path().join("sms-out.ndjson")).unwrap();
    let lines: Vec<serde_json::Value> = written
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (&lines[0]["to"], &lines[0]["text"]),
        (&"+8613800138000".into(), &"hello".into())
    );
    assert_eq!(lines[1]["id"], code.id.to_string());
    assert!(!written.contains("4711"), "{written}");
}

/// A planner's verdict, without a store.
fn problems(settings: &SmsSettings, change: impl FnOnce(&mut Send)) -> Vec<Problem> {
    let lanes: Vec<Arc<Lane>> = settings
        .gateways()
        .into_iter()
        .map(|settings| {
            Arc::new(Lane::new(
                settings,
                Box::new(Scripted::default()),
                GatewaySwitch::On,
            ))
        })
        .collect();
    let mut send = Send::new("+8613800138000", "hello");
    change(&mut send);

    match Planner::new(settings).plan(&send, &lanes, NOW) {
        Ok(plan) => plan.problems,
        Err(problem) => vec![problem],
    }
}

#[track_caller]
fn check(problems: &[Problem], expected: &str) {
    let is_there = problems
        .iter()
        .any(|problem| problem.message().contains(expected));
    assert!(is_there, "{problems:?}");
}

#[tokio::test]
async fn a_message_that_cannot_be_sent_is_refused_with_the_reason() {
    let settings = SmsSettings::default();
    let with = |change: &dyn Fn(&mut Send)| problems(&settings, change);

    assert_eq!(with(&|_| ()), []);
    check(&with(&|send| send.to = "12345".into()), "no calling code");
    check(
        &with(&|send| send.text = None),
        "neither `text` nor `template`",
    );
    check(&with(&|send| send.template = Some("a".into())), "both set");
    check(
        &with(&|send| send.text = Some(String::new())),
        "it is empty",
    );
    check(&with(&|send| send.text = Some("a\0b".into())), "NUL");
    check(
        &with(&|send| send.text = Some("a".repeat(1531))),
        "11 segments, and may take at most 10",
    );
    check(&with(&|send| send.priority = Some(10)), "`priority` is 10");
    check(
        &with(&|send| send.sender = Some("x".repeat(33))),
        "`sender`",
    );
    check(
        &with(&|send| send.expires_at = Some(NOW)),
        "which is in the past",
    );
    check(
        &with(&|send| (send.not_before, send.expires_at) = (Some(NOW + 9), Some(NOW + 9))),
        "after `not_before`",
    );
    check(&with(&|send| send.not_before = Some(u64::MAX)), "year 9999");
    check(
        &with(&|send| send.gateway = Some("two".into())),
        "no gateway `two`",
    );
    check(
        &with(&|send| send.vars = BTreeMap::from([("a".into(), "b".into())])),
        "`vars` belong to a `template`",
    );
    check(
        &with(&|send| send.to = "+4490012345678".into()),
        "phone number",
    );
    check(
        &with(&|send| send.to = "+449098790000".into()),
        "premium_rate",
    );
    let tags = (0..9).map(|place| (place.to_string(), String::new()));
    let tags: BTreeMap<String, String> = tags.collect();
    check(&with(&|send| send.tags.clone_from(&tags)), "9 tags");
    let template = |send: &mut Send| (send.text, send.template) = (None, Some("login".into()));
    check(&with(&template), "no gateway knows the template `login`");

    let settings = SmsSettings {
        countries: vec!["DE".into()],
        ..SmsSettings::default()
    };
    check(
        &problems(&settings, |_| ()),
        "messages to CN are not allowed",
    );
    let route = crate::config::RouteSettings {
        country: vec!["DE".into()],
        gateways: vec!["dry".into()],
    };
    let settings = SmsSettings {
        routes: vec![route],
        ..SmsSettings::default()
    };
    check(
        &problems(&settings, |_| ()),
        "no route of [sms] leads to CN",
    );
}
