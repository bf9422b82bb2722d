-- Version 4: dashboards of a dictionary's features (core/base/feature_set.h), one row a feature, so that one can be looked at
-- without the others. The set's own facts are the artifact's body. NULL stands for a number that is NaN.

CREATE TABLE features (
  id INTEGER PRIMARY KEY,
  run_id INTEGER NOT NULL,
  artifact INTEGER NOT NULL,
  feature INTEGER NOT NULL,
  label TEXT NOT NULL DEFAULT '',              -- a person's words
  density REAL,
  max REAL,
  mean REAL,
  token TEXT NOT NULL DEFAULT '',              -- the strongest token of the first example
  UNIQUE (run_id, artifact, feature),
  FOREIGN KEY (run_id, artifact) REFERENCES artifacts(run_id, position) ON DELETE CASCADE
) STRICT;

-- What is read only when the feature is looked at: histogram, logits, neighbours, examples (core/store/feature_pack.h).
CREATE TABLE feature_details (
  id INTEGER PRIMARY KEY REFERENCES features(id) ON DELETE CASCADE,
  body BLOB NOT NULL
) STRICT;

-- The examples as text, U+001E behind each, for search by substring: in any language, over borders of tokens, and without a module
-- of SQLite that a build may lack.
CREATE TABLE feature_texts (
  id INTEGER PRIMARY KEY REFERENCES features(id) ON DELETE CASCADE,
  text TEXT NOT NULL
) STRICT;

-- The strongest tokens of the examples. plain: without blanks at its ends, small letters.
CREATE TABLE feature_tokens (
  id INTEGER NOT NULL REFERENCES features(id) ON DELETE CASCADE,
  token TEXT NOT NULL,
  plain TEXT NOT NULL,
  PRIMARY KEY (id, token)
) STRICT, WITHOUT ROWID;

-- Texts of the token ids of a set.
CREATE TABLE feature_vocabulary (
  run_id INTEGER NOT NULL,
  artifact INTEGER NOT NULL,
  token INTEGER NOT NULL,
  text BLOB NOT NULL,
  PRIMARY KEY (run_id, artifact, token),
  FOREIGN KEY (run_id, artifact) REFERENCES artifacts(run_id, position) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
