// SPDX-License-Identifier: GPL-3.0-or-later
//! How a ranking or a chart is read from chunks: which kind answers it, which entries count, and what they are
//! grouped by.

use std::cell::OnceCell;
use std::collections::HashMap;

use picosnitch_api::{self as api, Dimension, Query};
use rusqlite::types::Value;
use rusqlite::{Connection as Database, Result, params_from_iter};

use super::filter::{self, Sql};
use super::maps::Maps;
use super::sought::{self, sought};
use crate::model::Viewer;
use crate::record::Map;
use crate::record::chunk::{self, Kind, Piece, Span, Sums};
use crate::record::dimension::{self, IN, NO_PORT, OUT};
use crate::record::writer::unavailable;

/// Numbers below this are looked up by index.
const DENSE: usize = 1 << 22;

/// A value for each number; most numbers are small.
#[derive(Default)]
pub(super) struct Table<T> {
    dense: Vec<T>,
    sparse: HashMap<i64, T>,
}

impl<T: Copy + Default> Table<T> {
    pub(super) fn new() -> Self {
        Table { dense: Vec::new(), sparse: HashMap::new() }
    }

    pub(super) fn at(&mut self, number: i64) -> &mut T {
        match usize::try_from(number) {
            Ok(index) if index < DENSE => {
                if index >= self.dense.len() {
                    self.dense.resize((index + 1).next_power_of_two().min(DENSE), T::default());
                }
                &mut self.dense[index]
            }
            _ => self.sparse.entry(number).or_default(),
        }
    }

    pub(super) fn get(&self, number: i64) -> T {
        match usize::try_from(number) {
            Ok(index) if index < DENSE => self.dense.get(index).copied().unwrap_or_default(),
            _ => self.sparse.get(&number).copied().unwrap_or_default(),
        }
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (i64, T)> + '_ {
        let dense = (0..).zip(self.dense.iter().copied());
        dense.chain(self.sparse.iter().map(|(number, value)| (*number, *value)))
    }
}

/// Numbers that count; `None`: all.
pub(super) type Set = Option<Table<bool>>;

/// Whether a number counts.
pub(super) fn holds(set: &Set, number: i64) -> bool {
    set.as_ref().is_none_or(|set| set.get(number))
}

/// Whether nothing counts.
fn none(table: &Table<bool>) -> bool {
    !table.entries().any(|(_, counts)| counts)
}

/// Spans of the numbers that count.
fn spans(set: &Table<bool>) -> Vec<Span> {
    let mut numbers: Vec<i64> =
        set.entries().filter(|(_, counts)| *counts).map(|(number, _)| number).collect();
    numbers.sort_unstable();
    chunk::spans(numbers.into_iter())
}

/// See the module.
pub(super) struct Plan {
    kind: Kind,
    first: Set,
    /// Spans of `first`.
    spans: OnceCell<Option<Vec<Span>>>,
    second: Set,
    /// Not only who asks, the query too says which programs count: of pairs, those of these programs are read.
    by_whos: bool,
    /// Spans of `second`, and of programs that are searched for, in the order of programs.
    turned: OnceCell<(Vec<Span>, Vec<Span>)>,
    /// Spans of peers that are searched for.
    sought: OnceCell<Vec<Span>>,
    /// Of a search: one of these must hold, peer or program.
    either: Option<(Table<bool>, Table<bool>)>,
    /// `first` and `second` do not say that already.
    by_either: bool,
    /// Programs by their command line, in full as well.
    cmdline: Set,
    /// Uids that count, where they are the second number.
    uids: Option<(Vec<std::ops::RangeInclusive<u32>>, Option<u32>)>,
    /// The second number is grouped by.
    by_second: bool,
    /// What the number that is grouped by becomes; `None`: it is the key.
    keys: Option<Table<i64>>,
}

fn of_program(by: Dimension) -> bool {
    matches!(
        by,
        Dimension::Path
            | Dimension::Name
            | Dimension::Sha256
            | Dimension::Cmdline
            | Dimension::Parent
            | Dimension::Grandparent
            | Dimension::Uid
            | Dimension::Unit
            | Dimension::Container
    )
}

/// Not every program counts, whoever runs it.
fn of_some_programs(q: &Query) -> bool {
    q.executable.is_some()
        || q.path.is_some()
        || q.name.is_some()
        || q.sha256.is_some()
        || q.cmdline.is_some()
        || q.parent.is_some()
        || q.grandparent.is_some()
        || q.unit.is_some()
        || q.container.is_some()
}

