// Shows the gateways, the messages whose outcome is not known, and the newest messages, again each few seconds.
const [LIST, RESEND, GATEWAYS, PAUSE] = ["/1104", "/1106", "/1111", "/1112"];
const PERIOD_MS = 3000;
const COUNT_PERIOD_MS = 30000;  // how often the histogram is counted again
const PAGE = 50;                // messages that are shown, and that a click adds
const HELD_MS = 10000;
const UNKNOWN_MAX = 100;
const COUNT_PAGE = 500;
const COUNTED_MAX = 20000;      // messages that the histogram counts
const DAY_MS = 864e5;
const WHAT = "The outbox";
const STATUSES = [
  "delivered", "sent", "sending", "queued", "scheduled", "cancelled", "expired", "undelivered", "failed", "unknown",
];

let shown = PAGE;               // how many messages are shown
let showing = false;            // whether a round is under way
let countedAt = -Infinity;
let heldUntil = 0;              // until then, what was said of a change stays

// A button that changes something: it needs a token, and says so.
function action(name, className, data) {
  const made = element("button", name, className);
  made.type = "button";
  Object.assign(made.dataset, data);
  const place = cell(undefined, "text");
  place.append(made);
  return place;
}

function idOf(message) {
  const id = element("th", message.id, "wide id");
  id.scope = "row";
  return id;
}

function showGateways(gateways) {
  fill(byId("gateways"), gateways.map((gateway) => {
    const row = element("tr");
    const name = element("th", gateway.name);
    name.scope = "row";
    name.append(" ", element("small", gateway.kind));
    const isPaused = gateway.state === "paused";
    row.append(
      name, cell(gateway.state, "text " + gateway.state), cell(count(gateway.queued), gateway.queued ? "" : "zero"),
      cell(gateway.oldest_ms === undefined ? "–" : span(gateway.oldest_ms)), cell(count(gateway.sending), gateway.sending ? "wide" : "wide zero"),
      cell(count(gateway.unknown), gateway.unknown ? "wide bad" : "wide zero"), cell(count(gateway.accepted), "wide"),
      cell(count(gateway.errors), gateway.errors ? "wide bad" : "wide zero"), cell(gateway.last_error || "none", "text wide why"),
      action(isPaused ? "Go on" : "Pause", "pause", { gateway: gateway.name, paused: String(!isPaused) }),
    );
    return row;
  }));

  const choice = byId("filters").elements.gateway;
  const names = ["", ...gateways.map((gateway) => gateway.name)];
  if (names.join("\n") !== [...choice.options].map((option) => option.value).join("\n")) {
    choice.replaceChildren(...names.map((name) => {
      const option = element("option", name || "all");
      option.value = name;
      return option;
    }));
  }
}

function showUnknown(page) {
  byId("unknown-section").hidden = page.messages.length === 0;
  fill(byId("unknown"), page.messages.map((message) => {
    const row = element("tr");
    row.append(
      idOf(message), cell(message.to, "text"), cell(message.gateway, "text"), cell(String(message.attempt), "wide"),
      cell(span(Date.now() - message.updated_at)), cell(message.error || "its answer was lost", "text wide why"),
      action("Send again", "resend", { id: message.id }),
    );
    return row;
  }));
  byId("unknown-note").textContent = page.next === undefined
    ? "On a terminal: rpc sms resend ID --may-double"
    : "The newest " + count(page.messages.length) + " of them.";
}

function showMessages(messages, hasMore) {
  fill(byId("messages"), messages.map((message) => {
    const row = element("tr");
    row.append(
      idOf(message), cell(message.status, "text status " + message.status), cell(message.to, "text"),
      cell(message.class, "text wide"), cell(message.gateway, "text wide"), cell(String(message.attempt), "wide"),
      cell(String(message.segments), "wide"), cell(timeOf(message.created_at).slice(5, 19)),
      cell(message.error || (message.receipt ? "receipt: " + message.receipt : ""), "text wide why"),
    );
    return row;
  }));
  byId("older").hidden = !hasMore;
  byId("messages-note").textContent = messages.length ? count(messages.length) + " shown, the newest first." : "No messages match.";
}

