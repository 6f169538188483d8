// SPDX-License-Identifier: GPL-3.0-or-later
//! What travels between the stages of the pipeline. Names and paths are bytes, as the kernel has them:
//! hostile until shown otherwise, and made text only at the edge (`serve`, text logs).

use std::net::IpAddr;
use std::sync::Arc;

use picosnitch_api::Incident;

/// Shared bytes.
pub type Bytes = Arc<[u8]>;

/// Identity of a process: a pid alone is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ProcessId {
    /// Thread-group id in the initial pid namespace.
    pub tgid: u32,
    /// How many times this process (and those it was forked from) called exec.
    pub exec_id: u32,
    /// Start of the leader, CLOCK_BOOTTIME ns.
    pub start: u64,
}

/// Identity of a file as the kernel has it in use. Equal inode addresses mean the same file as long as
/// somebody keeps it in use: a process that runs it, or a descriptor of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FileId {
    /// Address of the inode; 0 if there is no file (a kernel thread).
    pub inode: u64,
    /// `i_ino`.
    pub ino: u64,
    /// `s_dev` in the kernel's encoding, major << 20 | minor.
    pub dev: u32,
    /// `i_generation`.
    pub generation: u32,
}

/// A process as the kernel described it at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Process {
    /// Which.
    pub id: ProcessId,
    /// Real uid in the initial user namespace.
    pub uid: u32,
    /// Effective uid.
    pub euid: u32,
    /// Mount namespace, inode number.
    pub mntns: u32,
    /// It is a thread of the kernel and runs no file.
    pub kernel: bool,
    /// What it runs.
    pub file: FileId,
    /// The leader's `comm`, up to its NUL.
    pub comm: Vec<u8>,
}

/// Content of a file, or why it is not known. There is no third.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hash {
    /// SHA-256 of the whole file.
    Known([u8; 32]),
    /// Not known, and why.
    Unknown(Gap),
}

/// Why a hash is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Gap {
    /// Not finished yet; in rows: not by the time at which they could wait no longer.
    Pending,
    /// The process was gone before its executable could be opened.
    Exited,
    /// The file cannot be opened or read by root (FUSE, for instance).
    Unreadable,
    /// The file was written to while it was read, again and again.
    Changing,
    /// A thread of the kernel runs no file.
    Kernel,
    /// No file descriptor or no memory was left.
    Resources,
}

impl Gap {
    /// The word for it in rows and in the database; never changed once released.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Gap::Pending => "pending",
            Gap::Exited => "exited",
            Gap::Unreadable => "unreadable",
            Gap::Changing => "changing",
            Gap::Kernel => "kernel",
            Gap::Resources => "resources",
        }
    }

    /// All of them.
    pub const ALL: [Gap; 6] =
        [Gap::Pending, Gap::Exited, Gap::Unreadable, Gap::Changing, Gap::Kernel, Gap::Resources];
}

/// Reads 64 hexadecimal digits.
#[must_use]
pub fn sha256(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}

impl Hash {
    /// Hexadecimal, lower case; `None` while unknown.
    #[must_use]
    pub fn hex(&self) -> Option<String> {
        use std::fmt::Write as _;
        match self {
            Hash::Known(bytes) => Some(bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            })),
            Hash::Unknown(_) => None,
        }
    }
}

/// Identity of a program, as people think of it: a path, and whether it is a path of this machine or
/// of another mount namespace (a container), where the same path means another file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProgramKey {
    /// Path of the executable without `" (deleted)"`; for a kernel thread `[its name]`.
    pub path: Bytes,
    /// The path is one of another mount namespace.
    pub foreign: bool,
}

/// A program as it ran in one process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Program {
    /// Which.
    pub key: ProgramKey,
    /// The leader's `comm`.
    pub name: Bytes,
    /// Content of the executable.
    pub hash: Hash,
    /// Arguments joined by spaces, at most 4096 bytes; `None` if they could not be read.
    pub cmdline: Option<Bytes>,
    /// Script that the executable interprets, with its content.
    pub script: Option<(Bytes, Hash)>,
}

/// Where a domain name came from, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NameSource {
    /// The process asked libc for this name.
    Getaddrinfo,
    /// A DNS answer that reached this process.
    Dns,
    /// A DNS answer that reached another process of the same network namespace.
    DnsNetns,
}

impl NameSource {
    /// The word for it in rows and in the database.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            NameSource::Getaddrinfo => "getaddrinfo",
            NameSource::Dns => "dns",
            NameSource::DnsNetns => "dns-netns",
        }
    }
}

