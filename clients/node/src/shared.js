// One connection per service and process: the clients that all code shares, and the names of services.

import { Client } from "./client.js";

// In `globalThis`, so that a module that was loaded twice, under two paths or versions of a package, shares them.
const KEY = Symbol.for("rpc-client.shared.1");
const registry = (globalThis[KEY] ??= { clients: new Map(), services: new Map() });

export function define(name, target, settings) {
  registry.services.set(name, { target, settings });
}

export function shared(name) {
  let client = registry.clients.get(name);
  if (client === undefined) {
    const { target, settings } = registry.services.get(name) ?? { target: name };
    client = new Client(target, settings);
    registry.clients.set(name, client);
  }
  return client;
}
