// SPDX-License-Identifier: GPL-3.0-or-later
//! Loads and attaches the kernel side. What works is found by trying, never by the kernel's version.
//!
//! Results of sends and receives are told by tracepoints, or where the kernel has none (before 6.3) by
//! programs at the return of the functions below them: see [`Way`]. All else is the same.

use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use libbpf_rs::skel::{OpenSkel as _, SkelBuilder as _};
use libbpf_rs::{Link, OpenObject, OpenProgramMut, ProgramMut, RingBuffer, RingBufferBuilder, UprobeOpts};
use picosnitch_bpf::skeleton::{OpenPicosnitchSkel, PicosnitchSkel, PicosnitchSkelBuilder};
use rustix::fs::{Access, AtFlags};

use super::identify::Identify;
use super::{Degradation, Slots};

/// Why nothing can be captured. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel does not describe its types.
    #[error(
        "this kernel has no BTF (/sys/kernel/btf/vmlinux is missing): use a kernel built with \
         CONFIG_DEBUG_INFO_BTF=y, as distributions do"
    )]
    NoBtf,
    /// In a PID namespace: the kernel side speaks of processes by the machine's numbers.
    #[error(
        "picosnitchd runs in a PID namespace of its own (a container?), where processes have other numbers than the \
         kernel tells: start it on the machine itself, or with the machine's processes (podman or docker: --pid=host)"
    )]
    Enclosed,
    /// Not allowed to load programs.
    #[error(
        "the kernel refuses BPF programs to this process ({0}): run picosnitchd as root with CAP_BPF, \
         CAP_PERFMON, CAP_NET_ADMIN and CAP_SYS_ADMIN"
    )]
    NotPermitted(libbpf_rs::Error),
    /// A program that everything stands on does not load or attach.
    #[error(
        "this kernel does not offer what picosnitch counts by: {program} ({source}); Linux 6.1 or newer is \
         needed"
    )]
    Unsupported {
        /// Which program.
        program: String,
        /// The kernel's answer.
        source: libbpf_rs::Error,
    },
    /// A map could not be set up.
    #[error("the kernel side could not be set up ({what}): {source}")]
    Setup {
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        source: libbpf_rs::Error,
    },
}

/// Inode number of the machine's own PID namespace: PROC_PID_INIT_INO of linux/proc_ns.h.
const INIT_PID_NAMESPACE: u64 = 0xefff_fffc;

/// How the results of sends and receives are learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// `sock_send_length` and `sock_recv_length`, since Linux 6.3.
    Tracepoints,
    /// The return of `inet_sendmsg` and its like: `bpf/src/older.bpf.c`.
    Returns,
}

impl Way {
    /// One word, for users.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Way::Tracepoints => "tracepoint",
            Way::Returns => "fexit",
        }
    }

    fn programs(self) -> &'static [&'static str] {
        match self {
            Way::Tracepoints => &["sock_send", "sock_recv"],
            Way::Returns => &[
                "older_send4",
                "older_send6",
                "older_send_page",
                "older_send_packet",
                "older_receive4",
                "older_receive6",
                "older_receive_raw6",
                "older_receive_packet",
            ],
        }
    }

    fn other(self) -> Way {
        match self {
            Way::Tracepoints => Way::Returns,
            Way::Returns => Way::Tracepoints,
        }
    }
}

