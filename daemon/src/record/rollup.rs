// SPDX-License-Identifier: GPL-3.0-or-later
//! Totals that grow in the same transaction as the rows: by day and peer, and by one dimension at a time for
//! hours, days and periods of 28 days; and what is known of each program.
//!
//! A port counts where it names a service: the remote one of an outgoing connection, the local one of an
//! incoming one. The other is the kernel's choice and counts under "unknown".

use std::collections::HashMap;

use picosnitch_api::Dimension;
use rusqlite::{Connection as Database, Result, params};

use super::dimension::{self as numbers, IN, NO_PORT, OUT, fact};
use super::intern::{PeerIds, PeerKey, WhoIds};

/// Microseconds in an hour.
pub(super) const HOUR: i64 = 3_600_000_000;
/// Microseconds in a day.
pub(super) const DAY: i64 = 24 * HOUR;
/// Levels of `rollup` with the width of their buckets, µs.
pub(super) const LEVELS: [i64; 3] = [HOUR, DAY, 28 * DAY];

/// Names, domains, ports and folded command lines remembered for one program.
const MAX_FACTS: i64 = 1000;

#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    sent: u64,
    received: u64,
    connections: u64,
}

/// No sum of these overflows the database's integers: 2^53 bytes per row, 9 PB.
const MOST: u64 = 1 << 53;

pub(super) fn stored(value: u64) -> i64 {
    value.min(MOST).cast_signed()
}

impl Sums {
    fn add(&mut self, other: Sums) {
        self.sent = self.sent.saturating_add(other.sent);
        self.received = self.received.saturating_add(other.received);
        self.connections = self.connections.saturating_add(other.connections);
    }
}

/// What one transaction adds.
#[derive(Default)]
pub(super) struct Rollup {
    flows: HashMap<(i64, WhoIds, PeerIds), Sums>,
    /// First and last time, and sums, by executable and uid.
    sightings: HashMap<(i64, u32), (i64, i64, Sums)>,
    days: HashMap<(i64, i64, u32), ()>,
    facts: HashMap<(i64, i64, i64, u32), (i64, i64)>,
    /// Connections and events by day and uid.
    volume: HashMap<(i64, u32), (i64, i64)>,
}

impl Rollup {
    /// Adds one row.
    pub(super) fn row(
        &mut self,
        time: i64,
        who: &WhoIds,
        peer: &PeerIds,
        sent: u64,
        received: u64,
        connections: u32,
    ) {
        let sums =
            Sums { sent: sent.min(MOST), received: received.min(MOST), connections: u64::from(connections) };
        self.flows.entry((time.div_euclid(HOUR), *who, *peer)).or_default().add(sums);
        self.volume.entry((time.div_euclid(DAY), who.uid)).or_default().0 += 1;
        self.program(time, who);
        if let Some(sighting) = self.sightings.get_mut(&(who.program.executable, who.uid)) {
            sighting.2.add(sums);
        }
        if let PeerKey { port, .. } = peer.key
            && port != NO_PORT
        {
            self.fact(time, who, fact::PORT, port);
        }
        if peer.key.domain != 0 {
            self.fact(time, who, fact::DOMAIN, peer.key.domain);
        }
    }

    /// Counts an event about this uid.
    pub(super) fn event(&mut self, time: i64, uid: u32) {
        self.volume.entry((time.div_euclid(DAY), uid)).or_default().1 += 1;
    }

    /// A program was seen.
    pub(super) fn program(&mut self, time: i64, who: &WhoIds) {
        let program = &who.program;
        let sighting =
            self.sightings.entry((program.executable, who.uid)).or_insert((time, time, Sums::default()));
        sighting.0 = sighting.0.min(time);
        sighting.1 = sighting.1.max(time);
        self.days.insert((program.executable, time.div_euclid(DAY), who.uid), ());
        self.fact(time, who, fact::NAME, program.name);
        self.fact(time, who, fact::CONTENT, program.content);
        if program.pattern != 0 {
            self.fact(time, who, fact::PATTERN, program.pattern);
        }
    }

    fn fact(&mut self, time: i64, who: &WhoIds, kind: i64, value: i64) {
        let seen = self.facts.entry((who.program.executable, kind, value, who.uid)).or_insert((time, time));
        seen.0 = seen.0.min(time);
        seen.1 = seen.1.max(time);
    }

    /// Writes everything, within the caller's transaction.
    pub(super) fn write(self, db: &Database) -> Result<()> {
        self.write_sightings(db)?;
        self.write_daily(db)?;
        let mut totals: HashMap<(i64, i64, i64, i64, u32), Sums> = HashMap::new();
        for ((hour, who, peer), sums) in &self.flows {
            for (dimension, _) in Dimension::ALL {
                let key = (
                    numbers::dimension(dimension),
                    *hour,
                    key(dimension, who, &peer.key),
                    who.program.executable,
                    who.uid,
                );
                totals.entry(key).or_default().add(*sums);
            }
        }
        for (level, width) in LEVELS.iter().enumerate() {
            let mut coarser: HashMap<(i64, i64, i64, i64, u32), Sums> = HashMap::with_capacity(totals.len());
            for ((dimension, hour, key, executable, uid), sums) in &totals {
                let bucket = hour.div_euclid(width / HOUR);
                coarser.entry((*dimension, bucket, *key, *executable, *uid)).or_default().add(*sums);
            }
            // In the order of the table: neighbours are on one page.
            let mut sorted: Vec<_> = coarser.into_iter().collect();
            sorted.sort_unstable_by_key(|(key, _)| *key);
            let mut upsert = db.prepare_cached(UPSERT_ROLLUP)?;
            for ((dimension, bucket, key, executable, uid), sums) in sorted {
                upsert.execute(params![
                    i64::try_from(level).unwrap_or(i64::MAX),
                    dimension,
                    bucket,
                    key,
                    executable,
                    uid,
                    stored(sums.sent),
                    stored(sums.received),
                    stored(sums.connections)
                ])?;
            }
        }
        Ok(())
    }