/// The kind that has everything the query asks for; `sought`: a search that finds programs alone, or also others.
fn kind(by: Dimension, q: &Query, sought: Option<bool>) -> Kind {
    let program = sought == Some(true) || of_some_programs(q) || of_program(by) && by != Dimension::Uid;
    let service = q.local_port.is_some()
        || q.remote_port.is_some()
        || q.protocol.is_some()
        || q.direction.is_some()
        || q.netns.is_some()
        || !of_program(by) && !matches!(by, Dimension::Domain | Dimension::Address);
    let domain = q.domain.is_some() || by == Dimension::Domain;
    let address = q.address.is_some() || by == Dimension::Address;
    if sought == Some(false) {
        return Kind::Pair;
    }
    match (program, domain, address, service) {
        (true, false, false, false) => Kind::Who,
        (true, false, false, true) => Kind::Use,
        (false, true, false, false) => Kind::Domain,
        (false, false, true, false) => Kind::Address,
        (false, false, false, _) => Kind::Service,
        _ => Kind::Pair,
    }
}

/// The numbers that a question gives.
pub(super) fn numbers(db: &Database, sql: &str, values: &[Value]) -> Result<Table<bool>> {
    let mut set = Table::new();
    let mut statement = db.prepare(sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    while let Some(row) = rows.next()? {
        *set.at(row.get(0)?) = true;
    }
    Ok(set)
}

fn blob(text: &str) -> Value {
    Value::Blob(text.as_bytes().to_vec())
}

/// Programs that count, by everything that is asked about them.
fn programs(
    db: &Database,
    maps: &Maps,
    (cmdline, sought): (&Set, Option<&Table<bool>>),
    q: &Query,
    v: &Viewer,
) -> Result<Table<bool>> {
    let mut conditions: Vec<(Dimension, Table<bool>)> = Vec::new();
    if let Some(id) = q.executable {
        let sql = "SELECT id FROM executable WHERE id = ?";
        conditions.push((Dimension::Path, numbers(db, sql, &[Value::Integer(id)])?));
    }
    for (by, path) in
        [(Dimension::Path, &q.path), (Dimension::Parent, &q.parent), (Dimension::Grandparent, &q.grandparent)]
    {
        if let Some(path) = path {
            conditions.push((by, numbers(db, "SELECT id FROM executable WHERE path = ?", &[blob(path)])?));
        }
    }
    for (by, kind, value) in [
        (Dimension::Name, dimension::word::NAME, &q.name),
        (Dimension::Unit, dimension::word::UNIT, &q.unit),
        (Dimension::Container, dimension::word::CONTAINER, &q.container),
    ] {
        if let Some(value) = value {
            let sql = "SELECT id FROM word WHERE kind = ? AND value = ?";
            conditions.push((by, numbers(db, sql, &[Value::Integer(kind), blob(value)])?));
        }
    }
    if let Some(sha256) = &q.sha256 {
        let sha256 = Value::Blob(filter::unhex(sha256).unwrap_or_default());
        conditions
            .push((Dimension::Sha256, numbers(db, "SELECT id FROM content WHERE sha256 = ?", &[sha256])?));
    }
    let mut set = Table::new();
    for program in &maps.programs {
        *set.at(program.id.into()) = v.sees(program.uid)
            && q.uid.is_none_or(|uid| uid == program.uid)
            && conditions.iter().all(|(by, numbers)| numbers.get(program.number(*by).into()))
            && holds(cmdline, program.id.into())
            && sought.is_none_or(|sought| sought.get(program.id.into()));
    }
    Ok(set)
}

/// Domains, addresses and services that count.
struct Places {
    domain: Set,
    remote: Set,
    service: Set,
}

fn places(db: &Database, q: &Query, protocol: Option<i64>) -> Result<Places> {
    let set = |key: Option<(String, Vec<Value>)>, table: &str, column: &str| -> Result<Set> {
        let Some((condition, values)) = key else { return Ok(None) };
        let sql = format!("SELECT t.id FROM {table} t WHERE {}", condition.replace(column, "t.id"));
        numbers(db, &sql, &values).map(Some)
    };
    let mut services = Sql::default();
    for (direction, port) in [(OUT, q.remote_port), (IN, q.local_port)] {
        if let Some(port) = port {
            services.and(&format!("port = ? AND direction = {direction}"), [Value::Integer(port.into())]);
        }
    }
    if let Some(number) = protocol {
        services.and("protocol = ?", [Value::Integer(number)]);
    }
    if let Some(direction) = &q.direction {
        services.and("direction = ?", [Value::Integer(if direction == "in" { IN } else { OUT })]);
    }
    if let Some(netns) = q.netns {
        services.and("netns = ?", [Value::Integer(netns.into())]);
    }
    let service = if services.values.is_empty() {
        None
    } else {
        let sql = format!("SELECT id FROM service WHERE 1{}", services.text);
        Some(numbers(db, &sql, &services.values)?)
    };
    Ok(Places {
        domain: set(filter::domain_key(q), "domain", "p.domain")?,
        remote: set(filter::address_key(q), "address", "p.remote")?,
        service,
    })
}

/// Peers that count; `None`: all.
fn peers(maps: &Maps, places: &Places, sought: Option<&Table<bool>>) -> Set {
    if places.domain.is_none() && places.remote.is_none() && places.service.is_none() && sought.is_none() {
        return None;
    }
    let mut set = Table::new();
    for (id, peer) in maps.peers() {
        if holds(&places.domain, peer.domain.into())
            && holds(&places.remote, peer.remote.into())
            && holds(&places.service, peer.service.into())
            && sought.is_none_or(|sought| sought.get(id))
        {
            *set.at(id) = true;
        }
    }
    Some(set)
}

/// The key of each service.
fn services(db: &Database, by: Dimension) -> Result<Table<i64>> {
    let column = match by {
        Dimension::LocalPort => format!("CASE WHEN direction = {IN} THEN port ELSE {NO_PORT} END"),
        Dimension::RemotePort => format!("CASE WHEN direction = {OUT} THEN port ELSE {NO_PORT} END"),
        Dimension::Protocol => "protocol".to_owned(),
        Dimension::Direction => "direction".to_owned(),
        _ => "netns".to_owned(),
    };
    let mut keys = Table::new();
    let mut statement = db.prepare_cached(&format!("SELECT id, {column} FROM service"))?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        *keys.at(row.get(0)?) = row.get(1)?;
    }
    Ok(keys)
}

