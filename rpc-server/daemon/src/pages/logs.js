// Reads the log by `log.read` and shows it: the newest entries first, and new ones as they come.

const READ = "/1002";
const PAGE = 500;               // entries a call
const ROWS_MAX = 5000;          // rows that are kept in the page
const COUNTED_MAX = 100000;     // entries that the histogram counts
const WAIT_MS = 5000;           // how long a call waits for new entries; the pages' requests take 10 s at most
const RETRY_MS = 2000;
const WHAT = "The log";
const LEVELS = ["trace", "debug", "info", "warn", "error", "fatal"];
const SPANS_MS = { "15m": 9e5, "1h": 36e5, "24h": 864e5, "7d": 6048e5 };
let search = null;              // what is being shown; see begin()

// The fields that are asked for: NAME=TEXT or NAME:=JSON, between blanks.
function fieldsOf(text) {
  const fields = {};
  for (const part of text.split(/\s+/).filter(Boolean)) {
    const found = /^([^=]+?)(:?)=(.*)$/.exec(part);
    if (!found) throw new Error("\"" + part + "\" must be NAME=VALUE, or NAME:=JSON for a number, true, false or null");
    const [, name, isJson, value] = found;
    try {
      fields[name] = isJson ? JSON.parse(value) : value;
    } catch {
      throw new Error("\"" + value + "\" in \"" + part + "\" is not JSON; write " + name + "=" + value + " for a text");
    }
  }
  return fields;
}

// What the form asks for, as params of `log.read`.
function filterOf(form) {
  const of = (name) => form.elements[name].value;
  const filter = {};
  for (const name of ["level", "service", "text", "trace"]) if (of(name)) filter[name] = of(name);
  const fields = fieldsOf(of("fields"));
  if (Object.keys(fields).length) filter.fields = fields;

  const range = of("range");
  if (range in SPANS_MS) filter.from = Date.now() - SPANS_MS[range];
  if (range === "custom") {
    if (of("from")) filter.from = new Date(of("from")).getTime();
    if (of("to")) filter.to = new Date(of("to")).getTime();
    if (filter.from >= filter.to) throw new Error("\"To\" must be later than \"From\"");
  }
  return filter;
}

// The form as the part of the address behind "#", so that a search can be passed on.
function remember(form) {
  const kept = new URLSearchParams();
  for (const { name, value } of form.elements) if (name && value) kept.set(name, value);
  history.replaceState(null, "", "#" + kept);
}

function recall(form) {
  const kept = new URLSearchParams(location.hash.slice(1));
  for (const item of form.elements) if (item.name) item.value = kept.get(item.name) || "";
  byId("custom").hidden = form.elements.range.value !== "custom";
}

function sayLive() {
  const { filter, isPaused } = search;
  if (filter.to !== undefined) say("good", "A search in the past");
  else if (isPaused) say("unknown", "Paused");
  else say("good", "Live");
}

// What is said of an entry when it is opened.
function opened(entry) {
  const list = element("dl");
  const say = (name, value, search) => {
    const shown = element("dd", value);
    if (search) {
      const only = element("button", "only these");
      only.type = "button";
      only.addEventListener("click", search);
      shown.append(only);
    }
    list.append(element("dt", name), shown);
  };
  const narrow = (name, value) => () => {
    byId("filters").elements[name].value = value;
    byId("filters").requestSubmit();
  };

  say("time", timeOf(entry.ts) + " (" + new Date(entry.ts).toISOString() + ")");
  if (entry.rx !== undefined) say("received", timeOf(entry.rx) + " (" + new Date(entry.rx).toISOString() + ")");
  say("number", count(entry.seq));
  say("service", entry.service, narrow("service", entry.service));
  if (entry.trace) say("trace", entry.trace, narrow("trace", entry.trace));
  for (const [name, value] of Object.entries(entry.fields || {})) {
    const isScalar = value === null || typeof value !== "object";
    const text = typeof value === "string" ? value : JSON.stringify(value);
    const asked = name + (typeof value === "string" ? "=" : ":=") + text;
    const isAskable = isScalar && /^[^\s=]+=\S*$/.test(asked);
    say(name, isScalar ? text : JSON.stringify(value, null, 2), isAskable ? narrow("fields", asked) : undefined);
  }
  return list;
}

