// SPDX-License-Identifier: GPL-3.0-or-later
//! Texts, addresses, programs and peers get a number the first time they are stored. The caches are bounded
//! and hold only what is committed or about to be: [`Interner::forget`] after every transaction that failed
//! and after every one that deleted numbers.

use std::hash::{BuildHasher as _, Hash as _, RandomState};
use std::net::IpAddr;
use std::sync::Arc;

use rusqlite::{Connection as Database, OptionalExtension as _, Result, params};

use super::Map;
use super::dimension::{self, word};
use super::rollup::HOUR;
use super::{Settings, fold};
use crate::model::{Bytes, Connection, Direction, Hash, Program, ProgramKey, Who};

/// Entries of each generation of a cache.
const MAX: usize = 8192;
/// Different folded command lines that one program may have of one user: nobody can use up another's.
const MAX_PATTERNS: i64 = 50;

/// A program's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct ProgramIds {
    pub(super) id: i64,
    /// The same without its command line.
    pub(super) folded: i64,
    pub(super) executable: i64,
    pub(super) name: i64,
    pub(super) content: i64,
    pub(super) pattern: i64,
}

/// The numbers of one `who`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct WhoIds {
    pub(super) id: i64,
    pub(super) folded: i64,
    pub(super) program: ProgramIds,
    pub(super) parent: i64,
    pub(super) grandparent: i64,
    pub(super) uid: u32,
    pub(super) unit: i64,
    pub(super) container: i64,
}

/// The numbers of one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PeerIds {
    pub(super) id: i64,
    pub(super) service: i64,
    pub(super) key: PeerKey,
}

/// What makes a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PeerKey {
    pub(super) domain: i64,
    pub(super) source: i64,
    pub(super) remote: i64,
    pub(super) port: i64,
    pub(super) protocol: i64,
    pub(super) direction: i64,
    pub(super) netns: i64,
    pub(super) interface: i64,
    pub(super) local: i64,
}

/// A map of two generations: when the younger one is full it becomes the older one, and that one goes. So what
/// is asked for again and again stays, however much else comes by.
struct Cache<K, V> {
    young: Map<K, V>,
    old: Map<K, V>,
}

