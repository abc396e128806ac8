//! Pages by request, and their headers.

use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName,
    HeaderValue, REFERRER_POLICY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode};
use rpc_core::Peer;

use super::{Pages, Reader, prometheus, text};
use crate::access::hosts;

const TEXT: &str = "text/plain; charset=utf-8";
pub(super) const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const JSON: &str = "application/json";
const SVG: &str = "image/svg+xml";
/// The text format, version 0.0.4.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Connections that the status page lists.
const CONNECTIONS_LISTED: usize = 50;

/// Everything comes from here, and nothing but the page's own files; it cannot be framed, nothing is sent anywhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 7] = [
    (CONNECTION, "close"),
    (CACHE_CONTROL, "no-store"),
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    // Another site's page cannot even embed it.
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// The paths of the pages.
pub(super) const PATHS: [&str; 9] = [
    "/",
    "/status.css",
    "/status.js",
    "/page.js",
    "/favicon.svg",
    "/healthz",
    "/readyz",
    "/metrics",
    "/stats.json",
];

pub(super) fn answer(
    request: &Request<Incoming>,
    peer: &Peer,
    pages: &Pages,
    reader: Reader,
) -> Response<Bytes> {
    let known = &[pages.hosts()];
    let Shown { status, kind, body } = if hosts::is_for_us(request, known) {
        page(request, pages, reader)
    } else {
        let host = request.headers().get(hyper::header::HOST);
        pages.reporter.log.page_names.write(|| {
            tracing::warn!(%peer, ?host, "refused: an HTTP request for a name that is not in `admin.hosts`");
        });
        let message = what_to_set(hosts::unknown_name(request, known));
        Shown::new(StatusCode::MISDIRECTED_REQUEST, TEXT, message)
    };

    let mut response = Response::new(body);
    *response.status_mut() = status;

    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.extend(HEADERS.map(|(name, value)| (name, HeaderValue::from_static(value))));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }

    pages.reporter.log.http_details.write(|| {
        tracing::debug!(%peer, status = status.as_u16(), path = ?request.uri().path(), "an HTTP request");
    });
    response
}

/// Says how a request for a name that is not known can be made right.
fn what_to_set(name: Option<&str>) -> String {
    match name {
        Some(name) => format!(
            "These pages are not shown under the name \"{name}\". Use the server's IP address, or allow the name: `hosts = [\"{name}\"]` in the section [admin] of the daemon's settings \
             (RPC_SERVER_ADMIN_HOSTS={name}), `AdminConfig::hosts` in a program; then restart the server.\n"
        ),
        None => {
            "These pages are shown under the server's IP address, `localhost`, and the names in \
                 `admin.hosts`; the `Host` of this request is not a name.\n"
                .into()
        }
    }
}

/// What a request is shown.
struct Shown {
    status: StatusCode,
    /// Its `Content-Type`.
    kind: &'static str,
    body: Bytes,
}

impl Shown {
    fn new(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            kind,
            body: body.into(),
        }
    }
}

fn page(request: &Request<Incoming>, pages: &Pages, reader: Reader) -> Shown {
    let reporter = &pages.reporter;
    let fixed = |kind, text: &'static str| Shown::new(StatusCode::OK, kind, text);

    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let message = "These pages accept only GET and HEAD. Commands are called by newline-delimited JSON; nothing \
            was executed.\n";
        return Shown::new(StatusCode::METHOD_NOT_ALLOWED, TEXT, message);
    }

    match request.uri().path() {
        "/" => status(request, pages, reader),
        "/status.css" => fixed(CSS, include_str!("status.css")),
        "/status.js" => fixed(JS, include_str!("status.js")),
        "/page.js" => fixed(JS, include_str!("page.js")),
        "/favicon.svg" => fixed(SVG, include_str!("favicon.svg")),
        "/healthz" => fixed(TEXT, "alive\n"),
        "/readyz" => {
            let health = reporter.report(0).health;
            let told = health.problems.iter();
            let lines = told
                .filter(|_| reader != Reader::Health)
                .map(|problem| format!("{problem}\n"))
                .collect::<String>();

            let (status, word) = match health.is_ready {
                true => (StatusCode::OK, "ready"),
                false => (StatusCode::SERVICE_UNAVAILABLE, "not ready"),
            };
            Shown::new(status, TEXT, format!("{word}\n{lines}"))
        }
        "/metrics" | "/stats.json" if reader == Reader::Health => needs_token(),
        "/metrics" => Shown::new(StatusCode::OK, PROMETHEUS, metrics(pages)),
        "/stats.json" => {
            let json = serde_json::to_vec(&reporter.report(reader.listed())).unwrap_or_default();
            Shown::new(StatusCode::OK, JSON, json)
        }
        path => of_service(path, pages),
    }
}

