// SPDX-License-Identifier: GPL-3.0-or-later
//! What one transaction adds to the totals: to the chunks (`chunk.rs`), and to what is known of each program.
//!
//! A port counts where it names a service: the remote one of an outgoing connection, the local one of an
//! incoming one. The other is the kernel's choice and counts under "unknown".

use std::collections::BTreeMap;

use rusqlite::{Connection as Database, Result, params};

use super::Map;
use super::chunk::{self, BUILT, MOST, Reach, Sums, Total, stored};
use super::dimension::{NO_PORT, fact};
use super::intern::{FactKey, Interner, PeerIds, WhoIds};

/// Microseconds in an hour.
pub(super) const HOUR: i64 = 3_600_000_000;
/// Microseconds in a day.
pub(super) const DAY: i64 = 24 * HOUR;
/// Names, domains, ports and folded command lines remembered for one program of one user.
const MAX_FACTS: i64 = 1000;

/// The rows of one program with one peer in one hour.
#[derive(Debug, Clone, Copy)]
struct Flow {
    hour: i64,
    who: WhoIds,
    peer: PeerIds,
    first: i64,
    last: i64,
    rows: i64,
    sums: Sums,
}

/// What one transaction adds.
#[derive(Default)]
pub(super) struct Rollup {
    /// Where in `flows` those of an hour, program and peer are.
    places: Map<(i64, i64, i64), usize>,
    flows: Vec<Flow>,
    /// First and last time, and sums, by executable and uid.
    sightings: Map<(i64, u32), (i64, i64, Sums)>,
    days: Map<(i64, i64, u32), ()>,
    facts: Map<FactKey, (i64, i64)>,
    /// Connections and events by day and uid.
    volume: Map<(i64, u32), (i64, i64)>,
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
        let next = self.flows.len();
        let place = *self.places.entry((hour, who.id, peer.id)).or_insert(next);
        if place == next {
            self.flows.push(Flow {
                hour,
                who: *who,
                peer: *peer,
                first: time,
                last: time,
                rows: 0,
                sums: Sums::default(),
            });
        }
        let flow = &mut self.flows[place];
        flow.first = flow.first.min(time);
        flow.last = flow.last.max(time);
        flow.rows += 1;
        flow.sums.add(Sums {
            sent: sent.min(MOST),
            received: received.min(MOST),
            connections: u64::from(connections),
        });
    }

    /// What the rows say of programs. Gives the flows.
    fn conclude(&mut self) -> Vec<Flow> {
        self.places = Map::default();
        let flows = std::mem::take(&mut self.flows);
        for flow in &flows {
            let (who, peer) = (&flow.who, &flow.peer.key);
            self.volume.entry((flow.hour.div_euclid(DAY / HOUR), who.uid)).or_default().0 += flow.rows;
            let times = (flow.first, flow.last);
            self.seen(times, who);
            if peer.port != NO_PORT {
                self.fact(times, who, fact::PORT, peer.port);
            }
            if peer.domain != 0 {
                self.fact(times, who, fact::DOMAIN, peer.domain);
            }
            if let Some(sighting) = self.sightings.get_mut(&(who.program.executable, who.uid)) {
                sighting.2.add(flow.sums);
            }
        }
        flows
    }

    /// Counts an event about this uid.
    pub(super) fn event(&mut self, time: i64, uid: u32) {
        self.volume.entry((time.div_euclid(DAY), uid)).or_default().1 += 1;
    }

    /// A program was seen.
    pub(super) fn program(&mut self, time: i64, who: &WhoIds) {
        self.seen((time, time), who);
    }

    /// A program was seen first and last within one hour, or then.
    fn seen(&mut self, times: (i64, i64), who: &WhoIds) {
        let program = &who.program;
        let sighting = self.sightings.entry((program.executable, who.uid)).or_insert((
            times.0,
            times.1,
            Sums::default(),
        ));
        sighting.0 = sighting.0.min(times.0);
        sighting.1 = sighting.1.max(times.1);
        // An hour is a part of one day.
        self.days.insert((program.executable, times.0.div_euclid(DAY), who.uid), ());
        self.fact(times, who, fact::NAME, program.name);
        self.fact(times, who, fact::CONTENT, program.content);
        if program.pattern != 0 {
            self.fact(times, who, fact::PATTERN, program.pattern);
        }
    }

    fn fact(&mut self, (first, last): (i64, i64), who: &WhoIds, kind: i64, value: i64) {
        let seen = self.facts.entry((who.program.executable, kind, value, who.uid)).or_insert((first, last));
        seen.0 = seen.0.min(first);
        seen.1 = seen.1.max(last);
    }

    /// Writes everything, within the caller's transaction.
    pub(super) fn write(mut self, db: &Database, interner: &mut Interner) -> Result<()> {
        let flows = self.conclude();
        self.write_sightings(db)?;
        self.write_facts(db, interner)?;
        self.write_volume(db)?;
        if flows.is_empty() {
            return Ok(());
        }
        let reach = Reach::read(db)?;
        let mut hours: BTreeMap<i64, Vec<Total>> = BTreeMap::new();
        for flow in &flows {
            hours.entry(flow.hour).or_default().push(Total {
                who: flow.who.folded,
                uid: flow.who.uid,
                peer: flow.peer.id,
                domain: flow.peer.key.domain,
                remote: flow.peer.key.remote,
                service: flow.peer.service,
                sums: flow.sums,
            });
        }
        for level in std::iter::once(0).chain(BUILT) {
            let mut buckets: BTreeMap<i64, Vec<Total>> = BTreeMap::new();
            for (hour, totals) in &hours {
                let Some(bucket) = reach.bucket(level, *hour) else { continue };
                if level == 0 {
                    chunk::add_totals(db, level, bucket, totals)?;
                } else {
                    buckets.entry(bucket).or_default().extend(totals);
                }
            }
            for (bucket, totals) in buckets {
                chunk::add_totals(db, level, bucket, &totals)?;
            }
        }
        Ok(())
    }

    fn write_volume(&self, db: &Database) -> Result<()> {
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
        let mut new_days: Map<(i64, u32), i64> = Map::default();
        let mut insert = db.prepare_cached(
            "INSERT OR IGNORE INTO sighting_day (executable, day, uid) VALUES (?1, ?2, ?3)",
        )?;
        let mut users = db.prepare_cached(
            "SELECT count(*) FROM (SELECT 1 FROM sighting_day WHERE executable = ?1 AND day = ?2 LIMIT 2)",
        )?;
        let mut first = db.prepare_cached("UPDATE executable SET days = days + 1 WHERE id = ?1")?;
        for (executable, day, uid) in self.days.keys() {
            let new = insert.execute(params![executable, day, uid])?;
            // Nobody else used it that day: a day more for everybody together.
            if new > 0 && users.query_row([executable, day], |row| row.get::<_, i64>(0))? == 1 {
                first.execute([executable])?;
            }
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
        Ok(())
    }

    fn write_facts(&self, db: &Database, interner: &mut Interner) -> Result<()> {
        let mut update = db.prepare_cached(
            "UPDATE fact SET first_seen = min(first_seen, ?5), last_seen = max(last_seen, ?6)
               WHERE executable = ?1 AND kind = ?2 AND value = ?3 AND uid = ?4",
        )?;
        let mut insert = db.prepare_cached(
            "INSERT INTO fact (executable, kind, value, uid, first_seen, last_seen) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        for (key, (first, last)) in &self.facts {
            let (executable, kind, value, uid) = *key;
            if matches!(kind, fact::PORT | fact::DOMAIN | fact::PATTERN) && interner.told(*key, *first, *last)
            {
                continue;
            }
            if update.execute(params![executable, kind, value, uid, first, last])? == 0
                && (kind == fact::CONTENT || interner.fact_count(db, executable, kind, uid)? < MAX_FACTS)
            {
                insert.execute(params![executable, kind, value, uid, first, last])?;
                interner.fact_added(executable, kind, uid);
            }
        }
        Ok(())
    }
}
