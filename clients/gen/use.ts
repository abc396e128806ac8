// Calls every command of the tutorial's service and of the daemon's by the clients that `rpc gen typescript` writes;
// `tsc --strict` compiles it.

import { Client, Code, RpcError, Stream } from "rpc-client";

import * as daemonClients from "./daemon_client.js";
import { ConflictError, LogClient, type Entry, type Level } from "./daemon_client.js";
import { ClosedError, OrdersClient, SoldOutError, type Order, type Payment } from "./orders_client.js";

declare const process: { readonly argv: readonly string[] };

function same(found: unknown, expected: unknown): void {
  const [one, other] = [JSON.stringify(found), JSON.stringify(expected)];
  if (one !== other) throw new Error(`${one} is not ${other}`);
}

/** The failure of this call. */
async function failure(call: Promise<unknown>): Promise<unknown> {
  try {
    await call;
  } catch (error) {
    return error;
  }
  throw new Error("the call succeeded");
}

/** A type for each form, told apart by its tag. */
function paidBy(payment: Payment): string {
  return payment.by === "card" ? `card until ${payment.until[0]}/${payment.until[1]}` : payment.by;
}

async function callOrders(client: Client): Promise<number> {
  const orders = new OrdersClient(client);
  same(await orders.place({ item: "fig", count: 2, speed: "fast", gifts: [{ item: "bow", count: 1 }] }), 1);
  const order: Order = { item: "fig", count: 5, payment: { by: "card", number: "4", until: [3, 2031] } };
  const number: number = await orders.place(order, { idempotencyKey: "order 1", timeoutMs: 2_000 });
  same([number, await orders.place(order, { idempotencyKey: "order 1" })], [2, 2]);

  const [found] = await orders.find({ item: "fig", at_least: 3 });
  same(found?.order.payment && paidBy(found.order.payment), "card until 3/2031");
  same((await orders.find({ item: "fig", from: "fast" })).length, 1);
  await orders.viewed("/figs", { meta: { tenant: "a" } });
  await client.flush();
  const views = await orders.views();
  same(views["/figs"], 1);
  same(await orders.seen({ idempotencyKey: "k1", meta: { tenant: "a" } }), ["k1", "a"]);
  same(await orders.seen(), [null, null]);
  same((await orders.first("fig"))?.number, 1);

  const numbers: number[] = [];
  for await (const item of await orders.watch(1)) numbers.push(item.number);
  same(numbers, [1, 2]);

  const soldOut = await failure(orders.place({ item: "fig", count: 1000 }));
  if (!(soldOut instanceof SoldOutError) || !(soldOut instanceof RpcError)) throw soldOut;
  const left: number = soldOut.details.left;
  same([left, soldOut.code, soldOut.mayHaveRun], [100, 1001, true]);
  const wrong = await failure(orders.place({ item: "fig", count: 0 }));
  if (!(wrong instanceof RpcError) || wrong instanceof SoldOutError) throw wrong;
  same(wrong.code, Code.INVALID_ARGUMENT);

  await orders.close();
  const closed = await failure(orders.place({ item: "fig", count: 1 }));
  if (!(closed instanceof ClosedError)) throw closed;
  const items = await orders.watch(2);
  same((await items.next()).value?.number, 2);
  const end = await failure(items.next());
  if (!(end instanceof ClosedError)) throw end;
  return Object.getOwnPropertyNames(OrdersClient.prototype).length - 1;
}

async function callLog(client: Client): Promise<void> {
  const log = new LogClient(client);
  const level: Level = "error";
  const { seq } = await log.append({ level, service: "gen", message: "entry", fields: { n: 1 } });
  const { entries, next } = await log.read({ after: seq - 1, service: "gen" });
  const entry: Entry | undefined = entries[0];
  same([entry?.seq, entry?.message, entry?.fields, next], [seq, "entry", { n: 1 }, seq]);
  await followLog(client, seq);
  const error = await failure(log.read({ after: next + 1000 }));
  if (!(error instanceof RpcError)) throw error;
  same(error.code, Code.OUT_OF_RANGE);

  const batch = { producer: "gen-ts", batch: 1, entries: [{ level, service: "gen", message: "in a batch" }] };
  const { first, last } = await log.appendBatch(batch);
  same(await log.appendBatch(batch), { first, last, duplicate: true });
  const conflict = await failure(log.appendBatch({ ...batch, entries: [...batch.entries, ...batch.entries] }));
  if (!(conflict instanceof ConflictError)) throw conflict;
}

/** Follows the log up to the entry of this number. */
async function followLog(client: Client, seq: number): Promise<void> {
  for await (const { entries, next } of await new LogClient(client).tail({ after: seq - 1, service: "gen" })) {
    same(entries[0]?.seq, seq);
    if (next >= seq) return;
  }
  throw new Error("the stream has ended");
}

/** Every command of every service, with the least that it may take. What it answers is right, also where it is a failure. */
async function callWithTheLeast(client: Client): Promise<number> {
  let called = 0;
  for (const [name, made] of Object.entries(daemonClients)) {
    if (!name.endsWith("Client")) continue;
    const service = new made(client) as unknown as Record<string, (...given: unknown[]) => Promise<unknown>>;
    for (const method of Object.getOwnPropertyNames(made.prototype)) {
      if (method === "constructor") continue;
      try {
        const data = await service[method]?.({}, { timeoutMs: 5_000 });
        if (data instanceof Stream) await data.return();
      } catch (error) {
        if (!(error instanceof RpcError) || !error.answered) throw error;
      }
      called += 1;
    }
  }
  return called;
}

/** What the types refuse. */
export async function misuse(orders: OrdersClient): Promise<void> {
  // @ts-expect-error: `count` is missing
  await orders.place({ item: "fig" });
  // @ts-expect-error: `count` is a number
  await orders.place({ item: "fig", count: "two" });
  // @ts-expect-error: there is no such speed
  await orders.place({ item: "fig", count: 2, speed: "soon" });
  // @ts-expect-error: a call that may run twice has no key
  await orders.find({ item: "fig" }, { idempotencyKey: "k" });
  // @ts-expect-error: what came stands
  (await orders.find({ item: "fig" }))[0].number = 5;
}

const [ordersAddress = "", daemonAddress = ""] = process.argv.slice(2);
const [orders, daemon] = [new Client(ordersAddress), new Client(daemonAddress)];
console.log(`${await callOrders(orders)} commands of the tutorial were called from TypeScript`);
await callLog(daemon);
console.log(`${await callWithTheLeast(daemon)} commands of the daemon were called from TypeScript`);
orders.close();
daemon.close();
