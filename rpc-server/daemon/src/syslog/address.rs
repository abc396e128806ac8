//! Addresses of listeners, as the settings write them.

use std::fmt;
use std::path::PathBuf;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    /// Datagrams at HOST:PORT.
    Udp(String),
    /// Connections at HOST:PORT.
    Tcp(String),
    /// Datagrams at a path.
    Unix(PathBuf),
}

/// A text that is not an address.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoAddress;

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "must be udp:HOST:PORT, tcp:HOST:PORT or unix:PATH, for example \"udp:127.0.0.1:514\"",
        )
    }
}

impl std::error::Error for NoAddress {}

impl Address {
    pub(super) fn parse(text: &str) -> Result<Self, NoAddress> {
        let (kind, rest) = text.split_once(':').ok_or(NoAddress)?;
        let has_port = || {
            let port = rest
                .rsplit_once(':')
                .map(|(host, port)| (host, port.parse::<u16>()));
            matches!(port, Some((host, Ok(_))) if !host.is_empty())
        };

        match kind {
            "udp" if has_port() => Ok(Self::Udp(rest.into())),
            "tcp" if has_port() => Ok(Self::Tcp(rest.into())),
            "unix" if !rest.is_empty() => Ok(Self::Unix(rest.into())),
            _ => Err(NoAddress),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_kind_and_a_place() {
        let parse = Address::parse;
        assert_eq!(
            parse("udp:127.0.0.1:514"),
            Ok(Address::Udp("127.0.0.1:514".into()))
        );
        assert_eq!(parse("tcp:[::1]:0"), Ok(Address::Tcp("[::1]:0".into())));
        assert_eq!(parse("unix:/run/log"), Ok(Address::Unix("/run/log".into())));

        for wrong in [
            "",
            "127.0.0.1:514",
            "udp:",
            "udp:514",
            "udp::514",
            "tcp:a:99999",
            "unix:",
            "tls:a:1",
        ] {
            assert_eq!(parse(wrong), Err(NoAddress), "{wrong}");
        }
    }
}
