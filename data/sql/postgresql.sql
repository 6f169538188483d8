-- SPDX-License-Identifier: GPL-3.0-or-later
-- The table for [remote] on PostgreSQL, or on an engine that speaks its protocol. Run it once for all
-- machines, then for each machine, or once for all of them:
--
--   CREATE ROLE picosnitch LOGIN PASSWORD '…';
--   GRANT INSERT, SELECT ON picosnitch_connections TO picosnitch;
--
-- Rows cannot be changed or deleted by that account. `origin` is a random number of the machine's own
-- history, `id` grows in it; `host` is what the machine calls itself. For engines that scale out: CockroachDB and
-- YugabyteDB spread the table by its primary key; Citus wants SELECT
-- create_distributed_table('picosnitch_connections', 'origin'); with TimescaleDB leave it a plain table, or add
-- time to the primary key. It is tested with PostgreSQL; these engines were not tried.
CREATE TABLE picosnitch_connections (
  origin BIGINT NOT NULL,
  id BIGINT NOT NULL,
  host TEXT NOT NULL,
  executable TEXT,
  name TEXT,
  cmdline TEXT,
  sha256 TEXT,
  time TIMESTAMPTZ NOT NULL,
  domain TEXT,
  ip TEXT,
  port BIGINT,
  uid BIGINT,
  parent_exe TEXT,
  parent_name TEXT,
  parent_cmdline TEXT,
  parent_sha256 TEXT,
  conns BIGINT,
  sent BIGINT,
  received BIGINT,
  pid BIGINT,
  grandparent_exe TEXT,
  grandparent_name TEXT,
  grandparent_cmdline TEXT,
  grandparent_sha256 TEXT,
  protocol TEXT,
  direction TEXT,
  local_ip TEXT,
  local_port BIGINT,
  interface TEXT,
  netns BIGINT,
  unit TEXT,
  container TEXT,
  domain_source TEXT,
  effective_uid BIGINT,
  sha256_unknown TEXT,
  script TEXT,
  script_sha256 TEXT,
  foreign_root BOOLEAN NOT NULL,
  PRIMARY KEY (origin, id)
);
CREATE INDEX picosnitch_connections_time ON picosnitch_connections (time);
