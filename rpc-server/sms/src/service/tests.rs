use std::sync::Arc;

use futures::StreamExt;
use rpc_core::api::sms::{
    Class, Extent, GatewayState, List, MessageId, MessageQuery, OptOut, OptOutAction, Pause,
    Receipt, ReceiptState, Resend, Send, SmsClient, SmsError, Status as MessageStatus, Watch,
};
use rpc_core::scope::LazyCancellation;
use rpc_core::typed::CallOptions;
use rpc_core::{Code, Outcome, Peer, Request, Scope, Service, Status};
use rpc_server::Router;
use rpc_server::blocking::BlockingPool;
use tempfile::TempDir;

use super::audited::Audited;
use super::*;
use crate::config::SmsSettings;

/// The service behind a router, without a socket.
struct Bench {
    dir: TempDir,
    settings: SmsSettings,
    outbox: Outbox,
    router: Arc<Router>,
}

impl Bench {
    fn new() -> Self {
        let mut settings = SmsSettings::default();
        settings.grants.all = vec!["ops".into()];
        settings.grants.reveal = vec!["ops".into()];
        settings.grants.may_double = vec!["ops".into()];
        Self::open(tempfile::tempdir().unwrap(), settings)
    }

    fn open(dir: TempDir, settings: SmsSettings) -> Self {
        let outbox = Outbox::open(dir.path(), &settings, &BlockingPool::default()).unwrap();
        let commands = SmsCommands(SmsHandlers::new(outbox.clone()));
        Self {
            router: Arc::new(Router::new().serve(commands).unwrap()),
            dir,
            settings,
            outbox,
        }
    }

    /// As behind a restart.
    async fn restarted(self) -> Self {
        let Self {
            dir,
            settings,
            outbox,
            router,
        } = self;
        outbox.stop().await;
        drop((outbox, router));
        Self::open(dir, settings)
    }

    fn client(&self, identity: Option<&'static str>) -> SmsClient<As> {
        SmsClient::new(As {
            router: Arc::clone(&self.router),
            identity,
        })
    }
}

/// A caller with an identity.
struct As {
    router: Arc<Router>,
    identity: Option<&'static str>,
}

impl Service for As {
    fn call(
        &self,
        request: Request<'_>,
    ) -> impl Future<Output = Outcome> + std::marker::Send + 'static {
        let peer = Peer::new("127.0.0.1:1", 1);
        if let Some(identity) = self.identity {
            peer.set_identity(identity);
        }
        let (peer, canceller) = (Arc::new(peer), LazyCancellation::default());
        let scope = Scope::new(&peer, None, &canceller);
        let request = request.into_owned();
        self.router
            .call(request.with_scope(scope.uncancelled().into_owned()))
    }
}

fn hello() -> Send {
    Send::new("+8613800138000", "hello")
}

fn key(key: &str) -> CallOptions {
    CallOptions::new().idempotency_key(key)
}

#[track_caller]
fn code_of<T: std::fmt::Debug>(result: Result<T, SmsError>) -> u32 {
    Status::from(result.unwrap_err()).code().number()
}

fn by_id(id: &str) -> MessageQuery {
    MessageQuery {
        id: Some(id.to_owned()),
        ..MessageQuery::default()
    }
}

fn the(id: &str) -> MessageId {
    MessageId { id: id.to_owned() }
}