/// Programs that can be left out, with what the record then lacks.
const OPTIONAL: [(&str, &str); 18] = [
    ("older_send6", "what is sent over IPv6 is not counted"),
    ("older_receive6", "what is received over IPv6 is not counted"),
    ("older_send_page", "what sendfile and splice send is not counted"),
    ("older_receive_raw6", "what raw IPv6 sockets receive is not counted"),
    ("older_send_packet", "frames sent by packet sockets are not recorded"),
    ("older_receive_packet", "frames received by packet sockets are not recorded"),
    ("process_fork", "forks are not seen, ancestry may have holes"),
    ("process_exit", "exits are not seen, memory is given back later"),
    ("datagram_copied", "senders of raw and ICMP datagrams are not recorded"),
    ("packet_out", "peers of raw and ICMP sockets are not recorded"),
    ("packet_in", "names from DNS answers are not recorded"),
    ("send_to4", "peers of unconnected UDP sockets may be missing"),
    ("send_to6", "peers of unconnected UDP sockets may be missing over IPv6"),
    ("receive_from4", "senders to unconnected UDP sockets are not recorded"),
    ("receive_from6", "senders to unconnected UDP sockets are not recorded over IPv6"),
    ("sock_released", "the end of connections is seen late"),
    ("getaddrinfo_called", "names that programs ask libc for are not recorded"),
    ("getaddrinfo_returned", "names that programs ask libc for are not recorded"),
];

/// The loaded kernel side. Everything is detached and freed when it is dropped.
pub struct Engine {
    skel: PicosnitchSkel<'static>,
    links: Vec<Link>,
    /// How it counts.
    pub way: Way,
    /// What does not work here.
    pub degradations: Vec<Degradation>,
}

fn opened() -> Result<OpenPicosnitchSkel<'static>, libbpf_rs::Error> {
    // Lives as long as the daemon; the skeleton wants a place that outlives it.
    let place: &'static mut MaybeUninit<OpenObject> = Box::leak(Box::new(MaybeUninit::uninit()));
    PicosnitchSkelBuilder::default().open(place)
}

fn open_programs<'a>(
    skel: &'a mut OpenPicosnitchSkel<'static>,
) -> impl Iterator<Item = OpenProgramMut<'a>> + use<'a> {
    skel.open_object_mut().progs_mut()
}

fn load(way: Way, without: &[&str], ring_bytes: u32) -> Result<PicosnitchSkel<'static>, libbpf_rs::Error> {
    let mut open = opened()?;
    open.maps.events.set_max_entries(ring_bytes)?;
    for mut program in open_programs(&mut open) {
        let named = |names: &[&str]| names.iter().any(|name| program.name() == *name);
        let (wanted, unwanted) = (named(way.programs()), named(way.other().programs()) || named(without));
        if unwanted || wanted {
            program.set_autoload(!unwanted);
        }
    }
    open.load()
}

/// The mount point of the cgroup v2 hierarchy, from the text of `/proc/self/mountinfo`. The one that shows
/// the root of the hierarchy wins.
#[must_use]
pub fn cgroup_mount(mountinfo: &str) -> Option<PathBuf> {
    let mut found = None;
    for line in mountinfo.lines() {
        let Some((mount, rest)) = line.split_once(" - ") else { continue };
        if !rest.starts_with("cgroup2 ") {
            continue;
        }
        let mut fields = mount.split(' ');
        let (root, point) = (fields.nth(3), fields.next());
        let Some(point) = point else { continue };
        if root == Some("/") {
            return Some(PathBuf::from(point));
        }
        found.get_or_insert_with(|| PathBuf::from(point));
    }
    found
}

/// The libc that this process itself runs with, from the text of `/proc/self/maps`.
fn libc_path(maps: &str) -> Option<&Path> {
    maps.lines().filter_map(|line| line.split_ascii_whitespace().nth(5)).map(Path::new).find(|path| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("libc.so."))
    })
}

impl Engine {
    /// Loads and attaches.
    ///
    /// # Errors
    /// Those of [`Engine::load`] and [`Engine::attach`].
    pub fn start(ring_kib: u32) -> Result<Engine, Error> {
        let mut engine = Engine::load(ring_kib)?;
        engine.attach()?;
        Ok(engine)
    }

