//! `sms`: accepts text messages to disk, has gateways send them, and follows them.

use std::path::Path;

use rpc_server::blocking::{BlockingPool, Caller};
use rpc_sms::config::SmsSettings;
use rpc_sms::outbox::{OpenError, Outbox};
use rpc_sms::receipts::{ReceiptListener, ReceiptPaths};

use crate::DaemonError;

/// The commands of the service.
#[cfg(feature = "program")]
pub(crate) fn commands() -> Vec<u32> {
    let descriptors = rpc_sms::service::SmsService::descriptors();
    descriptors
        .iter()
        .map(|command| command.cmdid.number())
        .collect()
}

/// The SMS service, open and bound, and not started yet.
pub(crate) struct Opened {
    pub(crate) outbox: Outbox,
    pub(crate) receipts: Option<ReceiptListener>,
}

impl Opened {
    /// Begins to send what waits, and to take receipts.
    pub(crate) fn start(&mut self) {
        self.outbox.start();
        if let Some(receipts) = self.receipts.take() {
            receipts.start(&self.outbox);
        }
    }
}

/// Opens the outbox and binds the listener for receipts. Nothing is sent before it is started.
pub(crate) async fn open(
    data_dir: &Path,
    settings: &SmsSettings,
    pool: &BlockingPool,
) -> Result<Opened, DaemonError> {
    let failed = |error: OpenError| DaemonError::Store(Box::new(error));
    let (dir, known, threads) = (data_dir.to_owned(), settings.clone(), pool.clone());

    // It recovers what was being sent, counts what waits, and reads secrets.
    let opening = pool.run(Caller::default(), move |_| {
        let paths = ReceiptPaths::of(&known)?;
        Ok((Outbox::open(&dir, &known, &threads)?, paths))
    });
    let opened = opening
        .await
        .map_err(|error| DaemonError::Store(Box::new(error)))?;
    let (outbox, paths) = opened.map_err(failed)?;

    let receipts = match settings.receipts.listen.as_str() {
        "" => None,
        address => Some(
            ReceiptListener::bind(address, paths)
                .await
                .map_err(failed)?,
        ),
    };
    Ok(Opened { outbox, receipts })
}
