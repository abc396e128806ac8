// One server: its connection, opened when it is first needed and again after it was lost, by one attempt at a time.

import { readFileSync, statSync } from "node:fs";
import net from "node:net";
import tls from "node:tls";

import { Call, Connection } from "./connection.js";
import { Code, RpcError } from "./errors.js";
import * as frames from "./frames.js";

// Longest file of a token, in bytes; no token comes near it.
const TOKEN_BYTES_MAX = 4096;

/** The host and the port of an address, or `undefined` where it is not one. */
function parse(address) {
  const found = /^(?:\[(.+)\]|([^:]+)):(\d+)$/.exec(address);
  const port = Number(found?.[3]);
  return port >= 1 && port <= 65_535 ? { host: found[1] ?? found[2], port } : undefined;
}

export class Endpoint {
  connection = undefined;
  isClosed = false;
  #settings;
  #isTls;
  // The path of a socket, or a host and a port; `undefined` for an address that is not one.
  #place;
  #isOpening = false;
  #closing = new AbortController();
  // Since when connecting has failed, why, and whether waiting is of use.
  #failingSince = undefined;
  #failure = undefined;
  #isFinal = false;
  // A loss of oneway calls that no flush has told of.
  lostOneways = undefined;
  // Connections in a row that the server ended before it served anything: no better than no connection.
  #turnedAway = 0;
  // Those that it ended soon, though it did serve.
  #shortLived = 0;
  #comeBackMs = 0;
  // Those who wait for a change.
  #waiting = [];

  constructor(address, settings) {
    this.#isTls = settings.tls !== undefined || address.startsWith("tls:");
    this.address = address.replace(/^tls:/, "");
    this.#settings = settings;
    const path = this.address.slice(5);
    this.#place = this.address.startsWith("unix:") ? (path === "" ? undefined : { path }) : parse(this.address);
  }

  get isAddress() {
    return this.#place !== undefined;
  }

  get isUsable() {
    return this.connection !== undefined && this.connection.isUsable;
  }

  get inFlight() {
    return this.connection?.calls.size ?? 0;
  }

