// Lines of the protocol: requests as text, and replies as checked fields.

import { Code, RpcError } from "./errors.js";

export const DESCRIBE = 1;
export const AUTHENTICATE = 6;
export const ID_MAX = Number.MAX_SAFE_INTEGER;
const CMDID_MAX = 2 ** 32 - 1;
// Levels of nesting that a line may have; the object of the frame is the first one.
const DEPTH_MAX = 128;

// The fields of a reply or a notice.
const FIELDS = new Set(["id", "code", "data", "more", "message", "details", "rejected", "retry_after_ms", "event"]);

// Servers write the id first, so that it can be read of a line that is otherwise broken.
const PLAIN_ID = /^[ \t]*\{[ \t]*"id"[ \t]*:[ \t]*(\d+)[ \t]*[,}]/;
const BEGINS_WITH_ID = /^[ \t]*\{[ \t]*"id"/;

/** A line that is neither a reply nor a notice; `id` is the call that it names, if it names one. */
export class Nonsense extends Error {
  constructor(message, id) {
    super(message);
    this.id = id;
  }
}

/** All of a request behind the id: `"cmdid":…}` and the newline. Throws `RpcError` where it has no JSON form. */
export function request(cmdid, params, { timeoutMs, oneway, credit, meta, withTimestamp } = {}) {
  if (!Number.isInteger(cmdid) || cmdid < 0 || cmdid > CMDID_MAX) {
    throw new RpcError(Code.INVALID_ARGUMENT, `cmdid is ${cmdid}; it must be from 0 to ${CMDID_MAX}`, { sent: false });
  }
  let text = `"cmdid":${cmdid}`;
  if (withTimestamp) text += `,"timestamp":${Math.floor(Date.now() / 1000)}`;
  if (timeoutMs !== undefined) text += `,"timeout_ms":${timeoutMs}`;
  if (oneway) text += ',"oneway":true';
  if (credit !== undefined) text += `,"credit":${credit}`;
  if (meta !== undefined) text += `,"meta":${json(meta)}`;
  return `${text},"params":${json(params)}}\n`;
}

function json(value) {
  let text;
  try {
    text = JSON.stringify(value);
  } catch (error) {
    throw new RpcError(Code.INVALID_ARGUMENT, `the params cannot be written as JSON: ${error.message}`, { sent: false });
  }
  if (text === undefined) {
    throw new RpcError(Code.INVALID_ARGUMENT, `the params cannot be written as JSON: ${typeof value}`, { sent: false });
  }
  return text;
}

/** A whole line: the id, if there is one, and what `request` made. */
export const line = (id, rest) => (id === undefined ? `{${rest}` : `{"id":${id},${rest}`);

/** The line that gives a call up. */
export const cancel = (id) => `{"cmdid":4,"oneway":true,"params":{"id":${id}}}\n`;

/** The line that lets a stream send more items. */
export const credit = (id, items) => `{"cmdid":5,"oneway":true,"params":{"id":${id},"n":${items}}}\n`;

/** A ping with an id of its own. */
export const ping = (id) => `{"id":${id},"cmdid":0,"params":null}\n`;

/** A reply or a notice, each known field once and of the right type; `isUtf8`: the bytes were. Throws `Nonsense`. */
export function parse(text, isUtf8) {
  const named = PLAIN_ID.exec(text);
  const nonsense = (message, id = named ? Number(named[1]) : undefined) => new Nonsense(message, id);
  if (!isUtf8) throw nonsense("the reply is not UTF-8");
  if (text.length > 2 * DEPTH_MAX && isTooDeep(text)) throw nonsense(`the reply is nested deeper than ${DEPTH_MAX} levels`);
  let reply;
  try {
    reply = JSON.parse(text);
  } catch (error) {
    throw nonsense(`the reply is not JSON: ${error.message}`);
  }
  if (typeof reply !== "object" || reply === null || Array.isArray(reply)) {
    throw nonsense("the reply is not a JSON object", undefined);
  }
  const { id, code } = reply;
  const repeated = repeatedField(text, reply);
  // JSON.parse does not tell 1.0 from 1; the text does.
  const isInteger = Number.isSafeInteger(id) && id >= 0 && (named !== null || !BEGINS_WITH_ID.test(text));
  if (id !== undefined && (!isInteger || repeated === "id")) {
    throw new Nonsense("`id` of the reply is repeated, or not an integer", undefined);
  }
  if (repeated !== undefined) throw new Nonsense(`\`${repeated}\` of the reply is repeated`, id);
  // The usual success needs no further check.
  if (code === 0 && reply.more === undefined) return reply;
  if (code === undefined && typeof reply.event === "string") return reply;
  const isCount = (value) => Number.isInteger(value) && value >= 0;
  const fits =
    isCount(code) &&
    (reply.more === undefined || typeof reply.more === "boolean") &&
    (reply.message === undefined || typeof reply.message === "string") &&
    (reply.rejected === undefined || typeof reply.rejected === "boolean") &&
    (reply.retry_after_ms === undefined || isCount(reply.retry_after_ms));
  if (!fits) throw new Nonsense("a field of the reply is missing, or has the wrong type", id);
  return reply;
}

/** A known field that stands twice in the object itself; what is inside `data` may repeat. */
function repeatedField(text, reply) {
  // If no name of the reply is in its line twice, which is the rule, none is repeated.
  const stands = (name) => {
    const quoted = `"${name}"`;
    return text.indexOf(quoted) !== text.lastIndexOf(quoted);
  };
  if (!text.includes("\\u") && !Object.keys(reply).some((name) => FIELDS.has(name) && stands(name))) return undefined;

  const seen = new Set();
  let depth = 0;
  let isName = false;
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at];
    if (character === '"') {
      const start = at;
      for (at += 1; text[at] !== '"'; at += 1) if (text[at] === "\\") at += 1;
      if (depth === 1 && isName) {
        const name = JSON.parse(text.slice(start, at + 1));
        if (FIELDS.has(name) && seen.has(name)) return name;
        seen.add(name);
        isName = false;
      }
    } else if (character === "{" || character === "[") {
      depth += 1;
      isName = depth === 1;
    } else if (character === "}" || character === "]") {
      depth -= 1;
    } else if (character === "," && depth === 1) {
      isName = true;
    }
  }
  return undefined;
}

