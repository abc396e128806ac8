//! The network between a service and its daemon is lost.

use rpc_client::blocking::Client;

use super::super::ship::{last, wait_for};
use super::network::Network;
use super::{Service, assert_logged_or_told, logged};
use crate::support::Server;

#[test]
fn a_service_whose_network_holds_up_all_counts_in_the_log_what_it_had_to_drop() {
    for is_cut in [false, true] {
        let server = Server::start();
        let network = Network::to(&server.address);
        let mut service = Service::start(&network.address);
        service.does("log 100");
        service.does("flush");

        network.hold();
        service.does("log 5000");
        service.does("try");
        if is_cut {
            network.cut();
        }
        network.heal();
        service.does("flush");
        service.does("log 10");
        let [_, dropped, unsent] = service.terminate();

        assert!(dropped >= 3_000, "{dropped}");
        assert_eq!(unsent, 0);
        assert_logged_or_told(&server, dropped, 5_110, 100);
    }
}

#[test]
fn a_service_whose_network_loses_the_answers_has_each_of_its_events_in_the_log_once() {
    let server = Server::start();
    let client = Client::new(&*server.address);
    let network = Network::to(&server.address);
    let mut service = Service::start(&network.address);
    for round in 1..=4 {
        network.hold_answers();
        service.does("log 500");
        // The log has them, and the service does not know.
        service.does("try");
        wait_for(&client, 500 * (round - 1) + 1);
        network.cut();
        network.heal();
        service.does("flush");
        assert_eq!(last(&client), 500 * round);
    }
    assert_eq!(service.terminate(), [2_000, 0, 0]);

    let (mut numbers, told) = logged(&server);
    numbers.sort_unstable();
    assert_eq!((numbers, told), ((1..=2_000).collect(), 0));
}

#[test]
fn a_service_that_gets_sigterm_while_its_network_is_away_ends_in_its_time_and_says_what_is_left() {
    let server = Server::start();
    let network = Network::to(&server.address);
    let mut service = Service::start(&network.address);
    service.does("log 100");
    service.does("flush");
    service.does("hurry");

    network.hold();
    service.does("log 300");
    assert_eq!(service.terminate(), [100, 0, 300]);

    // What was under way then may come, and nothing comes twice.
    network.heal();
    let (mut numbers, told) = logged(&server);
    numbers.sort_unstable();
    assert!(numbers.is_sorted_by(|a, b| a < b) && numbers.len() >= 100);
    assert_eq!(told, 0);
}
