// Reads the report each second and shows it: /stats.json, or, with a token, the command `stats`. Text goes into the page
// as text only, never as markup.
"use strict";

const PERIOD_MS = 1000;
const TIMEOUT_MS = 5000;
// Of the figures of limits, those that are no counts.
const STATES = ["accept_degraded", "in_flight_limit", "memory_bytes_peak"];
// Of the figures of access, those that an operator should look at.
const FAILED_ACCESS = [
  "tls_handshakes_refused", "token_failures", "token_failures_limited", "authentication_timeouts",
  "unauthenticated_calls", "calls_without_grant",
];

// The command that tells the report, and how many connections it is asked for.
const STATS = 3;
const CONNECTIONS_LISTED = 50;
const NEEDED = "A token is needed to read the figures.";
// What a report fills.
const SHOWN = ["now", "history", "commands", "failures", "slowest", "limits", "events", "connections", "process"];

let token = null;     // in memory only: it is gone with the page
let isTaken = false;  // whether the server has answered with it
let timer = null;
let last = null;      // the report before this one, for rates
let lastAt = 0;
let lastSeenAt = 0;

const rate = (n) => (n === null ? "–" : n >= 100 || n === 0 ? count(Math.round(n)) : n.toFixed(n < 10 ? 2 : 1));

function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) { n /= 1024; unit += 1; }
  return (unit === 0 ? Math.round(n) : n.toFixed(n < 10 ? 2 : n < 100 ? 1 : 0)) + " " + units[unit];
}

function micros(us) {
  if (us < 1000) return us + " µs";
  if (us < 1e6) return (us / 1000).toFixed(us < 1e4 ? 2 : us < 1e5 ? 1 : 0) + " ms";
  return (us / 1e6).toFixed(us < 1e7 ? 2 : 1) + " s";
}

// A time in seconds since 1970, or before; clocks may say anything.
function dateOf(at) {
  const date = new Date(at * 1000);
  if (Number.isNaN(date.getTime())) return "unknown";
  return date.toISOString().replace("T", " ").replace(/\.\d+Z$/, " UTC");
}

function pair(name, value, className, small) {
  const made = element("div", undefined, className);
  const shown = element("dd", value);
  if (small) shown.append(" ", element("small", small));
  made.append(element("dt", name), shown);
  return made;
}

const total = (counts) => Object.values(counts).reduce((sum, n) => sum + n, 0);
const failures = (counts) => Object.entries(counts).filter(([code]) => code !== "OK");
const plain = (code) => (code === "OF_SERVICES" ? "service" : code.toLowerCase().replaceAll("_", " "));

// How much a figure has grown each second since the report before this one; null without such a report.
function perSecond(seconds, now, before) {
  return seconds > 0 && before !== undefined && now >= before ? (now - before) / seconds : null;
}

// A share in percent, as of failed calls.
function share(part, all) {
  if (part === 0) return "0 %";
  const percent = (part / all) * 100;
  return percent < 0.1 ? "< 0.1 %" : percent.toFixed(percent < 10 ? 1 : 0) + " %";
}

// The colour of the share of failed calls: amber from this share on, red where the server itself says that it is bad.
const FAILED_WARN = 0.05;
const FAILED_LEAST = 5;
function gravity(part, all, health) {
  if (part < FAILED_LEAST || part < all * FAILED_WARN) return "";
  return health.is_ready && health.severity === "critical" ? "bad" : "warn";
}

function showVerdict(report) {
  const { severity, headline, problems } = report.health;
  byId("verdict").className = severity;
  // Announced when it changes, and not each second.
  if (byId("headline").textContent !== headline) byId("headline").textContent = headline;
  fill(byId("problems"), problems.map((problem) => element("li", problem)));
  document.title = (severity === "good" ? "" : "! ") + report.build.name + " " + location.host;
}

// A figure at the top, and beneath it what else there is to say of it.
function tile(name, value, className, more) {
  const made = pair(name, value, className);
  if (more) made.append(element("dd", more, "more"));
  return made;
}

