-- Times: *_ns are nanoseconds since 1970 UTC. datetime(created_ns / 1000000000, 'unixepoch') reads them.

-- One row per execution. Small and often rewritten (version, lease), so the plan and the snapshot live elsewhere.
CREATE TABLE executions (
    seq                   INTEGER PRIMARY KEY AUTOINCREMENT,
    id                    TEXT NOT NULL UNIQUE,
    dedup_key             TEXT NOT NULL UNIQUE,
    environment           TEXT NOT NULL,
    plan_digest           TEXT NOT NULL,
    kind                  TEXT NOT NULL,
    title                 TEXT NOT NULL,
    created_ns            INTEGER NOT NULL,
    version               INTEGER NOT NULL,
    finished              INTEGER NOT NULL DEFAULT 0 CHECK (finished IN (0, 1)),
    finished_ns           INTEGER,
    snapshot_version      INTEGER NOT NULL DEFAULT 0,
    lease_owner           TEXT,
    lease_epoch           INTEGER NOT NULL DEFAULT 0,
    -- Milliseconds of the boot-time clock of the boot named beside it.
    lease_expires_boot_ms INTEGER,
    lease_boot_id         TEXT
) STRICT;
CREATE INDEX executions_unfinished ON executions (seq) WHERE finished = 0;
CREATE INDEX executions_environment ON executions (environment, seq);

CREATE TABLE plans (
    execution INTEGER PRIMARY KEY REFERENCES executions (seq) ON DELETE CASCADE,
    plan      BLOB NOT NULL
) STRICT;

CREATE TABLE snapshots (
    execution INTEGER PRIMARY KEY REFERENCES executions (seq) ON DELETE CASCADE,
    json      TEXT NOT NULL
) STRICT;

-- The journal. `cursor` is commit order (one writer); a record's version is the number of records up to and including it.
CREATE TABLE records (
    cursor    INTEGER PRIMARY KEY AUTOINCREMENT,
    execution INTEGER NOT NULL REFERENCES executions (seq) ON DELETE CASCADE,
    version   INTEGER NOT NULL,
    json      TEXT NOT NULL,
    UNIQUE (execution, version)
) STRICT;

-- AUTOINCREMENT: an id is never given twice, or an answer to an old signal could remove a new one.
CREATE TABLE signals (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    execution INTEGER NOT NULL REFERENCES executions (seq) ON DELETE CASCADE,
    who       TEXT NOT NULL,
    json      TEXT NOT NULL
) STRICT;
CREATE INDEX signals_execution ON signals (execution, id);

-- The inbox. Bodies are apart, so that listing and the duplicate check never page through them. No AUTOINCREMENT, which
-- would write one more page per commit: only finished deliveries are ever deleted, so no number that still means
-- something is given again.
CREATE TABLE deliveries (
    seq          INTEGER PRIMARY KEY,
    id           TEXT NOT NULL UNIQUE,
    event        TEXT NOT NULL,
    content_type TEXT NOT NULL,
    bytes        INTEGER NOT NULL,
    received_ns  INTEGER NOT NULL,
    outcome      TEXT
) STRICT;
CREATE INDEX deliveries_pending ON deliveries (seq) WHERE outcome IS NULL;

CREATE TABLE delivery_bodies (
    seq  INTEGER PRIMARY KEY REFERENCES deliveries (seq) ON DELETE CASCADE,
    body BLOB NOT NULL
) STRICT;

CREATE TABLE environments (
    id       TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    phase    TEXT NOT NULL,
    json     TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- fanned_out = 0: written before any targets were ever set; the first set_notification_targets takes them along.
CREATE TABLE notices (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    at_ns      INTEGER NOT NULL,
    fanned_out INTEGER NOT NULL CHECK (fanned_out IN (0, 1)),
    json       TEXT NOT NULL
) STRICT;
CREATE INDEX notices_waiting ON notices (seq) WHERE fanned_out = 0;

CREATE TABLE notification_targets (
    position INTEGER PRIMARY KEY,
    name     TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE outbox (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    notice   TEXT NOT NULL REFERENCES notices (id) ON DELETE CASCADE,
    target   TEXT NOT NULL,
    state    TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'done', 'failed')),
    attempts INTEGER NOT NULL DEFAULT 0,
    due_ns   INTEGER NOT NULL DEFAULT 0,
    error    TEXT,
    UNIQUE (notice, target)
) STRICT;
CREATE INDEX outbox_pending ON outbox (seq) WHERE state = 'pending';

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
