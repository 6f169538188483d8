// SPDX-License-Identifier: GPL-3.0-or-later
//! `org.picosnitch.Monitor`: signals and queries. The comments of its members are its documentation on
//! the bus and in `data/org.picosnitch.Monitor.xml`.

use std::collections::HashMap;
use std::sync::Weak;

use picosnitch_api::query::{Dict, MAX_PAGE};
use picosnitch_api::row::{self, Series, Total};
use picosnitch_api::{Dimension, Error, Format, What};
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::zvariant;

use super::answer::{self, Row};
use super::desk::{self, Desk};
use super::export::Outlet;

#[doc = include_str!("about.txt")]
pub struct Monitor {
    /// Weak: what it works with has the connection, which has this.
    pub(super) desk: Weak<Desk>,
}

#[zbus::interface(name = "org.picosnitch.Monitor")]
impl Monitor {
    /// State of the monitor; for everybody, without data about anybody.
    ///
    /// version s; engine s: how the kernel is watched; state s: starting, watching, paused, stopping; since x;
    /// paused-until x; degraded as: one sentence for each thing that does not work as it should; self-test s:
    /// passed, skipped, or a sentence; live-flows t; rows-written t; recorded-through x; lost-flows,
    /// lost-bytes, lost-events, lost-rows t: 0 is a claim; database-bytes t; database-queued t. With a remote database remote-queued,
    /// remote-sent, remote-lost t, remote-last x, remote-error s; with a scanner scan-queued t, scan-last x,
    /// scan-error s; with either relay-restarts t: how often the helper that speaks to them had to be started again.
    #[zbus(out_args("status"))]
    async fn status(&self) -> Result<Row, Error> {
        Ok(answer::row(desk::of(&self.desk)?.status().to_dict()))
    }

