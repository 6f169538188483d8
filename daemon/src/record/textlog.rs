// SPDX-License-Identifier: GPL-3.0-or-later
//! The text logs beside the database: `exe.log` (notices about programs), `error.log`, and `conn.log` (every
//! row, CSV). Names come from hostile programs: each is one inert word on one line. A file that is not a
//! plain file with one name is refused; a rotated one is opened anew.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::queue::Urgent;
use super::{Settings, Trouble, database, dimension};
use crate::model::{Before, Connection, Contact, Hash, NoticeKind, Program};

/// Header of `conn.log`: the fields that the originals had, then ours.
const HEADER: &str = "executable,name,cmdline,sha256,time,domain,ip,port,uid,parent_exe,parent_name,parent_cmdline,\
parent_sha256,conns,sent,received,pid,grandparent_exe,grandparent_name,grandparent_cmdline,grandparent_sha256,protocol,\
direction,local_ip,local_port,interface,netns,unit,container,domain_source\n";

/// One log file.
struct Log {
    path: PathBuf,
    header: &'static str,
    file: Option<File>,
    /// Writing it failed and that was said.
    told: bool,
}

/// All three.
pub(super) struct TextLogs {
    directory: PathBuf,
    executables: Log,
    errors: Log,
    connections: Log,
}

impl TextLogs {
    pub(super) fn new(directory: &Path) -> Self {
        let log = |name: &str, header| Log { path: directory.join(name), header, file: None, told: false };
        TextLogs {
            directory: directory.to_owned(),
            executables: log("exe.log", ""),
            errors: log("error.log", ""),
            connections: log("conn.log", HEADER),
        }
    }

    /// Appends what was just committed; gives what went wrong, once per file until it works again.
    pub(super) fn write<'a>(
        &mut self,
        rows: &[Connection],
        urgent: impl Iterator<Item = &'a Urgent>,
        settings: &Settings,
    ) -> Vec<Trouble> {
        let (mut executables, mut errors, mut connections) = (String::new(), String::new(), String::new());
        for urgent in urgent {
            let Urgent::Notice(notice) = urgent else { continue };
            if matches!(notice.before, Before::Same(_)) {
                // The log is for those who see everybody.
                continue;
            }
            let time = time_text(notice.time);
            match &notice.kind {
                NoticeKind::NewExecutable(contact) => {
                    executables
                        .push_str(&format!("{time} new-executable {}\n", contact_text(contact, settings)));
                }
                NoticeKind::HashChanged { contact, old } => {
                    let old = Hash::Known(*old).hex().unwrap_or_default();
                    executables.push_str(&format!(
                        "{time} hash-changed {} old_sha256={old}\n",
                        contact_text(contact, settings)
                    ));
                }
                NoticeKind::Verdict { suspect, verdict } => {
                    let sha256 = hash_text(&Hash::Known(suspect.sha256));
                    executables.push_str(&format!(
                        "{time} verdict path={} name={} sha256={sha256} uid={} verdict=\"{verdict}\"\n",
                        quoted(&suspect.path),
                        quoted(&suspect.name),
                        suspect.uid,
                    ));
                }
                NoticeKind::Error { kind, message } => {
                    errors.push_str(&format!("{time} {kind} {}\n", inert(message.as_bytes())));
                }
            }
        }
        if settings.log_connections {
            for row in rows {
                connections.push_str(&row_text(row, settings));
            }
        }
        let mut troubles = Vec::new();
        let directory = &self.directory;
        for (log, text) in [
            (&mut self.executables, executables),
            (&mut self.errors, errors),
            (&mut self.connections, connections),
        ] {
            if !text.is_empty() {
                troubles.extend(log.append(directory, &text));
            }
        }
        troubles
    }

    /// Puts what was written on the disk.
    pub(super) fn sync(&self) {
        for log in [&self.executables, &self.errors, &self.connections] {
            if let Some(file) = &log.file {
                let _ = file.sync_all();
            }
        }
    }
}

