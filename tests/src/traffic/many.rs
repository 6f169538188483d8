// SPDX-License-Identifier: GPL-3.0-or-later
//! Many connections: one after another, at once, accepted, as fast as possible, by many processes.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::datagram::nth;
use super::stream::{receive, send_all};
use super::{Flow, Options, Report, pattern, port, sys};

fn one(target: SocketAddr, bytes: usize) -> io::Result<Flow> {
    let stream = TcpStream::connect(target)?;
    let mut flow = Flow::new("tcp", "out", stream.local_addr()?, target);
    send_all(&stream, &pattern(bytes), &mut flow)?;
    let got = receive(&stream, bytes as u64, &mut flow)?;
    if got == bytes as u64 { Ok(flow) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// T21: `count` connections to the echo service, one after another, each of another size.
///
/// # Errors
/// One fails.
pub fn sequence(options: &Options) -> io::Result<Report> {
    let target = options.target(port::ECHO)?;
    let count: usize = options.get("count", 60)?;
    let started = sys::now_us();
    let flows = (0..count).map(|index| one(target, 100 + index)).collect::<io::Result<_>>()?;
    Ok(Report { started, ..Report::of(flows) })
}

/// T22: `count` connections open at the same time, each of another size.
///
/// # Errors
/// One fails.
pub fn parallel(options: &Options) -> io::Result<Report> {
    let target = options.target(port::ECHO)?;
    let count: usize = options.get("count", 30)?;
    let started = sys::now_us();
    let all_open = std::sync::Barrier::new(count);
    let flows = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|index| {
                let all_open = &all_open;
                scope.spawn(move || {
                    let stream = TcpStream::connect(target);
                    all_open.wait();
                    let stream = stream?;
                    let mut flow = Flow::new("tcp", "out", stream.local_addr()?, target);
                    for part in pattern(3_000 + index).chunks(1_000) {
                        send_all(&stream, part, &mut flow)?;
                        receive(&stream, part.len() as u64, &mut flow)?;
                    }
                    Ok(flow)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked"))))
            .collect::<io::Result<Vec<Flow>>>()
    })?;
    Ok(Report { started, ..Report::of(flows) })
}

/// T24: accepts `count` connections on `to` and echoes until each ends. Prints `ready PORT` first.
///
/// # Errors
/// A call fails.
pub fn accept(options: &Options) -> io::Result<Report> {
    let listener = TcpListener::bind(options.target(0)?)?;
    let count: usize = options.get("count", 5)?;
    println!("ready {}", listener.local_addr()?.port());
    let mut flows = Vec::new();
    let mut buffer = vec![0_u8; 65_536];
    for _ in 0..count {
        let (stream, remote) = listener.accept()?;
        let mut flow = Flow::new("tcp", "in", stream.local_addr()?, remote);
        loop {
            let got = sys::recv(&stream, &mut buffer, 0)?;
            if got == 0 {
                break;
            }
            flow.add_received(got);
            send_all(&stream, &buffer[..got], &mut flow)?;
        }
        flows.push(flow);
    }
    Ok(Report::of(flows))
}

/// T28: `count` connections of 16 bytes each way, by `threads` threads, over `peers` addresses and the
/// short services' ports. `reset=1` leaves no TIME_WAIT behind.
///
/// # Errors
/// A connection fails in another way than for want of a local port.
pub fn connections(options: &Options) -> io::Result<Report> {
    let first: IpAddr = options.to()?;
    let count: u64 = options.get("count", 100_000)?;
    let threads: u64 = options.get("threads", 2)?;
    let peers: u64 = options.get("peers", 1)?;
    let reset = options.is_set("reset");
    let (next, sent, received) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let started = sys::now_us();
    let start = Instant::now();
    let work = || -> io::Result<()> {
        let mut flow = Flow::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                break;
            }
            let port = port::SHORT + (number / peers % u64::from(port::SHORTS)) as u16;
            let target = nth(SocketAddr::new(first, port), (number % peers) as u32);
            let stream = TcpStream::connect(target)?;
            if reset {
                sys::reset_on_close(&stream)?;
            }
            send_all(&stream, b"sixteen bytes up", &mut flow)?;
            if receive(&stream, 16, &mut flow)? != 16 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        sent.fetch_add(flow.sent, Ordering::Relaxed);
        received.fetch_add(flow.received, Ordering::Relaxed);
        Ok(())
    };
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        all.into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked"))))
            .collect::<io::Result<Vec<()>>>()
    })?;
    Ok(Report {
        started,
        elapsed: u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX),
        connections: count,
        sent: sent.into_inner(),
        received: received.into_inner(),
        ..Report::of(Vec::new())
    })
}

/// `count` UDP flows of one datagram each, each to another address or port, nobody answers.
///
/// # Errors
/// A call fails.
pub fn flows(options: &Options) -> io::Result<Report> {
    let first: IpAddr = options.to()?;
    let count: u32 = options.get("count", 1_000)?;
    let peers: u32 = options.get("peers", 100)?;
    let bytes = pattern(20);
    let start = Instant::now();
    let mut sent = 0_u64;
    let mut socket = None;
    for number in 0..count {
        // A new socket now and then: a flow is a socket and a remote end.
        if number % 10_000 == 0 {
            let fd = sys::socket(nix::libc::AF_INET, nix::libc::SOCK_DGRAM, 0)?;
            sys::bind(&fd, SocketAddr::new(IpAddr::V4(0.into()), 0))?;
            socket = Some(fd);
        }
        let Some(fd) = &socket else { continue };
        let port = 10_000 + (number / peers % 100) as u16;
        sent += sys::send_to(fd, &bytes, nth(SocketAddr::new(first, port), number % peers))? as u64;
    }
    Ok(Report {
        elapsed: u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX),
        connections: u64::from(count),
        sent,
        ..Report::of(Vec::new())
    })
}

/// T29: one unconnected socket, two datagrams of ten bytes to each of `count` loopback addresses.
///
/// # Errors
/// A call fails.
pub fn one_to_many(options: &Options) -> io::Result<Report> {
    let count: u32 = options.get("count", 10_000)?;
    let fd = sys::socket(nix::libc::AF_INET, nix::libc::SOCK_DGRAM, 0)?;
    sys::bind(&fd, SocketAddr::new(IpAddr::V4(0.into()), 0))?;
    let first = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(127, 78, 0, 1)), 9);
    let mut sent = 0_u64;
    for number in 0..2 * count {
        sent += sys::send_to(&fd, &pattern(10), nth(first, number / 2))? as u64;
    }
    Ok(Report { connections: u64::from(count), sent, ..Report::of(Vec::new()) })
}

/// T11: `count` processes of this program, each of which sends one datagram and is gone.
///
/// # Errors
/// One fails.
pub fn processes(options: &Options) -> io::Result<Report> {
    let to = options.to()?;
    let count: usize = options.get("count", 20)?;
    let program = std::fs::read_link("/proc/self/exe")?;
    let running: Vec<_> = (0..count)
        .map(|index| {
            Command::new(&program)
                .args(["udp", "count=1", "silent=1"])
                .arg(format!("to={to}"))
                .arg(format!("size={}", 30 + index))
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
        })
        .collect::<io::Result<_>>()?;
    let mut report = Report::of(Vec::new());
    for child in running {
        let output = child.wait_with_output()?;
        let child: Report = serde_json::from_slice(&output.stdout)?;
        report.sent += child.sent;
        report.received += child.received;
        report.children.push(child);
    }
    report.connections = report.children.len() as u64;
    Ok(report)
}
