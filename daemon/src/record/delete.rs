// SPDX-License-Identifier: GPL-3.0-or-later
//! History that a person wants gone, day by day and in small steps: the rows that match, then the day's totals
//! are made anew from what is left. Where only totals are left, whole days go, and a folded command line goes as
//! a whole. Events that match go too. Programs stay known with
//! their names and contents: otherwise they would be announced as new. What is taken away is subtracted from what is
//! said of them, in the same transaction; of programs that had nothing taken away nothing changes.
//!
//! Which days are under way stands in `meta`, from the first step to the last, and of whom something was taken away in
//! `deleting`. If the service dies in between, the next one makes the totals and lists of these days anew from what is
//! left, and what is said of those programs: nothing that is deleted shows in them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::mpsc::SyncSender;

use picosnitch_api::{self as api, Query};
use rusqlite::types::Value;
use rusqlite::{Connection as Database, OptionalExtension as _, Result, TransactionBehavior, params};

use super::chunk::{self, BUILT, Kind, Reach, Span, Sums, WIDTHS, stored};
use super::convert;
use super::dimension::fact;
use super::place;
use super::read::{self, Sql};
use super::recent;
use super::rollup::{DAY, HOUR};
use super::writer::{TIE_BITS, unavailable};
use crate::model::Viewer;

/// Rows per transaction.
const STEP: i64 = 4_000;
/// Names in `meta` of the first and the last day of a deletion under way.
const FROM: &str = "deleting-from";
const TO: &str = "deleting-to";

/// An executable, and who used it.
type Used = (i64, u32);

/// In place of a day: what was taken away is no longer said of any day, but may be of the program itself.
const ANY_DAY: i64 = -1;
/// So many spans of programs, and executables, are looked through in one transaction, if that is not more than one.
const SPANS: usize = 32;
const EXECUTABLES: i64 = 16;

/// A deletion under way.
pub(super) struct Deletion {
    query: Query,
    rows: Sql,
    totals: Sql,
    /// Days still to do, the next one last.
    days: Vec<i64>,
    /// First day whose rows are all there.
    detail_from: i64,
    /// Hours of the day under way whose totals are to be made anew; `None` while its rows are deleted.
    hours: Option<std::ops::Range<i64>>,
    /// Levels and buckets to be made anew at the end.
    wide: BTreeSet<(usize, i64)>,
    deleted: u64,
    events_done: bool,
    pub(super) answer: SyncSender<std::result::Result<u64, api::Error>>,
}

impl Deletion {
    /// What one that was broken off has left to be done: nothing more is deleted, but all totals of its days are
    /// made anew. `None`: there was none.
    pub(super) fn broken_off(db: &Database) -> Result<Option<Self>> {
        let mut select = db.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
        let mut meta = |key| select.query_row([key], |row| row.get::<_, i64>(0)).optional();
        let (Some(from), Some(to)) = (meta(FROM)?, meta(TO)?) else { return Ok(None) };
        let query = Query { since: Some(from * DAY), until: Some((to + 1) * DAY), ..Query::default() };
        let nothing = Sql { text: " AND 0".to_owned(), values: Vec::new() };
        Ok(Some(Deletion {
            days: days(db, &query)?,
            query,
            rows: nothing.clone(),
            totals: nothing,
            detail_from: Reach::read(db)?.detail,
            hours: None,
            wide: BTreeSet::new(),
            deleted: 0,
            events_done: true,
            answer: std::sync::mpsc::sync_channel(1).0,
        }))
    }

    /// Looks what there is to do.
    pub(super) fn new(
        db: &Database,
        query: &Query,
        viewer: &Viewer,
        answer: SyncSender<std::result::Result<u64, api::Error>>,
    ) -> std::result::Result<Self, api::Error> {
        let (rows, totals) = read::conditions(db, query, viewer)?;
        let days = days(db, query).map_err(unavailable)?;
        let reach = Reach::read(db).map_err(unavailable)?;
        Ok(Deletion {
            query: query.clone(),
            rows,
            totals,
            days,
            detail_from: reach.detail,
            hours: None,
            wide: BTreeSet::new(),
            deleted: 0,
            events_done: false,
            answer,
        })
    }

