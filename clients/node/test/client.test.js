// The client against the daemon.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { Client, Code, RpcError, define, shared } from "../src/index.js";
import { Daemon, withDaemon } from "./support.js";

const PING = 0;
const [APPEND, TAIL] = [1001, 1006];
const [SLEEP, ADD, COUNT, TALLY, ONCE] = [10001, 10004, 10005, 10008, 10009];
// As quick as tests want it.
const QUICK = { failFastAfterMs: 200, reconnectCapMs: 200 };

let daemon;
before(async () => {
  daemon = await new Daemon().start();
});
after(() => daemon[Symbol.asyncDispose]());

/** Runs `work` with a client that is closed behind it. */
async function withClient(work, settings = QUICK, target = daemon.address) {
  const client = new Client(target, settings);
  try {
    return await work(client);
  } finally {
    client.close();
  }
}

/** The failure of a call, which must fail. */
async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    assert.ok(error instanceof RpcError, String(error));
    return error;
  }
  assert.fail("it did not fail");
}

test("a thousand calls side by side have their own answers", () =>
  withClient(async (client) => {
    const numbers = Array.from({ length: 1000 }, (_, i) => i);
    const answers = await Promise.all(numbers.map((a) => client.call(ADD, { a, b: 1 })));
    assert.deepEqual(answers, numbers.map((a) => ({ sum: a + 1 })));
  }));

test("calls wait where a connection has all that it may have", () =>
  withClient(
    async (client) => {
      const answers = await Promise.all(Array.from({ length: 40 }, () => client.call(SLEEP, { ms: 1 })));
      assert.deepEqual(answers, Array(40).fill({ slept_ms: 1 }));
    },
    { inFlightPerConnection: 4 },
  ));

test("a call that finds no room ends by its deadline", () =>
  withClient(
    async (client) => {
      await client.connect();
      const giving = new AbortController();
      const first = client.call(SLEEP, { ms: 20_000 }, { timeoutMs: 30_000, signal: giving.signal });
      const { code, mayHaveRun } = await failure(client.call(PING, {}, { timeoutMs: 200 }));
      assert.deepEqual([code, mayHaveRun], [Code.DEADLINE_EXCEEDED, false]);
      giving.abort(new Error("given up"));
      await assert.rejects(first, { message: "given up" });
    },
    { inFlightPerConnection: 1 },
  ));

test("a stream is read to its end with little credit", () =>
  withClient(
    async (client) => {
      const read = [];
      for await (const item of await client.stream(COUNT, { n: 500 })) read.push(item.i);
      assert.deepEqual(read, Array.from({ length: 500 }, (_, i) => i));
    },
    { streamCredit: 3 },
  ));

test("a stream that is left is cancelled at the server", () =>
  withClient(async (client) => {
    for await (const item of await client.stream(COUNT, { n: 1_000_000 })) {
      assert.deepEqual(item, { i: 0 });
      break;
    }
    assert.equal(await client.call(PING, 1), 1);
  }));

test("a signal ends a stream and a call with its reason", () =>
  withClient(async (client) => {
    const giving = new AbortController();
    const items = await client.stream(SLEEP, { ms: 60_000 }, { signal: giving.signal });
    const call = client.call(SLEEP, { ms: 60_000 }, { signal: giving.signal });
    giving.abort(new Error("enough"));
    await assert.rejects(call, { message: "enough" });
    await assert.rejects(items.next(), { message: "enough" });
    await assert.rejects(client.call(PING, 1, { signal: giving.signal }), { message: "enough" });
  }));

test("params without a JSON form are not sent", () =>
  withClient(async (client) => {
    const loop = {};
    loop.loop = loop;
    for (const params of [1n, loop, () => {}]) {
      const { code, sent } = await failure(Promise.resolve().then(() => client.call(PING, params)));
      assert.deepEqual([code, sent], [Code.INVALID_ARGUMENT, false]);
    }
  }));

test("params without a JSON form reject on a connection that is there", () =>
  withClient(async (client) => {
    await client.connect();
    const { code, sent } = await failure(client.call(PING, 1n));
    assert.deepEqual([code, sent], [Code.INVALID_ARGUMENT, false]);
    assert.equal(await client.call(PING, 1), 1);
  }));

test("a lone surrogate arrives as it is", () =>
  withClient(async (client) => assert.deepEqual(await client.call(PING, ["\ud800", "ä"]), ["\ud800", "ä"])));

test("large params and data are whole", () =>
  withClient(async (client) => assert.equal((await client.call(PING, "ä".repeat(500_000))).length, 500_000)));

test("an address that cannot be read is named", () =>
  withClient(
    async (client) => assert.match((await failure(client.call(PING))).message, /write HOST:PORT or unix:PATH/),
    QUICK,
    "nonsense",
  ));

test("a server that is not there fails the call as not sent", () =>
  withClient(
    async (client) => {
      const error = await failure(client.call(PING));
      assert.match(error.message, /^127\.0\.0\.1:1: code 14 UNAVAILABLE: cannot connect: .*ECONNREFUSED.* \(not sent\)$/);
    },
    QUICK,
    "127.0.0.1:1",
  ));

