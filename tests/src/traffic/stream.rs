// SPDX-License-Identifier: GPL-3.0-or-later
//! TCP clients with one connection.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use nix::libc;

use super::{Flow, Options, Report, pattern, port, sys, wait_line};

/// Connects as a program would and opens the flow for it. `mapped=1` connects an IPv6 socket to the
/// IPv4-mapped address.
///
/// # Errors
/// The connection fails.
pub fn connect(options: &Options, default_port: u16) -> io::Result<(TcpStream, Flow, i64)> {
    let target = mapped(options, options.target(default_port)?);
    let started = sys::now_us();
    let stream = TcpStream::connect(target)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let flow = Flow::new("tcp", "out", stream.local_addr()?, target);
    Ok((stream, flow, started))
}

/// The target as `mapped=1` wants it.
#[must_use]
pub fn mapped(options: &Options, target: SocketAddr) -> SocketAddr {
    match target.ip() {
        IpAddr::V4(v4) if options.is_set("mapped") => {
            let ip: Ipv6Addr = v4.to_ipv6_mapped();
            SocketAddr::new(ip.into(), target.port())
        }
        _ => target,
    }
}

fn finish(flow: Flow, started: i64) -> Report {
    Report { started, ..Report::of(vec![flow]) }
}

/// Sends all, counting what each call took.
///
/// # Errors
/// A call fails.
pub fn send_all(stream: &TcpStream, mut bytes: &[u8], flow: &mut Flow) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = sys::send(stream, bytes, 0)?;
        flow.add_sent(count);
        bytes = &bytes[count..];
    }
    Ok(())
}

/// Receives until `wanted` bytes came or the other end closed, counting what each call gave.
///
/// # Errors
/// A call fails.
pub fn receive(stream: &TcpStream, wanted: u64, flow: &mut Flow) -> io::Result<u64> {
    let mut buffer = vec![0_u8; 64 * 1024];
    let mut total = 0_u64;
    while total < wanted {
        let room = usize::try_from(wanted - total).unwrap_or(usize::MAX).min(buffer.len());
        let count = sys::recv(stream, &mut buffer[..room], 0)?;
        if count == 0 {
            break;
        }
        flow.add_received(count);
        total += count as u64;
    }
    Ok(total)
}

fn short(wanted: u64, got: u64) -> io::Result<()> {
    if wanted == got {
        Ok(())
    } else {
        Err(io::Error::other(format!("{got} bytes came instead of {wanted}")))
    }
}

/// T01: `bytes` from the peer's source.
///
/// # Errors
/// A call fails or bytes are missing.
pub fn down(options: &Options) -> io::Result<Report> {
    let bytes: u64 = options.get("bytes", 5_000_003)?;
    let (stream, mut flow, started) = connect(options, port::SOURCE)?;
    send_all(&stream, &bytes.to_be_bytes(), &mut flow)?;
    short(bytes, receive(&stream, u64::MAX, &mut flow)?)?;
    Ok(finish(flow, started))
}

/// T02: `bytes` to the peer's sink.
///
/// # Errors
/// A call fails or the sink counted another number.
pub fn up(options: &Options) -> io::Result<Report> {
    let bytes: u64 = options.get("bytes", 5_000_003)?;
    let (stream, mut flow, started) = connect(options, port::SINK)?;
    let chunk = pattern(60_000);
    let mut left = bytes;
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
        send_all(&stream, &chunk[..length], &mut flow)?;
        left -= length as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut answer = [0_u8; 8];
    let mut read = 0;
    while read < answer.len() {
        let count = sys::recv(&stream, &mut answer[read..], 0)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        flow.add_received(count);
        read += count;
    }
    short(bytes, u64::from_be_bytes(answer))?;
    Ok(finish(flow, started))
}

/// T03: `bytes` each way at once.
///
/// # Errors
/// A call fails or bytes are missing.
pub fn both(options: &Options) -> io::Result<Report> {
    let bytes: u64 = options.get("bytes", 4_000_001)?;
    let (stream, mut flow, started) = connect(options, port::BOTH)?;
    send_all(&stream, &bytes.to_be_bytes(), &mut flow)?;
    let writer = stream.try_clone()?;
    let sender = std::thread::spawn(move || -> io::Result<u64> {
        let mut sent = Flow::default();
        let chunk = pattern(7_919);
        let mut left = bytes;
        while left > 0 {
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
            send_all(&writer, &chunk[..length], &mut sent)?;
            left -= length as u64;
        }
        writer.shutdown(Shutdown::Write)?;
        Ok(sent.sent)
    });
    let got = receive(&stream, u64::MAX, &mut flow)?;
    flow.sent += sender.join().map_err(|_| io::Error::other("the sending thread panicked"))??;
    short(bytes, got)?;
    Ok(finish(flow, started))
}

