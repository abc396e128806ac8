//! Pages about the server over HTTP, on the same port: metrics, health, a status page for people.
//!
//! A request for a page is the last one of its connection. Nothing here changes anything.

mod metrics;
mod page;
mod pages;
mod prometheus;
mod text;

use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use rpc_core::{CmdId, Peer};
use serde::{Deserialize, Serialize};

use crate::access::{Authorization, Policy};
use crate::config::ConfigError;
use crate::report::Reporter;

pub(crate) use metrics::ServiceMetrics;
pub use page::AdminPage;
pub(crate) use page::check as check_pages;

/// What the pages tell a reader who has shown no token: no more than the command `stats` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// Everything.
    All,
    /// The figures, without what they tell of others: their connections, failures and slow calls.
    Figures,
    /// Whether the server is alive, and whether it is ready.
    Health,
}

impl Reader {
    fn of(policy: &Policy, peer: &Peer, reporter: &Reporter) -> Self {
        // An address that is for the pages alone shows them to every peer that reaches it.
        if policy.is_for_pages {
            return Self::All;
        }

        match reporter.access.authorization(policy, peer, None) {
            Authorization::Closed => Self::Health,
            authorization if authorization.shows_others() => Self::All,
            _ => Self::Figures,
        }
    }
}

/// The pages of a server that has any.
pub(crate) struct Pages {
    config: AdminConfig,
    reporter: Arc<Reporter>,
    of_services: OfServices,
}

/// What services add to the pages about the server.
#[derive(Default)]
pub(crate) struct OfServices {
    pub(crate) pages: Vec<AdminPage>,
    pub(crate) metrics: Vec<ServiceMetrics>,
}

impl Pages {
    pub(crate) fn new(
        config: AdminConfig,
        of_services: OfServices,
        reporter: &Arc<Reporter>,
    ) -> Self {
        Self {
            config,
            reporter: Arc::clone(reporter),
            of_services,
        }
    }

    /// Whether a connection of this peer is answered with the pages when it asks for them. If every peer has to
    /// authenticate, a browser does so with a certificate, or with a token that the page asks for.
    pub(crate) fn are_shown(&self, policy: &Policy, peer: &Peer) -> bool {
        let can_authenticate = || peer.identity().is_some() || self.reporter.access.has_tokens();
        policy.is_for_pages
            || self.config.listen.is_empty()
                && policy.has_admin_pages()
                && (!policy.requires_authentication || can_authenticate())
    }

    /// Whether there is a page at this path.
    pub(crate) fn has(&self, path: &str) -> bool {
        pages::PATHS.contains(&path)
            || self
                .of_services
                .pages
                .iter()
                .any(|page| page.file_at(path).is_some())
    }

    /// Whether one of the pages calls this command, which changes nothing.
    pub(crate) fn may_call(&self, command: CmdId) -> bool {
        self.of_services
            .pages
            .iter()
            .any(|page| page.may_call(command))
    }

    /// Answers a request for a page.
    pub(crate) fn answer(
        &self,
        request: &Request<Incoming>,
        policy: &Policy,
        peer: &Peer,
    ) -> Response<Bytes> {
        pages::answer(
            request,
            peer,
            self,
            Reader::of(policy, peer, &self.reporter),
        )
    }

    /// Names by which the pages may be asked for.
    pub(crate) fn hosts(&self) -> &[String] {
        &self.config.hosts
    }

    /// Longest head of a request, in bytes.
    pub(crate) fn header_bytes_max(&self) -> usize {
        self.config.header_bytes_max
    }

    /// How long one request may take.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.config.timeout_ms)
    }
}

/// The pages about the server: `/` for people, `/metrics` for Prometheus, `/healthz` and `/readyz` for service managers
/// and load balancers, `/stats.json` for programs.
///
/// They are read-only, and every peer that reaches the port may read them, as far as it may call the command `stats`:
/// if callers have to authenticate, the figures are shown to a certificate, or to a token that the status page asks for.
/// With grants, connections, failures and slow calls are shown to callers that are granted command 3. A request whose
/// `Host` is neither an address nor `localhost` nor one of `hosts` is refused, so that a web page that has its own name
/// point here (DNS rebinding) reads nothing.
///
/// ```
/// use rpc_server::{AdminConfig, Server};
///
/// let builder = Server::builder().listen("127.0.0.1:8889").admin(AdminConfig::default());
/// # let _ = builder;
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct AdminConfig {
    /// Whether there are pages. They are shown on every address of the service, or on `admin.listen` if that is set.
    /// Without pages, a GET is refused like any other HTTP request.
    pub enabled: bool,
    /// Separate address for the pages, HOST:PORT or unix:PATH. They are still served there while the server drains.
    /// Empty: the pages are on the addresses of the service.
    pub listen: String,
    /// Whether `listen` may be an address that other machines can reach: anyone who can reach it can read the pages.
    pub allow_plaintext: bool,
    /// Host names of the pages, without port. Addresses and `localhost` need not be listed. A
    /// request with another name in `Host` is refused with 421.
    pub hosts: Vec<String>,
    /// Maximum time of one request for a page, in milliseconds, from its first byte to the last byte of its reply.
    pub timeout_ms: u64,
    /// Maximum size of the head of an HTTP request in bytes, at least 8192. A longer one is refused with 431.
    pub header_bytes_max: usize,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: String::new(),
            allow_plaintext: false,
            hosts: Vec::new(),
            timeout_ms: 10_000,
            header_bytes_max: HEADER_BYTES_LEAST,
        }
    }
}

/// What hyper needs at least.
const HEADER_BYTES_LEAST: usize = 8192;

impl AdminConfig {
    /// Checks what would make pages that cannot work.
    ///
    /// # Errors
    /// The field, what it is and what it must be.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.timeout_ms == 0 {
            return Err(ConfigError::zero("admin.timeout_ms"));
        }

        if self.header_bytes_max < HEADER_BYTES_LEAST {
            let message = format!(
                "`admin.header_bytes_max` is {} and must be at least {HEADER_BYTES_LEAST}",
                self.header_bytes_max
            );
            return Err(ConfigError::new("admin.header_bytes_max", message));
        }

        if let Some(host) = self
            .hosts
            .iter()
            .find(|host| host.is_empty() || host.contains([':', '/', '*']))
        {
            let message =
                format!("`admin.hosts`: \"{host}\" must be a name without scheme, port and path");
            return Err(ConfigError::new("admin.hosts", message));
        }

        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        assert_eq!(AdminConfig::default().check(), Ok(()));

        let check = |config: AdminConfig| config.check().unwrap_err().to_string();
        assert!(
            check(AdminConfig {
                timeout_ms: 0,
                ..AdminConfig::default()
            })
            .contains("`admin.timeout_ms`")
        );

        assert!(
            check(AdminConfig {
                header_bytes_max: 100,
                ..AdminConfig::default()
            })
            .contains("at least 8192")
        );

        let hosts = vec!["rpc.example".into(), "rpc.example:8889".into()];
        assert!(
            check(AdminConfig {
                hosts,
                ..AdminConfig::default()
            })
            .contains("\"rpc.example:8889\"")
        );
    }
}
