//! Calls of methods with `dedup`: what a client does where one may have run, over connections that are cut.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use rpc_client::{Balance, CallOptions, Client, Code, Config, Connect, Status, service};
use rpc_server::layers::{Deduplicate, DeduplicateConfig};
use rpc_server::{Router, Server, ServerHandle};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::task::AbortHandle;
use tokio::time::sleep;

/// Sends messages.
#[service]
trait Sms {
    /// Sends a message; answers how many there were before it, and itself.
    #[rpc(cmdid = 100, dedup, timeout_ms = 20000)]
    async fn send(&self, text: String) -> Result<u64, Status>;

    /// How many messages were sent.
    #[rpc(cmdid = 101, idempotent)]
    async fn sent(&self) -> Result<u64, Status>;
}

/// Hosts by their addresses, and the connections to them. Bytes take up to 3 ms.
#[derive(Clone, Default)]
struct Network(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    hosts: HashMap<String, ServerHandle>,
    connections: Vec<(String, AbortHandle)>,
    /// Time that opening a connection takes.
    dialing: Duration,
    cuts: u32,
}

impl Network {
    /// Starts a server at an address, in the place of the one that was there.
    async fn start(&self, address: &str, gateway: &Gateway, keys: &Deduplicate) {
        let router = Router::new().deduplicate(keys.clone());
        let router = router.serve(SmsServer(gateway.clone())).unwrap();
        self.host(address, router).await;
    }

    async fn host(&self, address: &str, router: Router) {
        let server = Server::builder().router(router).bind().await.unwrap();
        let mut state = self.0.lock().unwrap();
        state.hosts.insert(address.to_owned(), server.handle());
    }

    fn stop(&self, address: &str) {
        self.0.lock().unwrap().hosts.remove(address);
        self.cut(address);
    }

    /// Cuts the connections to an address.
    fn cut(&self, address: &str) {
        let mut state = self.0.lock().unwrap();
        state.cuts += 1;
        state.connections.retain(|(to, connection)| {
            if to == address {
                connection.abort();
            }
            to != address
        });
    }

    fn connector(&self) -> impl Connect + use<> {
        let network = self.clone();
        move |address: String| {
            let network = network.clone();
            async move { network.open(address).await }
        }
    }

    async fn open(&self, address: String) -> io::Result<DuplexStream> {
        let dialing = self.0.lock().unwrap().dialing;
        sleep(dialing).await;

        let mut state = self.0.lock().unwrap();
        let Some(host) = state.hosts.get(&address) else {
            return Err(io::ErrorKind::ConnectionRefused.into());
        };
        let (ours, near) = tokio::io::duplex(64 * 1024);
        let (far, theirs) = tokio::io::duplex(64 * 1024);
        let serving = tokio::spawn(host.serve_connection(theirs, "memory"));
        let wires = tokio::spawn(carry(near, far));

        for task in [serving.abort_handle(), wires.abort_handle()] {
            state.connections.push((address.clone(), task));
        }
        Ok(ours)
    }

    fn client(&self, target: &str, config: Config) -> SmsClient<Client> {
        let client = Client::builder(target)
            .connector(self.connector())
            .config(config)
            .build();
        SmsClient::new(client)
    }
}

/// Carries bytes both ways, until one of them ends.
async fn carry(near: DuplexStream, far: DuplexStream) {
    async fn one_way(mut from: ReadHalf<DuplexStream>, mut to: WriteHalf<DuplexStream>) {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut bytes).await {
            sleep(Duration::from_millis(fastrand::u64(0..3))).await;
            if to.write_all(&bytes[..count]).await.is_err() {
                return;
            }
        }
    }

    let (near_read, near_write) = tokio::io::split(near);
    let (far_read, far_write) = tokio::io::split(far);
    tokio::select! {
        () = one_way(near_read, far_write) => {}
        () = one_way(far_read, near_write) => {}
    }
}

/// Sends messages. Where the text says so it cuts its own connections before it answers.
#[derive(Clone)]
struct Gateway {
    network: Network,
    address: &'static str,
    sent: Arc<AtomicU64>,
    /// How often each text was sent.
    texts: Arc<Mutex<HashMap<String, u32>>>,
}

impl Gateway {
    fn new(network: &Network, address: &'static str) -> Self {
        Self {
            network: network.clone(),
            address,
            sent: Arc::default(),
            texts: Arc::default(),
        }
    }