    /// Does one step; true when everything is done.
    pub(super) fn step(&mut self, db: &mut Database, viewer: &Viewer) -> Result<bool> {
        let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if !self.events_done {
            let mut events = 0;
            if let Ok(matching) = read::event_conditions(&transaction, &self.query, viewer) {
                let sql = format!("DELETE FROM event WHERE id IN ({} LIMIT {STEP})", matching.text);
                events = transaction.prepare(&sql)?.execute(rusqlite::params_from_iter(&matching.values))?;
            }
            if let (Some(last), Some(first)) = (self.days.first(), self.days.last()) {
                let (first, last) = (first.min(last), first.max(last));
                let mut insert =
                    transaction.prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?;
                insert.execute(params![FROM, first])?;
                insert.execute(params![TO, last])?;
            }
            transaction.commit()?;
            self.events_done = events == 0;
            return Ok(false);
        }
        let reach = Reach::read(&transaction)?;
        let Some(day) = self.days.last().copied() else {
            if let Some((level, bucket)) = self.wide.pop_first() {
                chunk::build(&transaction, level, bucket)?;
                transaction.commit()?;
                return Ok(false);
            }
            // Those of days that are not on the list any more, too.
            any_day(&transaction, 0, i64::MAX)?;
            let again = tidy(&transaction, &reach)?;
            if !again {
                transaction.execute("DELETE FROM meta WHERE key IN (?1, ?2)", [FROM, TO])?;
            }
            transaction.commit()?;
            return Ok(!again);
        };
        let (from, to) = self.part(day);
        if let Some(hours) = &mut self.hours {
            match hours.next() {
                Some(hour) => self.totals_of_hour(&transaction, &reach, hour)?,
                None => {
                    self.totals_of_day(&transaction, &reach, day)?;
                    self.hours = None;
                    self.days.pop();
                }
            }
            transaction.commit()?;
            return Ok(false);
        }
        let sql = format!(
            "DELETE FROM connection WHERE id IN (SELECT c.id FROM connection c CROSS JOIN who w ON w.id = c.who
               CROSS JOIN peer p ON p.id = c.peer WHERE c.id >= ? AND c.id < ?{} LIMIT {STEP})
             RETURNING who, sent, received, connections",
            self.rows.text
        );
        let mut values = vec![Value::Integer(from << TIE_BITS), Value::Integer(to << TIE_BITS)];
        values.extend(self.rows.values.iter().cloned());
        let mut gone: HashMap<i64, Sums> = HashMap::new();
        let mut deleted = 0;
        {
            let mut delete = transaction.prepare_cached(&sql)?;
            let mut rows = delete.query(rusqlite::params_from_iter(&values))?;
            while let Some(row) = rows.next()? {
                let count = |index| row.get::<_, i64>(index).map(|value| u64::try_from(value).unwrap_or(0));
                let sums = Sums { sent: count(1)?, received: count(2)?, connections: count(3)? };
                gone.entry(row.get(0)?).or_default().add(sums);
                deleted += 1;
            }
        }
        // Where only totals are left, they say what is taken away.
        if day >= self.detail_from {
            subtract(&transaction, day, &gone)?;
        }
        self.deleted += deleted;
        if deleted == 0 {
            self.hours = Some(from.div_euclid(HOUR)..chunk::up(to, HOUR) / HOUR);
        }
        transaction.commit()?;
        Ok(false)
    }

    /// What is left to do is to take away what is said of programs: numbers and facts may be gone after each step.
    pub(super) fn tidies(&self) -> bool {
        self.days.is_empty() && self.wide.is_empty()
    }

    pub(super) fn deleted(&self) -> u64 {
        self.deleted
    }

    /// The part of this day that is in the range; the whole day where there are no rows any more.
    fn part(&self, day: i64) -> (i64, i64) {
        let (from, to) = (day * DAY, (day + 1) * DAY);
        if day < self.detail_from {
            return (from, to);
        }
        (from.max(self.query.since.unwrap_or(i64::MIN)), to.min(self.query.until.unwrap_or(i64::MAX)))
    }

    fn totals_of_hour(&self, db: &Database, reach: &Reach, hour: i64) -> Result<()> {
        if place::next(db, hour, hour + 1)?.is_some() {
            place::rebuild(db, hour)?;
            recent::leave(db, hour + 1)?;
        }
        if hour < reach.hours || chunk::next(db, 0, hour, hour + 1)?.is_none() {
            return Ok(());
        }
        if hour.div_euclid(DAY / HOUR) < self.detail_from {
            return self.thin(db, 0, hour);
        }
        chunk::clear(db, 0, hour)?;
        chunk::add_totals(db, 0, hour, &convert::of_rows(db, hour)?)
    }

    fn totals_of_day(&mut self, db: &Database, reach: &Reach, day: i64) -> Result<()> {
        if day < reach.built[1] {
            if day * (DAY / HOUR) >= reach.hours {
                chunk::build(db, 1, day)?;
            } else {
                self.thin(db, 1, day)?;
            }
            for level in BUILT.skip(1) {
                let bucket = day * DAY / WIDTHS[level];
                if bucket < reach.built[level] {
                    self.wide.insert((level, bucket));
                }
            }
        }
        days_of(db, reach, day)?;
        self.volume_of(db, reach, day)
    }

    /// Takes what matches out of a bucket of which there are no rows.
    fn thin(&self, db: &Database, level: usize, bucket: i64) -> Result<()> {
        let totals = chunk::totals(db, level, bucket)?;
        db.execute_batch(
            "CREATE TEMP TABLE IF NOT EXISTS thinned (n INTEGER PRIMARY KEY, who INTEGER, peer INTEGER);
             DELETE FROM temp.thinned;",
        )?;
        let mut insert = db.prepare_cached("INSERT INTO temp.thinned (n, who, peer) VALUES (?1, ?2, ?3)")?;
        for (n, total) in (0_i64..).zip(&totals) {
            insert.execute(params![n, total.who, total.peer])?;
        }
        let sql = format!(
            "SELECT c.n FROM temp.thinned c LEFT JOIN who w ON w.id = c.who LEFT JOIN peer p ON p.id = c.peer
               WHERE (1{}) IS NOT TRUE",
            self.totals.text
        );
        let mut statement = db.prepare_cached(&sql)?;
        let left = statement.query_map(rusqlite::params_from_iter(&self.totals.values), |row| row.get(0))?;
        let numbers: HashSet<i64> = left.collect::<Result<_>>()?;
        let (mut left, mut gone) = (Vec::new(), HashMap::new());
        for (n, total) in (0_i64..).zip(totals) {
            if numbers.contains(&n) {
                left.push(total);
            } else {
                gone.entry(total.who).or_insert_with(Sums::default).add(total.sums);
            }
        }
        subtract(db, bucket * WIDTHS[level] / DAY, &gone)?;
        chunk::clear(db, level, bucket)?;
        chunk::add_totals(db, level, bucket, &left)
    }

    fn volume_of(&self, db: &Database, reach: &Reach, day: i64) -> Result<()> {
        if day >= self.detail_from {
            db.prepare_cached("UPDATE volume SET connections = 0 WHERE day = ?1")?.execute([day])?;
            let mut count = db.prepare_cached(
                "SELECT w.uid, count(*) FROM connection c CROSS JOIN who w ON w.id = c.who
                   WHERE c.id >= ?1 AND c.id < ?2 GROUP BY w.uid",
            )?;
            let mut update =
                db.prepare_cached("UPDATE volume SET connections = ?3 WHERE day = ?1 AND uid = ?2")?;
            let mut rows = count.query([(day * DAY) << TIE_BITS, ((day + 1) * DAY) << TIE_BITS])?;
            while let Some(row) = rows.next()? {
                update.execute(params![day, row.get::<_, i64>(0)?, row.get::<_, i64>(1)?])?;
            }
        } else {
            let (mut pieces, mut left) = (Vec::new(), HashSet::new());
            chunk::cover(reach, (day * DAY, (day + 1) * DAY), 1, &mut pieces, &mut Vec::new());
            for piece in pieces {
                chunk::read(db, Kind::Service, piece, |_, _, uid, _| {
                    left.insert(uid);
                })?;
            }
            let left: Vec<String> = left.iter().map(i64::to_string).collect();
            db.execute(
                &format!(
                    "UPDATE volume SET connections = 0 WHERE day = ?1 AND uid NOT IN ({})",
                    left.join(",")
                ),
                [day],
            )?;
        }
        db.prepare_cached(
            "UPDATE volume SET events = (SELECT count(*) FROM event e WHERE e.uid = volume.uid AND e.time >= ?2 AND e.time < ?3)
               WHERE day = ?1",
        )?
        .execute(params![day, day * DAY, (day + 1) * DAY])?;
        Ok(())
    }
}