#[tokio::test]
async fn a_message_is_answered_with_its_id_and_followed_by_it() {
    let bench = Bench::new();
    let sms = bench.client(None);

    let sent = sms.send(&hello()).await.unwrap();
    assert_eq!((sent.id.len(), sent.status), (26, MessageStatus::Queued));
    assert_eq!((sent.segments, sent.country.as_str()), (1, "CN"));
    assert!(sent.dry_run && !sent.duplicate);

    let found = sms.status(&by_id(&sent.id)).await.unwrap().messages;
    assert_eq!(
        (found[0].to.as_str(), found[0].class),
        ("+86138****8000", Class::Transactional)
    );
    let mut watched = sms
        .watch(Watch {
            after: Some(0),
            ..Watch::default()
        })
        .await
        .unwrap();
    let first = watched.next().await.unwrap().unwrap();
    assert_eq!((first.events[0].to, first.next), (MessageStatus::Queued, 1));

    bench.outbox.start();
    let second = watched.next().await.unwrap().unwrap();
    assert_eq!(second.events[0].from, Some(MessageStatus::Queued));
    let mut last = second.events.last().unwrap().to;
    while last != MessageStatus::Sent {
        last = watched
            .next()
            .await
            .unwrap()
            .unwrap()
            .events
            .last()
            .unwrap()
            .to;
    }
}

#[tokio::test]
async fn a_key_makes_one_message_also_over_a_restart_and_is_not_kept_in_memory() {
    let bench = Bench::new();
    let first = bench
        .client(None)
        .with(key("order-7"))
        .send(&hello())
        .await
        .unwrap();

    let descriptors = bench.router.descriptors();
    let send = descriptors
        .iter()
        .find(|descriptor| descriptor.cmdid.number() == 1101)
        .unwrap();
    assert_eq!(
        send.dedup.as_ref().unwrap().store.as_deref(),
        Some(bench.outbox.store().name())
    );

    let bench = bench.restarted().await;
    let sms = bench.client(None).with(key("order-7"));
    let second = sms.send(&hello()).await.unwrap();
    assert_eq!((&second.id, second.duplicate), (&first.id, true));
    assert_eq!(
        code_of(sms.send(&Send::new("+8613800138000", "other")).await),
        6
    );

    let query = MessageQuery {
        key: Some("order-7".into()),
        ..MessageQuery::default()
    };
    assert_eq!(sms.status(&query).await.unwrap().messages[0].id, first.id);
    assert_eq!(code_of(bench.client(Some("bank")).status(&query).await), 5);
    let long = "x".repeat(129);
    assert_eq!(
        code_of(bench.client(None).with(key(&long)).send(&hello()).await),
        3
    );
}

#[tokio::test]
async fn callers_see_their_own_messages_and_who_is_named_sees_all() {
    let bench = Bench::new();
    let (shop, bank, ops) = (
        bench.client(Some("shop")),
        bench.client(Some("bank")),
        bench.client(Some("ops")),
    );
    let sent = shop.send(&hello()).await.unwrap();

    assert_eq!(code_of(bank.status(&by_id(&sent.id)).await), 5);
    assert_eq!(code_of(bank.cancel(&the(&sent.id)).await), 5);
    assert!(
        bank.list(&List::default())
            .await
            .unwrap()
            .messages
            .is_empty()
    );
    assert_eq!(shop.list(&List::default()).await.unwrap().messages.len(), 1);
    assert_eq!(
        ops.list(&List::default()).await.unwrap().messages[0].id,
        sent.id
    );

    assert_eq!(code_of(shop.reveal(&the(&sent.id)).await), 7);
    assert_eq!(code_of(bench.client(None).reveal(&the(&sent.id)).await), 7);
    let revealed = ops.reveal(&the(&sent.id)).await.unwrap();
    assert_eq!(
        (revealed.to.as_deref(), revealed.text.as_deref()),
        (Some("+8613800138000"), Some("hello"))
    );
    assert_eq!(format!("{revealed:?}"), "Revealed { .. }");
}

#[tokio::test]
async fn the_audit_log_names_each_caller_to_whom_a_message_was_revealed() {
    let bench = Bench::new();
    let sent = bench.client(Some("shop")).send(&hello()).await.unwrap();
    let audited = Audited::default();
    let _guard = tracing::subscriber::set_default(audited.clone());

    let ops = bench.client(Some("ops"));
    ops.reveal(&the(&sent.id)).await.unwrap();

    let expected = format!(
        "message=an SMS was revealed peer=127.0.0.1:1 identity=\"ops\" id={} ",
        sent.id
    );
    assert_eq!(audited.events(), [expected]);
}