// The newest messages that pass the filters, as many as are wanted.
async function newest(filter, wanted, page) {
  const messages = [];
  let after;
  do {
    const params = { ...filter, limit: Math.min(page, wanted - messages.length) };
    if (after !== undefined) params.after = after;
    const read = await call(LIST, params);
    messages.push(...read.messages);
    after = read.next;
  } while (after !== undefined && messages.length < wanted);
  return { messages, next: after };
}

async function countDay() {
  const now = Date.now();
  const { messages, next } = await newest({ since: now - DAY_MS }, COUNTED_MAX, COUNT_PAGE);
  const times = messages.map((message) => message.created_at);
  const kinds = messages.map((message) => Math.max(STATUSES.indexOf(message.status), 0));
  const note = byId("histogram-note");
  if (!times.length) {
    byId("histogram").replaceChildren();
    note.textContent = "No messages in this time.";
    return;
  }

  const least = next === undefined ? now - DAY_MS : ends(times)[0];
  const highest = drawHistogram(byId("histogram"), { times, kinds, names: STATUSES, least, most: now });
  const which = next === undefined ? "All " + count(times.length) + " messages," : "The newest " + count(times.length) + " messages,";
  note.replaceChildren(legendOf(STATUSES, kinds), which + " by the time of their acceptance. The highest bar has " + count(highest) + ".");
}

function sayState(gateways, unknown) {
  const ill = gateways.filter((gateway) => gateway.state !== "up");
  const named = ill.map((gateway) => gateway.name + " is " + gateway.state).join(", ");
  if (gateways.every((gateway) => gateway.kind === "file")) {
    say("warning", "Nothing is sent", "Messages are written to a file: the settings name no gateway that sends, [[sms.gateways]].");
  } else if (ill.length === gateways.length) {
    say("critical", "No gateway takes messages", named);
  } else if (unknown) {
    say("warning", "Some outcomes are not known", named);
  } else if (ill.length) {
    say("warning", "Sending, with warnings", named);
  } else {
    say("good", "All gateways are up");
  }
  document.title = (ill.length || unknown ? "! " : "") + "SMS " + location.host;
}

// One round: all that is shown.
async function show() {
  const filters = byId("filters").elements;
  const filter = {};
  if (filters.status.value) filter.status = [filters.status.value];
  if (filters.gateway.value) filter.gateway = filters.gateway.value;

  const { gateways } = await call(GATEWAYS, {});
  const unknown = await newest({ status: ["unknown"] }, UNKNOWN_MAX, UNKNOWN_MAX);
  const { messages, next } = await newest(filter, shown, COUNT_PAGE);

  if (performance.now() > heldUntil) {
    byId("sign-in").hidden = true;
    sayState(gateways, unknown.messages.length);
  }
  showGateways(gateways);
  showUnknown(unknown);
  showMessages(messages, next !== undefined);
  if (performance.now() - countedAt > COUNT_PERIOD_MS) {
    countedAt = performance.now();
    await countDay();
  }
}

async function round() {
  if (showing) return;
  showing = true;
  try {
    await show();
  } catch (error) {
    fail(error, WHAT);
  }
  showing = false;
}

// Makes a call that changes something, and shows what came of it.
async function change(path, params) {
  try {
    await call(path, params);
    await round();
  } catch (error) {
    heldUntil = error.wantsToken ? Infinity : performance.now() + HELD_MS;
    byId("sign-in").hidden = !error.wantsToken;
    say("warning", error.wantsToken ? "A change needs a token that may make it" : "It was not done", error.message);
  }
}

document.addEventListener("click", (event) => {
  const { className, dataset } = event.target;
  if (className === "pause") change(PAUSE, { gateway: dataset.gateway, paused: dataset.paused === "true" });
  if (className === "resend" && confirm("The message " + dataset.id + " may arrive twice. Send it again?")) {
    change(RESEND, { id: dataset.id, may_double: true });
  }
});
byId("filters").addEventListener("change", () => { shown = PAGE; round(); });
byId("filters").addEventListener("submit", (event) => event.preventDefault());
byId("older").addEventListener("click", () => { shown += PAGE; round(); });
takeTokens(() => { heldUntil = 0; round(); });

async function run() {
  // A page in the background asks for nothing.
  if (!document.hidden) await round();
  setTimeout(run, PERIOD_MS);
}

byId("live").hidden = false;
run();
