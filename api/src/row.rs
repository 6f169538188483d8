// SPDX-License-Identifier: GPL-3.0-or-later
//! Rows as they travel: `a{sv}` on the bus, an object in `--json`, a line in an export, always with
//! the same words. What is unknown is absent.

use std::collections::HashMap;

use zbus::zvariant::{OwnedValue, Value};

/// A row on the bus.
pub type Dict = HashMap<String, OwnedValue>;

/// Declares a row once: the struct, its `a{sv}` form both ways, its JSON form and its field words.
macro_rules! row {
    ($(#[$meta:meta])* $name:ident { $($(#[$fmeta:meta])* $field:ident $word:literal : $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        pub struct $name {
            $($(#[$fmeta])*
            #[serde(rename = $word, skip_serializing_if = "Option::is_none")]
            pub $field: Option<$type>,)*
        }

        impl $name {
            /// The words of its fields, in the order of exports.
            pub const FIELDS: &'static [&'static str] = &[$($word),*];

            /// The bus form; only what is known.
            #[must_use]
            pub fn to_dict(&self) -> HashMap<&'static str, Value<'static>> {
                let mut dict = HashMap::new();
                $(if let Some(value) = &self.$field {
                    dict.insert($word, Value::from(value.clone()));
                })*
                dict
            }

            /// Reads the bus form. Unknown words and values of another type are passed over: a newer
            /// daemon may say more than this client knows.
            #[must_use]
            pub fn from_dict(mut dict: Dict) -> Self {
                Self {
                    $($field: dict.remove($word).and_then(|value| value.try_into().ok()),)*
                }
            }
        }
    };
}

row! {
    /// One flow in one write interval: a row of `Connections`.
    Connection {
        /// When the interval's first byte or attempt was seen, µs since the epoch.
        time "time": i64,
        /// Executable, as [`Executable::id`].
        executable "executable": i64,
        /// Path of the executable; not UTF-8 bytes are replaced.
        path "path": String,
        /// The path's bytes, where they are not UTF-8.
        path_raw "path-raw": Vec<u8>,
        /// Name of the process.
        name "name": String,
        /// Content of the executable, hexadecimal; absent while unknown.
        sha256 "sha256": String,
        /// Why the content is unknown.
        sha256_unknown "sha256-unknown": String,
        /// Command line, arguments separated by spaces.
        cmdline "cmdline": String,
        /// Script that an interpreter runs.
        script "script": String,
        /// Content of the script, hexadecimal.
        script_sha256 "script-sha256": String,
        /// Path of the parent's executable.
        parent "parent": String,
        /// Name of the parent.
        parent_name "parent-name": String,
        /// Content of the parent's executable.
        parent_sha256 "parent-sha256": String,
        /// Command line of the parent.
        parent_cmdline "parent-cmdline": String,
        /// Path of the grandparent's executable.
        grandparent "grandparent": String,
        /// Name of the grandparent.
        grandparent_name "grandparent-name": String,
        /// Content of the grandparent's executable.
        grandparent_sha256 "grandparent-sha256": String,
        /// Command line of the grandparent.
        grandparent_cmdline "grandparent-cmdline": String,
        /// Process id in the host's namespace.
        pid "pid": u32,
        /// Real uid.
        uid "uid": u32,
        /// Effective uid, where it differs.
        effective_uid "effective-uid": u32,
        /// Domain name.
        domain "domain": String,
        /// Where the name came from: `getaddrinfo`, `dns` (this process), `dns-netns`.
        domain_source "domain-source": String,
        /// Remote address; IPv4-mapped ones as IPv4.
        address "address": String,
        /// Remote port.
        remote_port "remote-port": u16,
        /// Local address.
        local_address "local-address": String,
        /// Local port.
        local_port "local-port": u16,
        /// Network interface, for packet sockets.
        interface "interface": String,
        /// `tcp`, `udp`, `icmp`, `icmpv6`, `sctp`, `packet`, `exec`, or `ip-N`.
        protocol "protocol": String,
        /// `in` (they came to us) or `out`.
        direction "direction": String,
        /// Network namespace, inode number.
        netns "netns": u32,
        /// systemd unit.
        unit "unit": String,
        /// Container.
        container "container": String,
        /// The path is one of another mount namespace.
        foreign_root "foreign-root": bool,
        /// Bytes sent, payload.
        sent "sent": u64,
        /// Bytes received, payload.
        received "received": u64,
        /// Flows that began in this interval (0 in later intervals of the same flow).
        connections "connections": u64,
    }
}

