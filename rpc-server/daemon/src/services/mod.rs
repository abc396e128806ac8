//! The commands that the daemon serves, one file a service.

pub(super) mod conformance;
pub(super) mod log;
#[cfg(feature = "sms")]
pub(super) mod sms;
pub(super) mod test;

#[cfg(feature = "program")]
use rpc_server::{CmdId, RouteError, Router};

#[cfg(feature = "program")]
use crate::config::ServiceName;

/// The commands of a service. Its store is not opened for that.
#[cfg(feature = "program")]
pub(super) fn commands(service: ServiceName) -> Vec<u32> {
    fn of<S>(router: Result<Router<S>, RouteError>) -> Vec<u32>
    where
        S: Clone + Send + Sync + 'static,
    {
        let router = router.expect("its commands fit together, as each start of the daemon shows");
        let descriptors = router.descriptors();
        descriptors
            .iter()
            .map(|command| command.cmdid.number())
            .collect()
    }

    match service {
        ServiceName::Log => log::COMMANDS.map(CmdId::number).to_vec(),
        #[cfg(feature = "sms")]
        ServiceName::Sms => sms::commands(),
        ServiceName::Test => of(test::router()),
        ServiceName::Conformance => of(conformance::router()),
    }
}
