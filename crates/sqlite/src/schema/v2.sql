-- Runs of pipelines. `seq` is the order of all, `number` that of one pipeline.
CREATE TABLE runs (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    pipeline   TEXT NOT NULL,
    number     INTEGER NOT NULL,
    dedup_key  TEXT NOT NULL UNIQUE,
    created_ns INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    finished   INTEGER NOT NULL DEFAULT 0 CHECK (finished IN (0, 1)),
    UNIQUE (pipeline, number)
) STRICT;
CREATE INDEX runs_unfinished ON runs (seq) WHERE finished = 0;

-- A record's version is the number of records up to and including it.
CREATE TABLE run_records (
    run     INTEGER NOT NULL REFERENCES runs (seq) ON DELETE CASCADE,
    version INTEGER NOT NULL,
    json    TEXT NOT NULL,
    PRIMARY KEY (run, version)
) STRICT, WITHOUT ROWID;