impl Plan {
    /// Reads the query; one that cannot be is refused.
    pub(super) fn new(
        db: &Database,
        maps: &Maps,
        by: Dimension,
        q: &Query,
        v: &Viewer,
    ) -> std::result::Result<Self, api::Error> {
        let protocol = filter::protocol(q)?;
        Self::made(db, maps, by, (q, protocol), v).map_err(unavailable)
    }

    fn made(
        db: &Database,
        maps: &Maps,
        by: Dimension,
        (q, protocol): (&Query, Option<i64>),
        v: &Viewer,
    ) -> Result<Self> {
        let either = q.search.as_ref().map(|text| sought(db, maps, text, v)).transpose()?;
        // What finds programs alone, or peers alone, is like any other filter by them.
        let by_program = either.as_ref().filter(|(peers, _)| none(peers)).map(|(_, whos)| whos);
        let by_peer =
            either.as_ref().filter(|(_, whos)| by_program.is_none() && none(whos)).map(|(peers, _)| peers);
        let kind = kind(by, q, either.as_ref().map(|_| by_program.is_some()));
        let places = places(db, q, protocol)?;
        let mut plan = Plan {
            kind,
            first: None,
            spans: OnceCell::new(),
            second: None,
            by_whos: false,
            turned: OnceCell::new(),
            sought: OnceCell::new(),
            either: None,
            by_either: either.is_some() && by_program.is_none() && by_peer.is_none(),
            cmdline: None,
            uids: None,
            by_second: false,
            keys: None,
        };
        if let Some(text) = &q.cmdline {
            plan.cmdline = Some(sought::cmdline(db, text, v)?);
        }
        let program_keys = || {
            let mut keys = Table::new();
            for program in &maps.programs {
                let hidden = by == Dimension::Cmdline
                    && !(v.sees(program.uid) && v.cmdlines.iter().any(|range| range.contains(&program.uid)));
                *keys.at(program.id.into()) = if hidden { 0 } else { i64::from(program.number(by)) };
            }
            keys
        };
        match kind {
            Kind::Who => {
                plan.first = Some(programs(db, maps, (&plan.cmdline, by_program), q, v)?);
                plan.keys = Some(program_keys());
            }
            Kind::Use => {
                plan.first = Some(programs(db, maps, (&plan.cmdline, by_program), q, v)?);
                plan.second = places.service;
                plan.by_second = !of_program(by);
                plan.keys = Some(if plan.by_second { services(db, by)? } else { program_keys() });
            }
            // Pairs are asked for as pairs; in which order they are read is decided then.
            Kind::Pair | Kind::Turned => {
                plan.first = peers(maps, &places, by_peer);
                plan.by_whos = of_some_programs(q) || by_program.is_some();
                if plan.by_whos || q.uid.is_some() || *v != Viewer::everything() {
                    plan.second = Some(programs(db, maps, (&plan.cmdline, by_program), q, v)?);
                }
                plan.by_second = of_program(by);
                plan.keys = Some(if plan.by_second {
                    program_keys()
                } else {
                    let services = services(db, by)?;
                    let mut keys = Table::new();
                    for (id, peer) in maps.peers() {
                        *keys.at(id) = match by {
                            Dimension::Domain => peer.domain.into(),
                            Dimension::Address => peer.remote.into(),
                            _ => services.get(peer.service.into()),
                        };
                    }
                    keys
                });
            }
            Kind::Domain | Kind::Address | Kind::Service => {
                plan.by_second = by == Dimension::Uid;
                if kind == Kind::Service && !plan.by_second {
                    plan.keys = Some(services(db, by)?);
                }
                plan.first = match kind {
                    Kind::Domain => places.domain,
                    Kind::Address => places.remote,
                    _ => places.service,
                };
                plan.uids = Some((v.rows.clone(), q.uid));
            }
        }
        plan.either = either;
        Ok(plan)
    }