/** Whether brackets, outside of strings, are nested too deep. */
function isTooDeep(text) {
  let openers = 0;
  for (const bracket of "[{") {
    for (let at = text.indexOf(bracket); at >= 0 && openers <= DEPTH_MAX; at = text.indexOf(bracket, at + 1)) openers += 1;
  }
  if (openers <= DEPTH_MAX) return false;
  let depth = 0;
  let isInString = false;
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at];
    if (isInString) {
      if (character === "\\") at += 1;
      else if (character === '"') isInString = false;
    } else if (character === '"') {
      isInString = true;
    } else if (character === "[" || character === "{") {
      depth += 1;
      if (depth > DEPTH_MAX) return true;
    } else if (character === "]" || character === "}") {
      depth -= 1;
    }
  }
  return false;
}

/** The metadata of a call that may ask for its times. */
export const metaOf = ({ meta, onTiming }) => (onTiming === undefined ? meta : { ...meta, timing: "1" });

/** Where the time of a call went at the server; undefined where its reply does not say, or not in a way that can be read. */
export function timing(reply) {
  const { queue_us: queueUs, run_us: runUs } = reply.timing ?? {};
  const isCount = (us) => Number.isInteger(us) && us >= 0;
  return isCount(queueUs) && isCount(runUs) ? { queueUs, runUs } : undefined;
}

/** The failure that a reply with a code other than 0 tells. */
export function failure(reply, address) {
  return new RpcError(reply.code, reply.message ?? "", {
    address,
    answered: true,
    rejected: reply.rejected ?? false,
    details: reply.details,
    retryAfterMs: reply.retry_after_ms,
  });
}