test("of several servers those are called that are there", () =>
  withClient(
    async (client) => {
      const numbers = Array.from({ length: 50 }, (_, i) => i);
      assert.deepEqual(await Promise.all(numbers.map((i) => client.call(PING, i))), numbers);
    },
    QUICK,
    ["127.0.0.1:1", daemon.address],
  ));

test("oneway calls run in the end", () =>
  withClient(async (client) => {
    for (let i = 0; i < 10; i += 1) await client.notify(TALLY, { key: "node", add: 1 }, { ordered: true });
    await client.flush();
    assert.deepEqual(await client.call(TALLY, { key: "node" }, { ordered: true }), { total: 10 });
  }));

test("the name of a setting that there is not is refused", () => {
  assert.throws(() => new Client("127.0.0.1:1", { callTimeout: 5 }), /no setting `callTimeout`; there are: callTimeoutMs/);
});

test("a setting that makes no sense is refused", () => {
  assert.throws(() => new Client("127.0.0.1:1", { inFlightPerConnection: 0 }), /`inFlightPerConnection` is 0; it must be an integer, at least 1/);
  assert.throws(() => new Client("127.0.0.1:1", { callTimeoutMs: "5" }), RangeError);
});

test("a server that takes no bytes is given up", async () => {
  // It accepts, and never reads.
  const sockets = [];
  const server = createServer({ pauseOnConnect: true }, (socket) => sockets.push(socket));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  await withClient(
    async (client) => {
      await client.connect();
      const large = client.call(PING, "x".repeat(64 * 1024 * 1024), { timeoutMs: 60_000 });
      await new Promise(setImmediate);
      const waits = client.call(PING, 1, { timeoutMs: 60_000, idempotent: true });
      const [first, second] = await Promise.all([failure(large), failure(waits)]);
      assert.match(first.message, /the server took no bytes for 300 ms .*may have run/);
      assert.equal(second.mayHaveRun, false);
    },
    { writeStallTimeoutMs: 300, attemptsMax: 1, pingIntervalMs: 0, outputBytesMax: 1e9 },
    `127.0.0.1:${server.address().port}`,
  );
  for (const socket of sockets) socket.destroy();
  server.close();
});

test("a module that is loaded twice shares the connection", async () => {
  const directory = mkdtempSync(join(tmpdir(), "rpc-client-"));
  cpSync(new URL("../src", import.meta.url), directory, { recursive: true });
  writeFileSync(join(directory, "package.json"), '{"type":"module"}');
  const again = await import(join(directory, "index.js"));
  rmSync(directory, { recursive: true });

  assert.notEqual(again.shared, shared);
  assert.equal(again.shared(daemon.address), shared(daemon.address));
  define("log", daemon.address, QUICK);
  assert.equal(await again.shared("log").call(PING, 5), 5);
  assert.equal(shared("log").isConnected, true);
  const error = await failure(again.shared("log").call(ADD, { a: "x" }));
  assert.ok(error instanceof again.RpcError && !(new Error("another") instanceof again.RpcError));
  shared("log").close();
});

test("a program ends when its calls are done", () => {
  const index = JSON.stringify(new URL("../src/index.js", import.meta.url).href);
  const program = `import { shared } from ${index}; console.log(await shared(process.argv[1]).call(0, "done"));`;
  const done = spawnSync(process.execPath, ["--input-type=module", "-e", program, daemon.address], { timeout: 20_000 });
  assert.deepEqual([done.status, done.stdout.toString()], [0, "done\n"]);
});

test("a program that waits for a reply does not end before it", () => {
  const index = JSON.stringify(new URL("../src/index.js", import.meta.url).href);
  const program = `import { shared } from ${index}; const client = shared(process.argv[1]);
    await client.call(0); console.log(await client.call(${SLEEP}, { ms: 300 }));
    await client.notify(${TALLY}, { key: "at the end", add: 1 }, { ordered: true });`;
  const done = spawnSync(process.execPath, ["--input-type=module", "-e", program, daemon.address], { timeout: 20_000 });
  assert.deepEqual([done.status, done.stdout.toString()], [0, "{ slept_ms: 300 }\n"]);
  return withClient(async (client) => assert.deepEqual(await client.call(TALLY, { key: "at the end" }), { total: 1 }));
});

test("a unix socket is called by its path", async () => {
  const directory = mkdtempSync(join(tmpdir(), "rpc-client-"));
  await withDaemon(
    (other) => withClient(async (client) => assert.equal(await client.call(PING, 1), 1), QUICK, other.address),
    "",
    `unix:${directory}/rpc`,
  );
  rmSync(directory, { recursive: true });
});

test("a server that was killed is found when it is back", () =>
  withDaemon((other) =>
    withClient(
      async (client) => {
        assert.equal(await client.call(PING, 1), 1);
        await other.kill();
        const waiting = client.call(PING, 2, { idempotent: true });
        await other.start();
        assert.equal(await waiting, 2);
      },
      { reconnectCapMs: 100, failFastAfterMs: 5000 },
      other.address,
    ),
  ));

