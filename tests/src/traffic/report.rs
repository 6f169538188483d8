// SPDX-License-Identifier: GPL-3.0-or-later
//! What a generator says it did: the reference that the monitor's record is compared with.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// One socket and one remote end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Flow {
    /// `tcp`, `udp`, `icmp`, `ip-253`, `packet`, as rows name it.
    pub protocol: String,
    /// `out` or `in`.
    pub direction: String,
    /// Local address; `None` where the socket is bound to no single one.
    pub local: Option<IpAddr>,
    /// Local port; `None` where the protocol has none.
    pub local_port: Option<u16>,
    /// Remote address, IPv4-mapped ones as IPv4.
    pub remote: Option<IpAddr>,
    /// Remote port; `None` where the protocol has none.
    pub remote_port: Option<u16>,
    /// Interface, for packet sockets.
    pub interface: Option<String>,
    /// Sum of what the sending calls returned.
    pub sent: u64,
    /// Sum of what the receiving calls returned, without peeks and the error queue.
    pub received: u64,
}

impl Flow {
    /// A flow with both ends known and no bytes yet.
    #[must_use]
    pub fn new(protocol: &str, direction: &str, local: SocketAddr, remote: SocketAddr) -> Self {
        let ports = matches!(protocol, "tcp" | "udp");
        let plain = |address: SocketAddr| {
            let ip = address.ip().to_canonical();
            (!ip.is_unspecified()).then_some(ip)
        };
        Flow {
            protocol: protocol.to_owned(),
            direction: direction.to_owned(),
            local: plain(local),
            local_port: ports.then_some(local.port()),
            remote: plain(remote),
            remote_port: ports.then_some(remote.port()),
            ..Flow::default()
        }
    }

    /// Adds what one call sent.
    pub fn add_sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    /// Adds what one call received.
    pub fn add_received(&mut self, bytes: usize) {
        self.received += bytes as u64;
    }
}

/// What one process did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Report {
    /// Process id, as the process sees it.
    pub pid: u32,
    /// Its parent's process id.
    pub parent: u32,
    /// `/proc/self/exe`, bytes that are not UTF-8 replaced.
    pub exe: String,
    /// Real uid.
    pub uid: u32,
    /// Effective uid.
    pub euid: u32,
    /// CLOCK_REALTIME just before the first connect or send, µs; 0 if not measured.
    pub started: i64,
    /// Flows in the order they began; left out by `connections`, which has too many.
    pub flows: Vec<Flow>,
    /// Number of connections made or accepted.
    pub connections: u64,
    /// All bytes sent.
    pub sent: u64,
    /// All bytes received.
    pub received: u64,
    /// µs that the work took.
    pub elapsed: u64,
    /// What the processes it started did.
    pub children: Vec<Report>,
}

impl Report {
    /// The report of this process over these flows.
    #[must_use]
    pub fn of(flows: Vec<Flow>) -> Self {
        let (uid, euid) = super::sys::uids();
        Report {
            pid: std::process::id(),
            parent: std::os::unix::process::parent_id(),
            exe: std::fs::read_link("/proc/self/exe")
                .map(|path| path.to_string_lossy().into_owned())
                .unwrap_or_default(),
            uid,
            euid,
            connections: flows.len() as u64,
            sent: flows.iter().map(|flow| flow.sent).sum(),
            received: flows.iter().map(|flow| flow.received).sum(),
            flows,
            ..Report::default()
        }
    }
}