/// A transport protocol as rows name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// IP protocol number.
    Ip(u16),
    /// AF_PACKET.
    Packet,
    /// Not traffic: a program was started (`monitor.every_executable`).
    Exec,
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Protocol::Ip(1) => f.write_str("icmp"),
            Protocol::Ip(6) => f.write_str("tcp"),
            Protocol::Ip(17) => f.write_str("udp"),
            Protocol::Ip(58) => f.write_str("icmpv6"),
            Protocol::Ip(132) => f.write_str("sctp"),
            Protocol::Ip(136) => f.write_str("udplite"),
            Protocol::Ip(262) => f.write_str("mptcp"),
            Protocol::Ip(number) => write!(f, "ip-{number}"),
            Protocol::Packet => f.write_str("packet"),
            Protocol::Exec => f.write_str("exec"),
        }
    }
}

/// Who opened the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// This machine's program.
    Out,
    /// The other end.
    In,
}

impl Direction {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Direction::Out => "out",
            Direction::In => "in",
        }
    }
}

/// Everything about a flow that stays the same while it lives. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Who {
    /// The program.
    pub program: Arc<Program>,
    /// Who started it, at the moment of the flow's first use.
    pub parent: Option<Arc<Program>>,
    /// Who started that.
    pub grandparent: Option<Arc<Program>>,
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Real uid.
    pub uid: u32,
    /// Effective uid.
    pub euid: u32,
    /// systemd unit, from the cgroup.
    pub unit: Option<Bytes>,
    /// Container, from the cgroup.
    pub container: Option<Bytes>,
}

/// One flow in one write interval: a row of the connection log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Wall clock of the first byte or attempt in this interval, µs since the epoch.
    pub time: i64,
    /// The same for all intervals of one flow, and for no other flow since the daemon started.
    pub flow: u64,
    /// Who.
    pub who: Who,
    /// Remote name and its source.
    pub domain: Option<(Bytes, NameSource)>,
    /// Local address, where the socket has one.
    pub local: Option<IpAddr>,
    /// Local port, host order.
    pub local_port: Option<u16>,
    /// Remote address, IPv4-mapped ones as IPv4.
    pub remote: Option<IpAddr>,
    /// Remote port, host order; `None` where the protocol has none.
    pub remote_port: Option<u16>,
    /// Interface of a packet socket.
    pub interface: Option<Bytes>,
    /// Protocol.
    pub protocol: Protocol,
    /// Direction.
    pub direction: Direction,
    /// Network namespace of the socket, inode number.
    pub netns: u32,
    /// Bytes sent in this interval.
    pub sent: u64,
    /// Bytes received in this interval.
    pub received: u64,
    /// 1 in the flow's first interval, 0 later: their sum counts connections.
    pub connections: u32,
}

impl Connection {
    /// Who began, and in which network namespace; `None` for a program that was only started, which goes nowhere.
    #[must_use]
    pub fn way(&self) -> Option<(Direction, u32)> {
        (self.protocol != Protocol::Exec).then_some((self.direction, self.netns))
    }
}

/// Whose rows a uid's rows are; see `accounts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owner {
    /// Nobody's login.
    System,
    /// This uid's.
    Person(u32),
}

/// Who knows the program of a notice already, from people whose business is not shown to all who hear of the
/// notice. What somebody is told comes only from what they, or the system, ran.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Before {
    /// Nobody: it is the same news for all who may hear of it.
    #[default]
    Nobody,
    /// These people ran this very content at this path: to them, and to whoever sees everybody, it is no news.
    Same(Vec<u32>),
    /// Somebody else ran this path with other contents, this one last: to whoever sees everybody it has changed.
    Other([u8; 32]),
}

/// Something to tell people; becomes a signal and a row of Events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Number of it, given by `judge`; grows by one.
    pub id: i64,
    /// Wall clock, µs since the epoch.
    pub time: i64,
    /// What happened.
    pub kind: NoticeKind,
    /// To whom it is no news, or other news.
    pub before: Before,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoticeKind {
    /// A program used the network for the first time.
    NewExecutable(Box<Contact>),
    /// A known program has content that was never seen for it.
    HashChanged {
        /// Now.
        contact: Box<Contact>,
        /// The latest content that the same owner, or the system, ran before.
        old: [u8; 32],
    },
    /// Engines of a scanner find the content of a program malicious or suspicious.
    Verdict {
        /// The program.
        suspect: Box<Suspect>,
        /// What they say.
        verdict: Verdict,
    },
    /// The record has a hole, or something needs a person.
    Error {
        /// What it is about.
        kind: Incident,
        /// One sentence: what, how much, what to do.
        message: String,
    },
}

