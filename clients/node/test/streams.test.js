// Resumable streams of a server that does what a test says, by a clock that a test can set forward.

import assert from "node:assert/strict";
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { test } from "node:test";

import { Client, Code } from "../src/index.js";

const TAIL = 1006;
const RESUMABLE = [["n", "after"]];
// As quick as tests want it.
const QUICK = { failFastAfterMs: 200, reconnectBaseMs: 1, reconnectCapMs: 1, retryBaseMs: 1, retryCapMs: 1, pingIntervalMs: 0 };

/** Runs `work` with a client of a server that answers one request of each connection by `answer`, and closes it. */
async function withServer(answer, work, settings = QUICK) {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    createInterface({ input: socket }).once("line", (line) => {
      answer(JSON.parse(line), socket);
      socket.end();
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const client = new Client(`127.0.0.1:${server.address().port}`, settings);
  try {
    return await work(client);
  } finally {
    client.close();
    server.close();
  }
}

/** Reads a stream that is lost so often before its one item, each time after it was open for so long. */
async function watch(t, openMs, lost) {
  const real = performance.now.bind(performance);
  let [ahead, calls] = [0, 0];
  t.mock.method(performance, "now", () => real() + ahead);
  const answer = ({ id }, socket) => {
    calls += 1;
    if (calls > lost) socket.write(`{"id":${id},"code":0,"data":{"n":7},"more":true}\n{"id":${id},"code":0}\n`);
    else ahead += openMs;
  };
  return withServer(answer, async (client) => {
    const items = [];
    for await (const item of await client.stream(TAIL, {}, { resumable: RESUMABLE })) items.push(item);
    return items;
  });
}

test("a stream without an item outlives any number of calls that were open for long", async (t) => {
  assert.deepEqual(await watch(t, 31_000, 60), [{ n: 7 }]);
});

test("a stream that is lost again and again soon fails", (t) =>
  assert.rejects(watch(t, 1_000, 60), ({ code }) => code === Code.UNAVAILABLE));
