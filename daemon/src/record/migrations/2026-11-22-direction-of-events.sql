-- SPDX-License-Identifier: GPL-3.0-or-later
-- Why: a server's first contact was told like a client's, with the other end's passing port; and a name without
-- where it came from.
ALTER TABLE event ADD COLUMN direction INTEGER; -- as in peer; NULL: no connection, or not known
ALTER TABLE event ADD COLUMN local_port INTEGER NOT NULL DEFAULT -1; -- the port that was called; -1: none
ALTER TABLE event ADD COLUMN source INTEGER NOT NULL DEFAULT 0; -- as in peer