/// `bytes` to the echo service and back, in chunks of `chunk`.
///
/// # Errors
/// A call fails or bytes are missing.
pub fn echo(options: &Options) -> io::Result<Report> {
    let bytes: usize = options.get("bytes", 10_000)?;
    let chunk: usize = options.get("chunk", 4_096)?;
    let (stream, mut flow, started) = connect(options, port::ECHO)?;
    for part in pattern(bytes).chunks(chunk.max(1)) {
        send_all(&stream, part, &mut flow)?;
        short(part.len() as u64, receive(&stream, part.len() as u64, &mut flow)?)?;
    }
    Ok(finish(flow, started))
}

/// T23, T30: one connection; each line `N` on standard input echoes N bytes, the report so far is
/// printed after each. `hold=1` is implied.
///
/// # Errors
/// A call fails or bytes are missing.
pub fn steps(options: &Options) -> io::Result<Report> {
    let (stream, mut flow, started) = connect(options, port::ECHO)?;
    super::print(&finish(flow.clone(), started))?;
    let mut line = String::new();
    while wait_line(&mut line)? {
        let bytes: usize = line.trim().parse().map_err(io::Error::other)?;
        for part in pattern(bytes).chunks(4096) {
            send_all(&stream, part, &mut flow)?;
            short(part.len() as u64, receive(&stream, part.len() as u64, &mut flow)?)?;
        }
        super::print(&finish(flow.clone(), started))?;
    }
    Ok(finish(flow, started))
}

/// T20: `count` times 11 bytes to the echo service, one every `every` milliseconds.
///
/// # Errors
/// A call fails or bytes are missing.
pub fn drip(options: &Options) -> io::Result<Report> {
    let count: u32 = options.get("count", 16)?;
    let every: u64 = options.get("every", 1_000)?;
    let (stream, mut flow, started) = connect(options, port::ECHO)?;
    for _ in 0..count {
        send_all(&stream, b"drip, drop\n", &mut flow)?;
        short(11, receive(&stream, 11, &mut flow)?)?;
        std::thread::sleep(Duration::from_millis(every));
    }
    Ok(finish(flow, started))
}

/// T26 over TCP: looks at bytes before it takes them, and drops some unseen.
///
/// # Errors
/// A call fails or bytes are missing.
pub fn peek(options: &Options) -> io::Result<Report> {
    let (stream, mut flow, started) = connect(options, port::ECHO)?;
    let mut buffer = [0_u8; 4096];
    for round in 0..20_usize {
        let part = pattern(100 + round);
        send_all(&stream, &part, &mut flow)?;
        let seen = sys::recv(&stream, &mut buffer, libc::MSG_PEEK)?;
        let again = sys::recv(&stream, &mut buffer[..seen.min(50)], libc::MSG_PEEK)?;
        if seen == 0 || again == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut left = part.len();
        if round % 2 == 1 {
            // tcp(7): with MSG_TRUNC the bytes are thrown away instead of copied, and still counted.
            let dropped = sys::recv(&stream, &mut buffer[..40], libc::MSG_TRUNC)?;
            flow.add_received(dropped);
            left -= dropped;
        }
        short(left as u64, receive(&stream, left as u64, &mut flow)?)?;
    }
    Ok(finish(flow, started))
}

