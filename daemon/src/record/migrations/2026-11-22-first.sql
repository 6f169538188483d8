-- SPDX-License-Identifier: GPL-3.0-or-later
-- 2026-11-22, version 1. Why: the first schema.
--
-- Everything that repeats is stored once and has a number; 0 stands for "none". The rows that come by the
-- million (`connection`) are numbers only. `connection.id` is the time in µs shifted left by 10 bits, plus a
-- tie-breaker: the primary key is the order of pages, and every index ends with it, so that any filtered page
-- is a walk along one index.
--
-- `daily` keeps, for each day, who talked to which peer: it outlives the detail and answers any filter.
-- `rollup` keeps totals by one dimension at a time, for hours (0), days (1) and periods of 28 days (2):
-- it answers charts and rankings. Both carry the uid, because what a caller may see hangs on it.
--
-- A content is a number > 0 in `content`, or -(reason + 1) where it is unknown.

CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE executable (
  id INTEGER PRIMARY KEY,
  path BLOB NOT NULL,
  foreign_root INTEGER NOT NULL,
  UNIQUE (path, foreign_root)
) STRICT;

CREATE TABLE content (id INTEGER PRIMARY KEY, sha256 BLOB NOT NULL UNIQUE) STRICT;

-- kind: 1 name, 2 unit, 3 container, 4 interface, 5 script, 6 folded command line
CREATE TABLE word (
  id INTEGER PRIMARY KEY,
  kind INTEGER NOT NULL,
  value BLOB NOT NULL,
  UNIQUE (kind, value)
) STRICT;

-- Up to 4 KiB each: found by a hash, so that the index does not hold them a second time.
CREATE TABLE cmdline (id INTEGER PRIMARY KEY, hash INTEGER NOT NULL, value BLOB NOT NULL) STRICT;
CREATE INDEX cmdline_hash ON cmdline (hash);

CREATE TABLE domain (id INTEGER PRIMARY KEY, value BLOB NOT NULL UNIQUE) STRICT;

-- 4 or 16 bytes
CREATE TABLE address (id INTEGER PRIMARY KEY, value BLOB NOT NULL UNIQUE) STRICT;

-- A program as it ran; `cmdline` is 0 in those that only `daily` refers to.
CREATE TABLE program (
  id INTEGER PRIMARY KEY,
  executable INTEGER NOT NULL,
  name INTEGER NOT NULL,
  content INTEGER NOT NULL,
  cmdline INTEGER NOT NULL,
  pattern INTEGER NOT NULL,
  script INTEGER NOT NULL,
  script_content INTEGER NOT NULL,
  UNIQUE (executable, name, content, cmdline, pattern, script, script_content)
) STRICT;
CREATE INDEX program_content ON program (content);
CREATE INDEX program_name ON program (name);
CREATE INDEX program_cmdline ON program (cmdline);

CREATE TABLE who (
  id INTEGER PRIMARY KEY,
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
CREATE INDEX who_uid ON who (uid);
CREATE INDEX who_parent ON who (parent);
CREATE INDEX who_grandparent ON who (grandparent);
CREATE INDEX who_folded ON who (folded);

-- `port` is the service's: the remote one of an outgoing connection, the local one of an incoming; -1: none.
CREATE TABLE peer (
  id INTEGER PRIMARY KEY,
  domain INTEGER NOT NULL,
  source INTEGER NOT NULL,
  remote INTEGER NOT NULL,
  port INTEGER NOT NULL,
  protocol INTEGER NOT NULL,
  direction INTEGER NOT NULL,
  netns INTEGER NOT NULL,
  interface INTEGER NOT NULL,
  local INTEGER NOT NULL,
  UNIQUE (remote, port, domain, source, protocol, direction, netns, interface, local)
) STRICT;
CREATE INDEX peer_domain ON peer (domain);
CREATE INDEX peer_port ON peer (port);
CREATE INDEX peer_local ON peer (local);

CREATE TABLE connection (
  id INTEGER PRIMARY KEY,
  who INTEGER NOT NULL,
  peer INTEGER NOT NULL,
  local_port INTEGER NOT NULL,
  remote_port INTEGER NOT NULL,
  pid INTEGER NOT NULL,
  sent INTEGER NOT NULL,
  received INTEGER NOT NULL,
  connections INTEGER NOT NULL
) STRICT;
CREATE INDEX connection_who ON connection (who);
CREATE INDEX connection_peer ON connection (peer);

CREATE TABLE daily (
  day INTEGER NOT NULL, -- days since the epoch, UTC
  who INTEGER NOT NULL, -- a folded one
  peer INTEGER NOT NULL,
  sent INTEGER NOT NULL,
  received INTEGER NOT NULL,
  connections INTEGER NOT NULL,
  PRIMARY KEY (day, who, peer)
) STRICT, WITHOUT ROWID;
CREATE INDEX daily_who ON daily (who);
CREATE INDEX daily_peer ON daily (peer);

CREATE TABLE rollup (
  level INTEGER NOT NULL,
  dimension INTEGER NOT NULL, -- as in `dimension.rs`
  bucket INTEGER NOT NULL, -- hours, days or periods since the epoch
  key INTEGER NOT NULL,
  executable INTEGER NOT NULL,
  uid INTEGER NOT NULL,
  sent INTEGER NOT NULL,
  received INTEGER NOT NULL,
  connections INTEGER NOT NULL,
  PRIMARY KEY (level, dimension, bucket, key, executable, uid)
) STRICT, WITHOUT ROWID;

-- How many rows there are: the source of the `hidden` numbers, so that they depend on nothing but the days.
CREATE TABLE volume (
  day INTEGER NOT NULL,
  uid INTEGER NOT NULL,
  connections INTEGER NOT NULL,
  events INTEGER NOT NULL,
  PRIMARY KEY (day, uid)
) STRICT, WITHOUT ROWID;

CREATE TABLE sighting (
  executable INTEGER NOT NULL,
  uid INTEGER NOT NULL,
  first_seen INTEGER NOT NULL,
  last_seen INTEGER NOT NULL,
  days INTEGER NOT NULL,
  sent INTEGER NOT NULL,
  received INTEGER NOT NULL,
  connections INTEGER NOT NULL,
  PRIMARY KEY (executable, uid)
) STRICT, WITHOUT ROWID;

CREATE TABLE sighting_day (
  executable INTEGER NOT NULL,
  day INTEGER NOT NULL,
  uid INTEGER NOT NULL,
  PRIMARY KEY (executable, day, uid)
) STRICT, WITHOUT ROWID;

-- kind: 1 name, 2 content, 3 port, 4 domain, 5 folded command line
CREATE TABLE fact (
  executable INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  value INTEGER NOT NULL,
  uid INTEGER NOT NULL,
  first_seen INTEGER NOT NULL,
  last_seen INTEGER NOT NULL,
  PRIMARY KEY (executable, kind, value, uid)
) STRICT, WITHOUT ROWID;

CREATE TABLE event (
  id INTEGER PRIMARY KEY,
  time INTEGER NOT NULL,
  kind INTEGER NOT NULL, -- 1 new-executable, 2 hash-changed, 3 error
  uid INTEGER, -- NULL for errors: everybody's
  who INTEGER NOT NULL,
  content INTEGER NOT NULL,
  old_content INTEGER NOT NULL,
  domain INTEGER NOT NULL,
  remote INTEGER NOT NULL,
  remote_port INTEGER NOT NULL,
  protocol INTEGER NOT NULL,
  error TEXT,
  message TEXT,
  acknowledged INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX event_who ON event (who);
CREATE INDEX event_unread ON event (acknowledged) WHERE acknowledged = 0;