/// What the engines of a scanner say of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdict {
    /// Engines that call it malicious.
    pub malicious: u32,
    /// Engines that call it suspicious.
    pub suspicious: u32,
    /// Engines that looked at it.
    pub total: u32,
    /// When they did, µs since the epoch; 0: not said.
    pub analysed: i64,
}

impl Verdict {
    /// Whether people should know.
    #[must_use]
    pub fn alarms(&self) -> bool {
        self.malicious > 0 || self.suspicious > 0
    }
}

impl std::fmt::Display for Verdict {
    /// `3 of 72 engines (2026-11-22)`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { malicious, suspicious, total, analysed } = self;
        write!(f, "{} of {total} engines", malicious.saturating_add(*suspicious))?;
        if *analysed > 0 {
            let date = crate::record::date_text(*analysed);
            write!(f, " ({date})")?;
        }
        Ok(())
    }
}

/// How a question to a scanner ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan {
    /// Engines have looked at the content.
    Verdict(Verdict),
    /// The scanner does not know the content.
    Unknown,
    /// It is to be asked for again.
    Later {
        /// The scanner has the content.
        sent: bool,
        /// µs since the epoch.
        due: i64,
        /// How often it was asked for since, or sent in vain before.
        tries: u32,
    },
}

/// How a question about this content ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scanned {
    /// Which.
    pub sha256: [u8; 32],
    /// What is known now.
    pub scan: Scan,
    /// The scanner is asked nothing before this, µs since the epoch; 0: at once.
    pub not_before: i64,
}

/// A program, as the history knows it, that a verdict is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspect {
    /// Its number in the history.
    pub who: i64,
    /// Real uid.
    pub uid: u32,
    /// Path of the executable.
    pub path: Bytes,
    /// Name of the process.
    pub name: Bytes,
    /// Content of the executable.
    pub sha256: [u8; 32],
}

/// A program and the first contact that made it news.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// Who.
    pub who: Who,
    /// What the program runs.
    pub file: FileId,
    /// That has lost its name since: it was unlinked, or another file was renamed over it. Not known before the
    /// notice is made.
    pub deleted: bool,
    /// Remote address.
    pub remote: Option<IpAddr>,
    /// Remote port.
    pub remote_port: Option<u16>,
    /// The port that was called; `None` where this program called.
    pub local_port: Option<u16>,
    /// Protocol.
    pub protocol: Protocol,
    /// Who called whom; `None` for an execution.
    pub direction: Option<Direction>,
    /// Remote name and where it came from.
    pub domain: Option<(Bytes, NameSource)>,
}

/// What one caller may see, worked out by `serve::authority` and obeyed by `record`'s reader.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Viewer {
    /// Real uids whose rows the caller may see. Not ordered, may overlap.
    pub rows: Vec<std::ops::RangeInclusive<u32>>,
    /// Real uids whose command lines the caller may see (a part of `rows`).
    pub cmdlines: Vec<std::ops::RangeInclusive<u32>>,
}

impl Viewer {
    /// Sees everything (root, the daemon itself).
    #[must_use]
    pub fn everything() -> Self {
        Viewer { rows: vec![0..=u32::MAX], cmdlines: vec![0..=u32::MAX] }
    }

    /// Whether rows of this uid are shown.
    #[must_use]
    pub fn sees(&self, uid: u32) -> bool {
        self.rows.iter().any(|range| range.contains(&uid))
    }

    /// Whether rows of all uids are shown.
    #[must_use]
    pub fn sees_everybody(&self) -> bool {
        self.rows.contains(&(0..=u32::MAX))
    }
}

/// Why a daemon ended in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was stopped, and the machine went on.
    Alone,
    /// The machine went down.
    WithMachine,
    /// One of these.
    Unknown,
}

/// The end of the daemon before this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Last {
    /// Wall clock until which it watched, or longer if it was killed; µs since the epoch.
    pub through: i64,
    /// Whether the machine has not been started again since; `None`: only the clocks can tell.
    pub same_boot: Option<bool>,
    /// Why it ended; `None`: in disorder.
    pub end: Option<End>,
}

/// What `record` knows when the daemon starts; `judge` decides by it.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Every program and real uid that ran it, with the contents known from that uid, oldest first.
    pub programs: Vec<(ProgramKey, u32, Vec<[u8; 32]>)>,
    /// Number of the next notice.
    pub next_notice: i64,
    /// What the daemon before this one has left; `None` if there was none.
    pub last: Option<Last>,
    /// Flows that it had open then, as [`crate::record::Recorder::submit_through`] got them; none if the machine
    /// has started since.
    pub open_flows: Vec<u64>,
}
