//! A peer that is gone under TLS, while the server does not read from it.

use rpc_server::{ClientCertificates, Config};

use super::authority::{Authority, Holds};
use super::{HOST, TlsServer};
use crate::gone::{fill, is_left, reset};
use crate::rig::{HOLD, Rig};
use crate::sockets::{patient, until};
use crate::support::call;

#[tokio::test]
async fn a_reset_is_seen_under_tls_where_the_connection_is_full_or_its_peer_has_ended_its_side() {
    let (rig, ca) = (Rig::new(), Authority::new("servers"));
    let one = Config::default().with(|config| config.admission.in_flight_per_connection = 1);
    let pair = ca.server(HOST, Holds::Now);
    let asks = ClientCertificates::Off;
    let server = TlsServer::serving(rig.router(), patient(one), &pair, None, asks).await;

    let mut peer = server.connect(&ca, None).await.unwrap();
    fill(&mut peer, &rig).await;
    reset(peer.io.get_ref().get_ref().0);
    drop(peer);
    is_left(&server.server).await;

    let mut peer = server.connect(&ca, None).await.unwrap();
    peer.send(call(1, HOLD, "")).await;
    peer.half_close().await;
    until(|| rig.probe.running() > 0).await;
    reset(peer.io.get_ref().get_ref().0);
    drop(peer);
    is_left(&server.server).await;
    assert_eq!(rig.probe.running(), 0);

    // Without a reset it looks like one that waits for its reply.
    let mut peer = server.connect(&ca, None).await.unwrap();
    peer.send(call(1, HOLD, "")).await;
    peer.half_close().await;
    until(|| rig.probe.running() > 0).await;
    drop(peer);
    is_left(&server.server).await;
    assert_eq!(rig.probe.running(), 0);
}
