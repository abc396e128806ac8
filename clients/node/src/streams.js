// The items of a streaming call.

import { Call } from "./connection.js";
import { Code } from "./errors.js";
import * as frames from "./frames.js";

/** The items of a streaming call. */
export class Stream {
  #connection;
  #credit;
  #signal;
  // Each with the size of its line.
  #items = [];
  #size = 0;
  #taken = 0;
  #error = undefined;
  #waiting = undefined;

  constructor(connection, credit, sizeMax, signal, errors) {
    this.#connection = connection;
    this.#credit = credit;
    this.#signal = signal;
    this.call = new Call((error, data) => {
      // A command with one result is taken for a stream of one item.
      if (error === undefined && data !== null) this.#items.push({ item: data, size: 0 });
      this.#error = error?.become(errors);
      signal?.removeEventListener("abort", this.#abort);
      this.#wake();
    });
    this.call.onItem = (item, size) => {
      if (this.#items.length > credit) {
        return { code: Code.INTERNAL, reason: "the stream sent more items than it had `credit` for" };
      }
      if (this.#size >= sizeMax) {
        const reason = `items of more than \`streamBytesMax\` of ${sizeMax} bytes wait for their reader`;
        return { code: Code.RESOURCE_EXHAUSTED, reason };
      }
      this.#items.push({ item, size });
      this.#size += size;
      this.#wake();
      return undefined;
    };
    signal?.addEventListener("abort", this.#abort, { once: true });
  }

  #abort = () => {
    if (this.call.isOver) return;
    this.#connection.giveUp(this.call);
    this.#error = this.#signal.reason;
    this.#wake();
  };

  #wake() {
    this.#waiting?.();
    this.#waiting = undefined;
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  async next() {
    while (this.#items.length === 0 && !this.call.isOver) {
      await new Promise((resolve) => {
        this.#waiting = resolve;
      });
    }
    if (this.#items.length > 0) {
      const { item: value, size } = this.#items.shift();
      this.#size -= size;
      this.#taken += 1;
      // Credit is given back by halves: few lines, and the server never runs dry.
      if (this.#taken * 2 >= this.#credit && !this.call.isOver) {
        this.#connection.write(frames.credit(this.call.id, this.#taken));
        this.#taken = 0;
      }
      return { value, done: false };
    }
    const error = this.#error;
    this.#error = undefined;
    if (error !== undefined) throw error;
    return { value: undefined, done: true };
  }

  /** Gives the stream up, if it is not over; `for await` does so when it is left. */
  async return() {
    this.#signal?.removeEventListener("abort", this.#abort);
    this.#connection.giveUp(this.call);
    this.#items = [];
    this.#wake();
    return { value: undefined, done: true };
  }
}