function rowOf(entry) {
  const level = LEVELS.includes(entry.level) ? entry.level : "info";
  const row = element("details", undefined, level);
  const summary = element("summary");
  row.dataset.seq = entry.seq;
  summary.append(
    element("time", timeOf(entry.ts)), element("span", entry.level, "level"), element("span", entry.service, "service"),
    element("span", entry.message, "message"),
  );
  row.append(summary);
  row.addEventListener("toggle", () => {
    if (row.open && row.childElementCount === 1) row.append(opened(entry));
  });
  return row;
}

function showNewer(entries) {
  const rows = byId("entries");
  rows.prepend(...entries.toReversed().map(rowOf));
  while (rows.childElementCount > ROWS_MAX) {
    rows.lastElementChild.remove();
    search.hasOlder = true;
    search.before = Number(rows.lastElementChild.dataset.seq);
  }
}

function showOlder(entries) {
  byId("entries").append(...entries.map(rowOf));
}

function noteOfEntries() {
  const shown = byId("entries").childElementCount;
  const isFull = shown >= ROWS_MAX;
  byId("older").hidden = !search.hasOlder || isFull;
  byId("entries-note").textContent = shown === 0
    ? "No entry passes the filters" + (search.filter.to === undefined && !search.isPaused ? " yet." : ".")
    : count(shown) + " shown, the newest first." + (isFull ? " Older ones: narrow the range." : "");
}

function tally(entries) {
  const { times, levels } = search;
  for (const entry of entries) {
    times.push(entry.ts);
    levels.push(Math.max(LEVELS.indexOf(entry.level), 0));
  }
  // The oldest that were counted make room.
  if (times.length > COUNTED_MAX * 1.1) {
    const order = times.map((_, place) => place).sort((a, b) => times[b] - times[a]).slice(0, COUNTED_MAX);
    search.levels = order.map((place) => levels[place]);
    search.times = order.map((place) => times[place]);
    search.isCut = true;
  }
}

// The ends of the time that is drawn.
function extent() {
  const { times, filter } = search;
  let [least, most] = ends(times);
  if (filter.from !== undefined && !search.isCut) least = Math.min(least, filter.from);
  if (filter.to !== undefined) most = Math.max(most, filter.to - 1);
  return [least, Math.max(most, least + BARS)];
}

function showHistogram() {
  const { times, levels, isCut } = search;
  const note = byId("histogram-note");
  if (!times.length) {
    byId("histogram").replaceChildren();
    note.textContent = search.isCounting ? "Counting …" : "All 0 entries.";
    return;
  }

  const [least, most] = extent();
  const drawing = { times, kinds: levels, names: LEVELS, least, most };
  const highest = drawHistogram(byId("histogram"), drawing, narrowTo);
  const which = isCut ? "The newest " + count(times.length) + " entries; older ones are not counted."
    : search.isCounting ? count(times.length) + " entries so far." : "All " + count(times.length) + " entries.";
  note.replaceChildren(legendOf(LEVELS, levels), which + " The highest bar has " + count(highest) + ". A click narrows the range.");
}

// Narrows the range to a bar of the histogram. A field of the form holds whole seconds.
function narrowTo(from, to) {
  const form = byId("filters");
  const second = (ms) => timeOf(ms).slice(0, 19).replace(" ", "T");
  form.elements.range.value = "custom";
  byId("custom").hidden = false;
  form.elements.from.value = second(from);
  form.elements.to.value = second(Math.max(to, from + 1000) + 999);
  form.requestSubmit();
}

// Draws at most a few times a second.
function redraw() {
  if (search.drawing) return;
  search.drawing = setTimeout(() => {
    search.drawing = null;
    showHistogram();
    noteOfEntries();
  }, 250);
}

// Reads the entries before a number, the newest first.
async function readOlder(it, before) {
  const params = { ...it.filter, order: "desc", limit: PAGE };
  if (before !== null) params.before = before;
  return call(READ, params, it.end.signal);
}