impl<K: std::hash::Hash + Eq, V: Copy> Cache<K, V> {
    fn get<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
        Q: std::hash::Hash + Eq + ?Sized,
    {
        if let Some(value) = self.young.get(key) {
            return Some(*value);
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.put(key, value);
        Some(value)
    }

    fn put(&mut self, key: K, value: V) {
        if self.young.len() >= MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

impl<K, V> Default for Cache<K, V> {
    fn default() -> Self {
        Cache { young: Map::default(), old: Map::default() }
    }
}

type WhoKey = (i64, i64, i64, u32, u32, i64, i64);

/// Executable, kind, value and uid.
pub(super) type FactKey = (i64, i64, i64, u32);

/// See the module.
#[derive(Default)]
pub(super) struct Interner {
    /// By address of the shared program, which is kept alive here so that the address stays its own, and by user.
    recent: Map<(usize, u32), (Arc<Program>, ProgramIds)>,
    /// By two keyed hashes, 128 bits: command lines are long.
    programs: Cache<(u64, u64), ProgramIds>,
    keys: (RandomState, RandomState),
    whos: Cache<WhoKey, WhoIds>,
    /// Peer and service.
    peers: Cache<PeerKey, (i64, i64)>,
    words: Cache<(i64, Bytes), i64>,
    domains: Cache<Bytes, i64>,
    addresses: Cache<IpAddr, i64>,
    /// First and last time written of what is known of programs: executable, kind, value and uid.
    facts: Cache<FactKey, (i64, i64)>,
    /// How many facts of a kind an executable has of a user.
    fact_counts: Cache<(i64, i64, u32), i64>,
    /// Folded command lines of each executable and user that are not in the table of facts yet.
    patterns: Map<(i64, u32), Vec<i64>>,
}

impl Interner {
    /// Drops every number.
    pub(super) fn forget(&mut self) {
        *self = Interner::default();
    }

    /// Drops what is only quick within one transaction, so that an idle daemon holds no command lines.
    pub(super) fn rest(&mut self) {
        self.recent = Map::default();
        self.patterns = Map::default();
    }

    /// Whether it is written already that this was seen then, to the hour; otherwise it is about to be.
    pub(super) fn told(&mut self, key: FactKey, first: i64, last: i64) -> bool {
        let (from, to) = match self.facts.get(&key) {
            Some((from, to)) if first >= from && last < to + HOUR => return true,
            Some((from, to)) => (from.min(first), to.max(last)),
            None => (first, last),
        };
        self.facts.put(key, (from, to));
        false
    }

    /// How many facts of this kind an executable has of this user; the caller keeps count of what it adds.
    pub(super) fn fact_count(&mut self, db: &Database, executable: i64, kind: i64, uid: u32) -> Result<i64> {
        if let Some(count) = self.fact_counts.get(&(executable, kind, uid)) {
            return Ok(count);
        }
        let count = db
            .prepare_cached("SELECT count(*) FROM fact WHERE executable = ?1 AND kind = ?2 AND uid = ?3")?
            .query_row(params![executable, kind, uid], |row| row.get(0))?;
        self.fact_counts.put((executable, kind, uid), count);
        Ok(count)
    }

    /// One more.
    pub(super) fn fact_added(&mut self, executable: i64, kind: i64, uid: u32) {
        if let Some(count) = self.fact_counts.get(&(executable, kind, uid)) {
            self.fact_counts.put((executable, kind, uid), count + 1);
        }
    }

    pub(super) fn executable(&mut self, db: &Database, key: &ProgramKey) -> Result<i64> {
        number(
            db,
            "SELECT id FROM executable WHERE path = ?1 AND foreign_root = ?2",
            "INSERT INTO executable (path, foreign_root) VALUES (?1, ?2)",
            params![&*key.path, key.foreign],
        )
    }

    pub(super) fn content(&mut self, db: &Database, hash: &Hash) -> Result<i64> {
        match hash {
            Hash::Known(sha256) => number(
                db,
                "SELECT id FROM content WHERE sha256 = ?1",
                "INSERT INTO content (sha256) VALUES (?1)",
                params![sha256.as_slice()],
            ),
            Hash::Unknown(gap) => Ok(dimension::gap(*gap)),
        }
    }

    pub(super) fn word(&mut self, db: &Database, kind: i64, value: &Bytes) -> Result<i64> {
        let key = (kind, value.clone());
        if let Some(id) = self.words.get(&key) {
            return Ok(id);
        }
        let id = word_id(db, kind, value)?;
        self.words.put(key, id);
        Ok(id)
    }

    fn optional_word(&mut self, db: &Database, kind: i64, value: Option<&Bytes>) -> Result<i64> {
        value.map_or(Ok(0), |value| self.word(db, kind, value))
    }

    /// Domains are compared without case and without the root's dot.
    pub(super) fn domain(&mut self, db: &Database, domain: &Bytes) -> Result<i64> {
        if let Some(id) = self.domains.get(domain) {
            return Ok(id);
        }
        let plain = domain.strip_suffix(b".").unwrap_or(domain).to_ascii_lowercase();
        let id = number(
            db,
            "SELECT id FROM domain WHERE value = ?1",
            "INSERT INTO domain (value) VALUES (?1)",
            params![plain],
        )?;
        self.domains.put(domain.clone(), id);
        Ok(id)
    }

    pub(super) fn address(&mut self, db: &Database, address: Option<IpAddr>) -> Result<i64> {
        let Some(address) = address else { return Ok(0) };
        if let Some(id) = self.addresses.get(&address) {
            return Ok(id);
        }
        let id = number(
            db,
            "SELECT id FROM address WHERE value = ?1",
            "INSERT INTO address (value) VALUES (?1)",
            params![octets(address)],
        )?;
        self.addresses.put(address, id);
        Ok(id)
    }

    pub(super) fn program(
        &mut self,
        db: &Database,
        program: &Arc<Program>,
        uid: u32,
        settings: &Settings,
    ) -> Result<ProgramIds> {
        let address = (Arc::as_ptr(program) as usize, uid);
        if let Some((_, ids)) = self.recent.get(&address) {
            return Ok(*ids);
        }
        let hashed = |state: &RandomState| {
            let mut hasher = state.build_hasher();
            (program.as_ref(), uid, settings.commands).hash(&mut hasher);
            std::hash::Hasher::finish(&hasher)
        };
        let key = (hashed(&self.keys.0), hashed(&self.keys.1));
        let ids = match self.programs.get(&key) {
            Some(ids) => ids,
            None => {
                let ids = self.new_program(db, program, uid, settings)?;
                self.programs.put(key, ids);
                ids
            }
        };
        if self.recent.len() >= MAX / 8 {
            self.recent = Map::default();
        }
        self.recent.insert(address, (program.clone(), ids));
        Ok(ids)
    }

    fn new_program(
        &mut self,
        db: &Database,
        program: &Program,
        uid: u32,
        settings: &Settings,
    ) -> Result<ProgramIds> {
        let executable = self.executable(db, &program.key)?;
        let name = self.word(db, word::NAME, &program.name)?;
        let content = self.content(db, &program.hash)?;
        let (cmdline, pattern) = match &program.cmdline {
            Some(cmdline) if settings.commands && !cmdline.is_empty() => {
                (cmdline_id(db, cmdline)?, self.pattern(db, executable, uid, cmdline)?)
            }
            _ => (0, 0),
        };
        let (script, script_content) = match &program.script {
            Some((path, hash)) => (self.word(db, word::SCRIPT, path)?, self.content(db, hash)?),
            None => (0, 0),
        };
        let insert = |cmdline: i64| {
            number(
                db,
                "SELECT id FROM program WHERE executable = ?1 AND name = ?2 AND content = ?3 AND cmdline = ?4
                   AND pattern = ?5 AND script = ?6 AND script_content = ?7",
                "INSERT INTO program (executable, name, content, cmdline, pattern, script, script_content)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![executable, name, content, cmdline, pattern, script, script_content],
            )
        };
        let id = insert(cmdline)?;
        let folded = if cmdline == 0 { id } else { insert(0)? };
        Ok(ProgramIds { id, folded, executable, name, content, pattern })
    }

    /// The folded command line; one for all the rest once the program has had too many of this user.
    fn pattern(&mut self, db: &Database, executable: i64, uid: u32, cmdline: &[u8]) -> Result<i64> {
        let folded = fold::fold(cmdline);
        let known: Option<i64> = db
            .prepare_cached(
                "SELECT w.id FROM word w WHERE w.kind = ?1 AND w.value = ?2 AND EXISTS
                   (SELECT 1 FROM fact f WHERE f.executable = ?3 AND f.kind = ?4 AND f.value = w.id
                      AND f.uid = ?5)",
            )?
            .query_row(params![word::PATTERN, folded, executable, dimension::fact::PATTERN, uid], |row| {
                row.get(0)
            })
            .optional()?;
        if let Some(id) = known {
            return Ok(id);
        }
        let had = self.fact_count(db, executable, dimension::fact::PATTERN, uid)?;
        let fresh = self.patterns.entry((executable, uid)).or_default();
        let many = had.saturating_add(i64::try_from(fresh.len()).unwrap_or(i64::MAX)) >= MAX_PATTERNS - 1;
        let id = match folded_id(db, &folded)? {
            Some(id) if fresh.contains(&id) => id,
            _ if many => word_id(db, word::PATTERN, &fold::rest(cmdline))?,
            _ => word_id(db, word::PATTERN, &folded)?,
        };
        if !fresh.contains(&id) {
            fresh.push(id);
        }
        Ok(id)
    }

    pub(super) fn who(&mut self, db: &Database, who: &Who, settings: &Settings) -> Result<WhoIds> {
        let none = ProgramIds::default();
        let program = self.program(db, &who.program, who.uid, settings)?;
        let parent =
            who.parent.as_ref().map_or(Ok(none), |parent| self.program(db, parent, who.uid, settings))?;
        let grandparent = who
            .grandparent
            .as_ref()
            .map_or(Ok(none), |parent| self.program(db, parent, who.uid, settings))?;
        let unit = self.optional_word(db, word::UNIT, who.unit.as_ref())?;
        let container = self.optional_word(db, word::CONTAINER, who.container.as_ref())?;
        let key = (program.id, parent.id, grandparent.id, who.uid, who.euid, unit, container);
        if let Some(ids) = self.whos.get(&key) {
            return Ok(ids);
        }
        let insert = |program: i64, parent: i64, grandparent: i64, folded: i64| {
            number_with(
                db,
                "SELECT id FROM who WHERE program = ?1 AND parent = ?2 AND grandparent = ?3 AND uid = ?4
                   AND euid = ?5 AND unit = ?6 AND container = ?7",
                params![program, parent, grandparent, who.uid, who.euid, unit, container],
                "INSERT INTO who (program, parent, grandparent, uid, euid, unit, container, folded)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![program, parent, grandparent, who.uid, who.euid, unit, container, folded],
            )
        };
        let folded = insert(program.folded, parent.folded, grandparent.folded, 0)?;
        let full = (program.id, parent.id, grandparent.id);
        let id = if full == (program.folded, parent.folded, grandparent.folded) {
            folded
        } else {
            insert(program.id, parent.id, grandparent.id, folded)?
        };
        let ids = WhoIds {
            id,
            folded,
            program,
            parent: parent.executable,
            grandparent: grandparent.executable,
            uid: who.uid,
            unit,
            container,
        };
        self.whos.put(key, ids);
        Ok(ids)
    }

    pub(super) fn peer(&mut self, db: &Database, row: &Connection, settings: &Settings) -> Result<PeerIds> {
        let (domain, source) = match &row.domain {
            Some((domain, source)) if settings.addresses => {
                (self.domain(db, domain)?, dimension::source(*source))
            }
            _ => (0, 0),
        };
        let (remote, local) = if settings.addresses { (row.remote, row.local) } else { (None, None) };
        let service = match row.direction {
            Direction::Out => row.remote_port,
            Direction::In => row.local_port,
        };
        let (direction, netns) = row
            .way()
            .map_or((0, 0), |(direction, netns)| (dimension::direction(direction), i64::from(netns)));
        let key = PeerKey {
            domain,
            source,
            remote: self.address(db, remote)?,
            port: port(service, settings),
            protocol: dimension::protocol(row.protocol),
            direction,
            netns,
            interface: self.optional_word(db, word::INTERFACE, row.interface.as_ref())?,
            local: self.address(db, local)?,
        };
        if let Some((id, service)) = self.peers.get(&key) {
            return Ok(PeerIds { id, service, key });
        }
        let service = number(
            db,
            "SELECT id FROM service WHERE port = ?1 AND protocol = ?2 AND direction = ?3 AND netns = ?4",
            "INSERT INTO service (port, protocol, direction, netns) VALUES (?1, ?2, ?3, ?4)",
            params![key.port, key.protocol, key.direction, key.netns],
        )?;
        let columns = params![
            key.remote,
            key.port,
            key.domain,
            key.source,
            key.protocol,
            key.direction,
            key.netns,
            key.interface,
            key.local,
            service
        ];
        let id = number_with(
            db,
            "SELECT id FROM peer WHERE remote = ?1 AND port = ?2 AND domain = ?3 AND source = ?4 AND protocol = ?5
               AND direction = ?6 AND netns = ?7 AND interface = ?8 AND local = ?9",
            &columns[..9],
            "INSERT INTO peer (remote, port, domain, source, protocol, direction, netns, interface, local, service)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            columns,
        )?;
        self.peers.put(key, (id, service));
        Ok(PeerIds { id, service, key })
    }
}

/// A port as it is stored.
pub(super) fn port(port: Option<u16>, settings: &Settings) -> i64 {
    match port {
        Some(port) if settings.ports => i64::from(port),
        _ => dimension::NO_PORT,
    }
}

/// 4 or 16 bytes.
pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn folded_id(db: &Database, value: &[u8]) -> Result<Option<i64>> {
    db.prepare_cached("SELECT id FROM word WHERE kind = ?1 AND value = ?2")?
        .query_row(params![word::PATTERN, value], |row| row.get(0))
        .optional()
}

fn word_id(db: &Database, kind: i64, value: &[u8]) -> Result<i64> {
    number(
        db,
        "SELECT id FROM word WHERE kind = ?1 AND value = ?2",
        "INSERT INTO word (kind, value) VALUES (?1, ?2)",
        params![kind, value],
    )
}

fn cmdline_id(db: &Database, value: &[u8]) -> Result<i64> {
    // FNV-1a: must stay the same for ever. A collision costs a comparison, nothing else.
    let hash = value.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    number(
        db,
        "SELECT id FROM cmdline WHERE hash = ?1 AND value = ?2",
        "INSERT INTO cmdline (hash, value) VALUES (?1, ?2)",
        params![hash.cast_signed(), value],
    )
}

fn number(db: &Database, select: &str, insert: &str, values: &[&dyn rusqlite::ToSql]) -> Result<i64> {
    number_with(db, select, values, insert, values)
}

fn number_with(
    db: &Database,
    select: &str,
    key: &[&dyn rusqlite::ToSql],
    insert: &str,
    values: &[&dyn rusqlite::ToSql],
) -> Result<i64> {
    if let Some(id) = db.prepare_cached(select)?.query_row(key, |row| row.get(0)).optional()? {
        return Ok(id);
    }
    db.prepare_cached(insert)?.insert(values)
}