/// Days with data in the range.
fn days(db: &Database, q: &Query) -> Result<Vec<i64>> {
    let from = q.since.map_or(i64::MIN, |since| since.div_euclid(DAY));
    let to = q.until.map_or(i64::MAX, |until| until.saturating_sub(1).div_euclid(DAY));
    let mut statement =
        db.prepare("SELECT DISTINCT day FROM volume WHERE day BETWEEN ?1 AND ?2 ORDER BY day")?;
    statement.query_map([from, to], |row| row.get(0))?.collect()
}

/// Takes away what these programs had on this day.
fn subtract(db: &Database, day: i64, gone: &HashMap<i64, Sums>) -> Result<()> {
    let mut update = db.prepare_cached(
        "UPDATE sighting SET sent = max(sent - ?3, 0), received = max(received - ?4, 0),
           connections = max(connections - ?5, 0) WHERE executable = ?1 AND uid = ?2",
    )?;
    let mut touch =
        db.prepare_cached("INSERT OR IGNORE INTO deleting (day, executable, uid) VALUES (?1, ?2, ?3)")?;
    for (who, sums) in gone {
        let Some((executable, uid)) = used(db, *who)? else { continue };
        let Sums { sent, received, connections } = *sums;
        update.execute(params![executable, uid, stored(sent), stored(received), stored(connections)])?;
        touch.execute(params![day, executable, uid])?;
    }
    Ok(())
}

