// One contender of Node: makes log calls for some seconds, and prints how many a second there were, and the processor time of
// each in microseconds.
//
//     node benches/clients/load.mjs rpc --connect 127.0.0.1:9000 --seconds 2
//
// `run.py` starts the servers and runs all contenders in turns. NODE_PACKAGES is the directory in which the others' packages
// are installed.

import { createRequire } from "node:module";
import { parseArgs } from "node:util";

const LOG = 10_000;
const IN_FLIGHT = 64;
const WARM_UP_MS = 300;
const ENTRY = {
  level: "info",
  service: "order",
  message: "user 4211 logged in from 10.1.2.3",
  trace: "4bf92f3577b34da6a3ce929d0e0e4736",
  ts: 1_732_233_600_123,
};

const required = (name) => createRequire(`${process.env.NODE_PACKAGES}/package.json`)(name);

/** Each makes a call, once it has connected, and resolves with the receipt. */
const CONTENDERS = {
  async rpc(address) {
    const { Client } = await import("../../clients/node/src/index.js");
    const client = new Client(address);
    return () => client.call(LOG, ENTRY);
  },

  "grpc-js"(address) {
    const grpc = required("@grpc/grpc-js");
    const { Field, Root, Type } = required("protobufjs");
    const entry = new Type("Entry");
    for (const [at, name] of ["level", "service", "message", "trace"].entries()) entry.add(new Field(name, at + 1, "string"));
    entry.add(new Field("ts", 5, "uint64"));
    const receipt = new Type("Receipt").add(new Field("accepted", 1, "bool")).add(new Field("seq", 2, "uint64"));
    new Root().define("bench").add(entry).add(receipt);
    const client = new grpc.Client(address, grpc.credentials.createInsecure());
    const write = (value) => entry.encode(value).finish();
    const read = (bytes) => receipt.decode(bytes);
    return () =>
      new Promise((resolve, reject) => {
        client.makeUnaryRequest("/bench.Log/Log", write, read, ENTRY, (error, value) => (error ? reject(error) : resolve(value)));
      });
  },

  undici(address) {
    const { Pool } = required("undici");
    const pool = new Pool(`http://${address}`, { connections: IN_FLIGHT });
    const headers = { "content-type": "application/json" };
    return async () => {
      const { body } = await pool.request({ method: "POST", path: "/log", headers, body: JSON.stringify(ENTRY) });
      return body.json();
    };
  },
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { connect: { type: "string" }, seconds: { type: "string", default: "2" } },
});
const call = await CONTENDERS[positionals[0]](values.connect);
const begin = performance.now() + WARM_UP_MS;
const end = begin + Number(values.seconds) * 1000;
const cpu = process.cpuUsage();
let calls = 0;
let receipts = 0;

async function caller() {
  for (let now = performance.now(); now < end; now = performance.now()) {
    const { accepted } = await call();
    if (accepted !== true) throw new Error("a receipt is not accepted");
    receipts += 1;
    if (now >= begin) calls += 1;
  }
}

await Promise.all(Array.from({ length: IN_FLIGHT }, caller));
const rate = (calls * 1000) / (performance.now() - begin);
const { user, system } = process.cpuUsage(cpu);
console.log(`${rate.toFixed()} ${((user + system) / receipts).toFixed(1)}`);
process.exit(0);
