// Shared by the pages of services, after the `/page.js` of the library: calls with a token, the state at the top, the histogram. Text of messages and entries
// goes into a page as text only, never as markup.
"use strict";

const TIMEOUT_MS = 15000;
const BARS = 60;
let token = null;               // in memory only: it ends with the page

// The local time, to the millisecond.
function timeOf(ts) {
  const date = new Date(ts);
  if (Number.isNaN(date.getTime())) return String(ts);
  const two = (n) => String(n).padStart(2, "0");
  return date.getFullYear() + "-" + two(date.getMonth() + 1) + "-" + two(date.getDate()) + " " + two(date.getHours())
    + ":" + two(date.getMinutes()) + ":" + two(date.getSeconds()) + "." + String(date.getMilliseconds()).padStart(3, "0");
}

// A number that a double cannot hold stays as it was written.
function exact(key, value, context) {
  const source = context && context.source;
  return typeof value === "number" && source && !Number.isSafeInteger(value) && String(value) !== source ? source : value;
}

class Failure extends Error {
  constructor(status, body) {
    super(body.message || "the server answered with status " + status);
    this.code = body.code;
    // Without a token, or with one that is wrong or may not read.
    this.wantsToken = status === 401 || status === 403;
  }
}

// Makes a call: of a path, as "/1002", with params; `signal` ends it.
async function call(path, params, signal) {
  const headers = { "content-type": "application/json" };
  if (token !== null) headers.authorization = "Bearer " + token;
  const response = await fetch(path, {
    method: "POST", headers, body: JSON.stringify(params), cache: "no-store", credentials: "omit",
    signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)].filter(Boolean)),
  });
  const text = await response.text();
  if (response.ok) return JSON.parse(text, exact);

  let body = {};
  try { body = JSON.parse(text); } catch { /* No call was answered: the status says enough. */ }
  throw new Failure(response.status, body);
}

function say(className, headline, problem) {
  byId("state").className = className;
  if (byId("headline").textContent !== headline) byId("headline").textContent = headline;
  byId("problem").hidden = !problem;
  byId("problem").textContent = problem || "";
}

// Says what went wrong, and asks for a token where one would help. `what` is read by the page, as "The log".
function fail(error, what) {
  const wantsToken = error.wantsToken === true;
  byId("sign-in").hidden = !wantsToken;
  const headline = wantsToken ? what + " is for those who may read it" : what + " cannot be read";
  say(wantsToken ? "warning" : "critical", headline, error.message);
}

// Calls `begin` with each token that is given.
function takeTokens(begin) {
  byId("sign-in").addEventListener("submit", (event) => {
    event.preventDefault();
    token = byId("token").value;
    byId("token").value = "";
    begin();
  });
}

// The least and the greatest of many numbers.
function ends(numbers) {
  let [least, most] = [Infinity, -Infinity];
  for (const n of numbers) {
    if (n < least) least = n;
    if (n > most) most = n;
  }
  return [least, most];
}

// Draws how many events there were over time, from `least` to `most`. Event n happened at times[n] and is of the kind
// names[kinds[n]], which is the class of its bar, too. A click on a bar calls `narrow` with its ends; without `narrow` a bar
// only has a title. Returns the number of events in the highest bar.
function drawHistogram(box, { times, kinds, names, least, most }, narrow) {
  const width = (most - least + 1) / BARS;
  const bars = Array.from({ length: BARS }, () => new Array(names.length).fill(0));
  times.forEach((ts, place) => {
    const bar = Math.floor((ts - least) / width);
    bars[Math.max(0, Math.min(bar, BARS - 1))][kinds[place]] += 1;
  });
  const highest = Math.max(...bars.map((bar) => bar.reduce((sum, n) => sum + n, 0)));

  const svg = drawn("svg", { viewBox: `0 0 ${BARS * 10} 100`, preserveAspectRatio: "none" });
  bars.forEach((bar, place) => {
    let y = 100;
    bar.forEach((n, kind) => {
      const height = (n / highest) * 98;
      y -= height;
      if (n) svg.append(drawn("rect", { x: place * 10 + 0.5, y, width: 9, height, class: names[kind] }));
    });
    const from = least + place * width;
    const parts = bar.map((n, kind) => (n ? count(n) + " " + names[kind] : "")).filter(Boolean);
    const name = timeOf(from).slice(0, 19) + ": " + (parts.join(", ") || "none");
    svg.append(hit(place, name, narrow && (() => narrow(from, from + width))));
  });

  const line = element("div", undefined, "ends");
  line.append(element("span", timeOf(least).slice(0, 19)), element("span", timeOf(most).slice(0, 19)));
  box.replaceChildren(svg, line);
  return highest;
}

// The full height behind a bar: it has the title, and takes the clicks if there is something to choose.
function hit(place, name, choose) {
  const part = drawn("rect", { x: place * 10, y: 0, width: 10, height: 100, class: "hit", "aria-label": name });
  const title = drawn("title", {});
  title.textContent = name;
  part.append(title);
  if (!choose) return part;

  part.setAttribute("role", "button");
  part.setAttribute("tabindex", 0);
  part.addEventListener("click", choose);
  part.addEventListener("keydown", (event) => { if (event.key === "Enter") choose(); });
  return part;
}

// The kinds of a histogram, with how many there are of each.
function legendOf(names, kinds) {
  const legend = element("span", undefined, "legend");
  names.forEach((name, kind) => {
    const n = kinds.reduce((sum, at) => sum + (at === kind), 0);
    if (n) legend.append(element("span", name + " " + count(n), name));
  });
  return legend;
}

