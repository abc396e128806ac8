/** A JSON value. */
export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

/** The protocol's own codes. Those of services begin at 1000. */
export declare const Code: {
  readonly OK: 0;
  readonly CANCELLED: 1;
  readonly UNKNOWN: 2;
  readonly INVALID_ARGUMENT: 3;
  readonly DEADLINE_EXCEEDED: 4;
  readonly NOT_FOUND: 5;
  readonly ALREADY_EXISTS: 6;
  readonly PERMISSION_DENIED: 7;
  readonly RESOURCE_EXHAUSTED: 8;
  readonly FAILED_PRECONDITION: 9;
  readonly ABORTED: 10;
  readonly OUT_OF_RANGE: 11;
  readonly UNIMPLEMENTED: 12;
  readonly INTERNAL: 13;
  readonly UNAVAILABLE: 14;
  readonly DATA_LOSS: 15;
  readonly UNAUTHENTICATED: 16;
};

/** The failure of a call. Do not compare its text; ask its properties. */
export declare class RpcError extends Error {
  protected constructor();
  /**
   * The server's own; 4 past the deadline, 14 if the connection could not be opened or was lost, 13 where the reply makes no
   * sense, 3 where the params have no JSON form, 16 where the server refused this client's token.
   */
  readonly code: number;
  /** What was wrong, in the server's own words where it has answered. */
  readonly reason: string;
  /** Where the call was made, at last. */
  readonly address: string;
  /** Whether the server has answered this failure. */
  readonly answered: boolean;
  /** Whether the whole request may have left, in the last try or in one before it. */
  readonly sent: boolean;
  /** Whether the server promises that the call did not run. */
  readonly rejected: boolean;
  /** Whether the command may have run, wholly or in part. If not, calling again is safe. */
  readonly mayHaveRun: boolean;
  /** What the server says for programs; those of a service's own codes have types in the clients that `rpc gen` writes. */
  readonly details: unknown;
  /** When a retry makes sense, in milliseconds, where the server says so. */
  readonly retryAfterMs: number | undefined;
  /** How often the call was tried. */
  readonly attempts: number;
}

/** TLS on every TCP connection. Without `caFile` the authorities that Node knows are trusted. */
export interface TlsSettings {
  readonly caFile?: string;
  readonly serverName?: string;
  readonly certificateFile?: string;
  readonly keyFile?: string;
}

/** The settings of a client; docs/client.md of the project says more. Times are in milliseconds. */
export interface Settings {
  /** A call's time where the call does not say (5,000). */
  readonly callTimeoutMs?: number;
  /** One attempt to connect: looking up the host, TCP, TLS and authentication (3,000). */
  readonly connectTimeoutMs?: number;
  /** How long calls wait for a server that cannot be reached; later ones fail at once (1,000). */
  readonly failFastAfterMs?: number;
  /** Shortest window of the back-off between attempts to connect, and between the calls of a resumable stream (50). */
  readonly reconnectBaseMs?: number;
  /** Longest window; also the longest time that a resumable stream waits because its server asks for it (5,000). */
  readonly reconnectCapMs?: number;
  /** Calls in flight on a connection; further ones wait (65,536). */
  readonly inFlightPerConnection?: number;
  /** Characters that wait to be written; further calls wait (8,388,608). */
  readonly outputBytesMax?: number;
  /** Longest reply line in bytes; a longer one ends the connection (16,777,216). */
  readonly frameBytesMax?: number;
  /** Items that a stream sends ahead of its reader (64). */
  readonly streamCredit?: number;
  /** Characters of a stream's items that wait for their reader; the next item ends the stream with code 8 (16,777,216). */
  readonly streamBytesMax?: number;
  /** Every call without an id, for servers that know none (false). */
  readonly ordered?: boolean;
  /** Idle time before TCP keepalive; 0: off (10,000). */
  readonly keepaliveIdleMs?: number;
  /** Received silence before a ping; 0: off (5,000). */
  readonly pingIntervalMs?: number;
  /** Pings without an answer before the connection is given up (2). */
  readonly pingMissesMax?: number;
  /** A server that takes no bytes; 0: off (10,000). */
  readonly writeStallTimeoutMs?: number;
  /** Tries of a call, the first included; 1: no retries (3). */
  readonly attemptsMax?: number;
  /** Longest pause before the third try; it doubles (10). */
  readonly retryBaseMs?: number;
  /** Longest pause before any (1,000). */
  readonly retryCapMs?: number;
  /** Retries in percent of the calls (20). */
  readonly retryBudgetPercent?: number;
  /** Retries a second besides (10). */
  readonly retryBudgetPerSecond?: number;
  /** Commands that may run twice (none). */
  readonly idempotentCmdids?: readonly number[];
  /** TLS; `tls:HOST:PORT` as a target has it, too. */
  readonly tls?: TlsSettings | undefined;
  /** The token by which each connection authenticates. */
  readonly token?: string | undefined;
  /** A file with the token, read anew for each connection. */
  readonly tokenFile?: string | undefined;
}