#[tokio::test]
async fn what_cannot_be_sent_has_a_code_of_its_own() {
    let bench = Bench::new();
    let sms = bench.client(None);
    let send = |to: &str, text: &str| {
        let (sms, send) = (bench.client(None), Send::new(to, text));
        async move { code_of(sms.send(&send).await) }
    };

    assert_eq!(send("13800138000", "hello").await, 1100);
    assert_eq!(send("+449098790000", "hello").await, 1102);
    assert_eq!(send("+8613800138000", "").await, 1106);
    let named = Send {
        gateway: Some("two".into()),
        ..hello()
    };
    assert_eq!(code_of(sms.send(&named).await), 1110);

    let opt_out = |action| OptOut {
        to: "+8613800138000".into(),
        action,
        scope: None,
    };
    assert!(
        sms.optout(&opt_out(OptOutAction::Add))
            .await
            .unwrap()
            .opted_out
    );
    assert_eq!(send("+8613800138000", "hello").await, 1101);
    let checked = sms.check(&hello()).await.unwrap();
    assert_eq!(
        (checked.allowed, checked.reasons),
        (false, vec!["the number has opted out".to_owned()])
    );
    assert!(
        sms.optout(&opt_out(OptOutAction::Get))
            .await
            .unwrap()
            .since
            .is_some()
    );
    assert!(
        !sms.optout(&opt_out(OptOutAction::Remove))
            .await
            .unwrap()
            .opted_out
    );

    let checked = sms.check(&hello()).await.unwrap();
    assert_eq!(
        (
            checked.allowed,
            checked.kind.as_str(),
            checked.gateway.as_deref()
        ),
        (true, "mobile", Some("dry"))
    );
    assert!(
        sms.list(&List::default())
            .await
            .unwrap()
            .messages
            .is_empty(),
        "`check` stores nothing"
    );
}

#[tokio::test]
async fn check_tells_of_limits_that_send_would_meet() {
    let bench = Bench::new();
    let sms = bench.client(None);
    let code = Send {
        class: Some(Class::Otp),
        ..hello()
    };
    assert!(sms.check(&code).await.unwrap().allowed);

    sms.send(&code).await.unwrap();
    let checked = sms.check(&code).await.unwrap();
    assert!(!checked.allowed);
    assert!(
        checked.reasons[0].starts_with("too many messages to this number"),
        "{:?}",
        checked.reasons
    );
    assert!(
        sms.check(&hello()).await.unwrap().allowed,
        "other classes have no limit"
    );
}

#[tokio::test]
async fn a_watch_from_now_on_names_its_place_at_once_and_goes_on_from_there() {
    let bench = Bench::new();
    let sms = bench.client(None);
    sms.send(&hello()).await.unwrap();

    let mut watched = sms.watch(Watch::default()).await.unwrap();
    let first = watched.next().await.unwrap().unwrap();
    assert_eq!(
        (first.outbox.as_str(), first.events.len(), first.next),
        (bench.outbox.store().name(), 0, 1)
    );
    drop(watched);

    sms.send(&hello()).await.unwrap();
    let again = Watch {
        outbox: Some(first.outbox),
        after: Some(first.next),
        ..Watch::default()
    };
    let mut watched = sms.watch(again).await.unwrap();
    let missed = watched.next().await.unwrap().unwrap();
    assert_eq!((missed.events[0].event, missed.next), (2, 2));
}

