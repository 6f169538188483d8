// SPDX-License-Identifier: GPL-3.0-or-later
//! A query as SQL conditions. Whatever a caller wrote is bound as a value; only numbers that we made stand
//! in the text.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use picosnitch_api::{self as api, Query};
use rusqlite::types::Value;
use rusqlite::{Connection as Database, params};

use super::text::part;
use crate::model::Viewer;
use crate::record::dimension::{self, IN, OUT, word};
use crate::record::intern::octets;
use crate::record::writer::unavailable;

/// Conditions that must all hold, with their values in order.
#[derive(Debug, Clone, Default)]
pub(in crate::record) struct Sql {
    pub(in crate::record) text: String,
    pub(in crate::record) values: Vec<Value>,
}

impl Sql {
    pub(super) fn and(&mut self, condition: &str, values: impl IntoIterator<Item = Value>) {
        self.text.push_str(" AND ");
        self.text.push_str(condition);
        self.values.extend(values);
    }

    pub(super) fn and_all(&mut self, other: &Sql) {
        self.text.push_str(&other.text);
        self.values.extend(other.values.iter().cloned());
    }
}

/// The parts of a query: conditions on `who w`, on `peer p`, and on both or the row.
#[derive(Debug, Clone, Default)]
pub(super) struct Filter {
    pub(super) who: Sql,
    pub(super) peer: Sql,
    /// On `peer p` in totals: the port asked for is the service's.
    pub(super) service: Sql,
    /// The free text, on `w` and on `p`: one of them must hold.
    pub(super) search: Option<(Sql, Sql)>,
}

impl Filter {
    /// Everything, for a row `connection c` joined with `who w` and `peer p`.
    pub(super) fn rows(&self, q: &Query) -> Sql {
        let mut rows = self.all();
        for (column, port) in [("remote_port", q.remote_port), ("local_port", q.local_port)] {
            if let Some(port) = port {
                rows.and(&format!("c.{column} = ?"), [Value::Integer(port.into())]);
            }
        }
        rows
    }

    /// Everything but the row's own ports.
    fn all(&self) -> Sql {
        let mut all = self.who.clone();
        all.and_all(&self.peer);
        if let Some((who, peer)) = &self.search {
            let values = who.values.iter().chain(&peer.values).cloned();
            all.and(&format!("((1{}) OR (1{}))", who.text, peer.text), values);
        }
        all
    }

    /// The same in totals, where a port counts only where it names a service.
    pub(super) fn totals(&self) -> Sql {
        let mut all = self.all();
        all.and_all(&self.service);
        all
    }
}

/// `uid` is in one of these.
pub(super) fn uids(column: &str, ranges: &[RangeInclusive<u32>]) -> String {
    if ranges.iter().any(|range| *range.start() == 0 && *range.end() == u32::MAX) {
        return "1".to_owned();
    }
    let parts: Vec<String> = ranges
        .iter()
        .filter(|range| !range.is_empty())
        .map(|range| format!("{column} BETWEEN {} AND {}", range.start(), range.end()))
        .collect();
    if parts.is_empty() { "0".to_owned() } else { format!("({})", parts.join(" OR ")) }
}

/// The viewer sees this uid's rows and command lines.
pub(super) fn cmdline_uids(column: &str, viewer: &Viewer) -> String {
    format!("({} AND {})", uids(column, &viewer.rows), uids(column, &viewer.cmdlines))
}

fn blob(text: &str) -> Value {
    Value::Blob(text.as_bytes().to_vec())
}

/// The command line of `who w`, where the viewer may see it. In `daily`, where command lines are folded, one
/// matches by what it is folded to, or by any command line of that user which was folded to it.
pub(super) fn cmdline(text: &str, v: &Viewer) -> (String, Vec<Value>) {
    let full = "SELECT id FROM program WHERE cmdline IN (SELECT id FROM cmdline WHERE contains(value, ?))";
    // The scan of all command lines is made once: its result stands for the programs and for what they fold to.
    let condition = format!(
        "({} AND (w.id IN (WITH m AS MATERIALIZED (SELECT x.id, x.folded FROM who x WHERE {} AND x.program IN ({full}))
             SELECT id FROM m UNION ALL SELECT folded FROM m)
           OR w.program IN (SELECT id FROM program WHERE cmdline = 0 AND pattern IN
             (SELECT id FROM word WHERE kind = 6 AND contains(value, ?)))))",
        cmdline_uids("w.uid", v),
        cmdline_uids("x.uid", v)
    );
    (condition, vec![part(text); 2])
}

