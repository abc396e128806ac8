// One connection: lines out in one write, replies to the calls that wait for them, and its own end.

import { isUtf8 } from "node:buffer";

import { Code, RpcError } from "./errors.js";
import * as frames from "./frames.js";

// Ids of pings, which no call comes to.
const PING_IDS = [frames.ID_MAX, frames.ID_MAX - 1];
// The longest time that a timer of Node takes, in milliseconds.
const TIMER_MAX = 2 ** 31 - 1;
const NEWLINE = 10;

/** One call in flight. `onEnd(error, data)` is called once, unless the caller gives the call up before that. */
export class Call {
  id = undefined;
  isOver = false;
  // Where its line ends in the count of all characters that the connection was given.
  writtenAt = 0;
  timer = undefined;
  // Is told where the time of the call went at the server.
  onTiming = undefined;
  // Takes an item of a stream, from a line of this number of characters; returns the failure where it is not wanted.
  onItem = undefined;

  constructor(onEnd) {
    this.onEnd = onEnd;
  }

  end(error, data) {
    clearTimeout(this.timer);
    this.onEnd(error, data);
  }
}

export class Connection {
  calls = new Map();
  // Calls without an id, in their order; one that was given up keeps its place.
  ordered = [];
  // Which store has the keys of a command, for those that were asked about.
  stores = new Map();
  isLeaving = false;
  // Whether anything was answered, and whether any of it was more than a rejection.
  hasAnswered = false;
  hasServed = false;
  began = performance.now();
  // Oneway calls that no answer shows to have been read, and where the last one ends.
  unreadOneways = 0;
  #onewayAt = 0;
  // What the server last said to no call: why it closes, as a rule.
  farewell = undefined;
  // Why it is over, once it is.
  ended = undefined;
  #socket;
  #settings;
  #onEnd;
  #lastId = 0;
  #output = "";
  #isFlushDue = false;
  #isWriting = false;
  #stall = undefined;
  #appended = 0;
  #handedOver = 0;
  #flushes = [];
  #rest = [];
  #restBytes = 0;
  #room = [];
  #heardAt = 0;
  #pings = 0;
  #watch = undefined;

