// SPDX-License-Identifier: GPL-3.0-or-later
//! Rows as people read them. Nothing here is inert yet: tables and lines do that when they print.

use std::collections::HashMap;

use chrono::Local;
use picosnitch_api::row::{Connection, Event, Executable};

use crate::table::{Column, Fit, column};
use crate::{size, time};

/// Shown where nothing is known.
pub const UNKNOWN: &str = "-";

/// What is needed to show rows: the time, and names of users as they are looked up.
#[derive(Debug)]
pub struct View {
    now: i64,
    users: HashMap<u32, String>,
}

impl View {
    /// `now` in µs since the epoch.
    pub fn new(now: i64) -> Self {
        Self { now, users: HashMap::new() }
    }

    /// Name of a user, or the number where there is no name.
    pub fn user(&mut self, uid: Option<u32>) -> String {
        let Some(uid) = uid else { return UNKNOWN.to_owned() };
        self.users
            .entry(uid)
            .or_insert_with(|| match nix::unistd::User::from_uid(uid.into()) {
                Ok(Some(user)) => user.name,
                _ => uid.to_string(),
            })
            .clone()
    }

    /// A time, with the date as needed.
    pub fn time(&self, time: Option<i64>) -> String {
        time.map_or(UNKNOWN.to_owned(), |time| time::show(time, self.now, &Local))
    }

    /// A time today, or the date.
    pub fn time_short(&self, time: Option<i64>) -> String {
        time.map_or(UNKNOWN.to_owned(), |time| time::show_short(time, self.now, &Local))
    }

    /// How long ago, µs since the epoch.
    pub fn ago(&self, time: i64) -> String {
        time::span(self.now.saturating_sub(time))
    }
}

/// `host:port`, with brackets round an IPv6 address.
pub fn host_port(host: &str, port: Option<u16>) -> String {
    match port {
        Some(port) if host.parse::<std::net::Ipv6Addr>().is_ok() => format!("[{host}]:{port}"),
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// The other end of a connection, as people name it.
pub fn remote(row: &Connection) -> String {
    if row.protocol.as_deref() == Some("exec") {
        return "(was started)".to_owned();
    }
    let Some(host) = row.domain.as_deref().or(row.address.as_deref()).filter(|host| !host.is_empty()) else {
        return row.interface.as_ref().map_or(UNKNOWN.to_owned(), |name| format!("interface {name}"));
    };
    far_end(host, row.remote_port, row.direction.as_deref(), row.local_port)
}

/// The other end, and our port if it was called.
pub fn far_end(host: &str, port: Option<u16>, direction: Option<&str>, local_port: Option<u16>) -> String {
    let end = host_port(host, port);
    match (direction, local_port) {
        (Some("in"), Some(port)) => format!("{end} to port {port}"),
        _ => end,
    }
}

/// What a notice's kind means.
pub fn kind(kind: Option<&str>) -> &str {
    match kind {
        Some("new-executable") => "new",
        Some("hash-changed") => "changed",
        Some("verdict") => "suspicious",
        Some(other) => other,
        None => UNKNOWN,
    }
}

fn size_of(bytes: Option<u64>) -> String {
    bytes.map_or(UNKNOWN.to_owned(), size::bytes)
}

fn count_of(count: Option<u64>) -> String {
    count.map_or(UNKNOWN.to_owned(), size::count)
}

fn known(text: Option<&String>) -> String {
    text.filter(|text| !text.is_empty()).cloned().unwrap_or_else(|| UNKNOWN.to_owned())
}

/// A row that has a table.
pub trait Listed {
    /// What one row is called.
    const NOUN: &'static str;
    /// The columns.
    const COLUMNS: &'static [Column];
    /// The values of the columns, in their order.
    fn cells(&self, view: &mut View) -> Vec<String>;
}

impl Listed for Connection {
    const NOUN: &'static str = "row";
    const COLUMNS: &'static [Column] = &[
        column("TIME", Fit::Left),
        Column { head: "USER", fit: Fit::Left, from: 60 },
        column("SENT", Fit::Right),
        column("RECEIVED", Fit::Right),
        Column { head: "PROTO", fit: Fit::Left, from: 100 },
        column("REMOTE", Fit::End),
        column("PROGRAM", Fit::Middle),
    ];

    fn cells(&self, view: &mut View) -> Vec<String> {
        vec![
            view.time(self.time),
            view.user(self.uid),
            size_of(self.sent),
            size_of(self.received),
            known(self.protocol.as_ref()),
            remote(self),
            known(self.path.as_ref().or(self.name.as_ref())),
        ]
    }
}

impl Listed for Executable {
    const NOUN: &'static str = "program";
    const COLUMNS: &'static [Column] = &[
        column("ID", Fit::Right),
        Column { head: "FIRST SEEN", fit: Fit::Left, from: 90 },
        column("LAST SEEN", Fit::Left),
        column("SENT", Fit::Right),
        column("RECEIVED", Fit::Right),
        Column { head: "CONNECTIONS", fit: Fit::Right, from: 80 },
        column("PROGRAM", Fit::Middle),
    ];

    fn cells(&self, view: &mut View) -> Vec<String> {
        vec![
            self.id.map_or(UNKNOWN.to_owned(), |id| id.to_string()),
            view.time_short(self.first_seen),
            view.time_short(self.last_seen),
            size_of(self.sent),
            size_of(self.received),
            count_of(self.connections),
            program(self),
        ]
    }
}

