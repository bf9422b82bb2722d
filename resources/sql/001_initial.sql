-- The project file, version 1. Arrays sit in `blob` when small, else in "<project>-tensors/<file>.safetensors", where
-- `file` is the SHA-256 of that file's bytes; exactly one of the two is set.

CREATE TABLE runs (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  key_hash TEXT NOT NULL UNIQUE,
  key_text TEXT NOT NULL,
  analysis TEXT NOT NULL,
  model_name TEXT NOT NULL,
  dataset_name TEXT NOT NULL,
  title TEXT NOT NULL,
  command TEXT NOT NULL,
  created TEXT NOT NULL,
  spec TEXT NOT NULL,                          -- JSON, the whole RunSpec
  state INTEGER NOT NULL DEFAULT 0 CHECK (state BETWEEN 0 AND 3),
  items_total INTEGER NOT NULL DEFAULT 0,
  batch_size INTEGER NOT NULL DEFAULT 0,
  note TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE TABLE attempts (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  run_id INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
  started TEXT NOT NULL,
  ended TEXT NOT NULL DEFAULT '',
  device TEXT NOT NULL,
  versions TEXT NOT NULL,
  error TEXT NOT NULL DEFAULT '',
  events TEXT NOT NULL DEFAULT '[]',
  items_before INTEGER NOT NULL,
  items_after INTEGER NOT NULL DEFAULT 0,
  seconds REAL NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX attempts_of_run ON attempts(run_id);

CREATE TABLE items (
  run_id INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
  item INTEGER NOT NULL,
  blob BLOB,
  file TEXT CHECK (file IS NULL OR length(file) = 64),
  PRIMARY KEY (run_id, item),
  CHECK ((blob IS NULL) <> (file IS NULL))
) STRICT;

CREATE TABLE results (
  run_id INTEGER PRIMARY KEY REFERENCES runs(id) ON DELETE CASCADE,
  head TEXT NOT NULL                           -- JSON: summary, findings, warnings
) STRICT;

CREATE TABLE artifacts (
  run_id INTEGER NOT NULL REFERENCES results(run_id) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  body TEXT NOT NULL,                          -- JSON: all but the arrays
  PRIMARY KEY (run_id, position)
) STRICT;

CREATE TABLE arrays (
  run_id INTEGER NOT NULL,
  artifact INTEGER NOT NULL,
  position INTEGER NOT NULL,
  name TEXT NOT NULL,
  blob BLOB,
  file TEXT CHECK (file IS NULL OR length(file) = 64),
  PRIMARY KEY (run_id, artifact, position),
  FOREIGN KEY (run_id, artifact) REFERENCES artifacts(run_id, position) ON DELETE CASCADE,
  CHECK ((blob IS NULL) <> (file IS NULL))
) STRICT;

CREATE TABLE contexts (
  run_id INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
  name TEXT NOT NULL,
  json TEXT NOT NULL,
  PRIMARY KEY (run_id, name)
) STRICT;
