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

/// Sorts, and makes one of those with the same key.
fn add_up<K: Ord + Copy>(totals: &mut Vec<(K, Sums)>) {
    totals.sort_unstable_by_key(|(key, _)| *key);
    totals.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1.add(next.1);
        }
        same
    });
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

/// The rows of one program with one peer in one hour.
#[derive(Debug, Clone, Copy)]
struct Flow {
    hour: i64,
    who: WhoIds,
    peer: PeerKey,
    peer_id: i64,
    first: i64,
    last: i64,
    rows: i64,
    sums: Sums,
}

/// What one transaction adds.
#[derive(Default)]
pub(super) struct Rollup {
    flows: HashMap<(i64, i64, i64), Flow>,
    /// First and last time, and sums, by executable and uid.
    sightings: HashMap<(i64, u32), (i64, i64, Sums)>,
    days: HashMap<(i64, i64, u32), ()>,
    facts: HashMap<(i64, i64, i64, u32), (i64, i64)>,
    /// Connections and events by day and uid.
    volume: HashMap<(i64, u32), (i64, i64)>,
    concluded: Vec<Flow>,
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
        let hour = time.div_euclid(HOUR);
        let flow = self.flows.entry((hour, who.id, peer.id)).or_insert_with(|| Flow {
            hour,
            who: *who,
            peer: peer.key,
            peer_id: peer.id,
            first: time,
            last: time,
            rows: 0,
            sums: Sums::default(),
        });
        flow.first = flow.first.min(time);
        flow.last = flow.last.max(time);
        flow.rows += 1;
        flow.sums.add(Sums {
            sent: sent.min(MOST),
            received: received.min(MOST),
            connections: u64::from(connections),
        });
    }

    /// What the rows say of programs.
    fn conclude(&mut self) {
        for flow in std::mem::take(&mut self.flows).into_values() {
            let Flow { who, peer, .. } = &flow;
            self.volume.entry((flow.hour.div_euclid(DAY / HOUR), who.uid)).or_default().0 += flow.rows;
            for time in [flow.first, flow.last] {
                self.program(time, who);
                if peer.port != NO_PORT {
                    self.fact(time, who, fact::PORT, peer.port);
                }
                if peer.domain != 0 {
                    self.fact(time, who, fact::DOMAIN, peer.domain);
                }
            }
            if let Some(sighting) = self.sightings.get_mut(&(who.program.executable, who.uid)) {
                sighting.2.add(flow.sums);
            }
            self.concluded.push(flow);
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
    pub(super) fn write(mut self, db: &Database) -> Result<()> {
        self.conclude();
        self.write_sightings(db)?;
        self.write_daily(db)?;
        let mut upsert = db.prepare_cached(UPSERT_ROLLUP)?;
        for (dimension, _) in Dimension::ALL {
            let number = numbers::dimension(dimension);
            let mut totals: Vec<_> = self
                .concluded
                .iter()
                .map(|flow| {
                    let Flow { hour, who, peer, .. } = flow;
                    ((*hour, key(dimension, who, peer), who.program.executable, who.uid), flow.sums)
                })
                .collect();
            let mut width = HOUR;
            for (level, next) in LEVELS.iter().enumerate() {
                for (key, _) in &mut totals {
                    key.0 = key.0.div_euclid(next / width);
                }
                width = *next;
                // In the order of the table: neighbours are on one page.
                add_up(&mut totals);
                for ((bucket, key, executable, uid), sums) in &totals {
                    upsert.execute(params![
                        i64::try_from(level).unwrap_or(i64::MAX),
                        number,
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
        }
        Ok(())
    }

    fn write_daily(&self, db: &Database) -> Result<()> {
        let days = self
            .concluded
            .iter()
            .map(|flow| ((flow.hour.div_euclid(DAY / HOUR), flow.who.folded, flow.peer_id), flow.sums));
        let mut days: Vec<_> = days.collect();
        add_up(&mut days);
        let mut upsert = db.prepare_cached(
            "INSERT INTO daily (day, who, peer, sent, received, connections) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
               ON CONFLICT DO UPDATE SET sent = sent + excluded.sent, received = received + excluded.received,
               connections = connections + excluded.connections",
        )?;
        for ((day, who, peer), sums) in days {
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
