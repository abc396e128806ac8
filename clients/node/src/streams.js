// The items of a streaming call, and of those that go on where it was lost.

import { Call } from "./connection.js";
import { Code, RpcError } from "./errors.js";
import * as frames from "./frames.js";

// Calls in a row that bring no item and are not open for long, before a stream that is resumable fails.
const REOPENINGS_MAX = 16;
// A call that was open for longer counts as one that brought an item: the server was there, and had nothing to say.
const OPEN_LONG_MS = 30_000;

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** The place in a stream behind which a further call goes on. */
export class Resumption {
  #params;
  #members;
  #settings;
  // Of all calls, as a time of `performance.now()`.
  #deadline;
  // The params that the last item stands for, once there was one.
  #cursor = undefined;
  // Calls since the last item, or since the last one that was open for long.
  #reopenings = 0;

  constructor(params, members, deadline, settings) {
    this.#params = params;
    this.#members = members;
    this.#deadline = deadline ?? Infinity;
    this.#settings = settings;
  }

  /** Notes an item that its reader gets. One without a cursor leaves the place where it was. */
  passed(item) {
    this.#reopenings = 0;
    if (isObject(item) && this.#members.every(([cursor]) => Object.hasOwn(item, cursor))) {
      this.#cursor = Object.fromEntries(this.#members.map(([cursor, param]) => [param, item[cursor]]));
    }
  }

  /** Notes for how long a call was open that was lost. */
  wasOpen(ms) {
    if (ms > OPEN_LONG_MS) this.#reopenings = 0;
  }

  /** Whether a call that has failed so is made again; counts it. */
  takes(failed) {
    const isLost = failed.code === Code.UNAVAILABLE && !failed.isFinal && this.#reopenings < REOPENINGS_MAX;
    this.#reopenings += isLost ? 1 : 0;
    return isLost;
  }