/// Entries in each list of an [`Executable`] at the most, the latest: names, command lines, ports, domains, contents.
pub const MAX_LISTED: usize = 200;

row! {
    /// A program: one path (in one kind of root), with everything known of it.
    Executable {
        /// Stable number of it.
        id "id": i64,
        /// Path.
        path "path": String,
        /// The path's bytes, where they are not UTF-8.
        path_raw "path-raw": Vec<u8>,
        /// The path is one of another mount namespace.
        foreign_root "foreign-root": bool,
        /// Latest name.
        name "name": String,
        /// Latest known content.
        sha256 "sha256": String,
        /// Why the latest content is unknown.
        sha256_unknown "sha256-unknown": String,
        /// First time it was seen, µs since the epoch.
        first_seen "first-seen": i64,
        /// Last time it was seen.
        last_seen "last-seen": i64,
        /// Days (UTC) on which it was seen.
        days_seen "days-seen": u32,
        /// Bytes sent.
        sent "sent": u64,
        /// Bytes received.
        received "received": u64,
        /// Connections.
        connections "connections": u64,
        /// Names it has had.
        names "names": Vec<String>,
        /// Command lines with their changing parts folded to `*`.
        cmdlines "cmdlines": Vec<String>,
        /// Remote ports.
        ports "ports": Vec<u16>,
        /// Domains.
        domains "domains": Vec<String>,
        /// Contents, newest first: hexadecimal.
        hashes "hashes": Vec<String>,
        /// First time of each of `hashes`, µs since the epoch.
        hashes_first_seen "hashes-first-seen": Vec<i64>,
        /// Last time of each of `hashes`.
        hashes_last_seen "hashes-last-seen": Vec<i64>,
        /// Verdict on each of `hashes`: `3 of 72 engines (2026-11-22)`, `unknown` to the scanner, `sent, no verdict
        /// yet`, or empty where none was asked for.
        verdicts "verdicts": Vec<String>,
    }
}

row! {
    /// Something to tell people: a row of `Events`.
    Event {
        /// Number of it; grows with time.
        id "id": i64,
        /// When, µs since the epoch.
        time "time": i64,
        /// `new-executable`, `hash-changed`, `verdict` or `error`.
        kind "kind": String,
        /// Path of the executable.
        path "path": String,
        /// The path's bytes, where they are not UTF-8.
        path_raw "path-raw": Vec<u8>,
        /// Name of the process.
        name "name": String,
        /// Content at that moment.
        sha256 "sha256": String,
        /// Why the content is unknown.
        sha256_unknown "sha256-unknown": String,
        /// Content before, for `hash-changed`.
        old_sha256 "old-sha256": String,
        /// Real uid.
        uid "uid": u32,
        /// Executable, as [`Executable::id`].
        executable "executable": i64,
        /// Path of the parent's executable.
        parent "parent": String,
        /// Command line.
        cmdline "cmdline": String,
        /// First remote address.
        address "address": String,
        /// First domain.
        domain "domain": String,
        /// First remote port.
        remote_port "remote-port": u16,
        /// Protocol of the first contact.
        protocol "protocol": String,
        /// Who called whom at the first contact: `out` or `in`.
        direction "direction": String,
        /// The port that was called, at a first contact with direction `in`.
        local_port "local-port": u16,
        /// Where the domain came from: `getaddrinfo`, `dns` or `dns-netns`.
        domain_source "domain-source": String,
        /// systemd unit.
        unit "unit": String,
        /// Container.
        container "container": String,
        /// The path is one of another mount namespace.
        foreign_root "foreign-root": bool,
        /// For `error`: what kind (`lost-flows`, `storage`, `clock`, …).
        error "error": String,
        /// One sentence; for `verdict` what the engines say: `3 of 72 engines (2026-11-22)`.
        message "message": String,
        /// Somebody has seen it.
        acknowledged "acknowledged": bool,
        /// True if the program ran from a file that was unlinked, or that another one was renamed over; else absent.
        file_deleted "file-deleted": bool,
    }
}