// Counts what is older than the first page, for the histogram.
async function countOlder(it, page) {
  it.isCounting = true;
  let [more, before] = [page.more, page.next];
  while (more && it.times.length < COUNTED_MAX) {
    const older = await readOlder(it, before);
    if (it !== search) return;
    tally(older.entries);
    [more, before] = [older.more, older.next];
    redraw();
  }
  it.isCounting = false;
  it.isCut = Boolean(more);
  redraw();
}

// Shows what comes, until the search ends.
async function follow(it) {
  for (;;) {
    if (it.isPaused) await new Promise((resolve) => { it.resume = resolve; });
    const page = await call(READ, { ...it.filter, log: it.log, after: it.after, limit: PAGE, wait_ms: WAIT_MS }, it.end.signal);
    if (it !== search) return;
    // Read again when it goes on.
    if (it.isPaused) continue;
    if (page.oldest > it.after + 1) {
      byId("entries").prepend(element("p", count(page.oldest - it.after - 1) + " entries were deleted before they were read", "warn"));
    }
    it.after = page.next;
    tally(page.entries);
    showNewer(page.entries);
    sayLive();
    if (page.entries.length) redraw();
  }
}

// Reads until the search ends; after a lost connection, from where it was.
async function run(it) {
  let hasBegun = false;
  while (it === search) {
    try {
      if (!hasBegun) {
        const page = await readOlder(it, null);
        if (it !== search) return;
        hasBegun = true;
        byId("sign-in").hidden = true;
        [it.log, it.after, it.before, it.hasOlder] = [page.log, page.last, page.next, Boolean(page.more)];
        tally(page.entries);
        showOlder(page.entries);
        sayLive();
        redraw();
        it.counting = countOlder(it, page).catch(() => { it.isCounting = false; it.isCut = true; });
      }
      if (it.filter.to !== undefined) return;
      await follow(it);
    } catch (error) {
      if (it !== search) return;
      fail(error, WHAT);
      // Code 9: it is another log. Of 3 (the filters) and of a token, the person has to make something else.
      if (error.code === 9 || error.code === 11) return begin();
      if (error.code === 3 || error.wantsToken) return;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

// Ends the search that is shown, with what it has shown: what it still receives changes nothing.
function stop() {
  if (search) {
    search.end.abort();
    clearTimeout(search.drawing);
  }
  search = null;
  byId("entries").replaceChildren();
  byId("entries-note").textContent = "";
  byId("histogram").replaceChildren();
  byId("histogram-note").textContent = "";
  byId("older").hidden = true;
}

// Begins what the form asks for, and ends what was there.
function begin() {
  const form = byId("filters");
  stop();
  let filter;
  try {
    filter = filterOf(form);
  } catch (error) {
    return fail(error, WHAT);
  }

  remember(form);
  const isPaused = byId("pause").getAttribute("aria-pressed") === "true";
  search = {
    filter, isPaused, end: new AbortController(), log: undefined, after: 0, before: null, hasOlder: false,
    times: [], levels: [], isCut: false, isCounting: false, drawing: null, resume: null,
  };
  say("unknown", "Reading …");
  run(search);
}

byId("filters").addEventListener("submit", (event) => { event.preventDefault(); begin(); });
byId("filters").elements.range.addEventListener("change", (event) => { byId("custom").hidden = event.target.value !== "custom"; });
byId("clear").addEventListener("click", () => {
  for (const item of byId("filters").elements) if (item.name) item.value = "";
  byId("custom").hidden = true;
  begin();
});
byId("pause").addEventListener("click", (event) => {
  const isPaused = event.target.getAttribute("aria-pressed") !== "true";
  event.target.setAttribute("aria-pressed", String(isPaused));
  event.target.textContent = isPaused ? "Go on" : "Pause";
  if (!search) return;
  search.isPaused = isPaused;
  if (!search.isPaused && search.resume) search.resume();
  sayLive();
  noteOfEntries();
});
byId("older").addEventListener("click", async () => {
  const it = search;
  try {
    const page = await readOlder(it, it.before);
    if (it !== search) return;
    [it.before, it.hasOlder] = [page.next, Boolean(page.more)];
    showOlder(page.entries);
    noteOfEntries();
  } catch (error) {
    if (it === search) fail(error, WHAT);
  }
});
takeTokens(begin);
addEventListener("hashchange", () => { recall(byId("filters")); begin(); });

recall(byId("filters"));
byId("live").hidden = false;
begin();
