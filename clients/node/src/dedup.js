// Calls that the server knows again by a key: where one may have run, it is sent again, but only to the store that has its key.

import { randomUUID } from "node:crypto";

import { Call } from "./connection.js";
import * as frames from "./frames.js";

export const KEY = "idempotency-key";
const AGE = "idempotency-age-ms";

/** In which store a server keeps the keys of a command; asked once for each connection and command, before the first call. */
export function storeOf(connection, cmdid) {
  let asked = connection.stores.get(cmdid);
  if (asked === undefined) {
    asked = { name: undefined, isIdempotent: false };
    asked.answered = new Promise((resolve) => {
      const call = new Call((error, data) => {
        const command = error === undefined ? data?.commands?.[0] : undefined;
        const name = command?.dedup?.store;
        if (typeof name === "string") asked.name = name;
        else asked.isIdempotent = command?.idempotent === true;
        resolve();
      });
      connection.begin(call, frames.request(frames.DESCRIBE, { cmdid }), undefined, false);
    });
    connection.stores.set(cmdid, asked);
  }
  return asked;
}

/** The key of a call, and what is known of its tries. */
export class Repetition {
  // The failure of a try that may have run, and the store of its key.
  failure = undefined;
  store = undefined;
  #key;
  #firstAt = undefined;
  #asked = undefined;

  constructor(key = randomUUID()) {
    this.#key = key;
  }

  /** A try begins on this connection: its metadata. */
  begin(connection, cmdid, meta) {
    this.#asked = storeOf(connection, cmdid);
    this.#firstAt ??= performance.now();
    const age = this.failure && { [AGE]: String(Math.ceil(performance.now() - this.#firstAt)) };
    return { ...meta, [KEY]: this.#key, ...age };
  }

  /** A try has failed: whether another one may be sent to the store. */
  ended(failure) {
    // Any server may run it again.
    if (failure.mayHaveRun && this.#asked?.isIdempotent) return true;
    if (failure.mayHaveRun) {
      this.failure = failure;
      this.store ??= this.#asked?.name;
    }
    return this.store !== undefined;
  }
}
