// SPDX-License-Identifier: GPL-3.0-or-later
//! Names: a small DNS server that counts what it is asked, a program that asks libc, and one that speaks DNS
//! itself. RFC 1035, just what it takes.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Flow, Options, Report, pattern, port, sys};

const A: u16 = 1;

/// Where the name of a question ends, the name, and its type.
fn question(message: &[u8]) -> Option<(usize, String, u16)> {
    let mut at = 12;
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(message.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]);
    Some((at + 4, labels.join("."), kind))
}

fn query(id: u16, name: &str) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend(label.bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    message
}

/// The answer to a query: this address, or none.
fn answer(query: &[u8], address: Option<Ipv4Addr>) -> Option<Vec<u8>> {
    let (end, ..) = question(query)?;
    let mut message = query.get(..end)?.to_vec();
    message[2..4].copy_from_slice(&[0x81, 0x80]);
    message[6..12].copy_from_slice(&[0, u8::from(address.is_some()), 0, 0, 0, 0]);
    if let Some(address) = address {
        // The name of the question, A, IN, one hour, 4 bytes.
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0x0e, 0x10, 0, 4]);
        message.extend(address.octets());
    }
    Some(message)
}

/// Serves DNS on port 53, or `port`, of `to`: `answers` is `name/address,…`. With `forge=ADDRESS`, each query is first
/// answered from that other address, and the answer is that address; then by the server itself, but another
/// question (`lie.test`), with the address after that one. Prints `ready`; at its end the number of
/// queries stands in `connections`.
///
/// # Errors
/// An address or port cannot be had.
pub fn serve(options: &Options) -> io::Result<Report> {
    sys::die_with_parent();
    let bad = || io::Error::other("answers=NAME/ADDRESS,… cannot be understood");
    let mut answers = HashMap::new();
    for pair in options.text("answers").unwrap_or_default().split(',') {
        let (name, address) = pair.split_once('/').ok_or_else(bad)?;
        answers.insert(name.to_owned(), address.parse::<Ipv4Addr>().map_err(|_| bad())?);
    }
    let socket = UdpSocket::bind((options.to()?, options.get("port", port::DNS)?))?;
    let forger: Option<IpAddr> = options.text("forge").map(str::parse).transpose().map_err(|_| bad())?;
    let forger = match forger {
        Some(IpAddr::V4(address)) => Some((UdpSocket::bind((address, port::DNS))?, address)),
        _ => None,
    };
    let queries = Arc::new(AtomicU64::new(0));
    let counted = queries.clone();
    std::thread::spawn(move || {
        let mut buffer = [0_u8; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let query = &buffer[..length];
            let Some((_, name, kind)) = question(query) else { continue };
            counted.fetch_add(1, Ordering::SeqCst);
            if let Some((forger, address)) = &forger
                && let Some(message) = answer(query, Some(*address))
            {
                let _ = forger.send_to(&message, from);
                let id = u16::from_be_bytes([query[0], query[1]]);
                let next = Ipv4Addr::from(u32::from(*address) + 1);
                if let Some(message) = answer(&self::query(id, "lie.test"), Some(next)) {
                    let _ = socket.send_to(&message, from);
                }
            }
            let address = answers.get(&name).copied().filter(|_| kind == A);
            if let Some(message) = answer(query, address) {
                let _ = socket.send_to(&message, from);
            }
        }
    });
    println!("ready");
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    Ok(Report { connections: queries.load(Ordering::SeqCst), ..Report::of(Vec::new()) })
}

/// Sends ten bytes to a port where nobody listens.
fn use_it(address: IpAddr) -> io::Result<Flow> {
    let target = SocketAddr::new(address, 9);
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(target)?;
    let mut flow = Flow::new("udp", "out", socket.local_addr()?, target);
    flow.add_sent(socket.send(&pattern(10))?);
    Ok(flow)
}

/// Asks libc for `name` and sends to what it says. The queries are libc's and are not in the report.
///
/// # Errors
/// There is no such name.
pub fn by_libc(options: &Options) -> io::Result<Report> {
    let name = options.text("name").ok_or_else(|| io::Error::other("name=NAME is missing"))?;
    let address = (name, 9).to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
    Ok(Report::of(vec![use_it(address.ip())?]))
}

/// Asks the server at `to` for `name` by a socket of its own and sends to what it says. `unconnected`: by one
/// that anybody can answer.
///
/// # Errors
/// The server does not answer.
pub fn by_itself(options: &Options) -> io::Result<Report> {
    let name = options.text("name").ok_or_else(|| io::Error::other("name=NAME is missing"))?;
    let server = SocketAddr::new(options.to()?, port::DNS);
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(std::time::Duration::from_secs(5)))?;
    if !options.is_set("unconnected") {
        socket.connect(server)?;
    }
    let mut asked = Flow::new("udp", "out", socket.local_addr()?, server);
    let message = query(std::process::id() as u16, name);
    asked.add_sent(if options.is_set("unconnected") {
        socket.send_to(&message, server)?
    } else {
        socket.send(&message)?
    });
    let mut buffer = [0_u8; 1500];
    let length = loop {
        let (length, from) = socket.recv_from(&mut buffer)?;
        if from != server {
            continue;
        }
        asked.add_received(length);
        if question(&buffer[..length]).is_some_and(|(_, about, _)| about == name) {
            break length;
        }
    };
    let address =
        buffer.get(length.saturating_sub(4)..length).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
    let address = address.ok_or(io::ErrorKind::InvalidData)?;
    Ok(Report::of(vec![asked, use_it(Ipv4Addr::from(address).into())?]))
}

/// Sends to the address `to`, of which it has no name.
///
/// # Errors
/// A call fails.
pub fn unnamed(options: &Options) -> io::Result<Report> {
    Ok(Report::of(vec![use_it(options.to()?)?]))
}