  /** Takes a socket that is connected into use. `onEnd(connection, hasLostCalls)` is told of its end. */
  constructor(socket, address, settings, onEnd) {
    this.#socket = socket;
    this.address = address;
    this.#settings = settings;
    this.#onEnd = onEnd;
    socket.on("data", (bytes) => this.#received(bytes));
    socket.on("end", () => this.end("the server closed the connection"));
    socket.on("error", (error) => this.end(`the connection was lost: ${error.message}`));
    socket.on("close", () => this.end("the connection was closed"));
    // An idle connection keeps no process alive.
    socket.unref();
  }

  // Calls

  get isUsable() {
    return this.ended === undefined && !this.isLeaving;
  }

  get hasRoom() {
    const { inFlightPerConnection, outputBytesMax } = this.#settings;
    return this.#output.length < outputBytesMax && this.calls.size + this.ordered.length < inFlightPerConnection;
  }

  /** Resolves when there may be room, or the connection is over. */
  room() {
    return new Promise((resolve) => this.#room.push(resolve));
  }

  /** Sends a call. `rest` is what `frames.request` made; `leftMs` is the call's time, if it has any. */
  begin(call, rest, leftMs, isOrdered) {
    if (isOrdered) {
      this.ordered.push(call);
    } else {
      call.id = this.#nextId();
      this.calls.set(call.id, call);
    }
    this.write(frames.line(call.id, rest));
    call.writtenAt = this.#appended;
    if (leftMs !== undefined) this.#expireIn(call, leftMs);
  }

  /** A time that is longer than a timer takes is waited for in parts. */
  #expireIn(call, leftMs) {
    const later = () => this.#expireIn(call, leftMs - TIMER_MAX);
    if (leftMs > TIMER_MAX) call.timer = setTimeout(later, TIMER_MAX);
    else call.timer = setTimeout(() => this.#expire(call), leftMs);
  }

  /** Sends a oneway call. */
  notify(rest, isOrdered) {
    this.write(frames.line(isOrdered ? undefined : this.#nextId(), rest));
    this.unreadOneways += 1;
    this.#onewayAt = this.#appended;
  }

  /** The caller has lost interest: tells the server, and drops what still comes. */
  giveUp(call) {
    if (call.isOver) return;
    call.isOver = true;
    clearTimeout(call.timer);
    // An ordered call keeps its place, and cannot be named.
    if (call.id !== undefined && this.calls.delete(call.id) && this.ended === undefined) {
      this.write(frames.cancel(call.id));
    }
    this.#afterACall();
  }

  /** Puts a line into the output; what gathers until the code that runs is done leaves in one write. */
  write(line) {
    if (this.#output === "" && !this.#isWriting) this.#socket.ref();
    this.#output += line;
    this.#appended += line.length;
    if (!this.#isFlushDue) {
      this.#isFlushDue = true;
      queueMicrotask(() => this.#flush());
    }
  }

  /** Resolves when the system has everything that was sent so far, or the connection is over. */
  flushed() {
    if (this.#output === "" && !this.#isWriting) return Promise.resolve();
    return new Promise((resolve) => this.#flushes.push(resolve));
  }

  #nextId() {
    if (this.#lastId === 0) this.#beginToWatch();
    this.#lastId = this.#lastId >= frames.ID_MAX - 2 ? 1 : this.#lastId + 1;
    return this.#lastId;
  }

  #flush() {
    this.#isFlushDue = false;
    // What waits here while the system does not take everything is known not to have been sent.
    if (this.#isWriting || this.ended !== undefined) return;
    if (this.#output !== "") {
      const output = this.#output;
      this.#output = "";
      this.#handedOver += output.length;
      this.#isWriting = true;
      this.#socket.write(output, () => this.#written());
      if (this.#socket.writableLength > 0) {
        this.#watchStall();
        return;
      }
      this.#isWriting = false;
    }
    this.#tell(this.#flushes);
    if (this.#room.length > 0 && this.hasRoom) this.#tell(this.#room);
    this.#restIfIdle();
  }

  /** A server that does not take what was written in time is gone. */
  #watchStall() {
    const { writeStallTimeoutMs: limit } = this.#settings;
    if (limit === 0) return;
    this.#stall = setTimeout(() => this.end(`the server took no bytes for ${limit} ms`), Math.min(limit, TIMER_MAX));
  }

  #written() {
    clearTimeout(this.#stall);
    if (!this.#isWriting) return;
    this.#isWriting = false;
    this.#flush();
  }

  #tell(waiting) {
    for (const resolve of waiting.splice(0)) resolve();
  }

  #restIfIdle() {
    const isIdle = this.calls.size === 0 && this.ordered.length === 0 && this.#output === "" && !this.#isWriting;
    if (isIdle) this.#socket.unref();
  }

  #expire(call) {
    // Even a line that waits still leaves when the server reads again.
    this.giveUp(call);
    call.end(new RpcError(Code.DEADLINE_EXCEEDED, "no reply before the deadline", { address: this.address }));
  }

  // Replies

  #received(bytes) {
    this.#heardAt = performance.now();
    this.#pings = 0;
    const end = bytes.lastIndexOf(NEWLINE);
    const limit = this.#settings.frameBytesMax;
    if (end < 0) {
      this.#keep(bytes);
      return;
    }
    let lines = bytes.subarray(0, end);
    if (this.#rest.length > 0) {
      lines = Buffer.concat([...this.#rest, lines]);
      this.#rest = [];
      this.#restBytes = 0;
    }
    const isSound = isUtf8(lines);
    let start = 0;
    while (start <= lines.length && this.ended === undefined) {
      let stop = lines.indexOf(NEWLINE, start);
      if (stop < 0) stop = lines.length;
      const isReturn = stop > start && lines[stop - 1] === 13;
      const size = stop - start - (isReturn ? 1 : 0);
      if (size > limit) return this.#tooLong();
      if (size > 0) {
        const line = lines.utf8Slice(start, start + size);
        this.#take(line, isSound || isUtf8(lines.subarray(start, start + size)));
      }
      start = stop + 1;
    }
    if (end + 1 < bytes.length) this.#keep(bytes.subarray(end + 1));
  }

  #keep(bytes) {
    this.#rest.push(bytes);
    this.#restBytes += bytes.length;
    if (this.#restBytes > this.#settings.frameBytesMax + 1) this.#tooLong();
  }

  #tooLong() {
    this.end(`a reply is longer than \`frameBytesMax\` of ${this.#settings.frameBytesMax} bytes`);
  }

  #take(line, isSound) {
    let reply;
    try {
      reply = frames.parse(line, isSound);
    } catch (nonsense) {
      if (!(nonsense instanceof frames.Nonsense)) throw nonsense;
      if (nonsense.id === undefined) return this.end(`nonsense came: ${nonsense.message}`);
      const call = this.calls.get(nonsense.id);
      if (call !== undefined) this.#fail(call, nonsense.message);
      return;
    }
    if (reply.code !== undefined) this.#deliver(reply, line.length);
    else if (reply.event === "goaway") this.leave();
  }

  #deliver(reply, size) {
    const { id, code } = reply;
    const call = id === undefined ? this.ordered[0] : this.calls.get(id);
    if (call === undefined && id === undefined) {
      this.farewell = code === 0 ? undefined : frames.failure(reply, this.address);
      return;
    }
    this.hasAnswered = true;
    this.hasServed ||= !reply.rejected;
    if (call === undefined) return; // Its caller has gone, or it was a ping.
    // The server reads line by line: it has read what was sent before this call.
    if (call.writtenAt > this.#onewayAt) this.unreadOneways = 0;
    if (code === 0 && reply.more) {
      if (call.isOver) return;
      if (call.onItem === undefined) return this.#fail(call, "the server sent an item that was not asked for");
      const refusal = call.onItem(reply.data ?? null, size);
      if (refusal !== undefined) this.#fail(call, refusal.reason, refusal.code);
      return;
    }
    if (id === undefined) this.ordered.shift();
    else this.calls.delete(id);
    if (!call.isOver) {
      call.isOver = true;
      if (code === 0) call.end(undefined, reply.data ?? null);
      else call.end(frames.failure(reply, this.address));
      // Still before its caller runs: a promise tells it in a later turn.
      const timing = call.onTiming && frames.timing(reply);
      if (timing) call.onTiming(timing);
    }
    this.#afterACall();
  }

  #fail(call, message, code = Code.INTERNAL) {
    this.giveUp(call);
    call.end(new RpcError(code, message, { address: this.address }));
  }

  #afterACall() {
    if (this.#room.length > 0 && this.hasRoom) this.#tell(this.#room);
    if (this.calls.size > 0 || this.ordered.length > 0 || this.ended !== undefined) return;
    if (this.isLeaving) {
      this.#flush();
      this.#socket.destroySoon();
    } else {
      this.#restIfIdle();
    }
  }

  // Liveness: pings after received silence, and bytes that are not taken

  #beginToWatch() {
    this.#heardAt = performance.now();
    if (this.#settings.pingIntervalMs > 0) this.#lookIn(this.#settings.pingIntervalMs);
  }

  #lookIn(ms) {
    this.#watch = setTimeout(() => this.#look(), Math.min(ms, TIMER_MAX)).unref();
  }

  #look() {
    const { pingIntervalMs: interval, pingMissesMax } = this.#settings;
    const now = performance.now();
    const due = this.#heardAt + interval * (this.#pings + 1);
    // Timers of Node fire up to a millisecond early.
    if (now < due - 1) return this.#lookIn(due - now);
    if (this.#pings >= pingMissesMax) {
      const silence = Math.round(now - this.#heardAt);
      return this.end(`nothing was received for ${silence} ms, in spite of ${this.#pings} pings`);
    }
    this.write(frames.ping(PING_IDS[this.#pings % 2]));
    this.#pings += 1;
    // After a process that stood still, the ping still has its whole interval.
    this.#heardAt = Math.max(this.#heardAt, now - interval * this.#pings);
    this.#lookIn(interval);
  }

  // The end

  /** Takes no new calls, and closes when those in flight are done. */
  leave() {
    this.isLeaving = true;
    this.#tell(this.#room);
    this.#afterACall();
  }

  /** Ends the connection, and with it its calls: each learns whether it may have run. */
  end(why) {
    if (this.ended !== undefined) return;
    const { farewell } = this;
    this.ended = farewell ? `${why}, after saying: code ${farewell.code}: ${farewell.reason}` : why;
    clearTimeout(this.#watch);
    clearTimeout(this.#stall);
    // A server that turns the connection away has run none of its calls; one that has answered some may have meant
    // another one.
    const isTurnedAway = farewell !== undefined && farewell.rejected && !this.hasAnswered;
    const lost = [...this.calls.values(), ...this.ordered].filter((call) => !call.isOver);
    this.calls.clear();
    this.ordered = [];
    this.#socket.destroy();
    for (const call of lost) {
      call.isOver = true;
      const sent = call.writtenAt <= this.#handedOver && !isTurnedAway;
      call.end(new RpcError(Code.UNAVAILABLE, this.ended, { address: this.address, sent, isLost: true }));
    }
    this.#tell(this.#room);
    this.#tell(this.#flushes);
    this.#onEnd(this, lost.length > 0);
  }
}