#[tokio::test]
async fn a_watch_whose_outbox_was_replaced_is_told_what_there_is_instead_of_waiting_for_ever() {
    let first = Bench::new();
    first.client(None).send(&hello()).await.unwrap();
    let second = Bench::new();
    let sms = second.client(None);
    let there = Extent {
        outbox: second.outbox.store().name().to_owned(),
        last: 0,
    };

    let refused = async |outbox: Option<&str>, after| {
        let watch = Watch {
            outbox: outbox.map(str::to_owned),
            after: Some(after),
            ..Watch::default()
        };
        let mut watched = sms.watch(watch).await.unwrap();
        let status = Status::from(watched.next().await.unwrap().unwrap_err());
        assert!(watched.next().await.is_none());
        (status.code(), Extent::of(&status))
    };
    let other = Some(first.outbox.store().name());
    let not_this = (Code::FAILED_PRECONDITION, Some(there.clone()));
    assert_eq!(refused(other, 0).await, not_this);
    assert_eq!(refused(other, 1).await, not_this);
    let past_end = (Code::OUT_OF_RANGE, Some(there));
    assert_eq!(refused(None, 1).await, past_end);
    let long = "x".repeat(65);
    assert_eq!(
        refused(Some(&long), 0).await,
        (Code::INVALID_ARGUMENT, None)
    );
}

