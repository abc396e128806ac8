// Calls a daemon at the address on the command line (127.0.0.1:8889): an entry for its log, and what the log says.
//
//     cargo rpc-server
//     node clients/node/examples/quickstart.mjs

import { shared } from "rpc-client";

const log = shared(process.argv[2] ?? "127.0.0.1:8889");
const entry = { level: "info", service: "order", message: "user 4211 logged in" };
const { seq } = await log.call(1001, entry);
const page = await log.call(1002, { after: seq - 1, limit: 1 }, { idempotent: true });
console.log(page.entries[0].message);