  /** Begins to connect, where that is not under way and there is no connection. */
  open() {
    if (this.isClosed || !this.isAddress || this.isUsable || this.#isOpening) return;
    this.#isOpening = true;
    this.#open().finally(() => {
      this.#isOpening = false;
      this.#tell();
    });
  }

  /**
   * A connection that takes calls.
   *
   * Rejects with an `RpcError` of a call that was not sent: the last failure to connect, where that has lasted for longer
   * than `failFastAfterMs`; the deadline, a time of `performance.now()`; or the signal's reason.
   */
  async ready(deadline, signal) {
    for (;;) {
      signal?.throwIfAborted();
      if (this.isClosed) throw this.#notSent(Code.UNAVAILABLE, "the client was closed", { isFinal: true });
      if (!this.isAddress) {
        const reason = `\`${this.address}\` is not an address: write HOST:PORT or unix:PATH, for example 127.0.0.1:8889`;
        throw this.#notSent(Code.UNAVAILABLE, reason, { isFinal: true });
      }
      if (this.isUsable) return this.connection;
      this.open();
      let left = deadline - performance.now();
      if (left <= 0) throw this.#notSent(Code.DEADLINE_EXCEEDED, "no connection before the deadline");
      if (this.#failingSince !== undefined && this.#failure !== undefined) {
        const patience = this.#failingSince + this.#settings.failFastAfterMs - performance.now();
        if (this.#isFinal || patience <= 0) throw this.#notSent(this.#failure.code, this.#failure.reason);
        left = Math.min(left, patience);
      }
      await this.#change(left, signal);
    }
  }

  /** Resolves at the next change, after a time, or when the signal says so. */
  #change(ms, signal) {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, Math.min(Math.ceil(ms), 2 ** 31 - 1));
      signal?.addEventListener("abort", done);
      this.#waiting.push(done);
    });
  }

  #tell() {
    for (const done of this.#waiting.splice(0)) done();
  }

  #notSent(code, message, about = {}) {
    return new RpcError(code, message, { ...about, address: this.address, sent: false });
  }

  // Connecting

  /** Tries until it succeeds, with full jitter in a window that grows with the time of failing. */
  async #open() {
    const { reconnectBaseMs, reconnectCapMs } = this.#settings;
    let windowMs = reconnectBaseMs;
    if (this.#comeBackMs > 0) {
      const pause = Math.min(this.#comeBackMs, reconnectCapMs);
      this.#comeBackMs = 0;
      await this.#pause(pause * (1 + Math.random()));
    } else if (this.#turnedAway > 1) {
      windowMs = Math.min(reconnectCapMs, reconnectBaseMs * 2 ** Math.min(this.#turnedAway, 16));
      this.#failingSince ??= performance.now();
      await this.#pause(windowMs * Math.random());
    } else if (this.#shortLived > 1) {
      await this.#pause(reconnectBaseMs * (0.5 + Math.random() / 2));
    }
    while (!this.isClosed) {
      try {
        const connection = await this.#attempt();
        this.#failingSince = undefined;
        this.#failure = undefined;
        this.#isFinal = false;
        if (connection.isUsable) this.connection = connection;
        return;
      } catch (error) {
        if (!(error instanceof Error)) throw error;
        const isRefused = error instanceof RpcError && error.answered;
        this.#failed(error, isRefused);
        await this.#pause(isRefused ? reconnectCapMs : windowMs * Math.random());
        windowMs = Math.min(reconnectCapMs, windowMs * 2);
      }
    }
  }

  /** A pause that ends with the client, and keeps no process alive. */
  #pause(ms) {
    return new Promise((resolve) => {
      const { signal } = this.#closing;
      const done = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, ms).unref();
      signal.addEventListener("abort", done);
      if (signal.aborted) done();
    });
  }

  #failed(error, isFinal) {
    const code = error instanceof RpcError ? error.code : Code.UNAVAILABLE;
    const reason = error instanceof RpcError ? error.reason : `cannot connect: ${error.message || error.code}`;
    this.#failure = this.#notSent(code, isFinal ? `the server refuses this client's token: ${reason}` : reason);
    this.#isFinal = isFinal;
    this.#failingSince ??= performance.now();
    this.#tell();
  }

  /** One attempt: TCP, TLS and authentication within `connectTimeoutMs`. */
  async #attempt() {
    const { connectTimeoutMs } = this.#settings;
    const tooLate = new Error(`no answer within \`connectTimeoutMs\` of ${connectTimeoutMs} ms`);
    const token = this.#token();
    const socket = this.#socket();
    const abort = () => socket.destroy(new Error("the client was closed"));
    this.#closing.signal.addEventListener("abort", abort);
    const timer = setTimeout(() => socket.destroy(tooLate), connectTimeoutMs);
    try {
      await new Promise((resolve, reject) => {
        socket.once(this.#isTls && !this.address.startsWith("unix:") ? "secureConnect" : "connect", resolve);
        socket.once("error", reject);
        socket.once("close", () => reject(new Error("the server closed the connection")));
      });
      socket.removeAllListeners("error").removeAllListeners("close");
      this.#refuseOwnEnd(socket);
      const connection = new Connection(socket, this.address, this.#settings, (...end) => this.#ended(...end));
      if (token !== undefined) {
        socket.ref();
        await this.#authenticate(connection, token);
      }
      return connection;
    } finally {
      clearTimeout(timer);
      this.#closing.signal.removeEventListener("abort", abort);
    }
  }

  #socket() {
    const { tls: options, keepaliveIdleMs } = this.#settings;
    const { path, host } = this.#place;
    if (path !== undefined) return net.connect({ path });
    const to = { ...this.#place, noDelay: true, keepAlive: keepaliveIdleMs > 0, keepAliveInitialDelay: keepaliveIdleMs };
    if (!this.#isTls) return net.connect(to);
    const read = (file) => (file === undefined ? undefined : readFileSync(file));
    const servername = options?.serverName ?? (net.isIP(host) ? "" : host);
    return tls.connect({
      ...to,
      servername,
      checkServerIdentity: (_, certificate) => tls.checkServerIdentity(servername || host, certificate),
      ca: read(options?.caFile),
      cert: read(options?.certificateFile),
      key: read(options?.keyFile),
      minVersion: "TLSv1.2",
      ALPNProtocols: ["ndjson-rpc/1"],
    });
  }

  /** A local port without a listener can be connected to itself. There is no server at its other end. */
  #refuseOwnEnd(socket) {
    if (socket.localPort !== undefined && socket.localPort === socket.remotePort && socket.localAddress === socket.remoteAddress) {
      socket.resetAndDestroy();
      throw new Error("connection refused: it was connected to itself, so no server listens there");
    }
  }

  /** Authenticates the connection. A server that knows no tokens (code 12) is called without. */
  async #authenticate(connection, token) {
    try {
      await new Promise((resolve, reject) => {
        const call = new Call((error, data) => (error === undefined ? resolve(data) : reject(error)));
        connection.begin(call, frames.request(frames.AUTHENTICATE, { token }), undefined, this.#settings.ordered);
      });
    } catch (error) {
      if (error.code === Code.UNIMPLEMENTED) return;
      connection.end("it could not be authenticated");
      throw error;
    }
  }

  #token() {
    const { token, tokenFile } = this.#settings;
    if (token !== undefined || tokenFile === undefined) return token;
    if (statSync(tokenFile).size > TOKEN_BYTES_MAX) throw new Error(`${tokenFile} is longer than ${TOKEN_BYTES_MAX} bytes, and not a token`);
    const read = readFileSync(tokenFile, "utf8").trim();
    if (read === "") throw new Error(`${tokenFile} is empty; it must hold the token`);
    return read;
  }

  // The end

  /** A connection is over. One that was in use is wanted again; an idle one is opened by the next call. */
  #ended(connection, hasLostCalls) {
    if (this.isClosed) return;
    if (connection.unreadOneways > 0) {
      const reason = `${connection.ended}; of ${connection.unreadOneways} oneway calls nothing shows that they were read`;
      this.lostOneways = new RpcError(Code.UNAVAILABLE, reason, { address: this.address, isLost: true });
    }
    const isShortLived = performance.now() - connection.began < this.#settings.reconnectBaseMs;
    this.#shortLived = isShortLived ? this.#shortLived + 1 : 0;
    if (connection.hasServed) {
      this.#turnedAway = 0;
    } else {
      this.#turnedAway += 1;
      this.#comeBackMs = connection.farewell?.retryAfterMs ?? 0;
    }
    if (connection !== this.connection || !hasLostCalls) return;
    this.#failure = this.#notSent(Code.UNAVAILABLE, connection.ended);
    this.#failingSince = performance.now();
    this.open();
  }

  /** Closes the connection; calls in flight fail. */
  close() {
    this.isClosed = true;
    this.#closing.abort();
    this.connection?.end("the client was closed");
    this.#tell();
  }
}

/** What all calls of a client together may add to the load by trying again: a share of the calls, and a few a second. */
export class RetryBudget {
  // First tries so far.
  calls = 0;
  #share;
  #perSecond;
  #tokens;
  #at = performance.now();
  #rate = 0;
  #counted = 0;

  constructor({ retryBudgetPercent, retryBudgetPerSecond }) {
    this.#share = retryBudgetPercent / 100;
    this.#perSecond = retryBudgetPerSecond;
    this.#tokens = retryBudgetPerSecond;
  }

  /** Takes the right to another try, where there is one left. */
  withdraw() {
    const windowS = 10;
    const now = performance.now();
    const elapsed = Math.max((now - this.#at) / 1000, 1e-9);
    const calls = this.calls - this.#counted;
    this.#at = now;
    this.#counted = this.calls;
    const weight = Math.exp(-elapsed / windowS);
    this.#rate = this.#rate * weight + (calls / elapsed) * (1 - weight);
    // What is not used within the window is lost.
    const most = this.#perSecond + this.#rate * this.#share * windowS;
    this.#tokens = Math.min(most, this.#tokens + calls * this.#share + elapsed * this.#perSecond);
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }
}
