-- SPDX-License-Identifier: GPL-3.0-or-later
-- 2026-11-22, version 7. Why: a chart by a port, a search or a place read all pairs of program and peer of each day.
--
-- `chunk` is cut into segments that fit into a page (`segment.rs`), so that of a chunk only what is asked for is
-- read; the lowest 20 bits of `id` are the first numbers / 16 that a segment begins with. Sums by program and service
-- are new (kind 5). The data of the old table is taken over by `convert.rs`, which then drops it.

ALTER TABLE chunk RENAME TO chunk_old;
CREATE TABLE chunk (id INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