    /// Loads what the kernel takes. `ring_kib` is rounded up to a power of two. Nothing is captured yet.
    ///
    /// # Errors
    /// When nothing useful can be captured; the message says what to do.
    pub fn load(ring_kib: u32) -> Result<Engine, Error> {
        libbpf_rs::set_print(Some((libbpf_rs::PrintLevel::Debug, |level, text| {
            let text = text.trim_end();
            match level {
                libbpf_rs::PrintLevel::Debug => tracing::trace!(target: "libbpf", "{text}"),
                _ => tracing::debug!(target: "libbpf", "{text}"),
            }
        })));
        if !Path::new("/sys/kernel/btf/vmlinux").exists() {
            return Err(Error::NoBtf);
        }
        if std::fs::metadata("/proc/self/ns/pid").is_ok_and(|own| own.ino() != INIT_PID_NAMESPACE) {
            return Err(Error::Enclosed);
        }
        let ring_bytes = ring_kib.clamp(64, 1 << 20).next_power_of_two().saturating_mul(1024);
        let mut degradations = Vec::new();
        let (way, skel) = match load(Way::Tracepoints, &[], ring_bytes) {
            Ok(skel) => (Way::Tracepoints, skel),
            Err(error) if error.kind() == libbpf_rs::ErrorKind::PermissionDenied && !may_load() => {
                return Err(Error::NotPermitted(error));
            }
            Err(_) => match load(Way::Returns, &[], ring_bytes) {
                Ok(skel) => (Way::Returns, skel),
                Err(_) => Self::load_what_works(ring_bytes, &mut degradations)?,
            },
        };
        Ok(Engine { skel, links: Vec::new(), way, degradations })
    }

    /// The slow way, on kernels that refuse the whole: tries each optional program with the required ones.
    fn load_what_works(
        ring_bytes: u32,
        degradations: &mut Vec<Degradation>,
    ) -> Result<(Way, PicosnitchSkel<'static>), Error> {
        let unsupported = |source| Error::Unsupported { program: "the programs that count".into(), source };
        let all: Vec<&str> = OPTIONAL.iter().map(|(name, _)| *name).collect();
        let way = match load(Way::Tracepoints, &all, ring_bytes) {
            Ok(_) => Way::Tracepoints,
            Err(_) => {
                drop(load(Way::Returns, &all, ring_bytes).map_err(unsupported)?);
                Way::Returns
            }
        };
        let mut refused = Vec::new();
        for (name, lacks) in OPTIONAL.into_iter().filter(|(name, _)| !way.other().programs().contains(name)) {
            let without: Vec<&str> = all.iter().copied().filter(|other| *other != name).collect();
            if let Err(error) = load(way, &without, ring_bytes) {
                degradations.push(Degradation::Program { what: lacks, why: error.to_string() });
                refused.push(name);
            }
        }
        load(way, &refused, ring_bytes).map(|skel| (way, skel)).map_err(unsupported)
    }

    /// From here on it captures. Once only.
    ///
    /// # Errors
    /// When a program that everything stands on cannot be attached.
    pub fn attach(&mut self) -> Result<(), Error> {
        // State changes before sends: a connection is known before its first byte.
        let before = ["process_exec", "state_changed", "tcp_received"];
        let after = ["datagram_copied", "process_fork", "process_exit"];
        for name in before.iter().chain(self.way.programs()).chain(&after) {
            self.attach_trace(name)?;
        }
        self.attach_cgroup();
        self.attach_getaddrinfo();
        Ok(())
    }

