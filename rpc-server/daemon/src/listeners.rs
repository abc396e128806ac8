//! The daemon's listeners and its grants, as written in its config.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DaemonError;
use super::config::{DaemonConfig, INHERITED};
use rpc_server::{ClientCertificates, Grants, ListenOptions, ServerBuilder};
#[cfg(feature = "program")]
use rpc_server::{ServerTls, TlsFiles, Tokens};

/// A listener with a policy of its own: one `[[listeners]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListenerSettings {
    /// Address to listen on: HOST:PORT, unix:PATH, or "inherited" for all sockets that the parent process hands over,
    /// as in `listen`.
    pub address: String,
    /// PEM file of the server's certificate, followed by its intermediate certificates. A listener with a certificate
    /// speaks TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
    /// PEM file of the certificate's private key. Other users must not be able to read it: its mode should be 0600.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// PEM file with the authorities that issue the clients' certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca_file: Option<PathBuf>,
    /// Whether clients present a certificate: "off" (they are not asked for one), "optional" or "required".
    pub client_certificates: ClientCertificates,
    /// Whether a connection has to authenticate, by a certificate or a token, before it may call any command except
    /// `ping`.
    pub require_authentication: bool,
    /// Whether HTTP GET requests are answered with the pages about the server.
    pub admin_pages: bool,
    /// Whether commands can be called over HTTP, with a POST of JSON to /SERVICE.METHOD or /CMDID, and a token as
    /// `Authorization: Bearer`. The same grants and limits apply as to other calls.
    pub http_calls: bool,
    /// Host names of this listener for HTTP calls, without port. Addresses and `localhost` need not be listed. A
    /// request with another name in `Host` is refused with 421.
    pub http_hosts: Vec<String>,
    /// Origins of web pages that may call over HTTP, for example `https://app.example`. A request with an `Origin` that
    /// is neither listed nor the listener's own is refused with 403.
    pub http_origins: Vec<String>,
    /// Maximum time until the first good line (a valid request) of a connection, in milliseconds, instead of
    /// `accept.first_frame_timeout_ms`. 0: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_frame_timeout_ms: Option<u64>,
    /// Whether other machines may connect without TLS and without authentication.
    pub allow_plaintext: bool,
}

impl Default for ListenerSettings {
    fn default() -> Self {
        Self {
            address: String::new(),
            certificate_file: None,
            key_file: None,
            client_ca_file: None,
            client_certificates: ClientCertificates::Off,
            require_authentication: false,
            admin_pages: true,
            http_calls: false,
            http_hosts: Vec::new(),
            http_origins: Vec::new(),
            first_frame_timeout_ms: None,
            allow_plaintext: false,
        }
    }
}

/// What an identity may call: one `[[grants]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GrantSettings {
    /// Identity that has the grant, as its certificate or token names it, or "*" for every caller.
    pub identity: String,
    /// Commands that are granted: numbers, for example "1001"; ranges, for example "2000-2099", which include both
    /// ends; or "*" for all.
    pub commands: Vec<String>,
}

impl ListenerSettings {
    /// What is wrong with the settings of the listener, each mistake in one line.
    #[cfg(feature = "program")]
    pub(crate) fn mistakes(&self, tokens_file: &std::path::Path) -> Vec<String> {
        let Self {
            address,
            client_certificates,
            ..
        } = self;
        if address.is_empty() {
            return vec![
                "[[listeners]] `address` is missing; set it, for example to \"0.0.0.0:8889\""
                    .into(),
            ];
        }

        let asks = *client_certificates != ClientCertificates::Off;
        let has_tokens = !tokens_file.as_os_str().is_empty();
        let rules = [
            (
                self.certificate_file.is_some() != self.key_file.is_some(),
                "`certificate_file` and `key_file` belong together; one is missing",
            ),
            (
                asks && self.certificate_file.is_none(),
                "`client_certificates` needs TLS: `certificate_file` and `key_file`",
            ),
            (
                asks != self.client_ca_file.is_some(),
                "`client_ca_file` and `client_certificates` (\"optional\" or \"required\") belong together; set both \
                 or neither",
            ),
            (
                self.require_authentication && !asks && !has_tokens,
                "`require_authentication` needs a way to authenticate: set `tokens_file` or `client_certificates`",
            ),
        ];

        let broken = rules.iter().filter(|(is_broken, _)| *is_broken);
        broken
            .map(|(_, rule)| format!("[[listeners]] \"{address}\": {rule}"))
            .collect()
    }

