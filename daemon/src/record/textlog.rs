// SPDX-License-Identifier: GPL-3.0-or-later
//! The text logs beside the database: `exe.log` (notices about programs), `error.log`, and `conn.log` (every
//! row, CSV). Names come from hostile programs: each is one inert word on one line. A file that is not a
//! plain file with one name is refused; a rotated one is opened anew. What a full disk does not take waits, up to a
//! limit, and no line is left half written.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::queue::Urgent;
use super::{Settings, Trouble, database, dimension};
use crate::model::{Before, Connection, Contact, Hash, Notice, NoticeKind, Program};

/// What waits for one file, bytes. Whole lines beyond it are dropped and counted.
const WAITING: usize = 1 << 20;
/// Notices whose hash may still come; the oldest goes.
const HASHLESS: usize = 4096;

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
    /// Whole lines that could not be written yet, or the rest of the first one.
    waiting: String,
    /// Lines that nothing was left to wait for.
    dropped: u64,
}

/// All three.
pub(super) struct TextLogs {
    directory: PathBuf,
    executables: Log,
    errors: Log,
    connections: Log,
    /// Notices in `exe.log` that have no hash.
    hashless: BTreeSet<i64>,
}

impl TextLogs {
    pub(super) fn new(directory: &Path) -> Self {
        let log = |name: &str, header| Log {
            path: directory.join(name),
            header,
            file: None,
            told: false,
            waiting: String::new(),
            dropped: 0,
        };
        TextLogs {
            directory: directory.to_owned(),
            executables: log("exe.log", ""),
            errors: log("error.log", ""),
            connections: log("conn.log", HEADER),
            hashless: BTreeSet::new(),
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
            match urgent {
                Urgent::Notice(notice) => match &notice.kind {
                    NoticeKind::Error { kind, message } => {
                        let (time, message) = (time_text(notice.time), inert(message.as_bytes()));
                        errors.push_str(&format!("{time} {kind} {message}\n"));
                    }
                    // The log is for those who see everybody.
                    _ if matches!(notice.before, Before::Same(_)) => {}
                    _ => {
                        self.await_hash(notice);
                        executables.push_str(&notice_text(notice, settings));
                    }
                },
                Urgent::Hash(id, hash, old) => {
                    if self.hashless.remove(id) {
                        let (time, hash) = (time_text(super::writer::now()), hash_words(hash));
                        let old = old.map_or(String::new(), |old| {
                            format!(" old_sha256={}", hash_text(&Hash::Known(old)))
                        });
                        executables.push_str(&format!("{time} hash {hash}{old} event={id}\n"));
                    }
                }
                Urgent::Scan(..) => {}
            }
        }
        if settings.log_connections {
            for row in rows {
                connections.push_str(&row_text(row, settings));
            }
        }
        let directory = &self.directory;
        let logs = [
            (&mut self.executables, executables),
            (&mut self.errors, errors),
            (&mut self.connections, connections),
        ];
        logs.into_iter().filter_map(|(log, text)| log.append(directory, &text)).collect()
    }

