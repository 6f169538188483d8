// SPDX-License-Identifier: GPL-3.0-or-later
//! What waits to leave the machine, and what came back: rows for the remote database, in the transaction of
//! the rows themselves, and verdicts on contents. Written by the writer, read by `relay`.

use std::path::PathBuf;

use picosnitch_api as api;
use picosnitch_relay_wire::Row;
use rusqlite::{Connection as Database, OptionalExtension as _, Result, params};
use sha2::{Digest as _, Sha256};

use super::read::Reader;
use super::textlog::inert;
use super::writer::{now, unavailable};
use super::{Settings, dimension};
use crate::model::{Connection, Hash, Program, Scan, Scanned, Suspect, Verdict};

/// Bytes of rows that are stored together.
const CHUNK: usize = 48 * 1024;
/// What a stored chunk takes beside its rows, bytes.
const OVERHEAD: u64 = 64;
/// Longest text of a row, bytes: paths and command lines of usual length are whole.
const LONGEST: usize = 4096;
/// Nobody waits for the scanner longer than a day, µs; and a margin.
const LONGEST_WAIT: i64 = 25 * 3_600_000_000;
/// Contents that wait to be asked for at the most.
const MOST_SCANS: i64 = 65_536;
/// Programs that one verdict is told about at the most.
const MOST_SUSPECTS: i64 = 64;

/// What tells this machine from one that was copied from it; none where there is no such thing.
pub(super) fn machine() -> Option<i64> {
    let id = std::fs::read_to_string("/etc/machine-id").ok()?;
    let id = id.trim();
    // Before the first start of a system that is to be copied it says "uninitialized", or nothing.
    if id.len() != 32 || !id.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    // It is not to be known from the history.
    let digest: [u8; 32] = Sha256::digest(id).into();
    let first = digest.first_chunk::<8>()?;
    Some(i64::from_le_bytes(*first) & i64::MAX)
}

/// A history that came here from another machine gets an origin of its own: else the server would take the rows of one
/// for those of the other. What waits keeps the one that it may have been sent with already.
pub(super) fn settle_origin(db: &Database, machine: Option<i64>) -> Result<()> {
    let Some(machine) = machine else { return Ok(()) };
    let known: Option<i64> =
        db.query_row("SELECT value FROM meta WHERE key = 'machine'", (), |row| row.get(0)).optional()?;
    if known == Some(machine) {
        return Ok(());
    }
    let transaction = db.unchecked_transaction()?;
    if known.is_some() {
        transaction.execute_batch(
            "DELETE FROM meta WHERE key GLOB 'origin-until-*'
               AND CAST(substr(key, 14) AS INTEGER) < (SELECT coalesce(min(id), 9223372036854775807) FROM outbox);
             INSERT OR IGNORE INTO meta (key, value)
               SELECT 'origin-until-' || max(outbox.id), (SELECT value FROM meta WHERE key = 'origin')
               FROM outbox HAVING max(outbox.id) IS NOT NULL;
             UPDATE meta SET value = random() & 9223372036854775807 WHERE key = 'origin';",
        )?;
    }
    transaction.execute(
        "INSERT INTO meta (key, value) VALUES ('machine', ?1) ON CONFLICT DO UPDATE SET value = excluded.value",
        [machine],
    )?;
    transaction.commit()
}

/// Up to which row which origin is used, in order.
fn origins(db: &Database) -> Result<Vec<(i64, i64)>> {
    db.prepare_cached(
        "SELECT CASE key WHEN 'origin' THEN 9223372036854775807 ELSE CAST(substr(key, 14) AS INTEGER) END AS until,
           value FROM meta WHERE key = 'origin' OR key GLOB 'origin-until-*' ORDER BY until",
    )?
    .query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?
    .collect()
}

/// How full it is; what the writer knows without asking the database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Outbox {
    /// Latest id of a row.
    last: i64,
    pub(super) rows: u64,
    bytes: u64,
}

/// What one transaction does to it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Change {
    after: Outbox,
    /// Rows that did not fit.
    pub(super) lost: u64,
    /// There is something new to send.
    pub(super) added: bool,
}

