-- SPDX-License-Identifier: GPL-3.0-or-later
-- 2026-11-25, version 11. Why: a program that runs from a file that was deleted or replaced was told like any other.
ALTER TABLE event ADD COLUMN file_deleted INTEGER NOT NULL DEFAULT 0; -- 1: so it was when the event was told
