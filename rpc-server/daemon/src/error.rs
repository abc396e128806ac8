//! The reasons that a daemon cannot start or go on.

use std::borrow::Cow;
use std::error::Error;
use std::{fmt, io};

use rpc_server::{ConfigError, GrantError, RouteError};
#[cfg(feature = "program")]
use rpc_server::{TlsError, TokensError};

use super::store::StoreError;

/// The reason that a daemon cannot start or go on.
///
/// Its `Display` is one line for an operator; its [`source`](Error::source) is the error behind it.
#[derive(Debug)]
#[non_exhaustive]
pub enum DaemonError {
    /// An address could not be bound, or the system refused something else that a server needs.
    Io(io::Error),
    /// The store of the log could not be opened.
    Store(Box<dyn Error + Send + Sync>),
    /// The commands of the services do not fit together.
    Routes(RouteError),
    /// A setting of `[traces]` cannot work.
    Traces(ConfigError),
    /// A grant of what is no command.
    Grant {
        /// The identity that it is for.
        identity: String,
        /// What is wrong with it.
        source: GrantError,
    },
    /// Certificates or a key cannot be used.
    #[cfg(feature = "program")]
    Tls(TlsError),
    /// Tokens cannot be read.
    #[cfg(feature = "program")]
    Tokens(TokensError),
    /// Another setting is missing, or cannot be put into effect.
    #[non_exhaustive]
    Setting {
        /// The name of the setting.
        setting: &'static str,
        /// What is wrong with it, and what would be right.
        message: Cow<'static, str>,
    },
}

impl DaemonError {
    pub(super) fn setting(setting: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::Setting {
            setting,
            message: message.into(),
        }
    }

    pub(super) fn store(error: StoreError) -> Self {
        Self::Store(Box::new(error))
    }
}

impl fmt::Display for DaemonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::Routes(error) => write!(f, "the commands of the services conflict: {error}"),
            Self::Traces(error) => error.fmt(f),
            Self::Grant { identity, source } => {
                write!(f, "[[grants]] of \"{identity}\": {source}")
            }
            #[cfg(feature = "program")]
            Self::Tls(error) => error.fmt(f),
            #[cfg(feature = "program")]
            Self::Tokens(error) => write!(f, "`tokens_file` {error}"),
            Self::Setting { message, .. } => f.write_str(message),
        }
    }
}

impl Error for DaemonError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(match self {
            Self::Io(error) => error,
            Self::Store(error) => error.as_ref(),
            Self::Routes(error) => error,
            Self::Traces(error) => error,
            Self::Grant { source, .. } => source,
            #[cfg(feature = "program")]
            Self::Tls(error) => error,
            #[cfg(feature = "program")]
            Self::Tokens(error) => error,
            Self::Setting { .. } => return None,
        })
    }
}

impl From<io::Error> for DaemonError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<RouteError> for DaemonError {
    fn from(error: RouteError) -> Self {
        Self::Routes(error)
    }
}

#[cfg(all(test, feature = "program"))]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::config::ServiceName;
    use crate::listeners::GrantSettings;
    use crate::{Daemon, DaemonConfig};

    async fn refused(change: impl FnOnce(&mut DaemonConfig)) -> DaemonError {
        let mut config = DaemonConfig {
            listen: vec!["127.0.0.1:0".into()],
            services: vec![ServiceName::Test],
            ..DaemonConfig::default()
        };
        change(&mut config);
        Daemon::bind(&config).await.err().expect("it is refused")
    }

    fn io_kind(error: &dyn Error) -> Option<io::ErrorKind> {
        error.source()?.downcast_ref().map(io::Error::kind)
    }

    #[tokio::test]
    async fn the_reasons_that_a_daemon_does_not_start_are_told_apart_and_have_their_causes() {
        let tokens = refused(|config| config.tokens_file = "/nowhere/tokens".into()).await;
        let DaemonError::Tokens(cause) = &tokens else {
            panic!("{tokens:?}");
        };
        assert_eq!(io_kind(cause), Some(io::ErrorKind::NotFound));

        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let io = refused(|config| config.listen = vec![address]).await;
        assert!(matches!(io, DaemonError::Io(_)), "{io:?}");
        assert_eq!(io_kind(&io), Some(io::ErrorKind::AddrInUse));

        let grant = GrantSettings {
            identity: "orders".into(),
            commands: vec!["9-3".into()],
        };
        let grant = refused(|config| config.grants = vec![grant]).await;
        let DaemonError::Grant { identity, source } = &grant else {
            panic!("{grant:?}");
        };
        assert_eq!((identity.as_str(), source.value()), ("orders", "9-3"));

        let setting = refused(|config| config.listen = vec!["inherited".into()]).await;
        assert!(
            matches!(
                setting,
                DaemonError::Setting {
                    setting: "listen",
                    ..
                }
            ),
            "{setting:?}"
        );

        let traces = refused(|config| config.traces.queue_max = 0).await;
        let DaemonError::Traces(cause) = &traces else {
            panic!("{traces:?}");
        };
        assert_eq!(cause.setting(), "traces.queue_max");
    }
}
