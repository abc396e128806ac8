// Calls every command of the SMS service by the client that `rpc gen typescript` writes, has its errors, and follows messages
// by its stream; `tsc --strict` compiles it.

import { Client, Code, RpcError } from "rpc-client";

import {
  DestinationRefusedError,
  MayDoubleError,
  NoGatewayError,
  NumberInvalidError,
  NumberLimitError,
  NumberOptedOutError,
  PrefixLimitError,
  SmsClient,
  TextRefusedError,
  TooLateError,
  type Class,
  type Send,
  type Status,
  type TemplateUnknownError,
} from "./daemon_client.js";

declare const process: { readonly argv: readonly string[] };

const TOMORROW = Date.now() + 86_400_000;

function same(found: unknown, expected: unknown): void {
  const [one, other] = [JSON.stringify(found), JSON.stringify(expected)];
  if (one !== other) throw new Error(`${one} is not ${other}`);
}

function holds(it: boolean, what: string): void {
  if (!it) throw new Error(what);
}

/** The failure of this call, which is one of these. */
async function failure<Kind>(kind: { readonly prototype: Kind }, call: Promise<unknown>): Promise<Kind> {
  try {
    await call;
  } catch (error) {
    if (error instanceof (kind as unknown as new () => Kind)) return error;
    throw error;
  }
  throw new Error("the call succeeded");
}

/** Follows a message from its beginning until it has this status; the statuses that it had. */
async function until(sms: SmsClient, id: string, status: Status): Promise<Status[]> {
  const states: Status[] = [];
  for await (const { events } of await sms.watch({ id, after: 0 })) {
    states.push(...events.map((event) => event.to));
    if (states.at(-1) === status) return states;
  }
  throw new Error(`the stream ended before the message was ${status}`);
}

/** A message from its acceptance to the phone, one that is taken back, and one that may arrive twice. */
async function messages(sms: SmsClient): Promise<void> {
  const message: Send = { to: "+8613800138000", text: "hello", tags: { order: "7" } };
  const sent = await sms.send(message, { idempotencyKey: "order 7" });
  const again = await sms.send(message, { idempotencyKey: "order 7" });
  same([sent.country, sent.segments, sent.dry_run, again.duplicate], ["CN", 1, true, true]);
  const id: string = sent.id;
  same(again.id, id);
  same(await until(sms, id, "sent"), ["queued", "sending", "sent"]);

  const [gateway] = (await sms.gateways()).gateways;
  const name = gateway?.name ?? "";
  same(await sms.receipt({ gateway: name, state: "delivered", id }), { matched: true });
  const [found] = (await sms.status({ key: "order 7" })).messages;
  same([found?.status, found?.to, found?.tags], ["delivered", "+86138****8000", { order: "7" }]);
  const listed = await sms.list({ tag: "order=7", status: ["delivered"] });
  same(listed.messages.map((it) => it.id), [id]);
  const { to, text } = await sms.reveal({ id });
  same([to, text], [message.to, "hello"]);

  const later = await sms.send({ to: "+8613800138001", text: "later", not_before: TOMORROW });
  same([later.status, (await sms.cancel({ id: later.id })).status], ["scheduled", "cancelled"]);
  const tooLate = await failure(TooLateError, sms.cancel({ id }));
  const status: Status = tooLate.details.status;
  same(status, "delivered");
  await sms.pause({ gateway: name, paused: true });
  same((await sms.gateways()).gateways[0]?.state, "paused");
  same((await sms.resend({ id: later.id })).status, "queued");
  await sms.pause({ gateway: name, paused: false });
  same((await until(sms, later.id, "sent")).at(-1), "sent");

  same(await sms.receipt({ gateway: name, state: "undelivered", id: later.id }), { matched: true });
  const mayDouble = await failure(MayDoubleError, sms.resend({ id: later.id }));
  same(mayDouble.details.status, "undelivered");
  same((await sms.resend({ id: later.id, may_double: true })).status, "queued");
}

/** The other errors of the service. */
async function refusals(sms: SmsClient): Promise<void> {
  const to = "+8613800138002";
  const text = "a";
  holds((await failure(NumberInvalidError, sms.send({ to: "12345", text }))).details.reason !== "", "no reason");
  const abroad = await failure(DestinationRefusedError, sms.send({ to: "+4915112345678", text }));
  holds(abroad.details.reason !== "", "no reason");
  holds((await failure(TextRefusedError, sms.send({ to, text: "" }))).details.reason !== "", "no reason");
  same((await sms.send({ to, template: "t", vars: { code: "1" } })).status, "queued");
  holds((await failure(NoGatewayError, sms.send({ to, text, gateway: "none" }))).details.reason !== "", "no reason");

  const otp: Class = "otp";
  await sms.send({ to, text, class: otp });
  const limit = await failure(NumberLimitError, sms.send({ to, text, class: otp }));
  same(limit.retryAfterMs, limit.details.retry_after_ms);
  await sms.send({ to: "+8613800138003", text, class: otp });
  const prefix = await failure(PrefixLimitError, sms.send({ to: "+8613800138004", text, class: otp }));
  holds(prefix.details.retry_after_ms > 0, "no time");

  same((await sms.optout({ to, action: "add", scope: "marketing" })).opted_out, true);
  const optedOut = await failure(NumberOptedOutError, sms.send({ to, text, class: "marketing" }));
  same([optedOut.code, optedOut.mayHaveRun], [1101, true]);
  const checked = await sms.check({ to, text, class: "marketing" });
  same([checked.allowed, checked.type, checked.reasons.length], [false, "mobile", 1]);
  same((await sms.optout({ to, action: "remove" })).opted_out, false);

  const missing = await failure(RpcError, sms.status({ id: "01KDVDNA0000000000000004HM" }));
  same([missing.constructor === RpcError, missing.code], [true, Code.NOT_FOUND]);
}

/** The one error that this daemon does not have: a gateway of kind `file` takes every template. */
export function templateOf(error: TemplateUnknownError): string {
  return error.details.template;
}

/** What the types refuse. */
export async function misuse(sms: SmsClient): Promise<void> {
  // @ts-expect-error: `to` is missing
  await sms.send({ text: "to no one" });
  // @ts-expect-error: there is no such class
  await sms.send({ to: "+8613800138000", text: "a", class: "urgent" });
  // @ts-expect-error: `status` is a list
  await sms.list({ status: "sent" });
  // @ts-expect-error: a call that may run twice has no key
  await sms.status({ id: "a" }, { idempotencyKey: "k" });
}

const [address = "", token = ""] = process.argv.slice(2);
const client = new Client(address, { token });
const sms = new SmsClient(client);
await messages(sms);
await refusals(sms);
client.close();
const commands = Object.getOwnPropertyNames(SmsClient.prototype).length - 1;
console.log(`${commands} commands of the SMS service were called from TypeScript`);