/// Whoever had something taken away of this day and has nothing left of it was not seen on it.
fn days_of(db: &Database, reach: &Reach, day: i64) -> Result<()> {
    let mut select = db.prepare_cached("SELECT executable, uid FROM deleting WHERE day = ?1")?;
    let touched = select.query_map([day], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut today: HashSet<Used> = touched.collect::<Result<_>>()?;
    if today.is_empty() {
        return Ok(());
    }
    any_day(db, day, day)?;
    let (mut pieces, mut whos) = (Vec::new(), HashSet::new());
    chunk::cover(reach, (day * DAY, (day + 1) * DAY), 1, &mut pieces, &mut Vec::new());
    for piece in pieces {
        chunk::read(db, Kind::Who, piece, |_, who, _, _| {
            whos.insert(who);
        })?;
    }
    for who in whos {
        if let Some(used) = used(db, who)? {
            today.remove(&used);
        }
    }
    today.into_iter().try_for_each(|used| not_seen(db, used, day))
}

/// What was taken away of these days, from the first to the last, is no longer said of them.
fn any_day(db: &Database, first: i64, last: i64) -> Result<()> {
    db.prepare_cached(
        "INSERT OR IGNORE INTO deleting (day, executable, uid)
           SELECT ?3, executable, uid FROM deleting WHERE day BETWEEN ?1 AND ?2",
    )?
    .execute([first, last, ANY_DAY])?;
    db.prepare_cached("DELETE FROM deleting WHERE day BETWEEN ?1 AND ?2")?.execute([first, last])?;
    Ok(())
}

/// Executable and user of a program as it ran.
fn used(db: &Database, who: i64) -> Result<Option<Used>> {
    db.prepare_cached(
        "SELECT g.executable, w.uid FROM who w JOIN program g ON g.id = w.program WHERE w.id = ?1",
    )?
    .query_row([who], |row| Ok((row.get(0)?, row.get(1)?)))
    .optional()
}

/// Nothing of this user's is left of it on this day.
fn not_seen(db: &Database, (executable, uid): Used, day: i64) -> Result<()> {
    let key = params![executable, uid, day];
    let gone = db
        .prepare_cached("DELETE FROM sighting_day WHERE executable = ?1 AND uid = ?2 AND day = ?3")?
        .execute(key)?;
    if gone == 0 {
        return Ok(());
    }
    db.prepare_cached(
        "UPDATE executable SET days = max(days - 1, 0) WHERE id = ?1 AND NOT EXISTS
           (SELECT 1 FROM sighting_day s WHERE s.executable = ?1 AND s.day = ?2)",
    )?
    .execute([executable, day])?;
    // First and last time are known to the day then; a program of which nothing is left stays known since the first.
    db.prepare_cached(
        "WITH d AS (SELECT min(day) * ?4 AS low, max(day) * ?4 AS high FROM sighting_day
             WHERE executable = ?1 AND uid = ?2)
         UPDATE sighting SET days = max(days - 1, 0),
           first_seen = CASE WHEN first_seen / ?4 = ?3 THEN coalesce((SELECT low FROM d), first_seen) ELSE first_seen END,
           last_seen = CASE WHEN last_seen / ?4 = ?3 THEN max(first_seen, coalesce((SELECT high FROM d), first_seen))
             ELSE last_seen END
         WHERE executable = ?1 AND uid = ?2",
    )?
    .execute(params![executable, uid, day, DAY])?;
    db.prepare_cached(
        "UPDATE fact SET first_seen = max(min(fact.first_seen, s.last_seen), s.first_seen),
             last_seen = min(max(fact.last_seen, s.first_seen), s.last_seen)
           FROM sighting s WHERE s.executable = ?1 AND s.uid = ?2 AND fact.executable = ?1 AND fact.uid = ?2",
    )?
    .execute(params![executable, uid])?;
    Ok(())
}

