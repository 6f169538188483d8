// SPDX-License-Identifier: GPL-3.0-or-later
//! What does not work on this machine, each with a sentence for the user.

/// A shortfall. The record goes on without what it says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Degradation {
    /// An optional program was refused by the kernel.
    #[error("{what} ({why})")]
    Program {
        /// What is missing from the record without it.
        what: &'static str,
        /// The kernel's answer.
        why: String,
    },
    /// No cgroup v2 file system.
    #[error(
        "no cgroup v2 hierarchy is mounted: peers of unconnected UDP and raw sockets and names from DNS \
         answers are not recorded; mount cgroup2 to have them"
    )]
    NoCgroup,
    /// A cgroup v2 file system that shows only a part.
    #[error(
        "only a part of the cgroup v2 hierarchy is seen here (a container?): of programs outside of it, peers of \
         unconnected UDP and raw sockets, names from DNS answers and ends of connections are not recorded at once; \
         start picosnitchd with the machine's cgroups (podman or docker: --cgroupns=host)"
    )]
    PartOfCgroups,
    /// libc was not found, or has no getaddrinfo.
    #[error("names that programs ask libc for are not recorded: {0}")]
    NoGetaddrinfo(String),
    /// The start-up test counted other bytes than were sent.
    #[error("the start-up test counted wrong, do not trust byte counts on this kernel: {0}")]
    SelfTest(String),
    /// The start-up test could not be made.
    #[error("the start-up test of the byte counts could not be made: {0}")]
    SelfTestImpossible(String),
    /// fanotify does not work.
    #[error("executables are not watched, short-lived programs may have no hash: {0}")]
    NoFanotify(String),
    /// The database cannot be written; the record's own sentence.
    #[error("{0}")]
    Storage(String),
}

impl Degradation {
    /// One word, for the `Degraded` property and scripts.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Degradation::Program { .. } => "program",
            Degradation::NoCgroup => "cgroup",
            Degradation::PartOfCgroups => "cgroup-part",
            Degradation::NoGetaddrinfo(_) => "getaddrinfo",
            Degradation::SelfTest(_) => "self-test",
            Degradation::SelfTestImpossible(_) => "self-test-impossible",
            Degradation::NoFanotify(_) => "fanotify",
            Degradation::Storage(_) => "storage",
        }
    }
}
