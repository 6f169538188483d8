// SPDX-License-Identifier: GPL-3.0-or-later
//! What is forgotten, in small steps: each transaction touches a bounded number of rows, and the writer does
//! its other work between two steps.
//!
//! Rows older than `detail_days` go: the totals have had them since they were written. Everything
//! else but the programs themselves, with their names and contents, goes after `retention_days`; these too, once there
//! are very many (`unknown.rs`), and a damaged history that was set aside. Hours are kept two months longer than rows. Numbers that nothing refers to any more
//! are swept once a day.
//!
//! A clock that is wrong for an hour must not cost the history: one round forgets at most two days that have
//! data, unless somebody has just changed the settings. What it has raised comes down when it is right again.

use std::collections::HashSet;
use std::path::Path;

use rusqlite::{Connection as Database, Result, TransactionBehavior, params};

use super::chunk::{self, BUILT, Kind, Reach, WIDTHS};
use super::database;
use super::named::Named;
use super::place;
use super::recent;
use super::rollup::{DAY, HOUR};
use super::said::{self, Said};
use super::unknown::Unknown;
use super::writer::TIE_BITS;
use super::{Settings, build};
use crate::model::ProgramKey;

/// Rows per transaction.
const STEP: i64 = 4_000;
/// Segments of chunks of each kind per transaction.
const CHUNKS: i64 = 500;
/// Numbers of a table looked at per transaction.
const SWEEP: i64 = 4_000;
/// Executables of which days are looked at per transaction.
const EXECUTABLES: i64 = 500;
/// Lists of rows per transaction.
const LISTS: i64 = 50;
/// Hours whose lists of rows are looked at per transaction.
const HOURS: i64 = 4;
/// Pages given back to the file system per transaction.
const PAGES: i64 = 256;
/// Hours are kept this many days longer than the detail.
const HOURS_BEYOND_DETAIL: i64 = 60;

/// A damaged history that was set aside goes once it was too old in so many rounds, one after the other, which are most
/// often an hour apart: a clock that is wrong for less than a day does not cost it.
const ASIDE_ROUNDS: i64 = 24;
/// Name in `meta` of how many these were.
const ASIDE: &str = "aside-due";

/// Days with data that one round may forget.
const DAYS_A_ROUND: i64 = 2;

/// What is swept.
#[derive(Clone, Copy)]
enum Swept {
    /// A table of numbers, and when a row `t` of it is referred to by nothing.
    Table(&'static str, &'static str),
    Who,
    Peers,
    /// They are what programs are known by: only the oldest of very many go, and with them what they had.
    Executables,
    /// Nothing goes, but it is looked which words and services are in use.
    Names,
    Words,
    Services,
    /// They are kept by content, not by number.
    Verdicts,
}

/// Who refers comes before what is referred to. What totals refer to is looked up besides.
const SWEPT: [Swept; 13] = [
    Swept::Who,
    // Again: those without command lines come before those that refer to them.
    Swept::Who,
    Swept::Peers,
    Swept::Table(
        "program",
        "NOT EXISTS (SELECT 1 FROM who w WHERE w.program = t.id) AND NOT EXISTS (SELECT 1 FROM who w WHERE w.parent = t.id)
         AND NOT EXISTS (SELECT 1 FROM who w WHERE w.grandparent = t.id)",
    ),
    Swept::Executables,
    Swept::Table(
        "content",
        "NOT EXISTS (SELECT 1 FROM fact f WHERE f.kind + 0 = 2 AND f.value = t.id)
         AND NOT EXISTS (SELECT 1 FROM program p WHERE p.content = t.id)
         AND NOT EXISTS (SELECT 1 FROM program p WHERE p.script_content = t.id AND p.script_content > 0)
         AND NOT EXISTS (SELECT 1 FROM event e WHERE e.content = t.id AND e.content > 0)
         AND NOT EXISTS (SELECT 1 FROM event e WHERE e.old_content = t.id AND e.old_content > 0)",
    ),
    Swept::Table("cmdline", "NOT EXISTS (SELECT 1 FROM program p WHERE p.cmdline = t.id)"),
    // There are few events.
    Swept::Table(
        "domain",
        "NOT EXISTS (SELECT 1 FROM peer p WHERE p.domain = t.id) AND t.id NOT IN (SELECT domain FROM event)",
    ),
    Swept::Table(
        "address",
        "NOT EXISTS (SELECT 1 FROM peer p WHERE p.remote = t.id) AND NOT EXISTS (SELECT 1 FROM peer p WHERE p.local = t.id)
         AND t.id NOT IN (SELECT remote FROM event)",
    ),
    Swept::Names,
    Swept::Services,
    Swept::Words,
    Swept::Verdicts,
];

