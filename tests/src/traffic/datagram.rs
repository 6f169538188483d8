// SPDX-License-Identifier: GPL-3.0-or-later
//! UDP, ICMP and raw IP clients.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use nix::libc;

use super::stream::mapped;
use super::{Flow, Options, Report, pattern, port, sys};

fn family(target: SocketAddr) -> i32 {
    if target.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }
}

fn any(target: SocketAddr) -> SocketAddr {
    let ip = if target.is_ipv4() { IpAddr::V4(0.into()) } else { IpAddr::V6(0.into()) };
    SocketAddr::new(ip, 0)
}

fn open(target: SocketAddr, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    let fd = sys::socket(family(target), kind, protocol)?;
    sys::set_timeout(&fd, libc::SO_RCVTIMEO, 5_000)?;
    Ok(fd)
}

/// T04: `count` datagrams of growing size to the echo service and back, one connected socket.
///
/// # Errors
/// A call fails or an answer is missing.
pub fn connected(options: &Options) -> io::Result<Report> {
    let target = mapped(options, options.target(port::ECHO)?);
    let count: usize = options.get("count", 50)?;
    let size: usize = options.get("size", 13)?;
    let fd = open(target, libc::SOCK_DGRAM, 0)?;
    let started = sys::now_us();
    sys::connect(&fd, target)?;
    let mut flow = Flow::new("udp", "out", sys::local(&fd)?, target);
    let mut buffer = vec![0_u8; 65_536];
    for index in 0..count {
        flow.add_sent(sys::send(&fd, &pattern(size + index * 7 % 1200), 0)?);
        if !options.is_set("silent") {
            flow.add_received(sys::recv(&fd, &mut buffer, 0)?);
        }
    }
    Ok(Report { started, ..Report::of(vec![flow]) })
}

/// T05: one unconnected socket, one flow per address. `to` is the first of `peers` consecutive
/// addresses; each gets `count` datagrams and answers them.
///
/// # Errors
/// A call fails or an answer is missing.
pub fn peers(options: &Options) -> io::Result<Report> {
    let first = options.target(port::ECHO)?;
    let peers: u32 = options.get("peers", 100)?;
    let count: usize = options.get("count", 3)?;
    let fd = open(first, libc::SOCK_DGRAM, 0)?;
    sys::set(&fd, libc::SOL_SOCKET, libc::SO_RCVBUF, 4 << 20)?;
    sys::bind(&fd, any(first))?;
    let local = sys::local(&fd)?;
    let mut flows = BTreeMap::new();
    let mut buffer = vec![0_u8; 65_536];
    let started = sys::now_us();
    for round in 0..count {
        for index in 0..peers {
            let target = nth(first, index);
            let flow = flows.entry(target).or_insert_with(|| Flow::new("udp", "out", local, target));
            flow.add_sent(sys::send_to(&fd, &pattern(20 + index as usize + round), target)?);
        }
        for _ in 0..peers {
            let (bytes, from) = sys::recv_from(&fd, &mut buffer, 0)?;
            let flow = flows.get_mut(&from).ok_or_else(|| io::Error::other(format!("{from} answered")))?;
            flow.add_received(bytes);
        }
    }
    Ok(Report { started, ..Report::of(flows.into_values().collect()) })
}

/// The address `index` after `first`.
#[must_use]
pub fn nth(first: SocketAddr, index: u32) -> SocketAddr {
    let ip = match first.ip() {
        IpAddr::V4(v4) => IpAddr::V4((u32::from(v4) + index).into()),
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) + u128::from(index)).into()),
    };
    SocketAddr::new(ip, first.port())
}

