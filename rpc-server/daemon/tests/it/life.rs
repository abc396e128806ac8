//! One daemon after another on the same data directory.

use std::path::Path;

use rpc_daemon::{Daemon, DaemonConfig};
use tokio::io::DuplexStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::Client;

/// A daemon on a directory that outlives it, and a client of it.
pub(crate) struct Life {
    pub(crate) client: Client<DuplexStream>,
    /// Where it listens for syslog.
    pub(crate) syslog: Vec<String>,
    /// `None` once it was told to stop.
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

impl Life {
    pub(crate) async fn on(data: &Path) -> Self {
        Self::with(data, DaemonConfig::default()).await
    }

    pub(crate) async fn with(data: &Path, config: DaemonConfig) -> Self {
        let config = DaemonConfig {
            listen: vec!["127.0.0.1:0".into()],
            data_dir: data.to_owned(),
            ..config
        };
        let daemon = Daemon::bind(&config).await.unwrap();
        let syslog = daemon.syslog_addresses();
        let (near, far) = tokio::io::duplex(64 * 1024);
        tokio::spawn(daemon.handle().serve_connection(far, "pipe"));

        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(async {
            daemon.run(async { drop(stopped.await) }).await.unwrap();
        });

        Self {
            client: Client::new(near),
            syslog,
            stop: Some(stop),
            running,
        }
    }

    /// Tells the daemon to stop, if it was not told before.
    pub(crate) fn begin_to_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send(()).expect("the daemon still runs");
        }
    }

    /// Stops the daemon gracefully, so that another one finds what it has left.
    pub(crate) async fn end(mut self) {
        self.begin_to_stop();
        drop(self.client);
        self.running.await.unwrap();
    }
}
