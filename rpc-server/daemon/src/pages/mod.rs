//! Pages of the daemon's services for people, beside the status page.

use rpc_core::api::log::READ;
#[cfg(feature = "sms")]
use rpc_core::api::sms::SmsService;
use rpc_server::AdminPage;

use crate::config::ServiceName;

const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

/// The page at `/NAME`, of the files `NAME.html`, which is its `main`, `NAME.css` and `NAME.js`, and of what all pages have in
/// common.
macro_rules! page {
    ($name:literal, $title:literal) => {
        AdminPage::new(
            concat!("/", $name),
            $title,
            concat!(
                include_str!("head.html"),
                "<title>",
                $title,
                "</title>\n<link rel=\"stylesheet\" href=\"/",
                $name,
                ".css\">\n<script src=\"/",
                $name,
                ".js\" defer></script>\n</head>\n<body>\n<main>\n",
                include_str!(concat!($name, ".html")),
                include_str!("foot.html"),
            ),
        )
        .file(
            concat!("/", $name, ".css"),
            CSS,
            concat!(
                include_str!("shared.css"),
                include_str!(concat!($name, ".css")),
            ),
        )
        .file(
            concat!("/", $name, ".js"),
            JS,
            concat!(
                include_str!("shared.js"),
                include_str!(concat!($name, ".js")),
            ),
        )
    };
}

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
    page!("logs", "Logs").calls([READ])
}

/// The page of the outbox: gateways, messages whose outcome is not known, the newest messages.
#[cfg(feature = "sms")]
fn sms() -> AdminPage {
    page!("sms", "SMS").calls([SmsService::LIST, SmsService::GATEWAYS])
}
