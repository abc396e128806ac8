export { Client } from "./client.js";
export { Code, RpcError } from "./errors.js";
export { define, shared } from "./shared.js";
export { Stream } from "./streams.js";
