-- SPDX-License-Identifier: GPL-3.0-or-later
-- 2026-11-24, version 10. Why: contents that nothing refers to were kept for ever. What a deletion that was broken off had
-- taken away was still said of programs. The list of open flows could be another than that of the rows.
--
-- For some days version 9 had all of this in some histories: what is there stays as it is.

-- Who refers to a content is looked up for each one. With "kind = 2" each statement that has "kind = ?" would be
-- prepared anew each time that it gets a value, to see whether this index serves it.
CREATE INDEX IF NOT EXISTS fact_content ON fact (value) WHERE kind + 0 = 2;
CREATE INDEX IF NOT EXISTS program_script_content ON program (script_content) WHERE script_content > 0;
CREATE INDEX IF NOT EXISTS event_content ON event (content) WHERE content > 0;
CREATE INDEX IF NOT EXISTS event_old_content ON event (old_content) WHERE old_content > 0;

-- Of whom a deletion under way has taken something away: of which day, or (-1) of any day that is done.
CREATE TABLE IF NOT EXISTS deleting (
  day INTEGER NOT NULL,
  executable INTEGER NOT NULL,
  uid INTEGER NOT NULL,
  PRIMARY KEY (day, executable, uid)
) STRICT, WITHOUT ROWID;
-- One that was broken off before there was this table may have taken something away from anybody.
INSERT INTO deleting (day, executable, uid)
  SELECT -1, executable, uid FROM sighting WHERE EXISTS (SELECT 1 FROM meta WHERE key = 'deleting-from')
    AND NOT EXISTS (SELECT 1 FROM deleting);

-- The flows that were open at the last write, 8 bytes each, and the boot id of the machine: one row. Before, they were in
-- files beside the database.
CREATE TABLE IF NOT EXISTS open_flows (id INTEGER PRIMARY KEY, boot BLOB NOT NULL, flows BLOB NOT NULL) STRICT;
DELETE FROM meta WHERE key = 'open-flows';
