//! Shippers of plain threads, over TCP.

use std::future::pending;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use rpc_client::Client;
use rpc_client::log::{BlockingShipper, Shipper, ShipperConfig};
use rpc_server::Server;

use super::{LONG, Log, entry, small_batches};

/// The log on a port of its own, for as long as the runtime is kept.
pub(super) fn serve(log: &Log) -> (tokio::runtime::Runtime, String) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let server = runtime.block_on(async {
        let server = Server::builder().listen("127.0.0.1:0").router(log.router());
        server.bind().await.unwrap()
    });
    let address = server.addresses()[0].to_string();
    runtime.spawn(server.serve(pending()));
    (runtime, address)
}

#[test]
fn threads_share_a_shipper_and_each_entry_is_in_the_log_once() {
    let log = Log::default();
    let (_runtime, address) = serve(&log);
    let shipper =
        BlockingShipper::start(Client::builder(&*address), "order", small_batches()).unwrap();

    std::thread::scope(|scope| {
        for thread in 0..4 {
            let shipper = shipper.clone();
            scope.spawn(move || {
                for number in 0..500 {
                    shipper.push(&entry(thread * 500 + number)).unwrap();
                }
            });
        }
    });
    assert_eq!(shipper.flush(LONG).unsent, 0);
    assert_eq!(log.each_once().len(), 2_000);

    let end = shipper.close(LONG);
    assert_eq!((end.sent, end.dropped), (2_000, 0));
}

#[test]
fn a_blocking_close_ends_by_its_deadline_if_the_log_does_not_answer() {
    // It accepts, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let client = Client::builder(&*address);
    let shipper = BlockingShipper::start(client, "order", ShipperConfig::default()).unwrap();
    shipper.push(&entry(0)).unwrap();

    let started = Instant::now();
    assert_eq!(shipper.flush(Duration::from_millis(50)).unsent, 1);
    let end = shipper.close(Duration::from_millis(100));
    assert_eq!(end.unsent, 1);
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_shipper_whose_runtime_has_ended_says_what_it_could_not_send() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let log = Log::default();
    log.go_down();
    let shipper: Shipper = runtime.block_on(log.shipper(ShipperConfig::default()));
    shipper.push(&entry(0)).unwrap();
    drop(runtime);

    assert!(shipper.push(&entry(1)).is_err());
    let other = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let end = other.block_on(shipper.close(LONG));
    assert_eq!((end.unsent, end.dropped), (1, 1));
}
