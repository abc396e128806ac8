// Calls and oneway calls, a deadline for each, and retries where they are safe; the beginning of streams.

import { setTimeout as sleep } from "node:timers/promises";

import { Call } from "./connection.js";
import { KEY, Repetition, storeOf } from "./dedup.js";
import { Endpoint, RetryBudget } from "./endpoint.js";
import { Code, RpcError } from "./errors.js";
import * as frames from "./frames.js";
import { complete } from "./settings.js";
import { Resumption, Stream } from "./streams.js";

const NO_OPTIONS = Object.freeze({});
// Longer times than this, in milliseconds, are this one: 30 years.
const TIMEOUT_MAX = 946_080_000_000;

export class Client {
  #endpoints;
  #sole;
  #budget;
  #closing = new AbortController();

  constructor(target, settings) {
    const addresses = Array.isArray(target) ? target : target.split(",");
    this.settings = complete(settings);
    this.target = addresses.join(",");
    this.#endpoints = addresses.map((address) => new Endpoint(address.trim(), this.settings));
    this.#sole = this.#endpoints.length === 1 ? this.#endpoints[0] : undefined;
    this.#budget = new RetryBudget(this.settings);
  }

  call(cmdid, params = {}, options = NO_OPTIONS) {
    const { settings } = this;
    const limit = Math.min(options.timeoutMs ?? settings.callTimeoutMs, TIMEOUT_MAX);
    this.#budget.calls += 1;
    const connection = this.#atOnce();
    // What most calls are: the connection is there, and the first try succeeds.
    if (options === NO_OPTIONS && connection !== undefined && !settings.ordered) {
      return new Promise((resolve, reject) => {
        const deadline = performance.now() + limit;
        const call = new Call((error, data) => {
          if (error === undefined) resolve(data);
          else this.#call(cmdid, params, deadline, options, error).then(resolve, reject);
        });
        connection.begin(call, frames.request(cmdid, params, { timeoutMs: limit }), limit, false);
      });
    }
    const { errors } = options;
    return this.#call(cmdid, params, performance.now() + limit, options).catch((error) => {
      throw error instanceof RpcError ? error.become(errors) : error;
    });
  }

  /** All tries of a call. `failed` is how a first one went that was made elsewhere. */
  async #call(cmdid, params, deadline, options, failed = undefined) {
    const { settings } = this;
    const { signal, idempotencyKey } = options;
    const isOrdered = options.ordered ?? settings.ordered;
    const hasKey = idempotencyKey !== undefined;
    const isListed = settings.idempotentCmdids.includes(cmdid);
    const isKeyed = (options.dedup || (hasKey && !isListed)) && !options.idempotent && !isOrdered;
    const repetition = isKeyed ? new Repetition(idempotencyKey) : undefined;
    const asked = frames.metaOf(options);
    const ownMeta = hasKey && !isKeyed ? { ...asked, [KEY]: idempotencyKey } : asked;
    let isIdempotent = options.idempotent || isListed;
    const tellsTimeout = options.timeoutMs !== undefined || !settings.ordered;
    const avoid = [];
    let mayHaveRun = false;
    for (let attempts = 1; ; attempts += 1) {
      try {
        if (failed !== undefined) throw failed;
        if (deadline <= performance.now()) throw this.#late();
        signal?.throwIfAborted();
        const connection = repetition?.failure
          ? await this.#withStore(repetition, cmdid, deadline, signal)
          : (this.#atOnce() ?? (await this.#connection(deadline, avoid, signal)));
        const meta = repetition?.begin(connection, cmdid, ownMeta) ?? ownMeta;
        const leftMs = deadline - performance.now();
        const timeoutMs = tellsTimeout ? Math.max(1, Math.floor(leftMs)) : undefined;
        const rest = frames.request(cmdid, params, { timeoutMs, meta, withTimestamp: isOrdered });
        return await this.#once(connection, rest, leftMs, isOrdered, options);
      } catch (error) {
        failed = undefined;
        if (!(error instanceof RpcError)) throw error;
        if (repetition !== undefined) {
          if (repetition.failure === error) throw error.ofSeveral(attempts - 1, true); // No server has the key.
          isIdempotent = repetition.ended(error);
        }
        avoid.push(...this.#endpoints.filter((endpoint) => endpoint.address === error.address));
        // A call without an id has its place in an order, which a later try would not have.
        const pause = isOrdered ? undefined : this.#pause(error, attempts, isIdempotent, avoid);
        if (pause === undefined || performance.now() + pause >= deadline || !this.#budget.withdraw()) {
          throw error.ofSeveral(attempts, mayHaveRun);
        }
        mayHaveRun ||= error.mayHaveRun;
        // Ended early by the signal, which the next turn finds.
        await sleep(pause, undefined, { signal }).catch(() => {});
      }
    }
  }

  /** One request and its reply. */
  #once(connection, rest, leftMs, isOrdered, { signal, onTiming } = NO_OPTIONS) {
    return new Promise((resolve, reject) => {
      const abort = () => {
        connection.giveUp(call);
        reject(signal.reason);
      };
      const call = new Call((error, data) => {
        signal?.removeEventListener("abort", abort);
        if (error === undefined) resolve(data);
        else reject(error);
      });
      call.onTiming = onTiming;
      signal?.addEventListener("abort", abort, { once: true });
      connection.begin(call, rest, leftMs, isOrdered);
    });
  }

  async notify(cmdid, params = {}, options = NO_OPTIONS) {
    const { settings } = this;
    const deadline = performance.now() + settings.callTimeoutMs;
    const connection = this.#atOnce() ?? (await this.#connection(deadline, []));
    if (settings.ordered) {
      // The field is newer than the servers that want every call in order: their answer finds a call given up.
      const call = new Call(() => {});
      connection.begin(call, frames.request(cmdid, params, { withTimestamp: true }), undefined, true);
      connection.giveUp(call);
    } else {
      const { ordered = false, meta } = options;
      connection.notify(frames.request(cmdid, params, { oneway: true, meta, withTimestamp: ordered }), ordered);
    }
  }

  async stream(cmdid, params = {}, options = NO_OPTIONS) {
    const { signal, errors, resumable = [] } = options;
    const meta = frames.metaOf(options);
    const timeoutMs = options.timeoutMs === undefined ? undefined : Math.min(options.timeoutMs, TIMEOUT_MAX);
    const { callTimeoutMs, streamCredit: credit } = this.settings;
    const deadline = timeoutMs === undefined ? undefined : performance.now() + timeoutMs;

    const begin = async (given, failed, ending, take) => {
      const limit = deadline ?? performance.now() + callTimeoutMs;
      if (limit <= performance.now()) throw this.#late();
      ending?.throwIfAborted();
      const avoid = this.#endpoints.filter((endpoint) => endpoint.address === failed?.address);
      const connection = this.#atOnce() ?? (await this.#connection(limit, avoid, ending));
      const leftMs = deadline === undefined ? undefined : Math.max(1, Math.floor(deadline - performance.now()));
      const rest = frames.request(cmdid, given, { timeoutMs: leftMs, credit, meta });
      const call = take(connection);
      call.onTiming = options.onTiming;
      connection.begin(call, rest, leftMs, false);
    };

    const resumption = resumable.length > 0 ? new Resumption(params, resumable, deadline, this.settings) : undefined;
    const stream = new Stream(begin, this.settings, resumption, this.#closing.signal, signal, errors);
    await stream.start(params);
    return stream;
  }

  async connect() {
    await this.#connection(performance.now() + this.settings.callTimeoutMs, []);
  }

  async flush() {
    const deadline = performance.now() + this.settings.callTimeoutMs;
    for (const endpoint of this.#endpoints) {
      const { connection } = endpoint;
      if (connection?.ended === undefined && connection?.unreadOneways > 0) await this.#flush(connection, deadline);
      const lost = endpoint.lostOneways;
      endpoint.lostOneways = undefined;
      if (lost !== undefined) throw lost;
    }
  }

  /** By a ping behind the last oneway call. Where calls have no ids, by the system's word only. */
  async #flush(connection, deadline) {
    if (this.settings.ordered) return connection.flushed();
    try {
      await this.#once(connection, frames.request(0, null), deadline - performance.now(), false);
    } catch (error) {
      // An answer is one, whatever it says. A lost connection has left its oneway calls to be told of.
      if (!error.answered && !error.isLost) throw error;
    }
  }

  get isConnected() {
    return this.#endpoints.some((endpoint) => endpoint.isUsable);
  }

  close() {
    this.#closing.abort();
    for (const endpoint of this.#endpoints) endpoint.close();
  }

  // Which connection

  /** The connection that nearly all calls find. */
  #atOnce() {
    const connection = this.#sole?.connection;
    return connection !== undefined && connection.isUsable && connection.hasRoom ? connection : undefined;
  }

  /** A connection with room for a call, as soon as there is one. */
  async #connection(deadline, avoid, signal) {
    for (;;) {
      const connection = await this.#choose(deadline, avoid, signal);
      if (connection.hasRoom) return connection;
      let timer;
      const late = new Promise((resolve) => {
        timer = setTimeout(resolve, Math.min(Math.max(0, deadline - performance.now()), 2 ** 31 - 1));
        signal?.addEventListener("abort", resolve, { once: true });
      });
      await Promise.race([connection.room(), late]);
      clearTimeout(timer);
      signal?.throwIfAborted();
      if (deadline <= performance.now()) throw this.#late();
    }
  }

  /** Of two random servers that are connected, the one with fewer calls; the others are connected meanwhile. */
  async #choose(deadline, avoid, signal) {
    if (this.#sole !== undefined) return this.#sole.ready(deadline, signal);
    // An address that is not one never becomes usable.
    let able = this.#endpoints.filter((endpoint) => endpoint.isAddress);
    if (able.length === 0) able = this.#endpoints;
    let others = able.filter((endpoint) => !avoid.includes(endpoint));
    if (others.length === 0) others = able;
    const usable = others.filter((endpoint) => endpoint.isUsable);
    for (const endpoint of this.#endpoints) endpoint.open();
    if (usable.length > 0) {
      const one = usable[Math.floor(Math.random() * usable.length)];
      const other = usable[Math.floor(Math.random() * usable.length)];
      return (one.inFlight <= other.inFlight ? one : other).ready(deadline, signal);
    }
    try {
      return await Promise.any(others.map((endpoint) => endpoint.ready(deadline, signal)));
    } catch (failures) {
      throw failures.errors?.at(-1) ?? failures;
    }
  }

  /** A connection to the store that has the key: that of the last try first. Rejects with that try's failure. */
  async #withStore({ failure, store }, cmdid, deadline, signal) {
    const last = this.#endpoints.filter((endpoint) => endpoint.address === failure.address);
    const others = this.#endpoints.filter((endpoint) => endpoint.address !== failure.address);
    for (const endpoint of [...last, ...others]) {
      try {
        const connection = await endpoint.ready(deadline, signal);
        const asked = storeOf(connection, cmdid);
        const timer = sleep(Math.min(Math.max(0, deadline - performance.now()), 2 ** 31 - 1), undefined, { ref: false, signal });
        await Promise.race([asked.answered, timer]);
        if (asked.name === store && connection.isUsable) return connection;
      } catch (error) {
        if (!(error instanceof RpcError)) throw signal?.aborted ? signal.reason : error;
      }
    }
    throw failure;
  }

  // Retries

  #late() {
    const about = { address: this.target, sent: false };
    return new RpcError(Code.DEADLINE_EXCEEDED, "no time left before it could be sent", about);
  }

  /** How long to wait before the next try, in milliseconds; `undefined` where the call must not be tried again. */
  #pause(error, attempts, isIdempotent, avoid) {
    const { attemptsMax, retryBaseMs, retryCapMs } = this.settings;
    if (attempts >= attemptsMax) return undefined;
    if (!error.rejected && !(error.isLost && !error.sent)) {
      const isUnavailable = error.isLost || (error.answered && error.code === Code.UNAVAILABLE);
      const isWorthIt = isUnavailable || (error.answered && error.retryAfterMs !== undefined);
      if (!isIdempotent || !isWorthIt) return undefined;
    }
    const windowMs = Math.min(retryCapMs, retryBaseMs * 2 ** Math.max(0, attempts - 2));
    const pause = attempts === 1 ? 0 : Math.random() * windowMs;
    // What a server asks for does not concern the others.
    const hasOther = this.#endpoints.some((endpoint) => !avoid.includes(endpoint));
    return pause + (hasOther ? 0 : (error.retryAfterMs ?? 0));
  }
}
