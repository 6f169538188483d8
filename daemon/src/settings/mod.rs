// SPDX-License-Identifier: GPL-3.0-or-later
//! Settings: the types of `config.toml`, read with errors that say where and what to do. What each key
//! means stands in `data/config.toml`, once; a test holds the two together.

mod convert;
mod edited;
mod list;
mod outside;
mod store;
#[cfg(test)]
mod tests;

use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use picosnitch_api::query::Network;
pub use picosnitch_relay_wire::Tls;
use serde::{Deserialize, Serialize};

pub use edited::Edited;
pub use store::Store;

/// The file that is shipped, and written when there is none and a setting is changed.
pub const SHIPPED: &str = include_str!("../../../data/config.toml");

/// Keys whose values never leave the daemon.
pub const SECRETS: [&str; 2] = ["remote.url", "virustotal.api_key"];

/// All settings. Sections and keys are those of the file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What is watched.
    pub monitor: Monitor,
    /// The history.
    pub database: Database,
    /// What of it is recorded.
    pub log: Log,
    /// What people are told.
    pub notify: Notify,
    /// A copy elsewhere.
    pub remote: Remote,
    /// Verdicts.
    pub virustotal: VirusTotal,
}

/// `[monitor]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Monitor {
    /// Count bytes.
    pub bandwidth: bool,
    /// Record every exec.
    pub every_executable: bool,
    /// Ring buffer in KiB, a power of two. Needs a restart.
    pub ring_buffer_kib: u32,
    /// RLIMIT_NOFILE; 0 is automatic. Needs a restart.
    pub open_files: u32,
}

/// `[database]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// Write connections.
    pub enabled: bool,
    /// Days of history.
    pub retention_days: u32,
    /// Days of single connections, ≤ `retention_days`.
    pub detail_days: u32,
    /// Seconds.
    pub write_interval_seconds: u32,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Write `conn.log`.
    pub connections: bool,
    /// Record remote addresses and domains.
    pub addresses: bool,
    /// Record command lines.
    pub commands: bool,
    /// Record ports.
    pub ports: bool,
    /// What is left out.
    pub ignore: Ignore,
}

/// `[log.ignore]`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ignore {
    /// 64 hexadecimal digits each, lower case.
    pub sha256: Vec<String>,
    /// Lower case, without a final dot.
    pub domains: Vec<String>,
    /// Remote ports.
    pub ports: Vec<u16>,
    /// Remote networks.
    #[serde(with = "networks")]
    pub networks: Vec<Network>,
    /// Process names.
    pub names: Vec<String>,
}

/// `[notify]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Notify {
    /// Desktop notifications.
    pub desktop: bool,
}

/// `[remote]`
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Remote {
    /// Where to, with a password in it; empty is off. Secret.
    pub url: String,
    /// This machine's name there; empty is its host name.
    pub host_name: String,
    /// PEM file; empty is the system's certificates.
    pub ca_file: String,
    /// How the way there is protected.
    pub tls: Tls,
    /// Where rows go.
    pub table: String,
    /// MiB of rows that may wait.
    pub outbox_mib: u32,
}

/// `[virustotal]`
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VirusTotal {
    /// Empty is off. Secret.
    pub api_key: String,
    /// Send files.
    pub upload: bool,
    /// Seconds.
    pub request_interval_seconds: u32,
    /// Base of the addresses that are asked.
    pub url: String,
    /// PEM file; empty is the system's certificates.
    pub ca_file: String,
}

impl Default for Monitor {
    fn default() -> Self {
        Self { bandwidth: true, every_executable: false, ring_buffer_kib: 1024, open_files: 0 }
    }
}

impl Default for Database {
    fn default() -> Self {
        Self { enabled: true, retention_days: 365, detail_days: 30, write_interval_seconds: 10 }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { connections: false, addresses: true, commands: true, ports: true, ignore: Ignore::default() }
    }
}

impl Default for Notify {
    fn default() -> Self {
        Self { desktop: true }
    }
}

impl Default for VirusTotal {
    fn default() -> Self {
        Self {
            api_key: String::new(),
            upload: false,
            request_interval_seconds: 15,
            url: "https://www.virustotal.com/api/v3".to_owned(),
            ca_file: String::new(),
        }
    }
}

impl Default for Remote {
    fn default() -> Self {
        Self {
            url: String::new(),
            host_name: String::new(),
            ca_file: String::new(),
            tls: Tls::default(),
            table: "picosnitch_connections".to_owned(),
            outbox_mib: 256,
        }
    }
}