    fn await_hash(&mut self, notice: &Notice) {
        if let NoticeKind::NewExecutable(contact) = &notice.kind
            && let Hash::Unknown(_) = contact.who.program.hash
        {
            self.hashless.insert(notice.id);
            if self.hashless.len() > HASHLESS {
                self.hashless.pop_first();
            }
        }
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
        let waiting = std::mem::take(&mut self.waiting);
        let text = if waiting.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(waiting + text) };
        if text.is_empty() {
            return None;
        }
        match self.try_append(directory, &text) {
            Ok(()) => {
                self.told = false;
                let lines = std::mem::take(&mut self.dropped);
                (lines > 0).then(|| Trouble::TextLogLost { path: self.path.clone(), lines })
            }
            Err((written, error)) => {
                self.file = None;
                self.keep(&text[text.ceil_char_boundary(written)..]);
                let said = std::mem::replace(&mut self.told, true);
                (!said).then(|| Trouble::TextLog { path: self.path.clone(), reason: error.to_string() })
            }
        }
    }

    /// As many whole lines as may wait; the oldest, which come first in the file.
    fn keep(&mut self, text: &str) {
        let most = text.floor_char_boundary(WAITING);
        let end =
            if text.len() <= WAITING { text.len() } else { text[..most].rfind('\n').map_or(0, |at| at + 1) };
        self.waiting = text[..end].to_owned();
        self.dropped += text[end..].bytes().filter(|byte| *byte == b'\n').count() as u64;
    }

    /// All of it or nothing, where the file lets itself be cut; else with the error how much of it is there.
    fn try_append(&mut self, directory: &Path, text: &str) -> Result<(), (usize, io::Error)> {
        let nothing = |error| (0, error);
        if self.file.as_ref().is_some_and(|file| !self.is_current(file)) {
            self.file = None;
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(open(&self.path, directory).map_err(nothing)?),
        };
        let before = file.metadata().map_err(nothing)?.len();
        let header = if before == 0 { self.header } else { "" };
        let (mut written, mut outcome) = put(file, header.as_bytes());
        if outcome.is_ok() {
            let (more, then) = put(file, text.as_bytes());
            (written, outcome) = (written + more, then);
        }
        let Err(error) = outcome else { return Ok(()) };
        // Not if somebody else wrote or cut meanwhile, nor where the file may only grow (chattr +a).
        let ours = file.metadata().is_ok_and(|now| now.len() == before + written as u64);
        if ours && file.set_len(before).is_ok() {
            return Err((0, error));
        }
        Err((written.saturating_sub(header.len()), error))
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
}

/// Writes until the file takes no more; how much that was.
fn put(file: &mut File, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return (written, Err(io::Error::from(io::ErrorKind::WriteZero))),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

/// Opens a log in this directory. Neither may be a link.
fn open(path: &Path, directory: &Path) -> io::Result<File> {
    database::directory(directory, 0o700).map_err(|error| io::Error::other(error.to_string()))?;
    let flags = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let folder = nix::fcntl::open(directory, flags | OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty())
        .map_err(|error| match error {
            nix::Error::ENOTDIR | nix::Error::ELOOP => {
                refused("its folder is a symbolic link; remove it, or name with --log-dir what it leads to")
            }
            error => error.into(),
        })?;
    let name = path.file_name().unwrap_or_default();
    let flags = flags | OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT;
    let file = openat(&folder, name, flags, Mode::S_IRUSR | Mode::S_IWUSR).map_err(|error| match error {
        nix::Error::ELOOP => refused("it is a symbolic link; remove it"),
        nix::Error::ENXIO => refused("it is not a regular file; remove it"),
        error => error.into(),
    })?;
    let file = File::from(file);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(refused("it is not a regular file; remove it"));
    }
    if metadata.nlink() != 1 {
        return Err(refused("the file has more than one name (hard links); remove it"));
    }
    Ok(file)
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

/// A line about a program, as those who see everybody are told of it.
fn notice_text(notice: &Notice, settings: &Settings) -> String {
    let time = time_text(notice.time);
    let id = notice.id;
    let changed = |contact: &Contact, old: [u8; 32]| {
        let old = hash_text(&Hash::Known(old));
        format!("{time} hash-changed {} old_sha256={old} event={id}\n", contact_text(contact, settings))
    };
    match (&notice.kind, &notice.before) {
        (NoticeKind::NewExecutable(contact), Before::Other(old)) => changed(contact, *old),
        (NoticeKind::NewExecutable(contact), _) => {
            format!("{time} new-executable {} event={id}\n", contact_text(contact, settings))
        }
        (NoticeKind::HashChanged { contact, old }, _) => changed(contact, *old),
        (NoticeKind::Verdict { suspect, verdict }, _) => format!(
            "{time} verdict path={} name={} sha256={} uid={} verdict=\"{verdict}\" event={id}\n",
            quoted(&suspect.path),
            quoted(&suspect.name),
            hash_text(&Hash::Known(suspect.sha256)),
            suspect.uid,
        ),
        (NoticeKind::Error { .. }, _) => String::new(),
    }
}

/// The hash, or why there is none.
fn hash_words(hash: &Hash) -> String {
    match hash {
        Hash::Known(_) => format!("sha256={}", hash_text(hash)),
        Hash::Unknown(gap) => format!("sha256= sha256_unknown={}", gap.word()),
    }
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
    put("file_deleted", contact.deleted.then(|| "true".to_owned()));
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