    /// Reads the pieces; gives level, bucket, the number that is grouped by, and the sums. With `lines` only those
    /// numbers that have one.
    pub(super) fn read(
        &self,
        db: &Database,
        pieces: &[Piece],
        lines: Option<&Table<u32>>,
        give: impl FnMut(usize, i64, i64, Sums),
    ) -> Result<()> {
        match lines {
            None => self.scan(db, pieces, (&self.first, self.spans()), |_| true, give),
            Some(lines) if self.by_second => {
                let wanted = |number| lines.get(number) != 0;
                self.scan(db, pieces, (&self.first, self.spans()), wanted, give)
            }
            Some(lines) => {
                let mut first = Table::new();
                for (number, _) in lines.entries().filter(|(_, line)| *line != 0) {
                    *first.at(number) = holds(&self.first, number);
                }
                let spans = spans(&first);
                self.scan(db, pieces, (&Some(first), Some(&spans)), |_| true, give)
            }
        }
    }

    fn spans(&self) -> Option<&[Span]> {
        self.spans.get_or_init(|| self.first.as_ref().map(spans)).as_deref()
    }

    /// Spans of the programs that count, and of those that are searched for, in the order of programs.
    fn turned(&self) -> &(Vec<Span>, Vec<Span>) {
        let of = |set: Option<&Table<bool>>| chunk::spans_of_whos(&set.map(spans).unwrap_or_default());
        self.turned.get_or_init(|| (of(self.second.as_ref()), of(self.either.as_ref().map(|(_, whos)| whos))))
    }

    fn sought(&self) -> &[Span] {
        self.sought.get_or_init(|| self.either.as_ref().map(|(peers, _)| spans(peers)).unwrap_or_default())
    }

    /// Reads what counts of these first numbers, in these spans.
    fn scan(
        &self,
        db: &Database,
        pieces: &[Piece],
        (firsts, spans): (&Set, Option<&[Span]>),
        mut wanted: impl FnMut(i64) -> bool,
        mut give: impl FnMut(usize, i64, i64, Sums),
    ) -> Result<()> {
        let either = self.either.as_ref().filter(|_| self.by_either);
        let mut last = None;
        let mut both = |first: i64, second: i64| {
            if !holds(&self.second, second) {
                return false;
            }
            if let Some((firsts, seconds)) = either
                && !firsts.get(first)
                && !seconds.get(second)
            {
                return false;
            }
            if let Some((visible, only)) = &self.uids {
                // The same few uids come again and again.
                let counts = match last {
                    Some((uid, counts)) if uid == second => counts,
                    _ => u32::try_from(second).is_ok_and(|uid| {
                        only.is_none_or(|only| only == uid)
                            && visible.iter().any(|range| range.contains(&uid))
                    }),
                };
                last = Some((second, counts));
                if !counts {
                    return false;
                }
            }
            wanted(if self.by_second { second } else { first })
        };
        for piece in pieces {
            let mut give = |bucket, first, second, sums| {
                give(piece.0, bucket, if self.by_second { second } else { first }, sums);
            };
            let first = |first| holds(firsts, first);
            if self.kind != Kind::Pair || piece.0 == 0 || !(self.by_whos || either.is_some()) {
                chunk::read_some(db, self.kind, *piece, spans, first, &mut both, &mut give)?;
            } else if let Some((peers, whos)) = either {
                // Those of the peers that are searched for, and of the others those of the programs that are.
                let found = |peer| first(peer) && peers.get(peer);
                chunk::read_some(db, self.kind, *piece, Some(self.sought()), found, &mut both, &mut give)?;
                let other = |peer| first(peer) && !peers.get(peer);
                let (counts, spans) = (|who| whos.get(who), &self.turned().1);
                chunk::read_turned(db, *piece, spans, counts, |a, b| other(a) && both(a, b), &mut give)?;
            } else {
                let (counts, spans) = (|who| holds(&self.second, who), &self.turned().0);
                chunk::read_turned(db, *piece, spans, counts, |a, b| first(a) && both(a, b), &mut give)?;
            }
        }
        Ok(())
    }

