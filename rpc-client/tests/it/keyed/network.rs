//! Servers and a client on a network whose connections are cut.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rpc_client::{Balance, Client, Config, Connect, Status, service};
use rpc_server::layers::Deduplicate;
use rpc_server::{Router, Server, ServerHandle};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::task::AbortHandle;
use tokio::time::sleep;

/// Sends messages.
#[service]
pub(super) trait Sms {
    /// Sends a message; answers how many there were before it, and itself.
    #[rpc(cmdid = 100, dedup, timeout_ms = 20000)]
    async fn send(&self, text: String) -> Result<u64, Status>;

    /// How many messages were sent.
    #[rpc(cmdid = 101, idempotent)]
    async fn sent(&self) -> Result<u64, Status>;
}

/// Hosts by their addresses, and the connections to them. Bytes take up to 3 ms.
#[derive(Clone, Default)]
pub(super) struct Network(pub(super) Arc<Mutex<State>>);

#[derive(Default)]
pub(super) struct State {
    hosts: HashMap<String, ServerHandle>,
    connections: Vec<(String, AbortHandle)>,
    /// Time that opening a connection takes.
    pub(super) dialing: Duration,
    pub(super) cuts: u32,
}

impl Network {
    /// Starts a server at an address, instead of the one that was there.
    pub(super) async fn start(&self, address: &str, gateway: &Gateway, keys: &Deduplicate) {
        let router = Router::new().deduplicate(keys.clone());
        let router = router.serve(SmsServer(gateway.clone())).unwrap();
        self.host(address, router).await;
    }

    pub(super) async fn host(&self, address: &str, router: Router) {
        let server = Server::builder().router(router).bind().await.unwrap();
        let mut state = self.0.lock().unwrap();
        state.hosts.insert(address.to_owned(), server.handle());
    }

    pub(super) fn stop(&self, address: &str) {
        self.0.lock().unwrap().hosts.remove(address);
        self.cut(address);
    }

    /// Cuts the connections to an address.
    pub(super) fn cut(&self, address: &str) {
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

    pub(super) fn client(&self, target: &str, config: Config) -> SmsClient<Client> {
        SmsClient::new(self.untyped(target, config))
    }

    pub(super) fn untyped(&self, target: &str, config: Config) -> Client {
        Client::builder(target)
            .connector(self.connector())
            .config(config)
            .build()
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
pub(super) struct Gateway {
    network: Network,
    pub(super) address: &'static str,
    sent: Arc<AtomicU64>,
    /// How often each text was sent.
    pub(super) texts: Arc<Mutex<HashMap<String, u32>>>,
}

impl Gateway {
    pub(super) fn new(network: &Network, address: &'static str) -> Self {
        Self {
            network: network.clone(),
            address,
            sent: Arc::default(),
            texts: Arc::default(),
        }
    }

    pub(super) fn count(&self) -> u64 {
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
pub(super) async fn one(keys: &Deduplicate) -> (Network, Gateway, SmsClient<Client>) {
    let network = Network::default();
    let gateway = Gateway::new(&network, "a:1");
    network.start("a:1", &gateway, keys).await;
    tokio::time::advance(Duration::from_secs(3_600)).await;
    let client = network.client("a:1", Config::default());
    (network, gateway, client)
}

/// Two servers that take turns.
pub(super) async fn two(keys: [&Deduplicate; 2]) -> (Network, [Gateway; 2], SmsClient<Client>) {
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