function showNow(report, seconds) {
  const before = last && last.server;
  const since = (key) => perSecond(seconds, report.server[key], before ? before[key] : undefined);
  const failed = (server) => failures(server.replies).filter(([code]) => code !== "CANCELLED").reduce((sum, [, n]) => sum + n, 0);
  const errors = before ? perSecond(seconds, failed(report.server), failed(before)) : null;
  const { minute, five_minutes: five } = report.recent;
  const calls = total(minute.calls);
  fill(byId("now"), [
    tile("requests a second", rate(since("requests")), "requests-per-second"),
    tile("errors a second", rate(errors), gravity(minute.failed, calls, report.health), share(minute.failed, calls) + " in a minute"),
    tile("p99, last minute", micros(minute.latency.p99_us), "", "p50 " + micros(minute.latency.p50_us)),
    tile("p99, last 5 minutes", micros(five.latency.p99_us), "", "p99.9 " + micros(five.latency.p999_us)),
    tile("calls in flight", count(report.server.in_flight)),
    tile("connections", count(report.server.connections_open)),
    tile("late by, lately", micros(report.runtime.lag_recent_max_us)),
    tile("read a second", since("bytes_in") === null ? "–" : bytes(since("bytes_in"))),
    tile("written a second", since("bytes_out") === null ? "–" : bytes(since("bytes_out"))),
  ]);
}

// A line of history: the points from left to right, the largest at the top.
function line(name, points, show, className) {
  const figure = element("figure", undefined, className);
  const caption = element("figcaption");
  const most = Math.max(...points, 0);
  caption.append(element("span", name), element("span", points.length ? "most " + show(most) : "no figures yet"));
  const svg = drawn("svg", { viewBox: "0 0 100 30", preserveAspectRatio: "none", role: "img" });
  const last = points.length ? show(points[points.length - 1]) : "none";
  svg.setAttribute("aria-label", name + ": " + last + " now, " + show(most) + " at most");
  svg.append(drawn("line", { x1: 0, y1: 30, x2: 100, y2: 30 }));
  const y = (point) => (30 - (most > 0 ? point / most : 0) * 28).toFixed(2);
  // A single point is a line, too.
  const shown = points.length === 1 ? [points[0], points[0]] : points;
  const at = (place) => ((place / Math.max(shown.length - 1, 1)) * 100).toFixed(2);
  const path = shown.map((point, place) => (place ? "L" : "M") + at(place) + " " + y(point)).join("");
  if (points.length) svg.append(drawn("path", { d: path + "L100 30L0 30Z", class: "area" }), drawn("path", { d: path }));
  figure.append(caption, svg);
  return figure;
}

function showHistory(report) {
  const { minute, history } = report.recent;
  const errors = history.failed_per_second;
  fill(byId("history"), [
    line("calls a second", history.calls_per_second, rate),
    line("errors a second", errors, rate, errors.some((point) => point > 0) ? "bad" : ""),
    line("p99", history.p99_us, micros),
  ]);
  const points = errors.length;
  byId("history-note").textContent = points > 1
    ? "The last " + span(points * history.interval_ms) + ", a point each " + span(history.interval_ms) + "; " + count(total(minute.calls)) + " calls in the last minute."
    : "A point each " + span(history.interval_ms) + ", of the last half hour.";
}

function commandName(command) {
  const isOther = command.cmdid === null;
  const name = element("th", isOther ? "all others" : command.service + "." + command.method);
  name.scope = "row";
  name.append(" ", element("small", isOther ? "not registered" : command.cmdid));
  return name;
}

function showCommands(report, seconds) {
  const key = (command) => String(command.cmdid);
  const before = new Map((last ? last.commands : []).map((command) => [key(command), command]));
  const calls = (command) => (command ? total(command.calls) : last ? 0 : undefined);
  const rows = report.commands.map((command) => ({
    command, calls: calls(command), rate: perSecond(seconds, calls(command), calls(before.get(key(command)))),
  }));
  rows.sort((a, b) => b.calls - a.calls);
  fill(byId("commands"), rows.map(({ command, calls, rate: now }) => {
    const row = element("tr");
    const { minute, five_minutes: five } = command;
    const errors = failures(command.calls).sort((a, b) => b[1] - a[1]);
    const ofMinute = total(minute.calls);
    const time = (us) => (ofMinute ? micros(us) : "–");
    row.append(
      commandName(command), cell(rate(now)),
      cell(ofMinute ? share(minute.failed, ofMinute) : "–", minute.failed ? "bad" : "zero"),
      cell(time(minute.latency.p50_us), "wide"), cell(time(minute.latency.p99_us)), cell(time(minute.latency.p999_us), "wide"),
      cell(total(five.calls) ? micros(five.latency.p99_us) : "–", "wide"),
      cell(count(command.in_flight), command.in_flight ? "wide" : "wide zero"), cell(count(calls), "wide"),
      cell(errors.map(([code, n]) => plain(code) + " " + count(n)).join(", ") || "none",
        errors.length ? "wide text bad" : "wide text zero"),
    );
    return row;
  }));
}

