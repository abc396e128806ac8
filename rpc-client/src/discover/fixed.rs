//! Addresses that are written down.

use std::sync::Arc;

use super::{Address, InvalidTarget};
use crate::endpoint::connect::TLS_PREFIX;

/// One address, or several with commas between them.
pub(super) fn parse(text: &str) -> Result<Arc<[Address]>, InvalidTarget> {
    text.split(',')
        .map(|address| check(address.trim()).map(Address::from))
        .collect()
}

/// Says what is wrong with an address, if something is.
pub(super) fn check(address: &str) -> Result<&str, InvalidTarget> {
    let refused = |what: &str| {
        let right = "an address is HOST:PORT or unix:PATH, for example 127.0.0.1:8889";
        Err(InvalidTarget::new(format!(
            "`{address}` is not an address: {what}{right}"
        )))
    };

    if let Some(path) = address.strip_prefix("unix:") {
        return if path.is_empty() {
            refused("the path is missing; ")
        } else {
            Ok(address)
        };
    }

    let rest = address.strip_prefix(TLS_PREFIX).unwrap_or(address);
    let Some((host, port)) = rest.rsplit_once(':') else {
        return refused(if address.is_empty() {
            "it is empty; "
        } else {
            "missing port; "
        });
    };

    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c == '/') {
        return refused("its host is not a name or an IP address; ");
    }
    if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
        return refused("write an IPv6 address in brackets, for example [::1]:8889; ");
    }

    match port.parse::<u16>() {
        Ok(1..) => Ok(address),
        Ok(0) | Err(_) => refused("its port is not a number from 1 to 65535; "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(target: &str) -> Vec<String> {
        parse(target)
            .unwrap()
            .iter()
            .map(|address| address.text.to_string())
            .collect()
    }

    #[test]
    fn addresses_are_told_apart_by_commas() {
        assert_eq!(texts("127.0.0.1:8889"), ["127.0.0.1:8889"]);
        assert_eq!(
            texts("a:1, [::1]:2,unix:/run/rpc.sock,[fe80::1%lo]:3"),
            ["a:1", "[::1]:2", "unix:/run/rpc.sock", "[fe80::1%lo]:3"]
        );
    }

    #[test]
    fn what_is_not_an_address_is_refused_with_what_would_be_right() {
        let check = |text: &str, words: &str| {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
            assert!(error.contains("HOST:PORT or unix:PATH"), "{text}: {error}");
        };

        check("", "`` is not an address: it is empty");
        check("localhost", "`localhost` is not an address: missing port");
        check(
            "tls:localhost",
            "`tls:localhost` is not an address: missing port",
        );
        check("a:1,,b:2", "`` is not an address");
        check("unix:", "the path is missing");
        check(":80", "its host is not a name or an IP address");
        check("http://a:80", "its host is not a name or an IP address");
        check("a b:80", "its host is not a name or an IP address");
        check("::1:80", "in brackets");
        check("fe80::1%eth0", "in brackets");
        check("a:0", "from 1 to 65535");
        check("a:65536", "from 1 to 65535");
        check("a:http", "from 1 to 65535");
    }
}
