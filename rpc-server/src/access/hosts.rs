//! Names by which a server may be asked over HTTP.

use std::net::{IpAddr, Ipv6Addr};

use hyper::Request;
use hyper::header::HOST;

/// The longest name in DNS, in bytes.
const NAME_BYTES_MAX: usize = 253;

/// Whether a browser that asks like this knows that it asks this machine. A page of the network that has
/// its own name point here (DNS rebinding) sends that name.
///
/// No `Host` at all is HTTP/1.0 of a health check: browsers always send one.
pub(crate) fn is_for_us<B>(request: &Request<B>, configured: &[&[String]]) -> bool {
    hosts_of(request).all(|host| is_known(host, configured))
}

/// The name that a request asks for and that is not known, without its port: as it would stand among
/// the configured ones. `None` if it is not a name of a machine.
pub(crate) fn unknown_name<'r, B>(
    request: &'r Request<B>,
    configured: &[&[String]],
) -> Option<&'r str> {
    let host = hosts_of(request).find(|host| !is_known(host, configured))?;
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    let name = name.strip_suffix('.').unwrap_or(name);

    let is_of_a_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let is_name = (1..=NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(is_of_a_name);
    is_name.then_some(name)
}

/// All that a request says of whom it asks, mostly one `Host`.
fn hosts_of<B>(request: &Request<B>) -> impl Iterator<Item = &str> {
    let named = request
        .headers()
        .get_all(HOST)
        .iter()
        .map(|host| host.to_str().unwrap_or_default());
    let target = request
        .uri()
        .authority()
        .map(hyper::http::uri::Authority::as_str);

    named.chain(target)
}

fn is_known(host: &str, configured: &[&[String]]) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if address.parse::<Ipv6Addr>().is_ok() => ("localhost", port),
            _ => return false,
        },
        None => host
            .find(':')
            .map_or((host, ""), |colon| host.split_at(colon)),
    };

    let is_port = |port: &str| {
        port.is_empty()
            || port
                .strip_prefix(':')
                .is_some_and(|n| n.parse::<u16>().is_ok())
    };

    let name = name.strip_suffix('.').unwrap_or(name);
    is_port(port)
        && (name.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || configured
                .iter()
                .copied()
                .flatten()
                .any(|known| name.eq_ignore_ascii_case(known)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_localhost_and_configured_names_are_known() {
        let names = ["rpc.internal".to_owned()];
        let configured = [&names[..]];

        let known = [
            "127.0.0.1",
            "10.1.2.3:8889",
            "[::1]",
            "[::1]:8889",
            "localhost",
            "LocalHost:80",
            "localhost.",
        ];
        for host in known
            .into_iter()
            .chain(["rpc.internal:8889", "RPC.Internal"])
        {
            assert!(is_known(host, &configured), "{host}");
        }

        let strange = [
            "",
            ":80",
            "evil.example",
            "evil.example:8889",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "evillocalhost",
            "127.0.0.1@evil.example",
            "127.0.0.1:x",
            "[::1",
            "[::1]x",
            "[evil]",
            "::1:80:80x",
            "localhost:80:evil",
            "rpc.internal.evil.example",
            "127.0.0.1, evil.example",
            "127.1",
        ];
        for host in strange {
            assert!(!is_known(host, &configured), "{host}");
        }
    }
}
