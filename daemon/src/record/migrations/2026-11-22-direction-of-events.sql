-- SPDX-License-Identifier: GPL-3.0-or-later
-- Why: a server's first contact was told like a client's, with the other end's passing port.
ALTER TABLE event ADD COLUMN direction INTEGER; -- as in peer; NULL: no connection, or not known
ALTER TABLE event ADD COLUMN local_port INTEGER NOT NULL DEFAULT -1;