impl Log {
    fn append(&mut self, directory: &Path, text: &str) -> Option<Trouble> {
        match self.try_append(directory, text) {
            Ok(()) => {
                self.told = false;
                None
            }
            Err(error) => {
                self.file = None;
                let said = std::mem::replace(&mut self.told, true);
                (!said).then(|| Trouble::TextLog { path: self.path.clone(), reason: error.to_string() })
            }
        }
    }

    fn try_append(&mut self, directory: &Path, text: &str) -> io::Result<()> {
        if self.file.as_ref().is_some_and(|file| !self.is_current(file)) {
            self.file = None;
        }
        if self.file.is_none() {
            self.file = Some(self.open(directory)?);
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        if !self.header.is_empty() && file.metadata()?.len() == 0 {
            file.write_all(self.header.as_bytes())?;
        }
        file.write_all(text.as_bytes())
    }

    /// Whether the name still leads to the open file, and nobody gave it a second name.
    fn is_current(&self, file: &File) -> bool {
        match (file.metadata(), std::fs::symlink_metadata(&self.path)) {
            (Ok(open), Ok(named)) => {
                open.dev() == named.dev() && open.ino() == named.ino() && open.nlink() == 1
            }
            _ => false,
        }
    }

    fn open(&self, directory: &Path) -> io::Result<File> {
        database::directory(directory, 0o700).map_err(|error| io::Error::other(error.to_string()))?;
        let flags = nix::libc::O_NOFOLLOW | nix::libc::O_CLOEXEC | nix::libc::O_NONBLOCK;
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o640)
            .custom_flags(flags)
            .open(&self.path)
            .map_err(|error| match error.raw_os_error() {
                Some(nix::libc::ELOOP) => refused("it is a symbolic link; remove it"),
                Some(nix::libc::ENXIO) => refused("it is not a regular file; remove it"),
                _ => error,
            })?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(refused("it is not a regular file; remove it"));
        }
        if metadata.nlink() != 1 {
            return Err(refused("the file has more than one name (hard links); remove it"));
        }
        // Readable for the group that reads logs; only root may give files away, and only new files need it.
        if metadata.len() == 0
            && let Ok(Some(group)) = nix::unistd::Group::from_name("adm")
        {
            let _ = nix::unistd::fchown(&file, None, Some(group.gid));
            let _ = nix::unistd::chown(directory, None, Some(group.gid));
        }
        Ok(file)
    }
}

fn refused(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

/// Text that stays on its line and changes nothing on a terminal: control, bidirectional and invisible
/// characters and bytes that are not UTF-8 are written as escapes.
pub(super) fn inert(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}' => {
                    let _ = write!(text, "\\u{{{:x}}}", u32::from(character));
                }
                character if character.is_control() => {
                    let _ = write!(text, "\\u{{{:x}}}", u32::from(character));
                }
                character => text.push(character),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// One cell of CSV: quoted where it must be, and never a formula.