test("a tail goes on when the daemon was killed, and each entry comes once", () =>
  withDaemon((other) =>
    withClient(
      async (client) => {
        const resumable = [["log", "log"], ["next", "after"]];
        const tail = await client.stream(TAIL, { after: 0 }, { resumable });
        const seen = [];
        for (let number = 1; number <= 30; number += 1) {
          const entry = { level: "info", service: "order", message: "entry" };
          assert.equal((await client.call(APPEND, entry)).seq, number);
          while (seen.length < number) seen.push(...(await tail.next()).value.entries.map(({ seq }) => seq));
          if (number % 10 === 0) {
            await other.kill();
            await other.start();
          }
        }
        assert.deepEqual(seen, Array.from({ length: 30 }, (_, index) => index + 1));
        await tail.return();
      },
      { reconnectCapMs: 100, failFastAfterMs: 20_000, callTimeoutMs: 30_000 },
      other.address,
    ),
  ));

test("a token authenticates the client", async () => {
  const directory = mkdtempSync(join(tmpdir(), "rpc-client-"));
  const [tokens, file] = [join(directory, "tokens"), join(directory, "token")];
  const token = "a token of 22 characters, at least";
  writeFileSync(tokens, `order ${createHash("sha256").update(token).digest("hex")}\n`);
  chmodSync(tokens, 0o600);
  writeFileSync(file, `${token}\n`);
  await withDaemon(async ({ address }) => {
    await withClient(async (client) => assert.equal(await client.call(PING, 1), 1), { tokenFile: file }, address);
    const refused = withClient((client) => failure(client.call(PING, 1)), { token: "wrong" }, address);
    const { code, sent } = await refused;
    assert.deepEqual([code, sent], [Code.UNAUTHENTICATED, false]);
  }, `tokens_file = "${tokens}"\n`);
  rmSync(directory, { recursive: true });
});

test("TLS trusts the authority that it is given and no other", async () => {
  const directory = mkdtempSync(join(tmpdir(), "rpc-client-"));
  const [key, certificate] = [join(directory, "key"), join(directory, "certificate")];
  const make = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
  make.push("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate);
  execFileSync("openssl", [...make, "-addext", "basicConstraints=critical,CA:FALSE"], { stdio: "ignore" });
  const config = `listen = []\n[[listeners]]\naddress = "127.0.0.1:0"\ncertificate_file = "${certificate}"\nkey_file = "${key}"\n`;
  await withDaemon(
    async ({ address }) => {
      const tls = { caFile: certificate, serverName: "localhost" };
      await withClient(async (client) => assert.equal(await client.call(PING, 1), 1), { tls }, address);
      const stranger = withClient((client) => failure(client.call(PING, 1)), QUICK, `tls:${address}`);
      assert.match((await stranger).message, /cannot connect: .*certificate.*\(not sent\)/);
    },
    config,
    undefined,
  );
  rmSync(directory, { recursive: true });
});

test("a call with dedup runs once though its answer is lost", async () => {
  let cuts = 0;
  const proxy = createServer((near) => {
    const [host, port] = daemon.address.split(":");
    const far = connect(Number(port), host);
    near.on("data", (bytes) => far.write(bytes)).on("close", () => far.destroy());
    far.on("data", (bytes) => {
      if (bytes.includes('"total":1}') && cuts === 0) {
        cuts += 1;
        near.destroy();
      } else {
        near.write(bytes);
      }
    });
  });
  await new Promise((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  await withClient(
    async (client) => {
      const once = (add = 1) => client.call(ONCE, { key: "lost in node", add }, { dedup: true });
      // The store is asked for with the first call; nothing is sent again before it is known.
      assert.deepEqual(await once(0), { total: 0 });
      assert.deepEqual([await once(), cuts], [{ total: 1 }, 1]);
      // The key is that of one call.
      assert.deepEqual(await once(), { total: 2 });
    },
    QUICK,
    `127.0.0.1:${proxy.address().port}`,
  );
  proxy.close();
});

test("the example and the code of the READMEs run", () => {
  const run = (arguments_) => spawnSync(process.execPath, arguments_, { timeout: 20_000, cwd: import.meta.dirname });
  const example = run([new URL("../examples/quickstart.mjs", import.meta.url).pathname, daemon.address]);
  assert.equal(example.stdout.toString(), "user 4211 logged in\n", example.stderr.toString());
  const read = (file) => readFileSync(new URL(file, import.meta.url), "utf8");
  const text = read("../README.md") + read("../../../README.md");
  const blocks = [...text.matchAll(/```js\n(.*?)```/gs)].map(([, block]) => block.replace("127.0.0.1:8889", daemon.address));
  assert.equal(blocks.length, 3);
  const said = blocks.map((block) => run(["--input-type=module", "-e", block]));
  assert.match(said[0].stdout.toString(), /^\d+\n$/, said[0].stderr.toString());
  assert.match(said[1].stdout.toString(), /^a bug: .*message/, said[1].stderr.toString());
  assert.match(said[2].stdout.toString(), /^\d+\n$/, said[2].stderr.toString());
});