/// When events and others do not refer to a `who`.
const WHO: &str = "NOT EXISTS (SELECT 1 FROM event e WHERE e.who = t.id)
         AND NOT EXISTS (SELECT 1 FROM who w WHERE w.folded = t.id)";

/// One step of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Totals of days and more that are over.
    Build,
    Detail,
    Hours,
    /// Totals of this level.
    Level(usize),
    /// After this one.
    Events(i64),
    Volume,
    /// Days of executables after this one.
    Sightings(i64),
    /// After this one.
    Facts(said::Key),
    /// Of one executable after another, those after this one.
    Contents((i64, u32)),
    /// Which programs the rows refer to: hours before this one are looked at.
    Used(i64),
    /// Which of [`SWEPT`], and up to which number it is swept.
    Sweep(usize, i64),
    /// Executables, and what is swept next.
    Forget(usize),
    Vacuum,
}

/// Where the forgetting stands.
#[derive(Default)]
pub(super) struct Retention {
    /// Next step of the round; `None` between rounds.
    phase: Option<Phase>,
    /// First day of detail and first day at all that this round keeps.
    from: (i64, i64),
    /// The next round may forget as much as the settings say.
    unlimited: bool,
    /// Day of the last sweep.
    swept: i64,
    /// First day of what is said of programs: what is older went in a round before.
    cleared: i64,
    /// When the last round began by the clock, µs.
    began: i64,
    freed: bool,
    /// Programs that rows refer to, while they are swept, and the newest one that is.
    used: HashSet<i64>,
    newest: i64,
    /// How many programs and peers were swept since the last call.
    swept_away: u64,
    unknown: Unknown,
    said: Said,
    /// Words and services in use, while they are swept.
    named: Named,
    /// What is not known any more since the last call.
    forgotten: Vec<ProgramKey>,
}

impl Retention {
    /// A round is under way.
    pub(super) fn busy(&self) -> bool {
        self.phase.is_some()
    }

    /// The last round began later than now.
    pub(super) fn is_ahead(&self, now: i64) -> bool {
        now < self.began
    }

    /// Numbers may have been freed since the last call.
    pub(super) fn freed(&mut self) -> bool {
        std::mem::take(&mut self.freed)
    }

    /// How many programs and peers are not there any more since the last call.
    pub(super) fn swept_away(&mut self) -> u64 {
        std::mem::take(&mut self.swept_away)
    }

    /// What programs are known by that are not known any more since the last call.
    pub(super) fn forgotten(&mut self) -> Vec<ProgramKey> {
        std::mem::take(&mut self.forgotten)
    }

    /// The next step begins a round, with a sweep, whatever the day.
    pub(super) fn sweep_soon(&mut self) {
        self.swept = i64::MIN;
        self.phase = None;
    }

    /// Somebody changed the settings.
    pub(super) fn obey(&mut self) {
        self.unlimited = true;
        self.phase = None;
    }

    /// Rows with these programs were written: they are in use, whatever was looked at before.
    pub(super) fn uses(&mut self, who: impl Iterator<Item = i64>) {
        if matches!(self.phase, Some(Phase::Used(_) | Phase::Sweep(..) | Phase::Forget(_))) {
            self.used.extend(who);
        }
    }