/// T27: one attempt that carries nothing. `how`: `closed` (refused), `filtered` (no answer within
/// `timeout` ms), `later` (does not block, refused later).
///
/// # Errors
/// The attempt succeeds, or fails in another way.
pub fn fail(options: &Options) -> io::Result<Report> {
    let how = options.text("how").unwrap_or("closed");
    let target = options.target(if how == "filtered" { port::FILTERED } else { port::CLOSED })?;
    let family = if target.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let nonblocking = if how == "closed" { 0 } else { libc::SOCK_NONBLOCK };
    let fd = sys::socket(family, libc::SOCK_STREAM | nonblocking, 0)?;
    // Bound first: the local end of an attempt that failed cannot be asked for any more.
    let any = if target.is_ipv4() { IpAddr::V4(0.into()) } else { IpAddr::V6(0.into()) };
    sys::bind(&fd, SocketAddr::new(any, 0))?;
    let bound = sys::local(&fd)?;
    let started = sys::now_us();
    let result = sys::connect(&fd, target);
    // While the attempt goes on the kernel has filled in the local address.
    let mut local = sys::local(&fd).unwrap_or(bound);
    local.set_port(bound.port());
    match (how, result) {
        ("closed", Err(error)) if error.raw_os_error() == Some(libc::ECONNREFUSED) => {}
        ("later", Err(error)) if error.raw_os_error() == Some(libc::EINPROGRESS) => {
            if !sys::wait_writable(&fd, 5_000)? || sys::take_error(&fd)? != libc::ECONNREFUSED {
                return Err(io::Error::other("the connection was not refused"));
            }
        }
        ("filtered", Err(error)) if error.raw_os_error() == Some(libc::EINPROGRESS) => {
            if sys::wait_writable(&fd, options.get("timeout", 500)?)? {
                return Err(io::Error::other("the filtered port answered"));
            }
        }
        (_, Ok(())) => return Err(io::Error::other("the connection was accepted")),
        (_, Err(error)) => return Err(error),
    }
    Ok(finish(Flow::new("tcp", "out", local, target), started))
}

/// T18: both ends in this process, over loopback (`to`, default 127.0.0.1), `bytes` each way. With `pause=1` a
/// line on standard input is waited for once they are connected.
///
/// # Errors
/// A call fails or bytes are missing.
pub fn loopback(options: &Options) -> io::Result<Report> {
    let bytes: usize = options.get("bytes", 100_003)?;
    let ip: IpAddr = options.get("to", IpAddr::V4([127, 0, 0, 1].into()))?;
    let listener = TcpListener::bind(SocketAddr::new(ip, 0))?;
    let address = listener.local_addr()?;
    let server = std::thread::spawn(move || -> io::Result<Flow> {
        let (stream, remote) = listener.accept()?;
        let mut flow = Flow::new("tcp", "in", stream.local_addr()?, remote);
        short(bytes as u64, receive(&stream, bytes as u64, &mut flow)?)?;
        send_all(&stream, &pattern(bytes), &mut flow)?;
        // The client closes first.
        receive(&stream, u64::MAX, &mut flow)?;
        Ok(flow)
    });
    let started = sys::now_us();
    let stream = TcpStream::connect(address)?;
    let mut flow = Flow::new("tcp", "out", stream.local_addr()?, address);
    if options.is_set("pause") {
        super::print(&finish(flow.clone(), started))?;
        wait_line(&mut String::new())?;
    }
    send_all(&stream, &pattern(bytes), &mut flow)?;
    short(bytes as u64, receive(&stream, bytes as u64, &mut flow)?)?;
    drop(stream);
    let served = server.join().map_err(|_| io::Error::other("the serving thread panicked"))??;
    Ok(Report { started, ..Report::of(vec![flow, served]) })
}

/// `count` times one byte there and back over loopback, both ends in this process; `elapsed` is the
/// result.
///
/// # Errors
/// A call fails.
pub fn ping_pong(options: &Options) -> io::Result<Report> {
    let count: u64 = options.get("count", 100_000)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = std::thread::spawn(move || -> io::Result<Flow> {
        let (mut stream, remote) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut flow = Flow::new("tcp", "in", stream.local_addr()?, remote);
        let mut byte = [0_u8; 1];
        while stream.read(&mut byte)? > 0 {
            stream.write_all(&byte)?;
            flow.add_received(1);
            flow.add_sent(1);
        }
        Ok(flow)
    });
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut flow = Flow::new("tcp", "out", stream.local_addr()?, address);
    let mut byte = [1_u8; 1];
    let start = Instant::now();
    for _ in 0..count {
        stream.write_all(&byte)?;
        stream.read_exact(&mut byte)?;
    }
    let elapsed = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
    flow.sent = count;
    flow.received = count;
    drop(stream);
    let served = server.join().map_err(|_| io::Error::other("the serving thread panicked"))??;
    Ok(Report { elapsed, ..Report::of(vec![flow, served]) })
}