/// Domains, ports and command lines that only what was taken away had are not known any more, of some executables;
/// true if there are more.
fn tidy(db: &Database, reach: &Reach) -> Result<bool> {
    let mut next = db.prepare_cached(
        "SELECT DISTINCT executable FROM deleting WHERE day = ?1 ORDER BY executable LIMIT ?2",
    )?;
    let next = next.query_map([ANY_DAY, EXECUTABLES], |row| row.get(0))?;
    let mut whos: BTreeMap<i64, Ran> = BTreeMap::new();
    let (mut these, mut spans) = (Vec::new(), Vec::new());
    for executable in next.collect::<Result<Vec<i64>>>()? {
        let more = ran(db, executable)?;
        let with: Vec<i64> =
            whos.keys().chain(more.keys()).copied().collect::<BTreeSet<_>>().into_iter().collect();
        let wider = chunk::spans(with.into_iter());
        if !these.is_empty() && wider.len() > SPANS {
            break;
        }
        whos.extend(more);
        spans = wider;
        these.push(executable);
    }
    let left = left(db, reach, &whos, &spans)?;
    for executable in &these {
        forget_facts(db, *executable, &left)?;
        db.prepare_cached("DELETE FROM deleting WHERE day = ?1 AND executable = ?2")?
            .execute([ANY_DAY, *executable])?;
    }
    Ok(!these.is_empty())
}