// Rows of calls, or one that says that the list is empty.
function showCalls(id, calls, cells, none) {
  const rows = calls.map((call) => {
    const row = element("tr");
    row.append(commandName(call), ...cells(call), cell(span(call.ago_ms)), cell(call.peer + " no. " + call.connection, "text wide"));
    return row;
  });
  const empty = element("tr");
  const only = cell(none, "text zero");
  only.colSpan = 5;
  empty.append(only);
  fill(byId(id), rows.length ? rows : [empty]);
}

function showNotable(report) {
  showCalls("failures", report.recent.failures, (call) => [cell(plain(call.code), "text bad"), cell(count(call.times))], "none since the start");
  showCalls("slowest", report.recent.slowest,
    (call) => [cell(micros(call.took_us)), cell(plain(call.code), call.code === "OK" ? "text zero" : "text bad")], "none took a millisecond");
}

function showLimits(report) {
  const blocking = { name: "blocking.threads_max", used: report.blocking.running, max: report.blocking.threads_max };
  fill(byId("limits"), [...report.limits, blocking].map((limit) => {
    const made = element("div");
    const label = element("label");
    const percent = limit.max > 0 ? (limit.used / limit.max) * 100 : 0;
    const shown = percent > 0 && percent < 1 ? "< 1 %" : Math.floor(percent) + " %";
    label.append(element("span", limit.name), element("span", count(limit.used) + " of " + count(limit.max) + " · " + shown));
    const meter = element("meter");
    meter.id = "limit-" + limit.name.replaceAll(" ", "-");
    label.htmlFor = meter.id;
    meter.max = 100;
    meter.low = 75;
    meter.high = 90;
    meter.optimum = 0;
    meter.value = percent;
    made.append(label, meter);
    return made;
  }));
}

function showEvents(report) {
  const server = report.server;
  const events = [
    ["connections refused", server.connections_refused], ["bad frames", server.bad_frames],
    ...failures(server.replies).sort((a, b) => b[1] - a[1]).map(([code, n]) => ["replies " + plain(code), n]),
    ...FAILED_ACCESS.map((name) => [name.replaceAll("_", " "), server.access[name]]),
    ...Object.entries(server.limits).filter(([name]) => !STATES.includes(name)).map(([name, n]) => [name.replaceAll("_", " "), n]),
  ].filter(([, n]) => n > 0);
  const shown = events.map(([name, n]) => pair(name, count(n)));
  fill(byId("events"), shown.length ? shown : [pair("since the start", "nothing")]);
}

function showConnections(report, seconds) {
  const before = new Map((last ? last.connections : []).map((open) => [open.connection, open]));
  fill(byId("connections"), report.connections.map((open) => {
    const row = element("tr");
    const peer = element("th", open.peer);
    peer.scope = "row";
    const now = perSecond(seconds, open.requests, (before.get(open.connection) || {}).requests);
    row.append(
      peer, cell(open.connection), cell(span(open.age_ms)), cell(count(open.requests)), cell(rate(now)),
      cell(count(open.in_flight), open.in_flight ? "" : "zero"), cell(bytes(open.bytes_in)), cell(bytes(open.bytes_out)),
    );
    return row;
  }));
  const all = report.server.connections_open;
  const listed = report.connections.length;
  byId("connections-note").textContent = listed < all
    ? "The " + listed + " of " + count(all) + " that have carried the most requests."
    : "All connections, also those of this page, ordered by their number of requests.";
}

