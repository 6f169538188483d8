-- SPDX-License-Identifier: GPL-3.0-or-later
-- 2026-11-22, version 8. Why: the chart of an hour with some hundred thousand rows read each of them from the table.
--
-- The rows of the last hours, packed (`recent.rs`). `id` is the hour and the number of the list.

CREATE TABLE recent (id INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
