//! `sms`: accepts text messages to disk, has gateways send them, and follows them.

use std::path::Path;

use rpc_server::blocking::{BlockingPool, Caller};
use rpc_sms::config::SmsSettings;
use rpc_sms::outbox::Outbox;

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

/// Opens the outbox. Nothing is sent before it is started.
pub(crate) async fn open(
    data_dir: &Path,
    settings: &SmsSettings,
    pool: &BlockingPool,
) -> Result<Outbox, DaemonError> {
    let (dir, settings, threads) = (data_dir.to_owned(), settings.clone(), pool.clone());

    // It recovers what was being sent, and counts what waits.
    let opening = pool.run(Caller::default(), move |_| {
        Outbox::open(&dir, &settings, &threads)
    });
    let opened = opening
        .await
        .map_err(|error| DaemonError::Store(Box::new(error)))?;
    opened.map_err(|error| DaemonError::Store(Box::new(error)))
}