    fn write_daily(&self, db: &Database) -> Result<()> {
        let mut daily: HashMap<(i64, i64, i64), Sums> = HashMap::with_capacity(self.flows.len());
        for ((hour, who, peer), sums) in &self.flows {
            daily.entry((hour.div_euclid(DAY / HOUR), who.folded, peer.id)).or_default().add(*sums);
        }
        let mut sorted: Vec<_> = daily.into_iter().collect();
        sorted.sort_unstable_by_key(|(key, _)| *key);
        let mut upsert = db.prepare_cached(
            "INSERT INTO daily (day, who, peer, sent, received, connections) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
               ON CONFLICT DO UPDATE SET sent = sent + excluded.sent, received = received + excluded.received,
               connections = connections + excluded.connections",
        )?;
        for ((day, who, peer), sums) in sorted {
            upsert.execute(params![
                day,
                who,
                peer,
                stored(sums.sent),
                stored(sums.received),
                stored(sums.connections)
            ])?;
        }
        let mut upsert = db.prepare_cached(
            "INSERT INTO volume (day, uid, connections, events) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT DO UPDATE SET connections = connections + excluded.connections, events = events + excluded.events",
        )?;
        for ((day, uid), (connections, events)) in &self.volume {
            upsert.execute(params![day, uid, connections, events])?;
        }
        Ok(())
    }

    fn write_sightings(&self, db: &Database) -> Result<()> {
        let mut new_days: HashMap<(i64, u32), i64> = HashMap::new();
        let mut insert = db.prepare_cached(
            "INSERT OR IGNORE INTO sighting_day (executable, day, uid) VALUES (?1, ?2, ?3)",
        )?;
        for (executable, day, uid) in self.days.keys() {
            let new = insert.execute(params![executable, day, uid])?;
            *new_days.entry((*executable, *uid)).or_default() += i64::try_from(new).unwrap_or(0);
        }
        let mut upsert = db.prepare_cached(
            "INSERT INTO sighting (executable, uid, first_seen, last_seen, days, sent, received, connections)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO UPDATE SET
               first_seen = min(first_seen, excluded.first_seen), last_seen = max(last_seen, excluded.last_seen),
               days = days + excluded.days, sent = sent + excluded.sent, received = received + excluded.received,
               connections = connections + excluded.connections",
        )?;
        for ((executable, uid), (first, last, sums)) in &self.sightings {
            let days = new_days.get(&(*executable, *uid)).copied().unwrap_or(0);
            upsert.execute(params![
                executable,
                uid,
                first,
                last,
                days,
                stored(sums.sent),
                stored(sums.received),
                stored(sums.connections)
            ])?;
        }
        let mut update = db.prepare_cached(
            "UPDATE fact SET first_seen = min(first_seen, ?5), last_seen = max(last_seen, ?6)
               WHERE executable = ?1 AND kind = ?2 AND value = ?3 AND uid = ?4",
        )?;
        let mut insert = db.prepare_cached(
            "INSERT INTO fact (executable, kind, value, uid, first_seen, last_seen) SELECT ?1, ?2, ?3, ?4, ?5, ?6
               WHERE ?2 = 2 OR ?7 > (SELECT count(*) FROM (SELECT 1 FROM fact WHERE executable = ?1 AND kind = ?2 LIMIT ?7))",
        )?;
        for ((executable, kind, value, uid), (first, last)) in &self.facts {
            if update.execute(params![executable, kind, value, uid, first, last])? == 0 {
                insert.execute(params![executable, kind, value, uid, first, last, MAX_FACTS])?;
            }
        }
        Ok(())
    }
}

const UPSERT_ROLLUP: &str =
    "INSERT INTO rollup (level, dimension, bucket, key, executable, uid, sent, received, connections)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO UPDATE SET sent = sent + excluded.sent,
    received = received + excluded.received, connections = connections + excluded.connections";

/// The number of a row's value in a dimension; 0 (or -1 for ports) where it is unknown.
fn key(dimension: Dimension, who: &WhoIds, peer: &PeerKey) -> i64 {
    match dimension {
        Dimension::Path => who.program.executable,
        Dimension::Name => who.program.name,
        Dimension::Sha256 => who.program.content.max(0),
        Dimension::Cmdline => who.program.pattern,
        Dimension::Parent => who.parent,
        Dimension::Grandparent => who.grandparent,
        Dimension::Uid => i64::from(who.uid),
        Dimension::Domain => peer.domain,
        Dimension::Address => peer.remote,
        Dimension::LocalPort if peer.direction == IN => peer.port,
        Dimension::RemotePort if peer.direction == OUT => peer.port,
        Dimension::LocalPort | Dimension::RemotePort => NO_PORT,
        Dimension::Protocol => peer.protocol,
        Dimension::Direction => peer.direction,
        Dimension::Netns => peer.netns,
        Dimension::Unit => who.unit,
        Dimension::Container => who.container,
    }
}
