// A daemon for the tests: the real program, on a free port.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** The daemon with the services test, log, sms and conformance. */
export class Daemon {
  address = "";
  #directory = mkdtempSync(join(tmpdir(), "rpc-client-"));
  #config;
  #listen;
  #process;

  constructor(config = "", listen = "127.0.0.1:0") {
    this.#config = config;
    this.#listen = listen;
  }

  /** Starts it, where it listened before if it did, and waits until it listens. */
  async start() {
    const config = join(this.#directory, "config.toml");
    writeFileSync(config, this.#config);
    const listen = this.#listen === undefined ? [] : ["--listen", this.#listen];
    const options = ["--config", config, "--data-dir", join(this.#directory, "data"), "--log-format", "json", ...listen];
    this.#process = spawn(join(process.env.RPC_BIN, "rpc-server"), options, {
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, RPC_SERVER_SERVICES: "test,log,sms,conformance" },
    });
    for await (const line of createInterface({ input: this.#process.stderr })) {
      const event = line.startsWith("{") ? JSON.parse(line) : {};
      if (event.message?.startsWith("listening on")) this.address = event.address;
      if (event.message === "started") {
        if (this.#listen !== undefined) this.#listen = this.address;
        this.#process.stderr.resume();
        return this;
      }
    }
    throw new Error("the daemon did not start");
  }

  /** Ends it by force. */
  async kill() {
    const ended = new Promise((resolve) => this.#process.once("exit", resolve));
    this.#process.kill("SIGKILL");
    await ended;
  }

  async [Symbol.asyncDispose]() {
    await this.kill();
    rmSync(this.#directory, { recursive: true });
  }
}

/** Runs `work` with a daemon that is started before it and ended behind it. */
export async function withDaemon(work, ...options) {
  const daemon = await new Daemon(...options).start();
  try {
    return await work(daemon);
  } finally {
    await daemon[Symbol.asyncDispose]();
  }
}