    /// Does one step of at most a few thousand rows; begins a round if none is under way. `now` in µs.
    pub(super) fn step(&mut self, db: &mut Database, settings: &Settings, now: i64) -> Result<()> {
        let today = now.div_euclid(DAY);
        if self.phase.is_none() {
            forget_aside(db, (today - i64::from(settings.retention_days)) * DAY)?;
        }
        let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if self.phase.is_none() {
            come_down(&transaction, settings, today)?;
            self.began = now;
            self.from = bounds(&transaction, settings, today, std::mem::take(&mut self.unlimited))?;
        }
        let (detail_from, kept_from) = self.from;
        let delete = |sql: &str, bound: i64| -> Result<bool> {
            Ok(transaction.prepare_cached(sql)?.execute(params![bound, STEP])? > 0)
        };
        let phase = self.phase.unwrap_or(Phase::Build);
        let mut gone = Vec::new();
        let next = match phase {
            Phase::Build if build::step(&transaction, now)? => phase,
            Phase::Build => Phase::Detail,
            Phase::Detail => {
                chunk::raise(&transaction, chunk::KEPT, kept_from)?;
                let oldest: Option<i64> =
                    transaction.query_row("SELECT min(id) FROM connection", (), |row| row.get(0))?;
                let bound = (detail_from * DAY) << TIE_BITS;
                if oldest.is_some_and(|id| id < bound) {
                    chunk::raise(&transaction, "detail-from", detail_from)?;
                }
                let again = delete(
                    "DELETE FROM connection WHERE id IN (SELECT id FROM connection WHERE id < ?1 ORDER BY id LIMIT ?2)",
                    bound,
                )?;
                // Where nothing is written any more, nobody else does.
                let recent = recent::pass(&transaction, now)?.1;
                if again || recent || place::forget(&transaction, detail_from * (DAY / HOUR), LISTS)? {
                    phase
                } else {
                    Phase::Hours
                }
            }
            Phase::Hours => {
                // Not before their day is made.
                let built = Reach::read(&transaction)?.built[1];
                let day = (detail_from - HOURS_BEYOND_DETAIL).max(kept_from).min(built);
                let again = chunks(&transaction, 0, day * (DAY / HOUR))?;
                if again {
                    chunk::raise(&transaction, "hours-from", day * (DAY / HOUR))?;
                    phase
                } else {
                    Phase::Level(1)
                }
            }
            Phase::Level(level) => {
                // A wide bucket goes with its first day: readers take the days of it that are left.
                let days = WIDTHS[level] / DAY;
                if chunks(&transaction, level, chunk::up(kept_from, days) / days)? {
                    phase
                } else if BUILT.contains(&(level + 1)) {
                    Phase::Level(level + 1)
                } else if self.swept == today && self.cleared == kept_from {
                    Phase::Vacuum
                } else {
                    Phase::Events(0)
                }
            }
            Phase::Events(after) => {
                let last = last_of(&transaction, "event", after, STEP)?;
                transaction
                    .prepare_cached("DELETE FROM event WHERE id > ?1 AND id <= ?2 AND time < ?3")?
                    .execute([after, last.unwrap_or(after), kept_from * DAY])?;
                last.map_or(Phase::Volume, Phase::Events)
            }
            Phase::Volume => {
                let again = delete(
                    "DELETE FROM volume WHERE (day, uid) IN (SELECT day, uid FROM volume WHERE day < ?1 LIMIT ?2)",
                    kept_from,
                )?;
                if again { phase } else { Phase::Sightings(0) }
            }
            Phase::Sightings(after) => {
                let last = last_of(&transaction, "executable", after, EXECUTABLES)?;
                let gone = transaction
                    .prepare_cached(
                        "DELETE FROM sighting_day WHERE (executable, day, uid) IN
                           (SELECT s.executable, s.day, s.uid FROM executable e CROSS JOIN sighting_day s
                              ON s.executable = e.id AND s.day < ?3 WHERE e.id > ?1 AND e.id <= ?2 LIMIT ?4)",
                    )?
                    .execute([after, last.unwrap_or(after), kept_from, STEP])?;
                if gone > 0 { phase } else { last.map_or(Phase::Facts(said::FIRST), Phase::Sightings) }
            }
            Phase::Facts(after) => {
                let words = &mut self.named.words;
                let (last, gone) = self.said.look(&transaction, after, kept_from * DAY, words)?;
                // The writer counts them.
                self.freed |= gone;
                last.map_or(Phase::Contents(said::FIRST_CONTENT), Phase::Facts)
            }
            Phase::Contents(after) => {
                let (next, gone) = self.said.trim(&transaction, after, kept_from * DAY)?;
                self.freed |= gone;
                if let Some(next) = next {
                    Phase::Contents(next)
                } else {
                    self.cleared = kept_from;
                    if self.swept == today {
                        Phase::Vacuum
                    } else {
                        self.used.clear();
                        self.newest =
                            transaction
                                .query_row("SELECT coalesce(max(id), 0) FROM who", (), |row| row.get(0))?;
                        Phase::Used(0)
                    }
                }
            }
            Phase::Used(hour) => used(&transaction, hour, &mut self.used)?,
            Phase::Sweep(n, position) => self.sweep(&transaction, n, position)?,
            Phase::Forget(n) => {
                let again;
                (gone, again) = self.unknown.forget(&transaction, kept_from * DAY)?;
                self.freed = true;
                if again { phase } else { Phase::Sweep(n, 0) }
            }
            Phase::Vacuum => phase,
        };
        let again = phase == Phase::Vacuum && vacuum(&transaction)?;
        transaction.commit()?;
        self.forgotten.append(&mut gone);
        if next == Phase::Vacuum {
            self.swept = today;
            self.used = HashSet::new();
            self.named = Named::default();
        }
        self.phase = (next != Phase::Vacuum || phase != Phase::Vacuum || again).then_some(next);
        Ok(())
    }

