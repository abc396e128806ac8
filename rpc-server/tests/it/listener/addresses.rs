//! Addresses that are bound, or cannot be.

use std::io::ErrorKind;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rpc_server::{BoundAddress, Config, ListenOptions, Server};
use tokio::net::{TcpStream, UnixStream};

use super::bind;
use crate::logged::Logged;
use crate::rig::Rig;
use crate::support::{Client, TestServer};

#[tokio::test]
async fn addresses_that_cannot_be_bound_are_named() {
    let taken = bind("127.0.0.1:0").await.unwrap().addresses()[0].clone();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken_by_other = other.local_addr().unwrap().to_string();
    assert!(taken.tcp().is_some());
    for address in [
        taken_by_other.as_str(),
        "127.0.0.1",
        "nonsense",
        "127.0.0.1:99999",
        "unix:/nowhere/socket",
    ] {
        let error = bind(address).await.err().expect("it cannot be bound");
        assert!(
            error
                .to_string()
                .starts_with(&format!("cannot listen on {address}: ")),
            "{error}"
        );
    }
    assert_eq!(
        bind(&taken_by_other).await.err().unwrap().kind(),
        ErrorKind::AddrInUse
    );
    let zero = Config::default().with(|config| config.limits.connections_max = 0);
    let error = Server::builder().config(zero).bind().await.err().unwrap();
    assert!(
        error.to_string().contains("`limits.connections_max` is 0"),
        "{error}"
    );
}

#[tokio::test]
async fn one_server_listens_on_several_addresses_by_name_too() {
    let server = Server::builder()
        .listen("127.0.0.1:0")
        .listen("localhost:0")
        .router(Rig::new().router())
        .bind()
        .await
        .unwrap();
    let addresses: Vec<_> = server
        .addresses()
        .iter()
        .map(|address| address.tcp().unwrap())
        .collect();
    assert_eq!(addresses.len(), 2);
    assert!(addresses.iter().all(|address| address.port() != 0));
    let _serving = TestServer::of(server);
    for address in addresses {
        let mut client = Client::new(TcpStream::connect(address).await.unwrap());
        assert_eq!(client.ask("{\"cmdid\":0,\"params\":1}").await["data"], 1);
    }
}

async fn ping(path: &Path) {
    let mut client = Client::new(UnixStream::connect(path).await.unwrap());
    assert_eq!(client.ask("{\"cmdid\":0,\"params\":1}").await["data"], 1);
}

#[tokio::test]
async fn a_socket_file_without_a_listener_is_replaced_and_a_living_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let address = format!("unix:{}", path.display());
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "as a killed server leaves it");
    let server = bind(&address).await.unwrap();
    assert_eq!(server.addresses(), [BoundAddress::Unix(path.clone())]);
    assert_eq!(server.addresses()[0].to_string(), address);
    let error = bind(&address).await.err().expect("it is taken");
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(
        error.to_string().contains("another process listens there"),
        "{error}"
    );
    let mut server = TestServer::of(server);
    ping(&path).await;
    server.begin_to_drain();
    server.drained().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn a_server_that_ends_leaves_the_socket_file_of_its_successor() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let address = format!("unix:{}", path.display());

    // Drained, and dropped without being served.
    for is_served in [true, false] {
        let old = bind(&address).await.unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut successor = TestServer::of(bind(&address).await.unwrap());

        if is_served {
            let mut old = TestServer::of(old);
            old.begin_to_drain();
            old.drained().await;
        } else {
            drop(old);
        }

        ping(&path).await;
        successor.begin_to_drain();
        successor.drained().await;
        assert!(!path.exists());
    }
}

#[tokio::test]
async fn a_socket_whose_queue_is_full_is_not_taken_for_a_stale_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let unix = || socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    let at_path = socket2::SockAddr::unix(&path).unwrap();

    let busy = unix();
    busy.bind(&at_path).unwrap();
    busy.listen(0).unwrap();

    let mut waiting = Vec::new();
    let full = loop {
        let client = unix();
        client.set_nonblocking(true).unwrap();
        match client.connect(&at_path) {
            Ok(()) => waiting.push(client),
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock);

    let error = bind(&format!("unix:{}", path.display()))
        .await
        .err()
        .expect("it is taken");
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(
        error.to_string().contains("another process may listen"),
        "{error}"
    );

    // The file still leads to the socket that was there.
    for _ in &waiting {
        busy.accept().unwrap();
    }
    UnixStream::connect(&path).await.unwrap();
}

#[tokio::test]
async fn each_address_that_is_bound_is_logged() {
    let logged = Logged::begin();
    let directory = tempfile::tempdir().unwrap();
    let server = Server::builder()
        .listen("127.0.0.1:0")
        .listen(format!(
            "unix:{}",
            directory.path().join("socket").display()
        ))
        .bind()
        .await
        .unwrap();

    let text = logged.text();
    assert_eq!(server.addresses().len(), 2);
    for address in server.addresses() {
        assert!(
            text.contains(&format!("listening on {address} address={address}")),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("precious");
    std::fs::write(&path, "years of work").unwrap();
    let error = bind(&format!("unix:{}", path.display()))
        .await
        .err()
        .expect("it cannot be bound");
    assert!(
        error.to_string().contains("precious") && error.to_string().contains("not a socket"),
        "{error}"
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "years of work");
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error_for_workers_too() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let bound = Server::builder().listen(&address).workers(2).bind().await;
    let Err(error) = bound else {
        panic!("it was bound")
    };
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&address), "{error}");
}

#[tokio::test]
async fn an_address_that_others_reach_is_not_bound_without_protection_or_a_word_that_this_is_right()
{
    let bare = || ListenOptions::new("0.0.0.0:0");
    let error = Server::builder()
        .listen_with(bare())
        .bind()
        .await
        .err()
        .expect("nothing protects it");
    assert!(
        error
            .to_string()
            .contains("which has neither TLS nor authentication"),
        "{error}"
    );
    let inherited = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let refused = Server::builder()
        .listener_with(inherited, bare())
        .bind()
        .await
        .err();
    assert!(refused.is_some_and(|error| error.to_string().contains("`allow_plaintext = true`")));
    for protected in [
        bare().allow_plaintext(true),
        bare().require_authentication(true),
    ] {
        assert!(
            Server::builder()
                .listen_with(protected)
                .bind()
                .await
                .is_ok()
        );
    }
    let local = Server::builder().listen_with(ListenOptions::new("127.0.0.1:0"));
    assert!(local.bind().await.is_ok());
}
