-- Version 2: a run can lie in the project's trash (deleted: when, ISO 8601 UTC; empty: it does not), and an artifact of a run
-- can carry a note of its own.

ALTER TABLE runs ADD COLUMN deleted TEXT NOT NULL DEFAULT '';

CREATE TABLE artifact_notes (
  run_id INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
  artifact TEXT NOT NULL,
  note TEXT NOT NULL,
  PRIMARY KEY (run_id, artifact)
) STRICT;