/// A folded program: its executable, its folded command line and its user.
type Ran = (i64, i64, u32);

/// How this executable ran.
fn ran(db: &Database, executable: i64) -> Result<BTreeMap<i64, Ran>> {
    db.prepare_cached(
        "SELECT w.id, g.pattern, w.uid FROM program g CROSS JOIN who w ON w.program = g.id
           WHERE g.executable = ?1 AND w.folded = 0",
    )?
    .query_map([executable], |row| Ok((row.get(0)?, (executable, row.get(1)?, row.get(2)?))))?
    .collect()
}

/// What totals still have of programs: executable, kind of fact, value and user. Of domains, their peers.
struct Left {
    facts: HashSet<(i64, i64, i64, u32)>,
    peers: HashSet<(i64, u32, i64)>,
}

/// Reads what is left of these programs, which are within these spans.
fn left(db: &Database, reach: &Reach, whos: &BTreeMap<i64, Ran>, spans: &[Span]) -> Result<Left> {
    let mut left = Left { facts: HashSet::new(), peers: HashSet::new() };
    let mut services = HashSet::new();
    let of_whos = chunk::spans_of_whos(spans);
    for piece in chunk::everything(reach) {
        let wanted = |who: i64| whos.contains_key(&who);
        let mut peer = |peer: i64, who: i64| {
            if let Some((executable, _, uid)) = whos.get(&who) {
                left.peers.insert((*executable, *uid, peer));
            }
        };
        if BUILT.contains(&piece.0) {
            chunk::read_turned(db, piece, &of_whos, wanted, |_, _| true, |_, at, who, _| peer(at, who))?;
        } else {
            let both = |_, who| wanted(who);
            chunk::read_some(db, Kind::Pair, piece, None, |_| true, both, |_, at, who, _| peer(at, who))?;
        }
        chunk::read_some(
            db,
            Kind::Use,
            piece,
            Some(spans),
            wanted,
            |_, _| true,
            |_, who, service, _| {
                if let Some((executable, pattern, uid)) = whos.get(&who) {
                    left.facts.insert((*executable, fact::PATTERN, *pattern, *uid));
                    services.insert((*executable, service, *uid));
                }
            },
        )?;
    }
    let mut port = db.prepare_cached("SELECT port FROM service WHERE id = ?1")?;
    for (executable, service, uid) in services {
        if let Some(port) = port.query_row([service], |row| row.get(0)).optional()? {
            left.facts.insert((executable, fact::PORT, port, uid));
        }
    }
    Ok(left)
}

/// Takes away what is said of this executable and is not left, where something was taken away.
fn forget_facts(db: &Database, executable: i64, left: &Left) -> Result<()> {
    let mut select = db.prepare_cached(
        "SELECT kind, value, uid FROM fact WHERE executable = ?1 AND kind IN (3, 4, 5)
           AND uid IN (SELECT d.uid FROM deleting d WHERE d.day = ?2 AND d.executable = ?1)",
    )?;
    let facts = select.query_map([executable, ANY_DAY], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let mut peers = db.prepare_cached("SELECT id FROM peer WHERE domain = ?1")?;
    let mut delete = db
        .prepare_cached("DELETE FROM fact WHERE executable = ?1 AND kind = ?2 AND value = ?3 AND uid = ?4")?;
    for (kind, value, uid) in facts.collect::<Result<Vec<(i64, i64, u32)>>>()? {
        let mut is_left = left.facts.contains(&(executable, kind, value, uid));
        if kind == fact::DOMAIN {
            let mut rows = peers.query([value])?;
            while !is_left && let Some(row) = rows.next()? {
                is_left = left.peers.contains(&(executable, uid, row.get(0)?));
            }
        }
        if !is_left {
            delete.execute(params![executable, kind, value, uid])?;
        }
    }
    Ok(())
}
