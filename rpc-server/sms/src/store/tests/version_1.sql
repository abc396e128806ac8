CREATE TABLE messages (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    key TEXT,
    digest BLOB NOT NULL,
    number TEXT,
    number_name BLOB NOT NULL,
    calling_code TEXT NOT NULL,
    masked TEXT NOT NULL,
    text TEXT,
    template TEXT,
    sender TEXT,
    class INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    encoding INTEGER NOT NULL,
    segments INTEGER NOT NULL,
    tags TEXT,
    first_state INTEGER NOT NULL,
    state INTEGER NOT NULL,
    ready INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    expires_at INTEGER,
    next_at INTEGER,
    gateway TEXT NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    receipt TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX messages_by_key ON messages (owner, key) WHERE key IS NOT NULL;
CREATE INDEX messages_ready ON messages (gateway, priority DESC, seq) WHERE ready = 1;
CREATE INDEX messages_due ON messages (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX messages_by_number ON messages (number_name, class, seq, created_at);
CREATE INDEX messages_by_state ON messages (state, seq, gateway);

CREATE TABLE parts (
    gateway TEXT NOT NULL,
    reference TEXT NOT NULL,
    seq INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    PRIMARY KEY (gateway, reference)
) STRICT, WITHOUT ROWID;
CREATE INDEX parts_by_message ON parts (seq);

CREATE TABLE events (
    number INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL,
    from_state INTEGER,
    to_state INTEGER NOT NULL,
    at INTEGER NOT NULL,
    gateway TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    error TEXT
) STRICT;
CREATE INDEX events_by_message ON events (seq);

CREATE TABLE early_receipts (
    gateway TEXT NOT NULL,
    reference TEXT NOT NULL,
    state INTEGER NOT NULL,
    error TEXT,
    at INTEGER NOT NULL,
    PRIMARY KEY (gateway, reference, state)
) STRICT, WITHOUT ROWID;
CREATE INDEX early_receipts_by_time ON early_receipts (at);

CREATE TABLE opt_outs (
    number_name BLOB PRIMARY KEY,
    scope INTEGER NOT NULL,
    since INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE gateways (
    name TEXT PRIMARY KEY,
    paused INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
PRAGMA application_id = 0x72706353;
PRAGMA user_version = 1;
INSERT INTO messages VALUES (1, x'019b000000000000000000000000002a', 'shop', 'order-7', zeroblob(32), NULL, zeroblob(16),
    '86', '+86138****8000', 'hello', NULL, NULL, 1, 5, 0, 1, NULL, 1, 3, 0, 0, NULL, NULL, 'one', 1, 1, NULL, NULL, 1, 1),
    (2, x'019b000000000000000000000000002b', 'shop', 'order-8', zeroblob(32), NULL, zeroblob(16),
    '86', '+86138****8000', 'hello', NULL, NULL, 1, 5, 0, 1, NULL, 1, 9, 0, 0, NULL, NULL, 'one', 1, 1, NULL, NULL, 1, 1);
INSERT INTO parts VALUES ('one', 'm-1', 1, 1);
INSERT INTO events VALUES (1, 1, NULL, 1, 1, 'one', 0, NULL), (2, 1, 1, 2, 1, 'one', 1, NULL), (3, 1, 2, 3, 1, 'one', 1, NULL),
    (4, 2, NULL, 1, 1, 'one', 0, NULL), (5, 2, 1, 2, 1, 'one', 1, NULL), (6, 2, 2, 6, 1, 'one', 1, 'timeout'),
    (7, 2, 6, 1, 1, 'one', 1, 'timeout'), (8, 2, 1, 9, 1, 'one', 1, NULL);
