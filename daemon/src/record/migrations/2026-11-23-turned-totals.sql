-- SPDX-License-Identifier: GPL-3.0-or-later
-- 2026-11-23, version 9. Why: the chart of one program by domain read the pairs of all programs of each day.
--
-- `chunk` has the sums of program and peer in the order of programs as well (kind 6), for days and what is wider. The
-- lowest 33 bits of `id` are the first number that a segment begins with, not a sixteenth of it: of more than sixteen
-- million peers or programs the rest was in one segment. The data of the old table is taken over by `convert.rs`,
-- which then drops it.

ALTER TABLE chunk RENAME TO chunk_old;
CREATE TABLE chunk (id INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