impl Outbox {
    pub(super) fn load(db: &Database) -> Result<Self> {
        let last = db
            .query_row("SELECT value FROM meta WHERE key = 'outbox-last'", (), |row| row.get(0))
            .optional()?
            .unwrap_or(0);
        let (rows, bytes): (i64, i64) = db.query_row(
            "SELECT coalesce(sum(rows), 0), coalesce(sum(length(payload) + ?1), 0) FROM outbox",
            [OVERHEAD as i64],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let count = |number| u64::try_from(number).unwrap_or(0);
        Ok(Self { last, rows: count(rows), bytes: count(bytes) })
    }

    /// Adds rows, and takes out what was sent. What does not fit is left out and counted.
    pub(super) fn write(
        self,
        db: &Database,
        settings: &Settings,
        rows: &[Connection],
        sent: &[i64],
    ) -> Result<Change> {
        let mut change = Change { after: self, lost: 0, added: false };
        let after = &mut change.after;
        for id in sent {
            let gone: Option<(i64, i64)> = db
                .prepare_cached("DELETE FROM outbox WHERE id = ?1 RETURNING rows, length(payload)")?
                .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            if let Some((rows, bytes)) = gone {
                after.rows = after.rows.saturating_sub(u64::try_from(rows).unwrap_or(0));
                after.bytes = after.bytes.saturating_sub(u64::try_from(bytes).unwrap_or(0) + OVERHEAD);
            }
        }
        if settings.outbox == 0 {
            // Nobody is to be sent anything any more, also not what waits.
            if after.rows > 0 {
                db.execute("DELETE FROM outbox", ())?;
                (after.rows, after.bytes) = (0, 0);
            }
            return Ok(change);
        }
        if rows.is_empty() {
            return Ok(change);
        }
        after.last = after.last.max(now().saturating_sub(1));
        let mut chunk = Vec::new();
        let mut first = after.last + 1;
        let mut count = 0_i64;
        let put = |after: &mut Outbox, chunk: &mut Vec<u8>, first: i64, count: i64| -> Result<bool> {
            let bytes = chunk.len() as u64 + OVERHEAD;
            let fits = after.bytes.saturating_add(bytes) <= settings.outbox;
            if fits {
                db.prepare_cached("INSERT INTO outbox (id, rows, payload) VALUES (?1, ?2, ?3)")?
                    .execute(params![first, count, &*chunk])?;
                after.rows += u64::try_from(count).unwrap_or(0);
                after.bytes += bytes;
            }
            chunk.clear();
            Ok(fits)
        };
        for (index, row) in rows.iter().enumerate() {
            after.last += 1;
            // A struct of numbers and texts always has a JSON form.
            let line = serde_json::to_vec(&wire_row(after.last, row, settings)).unwrap_or_default();
            chunk.extend_from_slice(&line);
            chunk.push(b'\n');
            count += 1;
            if chunk.len() >= CHUNK || index + 1 == rows.len() {
                if put(after, &mut chunk, first, count)? {
                    change.added = true;
                } else {
                    change.lost += u64::try_from(count).unwrap_or(0);
                }
                (first, count) = (after.last + 1, 0);
            }
        }
        db.prepare_cached(
            "INSERT INTO meta (key, value) VALUES ('outbox-last', ?1) ON CONFLICT DO UPDATE SET value = excluded.value",
        )?
        .execute([after.last])?;
        Ok(change)
    }
}

impl Change {
    /// The transaction is committed.
    pub(super) fn done(self) -> Outbox {
        self.after
    }
}

/// The fields of `conn.log` and a few more, with its care for hostile names.
fn wire_row(id: i64, row: &Connection, settings: &Settings) -> Row {
    let text = |bytes: &[u8]| {
        let mut text = inert(bytes);
        if text.len() > LONGEST {
            let end = text.floor_char_boundary(LONGEST);
            text.truncate(end);
        }
        text
    };
    let path = |program: Option<&Program>| program.map(|program| text(&program.key.path));
    let name = |program: Option<&Program>| program.map(|program| text(&program.name));
    let cmdline = |program: Option<&Program>| {
        program.and_then(|program| program.cmdline.as_deref()).filter(|_| settings.commands).map(text)
    };
    let sha256 = |program: Option<&Program>| program.and_then(|program| program.hash.hex());
    let port = |port: Option<u16>| port.filter(|_| settings.ports).map(u64::from);
    let ip = |ip: Option<std::net::IpAddr>| ip.filter(|_| settings.addresses).map(|ip| ip.to_string());
    let program = Some(row.who.program.as_ref());
    let (parent, grandparent) = (row.who.parent.as_deref(), row.who.grandparent.as_deref());
    let domain = row.domain.as_ref().filter(|_| settings.addresses);
    let script = row.who.program.script.as_ref();
    Row {
        id,
        executable: path(program),
        name: name(program),
        cmdline: cmdline(program),
        sha256: sha256(program),
        time: row.time,
        domain: domain.map(|(domain, _)| text(domain)),
        ip: ip(row.remote),
        port: port(row.remote_port),
        uid: Some(row.who.uid.into()),
        parent_exe: path(parent),
        parent_name: name(parent),
        parent_cmdline: cmdline(parent),
        parent_sha256: sha256(parent),
        conns: Some(row.connections.into()),
        sent: Some(row.sent),
        received: Some(row.received),
        pid: Some(row.who.pid.into()),
        grandparent_exe: path(grandparent),
        grandparent_name: name(grandparent),
        grandparent_cmdline: cmdline(grandparent),
        grandparent_sha256: sha256(grandparent),
        protocol: Some(row.protocol.to_string()),
        direction: row.way().map(|(direction, _)| direction.word().to_owned()),
        local_ip: ip(row.local),
        local_port: port(row.local_port),
        interface: row.interface.as_deref().map(text),
        netns: row.way().map(|(_, netns)| netns.into()),
        unit: row.who.unit.as_deref().map(text),
        container: row.who.container.as_deref().map(text),
        domain_source: domain
            .and_then(|(_, source)| dimension::source_word(dimension::source(*source)))
            .map(str::to_owned),
        effective_uid: (row.who.euid != row.who.uid).then_some(row.who.euid.into()),
        sha256_unknown: match row.who.program.hash {
            Hash::Unknown(gap) => Some(gap.word().to_owned()),
            Hash::Known(_) => None,
        },
        script: script.map(|(path, _)| text(path)),
        script_sha256: script.and_then(|(_, hash)| hash.hex()),
        foreign_root: row.who.program.key.foreign,
    }
}

/// A content that is news is to be asked for, once; false if there is no room for it.
pub(super) fn want_verdict(db: &Database, sha256: &[u8; 32]) -> Result<bool> {
    let added = db
        .prepare_cached(
            "INSERT OR IGNORE INTO verdict (sha256, state, due)
               SELECT ?1, 0, ?3 WHERE (SELECT count(*) FROM verdict WHERE state IN (0, 3)) < ?2",
        )?
        // In turn: what is tried again is not behind everything that is news meanwhile.
        .execute(params![sha256, MOST_SCANS, now()])?;
    if added > 0 {
        return Ok(true);
    }
    db.prepare_cached("SELECT EXISTS (SELECT 1 FROM verdict WHERE sha256 = ?1)")?
        .query_row([sha256], |row| row.get(0))
}

/// What the scanner said of a content. What it has said before is not lost because it does not answer now.
pub(super) fn scanned(db: &Database, Scanned { sha256, scan, not_before }: &Scanned) -> Result<()> {
    let (state, due, tries, verdict) = match scan {
        Scan::Verdict(verdict) => (1, 0, 0, *verdict),
        Scan::Unknown => (2, 0, 0, Verdict::default()),
        Scan::Later { sent: false, due, tries } => (0, *due, *tries, Verdict::default()),
        Scan::Later { sent: true, due, tries } => (3, *due, *tries, Verdict::default()),
    };
    let asked = now();
    let changed = db
        .prepare_cached(
            "INSERT INTO verdict (sha256, state, due, tries, malicious, suspicious, total, analysed, asked)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
               ON CONFLICT DO UPDATE SET state = excluded.state, due = excluded.due, tries = excluded.tries,
                 malicious = excluded.malicious, suspicious = excluded.suspicious, total = excluded.total,
                 analysed = excluded.analysed, asked = excluded.asked
               WHERE excluded.state IN (1, 2) OR state = 0 OR (excluded.state = 3 AND state <> 1)",
        )?
        .execute(params![
            sha256,
            state,
            due,
            tries,
            verdict.malicious,
            verdict.suspicious,
            verdict.total,
            verdict.analysed,
            asked
        ])?;
    if changed == 0 {
        db.prepare_cached("UPDATE verdict SET due = ?2, asked = ?3 WHERE sha256 = ?1")?
            .execute(params![sha256, due, asked])?;
    }
    if *not_before > 0 {
        db.prepare_cached(
            "INSERT INTO meta (key, value) VALUES ('scan-not-before', ?1)
               ON CONFLICT DO UPDATE SET value = excluded.value",
        )?
        .execute([not_before])?;
    } else {
        db.prepare_cached("DELETE FROM meta WHERE key = 'scan-not-before'")?.execute(())?;
    }
    Ok(())
}

/// Rows to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Of the history that they are from.
    pub origin: i64,
    /// Ids to give back once they are stored, and how many rows each has.
    pub chunks: Vec<(i64, u64)>,
    /// How many rows.
    pub rows: u64,
    /// JSON, one a line.
    pub payload: Vec<u8>,
}