    /// Looks at the next numbers and removes those that nothing refers to.
    fn sweep(&mut self, db: &Database, n: usize, position: i64) -> Result<Phase> {
        let Some(what) = SWEPT.get(n).copied() else { return Ok(Phase::Vacuum) };
        let table = match what {
            Swept::Executables => {
                let last = self.unknown.look(db, position, self.from.1 * DAY)?;
                return Ok(last.map_or(Phase::Forget(n + 1), |last| Phase::Sweep(n, last)));
            }
            Swept::Names => return Ok(Phase::Sweep(if self.named.look(db)? { n } else { n + 1 }, 0)),
            Swept::Verdicts => {
                let again = db
                    .prepare_cached(
                        "DELETE FROM verdict WHERE sha256 IN (SELECT v.sha256 FROM verdict v
                           LEFT JOIN content c ON c.sha256 = v.sha256 WHERE c.id IS NULL LIMIT ?1)",
                    )?
                    .execute([SWEEP])?;
                return Ok(Phase::Sweep(if again > 0 { n } else { n + 1 }, 0));
            }
            Swept::Table(table, _) => table,
            Swept::Who => "who",
            Swept::Peers => "peer",
            Swept::Words => "word",
            Swept::Services => "service",
        };
        let Some(last) = last_of(db, table, position, SWEEP)? else { return Ok(Phase::Sweep(n + 1, 0)) };
        let unused = match what {
            Swept::Table(_, unused) => numbers(db, table, unused, [position, last])?,
            Swept::Words | Swept::Services => {
                self.named.unused(db, matches!(what, Swept::Services), [position, last])?
            }
            Swept::Who => {
                let mut unused = numbers(db, table, WHO, [position, last])?;
                // What was not there yet when the rows were looked at may be theirs.
                unused.retain(|id| *id <= self.newest && !self.used.contains(id));
                not_in_totals(db, Kind::Who, unused)?
            }
            _ => {
                let reach = Reach::read(db)?;
                let oldest: i64 =
                    db.query_row("SELECT coalesce(min(id), 0) FROM connection", (), |row| row.get(0))?;
                // The peers of all rows are in the totals of their hours, unless these are gone before the rows.
                if oldest > 0 && oldest < (reach.hours * HOUR) << TIE_BITS {
                    Vec::new()
                } else {
                    not_in_totals(db, Kind::Pair, numbers(db, table, "1", [position, last])?)?
                }
            }
        };
        let mut delete = db.prepare_cached(&format!("DELETE FROM {table} WHERE id = ?1"))?;
        for id in &unused {
            delete.execute([id])?;
        }
        self.freed |= !unused.is_empty();
        if matches!(what, Swept::Who | Swept::Peers) {
            self.swept_away += unused.len() as u64;
        }
        Ok(Phase::Sweep(n, last))
    }
}