const DOMAIN: &str = "p.domain IN (SELECT id FROM domain WHERE value = ? OR substr(value, -length(?)) = ?)";

/// Reads the query. Times are not part of it.
pub(super) fn filter(db: &Database, q: &Query, v: &Viewer) -> Result<Filter, api::Error> {
    let mut filter = plain(q, v)?;
    if let Some(text) = &q.search {
        filter.search = Some(search(db, text, v)?);
    }
    Ok(filter)
}

/// The same without the free text (see `sought.rs`).
pub(super) fn plain(q: &Query, v: &Viewer) -> Result<Filter, api::Error> {
    let mut filter = Filter::default();
    let who = &mut filter.who;
    who.and(&uids("w.uid", &v.rows), []);
    if let Some(executable) = q.executable {
        let programs = "w.program IN (SELECT id FROM program WHERE executable = ?)";
        who.and(programs, [Value::Integer(executable)]);
    }
    let programs = "(SELECT id FROM program WHERE executable IN (SELECT id FROM executable WHERE path = ?))";
    for (column, path) in [("program", &q.path), ("parent", &q.parent), ("grandparent", &q.grandparent)] {
        if let Some(path) = path {
            who.and(&format!("w.{column} IN {programs}"), [blob(path)]);
        }
    }
    if let Some(name) = &q.name {
        who.and(
            "w.program IN (SELECT id FROM program WHERE name IN (SELECT id FROM word WHERE kind = ? AND value = ?))",
            [Value::Integer(word::NAME), blob(name)],
        );
    }
    if let Some(sha256) = &q.sha256 {
        who.and(
            "w.program IN (SELECT id FROM program WHERE content IN (SELECT id FROM content WHERE sha256 = ?))",
            [Value::Blob(unhex(sha256).unwrap_or_default())],
        );
    }
    if let Some(text) = &q.cmdline {
        let (condition, values) = cmdline(text, v);
        who.and(&condition, values);
    }
    if let Some(uid) = q.uid {
        who.and("w.uid = ?", [Value::Integer(uid.into())]);
    }
    for (column, kind, value) in [("unit", word::UNIT, &q.unit), ("container", word::CONTAINER, &q.container)]
    {
        if let Some(value) = value {
            let condition = format!("w.{column} IN (SELECT id FROM word WHERE kind = ? AND value = ?)");
            who.and(&condition, [Value::Integer(kind), blob(value)]);
        }
    }
    peer(&mut filter, q)?;
    Ok(filter)
}

fn peer(filter: &mut Filter, q: &Query) -> Result<(), api::Error> {
    let peer = &mut filter.peer;
    if let Some((condition, values)) = domain_key(q) {
        peer.and(&condition, values);
    }
    if let Some((condition, values)) = address_key(q) {
        peer.and(&condition, values);
    }
    if let Some(number) = protocol(q)? {
        peer.and("p.protocol = ?", [Value::Integer(number)]);
    }
    if let Some(direction) = &q.direction {
        let number = if direction == "in" { IN } else { OUT };
        peer.and("p.direction = ?", [Value::Integer(number)]);
    }
    if let Some(netns) = q.netns {
        peer.and("p.netns = ?", [Value::Integer(netns.into())]);
    }
    for (port, service) in [(q.remote_port, OUT), (q.local_port, IN)] {
        if let Some(port) = port {
            let port = Value::Integer(port.into());
            // What names the service is a part of the peer; the other end's port stands in the row alone.
            filter.peer.and(&format!("(p.port = ? OR p.direction <> {service})"), [port.clone()]);
            filter.service.and(&format!("(p.port = ? AND p.direction = {service})"), [port]);
        }
    }
    Ok(())
}