    /// The line of each number that counts and whose key has one: its place in the list, from 1.
    pub(super) fn lines(&self, keys: impl Iterator<Item = i64>, counts: impl Fn(i64) -> bool) -> Table<u32> {
        let mut lines = Table::new();
        let of_key: Map<i64, u32> = keys.zip(1..).collect();
        match &self.keys {
            None => of_key.iter().for_each(|(key, line)| *lines.at(*key) = *line),
            Some(keys) => {
                for (number, key) in keys.entries().filter(|(number, _)| counts(*number)) {
                    if let Some(line) = of_key.get(&key) {
                        *lines.at(number) = *line;
                    }
                }
            }
        }
        lines
    }

    /// It reads the totals of each program with each peer, which are the largest.
    pub(super) fn is_by_pair(&self) -> bool {
        self.kind == Kind::Pair
    }

    /// Rows count for the folded program alone: all rows of an hour are what its totals say.
    pub(super) fn is_of_folded(&self) -> bool {
        self.cmdline.is_none() && self.either.is_none()
    }

    pub(super) fn is_search(&self) -> bool {
        self.either.is_some()
    }

    /// Whether the program or the peer is what is searched for, if anything is.
    pub(super) fn finds(&self, who: i64, peer: i64) -> bool {
        self.either.as_ref().is_none_or(|(peers, whos)| peers.get(peer) || whos.get(who))
    }

    /// Nothing is what is searched for.
    pub(super) fn finds_none(&self) -> bool {
        self.either.as_ref().is_some_and(|(peers, whos)| none(peers) && none(whos))
    }

    /// Whether a bucket has anything that counts.
    pub(super) fn any(&self, db: &Database, level: usize, bucket: i64) -> Result<bool> {
        let mut any = false;
        let found = |_| {
            any = true;
            false
        };
        let pieces = [(level, bucket, bucket + 1)];
        self.scan(db, &pieces, (&self.first, self.spans()), found, |_, _, _, _| {})?;
        Ok(any)
    }

    /// Rows with this peer do not count, whatever the program is.
    pub(super) fn is_never(&self, maps: &Maps, peer: i64) -> bool {
        let set = if self.kind == Kind::Use { &self.second } else { &self.first };
        if set.is_none() {
            return false;
        }
        match self.kind {
            Kind::Pair | Kind::Turned => !holds(set, peer),
            Kind::Who => false,
            Kind::Domain => !holds(set, maps.peer(peer).domain.into()),
            Kind::Address => !holds(set, maps.peer(peer).remote.into()),
            Kind::Service | Kind::Use => !holds(set, maps.peer(peer).service.into()),
        }
    }

    /// The number that a row of this program with this peer is grouped by; `None`: it does not count. Of a search
    /// and of command lines the program itself is looked at, of all else the folded one.
    pub(super) fn row(&self, maps: &Maps, (who, folded): (i64, i64), peer: i64) -> Option<i64> {
        if !holds(&self.cmdline, who) || !self.finds(who, peer) {
            return None;
        }
        let uid = maps.program(folded).map_or(0, |program| program.uid);
        let (first, second) = match self.kind {
            Kind::Pair | Kind::Turned => (peer, folded),
            Kind::Who => (folded, 0),
            Kind::Domain => (maps.peer(peer).domain.into(), i64::from(uid)),
            Kind::Address => (maps.peer(peer).remote.into(), i64::from(uid)),
            Kind::Service => (maps.peer(peer).service.into(), i64::from(uid)),
            Kind::Use => (folded, maps.peer(peer).service.into()),
        };
        let counts = holds(&self.first, first)
            && holds(&self.second, second)
            && self.uids.as_ref().is_none_or(|(visible, only)| {
                only.is_none_or(|only| only == uid) && visible.iter().any(|range| range.contains(&uid))
            });
        counts.then_some(if self.by_second { second } else { first })
    }

    /// The key that a number stands for.
    pub(super) fn key(&self, number: i64) -> i64 {
        self.keys.as_ref().map_or(number, |keys| keys.get(number))
    }
}