/// A damaged history that was set aside goes once it was not written since then, in µs, in [`ASIDE_ROUNDS`]. What cannot
/// be removed is tried again with the next one.
fn forget_aside(db: &Database, before: i64) -> Result<()> {
    let Some(path) = db.path().map(Path::new) else { return Ok(()) };
    let due = database::aside_is_due(path, before);
    if let Ok(true) = due {
        let rounds = chunk::meta(db, ASIDE)? + 1;
        chunk::raise(db, ASIDE, rounds)?;
        if rounds < ASIDE_ROUNDS {
            return Ok(());
        }
    }
    chunk::lower(db, ASIDE, 0)?;
    if let Err(error) = due.and_then(|due| if due { database::remove_aside(path) } else { Ok(()) }) {
        tracing::warn!("the damaged history that was set aside cannot be removed: {error}");
    }
    Ok(())
}

/// First day of detail and first day at all that are kept.
fn bounds(db: &Database, settings: &Settings, today: i64, unlimited: bool) -> Result<(i64, i64)> {
    let (mut detail, mut all) =
        (today - i64::from(settings.detail_days), today - i64::from(settings.retention_days));
    let oldest = oldest_day(db)?;
    if !unlimited {
        let row: Option<i64> = db.query_row("SELECT min(id) FROM connection", (), |row| row.get(0))?;
        if let Some(id) = row {
            detail = detail.min((id >> TIE_BITS).div_euclid(DAY) + DAYS_A_ROUND);
        }
        all = all.min(oldest.unwrap_or(all) + DAYS_A_ROUND);
    }
    // Where nothing goes, what is kept begins where it did: a clock that is ahead is not to hide what comes.
    if oldest.is_none_or(|day| day >= all) {
        all = chunk::meta(db, chunk::KEPT)?;
    }
    Ok((detail, all))
}

/// The first day with anything that is forgotten by the day.
fn oldest_day(db: &Database) -> Result<Option<i64>> {
    let volume: Option<i64> = db.query_row("SELECT min(day) FROM volume", (), |row| row.get(0))?;
    // Their numbers follow the clock.
    let event: Option<i64> =
        db.query_row("SELECT min(time) FROM (SELECT time FROM event ORDER BY id LIMIT ?1)", [STEP], |row| {
            row.get(0)
        })?;
    let oldest = volume.into_iter().chain(event.map(|time| time.div_euclid(DAY))).min();
    if oldest.is_some() {
        return Ok(oldest);
    }
    // Programs that only ran: there are few of them.
    db.query_row("SELECT min(day) FROM sighting_day", (), |row| row.get(0))
}