// By hand, so that no log line ever has a secret in it.
impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { url, host_name, ca_file, tls, table, outbox_mib } = self;
        let url = if url.is_empty() { "" } else { "(set)" };
        f.debug_struct("Remote")
            .field("url", &url)
            .field("host_name", host_name)
            .field("ca_file", ca_file)
            .field("tls", tls)
            .field("table", table)
            .field("outbox_mib", outbox_mib)
            .finish()
    }
}

impl std::fmt::Debug for VirusTotal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { api_key, upload, request_interval_seconds, url, ca_file } = self;
        let api_key = if api_key.is_empty() { "" } else { "(set)" };
        f.debug_struct("VirusTotal")
            .field("api_key", &api_key)
            .field("upload", upload)
            .field("request_interval_seconds", request_interval_seconds)
            .field("url", url)
            .field("ca_file", ca_file)
            .finish()
    }
}

/// Networks are texts in the file.
mod networks {
    use super::Network;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub fn serialize<S: Serializer>(networks: &[Network], to: S) -> Result<S::Ok, S::Error> {
        networks.iter().map(ToString::to_string).collect::<Vec<_>>().serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Network>, D::Error> {
        let parse = |text: &String| {
            text.parse().map_err(|_| {
                serde::de::Error::custom(format!("{text:?} is not an address or a network like 192.0.2.0/24"))
            })
        };
        Vec::<String>::deserialize(from)?.iter().map(parse).collect()
    }
}

/// Why settings could not be read or written. The message has the file, the line and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is there and cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file cannot be written; the settings are as they were.
    #[error("{}: cannot be written: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file's text is not accepted.
    #[error("{}:{line}:{column}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// What is wrong and what to do.
        problem: Problem,
    },
    /// A change that was asked for is not accepted.
    #[error("{0}")]
    Change(Problem),
    /// The file changed between the question whether this may be changed and the change.
    #[error("the settings were changed by somebody else meanwhile; try again")]
    Meanwhile,
}

/// What is wrong with one key, or with the file's syntax.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key (`database.retention_days`), if it is about one.
    pub key: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl Problem {
    fn of(key: &str, message: impl Into<String>) -> Self {
        Self { key: Some(key.to_owned()), message: message.into(), hint: None }
    }
}

impl Settings {
    /// Reads a file. One that is not there has the defaults.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::File`].
    pub fn load(path: &Path) -> Result<Self, Error> {
        match read(path)? {
            Some(text) => Self::parse(&text, path),
            None => Ok(Self::default()),
        }
    }

