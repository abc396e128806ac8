//! The address of a gateway: a server of HTTP, and what is asked for there.

use std::net::IpAddr;

use hyper::Uri;

use super::{FormatString, MappingError};

const EXAMPLE: &str = "it must be an address, for example \"https://api.example.net/messages\"";

/// A server of HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Whether it speaks TLS.
    pub is_tls: bool,
    /// Its name or IP address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl Address {
    fn parse(scheme: &str, authority: &str) -> Result<Self, MappingError> {
        let example = || MappingError::new(EXAMPLE);
        let is_tls = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(example()),
        };

        let uri: Uri = format!("{scheme}://{authority}/")
            .parse()
            .map_err(|_| example())?;
        if authority.contains('@') {
            return Err(MappingError::new(
                "it must not contain a user name and password; put them into `auth`",
            ));
        }
        let host = uri
            .host()
            .filter(|host| !host.is_empty())
            .ok_or_else(example)?;
        let has_port = authority.len() > host.len();
        let port = uri.port_u16().filter(|port| *port > 0);
        if has_port && port.is_none() {
            return Err(example());
        }

        Ok(Self {
            is_tls,
            host: host.trim_matches(['[', ']']).to_owned(),
            port: port.unwrap_or(if is_tls { 443 } else { 80 }),
        })
    }

    /// Whether it is this machine.
    pub fn is_loopback(&self) -> bool {
        let ip = self.host.parse::<IpAddr>();
        self.host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
    }

    /// The value of the header `Host`.
    pub fn host_header(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };

        let usual = if self.is_tls { 443 } else { 80 };
        match self.port == usual {
            true => host,
            false => format!("{host}:{}", self.port),
        }
    }
}

/// The URL of a gateway. What is behind the host may have placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// The server.
    pub address: Address,
    /// Path and query.
    pub target: FormatString,
}

impl Url {
    /// Reads a URL.
    ///
    /// # Errors
    /// It is not the address of a server of HTTP.
    pub fn parse(url: &str) -> Result<Self, MappingError> {
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| MappingError::new(EXAMPLE))?;
        let (authority, target) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let address = Address::parse(scheme, authority)?;

        let slash = if target.starts_with('/') { "" } else { "/" };
        let target = FormatString::parse(&format!("{slash}{target}"))?;
        let example = target.render(|_| "x".into());
        if !example.is_ascii() || example.contains('#') || example.parse::<Uri>().is_err() {
            return Err(MappingError::new(
                "its path and query must not have spaces, `#` or letters outside ASCII; write %20 for a space",
            ));
        }
        Ok(Self { address, target })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_server_and_a_path_with_placeholders() {
        let url = Url::parse("https://api.example.net/v1/{secret.sid}").unwrap();
        let address = &url.address;
        assert_eq!((address.is_tls, address.port), (true, 443));
        assert_eq!(address.host_header(), "api.example.net");
        assert!(!address.is_loopback());
        assert_eq!(url.target.render(|_| "a".into()), "/v1/a");

        let local = Url::parse("http://[::1]:13013?x=1").unwrap();
        let address = &local.address;
        assert_eq!((address.is_tls, address.host.as_str()), (false, "::1"));
        assert_eq!(address.host_header(), "[::1]:13013");
        assert!(address.is_loopback());
        assert_eq!(local.target.render(|_| String::new().into()), "/?x=1");
    }

    #[test]
    fn an_address_that_is_not_one_gets_an_example() {
        for wrong in [
            "",
            "api.example.net",
            "ftp://a/",
            "https://",
            "https:///x",
            "https://a:x/",
            "https://a:99999/",
            "https://a:/",
            "https://{to}/",
        ] {
            let error = Url::parse(wrong).unwrap_err().to_string();
            assert!(
                error.contains("https://api.example.net"),
                "{wrong}: {error}"
            );
        }

        let error = Url::parse("https://u:p@a/").unwrap_err().to_string();
        assert!(error.contains("`auth`"), "{error}");
        for wrong in ["https://a/b c", "https://a/ü", "https://a/b#c"] {
            let error = Url::parse(wrong).unwrap_err().to_string();
            assert!(error.contains("%20"), "{wrong}: {error}");
        }
    }
}
