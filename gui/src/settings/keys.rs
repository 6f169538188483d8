// SPDX-License-Identifier: GPL-3.0-or-later
//! The keys of the monitor that the window offers, all that `config.toml` has.

use picosnitch_api::tongue::mark;

/// A key of the monitor with its row.
pub struct Key {
    /// As the monitor knows it.
    pub key: &'static str,
    /// What it is called.
    pub title: &'static str,
    /// What else there is to say.
    pub text: &'static str,
    /// How it is edited.
    pub kind: Kind,
}

/// How a key is edited.
pub enum Kind {
    /// On or off.
    Switch,
    /// A number from this one to that one.
    Number(f64, f64),
    /// Texts with commas between them.
    List,
    /// Ports with commas between them.
    Ports,
    /// A line of text.
    Text,
    /// The same, never shown.
    Secret,
    /// One of these words, each with what it is called.
    Choice(&'static [(&'static str, &'static str)]),
}

const fn key(key: &'static str, title: &'static str, text: &'static str, kind: Kind) -> Key {
    Key { key, title, text, kind }
}

/// How the way to the database server is protected.
const TLS: &[(&str, &str)] = &[
    ("automatic", mark("Encrypted, except over a local socket")),
    ("verify", mark("Always encrypted")),
    ("off", mark("Never encrypted")),
];

/// Groups of keys, in the order of `config.toml`; what few need comes last.
pub const GROUPS: [(&str, &str, &[Key]); 7] = [
    (
        mark("Recording"),
        "",
        &[
            key(
                "monitor.bandwidth",
                mark("Count bytes"),
                mark("Not only that a connection was made"),
                Kind::Switch,
            ),
            key(
                "monitor.every_executable",
                mark("Every program that starts"),
                mark("Also those that do not use the network"),
                Kind::Switch,
            ),
        ],
    ),
    (
        mark("History"),
        "",
        &[
            key("database.enabled", mark("Keep a history"), "", Kind::Switch),
            key("database.retention_days", mark("Days that it is kept"), "", Kind::Number(1.0, 36500.0)),
            key(
                "database.detail_days",
                mark("Days of single connections"),
                mark("Older ones are added up"),
                Kind::Number(1.0, 36500.0),
            ),
            key(
                "database.write_interval_seconds",
                mark("Seconds between writes"),
                "",
                Kind::Number(1.0, 3600.0),
            ),
        ],
    ),
    (
        mark("What is written down"),
        "",
        &[
            key("log.addresses", mark("Remote addresses and names"), "", Kind::Switch),
            key("log.ports", mark("Ports"), "", Kind::Switch),
            key("log.commands", mark("Command lines"), "", Kind::Switch),
            key("log.connections", mark("Also as a text file"), "/var/log/picosnitch/conn.log", Kind::Switch),
        ],
    ),
    (
        mark("Left out"),
        mark(
            "Connections that match are not recorded. Their programs are still seen, hashed and announced. Separate values with commas; one that has a comma stands in quotation marks.",
        ),
        &[
            key("log.ignore.domains", mark("Domains"), "", Kind::List),
            key("log.ignore.networks", mark("Networks"), "", Kind::List),
            key("log.ignore.ports", mark("Ports"), "", Kind::Ports),
            key("log.ignore.names", mark("Process names"), "", Kind::List),
            key("log.ignore.sha256", mark("Contents (sha256)"), "", Kind::List),
        ],
    ),
    (
        mark("Notifications"),
        "",
        &[key(
            "notify.desktop",
            mark("Show notifications"),
            mark("For everybody on this machine"),
            Kind::Switch,
        )],
    ),
    (
        mark("Sent elsewhere"),
        mark("Nothing leaves this machine unless it is set here."),
        &[
            key(
                "remote.url",
                mark("Database server"),
                "postgresql://USER:PASSWORD@HOST/DATABASE",
                Kind::Secret,
            ),
            key("remote.host_name", mark("Name of this machine there"), "", Kind::Text),
            key("virustotal.api_key", mark("VirusTotal key"), "", Kind::Secret),
            key("virustotal.upload", mark("Send files, not only hashes"), "", Kind::Switch),
        ],
    ),
    (
        mark("For experts"),
        mark("What is set here is right for nearly everybody."),
        &[
            key(
                "monitor.ring_buffer_kib",
                mark("Room for events, KiB"),
                mark("A power of two, if status says that events were lost. Holds from the next start on."),
                Kind::Number(64.0, 65536.0),
            ),
            key(
                "monitor.open_files",
                mark("Open files at the most"),
                mark("0 is as many as it needs. Holds from the next start on."),
                Kind::Number(0.0, 1_048_576.0),
            ),
            key("remote.tls", mark("The way to the database server"), "", Kind::Choice(TLS)),
            key("remote.ca_file", mark("Certificates of the database server (PEM file)"), "", Kind::Text),
            key("remote.table", mark("Table of the database server"), "", Kind::Text),
            key(
                "remote.outbox_mib",
                mark("MiB that may wait for the database server"),
                mark("What does not fit is not sent, counted and told"),
                Kind::Number(1.0, 65536.0),
            ),
            key(
                "virustotal.request_interval_seconds",
                mark("Seconds between two questions to VirusTotal"),
                "",
                Kind::Number(1.0, 86400.0),
            ),
            key(
                "virustotal.url",
                mark("Address of VirusTotal, or of one that speaks like it"),
                "",
                Kind::Text,
            ),
            key("virustotal.ca_file", mark("Certificates of VirusTotal (PEM file)"), "", Kind::Text),
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d08_every_key_of_the_file_has_a_row() {
        let mut section = String::new();
        let mut wanted = Vec::new();
        for line in include_str!("../../../data/config.toml").lines().filter(|line| !line.starts_with('#')) {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                section = name.to_owned();
            } else if let Some((key, _)) = line.split_once(" = ") {
                wanted.push(format!("{section}.{key}"));
            }
        }
        let mut offered: Vec<_> = GROUPS.iter().flat_map(|(.., keys)| *keys).map(|key| key.key).collect();
        wanted.sort();
        offered.sort_unstable();
        assert!(wanted.len() > 20, "{wanted:?}");
        assert_eq!(offered, wanted);
    }
}