    /// What the caller may do: for each polkit action yes, no, or challenge (a password would help).
    #[zbus(out_args("answers"))]
    async fn permissions(
        &self,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<HashMap<String, String>, Error> {
        let desk = desk::of(&self.desk)?;
        let caller = desk.authority.caller(&header).await?;
        Ok(desk.authority.permissions(&caller).await)
    }

    /// Asks for NewExecutable, HashChanged and Verdict about the caller's own programs, and about everybody's with
    /// org.picosnitch.Monitor.read-any. They are addressed to the caller until Unwatch or until it
    /// disconnects. Those about system accounts are sent to everybody without asking, except where a person ran
    /// the same program before: then they go to those who asked and to whom they are news.
    async fn watch(&self, #[zbus(header)] header: Header<'_>) -> Result<(), Error> {
        let desk = desk::of(&self.desk)?;
        let caller = desk.authority.caller(&header).await?;
        desk.watch(&caller).await
    }

    /// Ends Watch.
    async fn unwatch(&self, #[zbus(header)] header: Header<'_>) -> Result<(), Error> {
        let desk = desk::of(&self.desk)?;
        let caller = desk.authority.caller(&header).await?;
        desk.watchers.remove(&caller.name);
        Ok(())
    }

    /// Programs. A row: id x, path s, path-raw ay, foreign-root b (the path is one of a container), name s,
    /// sha256 s, sha256-unknown s, first-seen x, last-seen x, days-seen u, sent t, received t, connections t. The
    /// last three are sums of the query's time and filters; in Executable they are of all time.
    /// sort: last-seen (as it is), first-seen, name, path, total (sent and received), sent, received, connections.
    #[zbus(out_args("rows", "cursor", "hidden"))]
    async fn executables(
        &self,
        query: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(Vec<Row>, String, u64), Error> {
        let desk = desk::of(&self.desk)?;
        let asked = desk.asked(&header, &query).await?;
        desk.read(asked, |reader, query, viewer| {
            answer::page(query, |query| reader.executables(query, viewer), row::Executable::to_dict)
        })
        .await
    }

    /// Everything about one program that the caller may see: what a row of Executables has, and names as,
    /// cmdlines as (changing parts are an asterisk), ports aq, domains as, hashes as (newest first) with
    /// hashes-first-seen ax, hashes-last-seen ax and verdicts as.
    #[zbus(out_args("executable"))]
    async fn executable(&self, id: i64, #[zbus(header)] header: Header<'_>) -> Result<Row, Error> {
        let desk = desk::of(&self.desk)?;
        let asked = desk.asked(&header, &Dict::new()).await?;
        desk.read(asked, move |reader, _, viewer| Ok(answer::row(reader.executable(id, viewer)?.to_dict())))
            .await
    }

    /// The connection log, newest first unless descending is false: a row for each connection and write
    /// interval.
    ///
    /// A row: time x, executable x, path s, path-raw ay, name s, sha256 s, sha256-unknown s, cmdline s, script s,
    /// script-sha256 s; parent, parent-name, parent-sha256, parent-cmdline s and the same for grandparent;
    /// pid u, uid u, effective-uid u, domain s, domain-source s, address s, remote-port q, local-address s,
    /// local-port q, interface s, protocol s, direction s, netns u, unit s, container s, foreign-root b,
    /// sent t, received t, connections t (1 where the connection began).
    #[zbus(out_args("rows", "cursor", "hidden"))]
    async fn connections(
        &self,
        query: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(Vec<Row>, String, u64), Error> {
        let desk = desk::of(&self.desk)?;
        let asked = desk.asked(&header, &query).await?;
        desk.read(asked, |reader, query, viewer| {
            answer::page(query, |query| reader.connections(query, viewer), row::Connection::to_dict)
        })
        .await
    }

    /// Totals, largest first: key, sent, received, connections. An empty key stands for unknown. cursor is how many
    /// of them come before, in decimal.
    ///
    /// by: path, name, sha256, cmdline, parent, grandparent, uid, domain, address, local-port, remote-port,
    /// protocol, direction, netns, unit, container.
    #[zbus(out_args("rows", "hidden"))]
    async fn summary(
        &self,
        by: String,
        query: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(Vec<Total>, u64), Error> {
        let desk = desk::of(&self.desk)?;
        let asked = desk.asked(&header, &query).await?;
        let by: Dimension = by.parse()?;
        desk.read(asked, move |reader, query, viewer| {
            let (mut rows, hidden) = reader.summary(by, &query, viewer)?;
            for row in &mut rows {
                row.key = answer::text(&row.key);
            }
            Ok((rows, hidden))
        })
        .await
    }

    /// Totals over time, largest first: key, and at most 300 evenly spaced points of time, sent, received.
    /// by: as in Summary.
    #[zbus(out_args("series", "hidden"))]
    async fn series(
        &self,
        by: String,
        query: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(Vec<Series>, u64), Error> {
        let desk = desk::of(&self.desk)?;
        let asked = desk.asked(&header, &query).await?;
        let by: Dimension = by.parse()?;
        desk.read(asked, move |reader, query, viewer| {
            let (mut series, hidden) = reader.series(by, &query, viewer)?;
            for line in &mut series {
                line.key = answer::text(&line.key);
            }
            Ok((series, hidden))
        })
        .await
    }

    /// What people were told, newest first unless descending is false.
    ///
    /// A row: id x, time x, kind s (new-executable, hash-changed, verdict, error), path s, path-raw ay, name s, sha256 s,
    /// sha256-unknown s, old-sha256 s, uid u, executable x, parent s, cmdline s, address s, domain s,
    /// remote-port q, protocol s, direction s (out, in), local-port q (with in: the port that was called),
    /// domain-source s, unit s, container s, foreign-root b (the path is one of a container), error s, message s,
    /// acknowledged b, file-deleted b (the program ran from a file that was unlinked, or that another one was renamed
    /// over). A query has no netns.
    #[zbus(out_args("rows", "cursor", "hidden"))]
    async fn events(
        &self,
        query: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(Vec<Row>, String, u64), Error> {
        let desk = desk::of(&self.desk)?;
        let asked = desk.asked(&header, &query).await?;
        desk.read(asked, |reader, query, viewer| {
            answer::page(query, |query| reader.events(query, viewer), row::Event::to_dict)
        })
        .await
    }

    /// One of Events, with its hash once that is known.
    #[zbus(out_args("event"))]
    async fn event(&self, id: i64, #[zbus(header)] header: Header<'_>) -> Result<Row, Error> {
        let desk = desk::of(&self.desk)?;
        let asked = desk.asked(&header, &Dict::new()).await?;
        desk.read(asked, move |reader, _, viewer| Ok(answer::row(reader.event(id, viewer)?.to_dict()))).await
    }

    /// Marks events as seen, at most 1000 at once. Those that the caller may not see are passed over.
    async fn acknowledge(&self, events: Vec<i64>, #[zbus(header)] header: Header<'_>) -> Result<(), Error> {
        if events.len() > MAX_PAGE as usize {
            return Err(Error::LimitExceeded(format!("At most {MAX_PAGE} events are marked at once.")));
        }
        let desk = desk::of(&self.desk)?;
        let asked = desk.asked(&header, &Dict::new()).await?;
        desk.read(asked, move |reader, _, viewer| reader.acknowledge(&events, viewer).map(|_| ())).await
    }

    /// Writes all rows that the query selects into a file descriptor and returns when the last is written.
    /// what: connections, executables, events; format: csv (with a header line) or jsonl. A descriptor that
    /// takes nothing for 20 seconds is given up.
    async fn export(
        &self,
        what: String,
        format: String,
        query: Dict,
        fd: zvariant::OwnedFd,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), Error> {
        let desk = desk::of(&self.desk)?;
        let asked = desk.asked(&header, &query).await?;
        let (what, format): (What, Format) = (what.parse()?, format.parse()?);
        let slots = desk.authority.limits.export(asked.caller.uid)?;
        let (reader, over) = (desk.reader.clone(), desk.over.clone());
        desk::blocking(move || {
            let _slots = slots;
            let mut outlet = Outlet::new(fd.into(), over)?;
            reader.export(what, format, &asked.query, &asked.viewer, &mut outlet).map(|_| ())
        })
        .await
    }

    /// A program used the network for the first time. sha256 is empty while it is unknown; Event has it once
    /// it is known.
    #[zbus(signal)]
    pub async fn new_executable(
        emitter: &SignalEmitter<'_>,
        event: i64,
        path: &str,
        name: &str,
        sha256: &str,
        uid: u32,
    ) -> zbus::Result<()>;

    /// A known program has content that was never seen for it.
    #[zbus(signal)]
    pub async fn hash_changed(
        emitter: &SignalEmitter<'_>,
        event: i64,
        path: &str,
        name: &str,
        old_sha256: &str,
        new_sha256: &str,
        uid: u32,
    ) -> zbus::Result<()>;

    /// Engines of a scanner find the content of a program that was used here malicious or suspicious. verdict:
    /// how many of them, like 3 of 72 engines (2026-11-22).
    #[zbus(signal)]
    pub async fn verdict(
        emitter: &SignalEmitter<'_>,
        event: i64,
        path: &str,
        name: &str,
        sha256: &str,
        verdict: &str,
        uid: u32,
    ) -> zbus::Result<()>;

    /// The record has a hole, or something needs a person. kind: lost-flows, lost-rows, lost-calls,
    /// lost-remote (the history has them), lost-verdicts, lost-events, lost-names, lost-executables, lost-changes, lost-hashes,
    /// lost-row-hashes, lost-comparisons, lost-lookups, lost-signals (the list of events has them), forgotten, forgotten-names,
    /// forgotten-programs, undecoded, storage, storage-recovered, storage-damaged, storage-mended, text-log, text-log-lost,
    /// remote, remote-refused, relay, scanner, settings, clock, gap (nobody watched for a while), pause, resume, and others
    /// later; message: one sentence with what to do.
    #[zbus(signal)]
    pub async fn error(
        emitter: &SignalEmitter<'_>,
        event: i64,
        kind: &str,
        message: &str,
    ) -> zbus::Result<()>;

    /// The history is written up to this time. A hint to look again; it has no data.
    #[zbus(signal)]
    pub async fn recorded(emitter: &SignalEmitter<'_>, through: i64) -> zbus::Result<()>;

    /// Version of the daemon.
    #[zbus(property(emits_changed_signal = "const"))]
    async fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }

    /// How the kernel is watched; empty until that is known.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn engine(&self) -> zbus::fdo::Result<String> {
        Ok(answer::text(&desk::of(&self.desk).map_err(gone)?.status().engine.unwrap_or_default()))
    }

    /// One sentence for each thing that does not work as it should.
    #[zbus(property)]
    async fn degraded(&self) -> zbus::fdo::Result<Vec<String>> {
        let sentences = desk::of(&self.desk).map_err(gone)?.status().degraded.unwrap_or_default();
        Ok(sentences.iter().map(|sentence| answer::text(sentence)).collect())
    }
}

fn gone(error: Error) -> zbus::fdo::Error {
    zbus::fdo::Error::Failed(error.to_string())
}