/// T05: what a socket can do besides: a connected one that is sent to another address and back, connected
/// anew, and a corked datagram, whose later pieces name nobody. `to` is the first of three addresses.
///
/// # Errors
/// A call fails.
pub fn elsewhere(options: &Options) -> io::Result<Report> {
    let first = options.target(port::ECHO)?;
    let started = sys::now_us();
    let fd = open(first, libc::SOCK_DGRAM, 0)?;
    sys::connect(&fd, first)?;
    let mut here = Flow::new("udp", "out", sys::local(&fd)?, first);
    let mut there = Flow::new("udp", "out", sys::local(&fd)?, nth(first, 1));
    here.add_sent(sys::send(&fd, &pattern(10), 0)?);
    for _ in 0..5 {
        there.add_sent(sys::send_to(&fd, &pattern(100), nth(first, 1))?);
    }
    here.add_sent(sys::send(&fd, &pattern(11), 0)?);
    sys::connect(&fd, nth(first, 1))?;
    there.add_sent(sys::send(&fd, &pattern(7), 0)?);

    let fd = open(first, libc::SOCK_DGRAM, 0)?;
    sys::bind(&fd, any(first))?;
    let mut corked = Flow::new("udp", "out", sys::local(&fd)?, nth(first, 2));
    sys::set(&fd, libc::SOL_UDP, libc::UDP_CORK, 1)?;
    corked.add_sent(sys::send_to(&fd, &pattern(10), nth(first, 2))?);
    corked.add_sent(sys::send(&fd, &pattern(1000), 0)?);
    sys::set(&fd, libc::SOL_UDP, libc::UDP_CORK, 0)?;
    Ok(Report { started, ..Report::of(vec![here, there, corked]) })
}

/// T05: a socket that is not connected and asks for datagrams without asking who sent them; there is one who
/// does.
///
/// # Errors
/// A call fails or an answer is missing.
pub fn plain(options: &Options) -> io::Result<Report> {
    let target = options.target(port::ECHO)?;
    let fd = open(target, libc::SOCK_DGRAM, 0)?;
    sys::bind(&fd, any(target))?;
    let started = sys::now_us();
    let mut flow = Flow::new("udp", "out", sys::local(&fd)?, target);
    let mut buffer = vec![0_u8; 65_536];
    for index in 0..10 {
        flow.add_sent(sys::send_to(&fd, &pattern(50 + index), target)?);
        flow.add_received(sys::recv(&fd, &mut buffer, 0)?);
    }
    Ok(Report { started, ..Report::of(vec![flow]) })
}

/// T29: one socket, `peers` consecutive addresses from `to` on, a datagram of 10 bytes to each, unanswered. The
/// report has the sums only.
///
/// # Errors
/// A call fails.
pub fn scatter(options: &Options) -> io::Result<Report> {
    let first = options.target(port::ECHO)?;
    let peers: u32 = options.get("peers", 70_000)?;
    let fd = open(first, libc::SOCK_DGRAM, 0)?;
    let mut sent = 0;
    for index in 0..peers {
        sent += sys::send_to(&fd, &pattern(10), nth(first, index))? as u64;
    }
    let report = Report { sent, connections: u64::from(peers), ..Report::of(Vec::new()) };
    if options.is_set("hold") {
        super::print(&report)?;
        super::wait_line(&mut String::new())?;
    }
    Ok(report)
}

/// T17: `sendmmsg` and `recvmmsg`, on an unconnected socket to `peers` addresses in turn.
///
/// # Errors
/// A call fails or an answer is missing.
pub fn many_messages(options: &Options) -> io::Result<Report> {
    let first = options.target(port::ECHO)?;
    let peers: u32 = options.get("peers", 3)?;
    let fd = open(first, libc::SOCK_DGRAM, 0)?;
    sys::set(&fd, libc::SOL_SOCKET, libc::SO_RCVBUF, 4 << 20)?;
    sys::bind(&fd, any(first))?;
    let local = sys::local(&fd)?;
    let mut flows: BTreeMap<SocketAddr, Flow> = BTreeMap::new();
    let started = sys::now_us();
    for round in 0..10_usize {
        let messages: Vec<(Vec<u8>, SocketAddr)> = (0..20_u32)
            .map(|index| (pattern(30 + round + index as usize), nth(first, index % peers)))
            .collect();
        let sent = sys::send_many(&fd, &messages)?;
        for (bytes, (_, target)) in sent.iter().zip(&messages) {
            flows.entry(*target).or_insert_with(|| Flow::new("udp", "out", local, *target)).add_sent(*bytes);
        }
        let mut answers = 0;
        while answers < sent.len() {
            for (bytes, from) in sys::recv_many(&fd, sent.len() - answers)? {
                let flow =
                    flows.get_mut(&from).ok_or_else(|| io::Error::other(format!("{from} answered")))?;
                flow.add_received(bytes);
                answers += 1;
            }
        }
    }
    Ok(Report { started, ..Report::of(flows.into_values().collect()) })
}

