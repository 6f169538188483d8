// SPDX-License-Identifier: GPL-3.0-or-later
//! Every service the clients talk to, in one process. It prints `ready`, serves until its standard
//! input ends, and then says what it counted over all of them.

use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc;

use super::datagram::nth;
use super::stream::{receive, send_all};
use super::{Flow, Options, Report, pattern, port, sys};

/// What all services together counted.
#[derive(Default)]
struct Totals {
    connections: AtomicU64,
    /// Connections whose bytes are not added yet.
    busy: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

impl Totals {
    fn add(&self, flow: &Flow) {
        self.sent.fetch_add(flow.sent, Ordering::Relaxed);
        self.received.fetch_add(flow.received, Ordering::Relaxed);
    }
}

type Service = fn(&TcpStream, &mut Flow) -> io::Result<()>;

fn echo(stream: &TcpStream, flow: &mut Flow) -> io::Result<()> {
    let mut buffer = vec![0_u8; 65_536];
    loop {
        let got = sys::recv(stream, &mut buffer, 0)?;
        if got == 0 {
            return Ok(());
        }
        flow.add_received(got);
        send_all(stream, &buffer[..got], flow)?;
    }
}

fn sink(stream: &TcpStream, flow: &mut Flow) -> io::Result<()> {
    let total = receive(stream, u64::MAX, flow)?;
    send_all(stream, &total.to_be_bytes(), flow)
}

fn wanted(stream: &TcpStream, flow: &mut Flow) -> io::Result<u64> {
    let mut count = [0_u8; 8];
    let mut read = 0;
    while read < count.len() {
        match sys::recv(stream, &mut count[read..], 0)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            got => {
                flow.add_received(got);
                read += got;
            }
        }
    }
    Ok(u64::from_be_bytes(count))
}

fn produce(stream: &TcpStream, mut left: u64, flow: &mut Flow) -> io::Result<()> {
    let chunk = pattern(64 * 1024);
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
        send_all(stream, &chunk[..length], flow)?;
        left -= length as u64;
    }
    stream.shutdown(Shutdown::Write)
}

fn source(stream: &TcpStream, flow: &mut Flow) -> io::Result<()> {
    let count = wanted(stream, flow)?;
    produce(stream, count, flow)?;
    receive(stream, u64::MAX, flow).map(drop)
}

fn both(stream: &TcpStream, flow: &mut Flow) -> io::Result<()> {
    let count = wanted(stream, flow)?;
    thread::scope(|scope| {
        let sender = scope.spawn(move || {
            let mut sent = Flow::default();
            produce(stream, count, &mut sent).map(|()| sent.sent)
        });
        receive(stream, u64::MAX, flow)?;
        flow.sent += sender.join().map_err(|_| io::Error::other("the sending thread panicked"))??;
        Ok(())
    })
}

/// The client closes first, so that TIME_WAIT stays with it.
fn short(stream: &TcpStream, flow: &mut Flow) -> io::Result<()> {
    if receive(stream, 16, flow)? == 16 {
        send_all(stream, b"sixteen bytes at", flow)?;
    }
    receive(stream, 1, flow).map(drop)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    // std asks for a queue of 128: too short for thousands of connections a second.
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(4096).map_err(io::Error::from)?)?;
    Ok(listener)
}

fn accept_each(listener: &TcpListener, totals: &Arc<Totals>, service: Service, inline: bool) {
    while let Ok((stream, _)) = listener.accept() {
        totals.connections.fetch_add(1, Ordering::Relaxed);
        totals.busy.fetch_add(1, Ordering::SeqCst);
        let totals = totals.clone();
        let work = move || {
            let mut flow = Flow::default();
            // A client that resets its connection has what it wanted; what counts is the bytes.
            let _ = service(&stream, &mut flow);
            totals.add(&flow);
            totals.busy.fetch_sub(1, Ordering::SeqCst);
        };
        if inline {
            work();
        } else {
            thread::spawn(work);
        }
    }
}

fn serve_datagrams(fd: &std::os::fd::OwnedFd, totals: &Totals, answer: bool, header: usize) {
    let mut buffer = vec![0_u8; 65_536];
    loop {
        let Ok((got, from)) = sys::recv_from(fd, &mut buffer, 0) else { continue };
        let mut flow = Flow::default();
        flow.add_received(got);
        if answer
            && got >= header
            && let Ok(sent) = sys::send_to(fd, &buffer[header..got], from)
        {
            flow.add_sent(sent);
        }
        totals.add(&flow);
    }
}

fn datagrams(address: SocketAddr, answer: bool, totals: &Arc<Totals>) -> io::Result<()> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let fd = sys::socket(family, libc::SOCK_DGRAM, 0)?;
    sys::set(&fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 8 << 20)?;
    if address.is_ipv6() {
        sys::set(&fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    sys::bind(&fd, address)?;
    let totals = totals.clone();
    thread::Builder::new().stack_size(128 * 1024).spawn(move || serve_datagrams(&fd, &totals, answer, 0))?;
    Ok(())
}

/// Serves on all addresses; UDP echo on `to` and the `peers` addresses after it, one socket each, so
/// that every answer comes from the address that was asked.
///
/// # Errors
/// An address or port cannot be had.
pub fn serve(options: &Options) -> io::Result<()> {
    sys::die_with_parent();
    let totals = Arc::new(Totals::default());
    let any: IpAddr = Ipv6Addr::UNSPECIFIED.into();
    let services: [(u16, Service); 4] =
        [(port::ECHO, echo), (port::SINK, sink), (port::SOURCE, source), (port::BOTH, both)];
    for (port, service) in services {
        let (listener, totals) = (listen(SocketAddr::new(any, port))?, totals.clone());
        thread::spawn(move || accept_each(&listener, &totals, service, false));
    }
    for number in 0..port::SHORTS {
        let listener = Arc::new(listen(SocketAddr::new(any, port::SHORT + number))?);
        // Connections that end one after another need no thread each; a few workers wait for ends.
        for _ in 0..4 {
            let (listener, totals) = (listener.clone(), totals.clone());
            thread::spawn(move || accept_each(&listener, &totals, short, true));
        }
    }
    if options.text("to").is_some() {
        let first = options.target(port::ECHO)?;
        for index in 0..options.get("peers", 1_u32)? {
            datagrams(nth(first, index), true, &totals)?;
        }
        datagrams(SocketAddr::new(first.ip(), port::DNS), false, &totals)?;
        let raw = sys::socket(libc::AF_INET, libc::SOCK_RAW, 253)?;
        let totals = totals.clone();
        // A raw socket delivers the IP header and sends without it.
        thread::spawn(move || serve_datagrams(&raw, &totals, true, 20));
    }
    if let Some(text) = options.text("to6") {
        let ip: IpAddr = text.parse().map_err(|_| io::Error::other("to6 is not an address"))?;
        datagrams(SocketAddr::new(ip, port::ECHO), true, &totals)?;
    }
    println!("ready");
    io::stdin().lock().read_to_end(&mut Vec::new())?;
    // The clients are done; the last ends may still be under way to the workers.
    let end = Instant::now() + Duration::from_secs(3);
    while totals.busy.load(Ordering::SeqCst) > 0 && Instant::now() < end {
        thread::sleep(Duration::from_millis(5));
    }
    super::print(&Report {
        connections: totals.connections.load(Ordering::Relaxed),
        sent: totals.sent.load(Ordering::Relaxed),
        received: totals.received.load(Ordering::Relaxed),
        ..Report::of(Vec::new())
    })
}
