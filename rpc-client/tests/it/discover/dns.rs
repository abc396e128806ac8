//! Endpoints out of DNS, asked for over UDP from a server of the test's own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData, Record};
use tokio::net::UdpSocket;
use tokio::sync::watch;

use super::{Endpoints, eager};
use crate::support::{Seen, tcp};
use rpc_client::{Client, Config};

/// Answers each question out of its zone; what is not there does not exist.
#[derive(Clone)]
struct DnsServer {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    /// How many questions have come.
    asked: watch::Receiver<u64>,
}

#[derive(Default)]
struct Zone {
    records: BTreeMap<String, Vec<RData>>,
    ttl: u32,
    is_broken: bool,
}

impl DnsServer {
    async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let zone = Arc::<Mutex<Zone>>::default();
        let (count, asked) = watch::channel(0);
        let answers = Arc::clone(&zone);
        tokio::spawn(async move {
            let mut packet = [0; 4096];
            loop {
                let (length, peer) = socket.recv_from(&mut packet).await.unwrap();
                let question = Message::from_vec(&packet[..length]).unwrap();
                let answer = answers.lock().unwrap().answer(&question);
                count.send_modify(|count| *count += 1);
                socket
                    .send_to(&answer.to_vec().unwrap(), peer)
                    .await
                    .unwrap();
            }
        });
        Self {
            address,
            zone,
            asked,
        }
    }

    fn set(&self, name: &str, records: impl IntoIterator<Item = RData>) {
        self.zone
            .lock()
            .unwrap()
            .records
            .insert(name.to_owned(), records.into_iter().collect());
    }

    fn set_ttl(&self, seconds: u32) {
        self.zone.lock().unwrap().ttl = seconds;
    }

    fn fail(&self) {
        self.zone.lock().unwrap().is_broken = true;
    }

    fn recover(&self) {
        self.zone.lock().unwrap().is_broken = false;
    }

    async fn is_asked(&self, times: u64) {
        let mut asked = self.asked.clone();
        let until = *asked.borrow() + times;
        asked.wait_for(|asked| *asked >= until).await.unwrap();
    }

    fn endpoints(&self, scheme: &str, rest: &str, config: Config) -> Endpoints {
        Endpoints::of(&format!("{scheme}://{}/{rest}", self.address), config)
    }
}

impl Zone {
    fn answer(&self, question: &Message) -> Message {
        let query = question.queries[0].clone();
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        let name = query.name().to_string().to_lowercase();
        match self.records.get(name.trim_end_matches('.')) {
            _ if self.is_broken => answer.metadata.response_code = ResponseCode::ServFail,
            None => answer.metadata.response_code = ResponseCode::NXDomain,
            Some(records) => {
                for data in records
                    .iter()
                    .filter(|data| data.record_type() == query.query_type())
                {
                    answer.add_answer(Record::from_rdata(
                        query.name().clone(),
                        self.ttl,
                        data.clone(),
                    ));
                }
            }
        }
        answer.add_query(query);
        answer
    }
}

fn ip(text: &str) -> RData {
    RData::from(text.parse::<std::net::IpAddr>().unwrap())
}

fn srv(priority: u16, weight: u16, port: u16, host: &str) -> RData {
    RData::SRV(SRV::new(
        priority,
        weight,
        port,
        Name::from_ascii(host).unwrap(),
    ))
}

#[tokio::test]
async fn a_host_has_all_its_addresses_and_each_change_of_them_is_found() {
    let dns = DnsServer::start().await;
    dns.set("log.test", [ip("10.0.0.2"), ip("10.0.0.1"), ip("fd00::1")]);
    let mut endpoints = dns.endpoints("dns", "log.test:8889", eager());
    assert_eq!(
        endpoints.next().await,
        ["10.0.0.1:8889", "10.0.0.2:8889", "[fd00::1]:8889"]
    );
    dns.set("log.test", [ip("10.0.0.3")]);
    assert_eq!(endpoints.next().await, ["10.0.0.3:8889"]);
}

#[tokio::test]
async fn the_last_good_answer_stays_while_dns_fails_or_forgets_the_host() {
    let dns = DnsServer::start().await;
    dns.set("log.test", [ip("10.0.0.1")]);
    let mut endpoints = dns.endpoints("dns", "log.test:1", eager());
    assert_eq!(endpoints.next().await, ["10.0.0.1:1"]);
    dns.fail();
    dns.is_asked(12).await;
    dns.zone.lock().unwrap().records.clear();
    dns.recover();
    dns.is_asked(12).await;
    dns.set("log.test", [ip("10.0.0.2")]);
    assert_eq!(
        endpoints.next().await,
        ["10.0.0.2:1"],
        "no other list came between"
    );
}

