// What a TypeScript program may do with the types, and what it may not; `tsc --strict` compiles it.

import { Client, Code, RpcError, define, shared, type CallOptions, type Settings, type Stream, type Timing } from "rpc-client";

interface Receipt {
  readonly seq: number;
}

const settings: Settings = { callTimeoutMs: 2_000, tls: { caFile: "ca.pem" }, idempotentCmdids: [1002] };
define("log", "127.0.0.1:8889", settings);

export async function append(message: string): Promise<number | undefined> {
  const log: Client = shared("log");
  const options: CallOptions = { timeoutMs: 500, signal: AbortSignal.timeout(1_000), meta: { traceparent: "00" } };
  try {
    const onTiming = ({ queueUs, runUs }: Timing): void => console.log(queueUs + runUs);
    const { seq } = await log.call<Receipt>(1001, { level: "info", service: "order", message }, { ...options, onTiming });
    return seq;
  } catch (error) {
    if (error instanceof RpcError && error.code === Code.INVALID_ARGUMENT) {
      const details: unknown = error.details;
      console.log(error.reason, details, error.mayHaveRun, error.retryAfterMs);
      return undefined;
    }
    throw error;
  }
}

export async function count(client: Client): Promise<number> {
  const items: Stream<{ i: number }> = await client.stream<{ i: number }>(10005, { n: 3 });
  let sum = 0;
  for await (const { i } of items) sum += i;
  return sum;
}

// @ts-expect-error: a setting that there is not
new Client("127.0.0.1:8889", { callTimeout: 5 });
// @ts-expect-error: a cmdid is a number
shared("log").call("1001");
// @ts-expect-error: failures are made by calls alone
new RpcError(3, "no");
// @ts-expect-error: what a call says stands
new Client("127.0.0.1:8889").settings.callTimeoutMs = 5;