function showProcess(report, seconds) {
  const process = report.process;
  const before = last && last.process.cpu_seconds;
  const cpu = before === null ? null : perSecond(seconds, process.cpu_seconds, before);
  const known = (value, show) => (value === undefined ? "unknown" : show(value));
  fill(byId("process"), [
    pair("memory", known(process.resident_bytes, bytes)),
    pair("processor", cpu === null ? "–" : Math.round(cpu * 100) + " %", "", "of one core"),
    pair("threads", known(process.threads, count)),
    pair("open files", known(process.open_descriptors, count)),
    pair("tasks alive", count(report.runtime.tasks_alive)),
    pair("tasks queued", count(report.runtime.tasks_queued)),
    pair("wait for a turn, p99", micros(report.waits.in_order.p99_us)),
    pair("wait for room, p99", micros(report.waits.for_room.p99_us)),
    pair("blocking work waiting", count(report.blocking.waiting)),
    pair("blocking work begun", count(report.blocking.started)),
    pair("blocking work refused", count(report.blocking.refused), report.blocking.refused ? "bad" : ""),
    pair("blocking work abandoned", count(report.blocking.abandoned)),
    pair("started", known(process.started_at, dateOf)),
    pair("pid", String(process.pid)),
  ]);
}

function show(report, now) {
  const seconds = last ? (now - lastAt) / 1000 : 0;
  const build = report.build;
  showVerdict(report);
  byId("about").textContent = build.name + " " + build.version + (build.is_debug ? " (debug build)" : "")
    + " · library " + build.library + " · " + location.host + " · up " + span(report.uptime_ms);
  showNow(report, seconds);
  showHistory(report);
  showCommands(report, seconds);
  showNotable(report);
  showLimits(report);
  showEvents(report);
  showConnections(report, seconds);
  showProcess(report, seconds);
  last = report;
  lastAt = now;
  lastSeenAt = Date.now();
}

function lost(error) {
  byId("verdict").className = "critical";
  byId("headline").textContent = "The server does not answer.";
  const since = lastSeenAt ? "Last heard " + Math.round((Date.now() - lastSeenAt) / 1000) + " s ago; what is below is from then." : "";
  fill(byId("problems"), [String(error && error.message ? error.message : error), since].filter(Boolean).map((line) => element("li", line)));
  document.title = "! no answer " + location.host;
}

// The report: what anyone who reaches the page may read, or what the identity of the token may.
function read() {
  const common = { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) };
  if (token === null) return fetch("/stats.json", common);
  return fetch("/" + STATS, {
    ...common,
    method: "POST",
    headers: { "content-type": "application/json", authorization: "Bearer " + token },
    body: JSON.stringify({ connections: CONNECTIONS_LISTED }),
  });
}

// What the server says of a request that it has refused.
async function reasonOf(response) {
  try {
    const { message } = await response.json();
    if (message) return message;
  } catch {
    // It is no failure of a call.
  }
  return "the server answers " + response.status;
}

// Shows nothing but the question for a token. Nothing is read until there is one.
function ask(reason) {
  token = null;
  isTaken = false;
  last = null;
  byId("live").hidden = true;
  for (const id of SHOWN) fill(byId(id), []);
  for (const id of ["about", "history-note", "connections-note"]) byId(id).textContent = "";
  byId("verdict").className = "unknown";
  byId("headline").textContent = "The figures are shown to a token.";
  fill(byId("problems"), []);
  document.title = location.host;
  showToken(reason);
}

// The form, where a token is missing; the note about it, where one is in use.
function showToken(reason) {
  byId("token").hidden = reason === null;
  if (reason !== null && byId("token-why").textContent !== reason) byId("token-why").textContent = reason;
  byId("token-known").hidden = token === null;
}

// Why a token would show more than this report; null where it would not.
function whyMore(report) {
  const isLess = token === null && report.connections.length === 0 && report.server.connections_open > 0;
  return isLess ? "Connections, failures and slow calls are listed for a token that may read them." : null;
}

async function poll() {
  try {
    const response = await read();
    if (response.status === 401 || !response.ok && token !== null && !isTaken) {
      const reason = await reasonOf(response);
      ask(token === null ? NEEDED : reason);
      return;
    }
    if (!response.ok) throw new Error(await reasonOf(response));
    const report = await response.json();
    isTaken = token !== null;
    byId("live").hidden = false;
    show(report, performance.now());
    showToken(whyMore(report));
  } catch (error) {
    lost(error);
  }
  timer = setTimeout(poll, PERIOD_MS);
}

// Reads at once, instead of at the next time.
function readNow() {
  clearTimeout(timer);
  last = null;
  poll();
}

byId("token").addEventListener("submit", (event) => {
  event.preventDefault();
  token = byId("token-value").value.trim();
  byId("token-value").value = "";
  isTaken = false;
  readNow();
});
byId("token-forget").addEventListener("click", () => {
  token = null;
  readNow();
});

// Without this program there is nothing to see in it.
byId("verdict").hidden = false;
poll();
