//! The pages about the server, asked for as bytes.

use std::collections::BTreeMap;
use std::time::Duration;

use rpc_server::{
    AdminConfig, Config, Descriptor, Grants, ListenOptions, Params, Route, Router, Server,
    ServiceHealth, Status, Tokens,
};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::rig::{ECHO, HOLD, Rig};
use crate::support::{Client, TestServer, call, settle};

async fn start(config: Config, admin: AdminConfig) -> (Rig, TestServer) {
    let rig = Rig::new();
    let builder = Server::builder()
        .config(config)
        .router(rig.router())
        .admin(admin);
    (rig, TestServer::of(builder.bind().await.unwrap()))
}

async fn start_usual() -> (Rig, TestServer) {
    start(Config::default(), AdminConfig::default()).await
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost:8889\r\n\r\n")
}

/// A whole exchange over a connection of its own.
async fn ask(server: &TestServer, request: &str) -> Response {
    let mut client = server.connect();
    client.send(request).await;
    Response::of(&client.read_to_end().await)
}

#[derive(Debug, PartialEq, Eq)]
struct Response {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Response {
    fn of(text: &str) -> Self {
        let (head, body) = text
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("{text:?} is no HTTP"));
        let (first, headers) = head.split_once("\r\n").unwrap();
        let status = first.strip_prefix("HTTP/1.1 ").unwrap()[..3]
            .parse()
            .unwrap();
        let header = |line: &str| {
            line.split_once(": ")
                .map(|(n, v)| (n.to_lowercase(), v.to_owned()))
                .unwrap()
        };
        let mut headers: BTreeMap<_, _> = headers.lines().map(header).collect();
        headers.remove("date");
        Self {
            status,
            headers,
            body: body.to_owned(),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_page_is_there_closed_to_other_sites_and_the_last_of_its_connection() {
    let (_rig, server) = start_usual().await;
    let pages = [
        ("/", "text/html"),
        ("/status.css", "text/css"),
        ("/status.js", "text/javascript"),
        ("/favicon.svg", "image/svg+xml"),
        ("/healthz", "text/plain"),
        ("/readyz", "text/plain"),
        ("/metrics", "text/plain; version=0.0.4"),
        ("/stats.json", "application/json"),
    ];
    for (path, kind) in pages {
        let response = ask(&server, &get(path)).await;
        assert_eq!(response.status, 200, "{path}");
        let header = |name: &str| response.headers.get(name).map_or("", String::as_str);
        assert!(
            header("content-type").starts_with(kind),
            "{path}: {:?}",
            response.headers
        );
        assert!(
            header("content-security-policy").starts_with("default-src 'none'; script-src 'self';")
        );
        assert!(!header("content-security-policy").contains("unsafe"));
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(
            (header("cache-control"), header("connection")),
            ("no-store", "close")
        );
        assert!(
            response
                .headers
                .keys()
                .all(|name| !name.starts_with("access-control"))
        );
        assert_eq!(
            header("content-length").parse(),
            Ok(response.body.len()),
            "{path}"
        );
        let head = ask(&server, &get(path).replace("GET", "HEAD")).await;
        assert_eq!((head.status, &*head.body), (200, ""), "{path}");
    }
    let page = ask(&server, &get("/")).await.body;
    assert!(
        !page.contains("http:")
            && !page.contains("https:")
            && !page.contains(" style=")
            && !page.contains(" on")
    );
    assert_eq!(ask(&server, &get("/etc/passwd")).await.status, 404);
    assert_eq!(server.stats().requests, 0);
}

#[tokio::test(start_paused = true)]
async fn however_a_request_is_cut_its_answer_is_the_same() {
    let (_rig, server) = start_usual().await;
    let request = get("/healthz");
    let whole = ask(&server, &request).await;
    for cut in 1..request.len() {
        let mut client = server.connect();
        client.send(&request[..cut]).await;
        settle().await;
        client.send(&request[cut..]).await;
        assert_eq!(
            Response::of(&client.read_to_end().await),
            whole,
            "cut at {cut}"
        );
    }
    // It is the connection's first bytes or it is none, and that does not hang on how they came, either.
    for together in [true, false] {
        let mut client = server.connect();
        client.send("\n").await;
        if !together {
            settle().await;
        }
        client.send(&request).await;
        assert_eq!(Response::of(&client.read_to_end().await).status, 400);
    }
}

#[tokio::test(start_paused = true)]
async fn a_web_page_that_posts_to_the_port_runs_nothing_and_nor_do_lines_behind_a_get() {
    let (rig, server) = start_usual().await;
    let lines = call(1, HOLD, "").repeat(3);
    for method in ["POST", "PUT", "OPTIONS", "DELETE", "PATCH"] {
        let request = format!(
            "{method} / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\
             Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{lines}",
            lines.len()
        );
        // Without the headers, the lines stand right behind the one that tells what it is.
        for request in [request, format!("{method} / HTTP/1.1\r\n{lines}")] {
            let response = ask(&server, &request).await;
            if method == "POST" {
                // The pages' own calls are of that method.
                assert!([400, 403, 405].contains(&response.status), "{response:?}");
                continue;
            }
            assert_eq!(response.status, 400, "{method}");
            assert!(
                response.body.ends_with("Nothing was executed.\n"),
                "{}",
                response.body
            );
        }
    }
    for behind in [
        get("/healthz") + &lines,
        get("/healthz").replace("\r\n\r\n", &format!("\r\n{lines}\r\n")),
    ] {
        let response = ask(&server, &behind).await;
        assert!(
            response.status == 200 || response.status == 400,
            "{response:?}"
        );
    }
    let with_body = get("/healthz").replace(
        "\r\n\r\n",
        &format!("\r\nContent-Length: 900000\r\n\r\n{lines}"),
    );
    assert_eq!(ask(&server, &with_body).await.status, 200);
    settle().await;
    assert_eq!((rig.probe.started(), server.stats().requests), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_points_here_without_being_ours_reads_nothing() {
    let admin = AdminConfig {
        hosts: vec!["rpc.internal".into()],
        ..AdminConfig::default()
    };
    let (_rig, server) = start(Config::default(), admin).await;
    for path in ["/", "/metrics", "/stats.json", "/healthz"] {
        for strange in [
            "Host: evil.example",
            "Host: evil.example:8889",
            "Host: localhost\r\nHost: evil.example",
        ] {
            let response = ask(
                &server,
                &format!("GET {path} HTTP/1.1\r\n{strange}\r\n\r\n"),
            )
            .await;
            assert!(
                [400, 421].contains(&response.status),
                "{strange}: {response:?}"
            );
            assert!(!response.body.contains("connections"), "{response:?}");
        }
    }
    let absolute = "GET http://evil.example/stats.json HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(ask(&server, absolute).await.status, 421);

    let by_name = "GET /metrics HTTP/1.1\r\nHost: rpc-1.example:8889\r\n\r\n";
    let response = ask(&server, by_name).await;
    assert_eq!(response.status, 421);
    assert!(
        response
            .body
            .contains("`hosts = [\"rpc-1.example\"]` in the section [admin]")
            && response
                .body
                .contains("RPC_SERVER_ADMIN_HOSTS=rpc-1.example"),
        "{}",
        response.body
    );
    let no_name = "GET /metrics HTTP/1.1\r\nHost: <script>\r\n\r\n";
    let response = ask(&server, no_name).await;
    assert!(
        response.status == 421 && !response.body.contains("<script>"),
        "{response:?}"
    );

    for ours in [
        "Host: rpc.internal:8889",
        "Host: 10.1.2.3:8889",
        "Host: [::1]:8889",
    ] {
        assert_eq!(
            ask(&server, &format!("GET /healthz HTTP/1.1\r\n{ours}\r\n\r\n"))
                .await
                .status,
            200
        );
    }
    // A health check that speaks HTTP/1.0; browsers always send a name.
    assert_eq!(
        Response::of(&ask_text(&server, "GET /healthz HTTP/1.0\r\n\r\n").await).status,
        200
    );
}

async fn ask_text(server: &TestServer, request: &str) -> String {
    let mut client = server.connect();
    client.send(request).await;
    client.read_to_end().await.replace("HTTP/1.0", "HTTP/1.1")
}

#[tokio::test(start_paused = true)]
async fn where_there_are_no_pages_a_get_is_refused_like_any_http() {
    let off = AdminConfig {
        enabled: false,
        ..AdminConfig::default()
    };
    let (_rig, server) = start(Config::default(), off).await;
    let response = ask(&server, &get("/")).await;
    assert_eq!(response.status, 400);
    assert!(
        response.body.contains("does not speak HTTP"),
        "{}",
        response.body
    );
}

#[tokio::test]
async fn a_listener_may_be_without_pages_or_show_them_to_who_is_known_only() {
    let hidden = ListenOptions::new("127.0.0.1:0").admin_pages(false);
    let private = ListenOptions::new("127.0.0.1:0").require_authentication(true);
    let builder = Server::builder()
        .listen("127.0.0.1:0")
        .listen_with(hidden)
        .listen_with(private);
    let server = builder.admin(AdminConfig::default()).bind().await.unwrap();
    let addresses: Vec<_> = server
        .addresses()
        .iter()
        .map(|address| address.tcp().unwrap())
        .collect();
    let _server = TestServer::of(server);
    for (address, status) in addresses.into_iter().zip([200, 400, 400]) {
        let mut client = Client::new(TcpStream::connect(address).await.unwrap());
        client.send(get("/healthz")).await;
        assert_eq!(Response::of(&client.read_to_end().await).status, status);
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_slow_to_ask_or_asks_at_length_does_not_stay() {
    let (_rig, server) = start_usual().await;
    let begun = Instant::now();
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\n").await;
    for n in 0..9 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        client.send(format!("X-{n}: y\r\n")).await;
    }
    client.expect_end().await;
    assert_eq!(begun.elapsed().as_secs(), 10);
    settle().await;
    assert_eq!(server.stats().connections_open, 0);
    let long = get("/").replace(
        "\r\n\r\n",
        &format!("\r\nX: {}\r\n\r\n", "y".repeat(20_000)),
    );
    assert_eq!(ask(&server, &long).await.status, 431);
    let many = get("/").replace("\r\n\r\n", &format!("\r\n{}\r\n", "X: y\r\n".repeat(500)));
    assert_eq!(ask(&server, &many).await.status, 431);
}

#[tokio::test(start_paused = true)]
async fn a_drain_does_not_wait_for_who_is_slow_to_ask() {
    let (_rig, mut server) = start_usual().await;
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\n").await;
    settle().await;
    let begun = Instant::now();
    server.begin_to_drain();
    assert!(server.drained().await.is_clean);
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn pages_on_an_address_of_their_own_say_that_the_server_drains() {
    let rig = Rig::new();
    let admin = AdminConfig {
        listen: "127.0.0.1:0".into(),
        ..AdminConfig::default()
    };
    let builder = Server::builder()
        .listen("127.0.0.1:0")
        .router(rig.router())
        .admin(admin);
    let server = builder.bind().await.unwrap();
    let addresses: Vec<_> = server
        .addresses()
        .iter()
        .map(|address| address.tcp().unwrap())
        .collect();
    let (service, pages) = (addresses[0], addresses[1]);
    let mut server = TestServer::of(server);
    let connect = |address| async move { Client::new(TcpStream::connect(address).await.unwrap()) };
    let ask = |address, text: String| async move {
        let mut client = connect(address).await;
        client.send(text).await;
        Response::of(&client.read_to_end().await)
    };
    assert_eq!(
        ask(service, get("/readyz")).await.status,
        400,
        "the service's port has none then"
    );
    assert_eq!(ask(pages, get("/readyz")).await.status, 200);
    let post = get("/readyz").replace("GET", "POST");
    let refused = ask(pages, post).await;
    assert_eq!(
        (refused.status, &*refused.headers["allow"]),
        (405, "GET, HEAD")
    );
    // No command is answered there.
    let mut frames = connect(pages).await;
    frames.send(call(1, ECHO, "")).await;
    let answer = frames.read_to_end().await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
        "{answer}"
    );

    let mut client = connect(service).await;
    client.send(call(1, HOLD, "")).await;
    while rig.probe.started() == 0 {
        tokio::task::yield_now().await;
    }
    server.begin_to_drain();
    assert_eq!(client.reply().await["event"], "goaway");
    let response = ask(pages, get("/readyz")).await;
    assert_eq!(response.status, 503);
    assert!(
        response.body.contains("The server is draining"),
        "{}",
        response.body
    );
    assert_eq!(ask(pages, get("/healthz")).await.status, 200, "it lives");
    rig.gate.let_pass(1);
    client.expect_code(1, 0).await;
    assert!(server.drained().await.is_clean);
    assert!(TcpStream::connect(pages).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_reached_makes_the_server_unready_and_says_which() {
    let config = Config::default().with(|config| config.limits.connections_max = 2);
    let (_rig, server) = start(config, AdminConfig::default()).await;
    assert_eq!(ask(&server, &get("/readyz")).await.status, 200);
    let _idle = server.connect();
    settle().await;
    let response = ask(&server, &get("/readyz")).await;
    assert_eq!(response.status, 503);
    assert!(
        response
            .body
            .contains("`limits.connections_max` is reached (2 of 2)"),
        "{}",
        response.body
    );

    let mut other = server.connect();
    let health = other.ask("{\"cmdid\":2}").await;
    assert_eq!(health["data"]["status"], "not_serving");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_not_serving_is_told_by_health_and_by_readyz_until_it_serves_again() {
    async fn answer() -> Result<u64, Status> {
        Ok(7)
    }

    let service = |name| Route::new(answer).describe(Descriptor::new(name, "answer"));
    let router = Router::new()
        .route(100, service("orders"))
        .and_then(|router| router.route(101, service("users")))
        .unwrap();
    let server = Server::builder()
        .admin(AdminConfig::default())
        .router(router)
        .bind()
        .await
        .unwrap();
    let server = TestServer::of(server);

    let mut client = server.connect();
    let mut statuses = async || {
        let mut statuses = Vec::new();
        for params in ["{}", r#"{"service":"orders"}"#, r#"{"service":"users"}"#] {
            let line = format!("{{\"cmdid\":2,\"params\":{params}}}");
            let status = client.ask(&line).await["data"]["status"].take();
            statuses.push(status.as_str().unwrap().to_owned());
        }
        statuses
    };

    let handle = &server.handle;
    for _ in 0..2 {
        assert_eq!(statuses().await, ["serving"; 3]);
        assert_eq!(ask(&server, &get("/readyz")).await.status, 200);

        let set = handle.set_service_health("orders", ServiceHealth::NotServing);
        assert_eq!(set, Ok(()));
        assert_eq!(statuses().await, ["not_serving", "not_serving", "serving"]);
        let ready = ask(&server, &get("/readyz")).await;
        assert_eq!(ready.status, 503);
        assert!(
            ready.body.contains("The service `orders` is not serving."),
            "{}",
            ready.body
        );

        let set = handle.set_service_health("orders", ServiceHealth::Serving);
        assert_eq!(set, Ok(()));
    }

    let unknown = handle.set_service_health("order", ServiceHealth::NotServing);
    assert_eq!(
        unknown.unwrap_err().to_string(),
        "no command belongs to a service `order`; the services of this server are `orders`, `users`"
    );
    assert_eq!(statuses().await, ["serving"; 3]);
}

async fn fail(Params(secret): Params<String>) -> Result<(), Status> {
    Err(Status::invalid_argument(format!("{secret} is wrong")))
}

/// What two pages tell of a server after a peer's calls.
struct Pages {
    metrics: String,
    stats: String,
}

impl Pages {
    /// Starts a server and calls it: 300 commands that are not there, one that fails, and one that answers. All params
    /// hold "pass-4211".
    async fn after_calls_of_a_peer() -> Self {
        let rig = Rig::new();
        let odd = Descriptor::new("a\"b\\c\nd", "<script>");
        let router = rig
            .router()
            .route(300, Route::new(fail).describe(odd))
            .unwrap();
        let builder = Server::builder()
            .router(router)
            .admin(AdminConfig::default());
        let server = TestServer::of(builder.bind().await.unwrap());

        let mut client = server.connect();
        for n in 0..300 {
            client
                .send(call(
                    n,
                    987_654_000 + u32::try_from(n).unwrap(),
                    "\"params\":\"pass-4211\"",
                ))
                .await;
            client.expect_code(n, 12).await;
        }

        client
            .send(call(
                1,
                300,
                "\"params\":\"pass-4211\",\"meta\":{\"token\":\"pass-4211\"}",
            ))
            .await;
        client.expect_code(1, 3).await;
        client.send(call(2, ECHO, "\"params\":\"pass-4211\"")).await;
        client.expect_code(2, 0).await;

        Self {
            metrics: ask(&server, &get("/metrics")).await.body,
            stats: ask(&server, &get("/stats.json")).await.body,
        }
    }

    /// The value of the only sample that begins like this.
    fn sample(&self, start: &str) -> &str {
        let found: Vec<_> = self
            .metrics
            .lines()
            .filter(|line| line.starts_with(start))
            .collect();
        assert_eq!(found.len(), 1, "{start}: {found:?}");

        found[0].rsplit_once(' ').unwrap().1
    }
}

#[tokio::test(start_paused = true)]
async fn metrics_and_figures_hold_no_word_of_a_peer() {
    let Pages { metrics, stats } = Pages::after_calls_of_a_peer().await;

    assert!(!metrics.contains("pass-4211") && !stats.contains("pass-4211"));
    assert!(
        !metrics.contains("987654") && !stats.contains("987654"),
        "whoever calls what is not there adds nothing"
    );
}

#[tokio::test(start_paused = true)]
async fn metrics_and_figures_are_bounded_whatever_a_peer_calls() {
    let pages = Pages::after_calls_of_a_peer().await;

    let json = &pages.stats;
    let stats: Value = serde_json::from_str(json).unwrap();
    assert_eq!(stats["commands"].as_array().unwrap().len(), 3, "{json}");

    assert_eq!(
        pages.sample(
            r#"rpc_server_calls_total{cmdid="other",service="other",method="other",code="UNIMPLEMENTED"}"#
        ),
        "300"
    );
    assert!(
        pages
            .metrics
            .lines()
            .filter(|line| line.starts_with("rpc_server_calls_total"))
            .count()
            < 40
    );
}

#[tokio::test(start_paused = true)]
async fn metrics_are_well_formed_and_each_sample_belongs_to_a_family_before_it() {
    let pages = Pages::after_calls_of_a_peer().await;

    let mut families = BTreeMap::new();
    for line in pages.metrics.lines() {
        if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, kind) = typed.split_once(' ').unwrap();
            assert_eq!(
                families.insert(name.to_owned(), kind.to_owned()),
                None,
                "{name} is there twice"
            );
        } else if !line.starts_with("# HELP ") {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");

            let name = sample.split('{').next().unwrap();
            let is_of = |(family, kind): (&String, &String)| match kind.as_str() {
                "histogram" => ["_bucket", "_sum", "_count"]
                    .iter()
                    .any(|end| name == format!("{family}{end}")),
                "counter" => name == family && name.ends_with("_total"),
                _ => name == family,
            };
            assert!(
                families.iter().any(is_of),
                "{line} belongs to no family before it"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn metrics_count_and_time_the_calls_of_each_command() {
    let pages = Pages::after_calls_of_a_peer().await;

    assert_eq!(
        pages.sample(
            r#"rpc_server_calls_total{cmdid="300",service="a\"b\\c\nd",method="<script>",code="INVALID_ARGUMENT"}"#
        ),
        "1"
    );
    assert_eq!(
        pages.sample(r#"rpc_server_call_duration_seconds_count{cmdid="100","#),
        "1"
    );
    assert_eq!(
        pages.sample(
            r#"rpc_server_call_duration_seconds_bucket{cmdid="100",service="rig",method="echo",le="+Inf"}"#
        ),
        "1"
    );

    assert_eq!(pages.sample("rpc_server_ready"), "1");
}

#[tokio::test(start_paused = true)]
async fn metrics_tell_of_blocking_work_without_a_label() {
    let pages = Pages::after_calls_of_a_peer().await;

    for (name, value) in [
        ("threads_max", "64"),
        ("running", "0"),
        ("waiting", "0"),
        ("started_total", "0"),
        ("refused_total", "0"),
        ("abandoned_total", "0"),
    ] {
        let sample = format!("rpc_server_blocking_{name} ");
        assert_eq!(pages.sample(&sample), value, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_blocks_its_thread_is_seen_as_lag() {
    let (_rig, server) = start_usual().await;
    settle().await;
    // The paused clock stands for the thread that does not come back to its timers.
    tokio::time::advance(Duration::from_millis(900)).await;
    settle().await;
    let stats: Value = serde_json::from_str(&ask(&server, &get("/stats.json")).await.body).unwrap();
    let lag = stats["runtime"]["lag_recent_max_us"].as_u64().unwrap();
    assert!((500_000..900_000).contains(&lag), "{lag}");
    let response = ask(&server, &get("/readyz")).await;
    assert_eq!(response.status, 200, "late is not away");
    assert!(
        response.body.contains("a handler blocks its thread"),
        "{}",
        response.body
    );
}

#[tokio::test]
async fn where_tokens_are_wanted_the_page_reads_nothing_without_one_and_for_each_identity_what_it_may()
 {
    let token = |of: char| of.to_string().repeat(32);
    let hash = |of| Tokens::hash(&token(of)).unwrap();
    let lines = format!("operator {}\norders {}\n", hash('o'), hash('r'));
    let grants = Grants::new().grant("operator", ["3"]).unwrap();
    let options = ListenOptions::new("127.0.0.1:0").require_authentication(true);
    let builder = Server::builder()
        .listen_with(options)
        .tokens(Tokens::parse(&lines).unwrap())
        .grants(grants.grant("orders", ["100"]).unwrap())
        .admin(AdminConfig::default());
    let server = builder.bind().await.unwrap();
    let address = server.addresses()[0].tcp().unwrap();
    let _server = TestServer::of(server);
    let ask = async |request: String| {
        let mut client = Client::new(TcpStream::connect(address).await.unwrap());
        client.send(request).await;
        client.half_close().await;
        Response::of(&client.read_to_end().await)
    };

    // The page itself asks for a token, and tells nothing before.
    let page = ask(get("/")).await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("id=\"token-value\"") && !page.body.contains("uptime"));
    assert!(
        page.body
            .contains("shown to those who may call the command `stats`")
    );
    for (path, status) in [
        ("/status.js", 200),
        ("/healthz", 200),
        ("/readyz", 200),
        ("/stats.json", 401),
        ("/metrics", 401),
    ] {
        let response = ask(get(path)).await;
        assert_eq!(response.status, status, "{path}");
        if status == 401 {
            assert_eq!(response.headers["www-authenticate"], "Bearer");
            assert!(!response.body.contains("connections"), "{}", response.body);
        }
    }
    let plain = get("/").replace("\r\n\r\n", "\r\nAccept: */*\r\n\r\n");
    assert_eq!(ask(plain).await.status, 401);

    // It reads by the command, from its own origin.
    let read = |token: Option<String>| {
        let token = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
        let body = "{\"connections\":50}";
        format!(
            "POST /3 HTTP/1.1\r\nHost: localhost:8889\r\nOrigin: http://localhost:8889\r\nConnection: close\r\n\
             Content-Type: application/json\r\n{}Content-Length: {}\r\n\r\n{body}",
            token.unwrap_or_default(),
            body.len()
        )
    };
    assert_eq!(ask(read(None)).await.status, 401);
    assert_eq!(ask(read(Some(token('x')))).await.status, 401);

    for (of, listed) in [('o', true), ('r', false)] {
        let response = ask(read(Some(token(of)))).await;
        assert_eq!(response.status, 200, "{}", response.body);
        let report: Value = serde_json::from_str(&response.body).unwrap();
        assert_eq!(
            report["connections"].as_array().unwrap().is_empty(),
            !listed
        );
        // That of the wrong token.
        let failures = report["recent"]["failures"].as_array().unwrap();
        assert_eq!(failures.is_empty(), !listed);
        assert!(report["server"]["connections_open"].as_u64().unwrap() > 0);
    }
}

#[tokio::test(start_paused = true)]
async fn connections_are_told_to_who_has_a_grant_for_stats() {
    let grants = Grants::new().grant("*", ["100-110"]).unwrap();
    for (grants, listed) in [(None, true), (Some(grants), false)] {
        let builder = Server::builder()
            .router(Rig::new().router())
            .admin(AdminConfig::default());
        let builder = match grants {
            Some(grants) => builder.grants(grants),
            None => builder,
        };
        let server = TestServer::of(builder.bind().await.unwrap());
        let mut other = server.connect_from("10.1.2.3:4");
        other.send(call(1, ECHO, "")).await;
        other.expect_code(1, 0).await;

        let stats = ask(&server, &get("/stats.json")).await;
        assert_eq!(stats.status, 200);
        assert_eq!(stats.body.contains("10.1.2.3"), listed, "{}", stats.body);
    }
}