    fn count(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }
}

impl Sms for Gateway {
    async fn send(&self, text: String) -> Result<u64, Status> {
        let number = self.sent.fetch_add(1, Ordering::SeqCst) + 1;
        *self.texts.lock().unwrap().entry(text.clone()).or_default() += 1;

        if text.contains("cut") {
            self.network.cut(self.address);
        }
        if text.contains("gone") {
            self.network.stop(self.address);
        }
        if text.contains("slow") {
            sleep(Duration::from_millis(500)).await;
        }
        Ok(number)
    }

    async fn sent(&self) -> Result<u64, Status> {
        Ok(self.count())
    }
}

/// One server that is older than all calls, and a client.
async fn one(keys: &Deduplicate) -> (Network, Gateway, SmsClient<Client>) {
    let network = Network::default();
    let gateway = Gateway::new(&network, "a:1");
    network.start("a:1", &gateway, keys).await;
    tokio::time::advance(Duration::from_secs(3_600)).await;
    let client = network.client("a:1", Config::default());
    (network, gateway, client)
}

/// Two servers that take turns.
async fn two(keys: [&Deduplicate; 2]) -> (Network, [Gateway; 2], SmsClient<Client>) {
    let network = Network::default();
    let gateways = ["a:1", "b:1"].map(|address| Gateway::new(&network, address));
    for (gateway, keys) in gateways.iter().zip(keys) {
        network.start(gateway.address, gateway, keys).await;
    }
    tokio::time::advance(Duration::from_secs(3_600)).await;

    let config = Config::default().with(|config| config.balance.policy = Balance::RoundRobin);
    let client = network.client("a:1,b:1", config);
    // Both are connected from here on.
    for _ in 0..4 {
        client.sent().await.unwrap();
        sleep(Duration::from_millis(50)).await;
    }
    (network, gateways, client)
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_cut_off_while_it_runs_is_repeated_and_attaches_to_itself() {
    let keys = Deduplicate::default();
    let (_network, gateway, client) = one(&keys).await;

    assert_eq!(client.send("cut, and slow".into()).await.unwrap(), 1);
    let stats = keys.stats();
    assert_eq!((gateway.count(), stats.ran, stats.attached), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_reply_was_lost_is_repeated_and_gets_it_replayed() {
    let keys = Deduplicate::default();
    let (_network, gateway, client) = one(&keys).await;

    assert_eq!(client.send("cut".into()).await.unwrap(), 1);
    let stats = keys.stats();
    assert_eq!((gateway.count(), stats.ran, stats.replayed), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_key_of_another_call_is_a_conflict_that_is_not_tried_again() {
    let keys = Deduplicate::default();
    let (_network, gateway, client) = one(&keys).await;

    let same_key = client.with(CallOptions::new().idempotency_key("mine"));
    assert_eq!(same_key.send("one".into()).await.unwrap(), 1);
    let error = same_key.send("other".into()).await.unwrap_err();
    assert_eq!(error.code(), Code::ALREADY_EXISTS);
    assert_eq!((gateway.count(), keys.stats().conflicts), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_repetition_says_its_age_and_is_refused_where_its_key_has_expired() {
    let keys = Deduplicate::new(DeduplicateConfig {
        age_max_ms: 100,
        ..DeduplicateConfig::default()
    });
    let (network, gateway, client) = one(&keys).await;
    client.sent().await.unwrap();
    network.0.lock().unwrap().dialing = Duration::from_millis(500);

    let error = client.send("cut".into()).await.unwrap_err();
    assert_eq!(error.code(), Code::FAILED_PRECONDITION, "{error}");
    assert!(!error.is_rejected(), "it has run");
    assert_eq!((gateway.count(), keys.stats().refused), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_repetition_is_refused_where_its_key_was_evicted() {
    let keys = Deduplicate::new(DeduplicateConfig {
        keys_per_identity: 1,
        ..DeduplicateConfig::default()
    });
    let (network, gateway, client) = one(&keys).await;
    let other = network.client("a:1", Config::default());
    client.sent().await.unwrap();
    network.0.lock().unwrap().dialing = Duration::from_millis(200);

    let cut_off = tokio::spawn(async move { client.send("cut".into()).await });
    while gateway.count() == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    network.0.lock().unwrap().dialing = Duration::ZERO;
    assert_eq!(other.send("another one".into()).await.unwrap(), 2);

    let error = cut_off.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::FAILED_PRECONDITION, "{error}");
    assert_eq!((gateway.count(), keys.stats().refused), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_is_not_repeated_at_a_server_that_was_restarted() {
    let (network, gateway, client) = one(&Deduplicate::default()).await;
    client.sent().await.unwrap();
    network.0.lock().unwrap().dialing = Duration::from_millis(100);

    let cut_off = tokio::spawn(async move { client.send("cut".into()).await });
    while gateway.count() == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    let after = Deduplicate::default();
    network.start("a:1", &gateway, &after).await;

    let error = cut_off.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::UNAVAILABLE, "{error}");
    assert!(!error.is_rejected(), "it has run");
    assert_eq!((gateway.count(), after.stats().ran), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn of_two_servers_a_call_is_repeated_at_the_one_that_has_seen_it() {
    for _ in 0..10 {
        let keys = [Deduplicate::default(), Deduplicate::default()];
        let (_network, gateways, client) = two([&keys[0], &keys[1]]).await;

        assert_eq!(client.send("cut, and slow".into()).await.unwrap(), 1);
        let ran: u64 = gateways.iter().map(Gateway::count).sum();
        let attached: u64 = keys.iter().map(|keys| keys.stats().attached).sum();
        assert_eq!((ran, attached), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_servers_the_other_one_is_not_asked_where_the_first_is_gone() {
    let keys = [Deduplicate::default(), Deduplicate::default()];
    let (_network, gateways, client) = two([&keys[0], &keys[1]]).await;

    let error = client.send("gone".into()).await.unwrap_err();
    assert_eq!(error.code(), Code::UNAVAILABLE, "{error}");
    assert!(!error.is_rejected(), "it has run");
    assert_eq!(gateways.iter().map(Gateway::count).sum::<u64>(), 1);
}

#[tokio::test(start_paused = true)]
async fn of_two_servers_that_share_a_store_the_other_one_answers_the_repetition() {
    let shared = Deduplicate::default();
    let (_network, gateways, client) = two([&shared, &shared]).await;

    assert_eq!(client.send("gone".into()).await.unwrap(), 1);
    assert_eq!(gateways.iter().map(Gateway::count).sum::<u64>(), 1);
    assert_eq!(shared.stats().replayed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_is_not_repeated_where_the_server_names_no_store() {
    let network = Network::default();
    let gateway = Gateway::new(&network, "a:1");
    let send = {
        let gateway = gateway.clone();
        move || {
            let gateway = gateway.clone();
            async move { gateway.send("cut".into()).await }
        }
    };
    network
        .host("a:1", Router::new().route(100, send).unwrap())
        .await;

    let client = network.client("a:1", Config::default());
    let error = client.send("cut".into()).await.unwrap_err();
    assert_eq!(error.code(), Code::UNAVAILABLE);
    assert!(!error.is_rejected(), "it has run");
    assert_eq!(gateway.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_keyed_call_has_no_backup_however_long_it_takes() {
    let keys = Deduplicate::default();
    let network = Network::default();
    let gateway = Gateway::new(&network, "a:1");
    network.start("a:1", &gateway, &keys).await;
    let client = network.client(
        "a:1",
        Config::default().with(|config| {
            config.hedge.percentile = 95;
            config.hedge.after_min_ms = 1;
            config.hedge.percent_max = 100;
            // Also where the settings call it idempotent.
            config.retry.idempotent_cmdids = vec![100];
        }),
    );
    // Enough is known for backups from here on.
    for _ in 0..200 {
        client.sent().await.unwrap();
    }

    client.send("slow".into()).await.unwrap();
    let stats = keys.stats();
    assert_eq!((stats.ran, stats.attached), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn of_1000_repetitions_of_a_keyed_call_over_connections_cut_at_random_the_handler_runs_once()
{
    let keys = Deduplicate::default();
    let (network, gateway, client) = one(&keys).await;
    let client = client.with(CallOptions::new().idempotency_key("the order"));
    let left = Arc::new(AtomicU64::new(1_000));

    let cutting = {
        let network = network.clone();
        tokio::spawn(async move {
            loop {
                sleep(Duration::from_millis(fastrand::u64(1..20))).await;
                network.cut("a:1");
            }
        })
    };
    let repeat = || {
        let (client, left) = (client.clone(), Arc::clone(&left));
        tokio::spawn(async move {
            let mut failed = 0;
            while left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                    left.checked_sub(1)
                })
                .is_ok()
            {
                // A call that the client gives up is repeated here.
                loop {
                    match client.send("slow".into()).await {
                        Ok(number) => break assert_eq!(number, 1),
                        Err(_) => failed += 1,
                    }
                }
            }
            failed
        })
    };
    let failed: u32 = join_all((0..64).map(|_| repeat()))
        .await
        .into_iter()
        .map(Result::unwrap)
        .sum();
    cutting.abort();

    let (stats, cuts) = (keys.stats(), network.0.lock().unwrap().cuts);
    assert_eq!((gateway.count(), stats.ran), (1, 1));
    assert!(
        stats.attached > 0 && stats.replayed > 500 && cuts > 10,
        "{stats:?} with {cuts} cuts and {failed} failures says little"
    );
}

/// What became of the calls of a run.
#[derive(Default)]
struct Outcomes {
    answered: u32,
    repeated: u64,
    doubtful: u32,
}

/// Two servers that are cut off, restarted and gone at random, and calls of a client meanwhile.
async fn at_random(seed: u64, outcomes: &mut Outcomes) {
    let network = Network::default();
    let gateways = ["a:1", "b:1"].map(|address| Gateway::new(&network, address));
    let mut stores = Vec::new();
    for gateway in &gateways {
        let keys = Deduplicate::default();
        network.start(gateway.address, gateway, &keys).await;
        stores.push(keys);
    }
    // Older than all calls, so that it is not their age that keeps a wrong server from running one.
    tokio::time::advance(Duration::from_secs(3_600)).await;
    let client = network.client("a:1,b:1", Config::default());

    let calls = (0..16).map(|number| {
        let client = client.clone();
        tokio::spawn(async move {
            sleep(Duration::from_millis(fastrand::u64(0..300))).await;
            let pace = if number % 2 == 0 { "slow" } else { "" };
            let text = format!("{number} {pace}");
            let outcome = client.send(text.clone()).await;
            (text, outcome)
        })
    });
    let calls: Vec<_> = calls.collect();

    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..12 {
        sleep(Duration::from_millis(random.u64(0..60))).await;
        let gateway = &gateways[random.usize(0..2)];
        match random.u8(0..6) {
            0..4 => network.cut(gateway.address),
            4 => network.stop(gateway.address),
            _ => {
                // As a process that was killed, its keys are gone.
                network.stop(gateway.address);
                let keys = Deduplicate::default();
                network.start(gateway.address, gateway, &keys).await;
                stores.push(keys);
            }
        }
    }

    for (text, outcome) in join_all(calls).await.into_iter().map(Result::unwrap) {
        let runs = gateways.each_ref().map(|gateway| {
            let texts = gateway.texts.lock().unwrap();
            texts.get(&text).copied().unwrap_or_default()
        });
        let runs: u32 = runs.iter().sum();

        match outcome {
            Ok(_) => assert_eq!(runs, 1, "seed {seed}: `{text}` was answered"),
            Err(status) if status.is_rejected() => {
                assert_eq!(runs, 0, "seed {seed}: `{text}` was rejected");
            }
            Err(status) => {
                assert!(
                    runs <= 1,
                    "seed {seed}: `{text}` ran {runs} times: {status}"
                );
                outcomes.doubtful += 1;
                continue;
            }
        }
        outcomes.answered += u32::from(runs == 1);
    }
    let stats = stores.iter().map(Deduplicate::stats);
    outcomes.repeated += stats
        .map(|stats| stats.attached + stats.replayed)
        .sum::<u64>();
}

#[tokio::test(start_paused = true)]
async fn whatever_becomes_of_two_servers_no_keyed_call_runs_twice_and_what_is_said_of_it_is_true() {
    let mut outcomes = Outcomes::default();
    for seed in 0..100 {
        fastrand::seed(seed);
        at_random(seed, &mut outcomes).await;
    }

    let Outcomes {
        answered,
        repeated,
        doubtful,
    } = outcomes;
    assert!(
        answered > 500 && repeated > 50 && doubtful > 0,
        "{answered} answered, {repeated} repeated and {doubtful} in doubt say little"
    );
}