    /// Reads a file's text; `path` is for the messages.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let at = |offset: usize, problem: Problem| {
            let (line, column) = position(text, offset);
            Error::File { path: path.to_owned(), line, column, problem }
        };
        // Twice: once for the places of keys, once for the values.
        let document = toml_edit::Document::parse(text).map_err(|error| {
            let problem = Problem { key: None, message: one_line(error.message()), hint: None };
            at(error.span().map_or(0, |span| span.start), problem)
        })?;
        let mut settings: Settings = toml::from_str(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            at(offset, convert::explain(error.message(), convert::key_at(document.as_table(), offset)))
        })?;
        settings.tidy();
        settings.check().map_err(|problem| {
            let key = problem.key.as_deref().unwrap_or_default();
            at(convert::place_of(document.as_table(), key).unwrap_or(0), problem)
        })?;
        Ok(settings)
    }

    fn tidy(&mut self) {
        for hash in &mut self.log.ignore.sha256 {
            hash.make_ascii_lowercase();
        }
        for domain in &mut self.log.ignore.domains {
            *domain = domain.trim_end_matches('.').to_ascii_lowercase();
        }
    }

    fn check(&self) -> Result<(), Problem> {
        let within = |key: &str, value: u32, range: std::ops::RangeInclusive<u32>| {
            if range.contains(&value) {
                return Ok(());
            }
            Err(Problem::of(
                key,
                format!("{value} is out of range; {} to {} is accepted", range.start(), range.end()),
            ))
        };
        let Self { monitor, database, log, notify: _, remote, virustotal } = self;
        within("monitor.ring_buffer_kib", monitor.ring_buffer_kib, 64..=65536)?;
        if !monitor.ring_buffer_kib.is_power_of_two() {
            return Err(Problem::of(
                "monitor.ring_buffer_kib",
                "a power of two is accepted: 64, 128, 256, …",
            ));
        }
        if monitor.open_files != 0 {
            within("monitor.open_files", monitor.open_files, 256..=1_048_576)?;
        }
        within("database.retention_days", database.retention_days, 1..=36_500)?;
        // The default of one key must not make a smaller value of the other wrong. The shipped file says it, so
        // nobody can tell whether somebody chose it.
        if database.detail_days != Database::default().detail_days {
            within("database.detail_days", database.detail_days, 1..=database.retention_days)?;
        }
        within("database.write_interval_seconds", database.write_interval_seconds, 1..=3600)?;
        within("virustotal.request_interval_seconds", virustotal.request_interval_seconds, 1..=86_400)?;
        for hash in &log.ignore.sha256 {
            if hash.len() != 64 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(Problem::of(
                    "log.ignore.sha256",
                    format!("{hash:?} is not 64 hexadecimal digits"),
                ));
            }
        }
        for domain in &log.ignore.domains {
            let label = |label: &str| {
                !label.is_empty()
                    && label.len() <= 63
                    && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
            };
            if domain.len() > 253 || !domain.split('.').all(label) {
                let mut problem =
                    Problem::of("log.ignore.domains", format!("{domain:?} is not a domain name"));
                if domain.contains('*') {
                    problem.hint = Some("a name stands for its subdomains too: leave out the *".to_owned());
                }
                return Err(problem);
            }
        }
        if log.ignore.ports.contains(&0) {
            return Err(Problem::of("log.ignore.ports", "0 is no port; 1 to 65535 is accepted"));
        }
        if let Some(name) = log.ignore.names.iter().find(|name| name.is_empty() || name.len() > NAME) {
            let mut problem =
                Problem::of("log.ignore.names", format!("a name has 1 to {NAME} bytes; {name:?} is none"));
            if name.len() > NAME {
                problem.hint =
                    Some(format!("the kernel keeps so many: {:?}", &name[..name.floor_char_boundary(NAME)]));
            }
            return Err(problem);
        }
        if !remote.url.is_empty()
            && !["postgresql://", "postgres://", "mysql://", "mariadb://"]
                .iter()
                .any(|scheme| remote.url.starts_with(scheme))
        {
            // The value is a secret and stays out of the message.
            return Err(Problem::of("remote.url", "begins with postgresql://, mysql:// or mariadb://"));
        }
        outside::check(remote, virustotal)?;
        within("remote.outbox_mib", remote.outbox_mib, 1..=65_536)?;
        Ok(())
    }

    /// Days of single connections, never more than the history has.
    #[must_use]
    pub fn detail_days(&self) -> u32 {
        self.database.detail_days.min(self.database.retention_days)
    }
}

/// Whether the daemon would take this file. One that is not there is no settings file.
///
/// # Errors
/// [`Error::Read`], [`Error::File`].
pub fn check(path: &Path) -> Result<(), Error> {
    let text = read(path)?.ok_or_else(|| Error::Read {
        path: path.to_owned(),
        source: std::io::Error::from(std::io::ErrorKind::NotFound),
    })?;
    Settings::parse(&text, path).map(drop)
}

/// Bytes of a process's name (TASK_COMM_LEN without its end).
const NAME: usize = 15;
/// Largest file that is read, bytes.
const LARGEST: u64 = 1024 * 1024;

/// All of a regular file. Whatever else has that name is refused without waiting for it.
fn bytes_of(path: &Path) -> std::io::Result<Vec<u8>> {
    let refused = |why: String| std::io::Error::new(std::io::ErrorKind::InvalidInput, why);
    let regular = |meta: &std::fs::Metadata| {
        if meta.is_file() { Ok(()) } else { Err(refused("it is not a regular file".to_owned())) }
    };
    // Before it is opened: opening some devices does something.
    regular(&std::fs::metadata(path)?)?;
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    regular(&file.metadata()?)?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(refused(format!("it is larger than {} MiB, which no settings are", LARGEST >> 20)));
    }
    Ok(bytes)
}

/// The file's text; `None` if there is no file.
fn read(path: &Path) -> Result<Option<String>, Error> {
    let bytes = match bytes_of(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::Read { path: path.to_owned(), source }),
    };
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(&error.as_bytes()[..good]);
            let (line, column) = position(&text, good);
            let problem = Problem {
                key: None,
                message: "the file is not UTF-8 text".to_owned(),
                hint: Some("save it as UTF-8".to_owned()),
            };
            Err(Error::File { path: path.to_owned(), line, column, problem })
        }
    }
}

/// Line and column of a byte offset, from 1.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}