/// T09: `count` small datagrams to port 53, as fast as they go, unanswered.
///
/// # Errors
/// A call fails.
pub fn flood(options: &Options) -> io::Result<Report> {
    let target = options.target(port::DNS)?;
    let count: usize = options.get("count", 64_000)?;
    let fd = open(target, libc::SOCK_DGRAM, 0)?;
    let started = sys::now_us();
    sys::connect(&fd, target)?;
    let mut flow = Flow::new("udp", "out", sys::local(&fd)?, target);
    let bytes = pattern(64);
    for index in 0..count {
        flow.add_sent(sys::send(&fd, &bytes[..12 + index % 40], 0)?);
    }
    Ok(Report { started, ..Report::of(vec![flow]) })
}

/// T26 over UDP: peeks, cut and empty datagrams, and an error that comes back with its payload.
///
/// # Errors
/// A call fails or answers in another way than the manual says.
pub fn flags(options: &Options) -> io::Result<Report> {
    let target = options.target(port::ECHO)?;
    let fd = open(target, libc::SOCK_DGRAM, 0)?;
    let started = sys::now_us();
    sys::connect(&fd, target)?;
    let mut flow = Flow::new("udp", "out", sys::local(&fd)?, target);
    let mut buffer = vec![0_u8; 4096];
    let same = |want: usize, got: usize| {
        if want == got { Ok(()) } else { Err(io::Error::other(format!("{got} instead of {want}"))) }
    };
    // Looked at, then taken.
    flow.add_sent(sys::send(&fd, &pattern(100), 0)?);
    same(100, sys::recv(&fd, &mut buffer, libc::MSG_PEEK)?)?;
    same(100, sys::recv(&fd, &mut buffer, libc::MSG_PEEK | libc::MSG_TRUNC)?)?;
    flow.add_received(sys::recv(&fd, &mut buffer, 0)?);
    // Cut to 50, and cut to 50 but with its true length returned.
    flow.add_sent(sys::send(&fd, &pattern(200), 0)?);
    let cut = sys::recv(&fd, &mut buffer[..50], 0)?;
    same(50, cut)?;
    flow.add_received(cut);
    flow.add_sent(sys::send(&fd, &pattern(300), 0)?);
    let whole = sys::recv(&fd, &mut buffer[..50], libc::MSG_TRUNC)?;
    same(300, whole)?;
    flow.add_received(whole);
    // Empty there, empty back.
    flow.add_sent(sys::send(&fd, &[], 0)?);
    let empty = sys::recv(&fd, &mut buffer, 0)?;
    same(0, empty)?;
    // A socket of its own that carries nothing but an empty datagram.
    let quiet = open(target, libc::SOCK_DGRAM, 0)?;
    sys::connect(&quiet, target)?;
    let quiet_flow = Flow::new("udp", "out", sys::local(&quiet)?, target);
    sys::send(&quiet, &[], 0)?;
    sys::recv(&quiet, &mut buffer, 0)?;
    // A closed port: the datagram's own bytes come back on the error queue; they were not received.
    let closed = SocketAddr::new(target.ip(), port::CLOSED);
    let refused = open(closed, libc::SOCK_DGRAM, 0)?;
    let (level, name) = if target.is_ipv4() {
        (libc::IPPROTO_IP, libc::IP_RECVERR)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
    };
    sys::set(&refused, level, name, 1)?;
    sys::connect(&refused, closed)?;
    let mut refused_flow = Flow::new("udp", "out", sys::local(&refused)?, closed);
    refused_flow.add_sent(sys::send(&refused, &pattern(77), 0)?);
    match sys::recv(&refused, &mut buffer, 0) {
        Err(error) if error.raw_os_error() == Some(libc::ECONNREFUSED) => {}
        other => return Err(io::Error::other(format!("{other:?} instead of a refusal"))),
    }
    same(77, sys::recv_error(&refused, &mut buffer)?)?;
    Ok(Report { started, ..Report::of(vec![flow, quiet_flow, refused_flow]) })
}

fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// T06: `count` echo requests with a raw or a datagram ICMP socket, unconnected, as ping does it.
///
/// # Errors
/// A call fails or an answer is missing.
pub fn icmp(options: &Options, raw: bool) -> io::Result<Report> {
    let target = options.target(0)?;
    let count: u16 = options.get("count", 8)?;
    let size: usize = options.get("size", 56)?;
    let (protocol, word, request, reply) = if target.is_ipv4() {
        (libc::IPPROTO_ICMP, "icmp", 8_u8, 0_u8)
    } else {
        (libc::IPPROTO_ICMPV6, "icmpv6", 128, 129)
    };
    let kind = if raw { libc::SOCK_RAW } else { libc::SOCK_DGRAM };
    let fd = open(target, kind, protocol)?;
    let target = SocketAddr::new(target.ip(), 0);
    let started = sys::now_us();
    let mut flow = Flow::new(word, "out", any(target), target);
    let identity = (std::process::id() as u16).to_be_bytes();
    let mut buffer = vec![0_u8; 4096];
    let mut others: BTreeMap<IpAddr, Flow> = BTreeMap::new();
    for sequence in 0..count {
        let mut message = vec![request, 0, 0, 0, identity[0], identity[1]];
        message.extend(sequence.to_be_bytes());
        message.extend(pattern(size));
        if target.is_ipv4() {
            let sum = checksum(&message).to_be_bytes();
            message[2..4].copy_from_slice(&sum);
        }
        flow.add_sent(sys::send_to(&fd, &message, target)?);
        loop {
            let (bytes, from) = sys::recv_from(&fd, &mut buffer, 0)?;
            if from.ip() != target.ip() {
                let stray =
                    others.entry(from.ip()).or_insert_with(|| Flow::new(word, "out", any(target), from));
                stray.add_received(bytes);
                continue;
            }
            flow.add_received(bytes);
            // A raw IPv4 socket delivers the IP header too.
            let header = if raw && target.is_ipv4() { 20 } else { 0 };
            if buffer[header] == reply {
                break;
            }
        }
    }
    let mut flows = vec![flow];
    flows.extend(others.into_values());
    Ok(Report { started, ..Report::of(flows) })
}

/// T10: `count` packets of raw IP, protocol `protocol` (253, RFC 3692), there and back.
///
/// # Errors
/// A call fails or an answer is missing.
pub fn raw(options: &Options) -> io::Result<Report> {
    let target = SocketAddr::new(options.to()?, 0);
    let protocol: i32 = options.get("protocol", 253)?;
    let count: usize = options.get("count", 5)?;
    let fd = open(target, libc::SOCK_RAW, protocol)?;
    let started = sys::now_us();
    let mut flow = Flow::new(&format!("ip-{protocol}"), "out", any(target), target);
    if options.is_set("connect") {
        sys::connect(&fd, target)?;
        flow.local = Some(sys::local(&fd)?.ip());
    }
    let mut buffer = vec![0_u8; 65_536];
    for index in 0..count {
        let message = pattern(40 + index * 11);
        let sent = if options.is_set("connect") {
            sys::send(&fd, &message, 0)?
        } else {
            sys::send_to(&fd, &message, target)?
        };
        flow.add_sent(sent);
        let (bytes, from) = sys::recv_from(&fd, &mut buffer, 0)?;
        if from.ip() != target.ip() {
            return Err(io::Error::other(format!("{from} answered")));
        }
        flow.add_received(bytes);
    }
    Ok(Report { started, ..Report::of(vec![flow]) })
}