    fn program(&mut self, name: &str) -> Option<ProgramMut<'_>> {
        use libbpf_rs::skel::Skel as _;
        self.skel.object_mut().progs_mut().find(|program| program.name() == name && program.autoload())
    }

    fn attach_trace(&mut self, name: &str) -> Result<(), Error> {
        let optional = OPTIONAL.iter().find(|(optional, _)| *optional == name);
        let Some(program) = self.program(name) else { return Ok(()) };
        match (program.attach_trace(), optional) {
            (Ok(link), _) => self.links.push(link),
            (Err(error), Some((_, what))) => {
                self.degradations.push(Degradation::Program { what, why: error.to_string() });
            }
            (Err(source), None) => return Err(Error::Unsupported { program: name.to_owned(), source }),
        }
        Ok(())
    }

    fn attach_cgroup(&mut self) {
        let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let directory = cgroup_mount(&mountinfo).and_then(|point| std::fs::File::open(point).ok());
        let Some(directory) = directory else {
            self.degradations.push(Degradation::NoCgroup);
            return;
        };
        // Only the root of the whole hierarchy has no events.
        if rustix::fs::accessat(&directory, "cgroup.events", Access::EXISTS, AtFlags::empty()).is_ok() {
            self.degradations.push(Degradation::PartOfCgroups);
        }
        for name in [
            "sock_released",
            "send_to4",
            "send_to6",
            "receive_from4",
            "receive_from6",
            "packet_out",
            "packet_in",
        ] {
            let Some(program) = self.program(name) else { continue };
            match program.attach_cgroup(directory.as_raw_fd()) {
                Ok(link) => self.links.push(link),
                Err(error) => {
                    let what =
                        OPTIONAL.iter().find(|(optional, _)| *optional == name).map_or("", |(_, what)| what);
                    self.degradations.push(Degradation::Program { what, why: error.to_string() });
                }
            }
        }
    }

    fn attach_getaddrinfo(&mut self) {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let Some(libc) = libc_path(&maps) else {
            self.degradations.push(Degradation::NoGetaddrinfo("no libc.so is in use here".into()));
            return;
        };
        for (name, retprobe) in [("getaddrinfo_called", false), ("getaddrinfo_returned", true)] {
            let Some(program) = self.program(name) else { continue };
            let options =
                UprobeOpts { retprobe, func_name: Some("getaddrinfo".into()), ..UprobeOpts::default() };
            match program.attach_uprobe_with_opts(-1, libc, 0, options) {
                Ok(link) => self.links.push(link),
                Err(error) => {
                    self.degradations.push(Degradation::NoGetaddrinfo(error.to_string()));
                    return;
                }
            }
        }
    }

    /// The slots, to count by.
    ///
    /// # Errors
    /// When the counters cannot be mapped.
    pub fn slots(&self) -> Result<Slots, Error> {
        let counting = [self.way.programs(), &["tcp_received"]].concat();
        Slots::new(&self.skel, &counting)
            .map_err(|source| Error::Setup { what: "mapping the counters", source })
    }

    /// Identifies descriptors of this process.
    ///
    /// # Errors
    /// When the program cannot be used.
    pub fn identify(&self) -> Result<Identify, Error> {
        Identify::new(&self.skel.progs.identify_fd)
            .map_err(|source| Error::Setup { what: "identifying files", source })
    }

    /// The ring buffer; `each` gets the bytes of one event.
    ///
    /// # Errors
    /// When it cannot be mapped.
    pub fn ring<'a>(&'a self, each: impl FnMut(&[u8]) + 'a) -> Result<RingBuffer<'a>, Error> {
        let mut each = each;
        let setup = |source| Error::Setup { what: "mapping the ring buffer", source };
        let mut builder = RingBufferBuilder::new();
        builder
            .add(&self.skel.maps.events, move |bytes| {
                each(bytes);
                0
            })
            .map_err(setup)?;
        builder.build().map_err(setup)
    }
}

/// Whether this process has the capabilities that loading needs; otherwise a refusal is about us, not
/// about the program.
fn may_load() -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return true };
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    // CAP_SYS_ADMIN, or CAP_BPF with CAP_PERFMON and CAP_NET_ADMIN.
    let has = |capability: u32| effective.is_none_or(|set| set & (1 << capability) != 0);
    has(21) || (has(39) && has(38) && has(12))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup_mount_is_found_in_a_hybrid_hierarchy() {
        let text = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                    32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                    41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(cgroup_mount(text), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(cgroup_mount("1 1 0:1 / / rw - ext4 /dev/vda rw\n"), None);
    }

    #[test]
    fn libc_is_found_among_the_maps() {
        let text = "7f0 r-xp 0 fe:00 1 /usr/bin/picosnitchd\n7f1-7f2 r-xp 0 fe:00 2 /lib/x/libc.so.6\n";
        assert_eq!(libc_path(text), Some(Path::new("/lib/x/libc.so.6")));
    }
}
