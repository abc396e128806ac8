//! Peers that speak something else: told apart by their first bytes.

/// What an HTTP client is told, whatever it asked for.
pub(super) const HTTP_REFUSAL: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
Content-Type: text/plain; charset=utf-8\r\n\
Content-Length: 178\r\n\
Connection: close\r\n\
\r\n\
This port does not speak HTTP. It speaks newline-delimited JSON RPC over TCP,\n\
one JSON object per line, for example {\"cmdid\":0}; docs/protocol.md says how.\n\
Nothing was executed.\n";

const METHODS: [&[u8]; 10] = [
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"OPTIONS ",
    b"PATCH ",
    b"CONNECT ",
    b"TRACE ",
    b"PRI ",
];

/// Whether a first line is an HTTP request line.
pub(super) fn is_http(line: &[u8]) -> bool {
    METHODS.iter().any(|method| line.starts_with(method))
}

/// Whether these first bytes are an HTTP request that only reads.
#[cfg(feature = "http")]
pub(super) fn is_page_request(bytes: &[u8]) -> bool {
    bytes.starts_with(b"GET ") || bytes.starts_with(b"HEAD ")
}

/// Whether a request that only reads begins like this, or may do so once more of it has come.
pub(super) fn may_be_page_request(bytes: &[u8]) -> bool {
    [&b"GET "[..], b"HEAD "]
        .iter()
        .any(|method| bytes.starts_with(method) || method.starts_with(bytes))
}

/// Whether these first bytes are an HTTP request that a page may make: it reads, or makes a call.
#[cfg(feature = "http")]
pub(super) fn is_request_of_pages(bytes: &[u8]) -> bool {
    is_page_request(bytes) || bytes.starts_with(b"POST ")
}

/// Whether these first bytes are a request in HTTP/1, of whatever method.
#[cfg(feature = "http")]
pub(super) fn is_http_1(bytes: &[u8]) -> bool {
    is_http(bytes) && !bytes.starts_with(b"PRI ")
}

/// A header of the PROXY protocol, as a load balancer puts it before the first byte of its client, by the first line
/// that is not empty. Version 2 begins with `\r\n\r\n\0\r\nQUIT\n`.
pub(super) fn proxy_header(line: &[u8]) -> Option<&'static str> {
    match line {
        b"\0" => Some("2"),
        _ if line.starts_with(b"PROXY ") => Some("1"),
        _ => None,
    }
}

/// Whether these first bytes are a TLS record of type handshake (RFC 8446 section 5.1). No JSON
/// begins like that.
pub(super) fn is_tls_hello(bytes: &[u8]) -> bool {
    matches!(bytes, [0x16, 0x03, ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_is_whole_http() {
        let text = std::str::from_utf8(HTTP_REFUSAL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "))
            .unwrap();
        assert_eq!(length.parse::<usize>().unwrap(), body.len());
    }

    #[test]
    fn json_is_never_taken_for_a_stranger() {
        assert!(is_http(b"POST /rpc HTTP/1.1") && is_http(b"PRI * HTTP/2.0"));
        assert!(
            !is_http(b"{\"cmdid\":0}")
                && !is_http(b"GETX")
                && !is_tls_hello(b"{}")
                && !is_tls_hello(b"\x16")
        );
    }
}