#[tokio::test]
async fn a_host_that_comes_later_is_found_and_until_then_the_reason_is_told() {
    let dns = DnsServer::start().await;
    let mut endpoints = dns.endpoints("dns", "log.test:1", eager());
    let error = endpoints.next_error().await;
    assert!(
        error.starts_with("cannot find the endpoints of dns://127.0.0.1:"),
        "{error}"
    );
    assert!(error.contains("log.test"), "{error}");
    dns.set("log.test", [ip("10.0.0.1")]);
    loop {
        match endpoints.item().await {
            Ok(found) => break assert_eq!(&*found[0].text, "10.0.0.1:1"),
            Err(error) => assert!(error.to_string().contains("log.test"), "{error}"),
        }
    }
}

#[tokio::test]
async fn an_answer_is_asked_for_again_when_its_time_is_over_but_not_before() {
    let dns = DnsServer::start().await;
    dns.set("log.test", [ip("10.0.0.1")]);
    // What holds for a second is asked for after a second, though the interval is an hour.
    dns.set_ttl(1);
    let hour = Config::default().with(|config| {
        config.discovery.resolve_interval_ms = 3_600_000;
        config.discovery.resolve_interval_min_ms = 1;
    });
    let begun = Instant::now();
    let mut endpoints = dns.endpoints("dns", "log.test:1", hour);
    assert_eq!(endpoints.next().await, ["10.0.0.1:1"]);
    dns.is_asked(1).await;
    assert!(
        begun.elapsed() > Duration::from_millis(900),
        "{:?}",
        begun.elapsed()
    );
    drop(endpoints);
    // What holds for an hour is asked for after the interval.
    dns.set_ttl(3600);
    let mut endpoints = dns.endpoints("dns", "log.test:1", eager());
    assert_eq!(endpoints.next().await, ["10.0.0.1:1"]);
    dns.is_asked(6).await;
}

#[tokio::test]
async fn srv_records_give_hosts_ports_priorities_and_weights() {
    let dns = DnsServer::start().await;
    dns.set("a.test", [ip("10.0.0.1")]);
    dns.set("b.test", [ip("10.0.0.2"), ip("10.0.0.3")]);
    dns.set(
        "_rpc._tcp.log.test",
        [
            srv(0, 3, 8001, "a.test."),
            srv(1, 0, 8002, "b.test."),
            srv(0, 1, 8003, "gone.test."),
        ],
    );
    let mut endpoints = dns.endpoints("srv", "_rpc._tcp.log.test", eager());
    // The host that is not there leaves the others.
    let expected = [
        "10.0.0.1:8001 0 3",
        "10.0.0.2:8002 1 0",
        "10.0.0.3:8002 1 0",
    ];
    assert_eq!(endpoints.next().await, expected);
    dns.set("gone.test", [ip("10.0.0.4")]);
    let expected = [
        "10.0.0.1:8001 0 3",
        "10.0.0.4:8003",
        "10.0.0.2:8002 1 0",
        "10.0.0.3:8002 1 0",
    ];
    assert_eq!(endpoints.next().await, expected);
}

#[tokio::test]
async fn a_service_that_says_it_is_not_there_has_no_endpoints() {
    let dns = DnsServer::start().await;
    dns.set("_rpc._tcp.log.test", [srv(0, 0, 0, ".")]);
    let error = dns
        .endpoints("srv", "_rpc._tcp.log.test", eager())
        .next_error()
        .await;
    assert!(error.contains("the list is empty"), "{error}");
    dns.set("_rpc._tcp.log.test", [srv(0, 0, 1, "gone.test.")]);
    let error = dns
        .endpoints("srv", "_rpc._tcp.log.test", eager())
        .next_error()
        .await;
    assert!(error.contains("gone.test"), "{error}");
}

#[tokio::test]
async fn the_systems_lookup_needs_no_server_of_its_own() {
    let mut endpoints = Endpoints::of("dns:localhost:8889", Config::default());
    let found = endpoints.next().await;
    assert!(
        found.iter().any(|address| address == "127.0.0.1:8889"),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_client_calls_a_service_by_its_srv_records() {
    let (address, server) = tcp(Seen::default()).await;
    let port = address.rsplit_once(':').unwrap().1.parse().unwrap();
    let dns = DnsServer::start().await;
    dns.set("here.test", [ip("127.0.0.1")]);
    dns.set("_rpc._tcp.log.test", [srv(0, 1, port, "here.test.")]);
    let client = Client::new(format!("srv://{}/_rpc._tcp.log.test", dns.address));
    assert_eq!(
        client
            .call::<_, u64>(102, &serde_json::json!({}))
            .await
            .unwrap(),
        1
    );
    assert_eq!(server.stats().connections_accepted, 1);
}
