// The driver of this client for `conformance/run_client.py`; conformance/README.md describes what it reads and tells.
//
//     python3 conformance/run_client.py node clients/node/test/driver.js

import { createInterface } from "node:readline";

import { Client, RpcError } from "../src/index.js";

const FEATURES = ["authenticate", "cancel", "dedup", "endpoints", "idempotent", "liveness", "ordered", "resume", "retry", "streams", "timing"];
const clients = new Map();
const begun = new Map();

const write = (told) => process.stdout.write(`${JSON.stringify(told)}\n`);
const tell = (name, told) => write({ as: name, ...told });
const camel = (name) => name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase());

/** A failure, as the driver protocol tells it. */
function described(error) {
  const { code, answered, sent, rejected, mayHaveRun, attempts, reason, details, retryAfterMs } = error;
  const told = { code, answered, sent, rejected, may_have_run: mayHaveRun, attempts, text: error.message };
  return answered ? { ...told, message: reason, details, retry_after_ms: retryAfterMs } : told;
}

/** What takes its time. */
async function begin(ask, signal, wanted) {
  const { verb, as: name, cmdid, params } = ask;
  const client = clients.get(verb === "connect" || verb === "flush" ? name : (ask.client ?? "client"));
  const options = { signal };
  const timing = {};
  if (ask.timing) {
    options.onTiming = ({ queueUs, runUs }) => {
      timing.timing = { queue_us: queueUs, run_us: runUs };
    };
  }
  if (ask.resumable) options.resumable = ask.resumable.map(({ cursor, param }) => [cursor, param]);
  for (const option of ["timeout_ms", "meta", "idempotent", "idempotency_key", "dedup", "ordered"]) {
    if (option in ask) options[camel(option)] = ask[option];
  }
  try {
    if (verb === "call") {
      tell(name, { data: await client.call(cmdid, params, options), ...timing });
    } else if (verb === "stream") {
      await readStream(name, await client.stream(cmdid, params, options), wanted, timing);
    } else {
      if (verb === "notify") await client.notify(cmdid, params, options);
      else await client[verb]();
      tell(name, { done: true });
    }
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof RpcError)) throw error;
    tell(name, { error: described(error), ...timing });
  }
}

/** Reads as many items as it is asked for, until the stream is over. */
async function readStream(name, items, wanted, timing) {
  for (;;) {
    for (let left = await wanted.next(); left > 0; left -= 1) {
      const { value, done } = await items.next();
      if (done) return tell(name, { end: true, ...timing });
      tell(name, { item: value });
    }
  }
}

/** Numbers that are put in and taken out in their order. */
class Wanted {
  #numbers = [];
  #waiting = undefined;

  put(number) {
    this.#numbers.push(number);
    this.#waiting?.();
  }

  async next() {
    while (this.#numbers.length === 0) await new Promise((resolve) => (this.#waiting = resolve));
    return this.#numbers.shift();
  }
}

/** One line. */
async function obey(ask) {
  const { verb, as: name } = ask;
  if (verb === "open") {
    const settings = Object.fromEntries(Object.entries(ask.settings).map(([key, value]) => [camel(key), value]));
    clients.set(name, new Client(ask.target, settings));
    tell(name, { done: true });
  } else if (verb === "close") {
    for (const { giving } of begun.values()) giving.abort();
    begun.clear();
    clients.get(name).close();
    tell(name, { done: true });
  } else if (verb === "cancel") {
    begun.get(name).giving.abort();
    tell(name, { cancelled: true });
  } else if (verb === "next") {
    begun.get(name).wanted.put(ask.n);
  } else {
    const call = { giving: new AbortController(), wanted: new Wanted() };
    begun.set(name, call);
    begin(ask, call.giving.signal, call.wanted);
  }
}

write({ driver: 1, client: "rpc-client (Node)", features: FEATURES });
for await (const line of createInterface({ input: process.stdin })) await obey(JSON.parse(line));
process.exit(0);