impl Batch {
    /// Leaves out the first rows, of the first chunk.
    pub fn skip(&mut self, rows: u64) {
        let Some((_, count)) = self.chunks.first_mut() else { return };
        let rows = rows.min(*count);
        *count -= rows;
        self.rows -= rows;
        let lines = self.payload.split_inclusive(|byte| *byte == b'\n');
        let bytes: usize = lines.take(usize::try_from(rows).unwrap_or(usize::MAX)).map(<[u8]>::len).sum();
        self.payload.drain(..bytes);
    }
}

/// A content that is to be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Which.
    pub sha256: [u8; 32],
    /// Not before this, µs since the epoch.
    pub due: i64,
    /// The scanner has it.
    pub sent: bool,
    /// How often it was asked for since, or sent in vain before.
    pub tries: u32,
}

/// `sha256, due, state, tries` of `verdict`.
fn due(row: &rusqlite::Row<'_>) -> Result<Due> {
    let sent = row.get::<_, i64>(2)? == 3;
    Ok(Due { sha256: row.get(0)?, due: row.get(1)?, sent, tries: row.get(3)? })
}

impl Reader {
    /// The oldest rows that wait after this chunk, at least one chunk and at most about so many bytes.
    ///
    /// # Errors
    /// [`api::Error::Unavailable`]: the storage.
    pub fn outbox(&self, after: i64, most: usize) -> std::result::Result<Option<Batch>, api::Error> {
        self.with(|db| {
            let read = || -> Result<Option<Batch>> {
                let origins = origins(db)?;
                let origin = |chunk: i64| {
                    origins.iter().find(|(until, _)| chunk <= *until).map_or(0, |(_, origin)| *origin)
                };
                let mut batch = Batch { origin: 0, chunks: Vec::new(), rows: 0, payload: Vec::new() };
                let mut statement = db.prepare_cached(
                    "SELECT id, rows, payload FROM outbox WHERE id > ?1 ORDER BY id LIMIT 256",
                )?;
                let mut rows = statement.query([after])?;
                while let Some(row) = rows.next()? {
                    let (chunk, payload) = (row.get(0)?, row.get_ref(2)?.as_blob()?);
                    if batch.chunks.is_empty() {
                        batch.origin = origin(chunk);
                    } else if batch.payload.len() + payload.len() > most || batch.origin != origin(chunk) {
                        break;
                    }
                    let count = u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0);
                    batch.chunks.push((chunk, count));
                    batch.rows += count;
                    batch.payload.extend_from_slice(payload);
                }
                Ok((!batch.chunks.is_empty()).then_some(batch))
            };
            read().map_err(unavailable)
        })
    }

    /// The content that is to be asked for next, and how many there are; `wall` is the time, µs since the epoch.
    /// One that is due later than anybody was ever told to wait is due now: the clock was set back.
    ///
    /// # Errors
    /// [`api::Error::Unavailable`]: the storage.
    pub fn scan_due(&self, wall: i64) -> std::result::Result<(Option<Due>, u64), api::Error> {
        self.with(|db| {
            let read = || -> Result<(Option<Due>, u64)> {
                let stranded = db
                    .prepare_cached(
                        "SELECT sha256, 0, state, tries FROM verdict WHERE state IN (0, 3) AND due > ?1
                           ORDER BY due DESC LIMIT 1",
                    )?
                    .query_row([wall.saturating_add(LONGEST_WAIT)], due)
                    .optional()?;
                let first = match stranded {
                    Some(stranded) => Some(stranded),
                    None => db
                        .prepare_cached(
                            "SELECT sha256, due, state, tries FROM verdict WHERE state IN (0, 3)
                               ORDER BY due LIMIT 1",
                        )?
                        .query_row((), due)
                        .optional()?,
                };
                let count: i64 = db
                    .prepare_cached("SELECT count(*) FROM verdict WHERE state IN (0, 3)")?
                    .query_row((), |row| row.get(0))?;
                Ok((first, u64::try_from(count).unwrap_or(0)))
            };
            read().map_err(unavailable)
        })
    }

    /// The same for a content that somebody wants to know of now.
    ///
    /// # Errors
    /// [`api::Error::Unavailable`]: the storage.
    pub fn scan_called(&self, sha256: [u8; 32]) -> std::result::Result<Due, api::Error> {
        self.with(|db| {
            let known = db
                .query_row(
                    "SELECT sha256, 0, state, tries FROM verdict WHERE sha256 = ?1 AND state IN (0, 3)",
                    [sha256],
                    due,
                )
                .optional()
                .map_err(unavailable)?;
            Ok(known.unwrap_or(Due { sha256, due: 0, sent: false, tries: 0 }))
        })
    }

    /// When the scanner was last asked, and before when it is not to be asked again, µs since the epoch; 0: never,
    /// and at once.
    ///
    /// # Errors
    /// [`api::Error::Unavailable`]: the storage.
    pub fn scan_pace(&self) -> std::result::Result<(i64, i64), api::Error> {
        self.with(|db| {
            db.query_row(
                "SELECT coalesce((SELECT max(asked) FROM verdict), 0),
                   coalesce((SELECT value FROM meta WHERE key = 'scan-not-before'), 0)",
                (),
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .map_err(unavailable)
        })
    }

    /// Who runs this content: for each account the latest program that does.
    ///
    /// # Errors
    /// [`api::Error::Unavailable`]: the storage.
    pub fn suspects(&self, sha256: &[u8; 32]) -> std::result::Result<Vec<Suspect>, api::Error> {
        self.with(|db| {
            let read = || -> Result<Vec<Suspect>> {
                let mut statement = db.prepare_cached(
                    "SELECT max(w.id), w.uid, e.path, n.value FROM content c JOIN program p ON p.content = c.id
                       JOIN who w ON w.program = p.id JOIN executable e ON e.id = p.executable
                       LEFT JOIN word n ON n.id = p.name
                       WHERE c.sha256 = ?1 GROUP BY w.uid LIMIT ?2",
                )?;
                statement
                    .query_map(params![sha256, MOST_SUSPECTS], |row| {
                        Ok(Suspect {
                            who: row.get(0)?,
                            uid: row.get(1)?,
                            path: row.get::<_, Vec<u8>>(2)?.into(),
                            name: row.get::<_, Option<Vec<u8>>>(3)?.unwrap_or_default().into(),
                            sha256: *sha256,
                        })
                    })?
                    .collect()
            };
            read().map_err(unavailable)
        })
    }

    /// Paths of this machine that a program of this content had, the latest first.
    ///
    /// # Errors
    /// [`api::Error::Unavailable`]: the storage.
    pub fn places(&self, sha256: &[u8; 32]) -> std::result::Result<Vec<PathBuf>, api::Error> {
        use std::os::unix::ffi::OsStringExt as _;
        self.with(|db| {
            let read = || -> Result<Vec<PathBuf>> {
                let mut statement = db.prepare_cached(
                    "SELECT e.path FROM content c JOIN program p ON p.content = c.id
                       JOIN executable e ON e.id = p.executable
                       WHERE c.sha256 = ?1 AND e.foreign_root = 0 GROUP BY e.id ORDER BY max(p.id) DESC LIMIT 8",
                )?;
                statement
                    .query_map([sha256], |row| {
                        Ok(PathBuf::from(std::ffi::OsString::from_vec(row.get(0)?)))
                    })?
                    .collect()
            };
            read().map_err(unavailable)
        })
    }
}

/// The verdict on a content, in words; empty where none was asked for.
pub(super) fn verdict_text(db: &Database, sha256: &[u8]) -> Result<String> {
    let found: Option<(i64, Verdict)> = db
        .prepare_cached(
            "SELECT state, malicious, suspicious, total, analysed FROM verdict WHERE sha256 = ?1",
        )?
        .query_row([sha256], |row| {
            let verdict = Verdict {
                malicious: row.get(1)?,
                suspicious: row.get(2)?,
                total: row.get(3)?,
                analysed: row.get(4)?,
            };
            Ok((row.get(0)?, verdict))
        })
        .optional()?;
    Ok(match found {
        Some((1, verdict)) => verdict.to_string(),
        Some((2, _)) => "unknown".to_owned(),
        Some((3, _)) => "no verdict yet".to_owned(),
        _ => String::new(),
    })
}
