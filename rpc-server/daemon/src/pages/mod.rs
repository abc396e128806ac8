//! Pages of the daemon's services for people, beside the status page.

use rpc_core::api::log::READ;
#[cfg(feature = "sms")]
use rpc_core::api::sms::SmsService;
use rpc_server::AdminPage;

use crate::config::ServiceName;

const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

/// The pages of these services.
pub(crate) fn of(services: &[ServiceName]) -> Vec<AdminPage> {
    let page = |service: &ServiceName| match service {
        ServiceName::Log => Some(logs()),
        #[cfg(feature = "sms")]
        ServiceName::Sms => Some(sms()),
        ServiceName::Test | ServiceName::Conformance => None,
    };
    services.iter().filter_map(page).collect()
}

/// The page of the log: search, live entries, a histogram.
fn logs() -> AdminPage {
    AdminPage::new("/logs", "Logs", include_str!("logs.html"))
        .file(
            "/logs.css",
            CSS,
            concat!(include_str!("shared.css"), include_str!("logs.css")),
        )
        .file(
            "/logs.js",
            JS,
            concat!(include_str!("shared.js"), include_str!("logs.js")),
        )
        .calls([READ])
}

/// The page of the outbox: gateways, messages whose outcome is not known, the newest messages.
#[cfg(feature = "sms")]
fn sms() -> AdminPage {
    AdminPage::new("/sms", "SMS", include_str!("sms.html"))
        .file(
            "/sms.css",
            CSS,
            concat!(include_str!("shared.css"), include_str!("sms.css")),
        )
        .file(
            "/sms.js",
            JS,
            concat!(include_str!("shared.js"), include_str!("sms.js")),
        )
        .calls([SmsService::LIST, SmsService::GATEWAYS])
}