/// The metrics of the server, and those of its services behind them.
fn metrics(pages: &Pages) -> String {
    let mut text = prometheus::render(&pages.reporter);
    for metrics in &pages.of_services.metrics {
        text.push_str(&metrics.text());
    }
    text
}

/// Says to whom the figures are shown.
fn needs_token() -> Shown {
    Shown::new(StatusCode::UNAUTHORIZED, TEXT, NEEDS_TOKEN)
}

const NEEDS_TOKEN: &str = "These figures are only for callers that may call the command `stats`. Open / in a browser, \
    which asks for a token, or use a client certificate.\n";

impl Reader {
    /// How many connections, failures and slow calls are listed.
    fn listed(self) -> usize {
        match self {
            Self::All => CONNECTIONS_LISTED,
            Self::Figures | Self::Health => 0,
        }
    }
}

/// A file of a service's page.
fn of_service(path: &str, pages: &Pages) -> Shown {
    if let Some(file) = pages
        .of_services
        .pages
        .iter()
        .find_map(|page| page.file_at(path))
    {
        return Shown::new(StatusCode::OK, file.content_type, file.text);
    }

    let others = pages
        .of_services
        .pages
        .iter()
        .map(|page| format!(", {}", page.path()))
        .collect::<String>();
    let message = format!(
        "The pages of this server are /, /metrics, /healthz, /readyz, /stats.json{others}.\n"
    );
    Shown::new(StatusCode::NOT_FOUND, TEXT, message)
}

/// The page for people: for a browser with its figures also as text, where JavaScript is off, and for curl as
/// nothing but this text.
fn status(request: &Request<Incoming>, pages: &Pages, reader: Reader) -> Shown {
    let figures = match reader {
        Reader::Health if wants_html(request) => NEEDS_TOKEN.to_owned(),
        Reader::Health => return needs_token(),
        Reader::All | Reader::Figures => text::render(&pages.reporter.report(reader.listed())),
    };
    if !wants_html(request) {
        return Shown::new(StatusCode::OK, TEXT, figures);
    }

    let links = pages
        .of_services
        .pages
        .iter()
        .map(|page| {
            format!(
                "<a href=\"{}\">{}</a>\n",
                escaped(page.path()),
                escaped(page.title())
            )
        })
        .collect::<String>();
    let page = include_str!("status.html")
        .replacen(LINKS, &links, 1)
        .replacen(FIGURES, &escaped(&figures), 1);
    Shown::new(StatusCode::OK, HTML, page)
}

/// Where the page has the figures as text.
const FIGURES: &str = "<!-- figures -->";
/// Where it has the links to the pages of services.
const LINKS: &str = "<!-- links -->";

/// Whether it is a browser that asks: curl and its like take anything. A request that does not say what it takes gets
/// the page.
fn wants_html(request: &Request<Incoming>) -> bool {
    let mut accepted = request.headers().get_all(ACCEPT).iter().peekable();
    accepted.peek().is_none()
        || accepted.any(|kinds| {
            kinds
                .to_str()
                .is_ok_and(|kinds| kinds.contains("text/html"))
        })
}

/// Text that shows as it is in HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