    fn listener(&self) -> Result<Listener, DaemonError> {
        Ok(Listener {
            options: self.options()?,
            is_inherited: self.address == INHERITED,
        })
    }

    /// What binding needs to know, with certificate and key read from their files.
    pub(crate) fn options(&self) -> Result<ListenOptions, DaemonError> {
        let mut options = ListenOptions::new(&self.address)
            .require_authentication(self.require_authentication)
            .admin_pages(self.admin_pages)
            .http_calls(self.http_calls)
            .http_hosts(&self.http_hosts)
            .http_origins(&self.http_origins)
            .allow_plaintext(self.allow_plaintext);

        if let Some(timeout_ms) = self.first_frame_timeout_ms {
            options = options.first_frame_timeout_ms(timeout_ms);
        }

        self.with_tls(options)
    }

    #[cfg(feature = "program")]
    fn with_tls(&self, options: ListenOptions) -> Result<ListenOptions, DaemonError> {
        let (Some(certificate), Some(key)) = (self.certificate_file.clone(), self.key_file.clone())
        else {
            return Ok(options);
        };

        let files = TlsFiles {
            certificate,
            key,
            client_ca: self.client_ca_file.clone(),
            client_certificates: self.client_certificates,
        };
        let tls = ServerTls::load(files).map_err(DaemonError::Tls)?;
        Ok(options.tls(tls))
    }

    #[cfg(not(feature = "program"))]
    fn with_tls(&self, options: ListenOptions) -> Result<ListenOptions, DaemonError> {
        match &self.certificate_file {
            None => Ok(options),
            Some(_) => Err(without_program("certificate_file")),
        }
    }
}

/// A listener of the config, ready to be bound.
pub(super) struct Listener {
    pub(super) options: ListenOptions,
    /// Whether its sockets were handed over by the process that started this one.
    pub(super) is_inherited: bool,
}

/// Every listener of the config.
pub(super) fn listeners(config: &DaemonConfig) -> Result<Vec<Listener>, DaemonError> {
    let plain = config.listen.iter().map(|address| {
        Ok(Listener {
            options: ListenOptions::new(address).allow_plaintext(config.allow_plaintext),
            is_inherited: address == INHERITED,
        })
    });
    let own = config.listeners.iter().map(ListenerSettings::listener);

    plain.chain(own).collect()
}

/// What is granted; none where nothing is said of it, and then all is.
pub(crate) fn grants(settings: &[GrantSettings]) -> Result<Option<Grants>, DaemonError> {
    if settings.is_empty() {
        return Ok(None);
    }

    let mut grants = Grants::new();
    for GrantSettings { identity, commands } in settings {
        if identity.is_empty() {
            let message = "[[grants]] `identity` is missing; set it, for example to \"order-service\", or to \"*\" \
                for every caller";
            return Err(DaemonError::setting("grants", message));
        }

        let granted = grants.grant(identity, commands);
        grants = granted.map_err(|source| DaemonError::Grant {
            identity: identity.clone(),
            source,
        })?;
    }

    Ok(Some(grants))
}

/// The tokens of the config's file, where it names one.
#[cfg(feature = "program")]
pub(super) fn tokens(config: &DaemonConfig) -> Result<Option<Tokens>, DaemonError> {
    if config.tokens_file.as_os_str().is_empty() {
        return Ok(None);
    }
    Tokens::load(&config.tokens_file)
        .map(Some)
        .map_err(DaemonError::Tokens)
}

/// Gives a server the tokens of the config's file, where it names one.
#[cfg(feature = "program")]
pub(super) fn with_tokens(
    builder: ServerBuilder,
    config: &DaemonConfig,
) -> Result<ServerBuilder, DaemonError> {
    Ok(match tokens(config)? {
        Some(tokens) => builder.tokens(tokens),
        None => builder,
    })
}

/// Refuses a tokens file.
#[cfg(not(feature = "program"))]
pub(super) fn with_tokens(
    builder: ServerBuilder,
    config: &DaemonConfig,
) -> Result<ServerBuilder, DaemonError> {
    if config.tokens_file.as_os_str().is_empty() {
        return Ok(builder);
    }
    Err(without_program("tokens_file"))
}

/// What is said of a setting that only the whole daemon has.
#[cfg(not(feature = "program"))]
fn without_program(setting: &'static str) -> DaemonError {
    let message = format!(
        "`{setting}` is set, and this program has `rpc-daemon` without its feature `program`, which brings TLS and \
         tokens; depend on it with its default features"
    );
    DaemonError::setting(setting, message)
}