/// Path of a program, and a word on it if it is not one of this machine's own files.
pub fn program(row: &Executable) -> String {
    placed(known(row.path.as_ref().or(row.name.as_ref())), row.foreign_root)
}

/// The path with that word, if it is one of another root.
pub fn placed(path: String, foreign_root: Option<bool>) -> String {
    if foreign_root == Some(true) { format!("{path} (in a container)") } else { path }
}

impl Listed for Event {
    const NOUN: &'static str = "notice";
    const COLUMNS: &'static [Column] = &[
        column("ID", Fit::Right),
        column("TIME", Fit::Left),
        column("WHAT", Fit::Left),
        Column { head: "USER", fit: Fit::Left, from: 60 },
        Column { head: "REMOTE", fit: Fit::End, from: 90 },
        column("PROGRAM OR MESSAGE", Fit::Middle),
    ];

    fn cells(&self, view: &mut View) -> Vec<String> {
        let host = self.domain.as_ref().or(self.address.as_ref());
        vec![
            self.id.map_or(UNKNOWN.to_owned(), |id| id.to_string()),
            view.time(self.time),
            kind(self.kind.as_deref()).to_owned(),
            view.user(self.uid),
            host.map_or(UNKNOWN.to_owned(), |host| {
                far_end(host, self.remote_port, self.direction.as_deref(), self.local_port)
            }),
            match self.message.as_ref().filter(|_| self.kind.as_deref() == Some("error")) {
                None => {
                    let path = placed(known(self.path.as_ref()), self.foreign_root);
                    if self.file_deleted == Some(true) { format!("{path} (deleted)") } else { path }
                }
                message => known(message),
            },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn the_other_end_is_named_as_people_do() {
        let base = Connection { address: text("192.0.2.7"), remote_port: Some(443), ..Connection::default() };
        assert_eq!(remote(&base), "192.0.2.7:443");
        assert_eq!(remote(&Connection { domain: text("example.com"), ..base.clone() }), "example.com:443");
        assert_eq!(remote(&Connection { address: text("2001:db8::7"), ..base.clone() }), "[2001:db8::7]:443");
        assert_eq!(
            remote(&Connection { direction: text("in"), local_port: Some(22), ..base.clone() }),
            "192.0.2.7:443 to port 22"
        );
        assert_eq!(
            remote(&Connection {
                protocol: text("packet"),
                interface: text("eth0"),
                ..Connection::default()
            }),
            "interface eth0"
        );
        assert_eq!(remote(&Connection { protocol: text("exec"), ..Connection::default() }), "(was started)");
        assert_eq!(remote(&Connection { remote_port: None, ..base }), "192.0.2.7");
        assert_eq!(remote(&Connection::default()), UNKNOWN);
    }

    #[test]
    fn every_row_has_a_value_for_every_column() {
        let mut view = View::new(0);
        assert_eq!(Connection::default().cells(&mut view).len(), Connection::COLUMNS.len());
        assert_eq!(Executable::default().cells(&mut view).len(), Executable::COLUMNS.len());
        assert_eq!(Event::default().cells(&mut view).len(), Event::COLUMNS.len());
        assert_eq!(view.user(Some(0)), "root");
        assert_eq!(view.user(Some(4_000_000_001)), "4000000001");
        assert_eq!(view.user(None), UNKNOWN);
    }

    #[test]
    fn an_unknown_value_is_not_zero() {
        let cells = Connection::default().cells(&mut View::new(0));
        assert!(cells.iter().all(|cell| cell == UNKNOWN), "{cells:?}");
    }
}