#[tokio::test]
async fn a_flood_of_codes_is_refused_with_the_time_of_the_next_one_and_no_other_server_is_tried() {
    let bench = Bench::new();
    let code = Send {
        class: Some(Class::Otp),
        ..hello()
    };
    bench.client(None).send(&code).await.unwrap();

    let router = As {
        router: Arc::clone(&bench.router),
        identity: None,
    };
    let params = rpc_core::RawJson::serialize(&code).unwrap();
    let refused = router.call(Request::new(1101, params)).await.unwrap_err();
    assert_eq!(refused.code(), Code::new(1103));
    assert!(!refused.is_rejected());
    let wait = refused.retry_after().unwrap().as_millis();
    assert!((1..=60_000).contains(&wait), "{wait}");
    let error = SmsError::from(refused);
    assert!(
        matches!(
            error,
            SmsError::NumberLimit {
                retry_after_ms: 1..=60_000
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_operator_cancels_resends_and_decides() {
    let bench = Bench::new();
    let (shop, ops) = (bench.client(Some("shop")), bench.client(Some("ops")));
    let sent = shop.send(&hello()).await.unwrap();
    let resend = |may_double| Resend {
        id: sent.id.clone(),
        may_double,
        gateway: None,
    };

    assert_eq!(code_of(shop.resend(&resend(false)).await), 1109);
    assert_eq!(
        shop.cancel(&the(&sent.id)).await.unwrap().status,
        MessageStatus::Cancelled
    );
    assert_eq!(code_of(shop.cancel(&the(&sent.id)).await), 1109);
    assert_eq!(shop.resend(&resend(false)).await.unwrap().attempt, 1);

    // The process ends in the middle of the attempt.
    let rules = crate::store::ClaimRules::default();
    let now = bench.outbox.now_ms();
    bench
        .outbox
        .store()
        .run(move |store| store.claim("dry", 1, &rules, now))
        .await
        .unwrap();
    drop((shop, ops));
    let bench = bench.restarted().await;
    let (shop, ops) = (bench.client(Some("shop")), bench.client(Some("ops")));

    let unknown = List {
        status: vec![MessageStatus::Unknown],
        ..List::default()
    };
    assert_eq!(ops.list(&unknown).await.unwrap().messages[0].id, sent.id);
    assert_eq!(code_of(shop.resend(&resend(false)).await), 1108);
    assert_eq!(code_of(shop.resend(&resend(true)).await), 7);
    let again = ops.resend(&resend(true)).await.unwrap();
    assert_eq!((again.status, again.attempt), (MessageStatus::Queued, 2));
}

#[tokio::test]
async fn receipts_of_another_program_are_matched_by_id_and_attempt() {
    let bench = Bench::new();
    let sms = bench.client(None);
    let sent = sms.send(&hello()).await.unwrap();
    bench.outbox.start();
    let mut watched = sms
        .watch(Watch {
            status: vec![MessageStatus::Sent],
            after: Some(0),
            ..Watch::default()
        })
        .await
        .unwrap();
    watched.next().await.unwrap().unwrap();

    let receipt = |id: &str| Receipt {
        gateway: "dry".into(),
        reference: None,
        id: Some(id.to_owned()),
        state: ReceiptState::Delivered,
        at: None,
        error: None,
    };
    let missing = "01KDVDNA0000000000000004HM";
    assert!(!sms.receipt(&receipt(missing)).await.unwrap().matched);
    assert_eq!(code_of(sms.receipt(&receipt("x")).await), 3);
    assert!(
        sms.receipt(&receipt(&format!("{}-1", sent.id)))
            .await
            .unwrap()
            .matched
    );
    let found = sms.status(&by_id(&sent.id)).await.unwrap().messages;
    assert_eq!(
        (found[0].status, found[0].receipt.as_deref()),
        (MessageStatus::Delivered, Some("delivered"))
    );

    let of_nobody = Receipt {
        gateway: "two".into(),
        ..receipt(missing)
    };
    assert_eq!(code_of(sms.receipt(&of_nobody).await), 1110);
}

#[tokio::test]
async fn gateways_tell_what_waits_and_stay_paused_over_a_restart() {
    let bench = Bench::new();
    let pause = |paused| Pause {
        gateway: "dry".into(),
        paused,
    };
    bench.client(None).pause(&pause(true)).await.unwrap();
    let bench = bench.restarted().await;
    bench.outbox.start();
    let sms = bench.client(None);
    let sent = sms.send(&hello()).await.unwrap();

    let gateways = sms.gateways().await.unwrap().gateways;
    let dry = &gateways[0];
    assert_eq!(
        (dry.name.as_str(), dry.kind.as_str(), dry.state),
        ("dry", "file", GatewayState::Paused)
    );
    assert_eq!(
        (dry.queued, dry.sending, dry.oldest_ms.is_some()),
        (1, 0, true)
    );

    sms.pause(&pause(false)).await.unwrap();
    let mut watched = sms
        .watch(Watch {
            id: Some(sent.id),
            status: vec![MessageStatus::Sent],
            after: Some(0),
            ..Watch::default()
        })
        .await
        .unwrap();
    watched.next().await.unwrap().unwrap();
    assert_eq!(sms.gateways().await.unwrap().gateways[0].accepted, 1);
    assert_eq!(
        code_of(
            sms.pause(&Pause {
                gateway: "two".into(),
                paused: true
            })
            .await
        ),
        1110
    );
}

#[tokio::test]
async fn questions_that_make_no_sense_are_refused() {
    let bench = Bench::new();
    let sms = bench.client(None);

    assert_eq!(code_of(sms.status(&MessageQuery::default()).await), 3);
    assert_eq!(code_of(sms.status(&by_id("x")).await), 3);
    let many = MessageQuery {
        ids: Some(vec!["01KDVDNA0000000000000004HM".into(); 101]),
        ..MessageQuery::default()
    };
    assert_eq!(code_of(sms.status(&many).await), 3);
    assert_eq!(
        code_of(
            sms.list(&List {
                limit: Some(501),
                ..List::default()
            })
            .await
        ),
        3
    );
    assert_eq!(
        code_of(
            sms.list(&List {
                tag: Some("x".into()),
                ..List::default()
            })
            .await
        ),
        3
    );
    let mut watched = sms
        .watch(Watch {
            id: Some("x".into()),
            ..Watch::default()
        })
        .await
        .unwrap();
    assert_eq!(code_of(watched.next().await.unwrap()), 3);
}

#[tokio::test]
async fn a_full_queue_is_counted_by_its_name() {
    let settings = SmsSettings {
        queue_max: 1,
        ..SmsSettings::default()
    };
    let bench = Bench::open(tempfile::tempdir().unwrap(), settings);
    let client = bench.client(None);
    client.send(&hello()).await.unwrap();
    assert_eq!(code_of(client.send(&hello()).await), 8);

    let metrics = bench.outbox.metrics();
    let counted = metrics
        .lines()
        .filter(|line| line.starts_with("rpc_sms_refused_total") && !line.ends_with(" 0"));
    let counted: Vec<&str> = counted.collect();
    assert_eq!(counted, [r#"rpc_sms_refused_total{reason="queue_full"} 1"#]);
}
