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
// Nothing is called again before a test is over.
const SLOW = { reconnectBaseMs: 600_000, reconnectCapMs: 600_000, retryBaseMs: 600_000, retryCapMs: 600_000 };

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

/** How a stream fails. */
async function failure(client) {
  try {
    for await (const _ of await client.stream(TAIL, {}, { resumable: RESUMABLE }));
  } catch (error) {
    assert.equal(error.code, Code.UNAVAILABLE);
    return error.message;
  }
  assert.fail("it did not fail");
}

test("a stream fails when its client is closed", { timeout: 60_000 }, async () => {
  let calls = 0;
  let isLostTwice;
  const lostTwice = new Promise((resolve) => {
    isLostTwice = resolve;
  });
  const answer = () => {
    calls += 1;
    if (calls === 2) isLostTwice();
  };
  await withServer(
    answer,
    async (client) => {
      const failing = failure(client);
      await lostTwice;
      client.close();
      assert.match(await failing, /the client was closed/);
      assert.equal(calls, 2);
    },
    SLOW,
  );
});

/** Closes a stream whose reader waits, once `lost` is resolved and the reader has had time to begin its wait: it is at the end. */
async function endsWhenClosed(client, lost) {
  const stream = await client.stream(TAIL, {}, { resumable: RESUMABLE });
  const reading = stream.next();
  await lost;
  // The connection is lost within some turns.
  for (let turns = 0; client.isConnected || turns < 100; turns += 1) await new Promise(setImmediate);
  await stream.return();
  assert.deepEqual(await reading, { value: undefined, done: true });
}

test("a stream that waits for its next call ends when it is closed", { timeout: 60_000 }, async () => {
  let calls = 0;
  let isLostTwice;
  const lostTwice = new Promise((resolve) => {
    isLostTwice = resolve;
  });
  const answer = () => {
    calls += 1;
    if (calls === 2) isLostTwice();
  };
  await withServer(answer, (client) => endsWhenClosed(client, lostTwice), SLOW);
  assert.equal(calls, 2);
});

test("a stream that waits for a connection ends when it is closed", { timeout: 60_000 }, async () => {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    createInterface({ input: socket }).once("line", () => {
      server.close();
      socket.end();
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const gone = new Promise((resolve) => server.once("close", resolve));
  const settings = { ...SLOW, callTimeoutMs: 600_000, failFastAfterMs: 600_000 };
  const client = new Client(`127.0.0.1:${server.address().port}`, settings);
  await endsWhenClosed(client, gone);
  client.close();
});

test("a stream of a closed client fails at once", { timeout: 60_000 }, async () => {
  const client = new Client("127.0.0.1:1", SLOW);
  client.close();
  assert.match(await failure(client), /the client was closed/);
});

test("a stream at what is not an address fails at once", { timeout: 60_000 }, async () => {
  for (const address of ["nonsense", ":80", "a:0", "a:65536", "a:http", "unix:"]) {
    const client = new Client(address, SLOW);
    const message = await failure(client);
    assert.ok(message.includes(`\`${address}\` is not an address: write HOST:PORT`), message);
    client.close();
  }
});

test("a wrong address among others hides no server", () =>
  withServer(
    ({ id }, socket) => socket.write(`{"id":${id},"code":0,"data":7}\n`),
    async ({ target }) => {
      const client = new Client(`127.0.0.1:1,nonsense,${target}`, QUICK);
      const items = [];
      for await (const item of await client.stream(TAIL, {}, { resumable: RESUMABLE })) items.push(item);
      assert.deepEqual(items, [7]);
      client.close();

      const away = new Client("127.0.0.1:1,nonsense", QUICK);
      assert.match(await failure(away), /cannot connect/);
      away.close();
    },
  ));
