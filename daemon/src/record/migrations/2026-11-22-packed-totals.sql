-- SPDX-License-Identifier: GPL-3.0-or-later
-- 2026-11-22, version 2. Why: five years of totals must answer in a blink and cost the writer little.
--
-- `daily` and `rollup` had a row for each sum, by sixteen dimensions at three levels. `chunk` has the same sums
-- packed (`chunk.rs`): `id` is the kind (3 bits), the level (3 bits), the bucket (24 bits) and the part
-- (20 bits). How far each level goes stands in `meta`: `hours-from`, `detail-from`, `kept-from`, `built-N`.
--
-- `service` numbers what a peer is by besides its name and address, so that these have totals of their own.
-- The data of the old tables is taken over by `convert.rs`, which then drops them.

CREATE TABLE chunk (id INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;

CREATE TABLE service (
  id INTEGER PRIMARY KEY,
  port INTEGER NOT NULL,
  protocol INTEGER NOT NULL,
  direction INTEGER NOT NULL,
  netns INTEGER NOT NULL,
  UNIQUE (port, protocol, direction, netns)
) STRICT;
INSERT INTO service (port, protocol, direction, netns) SELECT DISTINCT port, protocol, direction, netns FROM peer;

-- Numbers of programs and peers are remembered outside the database: they are never used twice.
CREATE TABLE who_new (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  program INTEGER NOT NULL,
  parent INTEGER NOT NULL,
  grandparent INTEGER NOT NULL,
  uid INTEGER NOT NULL,
  euid INTEGER NOT NULL,
  unit INTEGER NOT NULL,
  container INTEGER NOT NULL,
  folded INTEGER NOT NULL, -- the same without command lines; 0 if it has none
  UNIQUE (program, parent, grandparent, uid, euid, unit, container)
) STRICT;
INSERT INTO who_new SELECT id, program, parent, grandparent, uid, euid, unit, container, folded FROM who;
DROP TABLE who;
ALTER TABLE who_new RENAME TO who;
CREATE INDEX who_uid ON who (uid);
CREATE INDEX who_parent ON who (parent);
CREATE INDEX who_grandparent ON who (grandparent);
CREATE INDEX who_folded ON who (folded);

CREATE TABLE peer_new (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  domain INTEGER NOT NULL,
  source INTEGER NOT NULL,
  remote INTEGER NOT NULL,
  port INTEGER NOT NULL,
  protocol INTEGER NOT NULL,
  direction INTEGER NOT NULL,
  netns INTEGER NOT NULL,
  interface INTEGER NOT NULL,
  local INTEGER NOT NULL,
  service INTEGER NOT NULL,
  UNIQUE (remote, port, domain, source, protocol, direction, netns, interface, local)
) STRICT;
INSERT INTO peer_new SELECT p.id, p.domain, p.source, p.remote, p.port, p.protocol, p.direction, p.netns, p.interface,
    p.local, s.id
  FROM peer p JOIN service s ON s.port = p.port AND s.protocol = p.protocol AND s.direction = p.direction AND s.netns = p.netns;
DROP TABLE peer;
ALTER TABLE peer_new RENAME TO peer;
CREATE INDEX peer_domain ON peer (domain);
CREATE INDEX peer_port ON peer (port);
CREATE INDEX peer_local ON peer (local);