/** Where the time of a call went at the server, in microseconds. */
export interface Timing {
  /** It waited there: for its turn, for room. */
  readonly queueUs: number;
  /** Its handler ran; of a stream, to its end. */
  readonly runUs: number;
}

/** The options of a call. */
export interface CallOptions {
  /** The call's time in milliseconds: connecting, waiting, all tries and the reply. */
  readonly timeoutMs?: number;
  /** Gives the call up: the server is told, and the promise is rejected with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Metadata: `traceparent`, and what services add. */
  readonly meta?: Readonly<Record<string, string>>;
  /**
   * Asks the server where the time of the call goes. Called behind the last line of each try, and of each call of a resumable
   * stream, before its caller goes on; not where no handler was reached, nor for a server that does not tell.
   */
  readonly onTiming?: (timing: Timing) => void;
  /** The command may run twice, and is tried again also where it may have run. */
  readonly idempotent?: boolean;
  /**
   * The same with each try, by which the server knows the call again where it describes the command as one with dedup: where it
   * may have run, it is sent again only to the store that has its key; with `idempotent` too, anywhere.
   */
  readonly idempotencyKey?: string;
  /** Gives the call a key of its own where none is given. */
  readonly dedup?: boolean;
  /** Without an id: such calls run one after another and are not tried again. */
  readonly ordered?: boolean;
  /** The classes of the service's own codes. */
  readonly errors?: ReadonlyMap<number, typeof RpcError>;
}

/** The items of a streaming call: `for await (const item of stream)`. Leaving the loop gives the stream up. */
export declare class Stream<Item = Json> implements AsyncIterableIterator<Item> {
  private constructor();
  next(): Promise<IteratorResult<Item, undefined>>;
  return(): Promise<IteratorResult<Item, undefined>>;
  [Symbol.asyncIterator](): this;
}

/** A client of one service: one connection to each of its servers, shared by all calls. */
export declare class Client {
  /**
   * `target` is `HOST:PORT`, `tls:HOST:PORT`, `unix:PATH`, or several of them with commas or as a list. Throws a
   * `TypeError` for a setting that there is not.
   */
  constructor(target: string | readonly string[], settings?: Settings);
  readonly target: string;
  readonly settings: Required<Settings>;
  /** Whether a connection takes calls right now. */
  readonly isConnected: boolean;
  /**
   * Calls a command and resolves with its data, `null` if the reply has no data.
   *
   * What was not sent or was rejected is tried again, and so is what may have run of an idempotent command. Rejects with an
   * `RpcError`, or with the signal's reason.
   */
  call<Data = Json>(cmdid: number, params?: unknown, options?: CallOptions): Promise<Data>;
  /** Sends a command that is not answered. Resolves when it is in the output; `flush` waits until it was read. */
  notify(cmdid: number, params?: unknown, options?: Pick<CallOptions, "meta" | "ordered">): Promise<void>;
  /** Begins a command that answers with a stream of items. It has no deadline but `timeoutMs`. */
  stream<Item = Json>(
    cmdid: number,
    params?: unknown,
    options?: Pick<CallOptions, "timeoutMs" | "signal" | "meta" | "onTiming" | "errors"> & {
      /**
       * The server describes the command so: pairs of a member of each item and the param that takes it. Where the connection
       * is lost, or its server goes away, the command is called again behind the last item. A place that the server does not
       * know any more ends the stream with the server's code, 9 or 11.
       */
      readonly resumable?: readonly (readonly [cursor: string, param: string])[];
    },
  ): Promise<Stream<Item>>;
  /** Opens a connection now, unless one is open. Calls open it by themselves. */
  connect(): Promise<void>;
  /**
   * Resolves when the servers have read all oneway calls: by a ping behind the last one, where no call behind it was
   * answered; where calls have no ids, when the system has them. Rejects where the answer does not come within
   * `callTimeoutMs`, and once for oneway calls that an earlier connection has taken along.
   */
  flush(): Promise<void>;
  /** Closes the connections; calls in flight and streams fail, also those that are resumable. */
  close(): void;
}

/** Names a service, so that `shared(name)` calls it; to be done before it is first called. */
export declare function define(name: string, target: string | readonly string[], settings?: Settings): void;

/** The client of this service or target that everyone in this process shares, in each of its threads. */
export declare function shared(name: string): Client;
