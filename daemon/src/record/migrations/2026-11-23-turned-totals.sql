-- SPDX-License-Identifier: GPL-3.0-or-later
-- 2026-11-23, version 9. Why: the chart of one program by domain read the pairs of all programs of each day. Contents
-- that nothing refers to were kept for ever. What a deletion that was broken off had taken away was still said of programs.
--
-- `chunk` has the sums of program and peer in the order of programs as well (kind 6), for days and what is wider. The
-- lowest 33 bits of `id` are the first number that a segment begins with, not a sixteenth of it: of more than sixteen
-- million peers or programs the rest was in one segment. The data of the old table is taken over by `convert.rs`,
-- which then drops it.

ALTER TABLE chunk RENAME TO chunk_old;
CREATE TABLE chunk (id INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;

-- Who refers to a content is looked up for each one. With "kind = 2" each statement that has "kind = ?" would be
-- prepared anew each time that it gets a value, to see whether this index serves it.
CREATE INDEX fact_content ON fact (value) WHERE kind + 0 = 2;
CREATE INDEX program_script_content ON program (script_content) WHERE script_content > 0;
CREATE INDEX event_content ON event (content) WHERE content > 0;
CREATE INDEX event_old_content ON event (old_content) WHERE old_content > 0;

-- Of whom a deletion under way has taken something away: of which day, or (-1) of any day that is done.
CREATE TABLE deleting (
  day INTEGER NOT NULL,
  executable INTEGER NOT NULL,
  uid INTEGER NOT NULL,
  PRIMARY KEY (day, executable, uid)
) STRICT, WITHOUT ROWID;
-- One that was broken off before there was this table may have taken something away from anybody.
INSERT INTO deleting (day, executable, uid)
  SELECT -1, executable, uid FROM sighting WHERE EXISTS (SELECT 1 FROM meta WHERE key = 'deleting-from');

-- The flows that were open at the last write, 8 bytes each, and the boot id of the machine: one row.
CREATE TABLE open_flows (id INTEGER PRIMARY KEY, boot BLOB NOT NULL, flows BLOB NOT NULL) STRICT;