/// What a clock that was ahead has raised comes down, as far as nothing was forgotten by it.
fn come_down(db: &Database, settings: &Settings, today: i64) -> Result<()> {
    let reach = Reach::read(db)?;
    let kept = (today - i64::from(settings.retention_days)).max(0);
    let oldest: Option<i64> = db.query_row("SELECT min(day) FROM volume", (), |row| row.get(0))?;
    // What is older than what is to be kept is about to go.
    if reach.kept > kept && oldest.is_none_or(|day| day >= kept) {
        chunk::keep_from(db, &reach, kept)?;
    }
    // A clock that shows a day before all that is recorded is not right now.
    if reach.built[1] > today + 1 && oldest.is_some_and(|day| day < today) {
        chunk::unbuild(db, &reach, today)?;
    }
    Ok(())
}

/// Deletes buckets before this one; true if there may be more.
fn chunks(db: &Database, level: usize, before: i64) -> Result<bool> {
    let mut delete = db.prepare_cached(
        "DELETE FROM chunk WHERE id IN (SELECT id FROM chunk WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT ?3)",
    )?;
    let mut deleted = 0;
    for kind in Kind::ALL {
        let (first, last) = (chunk::id(kind, level, 0, 0), chunk::id(kind, level, before, 0));
        deleted += delete.execute(params![first, last, CHUNKS])?;
    }
    Ok(deleted > 0)
}

/// Looks which programs the rows of the next hours refer to.
fn used(db: &Database, from: i64, used: &mut HashSet<i64>) -> Result<Phase> {
    let mut hour = from;
    for _ in 0..HOURS {
        let Some(next) = place::next(db, hour, i64::from(i32::MAX))? else { return Ok(Phase::Sweep(0, 0)) };
        place::read(db, next, |row| {
            used.insert(row.who);
        })?;
        hour = next + 1;
    }
    Ok(Phase::Used(hour))
}

/// Numbers of a table after the first up to the second of which this is so.
fn numbers(db: &Database, table: &str, unused: &str, range: [i64; 2]) -> Result<Vec<i64>> {
    db.prepare_cached(&format!("SELECT t.id FROM {table} t WHERE t.id > ?1 AND t.id <= ?2 AND {unused}"))?
        .query_map(range, |row| row.get(0))?
        .collect()
}

/// Those of these numbers, which are in order, that no total of this kind begins with.
fn not_in_totals(db: &Database, kind: Kind, mut numbers: Vec<i64>) -> Result<Vec<i64>> {
    let (Some(first), Some(last)) = (numbers.first().copied(), numbers.last().copied()) else {
        return Ok(numbers);
    };
    let mut used = HashSet::new();
    let wanted = |number| number >= first && number <= last;
    for piece in chunk::present(&Reach::read(db)?) {
        chunk::read_some(
            db,
            kind,
            piece,
            Some(&[(first, last)]),
            wanted,
            |_, _| true,
            |_, number, _, _| {
                used.insert(number);
            },
        )?;
    }
    numbers.retain(|number| !used.contains(number));
    Ok(numbers)
}

/// The last of so many numbers of a table after this one; `None` if there are none.
fn last_of(db: &Database, table: &str, after: i64, count: i64) -> Result<Option<i64>> {
    db.prepare_cached(&format!(
        "SELECT max(id) FROM (SELECT id FROM {table} WHERE id > ?1 ORDER BY id LIMIT ?2)"
    ))?
    .query_row([after, count], |row| row.get(0))
}

/// Gives pages back to the file system, but for a tenth that will be used again; true if there are more.
fn vacuum(db: &Database) -> Result<bool> {
    let free: i64 = db.query_row("PRAGMA freelist_count", (), |row| row.get(0))?;
    let all: i64 = db.query_row("PRAGMA page_count", (), |row| row.get(0))?;
    let spare = (free - all / 10).clamp(0, PAGES);
    if spare > 0 {
        // It moves one page each time it is asked for a row.
        let mut vacuum = db.prepare(&format!("PRAGMA incremental_vacuum({spare})"))?;
        let mut rows = vacuum.query(())?;
        while rows.next()?.is_some() {}
    }
    Ok(spare == PAGES)
}