pub(super) fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']) && text.parse::<f64>().is_err();
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    if text.contains(['"', ',', '\n', '\r', '\'', ' ', ';', '\t']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

/// UTC, like `2026-11-22T05:16:16.123456Z`.
pub(super) fn time_text(time: i64) -> String {
    let (seconds, micros) = (time.div_euclid(1_000_000), time.rem_euclid(1_000_000));
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days since 0000-03-01, in eras of 400 years.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{micros:06}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

fn hash_text(hash: &Hash) -> String {
    hash.hex().unwrap_or_default()
}

fn quoted(bytes: &[u8]) -> String {
    format!("\"{}\"", inert(bytes).replace('"', "\\\""))
}

fn contact_text(contact: &Contact, settings: &Settings) -> String {
    let program = &contact.who.program;
    let mut text = format!(
        "path={} name={} sha256={} uid={}",
        quoted(&program.key.path),
        quoted(&program.name),
        hash_text(&program.hash),
        contact.who.uid
    );
    let mut put = |word: &str, value: Option<String>| {
        if let Some(value) = value {
            text.push_str(&format!(" {word}={value}"));
        }
    };
    if let Hash::Unknown(gap) = program.hash {
        put("sha256_unknown", Some(gap.word().to_owned()));
    }
    put("foreign_root", program.key.foreign.then(|| "true".to_owned()));
    put("cmdline", program.cmdline.as_ref().filter(|_| settings.commands).map(|cmdline| quoted(cmdline)));
    put("parent", contact.who.parent.as_ref().map(|parent| quoted(&parent.key.path)));
    put("domain", contact.domain.as_ref().filter(|_| settings.addresses).map(|(name, _)| quoted(name)));
    let source =
        contact.domain.as_ref().filter(|_| settings.addresses).map(|(_, source)| source.word().to_owned());
    put("domain_source", source);
    put("ip", contact.remote.filter(|_| settings.addresses).map(|ip| ip.to_string()));
    put("port", contact.remote_port.filter(|_| settings.ports).map(|port| port.to_string()));
    put("protocol", Some(contact.protocol.to_string()));
    put("direction", contact.direction.map(|direction| direction.word().to_owned()));
    put("local_port", contact.local_port.filter(|_| settings.ports).map(|port| port.to_string()));
    text
}

fn row_text(row: &Connection, settings: &Settings) -> String {
    let mut cells: Vec<String> = Vec::with_capacity(30);
    let bytes = |bytes: Option<&[u8]>| bytes.map(|bytes| cell(&inert(bytes))).unwrap_or_default();
    let cmdline = |program: Option<&Program>| {
        bytes(program.and_then(|p| p.cmdline.as_deref()).filter(|_| settings.commands))
    };
    let path = |program: Option<&Program>| bytes(program.map(|program| &*program.key.path));
    let name = |program: Option<&Program>| bytes(program.map(|program| &*program.name));
    let sha256 =
        |program: Option<&Program>| program.map(|program| hash_text(&program.hash)).unwrap_or_default();
    let ip = |ip: Option<std::net::IpAddr>| {
        ip.filter(|_| settings.addresses).map(|ip| ip.to_string()).unwrap_or_default()
    };
    let port =
        |port: Option<u16>| port.filter(|_| settings.ports).map(|port| port.to_string()).unwrap_or_default();
    let program = Some(row.who.program.as_ref());
    let (parent, grandparent) = (row.who.parent.as_deref(), row.who.grandparent.as_deref());
    let domain = row.domain.as_ref().filter(|_| settings.addresses);
    cells.extend([path(program), name(program), cmdline(program), sha256(program), time_text(row.time)]);
    cells.extend([
        bytes(domain.map(|(domain, _)| &**domain)),
        ip(row.remote),
        port(row.remote_port),
        row.who.uid.to_string(),
    ]);
    cells.extend([path(parent), name(parent), cmdline(parent), sha256(parent)]);
    cells.extend([
        row.connections.to_string(),
        row.sent.to_string(),
        row.received.to_string(),
        row.who.pid.to_string(),
    ]);
    cells.extend([path(grandparent), name(grandparent), cmdline(grandparent), sha256(grandparent)]);
    cells.extend([
        row.protocol.to_string(),
        row.way().map(|(direction, _)| direction.word().to_owned()).unwrap_or_default(),
        ip(row.local),
        port(row.local_port),
    ]);
    let netns = row.way().map(|(_, netns)| netns.to_string()).unwrap_or_default();
    cells.extend([bytes(row.interface.as_deref()), netns]);
    cells.extend([bytes(row.who.unit.as_deref()), bytes(row.who.container.as_deref())]);
    cells.push(
        domain
            .and_then(|(_, source)| dimension::source_word(dimension::source(*source)))
            .unwrap_or_default()
            .to_owned(),
    );
    let mut line = cells.join(",");
    line.push('\n');
    line
}

#[cfg(test)]
#[path = "textlog/tests.rs"]
mod tests;
