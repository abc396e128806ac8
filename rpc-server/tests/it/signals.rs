//! Signals to the process.

use std::process::Command;

use rpc_server::{Router, Server, shutdown_signal};

use crate::support::PATIENCE;

fn kill(signal: &str) {
    let status = Command::new("kill")
        .arg(format!("-{signal}"))
        .arg(std::process::id().to_string())
        .status()
        .unwrap();
    assert!(status.success(), "kill -{signal}: {status}");
}

/// In one test, as its signals reach the whole process.
#[tokio::test]
async fn a_server_drains_at_sigterm_and_at_sigint_also_when_they_come_before_the_first_poll() {
    for signal in ["TERM", "INT"] {
        let server = Server::builder()
            .router(Router::new())
            .bind()
            .await
            .unwrap();
        let shutdown = shutdown_signal();
        kill(signal);

        let drained = tokio::time::timeout(PATIENCE, server.serve(shutdown)).await;
        assert!(
            drained.expect("the signal is seen").unwrap().is_clean,
            "{signal}"
        );
    }
}