/// The number of the protocol asked for.
pub(super) fn protocol(q: &Query) -> Result<Option<i64>, api::Error> {
    let Some(word) = &q.protocol else { return Ok(None) };
    let number = dimension::protocol_number(word).ok_or_else(|| {
        api::Error::InvalidQuery(
            "protocol wants tcp, udp, icmp, icmpv6, sctp, packet, exec or ip-N".to_owned(),
        )
    })?;
    Ok(Some(number))
}

/// The condition on `p.domain`.
pub(super) fn domain_key(q: &Query) -> Option<(String, Vec<Value>)> {
    let domain = q.domain.as_ref()?;
    let suffix = format!(".{domain}");
    Some((DOMAIN.to_owned(), vec![blob(domain), blob(&suffix), blob(&suffix)]))
}

/// The condition on `p.remote`.
pub(super) fn address_key(q: &Query) -> Option<(String, Vec<Value>)> {
    let (first, last) = ends(q.address.as_ref()?);
    let length = if first.is_ipv4() { 4 } else { 16 };
    let condition = "p.remote IN (SELECT id FROM address WHERE value BETWEEN ? AND ? AND length(value) = ?)";
    Some((
        condition.to_owned(),
        vec![Value::Blob(octets(first)), Value::Blob(octets(last)), Value::Integer(length)],
    ))
}

/// First and last address of a network.
fn ends(network: &api::query::Network) -> (IpAddr, IpAddr) {
    match network.address.to_canonical() {
        IpAddr::V4(v4) => {
            let prefix =
                if network.address.is_ipv6() { network.prefix.saturating_sub(96) } else { network.prefix };
            let host = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
            (IpAddr::V4(v4), IpAddr::V4((u32::from(v4) | host).into()))
        }
        IpAddr::V6(v6) => {
            let host = u128::MAX.checked_shr(u32::from(network.prefix)).unwrap_or(0);
            (IpAddr::V6(v6), IpAddr::V6((u128::from(v6) | host).into()))
        }
    }
}

/// Addresses that a search may find.
const FOUND_ADDRESSES: usize = 1000;

fn search(db: &Database, text: &str, v: &Viewer) -> Result<(Sql, Sql), api::Error> {
    let pattern = part(text);
    let (cmdline, values) = cmdline(text, v);
    let mut who = Sql::default();
    who.and(
        &format!(
            "(w.program IN (SELECT id FROM program WHERE
                executable IN (SELECT id FROM executable WHERE contains(path, ?))
                OR name IN (SELECT id FROM word WHERE kind = 1 AND contains(value, ?)))
              OR {cmdline})"
        ),
        std::iter::repeat_n(pattern.clone(), 2).chain(values),
    );
    let mut peer = Sql::default();
    let addresses = addresses(db, text).map_err(unavailable)?;
    let listed: Vec<String> = addresses.iter().map(i64::to_string).collect();
    peer.and(
        &format!(
            "(p.domain IN (SELECT id FROM domain WHERE contains(value, ?)) OR p.remote IN ({}))",
            listed.join(",")
        ),
        [pattern],
    );
    Ok((who, peer))
}

/// Numbers of the addresses whose text has this part.
pub(super) fn addresses(db: &Database, text: &str) -> rusqlite::Result<Vec<i64>> {
    let mut found = Vec::new();
    let text = text.to_ascii_lowercase();
    if text.is_empty()
        || !text.chars().all(|character| character.is_ascii_hexdigit() || matches!(character, '.' | ':'))
    {
        return Ok(found);
    }
    let mut statement = db.prepare_cached("SELECT id, value FROM address")?;
    let mut rows = statement.query(params![])?;
    while let Some(row) = rows.next()? {
        let address = row.get_ref(1).ok().and_then(|value| super::row::address(value.as_blob().ok()?));
        if address.is_some_and(|address| address.to_string().contains(&text)) {
            found.push(row.get(0)?);
            if found.len() >= FOUND_ADDRESSES {
                break;
            }
        }
    }
    Ok(found)
}

/// 32 bytes from 64 hexadecimal digits.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}