  /**
   * How long to wait before the next call, but not past the deadline: before the first further one as long as the server
   * asks for, and longer before each that follows one which brought nothing.
   */
  pauseMs(failed) {
    const { reconnectBaseMs, reconnectCapMs } = this.#settings;
    const windowMs = Math.min(reconnectCapMs, reconnectBaseMs * 2 ** (this.#reopenings - 2));
    const asked = Math.min(reconnectCapMs, failed.retryAfterMs ?? 0);
    const pause = asked + (this.#reopenings === 1 ? 0 : Math.random() * windowMs);
    return Math.max(0, Math.ceil(Math.min(pause, this.#deadline - performance.now())));
  }

  get nextParams() {
    if (isObject(this.#params)) return { ...this.#params, ...this.#cursor };
    // Params that are not an object are the value of a cursor that has only one.
    const values = Object.values(this.#cursor ?? {});
    return values.length === 1 ? values[0] : this.#params;
  }

  /** The failure that ends the stream: a place that the server does not know any more is a gap. */
  ending(failed) {
    const isGap = failed.code === Code.FAILED_PRECONDITION || failed.code === Code.OUT_OF_RANGE;
    if (!isGap || !failed.answered || this.#reopenings === 0 || this.#cursor === undefined) return failed;
    const cursor = JSON.stringify(this.#cursor);
    return failed.because(`the stream was lost and cannot continue from ${cursor}, so items may be missing: ${failed.reason}`);
  }
}

/** The items of a streaming call. */
export class Stream {
  #begin;
  #settings;
  #resumption;
  // Is aborted by the end of the client.
  #closing;
  #signal;
  #errors;
  #connection;
  #call;
  // Each with the size of its line.
  #items = [];
  #size = 0;
  #taken = 0;
  // Of the call, and how the reader is told of the end.
  #failed = undefined;
  #error = undefined;
  #isClosed = false;
  // Is aborted when the stream is closed, by its reader or its signal.
  #ending = new AbortController();
  #waiting = undefined;

  /**
   * `begin` makes a call with these params, unless a signal ends its wait for a connection; it asks for the call once it has
   * one.
   */
  constructor(begin, settings, resumption, closing, signal, errors) {
    this.#begin = begin;
    this.#settings = settings;
    this.#resumption = resumption;
    this.#closing = closing;
    this.#signal = signal;
    this.#errors = errors;
  }

  /** Makes the first call. Where the stream is resumable, one that cannot be begun is lost as any other. */
  async start(params) {
    let failed;
    for (;;) {
      try {
        await this.#makeCall(params, failed, this.#signal);
        this.#signal?.addEventListener("abort", this.#abort, { once: true });
        return;
      } catch (error) {
        if (!(error instanceof RpcError) || !this.#resumption?.takes(error)) throw error;
        failed = error;
      }
      await this.#pause(this.#resumption.pauseMs(failed));
    }
  }

  /** Makes a call; one that goes on behind `failed`, unless it is the first one. */
  async #makeCall(params, failed, ending) {
    await this.#begin(params, failed, ending, (connection) => this.#callOn(connection));
    if (this.#isClosed) this.#connection.giveUp(this.#call);
  }

  #callOn(connection) {
    const { streamCredit, streamBytesMax } = this.#settings;
    const began = performance.now();
    const call = new Call((error, data) => {
      if (error !== undefined) this.#resumption?.wasOpen(performance.now() - began);
      // A command with one result is taken for a stream of one item.
      if (error === undefined && data !== null) this.#items.push({ item: data, size: 0 });
      this.#failed = error;
      if (!this.#mayGoOn) this.#signal?.removeEventListener("abort", this.#abort);
      this.#wake();
    });
    call.onItem = (item, size) => {
      if (this.#items.length > streamCredit) {
        return { code: Code.INTERNAL, reason: "the stream sent more items than it had `credit` for" };
      }
      if (this.#size >= streamBytesMax) {
        const reason = `items of more than \`streamBytesMax\` of ${streamBytesMax} bytes wait for their reader`;
        return { code: Code.RESOURCE_EXHAUSTED, reason };
      }
      this.#items.push({ item, size });
      this.#size += size;
      this.#wake();
      return undefined;
    };
    this.#connection = connection;
    this.#call = call;
    this.#taken = 0;
    this.#failed = undefined;
    return call;
  }

  /** Whether a call may still take the place of the one that has failed. */
  get #mayGoOn() {
    return this.#resumption !== undefined && this.#failed !== undefined;
  }

  #abort = () => {
    if (this.#call.isOver && !this.#mayGoOn) return;
    this.#close();
    this.#error = this.#signal.reason;
  };

  #close() {
    this.#isClosed = true;
    this.#failed = undefined;
    this.#connection.giveUp(this.#call);
    this.#ending.abort();
    this.#wake();
  }

  /** Waits before a call that goes on, for that long at most: the stream, its signal or its client may end it. */
  #pause(ms) {
    return new Promise((resolve) => {
      const signals = [this.#closing, this.#signal].filter((signal) => signal !== undefined);
      const until = performance.now() + ms;
      let timer;
      // A timer may be early by a moment, which is then waited for.
      const wait = () => {
        const left = until - performance.now();
        if (left <= 0) done();
        else timer = setTimeout(wait, Math.min(Math.ceil(left), 2 ** 31 - 1));
      };
      const done = () => {
        clearTimeout(timer);
        for (const signal of signals) signal.removeEventListener("abort", done);
        resolve();
      };
      this.#waiting = done;
      for (const signal of signals) signal.addEventListener("abort", done);
      if (this.#isClosed || signals.some(({ aborted }) => aborted)) done();
      else wait();
    });
  }

  #wake() {
    this.#waiting?.();
    this.#waiting = undefined;
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  async next() {
    for (;;) {
      while (this.#items.length === 0 && !this.#call.isOver) {
        await new Promise((resolve) => {
          this.#waiting = resolve;
        });
      }
      if (this.#items.length > 0) return { value: this.#take(), done: false };
      if (this.#failed === undefined) break;
      await this.#goOn(this.#failed);
    }
    this.#signal?.removeEventListener("abort", this.#abort);
    const error = this.#error;
    this.#error = undefined;
    if (error !== undefined) throw error;
    return { value: undefined, done: true };
  }

  #take() {
    const { item, size } = this.#items.shift();
    this.#size -= size;
    this.#taken += 1;
    this.#resumption?.passed(item);
    // Credit is given back by halves: few lines, and the server never runs dry.
    if (this.#taken * 2 >= this.#settings.streamCredit && !this.#call.isOver) {
      this.#connection.write(frames.credit(this.#call.id, this.#taken));
      this.#taken = 0;
    }
    return item;
  }

  /** Makes a call that goes on after the one that has failed, or notes that this is the end. */
  async #goOn(failed) {
    if (!this.#resumption?.takes(failed)) {
      this.#failed = undefined;
      this.#error ??= (this.#resumption?.ending(failed) ?? failed).become(this.#errors);
      return;
    }
    try {
      await this.#pause(this.#resumption.pauseMs(failed));
      if (!this.#isClosed) await this.#makeCall(this.#resumption.nextParams, failed, this.#ending.signal);
    } catch (error) {
      // An abort has noted its reason.
      if (this.#isClosed) return;
      if (!(error instanceof RpcError)) throw error;
      this.#failed = error;
    }
  }

  /** Gives the stream up, if it is not over; `for await` does so when it is left. */
  async return() {
    this.#signal?.removeEventListener("abort", this.#abort);
    this.#close();
    this.#items = [];
    return { value: undefined, done: true };
  }
}
