-- SPDX-License-Identifier: GPL-3.0-or-later
-- 2026-11-22. Why: rows wait for a remote database, and contents for the verdict of a scanner.
--
-- A row of `outbox` is some rows of connections as they will be sent, JSON, one a line. Its id is that of the
-- first of them; ids of rows follow the clock, so that a history that was restored from a copy does not use
-- the same ones again. 'origin' tells this history from all others on the server.

CREATE TABLE outbox (
  id INTEGER PRIMARY KEY,
  rows INTEGER NOT NULL,
  payload BLOB NOT NULL
) STRICT;

INSERT INTO meta (key, value) VALUES ('origin', random() & 9223372036854775807);

-- state: 0 to be asked for, 1 has a verdict, 2 not known to the scanner, 3 sent to it, has no verdict yet
CREATE TABLE verdict (
  sha256 BLOB PRIMARY KEY,
  state INTEGER NOT NULL,
  due INTEGER NOT NULL, -- µs since the epoch: not asked for before this (states 0 and 3)
  tries INTEGER NOT NULL DEFAULT 0, -- how often it was asked for since it was sent
  malicious INTEGER NOT NULL DEFAULT 0,
  suspicious INTEGER NOT NULL DEFAULT 0,
  total INTEGER NOT NULL DEFAULT 0,
  analysed INTEGER NOT NULL DEFAULT 0, -- µs since the epoch; 0: not said
  asked INTEGER NOT NULL DEFAULT 0 -- when the answer came
) STRICT, WITHOUT ROWID;
CREATE INDEX verdict_due ON verdict (due) WHERE state IN (0, 3);
