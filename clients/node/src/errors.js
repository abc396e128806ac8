// How a call fails, and what may be done about it.

/** The protocol's own codes. Those of services begin at 1000. */
export const Code = Object.freeze({
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
});

const NAMES = new Map(Object.entries(Code).map(([name, code]) => [code, name]));

// What makes an error one of these, also where the module was loaded twice.
const BRAND = Symbol.for("rpc-client.error.1");

/** The failure of a call. index.d.ts says what each of its properties means. */
export class RpcError extends Error {
  name = "RpcError";

  constructor(code, reason, about = {}) {
    super(reason);
    this.code = code;
    this.reason = reason;
    this.address = about.address ?? "";
    this.answered = about.answered ?? false;
    this.sent = about.sent ?? true;
    this.rejected = about.rejected ?? false;
    this.details = about.details;
    this.retryAfterMs = about.retryAfterMs;
    this.attempts = 1;
    // The connection failed under this call; another one may take it.
    Object.defineProperty(this, "isLost", { value: about.isLost ?? false });
    // No later call of the client can succeed.
    Object.defineProperty(this, "isFinal", { value: about.isFinal ?? false });
    this.message = this.#describe();
  }

  static [Symbol.hasInstance](value) {
    if (this !== RpcError) return Function.prototype[Symbol.hasInstance].call(this, value);
    return typeof value === "object" && value !== null && value[BRAND] === true;
  }

  get [BRAND]() {
    return true;
  }

  get mayHaveRun() {
    return this.sent && !this.rejected;
  }

  /** As the failure of the last of several tries; `mayHaveRun`: one before it may have run. */
  ofSeveral(attempts, mayHaveRun) {
    this.attempts = attempts;
    if (mayHaveRun) {
      this.sent = true;
      this.rejected = false;
    }
    this.message = this.#describe();
    return this;
  }

  /** The same failure in other words. */
  because(reason) {
    this.reason = reason;
    this.message = this.#describe();
    return this;
  }

  /** The same failure, of the class that a service has for its code. */
  become(classes) {
    const own = this.answered ? classes?.get(this.code) : undefined;
    return own === undefined ? this : Object.setPrototypeOf(this, own.prototype);
  }

  #describe() {
    const name = NAMES.get(this.code);
    let text = `${this.address}: code ${this.code}${name ? ` ${name}` : ""}: ${this.reason}`;
    if (this.rejected) text += " (rejected: it did not run)";
    else if (!this.answered) text += this.sent ? " (it may have run)" : " (not sent)";
    if (this.retryAfterMs !== undefined) text += ` (retry after ${this.retryAfterMs} ms)`;
    return this.attempts === 1 ? text : `${text} (${this.attempts} attempts)`;
  }
}
