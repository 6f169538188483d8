-- SPDX-License-Identifier: GPL-3.0-or-later
-- 2026-11-22, version 5. Why: two indexes over the rows were most of what a row cost the writer, and a third of the file.
--
-- `place` has for each hour lists of its rows with their program and peer (`place.rs`); `id` is the hour and the
-- number of the list (20 bits). They are made from the rows there.

CREATE TABLE place (id INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;

DROP INDEX connection_hour_who;
DROP INDEX connection_hour_peer;
