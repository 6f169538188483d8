-- SPDX-License-Identifier: GPL-3.0-or-later
-- 2026-11-22, version 4. Why: an index by program or peer over all rows is touched all over by every write.
--
-- Rows are found by hour first: what is written lies together, and what is forgotten too. Which hours have
-- something of a program or a peer stands in the totals. 3686400000000 is an hour in the unit of `id`.

DROP INDEX connection_who;
DROP INDEX connection_peer;
CREATE INDEX connection_hour_who ON connection (id / 3686400000000, who);
CREATE INDEX connection_hour_peer ON connection (id / 3686400000000, peer);

-- Days on which anybody used a program; `sighting_day` has them by uid, and forgets them.
ALTER TABLE executable ADD COLUMN days INTEGER NOT NULL DEFAULT 0;
UPDATE executable SET days = max((SELECT count(DISTINCT day) FROM sighting_day s WHERE s.executable = executable.id),
  coalesce((SELECT max(days) FROM sighting s WHERE s.executable = executable.id), 0));
