// Reads /stats.json each second and shows it. Text goes into the page as text only, never as markup.
"use strict";

const PERIOD_MS = 1000;
const TIMEOUT_MS = 5000;
// Of the figures of limits, those that are no counts.
const STATES = ["accept_degraded", "in_flight_limit"];
// Of the figures of access, those that an operator should look at.
const FAILED_ACCESS = [
  "tls_handshakes_refused", "token_failures", "token_failures_limited", "authentication_timeouts",
  "unauthenticated_calls", "calls_without_grant",
];
const byId = (id) => document.getElementById(id);

let last = null;      // the report before this one, for rates
let lastAt = 0;
let lastSeenAt = 0;

const count = (n) => Number(n).toLocaleString("en-US");
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

function span(ms) {
  const s = Math.floor(ms / 1000);
  if (s < 60) return s + " s";
  if (s < 3600) return Math.floor(s / 60) + " min " + (s % 60) + " s";
  if (s < 86400) return Math.floor(s / 3600) + " h " + Math.floor((s % 3600) / 60) + " min";
  return Math.floor(s / 86400) + " d " + Math.floor((s % 86400) / 3600) + " h";
}

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

// Puts what it is given in the place of what was there, and leaves alone what is the same: a selection stays.
function fill(parent, children) {
  children.forEach((child, place) => {
    const old = parent.children[place];
    if (!old) parent.append(child);
    else if (!old.isEqualNode(child)) old.replaceWith(child);
  });
  while (parent.children.length > children.length) parent.lastElementChild.remove();
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

// How much a figure has grown each second since the report before this one; null where there is none.
function perSecond(seconds, now, before) {
  return seconds > 0 && before !== undefined && now >= before ? (now - before) / seconds : null;
}

function cell(text, className) { return element("td", text, className); }

function showVerdict(report) {
  const { is_ready: isReady, problems } = report.health;
  const verdict = !isReady ? "bad" : problems.length > 0 ? "warn" : "good";
  const headline = { good: "All is well.", warn: "Serving, but look at this:", bad: "Not ready for new work:" }[verdict];
  byId("verdict").className = verdict;
  // Announced when it changes, and not each second.
  if (byId("headline").textContent !== headline) byId("headline").textContent = headline;
  fill(byId("problems"), problems.map((problem) => element("li", problem)));
  document.title = (verdict === "good" ? "" : "! ") + report.build.name + " " + location.host;
}

function showNow(report, seconds) {
  const before = last && last.server;
  const since = (key) => perSecond(seconds, report.server[key], before ? before[key] : undefined);
  const failed = (server) => failures(server.replies).reduce((sum, [, n]) => sum + n, 0);
  const errors = before ? perSecond(seconds, failed(report.server), failed(before)) : null;
  fill(byId("now"), [
    pair("requests a second", rate(since("requests")), "requests-per-second"),
    pair("errors a second", rate(errors)),
    pair("calls in flight", count(report.server.in_flight)),
    pair("connections", count(report.server.connections_open)),
    pair("late by, lately", micros(report.runtime.lag_recent_max_us)),
    pair("read a second", since("bytes_in") === null ? "–" : bytes(since("bytes_in"))),
    pair("written a second", since("bytes_out") === null ? "–" : bytes(since("bytes_out"))),
  ]);
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
    const isOther = command.cmdid === null;
    const name = element("th", isOther ? "all others" : command.service + "." + command.method);
    name.scope = "row";
    name.append(" ", element("small", isOther ? "not registered" : command.cmdid));
    const errors = failures(command.calls).sort((a, b) => b[1] - a[1]);
    const latency = command.latency;
    row.append(
      name, cell(count(calls)), cell(rate(now)), cell(count(command.in_flight), command.in_flight ? "" : "zero"),
      cell(micros(latency.p50_us)), cell(micros(latency.p99_us)), cell(micros(latency.p999_us)),
      cell(errors.map(([code, n]) => plain(code) + " " + count(n)).join(", ") || "none",
        errors.length ? "text bad" : "text zero"),
    );
    return row;
  }));
}

function showLimits(report) {
  fill(byId("limits"), report.limits.map((limit) => {
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
    : "All of them, those of this page too, by the requests that they have carried.";
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
    pair("started", known(process.started_at, (at) => new Date(at * 1000).toISOString().slice(0, 19).replace("T", " ") + " UTC")),
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
  showCommands(report, seconds);
  showLimits(report);
  showEvents(report);
  showConnections(report, seconds);
  showProcess(report, seconds);
  last = report;
  lastAt = now;
  lastSeenAt = Date.now();
}

function lost(error) {
  byId("verdict").className = "bad";
  byId("headline").textContent = "The server does not answer.";
  const since = lastSeenAt ? "Last heard " + Math.round((Date.now() - lastSeenAt) / 1000) + " s ago; what is below is from then." : "";
  fill(byId("problems"), [String(error && error.message ? error.message : error), since].filter(Boolean).map((line) => element("li", line)));
  document.title = "! no answer " + location.host;
}

async function poll() {
  try {
    const response = await fetch("/stats.json", { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (!response.ok) throw new Error("/stats.json: " + response.status);
    show(await response.json(), performance.now());
  } catch (error) {
    lost(error);
  }
  setTimeout(poll, PERIOD_MS);
}

poll();
