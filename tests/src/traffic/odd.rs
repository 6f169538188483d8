// SPDX-License-Identifier: GPL-3.0-or-later
//! Sockets that few programs use, over loopback addresses of their own.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use nix::libc;

use super::stream::{receive, send_all};
use super::{Flow, Options, Report, pattern, sys};

fn local(last: u8, port: u16) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::new(127, 77, 0, last).into(), port)
}

/// Raw sockets of protocol `protocol`, tcp or udp: one sends, another receives with the IP header.
///
/// # Errors
/// A call fails.
pub fn raw_transport(options: &Options) -> io::Result<Report> {
    let word = options.text("protocol").unwrap_or("tcp");
    let protocol = if word == "tcp" { libc::IPPROTO_TCP } else { libc::IPPROTO_UDP };
    let open = |address| -> io::Result<_> {
        let fd = sys::socket(libc::AF_INET, libc::SOCK_RAW, protocol)?;
        sys::set_timeout(&fd, libc::SO_RCVTIMEO, 5_000)?;
        sys::bind(&fd, address)?;
        Ok(fd)
    };
    let (here, there) = (local(1, 0), local(2, 0));
    let (sender, receiver) = (open(here)?, open(there)?);
    let flow = |direction: &str, from: SocketAddr, to: SocketAddr| Flow {
        protocol: word.to_owned(),
        direction: direction.to_owned(),
        local: Some(from.ip()),
        remote: Some(to.ip()),
        ..Flow::default()
    };
    let (mut up, mut down) = (flow("out", here, there), flow("in", there, here));
    let mut buffer = vec![0_u8; 65_536];
    for size in [1000, 60, 1000] {
        // From and to port 0: no socket of the kernel's own is meant.
        let mut bytes = pattern(size);
        bytes[..4].fill(0);
        up.add_sent(sys::send_to(&sender, &bytes, there)?);
        let (got, from) = sys::recv_from(&receiver, &mut buffer, 0)?;
        if from.ip() != here.ip() || got != size + 20 {
            return Err(io::Error::other(format!("{got} bytes from {from}")));
        }
        down.add_received(got);
    }
    Ok(Report::of(vec![up, down]))
}

/// A datagram that arrived before the socket was connected to somebody else, and is read afterwards.
///
/// # Errors
/// A call fails.
pub fn queued(_: &Options) -> io::Result<Report> {
    let (socket, early, later) =
        (UdpSocket::bind(local(3, 0))?, UdpSocket::bind(local(4, 0))?, UdpSocket::bind(local(5, 0))?);
    let (here, from, to) = (socket.local_addr()?, early.local_addr()?, later.local_addr()?);
    let mut before = Flow::new("udp", "out", from, here);
    before.add_sent(early.send_to(&pattern(77), here)?);
    socket.connect(to)?;
    let mut buffer = [0_u8; 100];
    let (length, who) = socket.recv_from(&mut buffer)?;
    if who != from {
        return Err(io::Error::other(format!("{who} sent it")));
    }
    let mut first = Flow::new("udp", "out", here, from);
    first.add_received(length);
    let mut second = Flow::new("udp", "out", here, to);
    second.add_sent(socket.send(&pattern(10))?);
    Ok(Report::of(vec![before, first, second]))
}

/// A socket that has one port, is connected to nobody, and has another one then.
///
/// # Errors
/// A call fails.
pub fn another_port(_: &Options) -> io::Result<Report> {
    let (first, second) = (UdpSocket::bind(local(7, 0))?, UdpSocket::bind(local(8, 0))?);
    let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    sys::connect(&socket, first.local_addr()?)?;
    let mut before = Flow::new("udp", "out", sys::local(&socket)?, first.local_addr()?);
    before.add_sent(sys::send(&socket, &pattern(33), 0)?);
    sys::disconnect(&socket)?;
    // Else it might get the same one.
    let _taken =
        UdpSocket::bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), before.local_port.unwrap_or(0)))?;
    let sent = sys::send_to(&socket, &pattern(44), second.local_addr()?)?;
    let mut after = Flow::new("udp", "out", sys::local(&socket)?, second.local_addr()?);
    after.add_sent(sent);
    if before.local_port == after.local_port {
        return Err(io::Error::other("it has the same port again"));
    }
    Ok(Report::of(vec![before, after]))
}

/// Multipath TCP, both ends. Fails with `Unsupported` where the kernel has none.
///
/// # Errors
/// A call fails.
pub fn multipath(_: &Options) -> io::Result<Report> {
    let open = || {
        sys::socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP)
            .map_err(|error| io::Error::new(io::ErrorKind::Unsupported, error))
    };
    let listener = open()?;
    sys::bind(&listener, local(6, 0))?;
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::MAXCONN).map_err(io::Error::from)?;
    let listener = TcpListener::from(listener);
    let server = listener.local_addr()?;
    let client = open()?;
    sys::connect(&client, server)?;
    let client = TcpStream::from(client);
    let (accepted, remote) = listener.accept()?;
    let mut up =
        Flow { protocol: "mptcp".to_owned(), ..Flow::new("tcp", "out", client.local_addr()?, server) };
    let mut down = Flow { protocol: "mptcp".to_owned(), ..Flow::new("tcp", "in", server, remote) };
    send_all(&client, &pattern(5000), &mut up)?;
    receive(&accepted, 5000, &mut down)?;
    send_all(&accepted, &pattern(300), &mut down)?;
    receive(&client, 300, &mut up)?;
    Ok(Report::of(vec![up, down]))
}
