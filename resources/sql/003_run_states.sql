-- Version 3: what a run that goes on from item to item must remember beside its items (training). One a run, the newest;
-- `item` items were whole when it was taken. Arrays as in `items`.

CREATE TABLE run_states (
  run_id INTEGER PRIMARY KEY REFERENCES runs(id) ON DELETE CASCADE,
  item INTEGER NOT NULL,
  blob BLOB,
  file TEXT CHECK (file IS NULL OR length(file) = 64),
  CHECK ((blob IS NULL) <> (file IS NULL))
) STRICT;
