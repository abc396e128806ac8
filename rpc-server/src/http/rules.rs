//! Rules against requests that a web page of another site makes a browser send.
//!
//! A page of another origin can send requests to this port, and a page whose own name points here (DNS rebinding)
//! can read the answers. So the `Host` must be a name of this server, and a request with an `Origin` is only taken
//! from an origin that is listed, or from the request's own.

use hyper::header::{HOST, HeaderMap, HeaderValue, ORIGIN};
use hyper::{Request, StatusCode};
use rpc_core::{CmdId, Status};

use super::Http;
use super::desk::Desk;
use super::outcome::HttpRefusal;
use crate::access::hosts;

/// What a browser says of the relation between a page and what it asks for.
const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// Where a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// No page: a program, or a page's own origin where the browser does not say so.
    Program,
    /// A page of this server.
    OwnPage,
    /// A page of an origin that is listed.
    Listed(HeaderValue),
}

/// Checks for whom and from where a request is.
///
/// # Errors
/// The name or the origin that is not known, and the setting that makes it known.
pub(super) fn check<B>(request: &Request<B>, desk: &Desk) -> Result<Source, HttpRefusal> {
    let known = KnownNames::of(desk);
    let log = &desk.http.reporter.log;
    if let Some(refusal) = known.refuse_host(request) {
        log.http_names.write(|| {
            tracing::warn!(
                peer = %desk.peer,
                host = ?request.headers().get(HOST),
                "refused: an HTTP request for a name that is not in `http_hosts`"
            );
        });
        return Err(refusal);
    }

    let source = known.source(request);
    if source.is_err() {
        log.http_origins.write(|| {
            tracing::warn!(
                peer = %desk.peer,
                origin = ?request.headers().get(ORIGIN),
                "refused: an HTTP request of a web page whose origin is not in `http_origins`"
            );
        });
    }
    source
}

/// The names under which requests are taken, and the origins that they may come from.
struct KnownNames<'a> {
    hosts: &'a [String],
    /// Those of the pages.
    page_hosts: &'a [String],
    origins: &'a [String],
    has_tls: bool,
}

impl<'a> KnownNames<'a> {
    fn of(desk: &'a Desk) -> Self {
        #[cfg(feature = "admin")]
        let page_hosts = page_hosts(&desk.http);
        #[cfg(not(feature = "admin"))]
        let page_hosts = &[];

        Self {
            hosts: &desk.policy.http_hosts,
            page_hosts,
            origins: &desk.policy.http_origins,
            has_tls: desk.policy.has_tls(),
        }
    }

    fn refuse_host<B>(&self, request: &Request<B>) -> Option<HttpRefusal> {
        if hosts::is_for_us(request, &[self.hosts, self.page_hosts]) {
            return None;
        }

        let what_to_do = match hosts::unknown_name(request, &[self.hosts, self.page_hosts]) {
            Some(name) => format!(
                "this server takes no HTTP calls under the name \"{name}\"; call its IP address, or add the name to \
                 `http_hosts` of the listener"
            ),
            None => "the `Host` of this request is not a name; call the server's IP address, `localhost`, or a name in \
                     `http_hosts` of the listener"
                .to_owned(),
        };
        let failure = Status::permission_denied(what_to_do);
        Some(HttpRefusal::new(StatusCode::MISDIRECTED_REQUEST, failure))
    }

    fn source<B>(&self, request: &Request<B>) -> Result<Source, HttpRefusal> {
        let headers = request.headers();
        let mut origins = headers.get_all(ORIGIN).iter();
        let Some(origin) = origins.next() else {
            return source_without_origin(headers);
        };

        let text = origin.to_str().unwrap_or_default();
        let is_alone = origins.next().is_none();
        if is_alone
            && self
                .origins
                .iter()
                .any(|known| known.eq_ignore_ascii_case(text))
        {
            return Ok(Source::Listed(origin.clone()));
        }

        // The host was checked before: it is this server's, whatever page says so.
        let own = headers.get(HOST).and_then(|host| host.to_str().ok());
        let scheme = match self.has_tls {
            true => "https://",
            false => "http://",
        };
        if is_alone
            && let Some(host) = text.strip_prefix(scheme)
            && own.is_some_and(|own| own.eq_ignore_ascii_case(host))
        {
            return Ok(Source::OwnPage);
        }

        Err(refused_origin(&format!(
            "a web page of the origin \"{}\" may not call this server; add it to `http_origins` of the listener if it should",
            text.escape_debug()
        )))
    }
}

fn refused_origin(message: &str) -> HttpRefusal {
    let failure = Status::permission_denied(message.to_owned());
    HttpRefusal::new(StatusCode::FORBIDDEN, failure)
}

/// A browser leaves the origin out of some requests, and says then in another field what kind of page asks.
fn source_without_origin(headers: &HeaderMap) -> Result<Source, HttpRefusal> {
    let site = headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes);
    match site {
        None | Some(b"none") => Ok(Source::Program),
        Some(b"same-origin") => Ok(Source::OwnPage),
        Some(_) => Err(refused_origin(
            "a web page of another site may not ask this server",
        )),
    }
}

