// Every setting and its default; index.d.ts says what each means.

const DEFAULTS = Object.freeze({
  callTimeoutMs: 5_000,
  connectTimeoutMs: 3_000,
  failFastAfterMs: 1_000,
  reconnectBaseMs: 50,
  reconnectCapMs: 5_000,
  inFlightPerConnection: 65_536,
  outputBytesMax: 8_388_608,
  frameBytesMax: 16_777_216,
  streamCredit: 64,
  streamBytesMax: 16_777_216,
  ordered: false,
  keepaliveIdleMs: 10_000,
  pingIntervalMs: 5_000,
  pingMissesMax: 2,
  writeStallTimeoutMs: 10_000,
  attemptsMax: 3,
  retryBaseMs: 10,
  retryCapMs: 1_000,
  retryBudgetPercent: 20,
  retryBudgetPerSecond: 10,
  idempotentCmdids: Object.freeze([]),
  tls: undefined,
  token: undefined,
  tokenFile: undefined,
});

const AT_LEAST_ONE = new Set(["inFlightPerConnection", "outputBytesMax", "frameBytesMax", "streamCredit", "streamBytesMax", "attemptsMax"]);

/** The settings with their defaults. Throws a `TypeError` for a name that there is not, a `RangeError` for a number. */
export function complete(settings = {}) {
  for (const name of Object.keys(settings)) {
    if (!(name in DEFAULTS)) {
      throw new TypeError(`there is no setting \`${name}\`; there are: ${Object.keys(DEFAULTS).join(", ")}`);
    }
  }
  for (const [name, value] of Object.entries(settings)) {
    const least = AT_LEAST_ONE.has(name) ? 1 : 0;
    if (typeof DEFAULTS[name] === "number" && !(Number.isInteger(value) && value >= least)) {
      throw new RangeError(`\`${name}\` is ${value}; it must be an integer, at least ${least}`);
    }
  }
  return Object.freeze({ ...DEFAULTS, ...settings });
}