row! {
    /// State of the daemon: the answer of `Status`. It has no data about anybody.
    Status {
        /// Version of the daemon.
        version "version": String,
        /// How the kernel is watched: `tracepoint`, `fexit`; absent until that is known.
        engine "engine": String,
        /// `starting`, `watching`, `paused` or `stopping`.
        state "state": String,
        /// When this daemon began to watch, µs since the epoch.
        since "since": i64,
        /// When a pause ends, µs since the epoch.
        paused_until "paused-until": i64,
        /// One sentence for each thing that does not work as it should.
        degraded "degraded": Vec<String>,
        /// Outcome of the self-test at the start: `passed`, `skipped`, or one sentence.
        self_test "self-test": String,
        /// Flows that are open now.
        live_flows "live-flows": u64,
        /// Rows of the connection log written since `since`.
        rows_written "rows-written": u64,
        /// Latest time that is in the database, µs since the epoch.
        recorded_through "recorded-through": i64,
        /// Flows that were not seen whole, since `since`. 0 is a claim.
        lost_flows "lost-flows": u64,
        /// Payload bytes that could not be charged to a flow.
        lost_bytes "lost-bytes": u64,
        /// Events that the kernel could not hand over.
        lost_events "lost-events": u64,
        /// Rows that could not be written.
        lost_rows "lost-rows": u64,
        /// Size of the database with its log, bytes.
        database_bytes "database-bytes": u64,
        /// Rows that wait to be written.
        database_queued "database-queued": u64,
        /// Rows that wait for the remote database; absent, as all of `remote-*`, if there is none.
        remote_queued "remote-queued": u64,
        /// Rows that it has taken since `since`.
        remote_sent "remote-sent": u64,
        /// Rows that it will never have: too many waited, or it refuses them.
        remote_lost "remote-lost": u64,
        /// When it last took rows, µs since the epoch.
        remote_last "remote-last": i64,
        /// Why it does not take rows now; one sentence.
        remote_error "remote-error": String,
        /// Contents that wait for a verdict; absent, as all of `scan-*`, if nobody is asked.
        scan_queued "scan-queued": u64,
        /// When the scanner last answered, µs since the epoch.
        scan_last "scan-last": i64,
        /// Why it does not answer now; one sentence.
        scan_error "scan-error": String,
        /// How often the helper that speaks to both had to be started again.
        relay_restarts "relay-restarts": u64,
    }
}

impl Status {
    /// Everything that is known to be lost, in whatever unit: 0 means that the record is whole.
    #[must_use]
    pub fn lost(&self) -> u64 {
        [self.lost_flows, self.lost_bytes, self.lost_events, self.lost_rows]
            .into_iter()
            .flatten()
            .fold(0, u64::saturating_add)
    }

    /// What is known to be lost most of. Bytes are no more than what the rest had, so they count only where nothing
    /// else is lost.
    #[must_use]
    pub fn most_lost(&self) -> Option<(Loss, u64)> {
        let counted = [
            (Loss::Connections, self.lost_flows),
            (Loss::Rows, self.lost_rows),
            (Loss::Events, self.lost_events),
        ];
        let known = |(kind, count): (Loss, Option<u64>)| Some((kind, count.filter(|count| *count > 0)?));
        let most = counted.into_iter().filter_map(known).max_by_key(|(_, count)| *count);
        most.or(known((Loss::Bytes, self.lost_bytes)))
    }
}

/// What can be lost of the record; see [`Status`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Flows that were not seen whole.
    Connections,
    /// Rows that could not be written.
    Rows,
    /// Events that the kernel could not hand over.
    Events,
    /// Payload that could not be charged to a flow.
    Bytes,
}

/// One page of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page<T> {
    /// At most as many as the query's `limit`.
    pub rows: Vec<T>,
    /// Where the next page begins; empty if this is the last.
    pub cursor: String,
    /// Rows that matched but that the caller may not see.
    pub hidden: u64,
}

/// One line of `Summary`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, zbus::zvariant::Type)]
pub struct Total {
    /// Value of the dimension; empty where it is unknown.
    pub key: String,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
    /// Connections.
    pub connections: u64,
}

/// One point of a series.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, zbus::zvariant::Type)]
pub struct Point {
    /// Start of the bucket, µs since the epoch.
    pub time: i64,
    /// Bytes sent in it.
    pub sent: u64,
    /// Bytes received in it.
    pub received: u64,
}

/// One line of `Series`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, zbus::zvariant::Type)]
pub struct Series {
    /// Value of the dimension; empty where it is unknown.
    pub key: String,
    /// At most 300, in order of time, evenly spaced.
    pub points: Vec<Point>,
}