/// Commands that the pages about the server may call: none of them changes anything.
const READS: [CmdId; 4] = [CmdId::PING, CmdId::DESCRIBE, CmdId::HEALTH, CmdId::STATS];

/// Checks a call where calls over HTTP are off: the pages may make those that only read, and others for a person who
/// has shown a token. A service's page names the commands that it reads by.
///
/// # Errors
/// Another program or page asks, or there is no token.
pub(super) fn check_page_call(
    http: &Http,
    source: &Source,
    cmdid: CmdId,
    token: Option<&str>,
) -> Result<(), HttpRefusal> {
    if *source != Source::OwnPage {
        return Err(HttpRefusal::new(
            StatusCode::FORBIDDEN,
            Status::permission_denied(
                "this address takes no calls over HTTP: set `http_calls = true` for the listener, or speak \
                 newline-delimited json; nothing was executed",
            ),
        ));
    }

    let is_read = READS.contains(&cmdid) || is_read_by_a_page(http, cmdid);
    if !is_read && token.is_none() {
        return Err(HttpRefusal::of(Status::unauthenticated(format!(
            "a page calls command {cmdid} with a token only: `Authorization: Bearer TOKEN`"
        ))));
    }
    Ok(())
}

#[cfg(feature = "admin")]
fn is_read_by_a_page(http: &Http, cmdid: CmdId) -> bool {
    let pages = http.pages.as_ref();
    pages.is_some_and(|pages| pages.may_call(cmdid))
}

#[cfg(not(feature = "admin"))]
fn is_read_by_a_page(_: &Http, _: CmdId) -> bool {
    false
}

#[cfg(feature = "admin")]
fn page_hosts(http: &Http) -> &[String] {
    http.pages.as_ref().map_or(&[], |pages| pages.hosts())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(PartialEq, Eq)]
    enum Scheme {
        Http,
        Https,
    }

    fn source(scheme: Scheme, fields: &[(&str, &str)]) -> Result<Source, StatusCode> {
        let origins = ["https://app.example".to_owned()];
        let known = KnownNames {
            hosts: &["rpc.internal".to_owned()],
            page_hosts: &[],
            origins: &origins,
            has_tls: scheme == Scheme::Https,
        };
        let mut request = Request::builder().uri("/log.append");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(()).unwrap();
        match known.refuse_host(&request) {
            Some(refusal) => Err(refusal.status),
            None => known.source(&request).map_err(|refusal| refusal.status),
        }
    }

    #[test]
    fn an_origin_is_the_request_s_own_or_listed_or_refused() {
        let host = ("host", "10.0.0.1:8889");
        let of = |origin| source(Scheme::Http, &[host, ("origin", origin)]);

        assert_eq!(source(Scheme::Http, &[host]), Ok(Source::Program));
        assert_eq!(of("http://10.0.0.1:8889"), Ok(Source::OwnPage));
        assert!(matches!(of("https://app.example"), Ok(Source::Listed(_))));
        for strange in [
            "null",
            "",
            "http://10.0.0.1",
            "http://10.0.0.1:8890",
            "https://10.0.0.1:8889",
            "http://app.example",
            "https://app.example.evil.example",
            "https://evil.example",
            "10.0.0.1:8889",
        ] {
            assert_eq!(of(strange), Err(StatusCode::FORBIDDEN), "{strange}");
        }

        let own = ("origin", "http://10.0.0.1:8889");
        let both = [host, own, ("origin", "http://evil.example")];
        assert_eq!(source(Scheme::Http, &both), Err(StatusCode::FORBIDDEN));
        assert_eq!(
            source(Scheme::Https, &[host, own]),
            Err(StatusCode::FORBIDDEN)
        );
        let with_tls = [host, ("origin", "https://10.0.0.1:8889")];
        assert_eq!(source(Scheme::Https, &with_tls), Ok(Source::OwnPage));
    }

    #[test]
    fn a_browser_that_names_no_origin_says_otherwise_that_it_is_a_page() {
        let of = |site| {
            source(
                Scheme::Http,
                &[("host", "localhost"), ("sec-fetch-site", site)],
            )
        };
        assert_eq!(of("none"), Ok(Source::Program));
        assert_eq!(of("same-origin"), Ok(Source::OwnPage));
        assert_eq!(of("cross-site"), Err(StatusCode::FORBIDDEN));
        assert_eq!(of("same-site"), Err(StatusCode::FORBIDDEN));
    }

    #[test]
    fn a_name_that_points_here_without_being_ours_is_refused_though_it_is_its_own_origin() {
        let rebound = [
            ("host", "evil.example:8889"),
            ("origin", "http://evil.example:8889"),
        ];
        assert_eq!(
            source(Scheme::Http, &rebound),
            Err(StatusCode::MISDIRECTED_REQUEST)
        );
        let ours = [
            ("host", "rpc.internal:8889"),
            ("origin", "http://rpc.internal:8889"),
        ];
        assert_eq!(source(Scheme::Http, &ours), Ok(Source::OwnPage));
    }
}
